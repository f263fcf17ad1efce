//! Plain http from a port below 1024: how Scaleway knows that it is the machine's root who asks.
//!
//! Its metadata service gives user data only to such ports, and no HTTP library lets its caller choose one.
//! So this speaks the smallest part of HTTP/1.0 (RFC 1945) that such a service needs: one question, one answer,
//! the end of the stream is the end of the answer. It follows no redirection, sends no header of a document and
//! knows no proxy and no names of hosts. Teaching the registries' client to bind its sockets was dropped: all that
//! goes to registries would go through code that one cloud needs.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use kiln_config::ignition::url;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::address;
use crate::Error;

/// Ports that only root may take (`ip_unprivileged_port_start`), but for the first half, which daemons have.
pub(super) const PORTS: RangeInclusive<u16> = 512..=1023;
/// Before another attempt.
const DELAY: Duration = Duration::from_millis(500);
/// For one connection or one read.
const SILENCE: Duration = Duration::from_secs(10);
/// Longest head of an answer, in bytes.
const HEAD_BYTES: usize = 16 << 10;
/// Read at once, in bytes.
const BUFFER_BYTES: usize = 16 << 10;
/// Asked too often (RFC 6585, section 4).
const TOO_MANY: u16 = 429;

/// What lies at an address of plain http, at most `limit` bytes. What may pass is tried again until `end`.
pub(super) fn get(
    from: &str,
    ports: RangeInclusive<u16>,
    limit: u64,
    end: Instant,
) -> Result<Vec<u8>, Error> {
    let refused = |reason: String| Error::Contents { origin: address(from), reason };
    let (server, host, path) = parts(from).map_err(|reason| refused(reason.to_owned()))?;
    let question = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut ports = ports.rev().cycle();
    loop {
        let fault = match ask(server, &mut ports, question.as_bytes(), limit, end) {
            Ok(answer) => match status(&answer).map_err(|reason| refused(reason.to_owned()))? {
                (200, head) => return body(&answer, head).map_err(refused),
                (status, _) => Fault {
                    is_passing: status >= 500 || status == TOO_MANY,
                    status: Some(status),
                    reason: String::new(),
                },
            },
            Err(fault) => fault,
        };
        let left = end.saturating_duration_since(Instant::now());
        if !fault.is_passing || left <= DELAY {
            return Err(match fault.status {
                Some(status) => {
                    let (url, message) = (url::shown(from), String::new());
                    kiln_registry::Error::Status { url, status, message }.into()
                }
                None => refused(fault.reason),
            });
        }
        std::thread::sleep(DELAY);
    }
}

/// Why there is no answer.
struct Fault {
    is_passing: bool,
    status: Option<u16>,
    reason: String,
}

impl Fault {
    fn passing(reason: impl std::fmt::Display) -> Self {
        Self { is_passing: true, status: None, reason: reason.to_string() }
    }

    fn lasting(reason: impl std::fmt::Display) -> Self {
        Self { is_passing: false, ..Self::passing(reason) }
    }
}

/// Server, its name and the path of an address; the server is given by its number.
fn parts(from: &str) -> Result<(SocketAddrV4, String, &str), &'static str> {
    if url::scheme(from).as_deref() != Some("http") {
        return Err("only plain http is asked from such a port");
    }
    let (host, port) = url::host(from).ok_or("no host")?;
    let number: Ipv4Addr = host.parse().map_err(|_| "the host is no IPv4 address")?;
    let port = port.map_or(Ok(80), str::parse).map_err(|_| "no port")?;
    let rest = from.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
    if path.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err("the path has a character that none may have");
    }
    let server = SocketAddrV4::new(number, port);
    Ok((server, server.to_string(), path))
}

/// One question from the first port that is free.
fn ask(
    server: SocketAddrV4,
    ports: &mut impl Iterator<Item = u16>,
    question: &[u8],
    limit: u64,
    end: Instant,
) -> Result<Vec<u8>, Fault> {
    let mut stream = connect(server, ports, end)?;
    stream.set_read_timeout(Some(left(end))).map_err(Fault::lasting)?;
    stream.write_all(question).map_err(Fault::passing)?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(HEAD_BYTES);
    let mut answer = Vec::new();
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let read = stream.read(&mut buffer).map_err(Fault::passing)?;
        if read == 0 {
            return Ok(answer);
        }
        answer.extend(buffer.iter().take(read));
        let too_many = match head(&answer) {
            Some(head) => answer.len().saturating_sub(head) as u64 > limit,
            None => answer.len() > HEAD_BYTES,
        };
        if too_many || answer.len() > most {
            return Err(Fault::lasting(format!("they have more than {limit} bytes")));
        }
        // A server that sends a byte now and then must not hold the boot.
        if Instant::now() >= end {
            return Err(Fault::passing("the answer did not end in time"));
        }
    }
}

fn left(end: Instant) -> Duration {
    // Zero would be without end.
    end.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), SILENCE)
}

/// A connection that comes from one of the ports; each is taken once at most.
fn connect(
    server: SocketAddrV4,
    ports: &mut impl Iterator<Item = u16>,
    end: Instant,
) -> Result<TcpStream, Fault> {
    let mut last = Errno::ADDRINUSE;
    for port in ports.take(usize::from(u16::MAX)) {
        if Instant::now() >= end {
            break;
        }
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
            .map_err(Fault::lasting)?;
        let own = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        match rustix::net::bind(&socket, &own) {
            Ok(()) => {}
            // Somebody has it: the next one.
            Err(Errno::ADDRINUSE) => continue,
            Err(error) => return Err(Fault::lasting(format!("port {port}: {error}"))),
        }
        // It bounds connecting, too (socket(7), SO_SNDTIMEO).
        set_socket_timeout(&socket, Timeout::Send, Some(left(end))).map_err(Fault::lasting)?;
        match rustix::net::connect(&socket, &SocketAddr::from(server)) {
            Ok(()) => return Ok(TcpStream::from(socket)),
            // The connection before this one has not been forgotten yet.
            Err(error @ (Errno::ADDRNOTAVAIL | Errno::ADDRINUSE)) => last = error,
            Err(error) => return Err(Fault::passing(error)),
        }
    }
    Err(Fault::passing(last))
}

/// Length of the head of an answer, once it is there.
fn head(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).take(HEAD_BYTES).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

/// The status of an answer, and the length of its head.
fn status(answer: &[u8]) -> Result<(u16, usize), &'static str> {
    let head = head(answer).ok_or("the answer is no HTTP")?;
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = std::str::from_utf8(line).unwrap_or_default().split(' ');
    let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let status = words.next().and_then(|word| word.parse().ok()).filter(|_| is_http);
    Ok((status.ok_or("the answer is no HTTP")?, head))
}

/// The contents of an answer, all of them.
fn body(answer: &[u8], head: usize) -> Result<Vec<u8>, String> {
    let (head, body) = answer.split_at_checked(head).unwrap_or((answer, &[]));
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let field = |name: &str| {
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
    };
    if field("transfer-encoding").is_some_and(|coding| coding != "identity") {
        return Err("the answer is cut into pieces, which HTTP/1.0 does not know".to_owned());
    }
    match field("content-length").map(str::parse::<usize>) {
        None => Ok(body.to_vec()),
        Some(Ok(length)) if length == body.len() => Ok(body.to_vec()),
        Some(_) => Err("the answer was cut off".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Ports that everybody may take.
    const FREE: RangeInclusive<u16> = 21_000..=21_999;

    /// A server that gives these answers, one behind the other; tells what it was asked and from where.
    fn serve(answers: Vec<Vec<u8>>) -> (String, thread::JoinHandle<Vec<(u16, String)>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let answering = thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, from) = listener.accept().unwrap();
                let mut buffer = [0; 1024];
                let read = stream.read(&mut buffer).unwrap();
                asked.push((from.port(), String::from_utf8_lossy(&buffer[..read]).into_owned()));
                // Who has had enough may have left.
                let _ = stream.write_all(&answer);
            }
            asked
        });
        (at, answering)
    }

    fn fetch(url: &str, limit: u64) -> Result<Vec<u8>, Error> {
        get(url, FREE, limit, Instant::now() + Duration::from_secs(5))
    }

    #[test]
    fn answers_are_read_whole_or_refused() {
        let ok = "HTTP/1.1 200 OK\r\n";
        let long = "x".repeat(HEAD_BYTES);
        for (answer, expected) in [
            (format!("{ok}\r\nhello"), Ok("hello")),
            (format!("{ok}Content-Length: 5\r\n\r\nhello"), Ok("hello")),
            (format!("{ok}\r\n"), Ok("")),
            (format!("{ok}content-length: 6\r\n\r\nhello"), Err("cut off")),
            (format!("{ok}Content-Length: x\r\n\r\nhello"), Err("cut off")),
            (format!("{ok}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), Err("pieces")),
            (format!("{ok}\r\n123456"), Err("more than 5 bytes")),
            (format!("{ok}A: {long}{long}"), Err("more than 5 bytes")),
            ("HTTP/1.1 404 Not Found\r\n\r\n".to_owned(), Err("404")),
            ("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n".to_owned(), Err("302")),
            ("SSH-2.0-server\r\n\r\n".to_owned(), Err("no HTTP")),
            ("HTTP/1.1 OK\r\n\r\n".to_owned(), Err("no HTTP")),
            (String::new(), Err("no HTTP")),
        ] {
            let (at, answering) = serve(vec![answer.clone().into_bytes()]);
            let found = fetch(&format!("{at}/user_data/cloud-init"), 5);
            let found = found.map(|bytes| String::from_utf8(bytes).unwrap());
            match (&found, expected) {
                (Ok(text), Ok(expected)) => assert_eq!(text, expected),
                (Err(error), Err(part)) => {
                    assert!(error.sentence().contains(part), "{answer:.60}: {}", error.sentence());
                }
                _ => panic!("{answer:.60}: {found:?}"),
            }
            let asked = answering.join().unwrap();
            assert!(FREE.contains(&asked[0].0), "{asked:?}");
            assert!(
                asked[0].1.starts_with("GET /user_data/cloud-init HTTP/1.0\r\nHost: 127.0.0.1:")
            );
        }
    }

    #[test]
    fn what_may_pass_is_asked_again_from_another_port() {
        let busy = |status| format!("HTTP/1.1 {status} Later\r\n\r\n").into_bytes();
        let (at, answering) =
            serve(vec![busy(503), busy(429), b"HTTP/1.0 200 OK\r\n\r\nhello".to_vec()]);
        assert_eq!(fetch(&at, 5).unwrap(), b"hello");
        let asked = answering.join().unwrap();
        assert_eq!(asked.len(), 3);
        assert!(asked[0].0 != asked[1].0 && asked[1].0 != asked[2].0, "{asked:?}");
    }

    #[test]
    fn nobody_there_and_silence_end_in_time() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        for at in [free, silent.local_addr().unwrap()] {
            let start = Instant::now();
            let end = start + Duration::from_millis(700);
            assert!(get(&format!("http://{at}/"), FREE, 5, end).is_err());
            assert!(start.elapsed() < Duration::from_secs(10));
        }
        for url in
            ["https://127.0.0.1/", "http://host/", "http://127.0.0.1:x/", "http://127.0.0.1/a b"]
        {
            assert!(fetch(url, 5).is_err(), "{url}");
        }
    }
}
