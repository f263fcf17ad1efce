//! Seeds of keyless signatures: a trust root, and what a Sigstore of its own signed.
//!
//! Its keys are new each time, so files that are there stay as they are.

use std::error::Error;
use std::path::Path;

use kiln_lab::sigstore::{
    Name, Recipe, SIGNED_AT, Sigstore, annotations, authenticated, bundle, dsse, envelope,
    hashed_record, message_signature,
};

use crate::binary::Seed;

pub(crate) fn seeds(corpus: &Path) -> Result<Vec<Seed>, Box<dyn Error>> {
    if corpus.join("keyless/message").exists() {
        return Ok(Vec::new());
    }
    let sigstore = Sigstore::new()?;
    let root = sigstore.trusted_root().to_string();
    let name = Name::Email("me@example.com".to_owned());
    let leaf = sigstore.leaf(&Recipe::new(name, "https://issuer.example"))?;

    let signature = leaf.sign(b"{}")?;
    let entry = sigstore.entry(&hashed_record(&leaf, b"{}", &signature), SIGNED_AT)?;
    let message = bundle(&leaf, &entry, message_signature(b"{}", &signature)).to_string();
    let annotations = annotations(&sigstore, &leaf, &entry, &signature);
    let log = &annotations["dev.sigstore.cosign/bundle"];
    let layer = [&root, "", &leaf.pem, log].join("\0");

    let digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let payload = format!(
        "{{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{{\"name\":\"\",\"digest\":\
         {{\"sha256\":\"{digest}\"}}}}],\"predicateType\":\"https://sigstore.dev/cosign/sign/v1\"}}"
    );
    let payload = payload.as_bytes();
    let signature = leaf.sign(&authenticated(payload))?;
    let content = envelope(payload, &signature);
    let body = dsse(&leaf, &content.1, payload, &signature);
    let statement = bundle(&leaf, &sigstore.entry(&body, SIGNED_AT)?, content).to_string();

    let seeds = [
        ("message", [root.as_str(), &message].join("\0")),
        ("statement", [root.as_str(), &statement].join("\0")),
        ("layer", layer),
        ("trust-root", root),
    ];
    Ok(seeds.map(|(name, text)| ("keyless", name, text.into_bytes())).into())
}
