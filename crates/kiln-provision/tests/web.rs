//! Contents over HTTP, from a server on the loopback that writes down what it was asked.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kiln_config::action::Remote;
use kiln_provision::{Fetch, SendMethod, Sending, Web};
use kiln_registry::Network;

/// Answers by path, the first ones first; gives its address and the requests that came.
fn serve(answers: &[(&str, &[&str])]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let mut left: BTreeMap<String, Vec<String>> = answers
        .iter()
        .map(|(path, list)| ((*path).into(), list.iter().rev().map(|one| (*one).into()).collect()))
        .collect();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = Vec::new();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                match line {
                    Ok(line) if !line.is_empty() => lines.push(line.to_lowercase()),
                    _ => break,
                }
            }
            let path =
                lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or("").to_owned();
            seen.lock().unwrap().push(lines.join("\n"));
            let answer = left
                .get_mut(&path)
                .and_then(|list| if list.len() > 1 { list.pop() } else { list.first().cloned() });
            let answer = answer.unwrap_or_else(|| "404 Not Found\r\n\r\n".into());
            if answer == "silence" {
                std::thread::sleep(Duration::from_secs(20));
                continue;
            }
            // The peer may be gone, when it had enough.
            let _ = stream.write_all(format!("HTTP/1.1 {answer}").as_bytes());
        }
    });
    (address, asked)
}

fn web() -> Web {
    Web::new(Network::default())
}

/// One that gives up soon.
fn hasty() -> Web {
    Web { patience: Duration::from_millis(600), ..web() }
}

const OK: &str = "200 OK\r\nConnection: close\r\n\r\nhello";
const BUSY: &str = "503 Busy\r\nConnection: close\r\n\r\n";

#[test]
fn headers_go_to_the_address_and_not_to_where_it_redirects() {
    let moved = "302 Found\r\nLocation: /there\r\nConnection: close\r\n\r\n";
    let (address, asked) = serve(&[("/here", &[moved]), ("/there", &[OK])]);
    let headers = vec![("X-Token".to_owned(), "secret".to_owned())];
    let remote = Remote { url: format!("{address}/here"), headers, ..Remote::default() };
    assert_eq!(web().get(&remote, 5).unwrap(), b"hello");
    let asked = asked.lock().unwrap();
    assert!(asked[0].contains("x-token: secret"), "{}", asked[0]);
    assert!(!asked[1].contains("x-token"), "{}", asked[1]);
}

#[test]
fn passing_failures_are_tried_again_and_lasting_ones_are_not() {
    let (address, asked) = serve(&[("/busy", &[BUSY, BUSY, OK]), ("/down", &[BUSY])]);
    let remote = |path: &str| Remote { url: format!("{address}{path}"), ..Remote::default() };
    assert_eq!(web().get(&remote("/busy"), 5).unwrap(), b"hello");
    assert_eq!(asked.lock().unwrap().len(), 3);
    let start = Instant::now();
    assert!(hasty().get(&remote("/down"), 5).is_err());
    assert!(start.elapsed() < Duration::from_secs(10));
    let attempts = asked.lock().unwrap().len() - 3;
    assert!((2..=3).contains(&attempts), "{attempts}");
    assert!(web().get(&remote("/none"), 5).is_err());
    assert_eq!(asked.lock().unwrap().len(), 3 + attempts + 1);
}

#[test]
fn too_much_and_too_late_are_refused() {
    let (address, _) = serve(&[("/large?token=1", &[OK]), ("/silent", &["silence"])]);
    let large = Remote { url: format!("{address}/large?token=1"), ..Remote::default() };
    let message = web().get(&large, 4).unwrap_err().sentence();
    assert!(
        message.contains("more than the limit of 4") && !message.contains("token"),
        "{message}"
    );
    let start = Instant::now();
    let silent = Remote { url: format!("{address}/silent"), timeout: 1, ..Remote::default() };
    assert!(web().get(&silent, 4).is_err());
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn what_is_no_certificate_is_no_authority() {
    let remote = Remote {
        url: "https://127.0.0.1:1/".into(),
        authorities: vec!["nothing".into()],
        ..Remote::default()
    };
    let message = web().get(&remote, 4).unwrap_err().sentence();
    assert!(message.contains("no certificate"), "{message}");
}

#[test]
fn circles_of_redirects_and_endless_answers_are_left() {
    let moved = "302 Found\r\nLocation: /loop\r\nConnection: close\r\n\r\n";
    let (address, asked) = serve(&[("/loop", &[moved])]);
    let remote = Remote { url: format!("{address}/loop"), ..Remote::default() };
    let message = web().get(&remote, 5).unwrap_err().sentence();
    assert!(message.contains("redirects too often"), "{message}");
    assert!(asked.lock().unwrap().len() < 10);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/endless", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while sent.is_ok() {
            sent = stream.write_all(&[b'x'; 4096]);
        }
    });
    let message = web().get(&Remote { url, ..Remote::default() }, 100_000).unwrap_err().sentence();
    assert!(message.contains("more than the limit of 100000"), "{message}");
}

#[test]
fn documents_are_sent_once_and_nobody_else_gets_them() {
    let moved = "302 Found\r\nLocation: /there\r\nConnection: close\r\n\r\n";
    let made = "201 Created\r\nConnection: close\r\n\r\nthanks";
    let (address, asked) =
        serve(&[("/good", &[made]), ("/busy", &[BUSY]), ("/moved", &[moved]), ("/there", &[made])]);
    let headers = [("X-Token".to_owned(), "7".to_owned())];
    let send = |path: &str, limit| {
        let url = format!("{address}{path}");
        web().send(&Sending {
            method: SendMethod::Put,
            url: &url,
            headers: &headers,
            media_type: "text/plain",
            bytes: b"",
            patience: Duration::from_secs(5),
            limit,
        })
    };
    assert_eq!(send("/good", 6).unwrap(), b"thanks");
    assert!(send("/good", 5).unwrap_err().sentence().contains("more than"));
    assert!(send("/busy", 6).is_err() && send("/moved", 6).is_err() && send("/none", 6).is_err());
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 5);
    assert!(asked[0].starts_with("put /good") && asked[0].contains("x-token: 7"), "{}", asked[0]);
}

#[test]
fn files_come_out_of_a_registry() {
    use sha2::{Digest as _, Sha256};
    let digest = |bytes: &[u8]| {
        let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hash}")
    };
    let (good, lies) = (digest(b"hello"), digest(b"other"));
    let manifest = |layer: &str| {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let layer = format!("{{\"mediaType\":\"text/plain\",\"digest\":\"{layer}\",\"size\":5}}");
        let text = format!("{{\"schemaVersion\":2,\"mediaType\":\"{kind}\",\"layers\":[{layer}]}}");
        format!("200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n{text}")
    };
    let (first, second) = (manifest(&good), manifest(&lies));
    let paths = [good, lies].map(|digest| format!("/v2/a/b/blobs/{digest}"));
    let (address, _) = serve(&[
        ("/v2/a/b/manifests/1", &[&first]),
        ("/v2/a/b/manifests/2", &[&second]),
        (&paths[0], &[OK]),
        (&paths[1], &[OK]),
    ]);
    let host = address.trim_start_matches("http://").to_owned();
    let get = |version: &str, limit| {
        let network = Network { plain_http: vec![host.clone()], attempts: 1, ..Network::default() };
        let url = format!("oci://{host}/a/b:{version}");
        Web::new(network).get(&Remote { url, ..Remote::default() }, limit)
    };
    assert_eq!(get("1", 5).unwrap(), b"hello");
    assert!(get("1", 4).unwrap_err().sentence().contains("more than 4"));
    assert!(get("2", 5).unwrap_err().sentence().contains("digest"));
    assert!(get("3", 5).is_err());
}
