//! The push half of the distribution spec 1.1: blobs and manifests into one repository.
//!
//! What is there already is not sent, what another repository of the registry has is mounted, and a
//! broken upload goes on where the registry says it stands. Small blobs go in one request, large
//! ones in pieces, because proxies in front of registries bound a request's length. A registry that
//! forgot an upload gets it from the beginning.

use std::io::Read;

use ureq::Body;
use ureq::http::{Method, Response, header};

use super::api::{Repository, encode};
use super::retry::{Failure, retry};
use super::transport::{Payload, unusable};
use crate::{Digest, Error};

/// Bytes of one piece, and of the largest blob that is sent in one request.
const PIECE_BYTES: u64 = 32 << 20;

/// What became of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existing,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent.
    Sent,
}

/// Opens the bytes of a blob from some place on.
pub(super) type Open<'a> = dyn Fn(u64) -> std::io::Result<Box<dyn Read>> + 'a;

/// An upload under way.
struct Upload {
    /// Where its next piece goes.
    location: String,
    /// Bytes that the registry has.
    position: u64,
    /// Whether the last attempt broke, so that the registry must be asked how far it is.
    is_doubtful: bool,
}

impl Repository {
    fn send(
        &self,
        method: &Method,
        url: &str,
        payload: Option<Payload<'_>>,
        expected: fn(u16) -> bool,
    ) -> Result<Response<Body>, Failure> {
        self.authorised(url, |authorization| {
            self.transport.send(method.clone(), url, authorization, payload, expected)
        })
    }

    /// Whether the repository has a blob.
    pub(super) fn has_blob(&self, digest: Digest) -> Result<bool, Error> {
        let url = format!("{}/v2/{}/blobs/{digest}", self.transport.base, self.name);
        retry(&self.transport.network, || {
            // A redirect leads to the bytes, so they are there.
            let expected = |status| matches!(status, 200 | 301 | 302 | 303 | 307 | 308 | 404);
            let response = self.send(&Method::HEAD, &url, None, expected)?;
            Ok(response.status().as_u16() != 404)
        })
    }

    /// Brings a blob into the repository; `sent` hears how many of its bytes the registry has.
    pub(super) fn push_blob(
        &self,
        digest: Digest,
        size: u64,
        open: &Open<'_>,
        mount_from: Option<&str>,
        sent: &mut dyn FnMut(u64),
    ) -> Result<Pushed, Error> {
        if self.has_blob(digest)? {
            return Ok(Pushed::Existing);
        }
        let mut upload = None;
        if let Some(from) = mount_from.filter(|from| *from != self.name) {
            let query = format!("?mount={}&from={}", encode(&digest.to_string()), encode(from));
            match retry(&self.transport.network, || self.begin(&query))? {
                None => return Ok(Pushed::Mounted),
                begun => upload = begun,
            }
        }
        retry(&self.transport.network, || {
            let before = upload.as_ref().map_or(0, |upload| upload.position);
            let outcome = self.push_once(digest, size, open, &mut upload, sent);
            outcome.map_err(|mut failure| {
                let now = upload.as_ref().map_or(0, |upload| upload.position);
                failure.progressed = now > before;
                match (&failure.error, &mut upload) {
                    // It forgot the upload, or counts differently: from the beginning.
                    (Error::Status { status: 404 | 416, .. }, Some(_)) => {
                        upload = None;
                        failure.passing = true;
                    }
                    (_, Some(upload)) => upload.is_doubtful = true,
                    _ => {}
                }
                failure
            })
        })?;
        Ok(Pushed::Sent)
    }

    /// Opens an upload; `None` where the registry had the blob to mount.
    fn begin(&self, query: &str) -> Result<Option<Upload>, Failure> {
        let url = format!("{}/v2/{}/blobs/uploads/{query}", self.transport.base, self.name);
        let nothing =
            Payload { bytes: &[], media_type: OCTETS, start: None, extra: &[], patience: None };
        let expected = |status| matches!(status, 201 | 202);
        let response = self.send(&Method::POST, &url, Some(nothing), expected)?;
        if response.status().as_u16() == 201 {
            return Ok(None);
        }
        let location = self.location(&url, &response)?;
        Ok(Some(Upload { location, position: 0, is_doubtful: false }))
    }

    fn push_once(
        &self,
        digest: Digest,
        size: u64,
        open: &Open<'_>,
        slot: &mut Option<Upload>,
        sent: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let upload = match slot {
            Some(upload) => upload,
            None => match self.begin("")? {
                Some(upload) => slot.insert(upload),
                None => return Ok(()),
            },
        };
        if upload.is_doubtful {
            self.ask(upload, size)?;
        }
        let in_pieces = size > PIECE_BYTES || upload.position > 0;
        while in_pieces && upload.position < size {
            let (start, length) = (upload.position, PIECE_BYTES.min(size - upload.position));
            let bytes = read_from(open, start, length)?;
            let piece = Payload {
                bytes: &bytes,
                media_type: OCTETS,
                start: Some(start),
                extra: &[],
                patience: None,
            };
            let expected = |status| matches!(status, 202 | 204 | 201);
            let response = self.send(&Method::PATCH, &upload.location, Some(piece), expected)?;
            upload.location = self.location(&upload.location, &response)?;
            upload.position = start + length;
            sent(upload.position);
        }
        let rest = size - upload.position;
        let position = upload.position;
        let joint = if upload.location.contains('?') { '&' } else { '?' };
        let url = format!("{}{joint}digest={}", upload.location, encode(&digest.to_string()));
        let bytes = read_from(open, position, rest)?;
        let last =
            Payload { bytes: &bytes, media_type: OCTETS, start: None, extra: &[], patience: None };
        self.send(&Method::PUT, &url, Some(last), |status| matches!(status, 201 | 204))?;
        sent(size);
        Ok(())
    }

    /// Asks how far an upload is.
    fn ask(&self, upload: &mut Upload, size: u64) -> Result<(), Failure> {
        let expected = |status| matches!(status, 200 | 204);
        let response = self.send(&Method::GET, &upload.location, None, expected)?;
        let range = response.headers().get(header::RANGE).and_then(|range| range.to_str().ok());
        let last = range.and_then(|range| range.rsplit('-').next()?.parse::<u64>().ok());
        // `0-0` is said for nothing as well as for one byte; pieces are longer than that.
        let position = last.filter(|last| *last > 0).map_or(0, |last| last.saturating_add(1));
        if position > size {
            return Err(unusable(&upload.location, "it has more than was sent").into());
        }
        if let Ok(location) = self.location(&upload.location, &response) {
            upload.location = location;
        }
        upload.position = position;
        upload.is_doubtful = false;
        Ok(())
    }

    fn location(&self, url: &str, response: &Response<Body>) -> Result<String, Error> {
        let location = response.headers().get(header::LOCATION).and_then(|text| text.to_str().ok());
        let location = location.ok_or_else(|| unusable(url, "it names no place for the bytes"))?;
        self.transport.resolve(url, location)
    }

    /// Puts a manifest or index; whether the registry will list it as a referrer by itself.
    pub(super) fn push_manifest(
        &self,
        version: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<bool, Error> {
        let url = format!("{}/v2/{}/manifests/{version}", self.transport.base, self.name);
        retry(&self.transport.network, || {
            let payload = Payload { bytes, media_type, start: None, extra: &[], patience: None };
            let expected = |status| matches!(status, 200..=202);
            let response = self.send(&Method::PUT, &url, Some(payload), expected)?;
            Ok(response.headers().contains_key("oci-subject"))
        })
    }
}

/// The media type of a piece.
const OCTETS: &str = "application/octet-stream";

fn read_from(open: &Open<'_>, start: u64, length: u64) -> Result<Vec<u8>, Error> {
    let reader = open(start).map_err(Error::io("read", "a blob to push"))?;
    // Read before the request begins: a file that is cut short meanwhile is then an error here, and
    // not a connection that hangs with too few bytes.
    let mut bytes = Vec::new();
    reader.take(length).read_to_end(&mut bytes).map_err(Error::io("read", "a blob to push"))?;
    if bytes.len() as u64 != length {
        let location = "a blob to push".to_owned();
        return Err(Error::Truncated { location, expected: length, actual: bytes.len() as u64 });
    }
    Ok(bytes)
}
