//! Names, mirrors, indexes and manifests that come from a registry.

use std::time::{Duration, Instant};

use kiln_lab::Registry;
use kiln_lab::registry::{Fault, Rule};
use kiln_registry::{Digest, Error, Options};

use crate::support::{Fixture, fixture, fixture_for, options, pull, pull_from};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[test]
fn a_short_name_needs_a_lone_search_registry() {
    let fixture = fixture();
    let registry = fixture.plain_registry();
    let host = registry.host();
    let configuration = fixture.folder.path().join("registries.conf");
    let mut options = options(&[&registry]);
    options.network.registries_conf.push(configuration.clone());
    let list = |entries: &str| {
        std::fs::write(&configuration, format!("unqualified-search-registries = [{entries}]"))
            .unwrap();
    };
    for entries in ["", &format!("\"{host}\", \"other.example\"")] {
        list(entries);
        let error = pull("a/b:v1", &options).unwrap_err();
        assert!(matches!(error, Error::ShortName { .. }), "{error}");
        assert!(error.hint().unwrap().ends_with("docker://registry.example/a/b:v1"));
    }
    assert!(registry.requests().is_empty(), "nobody was asked");
    list(&format!("\"{host}\""));
    assert!(pull("a/b:v1", &options).unwrap() == fixture.layer);
}

/// Options with a `registries.conf` that lists mirrors of a registry.
fn mirrored(fixture: &Fixture, primary: &Registry, mirrors: &str, plain: &[&Registry]) -> Options {
    let configuration = fixture.folder.path().join("registries.conf");
    let text = format!("[[registry]]\nlocation = \"{}\"\n{mirrors}", primary.host());
    std::fs::write(&configuration, text).unwrap();
    let mut options = options(plain);
    options.network.registries_conf.push(configuration);
    options
}

fn mirror(location: &str, more: &str) -> String {
    format!("[[registry.mirror]]\nlocation = \"{location}\"\n{more}\n")
}

#[test]
fn a_mirror_is_asked_first_and_its_failure_is_no_failure() {
    for mirror_lies in [false, true] {
        let fixture = fixture();
        let cache = Registry::plain().unwrap();
        fixture.put(&cache, "cache/a/b");
        if mirror_lies {
            cache.script(Rule::new(&fixture.layer_path, Fault::Flip(0)));
        }
        let primary = fixture.plain_registry();
        let mirrors = mirror(&format!("{}/cache", cache.host()), "insecure = true");
        let options = mirrored(&fixture, &primary, &mirrors, &[&cache, &primary]);
        assert!(pull_from(&primary, &options).unwrap() == fixture.layer);
        assert!(!cache.requests().is_empty());
        let asked = !primary.requests().is_empty();
        assert_eq!(asked, mirror_lies, "the place itself is asked only when the mirror fails");
    }
}

#[test]
fn a_dead_mirror_costs_one_short_wait_and_the_next_is_taken() {
    let fixture = fixture();
    // A port that was free a moment ago and has nobody now.
    let dead = Registry::plain().unwrap().host();
    let second = fixture.plain_registry();
    let primary = fixture.plain_registry();
    let mirrors = mirror(&dead, "") + &mirror(&second.host(), "");
    let mut options = mirrored(&fixture, &primary, &mirrors, &[&second, &primary]);
    options.network.plain_http.push(dead);
    options.network.first_delay = Duration::from_millis(400);
    options.network.longest_delay = Duration::from_secs(60);
    let begin = Instant::now();
    assert!(pull_from(&primary, &options).unwrap() == fixture.layer);
    // Three documents with all attempts would be 3 × (0.4 + 0.8 + 1.6) seconds.
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    assert!(!second.requests().is_empty() && primary.requests().is_empty());
}

#[test]
fn a_mirror_that_breaks_off_is_resumed_elsewhere() {
    let fixture = fixture();
    let cache = fixture.plain_registry();
    cache.script(Rule::new(&fixture.layer_path, Fault::Truncate(500_000)).times(1));
    cache.script(Rule::new(&fixture.layer_path, Fault::status(500)).skip(1));
    let primary = fixture.plain_registry();
    let options = mirrored(&fixture, &primary, &mirror(&cache.host(), ""), &[&cache, &primary]);
    assert!(pull_from(&primary, &options).unwrap() == fixture.layer);
    let asked = fixture.asked(&primary);
    assert_eq!((asked[0].range(), asked[0].sent), (Some("bytes=500000-"), 400_000));
}

#[test]
fn a_mirror_for_digests_is_asked_for_digests_only() {
    let fixture = fixture();
    for more in ["pull-from-mirror = \"digest-only\"", ""] {
        let cache = fixture.plain_registry();
        let primary = fixture.plain_registry();
        // The older spelling stands in the registry's own table.
        let (own, more) = match more {
            "" => ("mirror-by-digest-only = true\n", ""),
            more => ("", more),
        };
        let mirrors = own.to_owned() + &mirror(&cache.host(), more);
        let options = mirrored(&fixture, &primary, &mirrors, &[&cache, &primary]);
        assert!(pull_from(&primary, &options).unwrap() == fixture.layer);
        assert!(cache.requests().is_empty(), "the tag was looked up at the place itself");
        primary.forget_requests();
        let name = format!("{}/a/b@{}", primary.host(), fixture.manifest);
        assert!(pull(&name, &options).unwrap() == fixture.layer);
        assert!(!cache.requests().is_empty() && primary.requests().is_empty());
    }
}

#[test]
fn a_digest_reference_binds_the_manifest() {
    let fixture = fixture();
    let registry = fixture.plain_registry();
    let name = format!("{}/a/b@{}", registry.host(), fixture.manifest);
    assert!(pull(&name, &options(&[&registry])).unwrap() == fixture.layer);
    registry.script(Rule::new("/manifests/", Fault::Append(b" ".to_vec())));
    let error = pull(&name, &options(&[&registry])).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert!(error.to_string().contains(&fixture.manifest.to_string()), "{error}");
}

#[test]
fn a_truncated_manifest_is_asked_for_again_and_named_in_the_end() {
    let fixture = fixture();
    for (times, works) in [(2, true), (usize::MAX, false)] {
        let registry = fixture.plain_registry();
        registry.script(Rule::new("/manifests/", Fault::Truncate(40)).times(times));
        let outcome = pull_from(&registry, &options(&[&registry]));
        assert_eq!(outcome.is_ok(), works);
        if let Err(error) = outcome {
            let url = format!("http://{}/v2/a/b/manifests/v1", registry.host());
            assert!(error.to_string().contains(&url), "{error}");
            assert_eq!(registry.requests().len(), 4);
        }
    }
    // Cut without a sign, half a document is what there is.
    let registry = fixture.plain_registry();
    registry.script(Rule::new("/manifests/", Fault::Shorten(40)));
    let error = pull_from(&registry, &options(&[&registry])).unwrap_err();
    assert!(matches!(error, Error::Json { .. }), "{error}");
}

#[test]
fn an_oversized_manifest_is_not_read_to_its_end() {
    let fixture = fixture();
    let registry = fixture.plain_registry();
    registry.script(Rule::new("/manifests/", Fault::Replace(vec![b' '; 64 << 20])));
    let error = pull_from(&registry, &options(&[&registry])).unwrap_err();
    assert!(matches!(error, Error::TooLarge { unit: "bytes", .. }), "{error}");
    assert_eq!(registry.requests().len(), 1, "it is not tried again");
    assert!(registry.bytes_sent() < 48 << 20, "{} bytes were taken", registry.bytes_sent());
}

/// Puts an index into `a/b` and returns its digest; entries are platform, media type and document.
fn put_index(
    registry: &Registry,
    tag: Option<&str>,
    entries: &[(Option<&str>, &str, String)],
) -> String {
    let entries: Vec<String> = entries
        .iter()
        .map(|(platform, media_type, digest)| {
            let size = registry.manifest("a/b", digest).unwrap().bytes.len();
            let platform = platform.map_or_else(String::new, |platform| {
                let parts: Vec<&str> = platform.split('/').collect();
                let variant = parts.get(2).map(|variant| format!(",\"variant\":\"{variant}\""));
                format!(
                    ",\"platform\":{{\"os\":\"{}\",\"architecture\":\"{}\"{}}}",
                    parts[0],
                    parts[1],
                    variant.unwrap_or_default()
                )
            });
            format!("{{\"mediaType\":\"{media_type}\",\"digest\":\"{digest}\",\"size\":{size}{platform}}}")
        })
        .collect();
    let document = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[{}]}}",
        entries.join(",")
    );
    registry.add_manifest("a/b", tag, INDEX, document.as_bytes())
}

#[test]
fn the_platform_of_an_index_is_chosen_by_its_meaning() {
    let registry = Registry::plain().unwrap();
    // Each image has a layer of its own length.
    let image = |platform: &str, bytes| {
        let fixture = fixture_for(platform, bytes);
        fixture.put(&registry, "a/b");
        fixture.manifest.to_string()
    };
    let entries = [
        (Some("unknown/unknown"), MANIFEST, image("linux/amd64", 1)),
        (Some("linux/arm/v6"), MANIFEST, image("linux/arm", 600)),
        (Some("linux/arm/v7"), MANIFEST, image("linux/arm", 700)),
        (Some("linux/arm64/v8"), MANIFEST, image("linux/arm64", 800)),
        (Some("linux/amd64"), MANIFEST, image("linux/amd64", 64)),
        (Some("linux/riscv64"), MANIFEST, image("linux/riscv64", 5)),
    ];
    put_index(&registry, Some("v1"), &entries);
    for (platform, expected) in [
        ("linux/arm64", Ok(800)),
        ("linux/arm64/v8", Ok(800)),
        ("linux/arm64/v9", Err(())),
        ("linux/arm", Ok(700)),
        ("linux/arm/v6", Ok(600)),
        ("linux/amd64", Ok(64)),
        ("linux/amd64/v3", Err(())),
        ("linux/riscv64", Ok(5)),
        ("linux/s390x", Err(())),
    ] {
        let platform_options =
            Options { platform: platform.parse().unwrap(), ..options(&[&registry]) };
        let outcome = pull_from(&registry, &platform_options);
        match (outcome, expected) {
            (Ok(layer), Ok(length)) => assert_eq!(layer.len(), length, "{platform}"),
            (Err(error), Err(())) => {
                let listed =
                    "linux/arm/v6, linux/arm/v7, linux/arm64/v8, linux/amd64, linux/riscv64";
                assert!(error.to_string().ends_with(listed), "{error}");
            }
            (outcome, _) => panic!("{platform}: {:?}", outcome.map(|layer| layer.len())),
        }
    }
}

#[test]
fn nested_indexes_end_somewhere() {
    let fixture = fixture();
    let registry = fixture.plain_registry();
    let amd64 = Some("linux/amd64");
    let mut digest =
        put_index(&registry, Some("d1"), &[(amd64, MANIFEST, fixture.manifest.to_string())]);
    for depth in 2..=5 {
        digest = put_index(&registry, Some(&format!("d{depth}")), &[(None, INDEX, digest)]);
    }
    for depth in 1..=5 {
        let outcome = pull(&format!("{}/a/b:d{depth}", registry.host()), &options(&[&registry]));
        match depth {
            5 => assert!(
                matches!(outcome, Err(Error::TooLarge { unit: "levels of indexes", .. })),
                "depth {depth}"
            ),
            _ => assert!(outcome.unwrap() == fixture.layer, "depth {depth}"),
        }
    }
}

#[test]
fn an_index_that_claims_to_hold_itself_is_refused() {
    let fixture = fixture();
    let registry = fixture.plain_registry();
    // No document can name its own digest, so the registry has to lie about one.
    let inner = Digest::of(b"inner");
    let cycle = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[{{\"mediaType\":\"{INDEX}\",\
         \"digest\":\"{inner}\",\"size\":300}}]}}"
    );
    registry.add_manifest("a/b", Some("v1"), INDEX, cycle.as_bytes());
    let headers = vec![("Content-Type".to_owned(), INDEX.to_owned())];
    let again = Fault::Status { status: 200, headers, body: cycle.into_bytes() };
    registry.script(Rule::new(&format!("/manifests/{inner}"), again));
    let error = pull_from(&registry, &options(&[&registry])).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert_eq!(registry.requests().len(), 2, "it is followed once");
}
