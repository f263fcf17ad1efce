//! What cosign makes of our signatures, and we of cosign's: the same verdict, in every form that both
//! know.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::path::Path;

use kiln_lab::{CommandOutput, Oracle, Registry};
use kiln_registry::{Digest, Network, Options, Reference};
use kiln_release::signature::{
    PrivateKey, PublicKey, Reason, Scheme, SignOptions, Signer, Trust, Verifier, sign,
};

/// The password of all keys here.
const PASSWORD: &str = "a password";

/// A registry with one image, and a folder with two of cosign's key pairs.
struct Bench {
    registry: Registry,
    folder: tempfile::TempDir,
    digest: Digest,
}

impl Bench {
    fn new() -> Self {
        let registry = Registry::plain().unwrap();
        let config =
            br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let blob = registry.add_blob("edge", &config[..]).unwrap();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let document = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{media_type}\",\"config\":{{\"mediaType\":\
             \"application/vnd.oci.image.config.v1+json\",\"digest\":\"{blob}\",\"size\":{}}},\
             \"layers\":[]}}",
            config.len()
        );
        let digest = registry.add_manifest("edge", Some("1"), media_type, document.as_bytes());
        let folder = tempfile::tempdir().unwrap();
        let bench = Self { registry, folder, digest: digest.parse().unwrap() };
        for name in ["mine", "theirs"] {
            let prefix = ["generate-key-pair", "--output-key-prefix", name];
            bench.cosign(prefix).run().unwrap();
        }
        bench
    }

    fn cosign<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Oracle {
        Oracle::new("cosign")
            .arguments(arguments)
            .folder(self.folder.path())
            .environment("HOME", self.folder.path())
            .environment("COSIGN_PASSWORD", PASSWORD)
            .environment("COSIGN_EXPERIMENTAL", "1")
    }

    /// cosign signs with a key of the folder.
    fn cosign_signs(&self, key: &str, more: &[&str]) {
        let image = format!("{}/edge@{}", self.registry.host(), self.digest);
        let base = ["sign", "--yes", "--tlog-upload=false", "--allow-http-registry", "--key", key];
        self.cosign(base).arguments(more).argument(image).run().unwrap();
    }

    /// What cosign says to an image with a key of the folder.
    fn cosign_verifies(&self, key: &str, more: &[&str]) -> CommandOutput {
        let image = format!("{}/edge@{}", self.registry.host(), self.digest);
        let base = ["verify", "--insecure-ignore-tlog", "--allow-http-registry", "--key", key];
        self.cosign(base).arguments(more).argument(image).outcome().unwrap()
    }

    fn options(&self) -> Options {
        let plain_http = vec![self.registry.host()];
        Options { network: Network { plain_http, ..Network::default() }, ..Options::default() }
    }

    fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.registry.host()).parse().unwrap()
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap()
    }

    fn private_key(&self, name: &str) -> PrivateKey {
        PrivateKey::from_pem(name, &self.file(name), Some(PASSWORD.as_bytes())).unwrap()
    }

    fn we_sign(&self, key: &str, scheme: Scheme, place: Option<&Reference>) -> bool {
        let (key, registry) = (self.private_key(key), self.options());
        let options = SignOptions { key: &key, scheme, place, registry: &registry };
        sign(&self.reference("edge:1"), self.digest, &options).unwrap().is_new
    }

    fn we_verify(&self, key: &str, place: Option<Reference>) -> Result<Signer, Reason> {
        let keys = vec![PublicKey::from_pem(key, &self.file(key)).unwrap()];
        let trust = Trust { keys, identities: vec![self.registry.host()], ..Trust::default() };
        let verifier = Verifier::new(trust, true, place, &self.options());
        verifier.inspect(&self.reference("edge:1"), self.digest).unwrap()
    }
}

#[test]
fn cosign_signs_and_we_verify() {
    for more in [&[][..], &["--registry-referrers-mode=oci-1-1"]] {
        let bench = Bench::new();
        assert!(matches!(bench.we_verify("mine.pub", None), Err(Reason::Missing { .. })));
        bench.cosign_signs("mine.key", more);
        let key = bench.private_key("mine.key");
        let signer = Signer::Key(key.public().fingerprint());
        assert_eq!(bench.we_verify("mine.pub", None), Ok(signer), "{more:?}");
        let foreign = bench.we_verify("theirs.pub", None);
        assert_eq!(foreign, Err(Reason::Foreign { signatures: 1 }), "{more:?}");
    }
}

#[test]
fn we_sign_and_cosign_verifies() {
    let bench = Bench::new();
    assert_ne!(bench.cosign_verifies("mine.pub", &[]).status, 0);
    assert!(bench.we_sign("mine.key", Scheme::Tag, None));
    assert!(!bench.we_sign("mine.key", Scheme::Tag, None), "the same again adds nothing");
    let said = bench.cosign_verifies("mine.pub", &[]);
    assert!(said.status == 0 && said.text.contains(&bench.digest.to_string()), "{}", said.text);
    assert_ne!(bench.cosign_verifies("theirs.pub", &[]).status, 0);

    // Signatures of both under one tag, whoever came first.
    bench.cosign_signs("theirs.key", &[]);
    assert!(!bench.we_sign("theirs.key", Scheme::Tag, None));
    for key in ["mine.pub", "theirs.pub"] {
        assert_eq!(bench.cosign_verifies(key, &[]).status, 0, "{key}");
        assert!(bench.we_verify(key, None).is_ok(), "{key}");
    }
}

#[test]
fn cosign_finds_the_bundle_that_we_add_as_a_referrer() {
    let bench = Bench::new();
    assert!(bench.we_sign("mine.key", Scheme::Referrers, None));
    assert!(!bench.we_sign("mine.key", Scheme::Referrers, None));
    assert!(bench.we_verify("mine.pub", None).is_ok());
    // Version 2 of cosign reads bundles as attestations alone; a root of trust without authorities
    // keeps it from the network.
    let root = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
    std::fs::write(bench.folder.path().join("root.json"), root).unwrap();
    let image = format!("{}/edge@{}", bench.registry.host(), bench.digest);
    let verify = |key: &str| {
        let base = ["verify-attestation", "--insecure-ignore-tlog", "--allow-http-registry"];
        let form = ["--new-bundle-format", "--trusted-root", "root.json"];
        let kind = ["--type", "https://sigstore.dev/cosign/sign/v1", "--key", key];
        bench.cosign(base).arguments(form).arguments(kind).argument(&image).outcome().unwrap()
    };
    let said = verify("mine.pub");
    assert_eq!(said.status, 0, "{}", said.text);
    assert_ne!(verify("theirs.pub").status, 0);
}

#[test]
fn signatures_may_lie_in_a_repository_of_their_own() {
    let bench = Bench::new();
    let place = bench.reference("signatures");
    let name = place.name();
    let image = format!("{}/edge@{}", bench.registry.host(), bench.digest);
    let base =
        ["sign", "--yes", "--tlog-upload=false", "--allow-http-registry", "--key", "mine.key"];
    let signing = bench.cosign(base).argument(&image).environment("COSIGN_REPOSITORY", &name);
    signing.run().unwrap();
    assert!(matches!(bench.we_verify("mine.pub", None), Err(Reason::Missing { .. })));
    assert!(bench.we_verify("mine.pub", Some(place.clone())).is_ok());

    assert!(bench.we_sign("theirs.key", Scheme::Tag, Some(&place)));
    let base = ["verify", "--insecure-ignore-tlog", "--allow-http-registry", "--key", "theirs.pub"];
    let verifying = bench.cosign(base).argument(&image).environment("COSIGN_REPOSITORY", &name);
    verifying.run().unwrap();
    assert!(
        bench
            .registry
            .tags("edge")
            .iter()
            .all(|tag| Path::new(tag).extension().is_none_or(|kind| kind != "sig"))
    );
}

#[test]
fn keys_of_openssl_sign_what_cosign_verifies() {
    let bench = Bench::new();
    for algorithm in [&["EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..], &["ED25519"]] {
        let make = ["genpkey", "-out", "plain.pem", "-algorithm"];
        let making = Oracle::new("openssl").arguments(make).arguments(algorithm);
        making.folder(bench.folder.path()).run().unwrap();
        let publish = ["pkey", "-in", "plain.pem", "-pubout", "-out", "plain.pub"];
        Oracle::new("openssl").arguments(publish).folder(bench.folder.path()).run().unwrap();
        assert!(bench.we_sign("plain.pem", Scheme::Tag, None));
        let said = bench.cosign_verifies("plain.pub", &[]);
        assert_eq!(said.status, 0, "{algorithm:?}: {}", said.text);
        let plain = PrivateKey::from_pem("plain", &bench.file("plain.pem"), None).unwrap();
        assert_eq!(plain.public().to_pem().unwrap().into_bytes(), bench.file("plain.pub"));
    }
}
