//! Stretches of a blob: what a reader of tables and contents needs instead of whole blobs.
//!
//! One stretch a request, because several in one header fail on real registries. A server that knows
//! no ranges answers 200 and everything: that answer is used and not thrown away. Who takes the
//! bytes says after each break what is still missing, so nothing that was good is asked for twice.
//! Bytes are not verified here: a stretch has no digest of its own, its taker knows those inside.

use std::io::{self, Read};
use std::ops::Range;

use ureq::Body;
use ureq::http::{Response, header};

use super::api::Repository;
use super::retry::{Failure, retry};
use super::transport::{broken, unusable};
use crate::{Digest, Error};

/// Bytes read from a connection at once.
const BUFFER_BYTES: usize = 128 << 10;

/// Takes the bytes of a stretch.
pub trait RangeSink {
    /// What is still wanted. Nothing (an empty range) ends the download.
    fn wanted(&self) -> Range<u64>;

    /// The bytes that follow begin at this place of the blob: at what is wanted, or at 0 where the
    /// whole blob comes because the registry knows no ranges. A sink may want more from then on.
    fn begin(&mut self, offset: u64, answer: Answer);

    /// The next bytes, each directly behind those before.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for bytes that are wrong: they are asked for again, a few
    /// times. Any other ends the download.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// How a registry answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// With the stretch that was asked for.
    Stretch,
    /// With the whole blob: it knows no ranges.
    Whole,
}

impl Repository {
    /// Fetches what `sink` wants of a blob of `size` bytes.
    pub(super) fn stretch(
        &self,
        digest: Digest,
        size: u64,
        sink: &mut dyn RangeSink,
    ) -> Result<(), Error> {
        let url = format!("{}/v2/{}/blobs/{digest}", self.transport.base, self.name);
        retry(&self.transport.network, || {
            let before = sink.wanted();
            let outcome = self.stretch_once(&url, size, sink);
            outcome.map_err(|mut failure| {
                failure.progressed = sink.wanted().start > before.start;
                failure
            })
        })
    }

    fn stretch_once(&self, url: &str, size: u64, sink: &mut dyn RangeSink) -> Result<(), Failure> {
        let wanted = sink.wanted();
        if wanted.is_empty() {
            return Ok(());
        }
        let response = self.get(url, None, wanted.start, Some(wanted.end))?;
        let is_partial = response.status().as_u16() == 206;
        let promised = if is_partial {
            let range = content_range(&response, size)
                .filter(|range| range.start == wanted.start && range.end <= wanted.end)
                .ok_or_else(|| unusable(url, "it sends another range than asked for"))?;
            sink.begin(range.start, Answer::Stretch);
            range.end - range.start
        } else {
            sink.begin(0, Answer::Whole);
            size
        };
        let limit = &self.transport.network.rate_limit;
        let mut body = limit.reader(response.into_body().into_reader()).take(promised);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => sink.take(&buffer[..read]).map_err(|error| refused(url, error))?,
                Err(error) => return Err(broken(url, error)),
            }
            if sink.wanted().is_empty() {
                return Ok(());
            }
        }
        let missing = sink.wanted();
        if missing.is_empty() {
            return Ok(());
        }
        // Its server ended it early and meant to; the rest may still come.
        let location = format!("the answer of {url}");
        let error = Error::Truncated { location, expected: missing.end, actual: missing.start };
        Err(Failure { passing: true, ..error.into() })
    }
}

/// What the sink said. Wrong bytes may come from one bad machine of many behind the address.
fn refused(url: &str, error: io::Error) -> Failure {
    let passing = error.kind() == io::ErrorKind::InvalidData;
    let error = match passing {
        true => Error::Protocol { url: url.to_owned(), reason: error.to_string() },
        false => Error::Io { action: "keep what was read from", path: url.into(), source: error },
    };
    Failure { passing, ..error.into() }
}

/// The range of `Content-Range: bytes FIRST-LAST/TOTAL`, if it is sound and of a blob of that size.
fn content_range(response: &Response<Body>, size: u64) -> Option<Range<u64>> {
    parse_content_range(response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?, size)
}

fn parse_content_range(text: &str, size: u64) -> Option<Range<u64>> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    if total != "*" && total.parse::<u64>().ok()? != size {
        return None;
    }
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let end = last.checked_add(1)?;
    (first < end && end <= size).then_some(first..end)
}

#[cfg(test)]
mod tests {
    use super::parse_content_range;

    #[test]
    fn only_sound_ranges_of_the_right_blob_count() {
        for (text, expected) in [
            ("bytes 0-9/10", Some(0..10)),
            ("bytes 3-5/*", Some(3..6)),
            ("bytes 3-5/11", None),
            ("bytes 5-3/10", None),
            ("bytes 0-10/10", None),
            ("bytes 0-18446744073709551615/10", None),
            ("lines 0-9/10", None),
            ("bytes */10", None),
        ] {
            assert_eq!(parse_content_range(text, 10), expected, "{text}");
        }
    }
}
