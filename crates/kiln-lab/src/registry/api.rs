//! The distribution specification 1.1: which answer a request gets from a well-behaved registry.
//!
//! Faults are not known here; they are done to the answer afterwards.

use std::fs::File;
use std::io;

use serde_json::{Value, json};

use super::Settings;
use super::connection::{Connection, Head, Piece, Response};
use super::range::{Ranges, Selection, select};
use super::script::Fault;
use super::storage::{Manifest, Storage};

/// Largest manifest taken, in bytes (the specification's own bound).
const MANIFEST_BYTES: u64 = 4 << 20;
/// Parts of a `multipart/byteranges` answer are told apart by this.
const BOUNDARY: &str = "kiln-lab-part";

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Base,
    Token,
    Blob { repository: &'a str, digest: &'a str },
    Uploads { repository: &'a str },
    Upload { repository: &'a str, number: u64 },
    Manifest { repository: &'a str, version: &'a str },
    Tags { repository: &'a str },
    Referrers { repository: &'a str, digest: &'a str },
}

impl<'a> Route<'a> {
    pub(super) fn of(path: &'a str) -> Option<Self> {
        match path {
            "/token" => return Some(Self::Token),
            "/v2" | "/v2/" => return Some(Self::Base),
            _ => {}
        }
        let rest = path.strip_prefix("/v2/")?;
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return Some(Self::Tags { repository });
        }
        if let Some((repository, number)) = rest.rsplit_once("/blobs/uploads/") {
            return match number {
                "" => Some(Self::Uploads { repository }),
                number => Some(Self::Upload { repository, number: number.parse().ok()? }),
            };
        }
        if let Some(repository) = rest.strip_suffix("/blobs/uploads") {
            return Some(Self::Uploads { repository });
        }
        let (start, last) = rest.rsplit_once('/')?;
        let (repository, kind) = start.rsplit_once('/')?;
        match kind {
            "blobs" => Some(Self::Blob { repository, digest: last }),
            "manifests" => Some(Self::Manifest { repository, version: last }),
            "referrers" => Some(Self::Referrers { repository, digest: last }),
            _ => None,
        }
    }

    pub(super) fn repository(&self) -> Option<&'a str> {
        match self {
            Self::Base | Self::Token => None,
            Self::Blob { repository, .. }
            | Self::Uploads { repository }
            | Self::Upload { repository, .. }
            | Self::Manifest { repository, .. }
            | Self::Tags { repository }
            | Self::Referrers { repository, .. } => Some(repository),
        }
    }
}

/// The registry's side of one request.
pub(super) struct Api<'a> {
    pub(super) settings: &'a Settings,
    pub(super) storage: &'a Storage,
    /// The fault that this request meets; only those about ranges and uploads matter here.
    pub(super) fault: Option<&'a Fault>,
}

impl Api<'_> {
    /// Reads the request's body and makes the answer; the number is the body's length.
    pub(super) fn answer(
        &self,
        route: &Route<'_>,
        head: &Head,
        connection: &mut Connection<'_>,
    ) -> io::Result<(Response, u64)> {
        match (head.method.as_str(), route) {
            ("POST", Route::Uploads { repository }) => self.begin(repository, head, connection),
            ("PATCH" | "PUT", Route::Upload { repository, number }) => {
                self.upload(repository, *number, head, connection)
            }
            ("PUT", Route::Manifest { repository, version }) => {
                self.put_manifest(repository, version, head, connection)
            }
            (method, route) => {
                let received = connection.read_body(head, u64::MAX, &mut io::sink())?;
                let response = match (method, route) {
                    ("GET" | "HEAD", Route::Base) => Response::json(&json!({})),
                    ("GET" | "HEAD", Route::Blob { repository, digest }) => {
                        self.blob(repository, digest, head)?
                    }
                    ("GET" | "HEAD", Route::Manifest { repository, version }) => {
                        self.manifest(repository, version)
                    }
                    ("GET", Route::Tags { repository }) => self.tags(repository, head),
                    ("GET", Route::Referrers { repository, digest }) => {
                        self.referrers(repository, digest, head)
                    }
                    ("GET", Route::Upload { repository, number }) => {
                        match self.storage.upload_length(repository, *number) {
                            Some(length) => progress(204, repository, *number, length),
                            None => unknown_upload(),
                        }
                    }
                    _ => Response::error(405, "UNSUPPORTED", "no such method here"),
                };
                Ok((response, received))
            }
        }
    }

    fn blob(&self, repository: &str, digest: &str, head: &Head) -> io::Result<Response> {
        let Some(path) = self.storage.blob(repository, digest) else {
            return Ok(Response::error(404, "BLOB_UNKNOWN", "blob unknown to registry"));
        };
        let open = || File::open(&path);
        let total = open()?.metadata()?.len();
        let policy = match self.fault {
            Some(Fault::IgnoreRange) => Ranges::Ignored,
            _ => self.settings.ranges,
        };
        let response = Response::status(200)
            .header("Content-Type", "application/octet-stream")
            .header("Docker-Content-Digest", digest);
        let response = match policy {
            Ranges::Ignored => response,
            _ => response.header("Accept-Ranges", "bytes"),
        };
        let piece = |start: u64, end: u64| {
            open().map(|file| Piece::File { file, from: start, length: end - start })
        };
        let mut response = match select(head.header("range"), total, policy) {
            Selection::Whole => Response { body: vec![piece(0, total)?], ..response },
            Selection::Unsatisfiable => Response::error(416, "RANGE_INVALID", "no such range")
                .header("Content-Range", format!("bytes */{total}")),
            Selection::Parts(parts) => match parts.as_slice() {
                [(start, end)] => {
                    let shift = match self.fault {
                        Some(Fault::ShiftRange(shift)) => *shift,
                        _ => 0,
                    };
                    let start = (start + shift).min(end - 1);
                    let range = format!("bytes {start}-{}/{total}", end - 1);
                    let body = vec![piece(start, *end)?];
                    Response { status: 206, body, ..response }.header("Content-Range", range)
                }
                several => {
                    let mut body = Vec::new();
                    for (start, end) in several {
                        let opening = format!(
                            "\r\n--{BOUNDARY}\r\nContent-Type: application/octet-stream\r\n\
                             Content-Range: bytes {start}-{}/{total}\r\n\r\n",
                            end - 1
                        );
                        body.extend([Piece::Bytes(opening.into_bytes()), piece(*start, *end)?]);
                    }
                    body.push(Piece::Bytes(format!("\r\n--{BOUNDARY}--\r\n").into_bytes()));
                    let media_type = format!("multipart/byteranges; boundary={BOUNDARY}");
                    Response { status: 206, headers: Vec::new(), body }
                        .header("Content-Type", media_type)
                }
            },
        };
        if head.method == "HEAD" && response.status == 206 {
            // RFC 9110 section 14.2: ranges are for GET.
            response = Response::status(200);
            response.body.push(piece(0, total)?);
        }
        Ok(response)
    }

    fn manifest(&self, repository: &str, version: &str) -> Response {
        match self.storage.manifest(repository, version) {
            Some((digest, manifest)) => Response::status(200)
                .header("Content-Type", manifest.media_type)
                .header("Docker-Content-Digest", digest)
                .bytes(manifest.bytes),
            None => Response::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        }
    }

    fn put_manifest(
        &self,
        repository: &str,
        version: &str,
        head: &Head,
        connection: &mut Connection<'_>,
    ) -> io::Result<(Response, u64)> {
        let mut bytes = Vec::new();
        let received = connection.read_body(head, MANIFEST_BYTES + 1, &mut bytes)?;
        let refused = |code, message: &str| Ok((Response::error(400, code, message), received));
        let Ok(document) = serde_json::from_slice::<Value>(&bytes) else {
            return refused("MANIFEST_INVALID", "it is no JSON document");
        };
        let digest = super::storage::digest_of(&bytes);
        if version.contains(':') && version != digest {
            return refused("DIGEST_INVALID", "provided digest did not match uploaded content");
        }
        if let Some(missing) = self.storage.missing(repository, &document) {
            return refused("MANIFEST_BLOB_UNKNOWN", &format!("it names {missing}"));
        }
        let media_type = head.header("content-type").unwrap_or("application/octet-stream");
        let manifest = Manifest { media_type: media_type.to_owned(), bytes };
        self.storage.put_manifest(repository, version, manifest);
        let mut response = Response::status(201)
            .header("Location", format!("/v2/{repository}/manifests/{digest}"))
            .header("Docker-Content-Digest", digest);
        if let Some(subject) = document["subject"]["digest"].as_str()
            && self.settings.referrers
        {
            response = response.header("OCI-Subject", subject);
        }
        Ok((response, received))
    }

    fn begin(
        &self,
        repository: &str,
        head: &Head,
        connection: &mut Connection<'_>,
    ) -> io::Result<(Response, u64)> {
        let first = |name| head.query(name).into_iter().next();
        if let (Some(digest), Some(from)) = (first("mount"), first("from"))
            && self.settings.mounts
            && self.storage.mount(&from, repository, &digest)
        {
            let received = connection.read_body(head, u64::MAX, &mut io::sink())?;
            return Ok((created(repository, &digest), received));
        }
        let number = self.storage.begin(repository);
        if first("digest").is_some() {
            return self.upload(repository, number, head, connection);
        }
        let received = connection.read_body(head, u64::MAX, &mut io::sink())?;
        Ok((progress(202, repository, number, 0), received))
    }

    /// A chunk (`PATCH`), or the end with or without a last chunk (`PUT`, or `POST` with a digest).
    fn upload(
        &self,
        repository: &str,
        number: u64,
        head: &Head,
        connection: &mut Connection<'_>,
    ) -> io::Result<(Response, u64)> {
        let Some(have) = self.storage.upload_length(repository, number) else {
            let received = connection.read_body(head, u64::MAX, &mut io::sink())?;
            return Ok((unknown_upload(), received));
        };
        let start = head.header("content-range").and_then(|range| range.split('-').next());
        if start.is_some_and(|start| start.parse() != Ok(have)) {
            let received = connection.read_body(head, u64::MAX, &mut io::sink())?;
            return Ok((progress(416, repository, number, have), received));
        }
        let limit = match self.fault {
            Some(Fault::CutUpload(limit)) => *limit,
            _ => u64::MAX,
        };
        let mut file = self.storage.upload_file(number)?;
        let outcome = connection.read_body(head, limit, &mut file);
        let length = file.metadata()?.len();
        self.storage.grow(number, length - have);
        let received = outcome?;
        if head.method == "PATCH" {
            return Ok((progress(202, repository, number, length), received));
        }
        let digest = head.query("digest").into_iter().next().unwrap_or_default();
        let response = if self.storage.finish(number, &digest)? {
            created(repository, &digest)
        } else {
            Response::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        };
        Ok((response, received))
    }

    fn tags(&self, repository: &str, head: &Head) -> Response {
        let Some(mut tags) = self.storage.tags(repository) else {
            return Response::error(404, "NAME_UNKNOWN", "repository name not known to registry");
        };
        if let Some(last) = head.query("last").first() {
            tags.retain(|tag| tag > last);
        }
        let most = head.query("n").first().and_then(|most| most.parse().ok());
        let page: Vec<String> = tags.iter().take(most.unwrap_or(usize::MAX)).cloned().collect();
        let response = Response::json(&json!({ "name": repository, "tags": page }));
        match page.last() {
            Some(last) if page.len() < tags.len() => {
                let next = format!("/v2/{repository}/tags/list?n={}&last={last}", page.len());
                response.header("Link", format!("<{next}>; rel=\"next\""))
            }
            _ => response,
        }
    }

    fn referrers(&self, repository: &str, digest: &str, head: &Head) -> Response {
        if !self.settings.referrers {
            return Response::error(404, "UNSUPPORTED", "no referrers here");
        }
        let mut found = self.storage.referrers(repository, digest);
        let wanted = head.query("artifactType").into_iter().next();
        if let Some(wanted) = &wanted {
            found.retain(|descriptor| descriptor["artifactType"].as_str() == Some(wanted));
        }
        let index = "application/vnd.oci.image.index.v1+json";
        let document = json!({ "schemaVersion": 2, "mediaType": index, "manifests": found });
        let mut response = Response::status(200).header("Content-Type", index);
        if wanted.is_some() {
            response = response.header("OCI-Filters-Applied", "artifactType");
        }
        response.bytes(document.to_string().into_bytes())
    }
}

fn created(repository: &str, digest: &str) -> Response {
    Response::status(201)
        .header("Location", format!("/v2/{repository}/blobs/{digest}"))
        .header("Docker-Content-Digest", digest)
}

fn progress(status: u16, repository: &str, number: u64, length: u64) -> Response {
    Response::status(status)
        .header("Location", format!("/v2/{repository}/blobs/uploads/{number}"))
        .header("Docker-Upload-UUID", number.to_string())
        .header("Range", format!("0-{}", length.saturating_sub(1)))
}

fn unknown_upload() -> Response {
    Response::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_may_be_called_like_routes() {
        let route = |path| Route::of(path).unwrap();
        assert_eq!(route("/v2/"), Route::Base);
        assert_eq!(
            route("/v2/a/blobs/manifests/v1"),
            Route::Manifest { repository: "a/blobs", version: "v1" }
        );
        assert_eq!(
            route("/v2/a/b/blobs/uploads/7"),
            Route::Upload { repository: "a/b", number: 7 }
        );
        assert_eq!(route("/v2/a/tags/list").repository(), Some("a"));
        assert_eq!(
            route("/v2/a/blobs/sha256:x"),
            Route::Blob { repository: "a", digest: "sha256:x" }
        );
        assert_eq!(Route::of("/"), None);
        assert_eq!(Route::of("/v2/a"), None);
    }
}
