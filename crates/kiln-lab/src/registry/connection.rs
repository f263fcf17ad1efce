//! HTTP/1.1 as a server speaks it, one connection at a time, blocking.
//!
//! Only what registry clients use: heads, bodies by length or in chunks, connections that stay
//! open (RFC 9112). A ready-made server was dropped, because its business is to keep answers well
//! formed, and this one must cut, stall and falsify them at exact bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longest request head in bytes; tokens of registries stay below 16 KiB.
const HEAD_BYTES: u64 = 64 << 10;
/// Bytes written at once, and so the precision of the ledger for clients that hang up.
const CHUNK: usize = 64 << 10;
/// First byte of a TLS connection (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;
/// How often a stalled answer looks whether the server is to end.
const NAP: Duration = Duration::from_millis(10);

/// A TCP or TLS stream.
pub(super) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A request without its body.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Head {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let named = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// All values of a query parameter, decoded.
    pub(super) fn query(&self, name: &str) -> Vec<String> {
        form_values(self.target.split_once('?').map_or("", |(_, query)| query), name)
    }
}

/// All values of a name in `a=b&c=d`, percent-decoded.
pub(super) fn form_values(form: &str, name: &str) -> Vec<String> {
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| percent_decoded(value)).collect()
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                decoded.push(value);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (other, _) => decoded.push(*other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A run of an answer's body.
#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    File { file: File, from: u64, length: u64 },
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Bytes(bytes) => {
                let rest = bytes.get(usize::try_from(at).unwrap_or(usize::MAX)..);
                rest.unwrap_or_default().read(buffer)
            }
            Self::File { file, from, length } => {
                let left = usize::try_from(length - at).unwrap_or(usize::MAX);
                let room = left.min(buffer.len());
                file.read_at(&mut buffer[..room], from + at)
            }
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<Piece>,
}

impl Response {
    pub(super) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// A failure in the form of the distribution specification 1.1, "Error Codes".
    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        let document = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
        Self::json(&document).with_status(status)
    }

    pub(super) fn json(document: &serde_json::Value) -> Self {
        Self::status(200)
            .header("Content-Type", "application/json")
            .bytes(document.to_string().into_bytes())
    }

    pub(super) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn bytes(mut self, bytes: Vec<u8>) -> Self {
        self.body.push(Piece::Bytes(bytes));
        self
    }

    pub(super) fn length(&self) -> u64 {
        self.body.iter().map(Piece::length).sum()
    }
}

/// What is done to a body on its way out; positions are bytes of the body.
#[derive(Debug, Default, Clone)]
pub(super) struct Distortion {
    /// Closes the connection here, though more was promised.
    pub(super) cut: Option<u64>,
    /// Flips the lowest bit here.
    pub(super) flip: Option<u64>,
    /// Waits here.
    pub(super) stall: Option<(u64, Duration)>,
}

/// One client.
pub(super) struct Connection<'a> {
    stream: BufReader<Box<dyn Stream>>,
    is_ending: &'a AtomicBool,
}

impl<'a> Connection<'a> {
    pub(super) fn new(stream: Box<dyn Stream>, is_ending: &'a AtomicBool) -> Self {
        Self { stream: BufReader::with_capacity(CHUNK, stream), is_ending }
    }

    /// The next request; `None` when the client is done.
    pub(super) fn read_head(&mut self) -> io::Result<Option<Head>> {
        if self.stream.fill_buf()?.first() == Some(&TLS_HANDSHAKE) {
            // What servers of plain HTTP answer to somebody who speaks TLS.
            let answer = b"HTTP/1.0 400 Bad Request\r\n\r\nThis is plain HTTP.\n";
            self.stream.get_mut().write_all(answer)?;
            return Ok(None);
        }
        let mut lines = Vec::new();
        let mut limited = (&mut self.stream).take(HEAD_BYTES);
        loop {
            let mut line = String::new();
            if limited.read_line(&mut line)? == 0 {
                return if lines.is_empty() { Ok(None) } else { Err(malformed("cut head")) };
            }
            match line.trim_end() {
                "" if lines.is_empty() => {}
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let mut words = lines[0].split(' ').map(str::to_owned);
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(malformed("request line"));
        };
        let headers = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        Ok(Some(Head { method, target, headers }))
    }

    /// Copies the request's body and tells its length; at `limit` the connection counts as broken.
    pub(super) fn read_body(
        &mut self,
        head: &Head,
        limit: u64,
        out: &mut dyn Write,
    ) -> io::Result<u64> {
        if head
            .header("expect")
            .is_some_and(|expected| expected.eq_ignore_ascii_case("100-continue"))
        {
            self.stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            self.stream.get_mut().flush()?;
        }
        let mut total = 0;
        if head.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            loop {
                let mut line = String::new();
                (&mut self.stream).take(HEAD_BYTES).read_line(&mut line)?;
                let size = line.trim_end().split(';').next().unwrap_or_default();
                let size = u64::from_str_radix(size, 16).map_err(|_| malformed("chunk size"))?;
                self.copy(size, limit, &mut total, out)?;
                let mut end = String::new();
                (&mut self.stream).take(HEAD_BYTES).read_line(&mut end)?;
                if size == 0 {
                    return Ok(total);
                }
            }
        }
        let length = head.header("content-length").map_or(Ok(0), str::parse);
        let length = length.map_err(|_| malformed("content length"))?;
        self.copy(length, limit, &mut total, out)?;
        Ok(total)
    }

    fn copy(
        &mut self,
        size: u64,
        limit: u64,
        total: &mut u64,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let wanted = size.min(limit.saturating_sub(*total));
        let copied = io::copy(&mut (&mut self.stream).take(wanted), out)?;
        *total += copied;
        if copied < size { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Sends an answer; `count` hears of body bytes right before they leave. False: the connection
    /// is to be closed.
    pub(super) fn send(
        &mut self,
        response: &Response,
        is_head: bool,
        distortion: &Distortion,
        count: &mut dyn FnMut(u64),
    ) -> io::Result<bool> {
        let mut head = format!("HTTP/1.1 {} Lab\r\n", response.status);
        if response.status != 204 {
            head += &format!("Content-Length: {}\r\n", response.length());
        }
        for (name, value) in &response.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let out = self.stream.get_mut();
        out.write_all(head.as_bytes())?;
        out.flush()?;
        if is_head {
            return Ok(true);
        }
        let end = distortion.cut.unwrap_or(u64::MAX);
        let mut stall = distortion.stall;
        let mut position = 0;
        let mut buffer = vec![0; CHUNK];
        for piece in &response.body {
            let mut at = 0;
            while at < piece.length() {
                if let Some((_, pause)) = stall.take_if(|(place, _)| *place <= position) {
                    wait(pause, self.is_ending);
                }
                // Up to the next place where something happens.
                let next = stall.map_or(end, |(place, _)| place.min(end));
                let room = usize::try_from(next.saturating_sub(position)).unwrap_or(CHUNK);
                let room = room.min(CHUNK);
                if room == 0 {
                    return Ok(false);
                }
                let read = piece.read(at, &mut buffer[..room])?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let bytes = &mut buffer[..read];
                let flipped = distortion.flip.and_then(|place| place.checked_sub(position));
                if let Some(byte) =
                    flipped.and_then(|place| bytes.get_mut(usize::try_from(place).ok()?))
                {
                    *byte ^= 1;
                }
                count(read as u64);
                let out = self.stream.get_mut();
                out.write_all(bytes)?;
                out.flush()?;
                at += read as u64;
                position += read as u64;
            }
        }
        Ok(distortion.cut.is_none())
    }
}

fn wait(pause: Duration, is_ending: &AtomicBool) {
    let begin = Instant::now();
    while begin.elapsed() < pause && !is_ending.load(Ordering::Relaxed) {
        std::thread::sleep(NAP.min(pause));
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads from one buffer and writes to another.
    struct Both(io::Cursor<Vec<u8>>, std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl Read for Both {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Both {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bodies_come_by_length_and_in_chunks_on_one_connection() {
        let text = "POST /a?x=%2Fb+c&x=d HTTP/1.1\r\nHost: h\r\ncontent-length: 3\r\n\r\nabc\
                    PATCH /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x\r\nf\r\n0\r\n\r\n\
                    GET /c HTTP/1.1\r\n\r\n";
        let written = std::sync::Arc::default();
        let ending = AtomicBool::new(false);
        let both = Both(io::Cursor::new(text.into()), std::sync::Arc::clone(&written));
        let mut connection = Connection::new(Box::new(both), &ending);
        let mut next = |body: &mut Vec<u8>| {
            let head = connection.read_head().unwrap().unwrap();
            connection.read_body(&head, u64::MAX, body).unwrap();
            head
        };
        let mut body = Vec::new();
        let first = next(&mut body);
        assert_eq!((first.path(), first.query("x")), ("/a", vec!["/b c".into(), "d".into()]));
        assert_eq!(next(&mut body).path(), "/b");
        assert_eq!(next(&mut body).method, "GET");
        assert_eq!(body, b"abcdef");
        assert!(connection.read_head().unwrap().is_none());

        let response = Response::status(200).bytes(vec![0; 10]);
        let distortion = Distortion { cut: Some(4), flip: Some(2), stall: None };
        let mut sent = 0;
        assert!(!connection.send(&response, false, &distortion, &mut |n| sent += n).unwrap());
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(written.ends_with("Content-Length: 10\r\n\r\n\0\0\x01\0"), "{written:?}");
        assert_eq!(sent, 4);
    }
}
