//! Private keys: cosign's encrypted files and plain PKCS#8.
//!
//! cosign's file is a PEM around JSON (sigstore/cosign pkg/cosign/keys.go, go-securesystemslib
//! encrypted.go): scrypt makes a key of the password, a nacl secretbox holds the PKCS#8. The file is
//! one's own but its costs are bounded all the same, because it may come from a repository. ECDSA
//! signatures need randomness, so two of the same bytes differ; nothing of a release does.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use pem_rfc7468::decode_vec;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::public_key::{Algorithm, MAXIMUM_KEY, PublicKey};
use crate::Error;

/// What PEMs of cosign's encrypted keys are called, now and before 2022.
const ENCRYPTED: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];
/// What a plain PKCS#8 is called.
const PLAIN: &str = "PRIVATE KEY";

/// Most memory that a file may make scrypt take, in bytes: cosign's own keys take 64 MiB.
const MAXIMUM_MEMORY: u64 = 512 << 20;
/// Most rounds of scrypt's outer loop.
const MAXIMUM_ROUNDS: u32 = 16;

/// A key that signs.
pub struct PrivateKey {
    signer: Signer,
    public: PublicKey,
}

enum Signer {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PrivateKey({})", self.public.fingerprint())
    }
}

/// The JSON inside cosign's PEM.
#[derive(Deserialize)]
struct Encrypted {
    kdf: Derivation,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Derivation {
    name: String,
    params: Parameters,
    salt: String,
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(rename = "N")]
    cost: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl PrivateKey {
    /// Reads a PEM file; `name` is what errors call it. `password` is needed for encrypted ones, and
    /// may be empty.
    ///
    /// # Errors
    /// [`Error::Key`] for a wrong password and for anything but one private key of an [`Algorithm`].
    pub fn from_pem(name: &str, text: &[u8], password: Option<&[u8]>) -> Result<Self, Error> {
        let refused = |reason: String| Error::Key { name: name.to_owned(), reason };
        if text.len() as u64 > MAXIMUM_KEY {
            return Err(refused("it is too long for a key".to_owned()));
        }
        let (label, bytes) =
            decode_vec(text).map_err(|error| refused(format!("no PEM: {error}")))?;
        let bytes = Zeroizing::new(bytes);
        let document = if ENCRYPTED.contains(&label) {
            let password = password
                .ok_or_else(|| refused("it is encrypted and there is no password".to_owned()))?;
            decrypt(&bytes, password).map_err(refused)?
        } else if label == PLAIN {
            bytes
        } else {
            return Err(refused(format!(
                "it is a {label}; keys are read as cosign writes them or as plain PKCS#8"
            )));
        };
        Self::from_pkcs8(&document).ok_or_else(|| {
            refused("it holds no key for ECDSA P-256 (with its public half) or Ed25519".to_owned())
        })
    }

    fn from_pkcs8(document: &[u8]) -> Option<Self> {
        let random = SystemRandom::new();
        let ecdsa = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document, &random);
        if let Ok(pair) = ecdsa {
            let public = PublicKey::of_bytes(Algorithm::EcdsaP256, pair.public_key().as_ref());
            return Some(Self { signer: Signer::Ecdsa(pair), public });
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document).ok()?;
        let public = PublicKey::of_bytes(Algorithm::Ed25519, pair.public_key().as_ref());
        Some(Self { signer: Signer::Ed25519(pair), public })
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message.
    ///
    /// # Errors
    /// [`Error::Key`] if the system gives no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        match &self.signer {
            Signer::Ecdsa(pair) => {
                let signature =
                    pair.sign(&SystemRandom::new(), message).map_err(|_| Error::Key {
                        name: self.public.fingerprint().to_string(),
                        reason: "the system gives no randomness".to_owned(),
                    })?;
                Ok(signature.as_ref().to_vec())
            }
            Signer::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// Opens cosign's box; says what is wrong with it otherwise.
fn decrypt(document: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let malformed = |what: &str| format!("its encryption is malformed: {what}");
    let encrypted: Encrypted =
        serde_json::from_slice(document).map_err(|error| malformed(&error.to_string()))?;
    if encrypted.kdf.name != "scrypt" || encrypted.cipher.name != "nacl/secretbox" {
        return Err(malformed("only scrypt with nacl/secretbox is known"));
    }
    let decode = |text: &str| Base64::decode_vec(text).map_err(|_| malformed("no Base64"));
    let (salt, nonce) = (decode(&encrypted.kdf.salt)?, decode(&encrypted.cipher.nonce)?);
    let ciphertext = decode(&encrypted.ciphertext)?;
    let Parameters { cost, r, p } = encrypted.kdf.params;
    let memory = cost.checked_mul(u64::from(r)).and_then(|product| product.checked_mul(128));
    if !cost.is_power_of_two()
        || memory.is_none_or(|memory| memory > MAXIMUM_MEMORY)
        || p > MAXIMUM_ROUNDS
    {
        return Err(malformed("its scrypt parameters are out of bounds"));
    }
    let logarithm = u8::try_from(cost.ilog2()).unwrap_or(u8::MAX);
    let parameters = scrypt::Params::new(logarithm, r, p, scrypt::Params::RECOMMENDED_LEN)
        .map_err(|error| malformed(&error.to_string()))?;
    let mut key = Zeroizing::new([0_u8; 32]);
    scrypt::scrypt(password, &salt, &parameters, key.as_mut_slice())
        .map_err(|error| malformed(&error.to_string()))?;
    let nonce: [u8; 24] =
        nonce.try_into().map_err(|_| malformed("its nonce has another length"))?;
    let cipher = XSalsa20Poly1305::new(key.as_slice().into());
    cipher
        .decrypt(Nonce::from_slice(&nonce), ciphertext.as_slice())
        .map(Zeroizing::new)
        .map_err(|_| "the password is wrong, or the file is damaged".to_owned())
}

#[cfg(test)]
mod tests {
    use super::PrivateKey;
    use crate::signature::PublicKey;

    /// Made with `cosign generate-key-pair` and the password `secret`.
    const COSIGN: &str = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n\
        eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6\n\
        OCwicCI6MX0sInNhbHQiOiJvcHcrNktVZ3U4Q09lc1NhT0lWMzVjdVZhWmo2cFVM\n\
        RTRpV1MrNEh2MFJJPSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94\n\
        Iiwibm9uY2UiOiJKL2Q5UXJlYWJzSFhEOWZLdTJlYW5nQUx5elNVZG9lTCJ9LCJj\n\
        aXBoZXJ0ZXh0IjoiM05vei9laXlQT3lHek9RdTdoLzh0bjJKaEhlU0ZqelJKbVlm\n\
        dlBCSStrSmh2cThOWHYraVN3Q0s2M21BZGg4Qyt4dStnL2JEMXBOMnJUYlozWHlK\n\
        YXhMSzNIODlYL1dsQ2tYc0NYRzVOZFBRTWlxMFZCTFRsWFhBWEVmaTVnQnBSTWI2\n\
        bWRJVDBhdDVhM1BuN2k3RVdNVk5lZ01EcFN5Nk1rSzBKb3o3WGQ0OGhMSGxTa0NX\n\
        aGhsUDc5aXNZZmlKaDYvRk51KzE0OWlUSnc9PSJ9\n\
        -----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
    /// Its public half, as cosign wrote it.
    const COSIGN_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE6Isg2pef7EVsMRVr0al5LtI/a2zc\n\
        F/E3fUs4i8wwJz0z1obux9kry+benzO48aIgARIcx7WVuNSAeyuBeekUtQ==\n\
        -----END PUBLIC KEY-----\n";
    /// Made with `openssl genpkey -algorithm ed25519`.
    const PLAIN: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";

    #[test]
    fn keys_of_cosign_and_of_openssl_sign() {
        for (text, password) in [(COSIGN, Some(&b"secret"[..])), (PLAIN, None)] {
            let key = PrivateKey::from_pem("k", text.as_bytes(), password).unwrap();
            let signature = key.sign(b"message").unwrap();
            assert!(key.public().verifies(b"message", &signature));
            assert!(!key.public().verifies(b"another", &signature));
            assert!(!format!("{key:?}").contains("MC4"), "secrets are not shown");
        }
        let key = PrivateKey::from_pem("k", COSIGN.as_bytes(), Some(b"secret")).unwrap();
        let public = PublicKey::from_pem("k", COSIGN_PUBLIC.as_bytes()).unwrap();
        assert_eq!(*key.public(), public);
    }

    /// cosign's PEM around other parameters.
    fn with_parameters(parameters: &str) -> String {
        let json = format!(
            r#"{{"kdf":{{"name":"scrypt","params":{parameters},"salt":"AA=="}},
                "cipher":{{"name":"nacl/secretbox","nonce":"AA=="}},"ciphertext":"AA=="}}"#
        );
        let ending = pem_rfc7468::LineEnding::LF;
        pem_rfc7468::encode_string(super::ENCRYPTED[0], ending, json.as_bytes()).unwrap()
    }

    #[test]
    fn what_cannot_sign_is_refused_by_name() {
        let huge = with_parameters(r#"{"N":1099511627776,"r":8,"p":1}"#);
        let odd = with_parameters(r#"{"N":65535,"r":8,"p":1}"#);
        let short = with_parameters(r#"{"N":2,"r":1,"p":1}"#);
        let elliptic = PLAIN.replace("PRIVATE", "EC PRIVATE");
        let public = COSIGN_PUBLIC.replace("PUBLIC", "PRIVATE");
        for (text, password, expected) in [
            (COSIGN, Some("other"), "the password is wrong"),
            (COSIGN, None, "there is no password"),
            (&huge, Some(""), "out of bounds"),
            (&odd, Some(""), "out of bounds"),
            (&short, Some(""), "nonce"),
            (&elliptic, None, "EC PRIVATE KEY"),
            (&public, None, "it holds no key"),
            ("", None, "no PEM"),
        ] {
            let password = password.map(str::as_bytes);
            let error = PrivateKey::from_pem("my.key", text.as_bytes(), password).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("my.key") && text.contains(expected), "{text}");
            assert!(error.hint().is_some());
        }
    }
}
