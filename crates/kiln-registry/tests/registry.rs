//! Pulling from a registry that misbehaves, played by a small server in this process.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_registry::layout::{LayerCompression, WriteOptions, write_oci_layout};
use kiln_registry::{Digest, Error, Network, Options, Source, open};

/// What the server saw.
#[derive(Debug, Clone)]
struct Request {
    method: String,
    path: String,
    headers: Vec<String>,
    body: String,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// What the server answers; `cut` bytes of the body are promised and not sent.
#[derive(Default)]
struct Answer {
    status: u16,
    headers: Vec<String>,
    body: Vec<u8>,
    cut: usize,
}

fn status(status: u16) -> Answer {
    Answer { status, ..Answer::default() }
}

type Log = Arc<Mutex<Vec<Request>>>;

/// Serves `handler`, which also gets the number of earlier requests for the same path.
fn serve(handler: impl Fn(&Request, usize) -> Answer + Send + 'static) -> (String, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let log = Log::default();
    let seen = Arc::clone(&log);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Some(request) = read_request(stream.as_ref().unwrap()) else { continue };
            let earlier = {
                let mut seen = seen.lock().unwrap();
                let earlier = seen.iter().filter(|other| other.path == request.path).count();
                seen.push(request.clone());
                earlier
            };
            write_answer(stream.unwrap(), &handler(&request, earlier));
        }
    });
    (host, log)
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let mut first = head.first()?.split(' ').map(str::to_owned);
    let (method, path) = (first.next()?, first.next()?);
    let mut request = Request { method, path, headers: head.split_off(1), body: String::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    lines.take(length).read_to_string(&mut request.body).ok()?;
    Some(request)
}

fn write_answer(mut stream: TcpStream, answer: &Answer) {
    let mut head = format!(
        "HTTP/1.1 {} x\r\nconnection: close\r\ncontent-length: {}\r\n",
        answer.status,
        answer.body.len()
    );
    for header in &answer.headers {
        head += &format!("{header}\r\n");
    }
    head += "\r\n";
    let sent = &answer.body[..answer.body.len() - answer.cut];
    // The client may have gone; that is its matter.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
}

/// An image and the answers of a well-behaved registry for it.
struct Fixture {
    folder: tempfile::TempDir,
    manifest: Digest,
    layer: Vec<u8>,
    layer_path: String,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let layer: Vec<u8> = (0..900_000_u32).map(|number| (number % 251) as u8).collect();
    let options = WriteOptions {
        platform: "linux/amd64".parse().unwrap(),
        compression: LayerCompression::None,
        ..WriteOptions::default()
    };
    let manifest = write_oci_layout(folder.path(), &mut [&mut layer.as_slice()], &options).unwrap();
    let layer_path = format!("/v2/a/b/blobs/{}", Digest::of(&layer));
    Fixture { folder, manifest, layer, layer_path }
}

fn good(root: &Path, manifest: Digest, request: &Request, ranges: bool) -> Answer {
    let Some((_, version)) = request.path.rsplit_once('/') else { return status(404) };
    let digest = if version == "v1" { manifest } else { version.parse().unwrap() };
    let Ok(mut body) = std::fs::read(root.join("blobs/sha256").join(digest.hex())) else {
        return status(404);
    };
    let mut headers = Vec::new();
    if request.path.contains("/manifests/") {
        headers.push("content-type: application/vnd.oci.image.manifest.v1+json".to_owned());
    }
    let from = request.header("range").map(|range| range[6..range.len() - 1].parse::<usize>());
    match from {
        Some(Ok(from)) if ranges => {
            let total = body.len();
            headers.push(format!("content-range: bytes {from}-{}/{total}", total - 1));
            body.drain(..from);
            Answer { status: 206, headers, body, cut: 0 }
        }
        _ => Answer { status: 200, headers, body, cut: 0 },
    }
}

fn options(hosts: &[&str]) -> Options {
    Options {
        platform: "linux/amd64".parse().unwrap(),
        network: Network {
            plain_http: hosts.iter().map(ToString::to_string).collect(),
            attempts: 4,
            first_delay: Duration::from_millis(1),
            longest_delay: Duration::from_millis(20),
            ..Network::default()
        },
        ..Options::default()
    }
}

fn pull(name: &str, options: &Options) -> Result<Vec<u8>, Error> {
    let source: Source = format!("docker://{name}").parse()?;
    let image = open(&source, options)?;
    let mut bytes = Vec::new();
    image.open_layer(0)?.read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

/// Serves the fixture with faults on its layer.
fn serve_faulty(
    fixture: &Fixture,
    ranges: bool,
    fault: impl Fn(&mut Answer, usize) + Send + 'static,
) -> (String, Log) {
    let (root, manifest) = (fixture.folder.path().to_owned(), fixture.manifest);
    let layer_path = fixture.layer_path.clone();
    serve(move |request, earlier| {
        let mut answer = good(&root, manifest, request, ranges);
        if request.path == layer_path {
            fault(&mut answer, earlier);
        }
        answer
    })
}

#[test]
fn passing_faults_are_overcome() {
    type Fault = fn(&mut Answer, usize);
    let cases: [(&str, bool, Fault); 6] = [
        ("well-behaved", true, |_, _| {}),
        ("cut twice", true, |answer, earlier| {
            if earlier < 2 {
                answer.cut = answer.body.len() / 2;
            }
        }),
        ("cut without ranges", false, |answer, earlier| {
            if earlier < 2 {
                answer.cut = answer.body.len() / 2;
            }
        }),
        ("busy", true, |answer, earlier| {
            if earlier < 2 {
                *answer = Answer {
                    status: 429,
                    headers: vec!["retry-after: 1".into()],
                    ..Answer::default()
                };
            }
        }),
        ("unavailable", true, |answer, earlier| {
            if earlier < 3 {
                *answer = status(503);
            }
        }),
        ("short without a sign", true, |answer, earlier| {
            if earlier == 0 {
                answer.body.truncate(1000);
            }
        }),
    ];
    for (name, ranges, fault) in cases {
        for cached in [false, true] {
            let fixture = fixture();
            let cache = tempfile::tempdir().unwrap();
            let (host, log) = serve_faulty(&fixture, ranges, fault);
            let mut options = options(&[&host]);
            options.cache = cached.then(|| cache.path().to_owned());
            let reference = format!("{host}/a/b:v1");
            assert!(pull(&reference, &options).unwrap() == fixture.layer, "{name}");
            let asked = || {
                let log = log.lock().unwrap();
                log.iter().filter(|request| request.path == fixture.layer_path).count()
            };
            let before = asked();
            assert!(pull(&reference, &options).unwrap() == fixture.layer, "{name}");
            assert_eq!(cached, asked() == before, "{name}: only the cache saves downloads");
            if name == "cut twice" && cached {
                let log = log.lock().unwrap();
                let ranges: Vec<_> = log.iter().filter_map(|r| r.header("range")).collect();
                assert_eq!(ranges, ["bytes=450000-", "bytes=675000-"]);
            }
        }
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
    // The third answer for the layer is damaged as well.
    let (host, log) = serve_faulty(&fixture, true, |answer, earlier| {
        if earlier == 2 {
            answer.body[5] ^= 1;
        }
    });
    let mut options = options(&[&host]);
    options.cache = Some(cache.path().to_owned());
    let reference = format!("{host}/a/b:v1");
    let asked = || {
        let log = log.lock().unwrap();
        log.iter().filter(|request| request.path == fixture.layer_path).count()
    };
    assert!(pull(&reference, &options).unwrap() == fixture.layer);
    assert_eq!(damage_cache(cache.path()), 3, "manifest, configuration and layer");
    assert!(pull(&reference, &options).unwrap() == fixture.layer);
    assert_eq!(asked(), 2);
    assert!(pull(&reference, &options).unwrap() == fixture.layer);
    assert_eq!(asked(), 2, "the cache is sound again");
    damage_cache(cache.path());
    let error = pull(&reference, &options).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert_eq!(asked(), 3, "damage from the registry itself is final");
    assert!(pull(&reference, &options).unwrap() == fixture.layer);
    assert_eq!(asked(), 4, "and nothing of it was kept");
}

#[test]
fn a_short_name_needs_a_lone_search_registry() {
    let fixture = fixture();
    let (host, log) = serve_faulty(&fixture, true, |_, _| {});
    let configuration = fixture.folder.path().join("registries.conf");
    let mut options = options(&[&host]);
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
    assert!(log.lock().unwrap().is_empty(), "nobody was asked");
    list(&format!("\"{host}\""));
    assert!(pull("a/b:v1", &options).unwrap() == fixture.layer);
}

#[test]
fn lasting_faults_are_named() {
    type Fault = fn(&mut Answer, usize);
    let cases: [(&str, Fault, usize); 5] = [
        ("wrong digest", |answer, _| answer.body[5] ^= 1, 1),
        ("longer", |answer, _| answer.body.push(0), 1),
        ("answered 503", |answer, _| *answer = status(503), 4),
        (
            "answered 404: gone away",
            |answer, _| {
                let body =
                    br#"{"errors":[{"code":"BLOB_UNKNOWN","message":"gone away"}]}"#.to_vec();
                *answer = Answer { status: 404, body, ..Answer::default() };
            },
            1,
        ),
        (
            "redirects too often",
            |answer, _| {
                let location = "location: /v2/a/b/manifests/../../../loop".to_owned();
                *answer = Answer { status: 307, headers: vec![location], ..Answer::default() };
            },
            1,
        ),
    ];
    for (expected, fault, attempts) in cases {
        let fixture = fixture();
        let (root, manifest) = (fixture.folder.path().to_owned(), fixture.manifest);
        let layer_path = fixture.layer_path.clone();
        let (host, log) = serve(move |request, earlier| {
            let is_loop = request.path.ends_with("/loop");
            let mut answer =
                if is_loop { status(307) } else { good(&root, manifest, request, true) };
            if is_loop || request.path == layer_path {
                fault(&mut answer, earlier);
            }
            answer
        });
        let message = pull(&format!("{host}/a/b:v1"), &options(&[&host])).unwrap_err().to_string();
        assert!(message.contains(expected), "{expected}: {message}");
        let log = log.lock().unwrap();
        let asked = log.iter().filter(|request| request.path == fixture.layer_path).count();
        assert_eq!(asked, attempts, "{expected}");
    }
}

#[test]
fn plain_http_needs_consent() {
    let (host, log) = serve(|_, _| status(500));
    let error = pull(&format!("{host}/a/b:v1"), &options(&[])).unwrap_err();
    assert!(matches!(error, Error::Transport { .. }), "{error}");
    let plain = log.lock().unwrap().iter().any(|request| request.path.starts_with("/v2"));
    assert!(!plain, "nothing was asked in plain HTTP");
}

#[test]
fn a_redirect_gets_neither_login_nor_plain_http() {
    for consent in [true, false] {
        let fixture = fixture();
        let (root, manifest) = (fixture.folder.path().to_owned(), fixture.manifest);
        let (store, store_log) = serve(move |request, _| good(&root, manifest, request, true));
        let (root, target) = (fixture.folder.path().to_owned(), store.clone());
        let (host, _) = serve(move |request, _| {
            if request.header("authorization") != Some("Basic dTpw") {
                let challenge = "www-authenticate: Basic realm=\"x\"".to_owned();
                return Answer { status: 401, headers: vec![challenge], ..Answer::default() };
            }
            if request.path.contains("/blobs/") {
                let location = format!("location: http://{target}{}", request.path);
                return Answer { status: 307, headers: vec![location], ..Answer::default() };
            }
            good(&root, manifest, request, true)
        });
        let mut options = options(&[&host]);
        if consent {
            options.network.plain_http.push(store.clone());
        }
        let auth = fixture.folder.path().join("auth.json");
        std::fs::write(&auth, format!(r#"{{"auths":{{"{host}":{{"auth":"dTpw"}}}}}}"#)).unwrap();
        options.network.auth_files.push(auth);
        let outcome = pull(&format!("{host}/a/b:v1"), &options);
        let store_log = store_log.lock().unwrap();
        if consent {
            assert!(outcome.unwrap() == fixture.layer);
            assert!(!store_log.is_empty());
            assert!(store_log.iter().all(|request| request.header("authorization").is_none()));
        } else {
            let message = outcome.unwrap_err().to_string();
            assert!(message.contains("plain HTTP is not allowed"), "{message}");
            assert!(store_log.is_empty());
        }
    }
}

#[test]
fn tokens_are_fetched_with_each_kind_of_login() {
    for (entry, method, proof) in [
        (None, "GET", ""),
        (Some(r#"{"auth":"dTpw"}"#), "GET", "authorization: Basic dTpw"),
        (Some(r#"{"identitytoken":"r/1"}"#), "POST", "refresh_token=r%2F1"),
    ] {
        let fixture = fixture();
        let (root, manifest) = (fixture.folder.path().to_owned(), fixture.manifest);
        let (host, log) = serve(move |request, _| {
            if request.path.starts_with("/token") {
                let body = br#"{"access_token":"t0k"}"#.to_vec();
                return Answer { status: 200, body, ..Answer::default() };
            }
            if request.header("authorization") != Some("Bearer t0k") {
                let own = request.header("host").unwrap();
                let challenge = format!(
                    "www-authenticate: Bearer realm=\"http://{own}/token\",service=\"s x\""
                );
                return Answer { status: 401, headers: vec![challenge], ..Answer::default() };
            }
            good(&root, manifest, request, true)
        });
        let mut options = options(&[&host]);
        if let Some(entry) = entry {
            let auth = fixture.folder.path().join("auth.json");
            std::fs::write(&auth, format!(r#"{{"auths":{{"{host}/a":{entry}}}}}"#)).unwrap();
            options.network.auth_files.push(auth);
        }
        assert!(pull(&format!("{host}/a/b:v1"), &options).unwrap() == fixture.layer);
        let log = log.lock().unwrap();
        let tokens: Vec<_> =
            log.iter().filter(|request| request.path.starts_with("/token")).collect();
        assert_eq!(tokens.len(), 1, "the token is used again");
        assert_eq!(tokens[0].method, method);
        let all = format!("{} {} {}", tokens[0].path, tokens[0].headers.join("\n"), tokens[0].body);
        for part in ["scope=repository%3Aa%2Fb%3Apull", "service=s%20x", proof] {
            assert!(all.contains(part), "{part}: {all}");
        }
    }
}

#[test]
fn a_missing_login_is_said() {
    let (host, _) = serve(|_, _| Answer {
        status: 401,
        headers: vec!["www-authenticate: Basic realm=\"x\"".into()],
        ..Answer::default()
    });
    let error = pull(&format!("{host}/a/b:v1"), &options(&[&host])).unwrap_err();
    assert!(error.to_string().ends_with("answered 401: a login is needed"), "{error}");
    assert!(error.hint().unwrap().contains("podman login"));
}

#[test]
fn a_mirror_is_asked_first_and_its_failure_is_no_failure() {
    for mirror_lies in [false, true] {
        let fixture = fixture();
        let (root, manifest) = (fixture.folder.path().to_owned(), fixture.manifest);
        let (mirror, mirror_log) = serve(move |request, _| {
            let plain = Request { path: request.path.replace("/cache/", "/"), ..request.clone() };
            let mut answer = good(&root, manifest, &plain, true);
            if mirror_lies && request.path.contains("/blobs/") {
                answer.body[0] ^= 1;
            }
            answer
        });
        let (primary, primary_log) = serve_faulty(&fixture, true, |_, _| {});
        let configuration = fixture.folder.path().join("registries.conf");
        let text = format!(
            "[[registry]]\nlocation = \"{primary}\"\n[[registry.mirror]]\n\
             location = \"{mirror}/cache\"\ninsecure = true\n"
        );
        std::fs::write(&configuration, text).unwrap();
        let mut options = options(&[&mirror, &primary]);
        options.network.registries_conf.push(configuration);
        assert!(pull(&format!("{primary}/a/b:v1"), &options).unwrap() == fixture.layer);
        assert!(!mirror_log.lock().unwrap().is_empty());
        let asked = !primary_log.lock().unwrap().is_empty();
        assert_eq!(asked, mirror_lies, "the place itself is asked only when the mirror fails");
    }
}

#[test]
fn a_digest_reference_binds_the_manifest() {
    let fixture = fixture();
    let (host, _) = serve_faulty(&fixture, true, |_, _| {});
    let name = format!("{host}/a/b@{}", fixture.manifest);
    assert!(pull(&name, &options(&[&host])).unwrap() == fixture.layer);
    let (root, manifest) = (fixture.folder.path().to_owned(), fixture.manifest);
    let (liar, _) = serve(move |request, _| {
        let mut answer = good(&root, manifest, request, true);
        answer.body.push(b' ');
        answer
    });
    let error = pull(&format!("{liar}/a/b@{}", fixture.manifest), &options(&[&liar])).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}
