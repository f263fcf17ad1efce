//! Whether the trust root vouches for a certificate at a time: its chain, its purpose, its log.
//!
//! Chains are rustls-webpki's work, the code that proves servers here as well; a chain builder of one's
//! own was dropped. The clock of the machine is never asked: the time is the log's. Certificates that
//! come with the signature can only fill the gap between its own and an authority of the trust root.

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::ring::{
    ECDSA_P256_SHA256, ECDSA_P256_SHA384, ECDSA_P384_SHA256, ECDSA_P384_SHA384, ED25519,
};
use webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

use super::fault::Fault;
use super::leaf::{Leaf, malformed};
use super::timestamp;
use super::trust_root::{Authority, TrustRoot};

/// id-kp-codeSigning, 1.3.6.1.5.5.7.3.3 (RFC 5280 section 4.2.1.12), as webpki wants it.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

/// How authorities may sign. RSA is not among them: no Fulcio has such a key.
const ALGORITHMS: &[&dyn rustls_pki_types::SignatureVerificationAlgorithm] =
    &[ECDSA_P256_SHA256, ECDSA_P256_SHA384, ECDSA_P384_SHA256, ECDSA_P384_SHA384, ED25519];

/// Proves a certificate. `others` came with it.
pub(super) fn prove(
    root: &TrustRoot,
    leaf: &Leaf,
    der: &[u8],
    others: &[Vec<u8>],
    time: i64,
) -> Result<(), Fault> {
    let mut fault = Fault::ForeignAuthority;
    for authority in &root.authorities {
        match issuer_key(authority, der, others, time) {
            Ok(issuer) => {
                // An absent purpose would mean any, and server certificates must not sign images.
                if !leaf.is_for_code {
                    return Err(Fault::Usage);
                }
                return timestamp::prove(&root.certificate_logs, &leaf.parsed, &issuer);
            }
            Err(Fault::ForeignAuthority) => {}
            Err(other) => fault = other,
        }
    }
    Err(fault)
}

/// The public key, in DER, of who issued a certificate, if the authority vouches for it.
fn issuer_key(
    authority: &Authority,
    der: &[u8],
    others: &[Vec<u8>],
    time: i64,
) -> Result<Vec<u8>, Fault> {
    let Some((root, intermediates)) = authority.chain.split_last() else {
        return Err(Fault::ForeignAuthority);
    };
    let root = CertificateDer::from(root.as_slice());
    let anchor = [anchor_from_trusted_cert(&root).map_err(malformed)?];
    let intermediates: Vec<_> = intermediates
        .iter()
        .chain(others)
        .map(|der| CertificateDer::from(der.as_slice()))
        .collect();
    let der = CertificateDer::from(der);
    let leaf = EndEntityCert::try_from(&der).map_err(malformed)?;
    let seconds = u64::try_from(time).map_err(|_| Fault::Expired { time })?;
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    // Intermediates of private authorities often name no purpose; those that do must name this one.
    let usage = KeyUsage::required_if_present(CODE_SIGNING);
    let path = leaf
        .verify_for_usage(ALGORITHMS, &anchor, &intermediates, at, usage, None, None)
        .map_err(|error| fault(&error, time))?;
    if !authority.valid.contains(time) {
        return Err(Fault::Expired { time });
    }
    Ok(match path.intermediate_certificates().next() {
        Some(issuer) => issuer.subject_public_key_info().to_vec(),
        None => {
            EndEntityCert::try_from(&root).map_err(malformed)?.subject_public_key_info().to_vec()
        }
    })
}

fn fault(error: &Error, time: i64) -> Fault {
    match error {
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => Fault::ForeignAuthority,
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => Fault::Expired { time },
        Error::RequiredEkuNotFoundContext(_) => Fault::Usage,
        error => Fault::Chain { reason: error.to_string() },
    }
}
