//! Contents over HTTP, from a server on the loopback that writes down what it was asked.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kiln_config::action::Remote;
use kiln_provision::{Fetch, Web};
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
    let network = Network {
        attempts: 3,
        first_delay: Duration::from_millis(10),
        longest_delay: Duration::from_millis(20),
        ..Network::default()
    };
    Web { network }
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
    assert!(web().get(&remote("/down"), 5).is_err());
    assert_eq!(asked.lock().unwrap().len(), 6);
    assert!(web().get(&remote("/none"), 5).is_err());
    assert_eq!(asked.lock().unwrap().len(), 7);
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
