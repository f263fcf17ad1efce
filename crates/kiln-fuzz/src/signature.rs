//! What vouches for an image, and what says who may: payloads, bundles, keys and policies.

use kiln_host::policy::{File, Signatures};
use kiln_registry::Digest;
use kiln_release::signature::{
    Candidate, Claim, Payload, PrivateKey, PublicKey, Trust, is_below, judge, parse_bundle,
};

/// A key that signed no input here.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE6Isg2pef7EVsMRVr0al5LtI/a2zc\n\
    F/E3fUs4i8wwJz0z1obux9kry+benzO48aIgARIcx7WVuNSAeyuBeekUtQ==\n\
    -----END PUBLIC KEY-----\n";

/// Reads the bytes as each of them. What is read is the same when written again, a machine's policy
/// never loosens its root's, and nothing is vouched for by a key that signed nothing.
pub fn signature(data: &[u8]) -> bool {
    let payload = Payload::parse(data);
    if let Ok(payload) = &payload {
        let written = payload.to_json().unwrap_or_default();
        assert_eq!(Payload::parse(&written).as_ref(), Ok(payload));
        assert!(!is_below(&payload.reference, "registry.invalid/none"));
    }
    let bundle = parse_bundle(data);
    let claimed = Candidate {
        claim: Claim::Payload(data.to_vec()),
        signatures: vec![data.get(..64).unwrap_or(data).to_vec()],
        certified: None,
    };
    let is_bundle = bundle.is_ok();
    if let Ok(key) = PublicKey::from_pem("key", KEY.as_bytes()) {
        let trust = Trust { keys: vec![key], ..Trust::default() };
        let verdict = judge(&[bundle, Ok(claimed)], Digest::of(data), data, &trust);
        assert!(verdict.is_err_and(|reason| !reason.to_string().contains('\n')));
    }
    let key = PublicKey::from_pem("key", data);
    if let Ok(key) = &key {
        let text = key.to_pem().unwrap_or_default();
        assert!(PublicKey::from_pem("key", text.as_bytes()).is_ok_and(|again| again == *key));
    }
    let private = PrivateKey::from_pem("key", data, None);
    let policy = File::parse(data);
    if let Ok(file) = &policy {
        for has_keys in [false, true] {
            let root = File::of_root_without(true).join(Some(file.clone()), has_keys);
            assert_eq!(root, File::of_root_without(true));
            let joined = File::of_root_without(false).join(Some(file.clone()), has_keys);
            assert!(joined.signatures >= file.signatures);
            assert!(!joined.allow_no_verify || file.allow_no_verify);
        }
        let root = file.clone().join(None, true);
        assert!(root.signatures >= file.signatures || file.signatures == Signatures::Optional);
    }
    is_bundle || payload.is_ok() || key.is_ok() || private.is_ok() || policy.is_ok()
}
