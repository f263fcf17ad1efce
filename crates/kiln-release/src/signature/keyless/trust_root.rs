//! `trusted_root.json`: the authorities and logs that vouch for certificates (sigstore/protobuf-specs
//! sigstore_trustroot.proto, in proto3's JSON form).
//!
//! It is as trusted as a public key, so it comes with the verified root and is never fetched.
//! Authorities of time stamps are not read. A log whose key cannot be used stays in the list, so that
//! an entry of it is refused for that and not as foreign; a file of which nothing could prove anything
//! is refused when it is read.

use base64ct::{Base64, Encoding as _};
use serde::Deserialize;
use x509_cert::der::Decode as _;

use super::fault::Fault;
use crate::sequence::seconds_since_epoch;
use crate::signature::public_key::PublicKey;

/// Media type of version 0.1, as the specification first had it and as it has it now.
const MEDIA_TYPES: [&str; 2] = [
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
];

/// Longest file in bytes; the one of the public Sigstore has some seven thousand.
pub const MAXIMUM_TRUST_ROOT: u64 = 256 << 10;

/// Most authorities and most logs of each kind.
const MAXIMUM_MEMBERS: usize = 64;

/// Most certificates of one chain.
const MAXIMUM_CHAIN: usize = 8;

/// Whom to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustRoot {
    pub(super) authorities: Vec<Authority>,
    pub(super) logs: Vec<Log>,
    /// Logs of certificates; if there are any, certificates must be in one.
    pub(super) certificate_logs: Vec<Log>,
}

/// Who issues certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    /// Certificates in DER, the root last; never empty.
    pub(super) chain: Vec<Vec<u8>>,
    /// When it may issue: also within the validity of the root's own certificate.
    pub(super) valid: Window,
}

/// A log of signatures or of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Log {
    id: Vec<u8>,
    key: Result<PublicKey, String>,
    valid: Window,
}

impl Log {
    /// The key of the log with this identifier at a time.
    pub(super) fn key<'a>(logs: &'a [Self], id: &[u8], time: i64) -> Result<&'a PublicKey, Fault> {
        let mut fault = Fault::ForeignLog { log: hexadecimal(id) };
        for log in logs.iter().filter(|log| log.id == id) {
            match &log.key {
                Ok(key) if log.valid.contains(time) => return Ok(key),
                Ok(_) => fault = Fault::LogTime { time },
                Err(reason) => {
                    fault = Fault::Unsupported { what: format!("an entry of a log whose {reason}") }
                }
            }
        }
        Err(fault)
    }
}

/// From when to when something is trusted, in seconds since 1970; the end is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    start: i64,
    end: i64,
}

impl Window {
    pub(super) fn contains(self, time: i64) -> bool {
        self.start <= time && time < self.end
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    media_type: String,
    #[serde(default)]
    tlogs: Vec<WireLog>,
    #[serde(default)]
    certificate_authorities: Vec<WireAuthority>,
    #[serde(default)]
    ctlogs: Vec<WireLog>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLog {
    public_key: WireKey,
    log_id: WireIdentifier,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireKey {
    raw_bytes: String,
    #[serde(default)]
    valid_for: WireWindow,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireIdentifier {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAuthority {
    cert_chain: WireChain,
    #[serde(default)]
    valid_for: WireWindow,
}

#[derive(Deserialize)]
struct WireChain {
    certificates: Vec<WireCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCertificate {
    raw_bytes: String,
}

#[derive(Deserialize, Default)]
struct WireWindow {
    start: Option<String>,
    end: Option<String>,
}

impl TrustRoot {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        if text.len() as u64 > MAXIMUM_TRUST_ROOT {
            return Err("it is too long for a trust root".to_owned());
        }
        let wire: Wire = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if !MEDIA_TYPES.contains(&wire.media_type.as_str()) {
            return Err(format!("it is no trust root: its mediaType is not {}", MEDIA_TYPES[0]));
        }
        let counts = [wire.tlogs.len(), wire.certificate_authorities.len(), wire.ctlogs.len()];
        if counts.iter().any(|count| *count > MAXIMUM_MEMBERS) {
            return Err(format!("it has more than {MAXIMUM_MEMBERS} members of a kind"));
        }
        let authorities = wire.certificate_authorities.into_iter().map(authority);
        let root = Self {
            authorities: authorities.collect::<Result<_, _>>()?,
            logs: wire.tlogs.into_iter().map(log).collect::<Result<_, _>>()?,
            certificate_logs: wire.ctlogs.into_iter().map(log).collect::<Result<_, _>>()?,
        };
        if root.authorities.is_empty() {
            return Err("it has no certificate authority".to_owned());
        }
        if !root.logs.iter().any(|log| log.key.is_ok()) {
            return Err("it has no transparency log whose key can be used".to_owned());
        }
        Ok(root)
    }
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    Base64::decode_vec(text).map_err(|error| format!("no Base64: {error}"))
}

fn log(wire: WireLog) -> Result<Log, String> {
    let key = PublicKey::from_spki(&decode(&wire.public_key.raw_bytes)?);
    let key = key.map_err(|reason| format!("key is refused: {reason}"));
    let id = decode(&wire.log_id.key_id)?;
    Ok(Log { id, key, valid: window(&wire.public_key.valid_for)? })
}

fn authority(wire: WireAuthority) -> Result<Authority, String> {
    let certificates = wire.cert_chain.certificates;
    if certificates.len() > MAXIMUM_CHAIN {
        return Err(format!("a chain has more than {MAXIMUM_CHAIN} certificates"));
    }
    let chain = certificates.iter().map(|one| decode(&one.raw_bytes));
    let chain: Vec<_> = chain.collect::<Result<_, _>>()?;
    for der in &chain {
        x509_cert::Certificate::from_der(der)
            .map_err(|error| format!("a certificate cannot be read: {error}"))?;
    }
    let root = chain.last().ok_or("an authority has no certificates")?;
    let root = x509_cert::Certificate::from_der(root).map_err(|error| error.to_string())?;
    let seconds = |time: x509_cert::time::Time| {
        i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
    };
    let own = root.tbs_certificate.validity;
    let given = window(&wire.valid_for)?;
    let valid = Window {
        start: given.start.max(seconds(own.not_before)),
        // The last second of a certificate belongs to it.
        end: given.end.min(seconds(own.not_after).saturating_add(1)),
    };
    Ok(Authority { chain, valid })
}

fn window(wire: &WireWindow) -> Result<Window, String> {
    let time = |text: &Option<String>, otherwise: i64| match text {
        None => Ok(otherwise),
        Some(text) => seconds_since_epoch(text)
            .and_then(|seconds| i64::try_from(seconds).ok())
            .ok_or_else(|| "a time in it is no RFC 3339 time in UTC".to_owned()),
    };
    Ok(Window { start: time(&wire.start, i64::MIN)?, end: time(&wire.end, i64::MAX)? })
}

/// Bytes as people compare them.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect()
}
