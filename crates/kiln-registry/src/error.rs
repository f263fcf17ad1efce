//! Everything that can be wrong with an image, its source or the way to it.
//!
//! One enum for the whole crate, each variant naming the digest, path or URL at fault. While a
//! layer is read, an [`Error`] travels inside a [`std::io::Error`], because the tar reader above
//! knows nothing else; [`Error::from_io`] finds it again.

use std::io;
use std::path::PathBuf;

use crate::Digest;

/// A failure of reading or writing an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A source string is not one of the known forms.
    #[error("source {given:?} is not understood: {reason}")]
    InvalidSource {
        /// The source as given.
        given: String,
        /// What is wrong with it.
        reason: &'static str,
        /// A source that is probably meant.
        suggestion: Option<String>,
    },
    /// The source is a plain directory or tar, which carries no image metadata.
    #[error("source {given:?} is not a container image but plain files")]
    NotAnImage {
        /// The source as given.
        given: String,
    },
    /// An image name is malformed.
    #[error("image reference {given:?} is malformed: {reason}")]
    InvalidReference {
        /// The reference as given.
        given: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An image name does not say which registry it is in.
    #[error("image name {given:?} names no registry host{}", candidates(searched))]
    ShortName {
        /// The name, spelled out as far as it goes.
        given: String,
        /// The `unqualified-search-registries` of registries.conf, if there are several.
        searched: Vec<String>,
    },
    /// A digest is malformed or of an unsupported algorithm.
    #[error("digest {given:?} is refused: {reason}")]
    InvalidDigest {
        /// The digest as given.
        given: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A platform is malformed.
    #[error("platform {given:?} is malformed: {reason}")]
    InvalidPlatform {
        /// The platform as given.
        given: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The operating system refused to read or write.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// A JSON document cannot be read.
    #[error("{location} is not the JSON document it should be")]
    Json {
        /// The document.
        location: String,
        /// Where and why parsing stopped.
        source: serde_json::Error,
    },
    /// A document is well-formed JSON with a forbidden meaning.
    #[error("{location} is refused: {reason}")]
    InvalidDocument {
        /// The document.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is larger than its limit.
    #[error("{location} has {actual} {unit}, more than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        location: String,
        /// Its size.
        actual: u64,
        /// The limit.
        limit: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// The image that was asked for is not there.
    #[error("no image {wanted:?} in {location}; it has {}", list(available))]
    ReferenceNotFound {
        /// Layout or archive.
        location: String,
        /// The reference that was asked for.
        wanted: String,
        /// All references there are.
        available: Vec<String>,
    },
    /// The image that was asked for could be several.
    #[error("{wanted:?} fits several tags in {location}: {}", list(matching))]
    AmbiguousReference {
        /// The archive.
        location: String,
        /// The reference that was asked for.
        wanted: String,
        /// The tags that end with it.
        matching: Vec<String>,
    },
    /// There are several images and none was asked for.
    #[error("{location} holds several images: {}", list(available))]
    SeveralImages {
        /// Layout or archive.
        location: String,
        /// All references there are.
        available: Vec<String>,
    },
    /// An index has nothing for the platform.
    #[error("{location} has no image for {wanted}; it has {}", list(available))]
    NoPlatform {
        /// The index.
        location: String,
        /// The platform asked for.
        wanted: String,
        /// The platforms there are.
        available: Vec<String>,
    },
    /// A media type this program does not read.
    #[error("{location} has the unsupported media type {media_type:?}")]
    UnsupportedMediaType {
        /// The descriptor's blob.
        location: String,
        /// The type.
        media_type: String,
    },
    /// Indexes lead back to themselves.
    #[error("index {digest} contains itself")]
    IndexCycle {
        /// The index met twice.
        digest: Digest,
    },
    /// A blob is not where its digest says.
    #[error("blob {digest} is missing from {location}")]
    BlobMissing {
        /// The missing blob.
        digest: Digest,
        /// Layout or archive.
        location: String,
    },
    /// A blob ends early.
    #[error("{location} is truncated: {actual} of {expected} bytes")]
    Truncated {
        /// The blob and the file it is in.
        location: String,
        /// Size in its descriptor, in bytes.
        expected: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// A blob is longer than its descriptor says.
    #[error("{location} is longer than the {expected} bytes its descriptor gives")]
    Overlong {
        /// The blob and the file it is in.
        location: String,
        /// Size in its descriptor, in bytes.
        expected: u64,
    },
    /// Bytes do not have the digest they are named by.
    #[error("{location} has the wrong digest {actual}, expected {expected}")]
    DigestMismatch {
        /// The blob and the file it is in.
        location: String,
        /// Digest it is named by.
        expected: Digest,
        /// Digest it has.
        actual: Digest,
    },
    /// An unpacked layer does not have the digest in the configuration.
    #[error("{location} unpacks to the wrong diff_id {actual}, expected {expected}")]
    DiffIdMismatch {
        /// The layer and the file it is in.
        location: String,
        /// `rootfs.diff_ids` entry.
        expected: Digest,
        /// Digest of the uncompressed bytes.
        actual: Digest,
    },
    /// A layer's bytes are not in the format its media type names.
    #[error("{location} should be {expected} but looks like {found}")]
    CompressionMismatch {
        /// The layer and the file it is in.
        location: String,
        /// Format of the media type.
        expected: &'static str,
        /// Format of the first bytes.
        found: &'static str,
    },
    /// A layer cannot be unpacked.
    #[error("cannot unpack {location}")]
    Decompress {
        /// The layer and the file it is in.
        location: String,
        /// What the decompressor said.
        source: io::Error,
    },
    /// A layer unpacks to implausibly much.
    #[error("{location} unpacks to more than {limit} bytes, {ratio} times its size")]
    Ratio {
        /// The layer and the file it is in.
        location: String,
        /// Bytes allowed for this layer.
        limit: u64,
        /// Times its stored size.
        ratio: u64,
    },
    /// An archive is not a readable tar.
    #[error("archive {} is damaged at byte {offset}: {reason}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// An archive is compressed as a whole, so that blobs cannot be read in place.
    #[error("archive {} is compressed with {format} as a whole", path.display())]
    CompressedArchive {
        /// The archive.
        path: PathBuf,
        /// The compression.
        format: &'static str,
    },
    /// A configuration file of registry access cannot be used.
    #[error("configuration {} is not usable: {reason}", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A proxy cannot be used. Its address is not shown, for it may hold a password.
    #[error("the proxy for {scheme} is not usable: {reason}")]
    Proxy {
        /// `http` or `https`.
        scheme: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Credentials are kept by a program, which this one does not run.
    #[error("credentials for {host} are kept by the helper {helper:?} ({})", path.display())]
    CredentialHelper {
        /// The registry.
        host: String,
        /// The helper's name.
        helper: String,
        /// The file that names it.
        path: PathBuf,
    },
    /// `registries.conf` forbids the registry.
    #[error("registry {prefix} is blocked by {}", path.display())]
    Blocked {
        /// Prefix of the entry.
        prefix: String,
        /// The file with the entry.
        path: PathBuf,
    },
    /// A registry answered with a failure.
    #[error("{url} answered {status}{}", detail(message))]
    Status {
        /// The request.
        url: String,
        /// HTTP status code.
        status: u16,
        /// What the registry said, cut.
        message: String,
    },
    /// A registry answered with something no registry should.
    #[error("{url} gave an unusable answer: {reason}")]
    Protocol {
        /// The request.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A registry cannot be reached, or the connection broke.
    #[error("cannot read {url}")]
    Transport {
        /// The request.
        url: String,
        /// The transport's failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The gate does not let an image pass.
    #[error("the image may not be used")]
    Denied {
        /// What to do next.
        hint: Option<String>,
        /// The gate's reason, which names the image.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A verification thread ended without saying why.
    #[error("reading {location} stopped unexpectedly")]
    Stopped {
        /// The layer and the file it is in.
        location: String,
    },
}

impl Error {
    /// The crate's error inside an I/O error, as readers of layers return it.
    #[must_use]
    pub fn from_io(error: &io::Error) -> Option<&Self> {
        let mut current = error.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static));
        while let Some(inner) = current {
            if let Some(found) = inner.downcast_ref::<Self>() {
                return Some(found);
            }
            current = match inner.downcast_ref::<io::Error>() {
                Some(wrapped) => wrapped.get_ref().map(|inner| inner as _),
                None => inner.source(),
            };
        }
        None
    }

    /// What to do next, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::InvalidSource { suggestion: Some(suggestion), .. } => {
                format!("write it as {suggestion}")
            }
            Self::InvalidSource { suggestion: None, .. } => {
                format!("a source is one of {}", crate::source::FORMS)
            }
            Self::ReferenceNotFound { .. }
            | Self::AmbiguousReference { .. }
            | Self::SeveralImages { .. } => {
                "append one of the listed references to the source, behind a colon".into()
            }
            Self::NoPlatform { .. } => "choose one of the listed with --platform".into(),
            Self::InvalidPlatform { .. } => "write it like linux/amd64 or linux/arm/v7".into(),
            Self::InvalidReference { .. } => "write it like host/repository:tag".into(),
            Self::ShortName { given, .. } => {
                format!("write the host in front: docker://registry.example/{given}")
            }
            Self::TooLarge { .. } | Self::Ratio { .. } => {
                "if the image is trusted, raise the limit".into()
            }
            Self::BlobMissing { .. }
            | Self::Truncated { .. }
            | Self::Overlong { .. }
            | Self::DigestMismatch { .. }
            | Self::DiffIdMismatch { .. }
            | Self::Decompress { .. } => "the image is damaged: fetch or export it again".into(),
            Self::CompressedArchive { format, .. } => {
                format!("unpack the outer {format} first; blobs are read from the archive in place")
            }
            Self::CredentialHelper { .. } => {
                "log in with an auth file instead, as `podman login --authfile` writes it".into()
            }
            Self::Status { status: 401 | 403, .. } => {
                "log in first: `podman login` or `docker login` write the auth file that is read"
                    .into()
            }
            Self::Status { status: 404, .. } => "check the repository and tag for typing".into(),
            Self::Status { status: 429, .. } => {
                "the registry limits requests: log in, wait, or use a mirror".into()
            }
            Self::Denied { hint, .. } => return hint.clone(),
            Self::Proxy { .. } => {
                "correct HTTP_PROXY or HTTPS_PROXY, or except the host with NO_PROXY".into()
            }
            Self::Transport { source, .. } => match TlsFault::of(&**source) {
                Some(fault) => fault.hint().into(),
                None => {
                    "check name, network and proxy; plain HTTP must be allowed for each host".into()
                }
            },
            _ => return None,
        })
    }

    /// For readers: the error in the only shape [`std::io::Read`] can return.
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self)
    }

    pub(crate) fn denied(denied: crate::Denied) -> Self {
        Self::Denied { hint: denied.hint, source: denied.source }
    }

    /// Whether the same request may do better a little later: the server says so, or the connection
    /// failed for another reason than TLS.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status >= 500,
            Self::Transport { source, .. } => TlsFault::of(&**source).is_none(),
            _ => false,
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Failures of TLS that another attempt does not cure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsFault {
    /// Nobody trusted signed the server's certificate.
    UnknownAuthority,
    /// By this machine's clock the server's certificate is no longer or not yet valid.
    Time,
    /// The server's certificate is wrong in another way.
    Certificate,
    /// The server wants a certificate of the client.
    ClientCertificate,
    /// The server does not speak TLS.
    PlainHttp,
}

impl TlsFault {
    /// Finds the fault by what the TLS library says: its error types are no part of the interface of
    /// the HTTP library between it and us.
    pub(crate) fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text += &error.to_string();
            cause = error.source();
        }
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["UnknownIssuer", "UnknownCA"]) {
            Some(Self::UnknownAuthority)
        } else if says(&["certificate expired", "not valid yet", "Expired", "NotValidYet"]) {
            Some(Self::Time)
        } else if says(&["invalid peer certificate", "InvalidCertificate"]) {
            Some(Self::Certificate)
        } else if says(&["CertificateRequired", "received fatal alert: BadCertificate"]) {
            Some(Self::ClientCertificate)
        } else if says(&["InvalidContentType", "corrupt message"]) {
            Some(Self::PlainHttp)
        } else {
            None
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::UnknownAuthority => {
                "put the certificate of the authority that signed it into certs.d/HOST/ca.crt \
                 (containers-certs.d(5))"
            }
            Self::Time => {
                "compare this machine's clock (`date`) with the real time and set it; if it is \
                 right, the registry needs another certificate"
            }
            Self::Certificate => "the registry's certificate must be for this host name",
            Self::ClientCertificate => {
                "put a certificate that the registry knows into certs.d/HOST/client.cert and \
                 client.key (containers-certs.d(5))"
            }
            Self::PlainHttp => {
                "the registry does not speak TLS; plain HTTP must be allowed for each host"
            }
        }
    }
}

/// Names listed in one error at most.
const LISTED: usize = 20;

fn list(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        names if names.len() > LISTED => {
            format!("{} and {} more", names[..LISTED].join(", "), names.len() - LISTED)
        }
        names => names.join(", "),
    }
}

fn candidates(searched: &[String]) -> String {
    match searched {
        [] => String::new(),
        several => format!(", and registries.conf offers more than one: {}", list(several)),
    }
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
