//! Public keys as PEM files hold them (RFC 5280 SubjectPublicKeyInfo, RFC 5480, RFC 8410).
//!
//! DER has one spelling for each key, so the frame around the key's bytes is a constant of each
//! algorithm, and comparing it is the whole parser. Never accepts an algorithm that it cannot verify:
//! a key that silently verifies nothing would look like a policy.

use kiln_registry::Digest;
use pem_rfc7468::{LineEnding, decode_vec, encode_string};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};

use crate::Error;

/// Longest file of a key in bytes; real ones have some hundred.
pub const MAXIMUM_KEY: u64 = 16 << 10;

/// What a public key's PEM is called.
const LABEL: &str = "PUBLIC KEY";

/// The frame of a P-256 key; 65 bytes of the uncompressed point follow.
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Bytes of an uncompressed point, its mark 4 included.
const P256_BYTES: usize = 65;
/// The frame of an Ed25519 key; 32 bytes follow.
const ED25519_FRAME: &[u8] =
    &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Bytes of an Ed25519 key.
const ED25519_BYTES: usize = 32;

/// Object identifiers of what people try, with their names.
const UNSUPPORTED: &[(&[u8], &str)] = &[
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01], "RSA"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x22], "ECDSA P-384"),
    (&[0x2b, 0x81, 0x04, 0x00, 0x23], "ECDSA P-521"),
    (&[0x2b, 0x65, 0x71], "Ed448"),
];

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256: what cosign makes.
    EcdsaP256,
    /// Ed25519.
    Ed25519,
}

/// A key that proves signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl PublicKey {
    /// Reads a PEM file; `name` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Key`] for anything but one public key of an [`Algorithm`].
    pub fn from_pem(name: &str, text: &[u8]) -> Result<Self, Error> {
        let refused = |reason: String| Error::Key { name: name.to_owned(), reason };
        if text.len() as u64 > MAXIMUM_KEY {
            return Err(refused("it is too long for a key".to_owned()));
        }
        let (label, der) = decode_vec(text).map_err(|error| refused(format!("no PEM: {error}")))?;
        if label != LABEL {
            return Err(refused(format!("it is a {label}, not a {LABEL}")));
        }
        Self::from_spki(&der).map_err(refused)
    }

    /// Reads the DER inside; says what is wrong with it otherwise.
    pub(super) fn from_spki(der: &[u8]) -> Result<Self, String> {
        let frames = [
            (Algorithm::EcdsaP256, P256, P256_BYTES),
            (Algorithm::Ed25519, ED25519_FRAME, ED25519_BYTES),
        ];
        for (algorithm, frame, length) in frames {
            if let Some(bytes) = der.strip_prefix(frame).filter(|bytes| bytes.len() == length) {
                return Ok(Self { algorithm, bytes: bytes.to_vec() });
            }
        }
        let contains = |part: &[u8]| der.windows(part.len()).take(64).any(|bytes| bytes == part);
        let known = UNSUPPORTED.iter().find(|(identifier, _)| contains(identifier));
        let name = known.map_or("another", |(_, name)| *name);
        Err(format!("its algorithm is {name}; ECDSA P-256 and Ed25519 are supported"))
    }

    /// A key whose bytes are known to be right.
    pub(super) fn of_bytes(algorithm: Algorithm, bytes: &[u8]) -> Self {
        Self { algorithm, bytes: bytes.to_vec() }
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The DER form.
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        let frame = match self.algorithm {
            Algorithm::EcdsaP256 => P256,
            Algorithm::Ed25519 => ED25519_FRAME,
        };
        [frame, &self.bytes].concat()
    }

    /// The PEM form, as cosign writes it.
    ///
    /// # Errors
    /// [`Error::Key`] never in practice: the encoder could run out of memory only.
    pub fn to_pem(&self) -> Result<String, Error> {
        encode_string(LABEL, LineEnding::LF, &self.to_spki()).map_err(|error| Error::Key {
            name: "public key".to_owned(),
            reason: error.to_string(),
        })
    }

    /// What names the key: SHA-256 of the DER form, as `openssl pkey -pubin -outform DER | sha256sum`.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.to_spki())
    }

    /// Whether it made this signature of this message.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::EcdsaP256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.bytes)
                .verify(message, signature)
                .is_ok(),
            Algorithm::Ed25519 => {
                UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, PublicKey};

    /// Made with `cosign generate-key-pair`.
    const COSIGN: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE6Isg2pef7EVsMRVr0al5LtI/a2zc\n\
        F/E3fUs4i8wwJz0z1obux9kry+benzO48aIgARIcx7WVuNSAeyuBeekUtQ==\n\
        -----END PUBLIC KEY-----\n";
    const ED25519: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn keys_are_read_and_written() {
        for (text, algorithm) in [(COSIGN, Algorithm::EcdsaP256), (ED25519, Algorithm::Ed25519)] {
            let key = PublicKey::from_pem("k", text.as_bytes()).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            assert_eq!(key.to_pem().unwrap(), text);
            assert!(!key.verifies(b"message", b"signature"));
            assert!(key.fingerprint().to_string().starts_with("sha256:"));
        }
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let rsa = "-----BEGIN PUBLIC KEY-----\n\
            MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAL1TsRV0NxzHP2WUcCjLkiIiV3H+Q3Hp\n\
            -----END PUBLIC KEY-----\n";
        let certificate = COSIGN.replace("PUBLIC KEY", "CERTIFICATE");
        let cut = ED25519.replace("MCowBQYDK2Vw", "MCowBQYDK2Vx");
        let long = format!("{COSIGN}{}", "x".repeat(20_000));
        for (text, expected) in [
            (rsa, "RSA"),
            (certificate.as_str(), "it is a CERTIFICATE, not a PUBLIC KEY"),
            (&cut, "Ed448"),
            ("", "no PEM"),
            ("ssh-ed25519 AAAA me@example", "no PEM"),
            (&long, "too long"),
        ] {
            let error = PublicKey::from_pem("keys/a.pub", text.as_bytes()).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("keys/a.pub") && error.contains(expected), "{error}");
        }
    }
}
