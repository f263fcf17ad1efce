//! Downloads from a registry that misbehaves: what is overcome, at which cost, and what is named.

use std::path::Path;
use std::time::{Duration, Instant};

use kiln_lab::registry::{Fault, Ranges, Rule, Settings};
use kiln_registry::Error;

use crate::support::{fixture, options, pull_from};

#[test]
fn passing_faults_are_overcome() {
    let cut = || Fault::Truncate(450_000);
    let cases = [
        ("well-behaved", Ranges::Single, Fault::HangUp, 0),
        ("cut twice", Ranges::Single, Fault::Truncate(200_000), 2),
        ("cut without ranges", Ranges::Ignored, cut(), 2),
        ("hung up", Ranges::Single, Fault::HangUp, 2),
        ("busy", Ranges::Single, Fault::busy(1), 2),
        ("unavailable", Ranges::Single, Fault::status(503), 3),
        ("internal error", Ranges::Single, Fault::status(500), 3),
        ("short without a sign", Ranges::Single, Fault::Shorten(1000), 1),
        ("refuses several ranges", Ranges::SingleOrRefused, cut(), 1),
    ];
    for (name, ranges, fault, times) in cases {
        for cached in [false, true] {
            let fixture = fixture();
            let cache = tempfile::tempdir().unwrap();
            let registry = fixture.registry(Settings { ranges, ..Settings::default() });
            registry.script(Rule::new(&fixture.layer_path, fault.clone()).times(times));
            let mut options = options(&[&registry]);
            options.cache = cached.then(|| cache.path().to_owned());
            assert!(pull_from(&registry, &options).unwrap() == fixture.layer, "{name}");
            let before = fixture.asked(&registry).len();
            assert!(pull_from(&registry, &options).unwrap() == fixture.layer, "{name}");
            let only_cached = fixture.asked(&registry).len() == before;
            assert_eq!(cached, only_cached, "{name}: only the cache saves downloads");
        }
    }
}

#[test]
fn a_cut_download_is_resumed_and_only_the_rest_is_fetched() {
    for cached in [false, true] {
        let fixture = fixture();
        let registry = fixture.plain_registry();
        registry.script(Rule::new(&fixture.layer_path, Fault::Truncate(450_000)).times(1));
        registry.script(Rule::new(&fixture.layer_path, Fault::Truncate(225_000)).times(2));
        let cache = tempfile::tempdir().unwrap();
        let mut options = options(&[&registry]);
        options.cache = cached.then(|| cache.path().to_owned());
        assert!(pull_from(&registry, &options).unwrap() == fixture.layer);
        let asked = fixture.asked(&registry);
        let ranges: Vec<_> = asked.iter().map(|request| request.range()).collect();
        assert_eq!(ranges, [None, Some("bytes=450000-"), Some("bytes=675000-")]);
        let sent: Vec<_> = asked.iter().map(|request| (request.status, request.sent)).collect();
        assert_eq!(sent, [(200, 450_000), (206, 225_000), (206, 225_000)]);
    }
}

#[test]
fn the_next_run_resumes_what_the_last_one_left() {
    let fixture = fixture();
    let registry = fixture.plain_registry();
    registry.script(Rule::new(&fixture.layer_path, Fault::Truncate(600_000)).times(1));
    registry.script(Rule::new(&fixture.layer_path, Fault::status(404)).skip(1).times(1));
    let cache = tempfile::tempdir().unwrap();
    let mut options = options(&[&registry]);
    options.cache = Some(cache.path().to_owned());
    let error = pull_from(&registry, &options).unwrap_err();
    assert!(matches!(error, Error::Status { status: 404, .. }), "{error}");
    registry.forget_requests();
    assert!(pull_from(&registry, &options).unwrap() == fixture.layer);
    let asked = fixture.asked(&registry);
    assert_eq!((asked.len(), asked[0].range()), (1, Some("bytes=600000-")));
    assert_eq!(asked[0].sent, 300_000);
}

#[test]
fn ranges_that_were_not_asked_for_are_not_joined() {
    for fault in [Fault::IgnoreRange, Fault::ShiftRange(7)] {
        let fixture = fixture();
        let registry = fixture.plain_registry();
        registry.script(Rule::new(&fixture.layer_path, Fault::Truncate(450_000)).times(1));
        registry.script(Rule::new(&fixture.layer_path, fault.clone()));
        let outcome = pull_from(&registry, &options(&[&registry]));
        match fault {
            // It sends everything again, which is as good.
            Fault::IgnoreRange => assert!(outcome.unwrap() == fixture.layer),
            _ => {
                let message = outcome.unwrap_err().to_string();
                assert!(message.ends_with("it sends another range than asked for"), "{message}");
            }
        }
    }
}

#[test]
fn silence_ends_an_attempt_and_not_the_download() {
    let fixture = fixture();
    let registry = fixture.plain_registry();
    let stall = Fault::Stall { after: 300_000, pause: Duration::from_secs(30) };
    registry.script(Rule::new(&fixture.layer_path, stall).times(1));
    let mut options = options(&[&registry]);
    options.network.read_timeout = Duration::from_millis(300);
    let begin = Instant::now();
    assert!(pull_from(&registry, &options).unwrap() == fixture.layer);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert_eq!(fixture.asked(&registry)[1].range(), Some("bytes=300000-"));
}

#[test]
fn retry_after_is_waited_for_up_to_the_longest_delay() {
    for (longest, expected) in [(5000, 1000..4000), (150, 150..900)] {
        let fixture = fixture();
        let registry = fixture.plain_registry();
        registry.script(Rule::new("/manifests/", Fault::busy(1)).times(1));
        let mut options = options(&[&registry]);
        options.network.longest_delay = Duration::from_millis(longest);
        let begin = Instant::now();
        assert!(pull_from(&registry, &options).unwrap() == fixture.layer);
        let waited = begin.elapsed().as_millis();
        // An idle machine needs a few milliseconds; a busy one may take its time.
        assert!(waited >= expected.start, "{waited} ms");
        let is_capped = waited < expected.end || longest == 5000;
        assert!(is_capped, "{waited} ms, though {longest} ms was the longest delay");
    }
}

/// Flips a bit in the middle of every finished file of a cache.
fn damage_cache(cache: &Path) -> usize {
    let files = std::fs::read_dir(cache.join("sha256")).unwrap();
    files
        .map(|file| {
            let path = file.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        })
        .count()
}

#[test]
fn damage_in_the_cache_is_fetched_again_once() {
    let fixture = fixture();
    let cache = tempfile::tempdir().unwrap();
    let registry = fixture.plain_registry();
    // The third answer for the layer is damaged as well.
    registry.script(Rule::new(&fixture.layer_path, Fault::Flip(5)).skip(2).times(1));
    let mut options = options(&[&registry]);
    options.cache = Some(cache.path().to_owned());
    let asked = || fixture.asked(&registry).len();
    let pull = || pull_from(&registry, &options);
    assert!(pull().unwrap() == fixture.layer);
    assert_eq!(damage_cache(cache.path()), 3, "manifest, configuration and layer");
    assert!(pull().unwrap() == fixture.layer);
    assert_eq!(asked(), 2);
    assert!(pull().unwrap() == fixture.layer);
    assert_eq!(asked(), 2, "the cache is sound again");
    damage_cache(cache.path());
    let error = pull().unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert_eq!(asked(), 3, "damage from the registry itself is final");
    assert!(pull().unwrap() == fixture.layer);
    assert_eq!(asked(), 4, "and nothing of it was kept");
}

#[test]
fn lasting_faults_are_named() {
    let gone = br#"{"errors":[{"code":"BLOB_UNKNOWN","message":"gone away"}]}"#.to_vec();
    let cases = [
        ("wrong digest", Fault::Flip(5), 1),
        ("longer", Fault::Append(vec![0]), 1),
        ("answered 503", Fault::status(503), 4),
        ("answered 501", Fault::status(501), 1),
        (
            "answered 404: gone away",
            Fault::Status { status: 404, headers: Vec::new(), body: gone },
            1,
        ),
        ("redirects too often", Fault::redirect("/v2/loop"), 1),
    ];
    for (expected, fault, attempts) in cases {
        let fixture = fixture();
        let registry = fixture.plain_registry();
        registry.script(Rule::new(&fixture.layer_path, fault));
        registry.script(Rule::new("/v2/loop", Fault::redirect("/v2/loop")));
        let error = pull_from(&registry, &options(&[&registry])).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(
            message.contains(fixture.layer_path.trim_start_matches("/blobs/sha256:"))
                || message.contains("/v2/loop"),
            "{message}"
        );
        assert_eq!(fixture.asked(&registry).len(), attempts, "{expected}");
    }
}
