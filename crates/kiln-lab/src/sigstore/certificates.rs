//! Certificates as Fulcio issues them (sigstore/fulcio docs/certificate-specification.md), with a
//! timestamp of the log of certificates inside (RFC 6962 section 3.3).
//!
//! A certificate is made twice: without the timestamp, for the log to sign, and with it. All of it but
//! the extension is the same both times, as RFC 6962 has it.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
    SerialNumber, SigningKey as _, date_time_ymd,
};
use sha2::{Digest as _, Sha256};

use super::{SIGNED_AT, Sigstore, key, unusable};
use crate::error::Error;

/// Fulcio's issuer as it first was.
const ISSUER: &[u64] = &[1, 3, 6, 1, 4, 1, 57264, 1, 1];
/// Fulcio's issuer as it is now.
const ISSUER_V2: &[u64] = &[1, 3, 6, 1, 4, 1, 57264, 1, 8];
/// Timestamps of logs of certificates.
const TIMESTAMPS: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];

/// Whom a certificate names.
#[derive(Debug, Clone)]
pub enum Name {
    /// An e-mail address.
    Email(String),
    /// A URL.
    Url(String),
    /// A host, as certificates of servers have it.
    Host(String),
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Signing code.
    Code,
    /// A server.
    Server,
    /// It does not say.
    None,
}

/// What a certificate says.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Its subjects.
    pub names: Vec<Name>,
    /// Who identified the subject, as the older field has it.
    pub issuer: Option<String>,
    /// The same as the newer field has it.
    pub issuer_v2: Option<String>,
    /// From when it is valid, in seconds since 1970; ten minutes long.
    pub start: i64,
    /// What it is for.
    pub purpose: Purpose,
    /// Whether the log of certificates has it.
    pub is_logged: bool,
}

impl Recipe {
    /// A good certificate.
    #[must_use]
    pub fn new(name: Name, issuer: &str) -> Self {
        Self {
            names: vec![name],
            issuer: Some(issuer.to_owned()),
            issuer_v2: Some(issuer.to_owned()),
            start: SIGNED_AT - 200,
            purpose: Purpose::Code,
            is_logged: true,
        }
    }
}

/// Somebody with a certificate.
#[derive(Debug)]
pub struct Leaf {
    key: KeyPair,
    /// The certificate in DER.
    pub certificate: Vec<u8>,
    /// The certificate in PEM form.
    pub pem: String,
}

impl Leaf {
    /// Signs a message (ECDSA P-256 with SHA-256).
    ///
    /// # Errors
    /// When randomness is missing.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.key.sign(message).map_err(|source| unusable(&source))
    }
}

/// A root and an intermediate of it.
pub(super) fn authority()
-> Result<(CertifiedIssuer<'static, KeyPair>, CertifiedIssuer<'static, KeyPair>), Error> {
    let failed = |source: rcgen::Error| unusable(&source);
    let parameters = |name: &str, below| {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::OrganizationName, "Lab");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2030, 1, 1);
        parameters
    };
    let key = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).map_err(failed);
    let root = CertifiedIssuer::self_signed(parameters("root", 1), key()?).map_err(failed)?;
    let mut below = parameters("intermediate", 0);
    below.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    below.use_authority_key_identifier_extension = true;
    let intermediate = CertifiedIssuer::signed_by(below, key()?, &root).map_err(failed)?;
    Ok((root, intermediate))
}

impl Sigstore {
    /// Issues a certificate for a new key.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn leaf(&self, recipe: &Recipe) -> Result<Leaf, Error> {
        let failed = |source: rcgen::Error| unusable(&source);
        let key = key()?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.serial_number = Some(SerialNumber::from_slice(&[0x2a; 16]));
        parameters.use_authority_key_identifier_extension = true;
        parameters.is_ca = IsCa::NoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = match recipe.purpose {
            Purpose::Code => vec![ExtendedKeyUsagePurpose::CodeSigning],
            Purpose::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Purpose::None => Vec::new(),
        };
        let seconds = |time| Duration::from_secs(u64::try_from(time).unwrap_or_default());
        parameters.not_before = date_time_ymd(1970, 1, 1) + seconds(recipe.start);
        parameters.not_after = date_time_ymd(1970, 1, 1) + seconds(recipe.start + 600);
        for name in &recipe.names {
            parameters.subject_alt_names.push(match name {
                Name::Email(text) => SanType::Rfc822Name(text.as_str().try_into().map_err(failed)?),
                Name::Url(text) => SanType::URI(text.as_str().try_into().map_err(failed)?),
                Name::Host(text) => SanType::DnsName(text.as_str().try_into().map_err(failed)?),
            });
        }
        let extensions = &mut parameters.custom_extensions;
        if let Some(issuer) = &recipe.issuer {
            let content = issuer.clone().into_bytes();
            extensions.push(CustomExtension::from_oid_content(ISSUER, content));
        }
        if let Some(issuer) = &recipe.issuer_v2 {
            let content = element(0x0c, issuer.as_bytes())?;
            extensions.push(CustomExtension::from_oid_content(ISSUER_V2, content));
        }
        let mut certificate = parameters.signed_by(&key, &self.intermediate).map_err(failed)?;
        if recipe.is_logged {
            let list = self.timestamps(certificate.der(), recipe.start)?;
            let content = element(0x04, &list)?;
            let extension = CustomExtension::from_oid_content(TIMESTAMPS, content);
            parameters.custom_extensions.push(extension);
            certificate = parameters.signed_by(&key, &self.intermediate).map_err(failed)?;
        }
        Ok(Leaf { key, certificate: certificate.der().to_vec(), pem: certificate.pem() })
    }

    /// A list with one timestamp of a certificate that does not have it yet.
    fn timestamps(&self, certificate: &[u8], time: i64) -> Result<Vec<u8>, Error> {
        let body = first_of_sequence(certificate)
            .ok_or_else(|| unusable(&"a certificate that is no sequence"))?;
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
        let milliseconds = (time.unsigned_abs() * 1000).to_be_bytes();
        let issuer = Sha256::digest(self.intermediate.key().subject_public_key_info());
        let signed =
            [&[0, 0][..], &milliseconds, &[0, 1], issuer.as_slice(), &length[1..], body, &[0, 0]]
                .concat();
        let signature = self.certificate_log.sign(&signed).map_err(|source| unusable(&source))?;
        let log = Sha256::digest(self.certificate_log.subject_public_key_info());
        let timestamp =
            [&[0][..], log.as_slice(), &milliseconds, &[0, 0], &[4, 3], &framed(&signature)]
                .concat();
        Ok(framed(&framed(&timestamp)))
    }
}

/// Bytes behind their length in two bytes.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&length[..], bytes].concat()
}

/// A DER element that is short.
fn element(tag: u8, content: &[u8]) -> Result<Vec<u8>, Error> {
    match u8::try_from(content.len()) {
        Ok(length) if length < 0x80 => Ok([&[tag, length][..], content].concat()),
        _ => Err(unusable(&"a text that is too long")),
    }
}

/// The first element of a DER sequence, its frame included; both have lengths of two bytes.
fn first_of_sequence(der: &[u8]) -> Option<&[u8]> {
    let inner = der.strip_prefix(&[0x30, 0x82])?.get(2..)?;
    let [0x30, 0x82, high, low, ..] = inner else { return None };
    inner.get(..4 + usize::from(u16::from_be_bytes([*high, *low])))
}
