//! The lab's registry does what no other test asks of it yet: cut uploads, referrers, pages, ranges.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::io::{Read, Write};
use std::net::TcpStream;

use kiln_lab::Registry;
use kiln_lab::registry::{Fault, Ranges, Rule, Settings};

/// Sends a request on a connection of its own and returns the whole answer as text.
fn ask(registry: &Registry, request: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(registry.address()).unwrap();
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A connection cut by a fault may be reset.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_cut_upload_can_be_continued() {
    let registry = Registry::plain().unwrap();
    registry.script(Rule::new("/blobs/uploads/1", Fault::CutUpload(4)).method("PATCH").times(1));
    let begun = ask(&registry, "POST /v2/a/blobs/uploads/", "", "");
    assert!(begun.starts_with("HTTP/1.1 202") && begun.contains("/v2/a/blobs/uploads/1\r\n"));
    assert_eq!(ask(&registry, "PATCH /v2/a/blobs/uploads/1", "", "0123456789"), "");
    let state = ask(&registry, "GET /v2/a/blobs/uploads/1", "", "");
    assert!(state.starts_with("HTTP/1.1 204") && state.contains("Range: 0-3\r\n"), "{state}");
    let wrong = ask(&registry, "PATCH /v2/a/blobs/uploads/1", "Content-Range: 6-9\r\n", "6789");
    assert!(wrong.starts_with("HTTP/1.1 416"), "{wrong}");
    let rest = ask(&registry, "PATCH /v2/a/blobs/uploads/1", "Content-Range: 4-9\r\n", "456789");
    assert!(rest.starts_with("HTTP/1.1 202"), "{rest}");
    let digest = "sha256:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";
    let put = format!("PUT /v2/a/blobs/uploads/1?digest={}", digest.replace(':', "%3A"));
    let done = ask(&registry, &put, "", "");
    assert!(done.starts_with("HTTP/1.1 201"), "{done}");
    assert_eq!(std::fs::read(registry.blob("a", digest).unwrap()).unwrap(), b"0123456789");
    let post = format!("POST /v2/b/blobs/uploads/?digest={digest}");
    assert!(ask(&registry, &post, "", "0123456789").starts_with("HTTP/1.1 201"));
    assert!(ask(&registry, &post, "", "012345678_").starts_with("HTTP/1.1 400"));
    let mount = format!("POST /v2/c/blobs/uploads/?mount={digest}&from=a");
    assert!(ask(&registry, &mount, "", "").starts_with("HTTP/1.1 201"));
    assert!(registry.blob("c", digest).is_some() && registry.blob("d", digest).is_none());
}

#[test]
fn referrers_tags_and_several_ranges_are_served_or_not() {
    for referrers in [true, false] {
        let ranges = if referrers { Ranges::Several } else { Ranges::SingleOrRefused };
        let settings = Settings { referrers, ranges, ..Settings::default() };
        let registry = Registry::start(settings).unwrap();
        let blob = registry.add_blob("a", &b"0123456789"[..]).unwrap();
        let manifest = format!(
            "{{\"artifactType\":\"x/y\",\"config\":{{\"digest\":\"{blob}\"}},\
             \"subject\":{{\"digest\":\"{blob}\"}}}}"
        );
        let kind = "Content-Type: m/t\r\n";
        for tag in ["v1", "v2", "v3"] {
            let put = ask(&registry, &format!("PUT /v2/a/manifests/{tag}"), kind, &manifest);
            assert!(put.starts_with("HTTP/1.1 201"), "{put}");
            assert_eq!(put.contains("OCI-Subject"), referrers);
        }
        let unknown = ask(&registry, "PUT /v2/b/manifests/v1", kind, &manifest);
        assert!(unknown.contains("MANIFEST_BLOB_UNKNOWN"), "{unknown}");
        let pages = ask(&registry, "GET /v2/a/tags/list?n=2", "", "");
        assert!(pages.contains("[\"v1\",\"v2\"]") && pages.contains("n=2&last=v2>; rel=\"next\""));
        assert!(ask(&registry, "GET /v2/a/tags/list?n=2&last=v2", "", "").contains("[\"v3\"]"));

        let listed =
            ask(&registry, &format!("GET /v2/a/referrers/{blob}?artifactType=x/y"), "", "");
        assert_eq!(listed.contains("\"artifactType\":\"x/y\""), referrers, "{listed}");
        assert_eq!(listed.starts_with("HTTP/1.1 404"), !referrers);
        let none = ask(&registry, &format!("GET /v2/a/referrers/{blob}?artifactType=z"), "", "");
        assert_eq!(none.contains("\"manifests\":[]"), referrers, "{none}");

        let get = format!("GET /v2/a/blobs/{blob}");
        let several = ask(&registry, &get, "Range: bytes=0-1,8-\r\n", "");
        if referrers {
            assert!(several.contains("bytes 0-1/10\r\n\r\n01\r\n--"), "{several}");
            assert!(several.contains("bytes 8-9/10\r\n\r\n89\r\n--"), "{several}");
        } else {
            assert!(several.starts_with("HTTP/1.1 416"), "{several}");
        }
        let beyond = ask(&registry, &get, "Range: bytes=10-\r\n", "");
        assert!(beyond.starts_with("HTTP/1.1 416") && beyond.contains("bytes */10"), "{beyond}");
        let head = ask(&registry, &format!("HEAD /v2/a/blobs/{blob}"), "", "");
        assert!(head.contains("Content-Length: 10\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }
}
