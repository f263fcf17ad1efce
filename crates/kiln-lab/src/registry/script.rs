//! What the registry does wrong on purpose, and what it saw.
//!
//! Faults are data and not code, so that a test shows at one glance what happens to which request,
//! and so that tests in virtual machines can use the same ones.

use std::time::Duration;

/// A fault of one answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers with this status, these headers and this body instead.
    Status {
        /// HTTP status code.
        status: u16,
        /// Names and values.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// Closes the connection after so many bytes of the body, though more were promised.
    Truncate(u64),
    /// Leaves out all bytes of the body behind so many, and does not promise them either.
    Shorten(u64),
    /// Adds bytes to the body.
    Append(Vec<u8>),
    /// Flips the lowest bit of the byte at this place of the body.
    Flip(u64),
    /// Sends another body with the same headers.
    Replace(Vec<u8>),
    /// Says nothing for a while after so many bytes of the body.
    Stall {
        /// Bytes sent before.
        after: u64,
        /// How long.
        pause: Duration,
    },
    /// Sends everything although a range was asked for.
    IgnoreRange,
    /// Sends a range that begins so many bytes later than asked for, and says so.
    ShiftRange(u64),
    /// Closes the connection without an answer.
    HangUp,
    /// Takes so many bytes of an upload, keeps them and closes the connection.
    CutUpload(u64),
}

impl Fault {
    /// Answers with a bare status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Status { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Answers 429 and asks for patience in seconds.
    #[must_use]
    pub fn busy(seconds: u32) -> Self {
        let headers = vec![("Retry-After".to_owned(), seconds.to_string())];
        Self::Status { status: 429, headers, body: Vec::new() }
    }

    /// Sends the client elsewhere with 307.
    #[must_use]
    pub fn redirect(location: &str) -> Self {
        let headers = vec![("Location".to_owned(), location.to_owned())];
        Self::Status { status: 307, headers, body: Vec::new() }
    }
}

/// A fault and the requests that it hits. Rules are tried in the order in which they were given;
/// the first that is in force wins.
#[derive(Debug, Clone)]
pub struct Rule {
    method: Option<String>,
    part: String,
    skip: usize,
    times: usize,
    pub(super) fault: Fault,
    seen: usize,
}

impl Rule {
    /// Hits each request whose target (path and query) contains `part`.
    #[must_use]
    pub fn new(part: &str, fault: Fault) -> Self {
        Self { method: None, part: part.to_owned(), skip: 0, times: usize::MAX, fault, seen: 0 }
    }

    /// Only requests with this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Lets the first `count` of them pass.
    #[must_use]
    pub fn skip(mut self, count: usize) -> Self {
        self.skip = count;
        self
    }

    /// Hits only `count` of them.
    #[must_use]
    pub fn times(mut self, count: usize) -> Self {
        self.times = count;
        self
    }

    /// Counts a request; whether it is hit.
    pub(super) fn hits(&mut self, method: &str, target: &str) -> bool {
        if self.method.as_deref().is_some_and(|wanted| wanted != method)
            || !target.contains(&self.part)
        {
            return false;
        }
        let number = self.seen;
        self.seen += 1;
        number >= self.skip && number - self.skip < self.times
    }
}

/// A request as the registry saw and answered it.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `PUT`, …
    pub method: String,
    /// Path and query as they were sent.
    pub target: String,
    /// Names and values as they were sent.
    pub headers: Vec<(String, String)>,
    /// The body of a form, which is what token servers get; other bodies are only counted.
    pub form: String,
    /// HTTP status of the answer; 0 where none was given.
    pub status: u16,
    /// Bytes of the answer's body handed to the network. A client that hangs up may have got up to
    /// 64 KiB less.
    pub sent: u64,
    /// Bytes of the request's body.
    pub received: u64,
}

impl Request {
    /// A header's value, its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// The `Range` header.
    #[must_use]
    pub fn range(&self) -> Option<&str> {
        self.header("range")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_hits_its_window_of_its_requests() {
        let mut rule = Rule::new("/blobs/", Fault::HangUp).method("GET").skip(1).times(2);
        let hits: Vec<bool> = ["GET", "HEAD", "GET", "GET", "GET"]
            .iter()
            .map(|method| rule.hits(method, "/v2/a/blobs/x"))
            .collect();
        assert_eq!(hits, [false, false, true, true, false]);
        assert!(!rule.hits("GET", "/v2/a/manifests/x"));
    }
}
