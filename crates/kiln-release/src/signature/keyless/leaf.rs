//! The certificate of a keyless signature: whose key it is (RFC 5280; sigstore/fulcio
//! docs/certificate-specification.md and docs/oid-info.md).
//!
//! Only what the identity needs is read here; whether anybody vouches for it, [`super::chain`] says.
//! A certificate with two subjects or two issuers is refused: which one counts would be a choice of
//! whoever made it.

use pem_rfc7468::decode_vec;
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

use super::fault::Fault;
use super::signer::MAXIMUM_NAME;
use crate::signature::public_key::PublicKey;

/// Longest certificate in bytes; those of Fulcio have less than 2000.
pub(super) const MAXIMUM_CERTIFICATE: usize = 32 << 10;

/// id-ce-subjectAltName (RFC 5280 section 4.2.1.6).
const SUBJECT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
/// id-ce-extKeyUsage (RFC 5280 section 4.2.1.12).
const USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
/// id-kp-codeSigning (there).
const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
/// Fulcio's issuer, the bytes of a text.
const ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");
/// Fulcio's issuer as a UTF8String, which all newer certificates have.
const ISSUER_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");

/// What a certificate says, of which nothing is proved yet.
#[derive(Debug)]
pub(super) struct Leaf {
    /// Its fields.
    pub(super) parsed: Certificate,
    /// The key that it is about.
    pub(super) key: PublicKey,
    /// The e-mail address or URL of the signer.
    pub(super) subject: String,
    /// Who identified the signer.
    pub(super) issuer: String,
    /// Whether it is for signing code.
    pub(super) is_for_code: bool,
}

impl Leaf {
    /// Reads a certificate in DER.
    pub(super) fn parse(der: &[u8]) -> Result<Self, Fault> {
        if der.len() > MAXIMUM_CERTIFICATE {
            return Err(malformed("it is too long"));
        }
        let parsed = Certificate::from_der(der).map_err(malformed)?;
        let spki = &parsed.tbs_certificate.subject_public_key_info;
        let key = PublicKey::from_spki(&spki.to_der().map_err(malformed)?);
        let key = key.map_err(|reason| Fault::Unsupported {
            what: format!("a certificate whose key is refused: {reason}"),
        })?;
        let is_for_code = match extension(&parsed, USAGE)? {
            Some(value) => {
                let usage = ExtendedKeyUsage::from_der(value).map_err(malformed)?;
                usage.0.contains(&CODE_SIGNING)
            }
            None => false,
        };
        let (subject, issuer) = (subject(&parsed)?, issuer(&parsed)?);
        if subject.len() > MAXIMUM_NAME || issuer.len() > MAXIMUM_NAME {
            return Err(malformed("its subject or issuer is too long"));
        }
        Ok(Self { parsed, key, subject, issuer, is_for_code })
    }
}

/// The certificate of a PEM text that has one, and the certificates of one that has several.
pub(super) fn from_pem(text: &str, most: usize) -> Result<Vec<Vec<u8>>, Fault> {
    const END: &str = "-----END CERTIFICATE-----";
    if text.len() > MAXIMUM_CERTIFICATE * 2 {
        return Err(malformed("it is too long"));
    }
    let mut certificates = Vec::new();
    for part in text.split_inclusive(END).filter(|part| !part.trim().is_empty()) {
        if certificates.len() == most {
            return Err(malformed(format!("there are more than {most} certificates")));
        }
        let (label, der) = decode_vec(part.trim().as_bytes()).map_err(malformed)?;
        if label != "CERTIFICATE" {
            return Err(malformed(format!("it is a {label}")));
        }
        certificates.push(der);
    }
    Ok(certificates)
}

/// The value of an extension that may be there once.
pub(super) fn extension(
    certificate: &Certificate,
    wanted: ObjectIdentifier,
) -> Result<Option<&[u8]>, Fault> {
    let extensions = certificate.tbs_certificate.extensions.iter().flatten();
    let mut found = extensions.filter(|extension| extension.extn_id == wanted);
    match (found.next(), found.next()) {
        (found, None) => Ok(found.map(|extension| extension.extn_value.as_bytes())),
        _ => Err(malformed(format!("it has the extension {wanted} twice"))),
    }
}

fn subject(certificate: &Certificate) -> Result<String, Fault> {
    let value = extension(certificate, SUBJECT)?.ok_or_else(|| malformed("it has no subject"))?;
    let names = SubjectAltName::from_der(value).map_err(malformed)?;
    match names.0.as_slice() {
        [GeneralName::Rfc822Name(name)] => Ok(name.as_str().to_owned()),
        [GeneralName::UniformResourceIdentifier(name)] => Ok(name.as_str().to_owned()),
        [_] => Err(Fault::Unsupported {
            what: "a subject that is neither an e-mail address nor a URL".to_owned(),
        }),
        _ => Err(malformed("it has not one subject")),
    }
}

fn issuer(certificate: &Certificate) -> Result<String, Fault> {
    let old = extension(certificate, ISSUER)?.map(std::str::from_utf8).transpose();
    let old = old.map_err(malformed)?;
    let new = extension(certificate, ISSUER_V2)?.map(String::from_der).transpose();
    let new = new.map_err(malformed)?;
    match (old.map(str::to_owned), new) {
        (Some(old), Some(new)) if old != new => Err(malformed("it has two issuers")),
        (old, new) => new.or(old).ok_or_else(|| malformed("it has no issuer")),
    }
}

/// What a certificate is called in a fault.
pub(super) fn malformed(reason: impl std::fmt::Display) -> Fault {
    Fault::Malformed { what: "certificate", reason: reason.to_string() }
}
