//! That the lab's Sigstore makes what cosign takes, and that we take what it makes: the documents that
//! our rules are tested with are of the true form.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::collections::BTreeMap;

use kiln_lab::sigstore::{
    Leaf, Name, Recipe, SIGNED_AT, Sigstore, annotations, authenticated, bundle, dsse, envelope,
    hashed_record, message_signature,
};
use kiln_lab::{CommandOutput, Oracle, Registry};
use kiln_registry::{Digest, Network, Options};
use kiln_release::signature::{
    AllowedSigner, KeylessTrust, Payload, Reason, Signer, Trust, TrustRoot, Verifier, judge,
    parse_bundle,
};
use serde_json::{Value, json};

const SUBJECT: &str = "https://git.example/edge/os/.github/workflows/build.yml@refs/heads/main";
const ISSUER: &str = "https://issuer.example";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A Sigstore, one certificate of it, a registry with an image, and a folder.
struct Bench {
    sigstore: Sigstore,
    leaf: Leaf,
    registry: Registry,
    folder: tempfile::TempDir,
    digest: Digest,
    length: usize,
}

impl Bench {
    fn new() -> Self {
        let sigstore = Sigstore::new().unwrap();
        let leaf = sigstore.leaf(&Recipe::new(Name::Url(SUBJECT.to_owned()), ISSUER)).unwrap();
        let registry = Registry::plain().unwrap();
        let config =
            br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let document = manifest(&registry, &[], "application/vnd.oci.image.config.v1+json", config);
        let document = document.to_string();
        let digest = registry.add_manifest("edge", Some("1"), MANIFEST, document.as_bytes());
        let folder = tempfile::tempdir().unwrap();
        let bench = Self {
            sigstore,
            leaf,
            registry,
            folder,
            digest: digest.parse().unwrap(),
            length: document.len(),
        };
        bench.write("root.json", &bench.sigstore.trusted_root().to_string());
        bench.write("log.pub", &bench.sigstore.log_key());
        bench.write("certificate-log.pub", &bench.sigstore.certificate_log_key());
        bench.write("chain.pem", &bench.sigstore.chain());
        bench
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// cosign, which knows this Sigstore and reaches no other.
    fn cosign(&self, arguments: &[&str], subject: &str) -> CommandOutput {
        let who = ["--certificate-identity", subject, "--certificate-oidc-issuer", ISSUER];
        Oracle::new("cosign")
            .arguments(arguments.iter().copied())
            .arguments(who)
            .folder(self.folder.path())
            .environment("HOME", self.folder.path())
            .environment("SIGSTORE_REKOR_PUBLIC_KEY", self.folder.path().join("log.pub"))
            .environment(
                "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE",
                self.folder.path().join("certificate-log.pub"),
            )
            .environment("SIGSTORE_ROOT_FILE", self.folder.path().join("chain.pem"))
            .outcome()
            .unwrap()
    }

    /// cosign takes it from its signer and from nobody else.
    fn cosign_takes(&self, arguments: &[&str]) {
        let said = self.cosign(arguments, SUBJECT);
        assert_eq!(said.status, 0, "{arguments:?}: {}", said.text);
        assert_ne!(self.cosign(arguments, "https://git.example/other").status, 0);
    }

    fn trust(&self, subject: &str) -> Trust {
        let root = self.sigstore.trusted_root().to_string();
        let root = TrustRoot::parse(root.as_bytes()).unwrap();
        let signers = vec![AllowedSigner::new(subject, ISSUER).unwrap()];
        Trust { keyless: vec![KeylessTrust { root, signers }], ..Trust::default() }
    }

    /// We take the image from its signer and from nobody else.
    fn we_take(&self) {
        let plain_http = vec![self.registry.host()];
        let network = Network { plain_http, ..Network::default() };
        let options = Options { network, ..Options::default() };
        let reference = format!("{}/edge:1", self.registry.host()).parse().unwrap();
        let verdict = |subject| {
            let verifier = Verifier::new(self.trust(subject), true, None, &options);
            verifier.inspect(&reference, self.digest).unwrap()
        };
        assert_eq!(verdict(SUBJECT), Ok(signer()));
        let refused = verdict("https://git.example/other");
        assert!(matches!(refused, Err(Reason::Certificate(_))), "{refused:?}");
    }

    fn image(&self) -> String {
        format!("{}/edge@{}", self.registry.host(), self.digest)
    }
}

fn signer() -> Signer {
    Signer::Certificate { subject: SUBJECT.to_owned(), issuer: ISSUER.to_owned() }
}

/// A manifest of layers that are put into the registry with it.
fn manifest(
    registry: &Registry,
    layers: &[(&str, &[u8], &BTreeMap<String, String>)],
    kind: &str,
    config: &[u8],
) -> Value {
    let put = |bytes: &[u8]| registry.add_blob("edge", bytes).unwrap();
    let layers: Vec<_> = layers
        .iter()
        .map(|(kind, bytes, annotations)| {
            json!({ "mediaType": kind, "digest": put(bytes), "size": bytes.len(),
                    "annotations": annotations })
        })
        .collect();
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": kind, "digest": put(config), "size": config.len() },
        "layers": layers,
    })
}

#[test]
fn a_signature_under_a_tag_is_taken_by_cosign_and_by_us() {
    let bench = Bench::new();
    let reference = format!("{}/edge:1", bench.registry.host()).parse().unwrap();
    let payload = Payload::of(&reference, bench.digest).to_json().unwrap();
    let signature = bench.leaf.sign(&payload).unwrap();
    let body = hashed_record(&bench.leaf, &payload, &signature);
    let entry = bench.sigstore.entry(&body, SIGNED_AT).unwrap();
    let annotations = annotations(&bench.sigstore, &bench.leaf, &entry, &signature);
    let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
    let document = manifest(
        &bench.registry,
        &[(kind, &payload, &annotations)],
        "application/vnd.oci.image.config.v1+json",
        br#"{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#,
    );
    let tag = format!("sha256-{}.sig", bench.digest.hex());
    let document = document.to_string();
    bench.registry.add_manifest("edge", Some(&tag), MANIFEST, document.as_bytes());
    bench.we_take();
    bench.cosign_takes(&["verify", "--offline", "--allow-http-registry", &bench.image()]);
}

#[test]
fn a_bundle_of_a_message_is_taken_by_cosign_and_by_us() {
    let bench = Bench::new();
    let message = b"{\"schemaVersion\":2}";
    let signature = bench.leaf.sign(message).unwrap();
    let body = hashed_record(&bench.leaf, message, &signature);
    let entry = bench.sigstore.entry(&body, SIGNED_AT).unwrap();
    let text = bundle(&bench.leaf, &entry, message_signature(message, &signature)).to_string();
    let candidate = parse_bundle(text.as_bytes());
    let verdict = judge(&[candidate], Digest::of(message), message, &bench.trust(SUBJECT));
    assert_eq!(verdict, Ok(signer()));
    bench.write("bundle.json", &text);
    bench.write("message", "{\"schemaVersion\":2}");
    let form = ["--new-bundle-format", "--bundle", "bundle.json", "--trusted-root", "root.json"];
    bench.cosign_takes(&[&["verify-blob"], &form[..], &["message"]].concat());
}

#[test]
fn a_bundle_that_refers_to_an_image_is_taken_by_cosign_and_by_us() {
    let bench = Bench::new();
    let payload = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "", "digest": { "sha256": bench.digest.hex() } }],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    });
    let payload = payload.to_string();
    let signature = bench.leaf.sign(&authenticated(payload.as_bytes())).unwrap();
    let content = envelope(payload.as_bytes(), &signature);
    let body = dsse(&bench.leaf, &content.1, payload.as_bytes(), &signature);
    let entry = bench.sigstore.entry(&body, SIGNED_AT).unwrap();
    let text = bundle(&bench.leaf, &entry, content).to_string();
    let none = BTreeMap::new();
    let empty = "application/vnd.oci.empty.v1+json";
    let mut document = manifest(&bench.registry, &[(BUNDLE, text.as_bytes(), &none)], empty, b"{}");
    document["artifactType"] = BUNDLE.into();
    document["subject"] = json!({ "mediaType": MANIFEST, "digest": bench.digest.to_string(),
        "size": bench.length });
    document["annotations"] = json!({
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
    });
    let document = document.to_string();
    bench.registry.add_manifest("edge", None, MANIFEST, document.as_bytes());
    bench.we_take();
    // Version 2 of cosign reads bundles in registries as attestations alone.
    let form = ["--new-bundle-format", "--trusted-root", "root.json", "--allow-http-registry"];
    let kind = ["--type", "https://sigstore.dev/cosign/sign/v1"];
    let image = bench.image();
    bench.cosign_takes(&[&["verify-attestation"], &form[..], &kind, &[&image]].concat());
}
