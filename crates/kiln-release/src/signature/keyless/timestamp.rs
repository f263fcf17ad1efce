//! That a certificate was logged: the signed certificate timestamps inside (RFC 6962 sections 3.2 and
//! 3.3).
//!
//! The log signed the certificate as it was before its timestamps were put in, so they are taken out
//! and the rest is written again. DER has one spelling, so what is written is what was signed, or the
//! signature does not hold.

use kiln_registry::Digest;
use x509_cert::Certificate;
use x509_cert::der::asn1::{ObjectIdentifier, OctetStringRef};
use x509_cert::der::{Decode as _, Encode as _};

use super::fault::Fault;
use super::leaf::{extension, malformed};
use super::trust_root::Log;

/// The list of timestamps (RFC 6962 section 3.3).
const TIMESTAMPS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

/// Version 1 of a timestamp, and its signature type (there, section 3.2).
const VERSION_AND_TYPE: [u8; 2] = [0, 0];
/// A timestamp of a certificate that does not have it yet (there, section 3.1).
const PRECERTIFICATE: [u8; 2] = [0, 1];
/// SHA-256 and ECDSA in TLS (RFC 5246 section 7.4.1.4.1).
const SHA256_ECDSA: [u8; 2] = [4, 3];

/// Most timestamps that are looked at.
const MAXIMUM_TIMESTAMPS: usize = 16;

/// One timestamp.
#[derive(Debug, PartialEq, Eq)]
struct Timestamp<'a> {
    log: &'a [u8],
    /// Milliseconds since 1970, as eight bytes.
    time: &'a [u8],
    extensions: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

/// Proves that one of the logs has the certificate, which the key (in DER) issued. Without logs
/// nothing is asked.
pub(super) fn prove(logs: &[Log], certificate: &Certificate, issuer: &[u8]) -> Result<(), Fault> {
    if logs.is_empty() {
        return Ok(());
    }
    let refused = |reason| Fault::CertificateLog { reason };
    let list = extension(certificate, TIMESTAMPS)?.ok_or(refused("it has no timestamp"))?;
    let list = OctetStringRef::from_der(list).map_err(malformed)?;
    let timestamps = read(list.as_bytes()).ok_or(refused("its timestamps cannot be read"))?;

    let mut before = certificate.tbs_certificate.clone();
    if let Some(extensions) = &mut before.extensions {
        extensions.retain(|extension| extension.extn_id != TIMESTAMPS);
    }
    let before = before.to_der().map_err(malformed)?;
    let length = u32::try_from(before.len()).map_err(malformed)?.to_be_bytes();
    let issuer = Digest::of(issuer);

    let mut reason = refused("no timestamp is by a certificate log of the trust root");
    for timestamp in timestamps {
        let milliseconds = <[u8; 8]>::try_from(timestamp.time).map_or(0, u64::from_be_bytes);
        let seconds = i64::try_from(milliseconds / 1000).unwrap_or(i64::MAX);
        let Ok(key) = Log::key(logs, timestamp.log, seconds) else { continue };
        let signed = [
            &VERSION_AND_TYPE[..],
            timestamp.time,
            &PRECERTIFICATE,
            issuer.as_bytes(),
            &length[1..],
            &before,
            timestamp.extensions,
        ]
        .concat();
        if timestamp.algorithm == SHA256_ECDSA && key.verifies(&signed, timestamp.signature) {
            return Ok(());
        }
        reason = refused("the log's signature does not hold");
    }
    Err(reason)
}

/// The timestamps of version 1 in a list.
fn read(list: &[u8]) -> Option<Vec<Timestamp<'_>>> {
    let (mut list, rest) = vector(list)?;
    if !rest.is_empty() {
        return None;
    }
    let mut timestamps = Vec::new();
    while !list.is_empty() && timestamps.len() < MAXIMUM_TIMESTAMPS {
        let (one, rest) = vector(list)?;
        list = rest;
        let (version, one) = one.split_first()?;
        if *version != 0 {
            continue;
        }
        let (log, one) = one.split_at_checked(32)?;
        let (time, one) = one.split_at_checked(8)?;
        let (_, after) = vector(one)?;
        let extensions = one.get(..one.len() - after.len())?;
        let (algorithm, one) = after.split_at_checked(2)?;
        let (signature, rest) = vector(one)?;
        if !rest.is_empty() {
            return None;
        }
        timestamps.push(Timestamp { log, time, extensions, algorithm, signature });
    }
    Some(timestamps)
}

/// Bytes behind their length in two bytes, and what follows.
fn vector(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn lists_are_whole_or_refused() {
        let one = [&[0][..], &[7; 32], &[9; 8], &[0, 1, 5], &[4, 3], &[0, 2, 8, 8]].concat();
        let unknown = [&[1][..], &[0; 4]].concat();
        let framed =
            |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        let list = framed(&[framed(&unknown), framed(&one)].concat());
        let read_back = read(&list).unwrap();
        assert_eq!(read_back.len(), 1);
        assert_eq!(
            (read_back[0].log, read_back[0].extensions, read_back[0].signature),
            (&[7; 32][..], &[0, 1, 5][..], &[8, 8][..])
        );
        for length in 0..list.len() {
            assert_eq!(read(&list[..length]), None, "{length}");
        }
        assert_eq!(read(&[list, vec![0]].concat()), None);
    }
}
