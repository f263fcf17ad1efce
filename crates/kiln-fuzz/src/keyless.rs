//! What vouches for certificates, and what comes with them: trust roots, bundles, log entries.

use std::collections::BTreeMap;

use kiln_registry::Digest;
use kiln_release::signature::{
    AllowedSigner, KeylessTrust, Signer, Trust, TrustRoot, judge, parse_bundle, parse_layer,
};

/// The only issuer that is listed here.
const ISSUER: &str = "https://issuer.example";

/// Reads the parts between zero bytes as a trust root, a bundle, and the annotations `certificate` and
/// `bundle` of a payload. Whatever they say, nobody signed who is not listed, and a refusal is one
/// line.
pub fn keyless(data: &[u8]) -> bool {
    let mut parts = data.split(|byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (root, bundle, certificate, entry) = (next(), next(), next(), next());
    let root = TrustRoot::parse(root);
    let is_root = root.is_ok();
    let bundle = parse_bundle(bundle);
    let is_certified = bundle.as_ref().is_ok_and(|bundle| matches!(bundle.certified, Some(Ok(_))));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let annotations = BTreeMap::from([
        ("dev.cosignproject.cosign/signature".to_owned(), "AAAA".to_owned()),
        ("dev.sigstore.cosign/certificate".to_owned(), text(certificate)),
        ("dev.sigstore.cosign/chain".to_owned(), text(certificate)),
        ("dev.sigstore.cosign/bundle".to_owned(), text(entry)),
    ]);
    let layer = parse_layer(b"{}".to_vec(), &annotations);
    let signers: Vec<_> = AllowedSigner::new("**@example.com", ISSUER).into_iter().collect();
    let keyless = root.into_iter().map(|root| KeylessTrust { root, signers: signers.clone() });
    let trust = Trust { keyless: keyless.collect(), ..Trust::default() };
    for candidate in [bundle, layer] {
        match judge(&[candidate], Digest::of(b"{}"), b"{}", &trust) {
            Ok(Signer::Certificate { subject, issuer }) => {
                assert!(subject.ends_with("@example.com") && issuer == ISSUER);
            }
            Ok(Signer::Key(key)) => panic!("no key is trusted, and {key} signed"),
            Err(reason) => assert!(!reason.to_string().contains('\n')),
        }
    }
    is_root || is_certified
}
