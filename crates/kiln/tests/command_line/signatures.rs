//! Signatures from outside: who signs, what a machine takes, and what it says of it.

use std::path::Path;

use kiln_lab::Registry;
use kiln_lab::sigstore::{Name, Recipe, SIGNED_AT, Sigstore, annotations, hashed_record};
use kiln_registry::Digest;
use kiln_release::signature::{Payload, PrivateKey};
use serde_json::{Value, json};

use crate::fixture::{Bench, answer, kiln};
use crate::machine::Machine;

/// Made with `openssl genpkey -algorithm ed25519`; for tests alone.
const KEYS: [&str; 2] = [
    "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC",
    "MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
];

/// Writes `mine.key`, `theirs.key` and their public halves.
fn write_keys(bench: &Bench) {
    for (name, text) in ["mine", "theirs"].into_iter().zip(KEYS) {
        let text = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        std::fs::write(bench.path(&format!("{name}.key")), &text).unwrap();
        let key = PrivateKey::from_pem(name, text.as_bytes(), None).unwrap();
        std::fs::write(bench.path(&format!("{name}.pub")), key.public().to_pem().unwrap()).unwrap();
    }
}

fn build(bench: &Bench, source: &str) -> String {
    let _ = std::fs::remove_dir_all(bench.path("out"));
    let (code, built, stderr) = answer(&mut bench.build(&[source, "-q", "--json"]));
    assert_eq!(code, 0, "{stderr}");
    let built: Value = serde_json::from_str(&built).unwrap();
    built["root_hash"].as_str().unwrap().to_owned()
}

/// Puts the image of an OCI archive into the registry under `edge:1`.
fn publish(bench: &Bench, registry: &Registry, archive: &str) {
    let folder = bench.path("layout");
    let file = std::fs::File::open(archive.strip_prefix("oci-archive:").unwrap()).unwrap();
    tar::Archive::new(file).unpack(&folder).unwrap();
    registry.add_layout("edge", "1", &folder).unwrap();
}

/// A machine that trusts `mine.pub`, and a registry with an image and its release.
struct Fleet<'a> {
    bench: &'a Bench,
    registry: Registry,
    machine: Machine<'a>,
}

impl<'a> Fleet<'a> {
    fn new(bench: &'a Bench) -> Self {
        write_keys(bench);
        let registry = Registry::plain().unwrap();
        let second = bench.archive("second.tar", &[("etc/version", b"2")]);
        publish(bench, &registry, &second);
        let second_hash = build(bench, &second);
        std::fs::rename(bench.path("out"), bench.path("second")).unwrap();
        let first_hash = build(bench, &bench.archive("first.tar", &[("etc/version", b"1")]));
        let mut machine = Machine::of_built(bench, &first_hash);
        machine.expect_root(&second_hash);
        assert_eq!(answer(&mut machine.kiln(&["bless"])).0, 0);
        let fleet = Self { bench, registry, machine };
        fleet.put("usr/lib/kiln/keys/edge.pub", &std::fs::read(bench.path("mine.pub")).unwrap());
        fleet
    }

    /// A file of the machine.
    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.bench.path("machine").join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn reference(&self) -> String {
        format!("{}/edge:1", self.registry.host())
    }

    /// A call that speaks with the registry.
    fn kiln(&self, arguments: &[&str]) -> (i32, String, String) {
        answer(kiln(arguments).args(["--plain-http", &self.registry.host()]))
    }

    fn push(&self, more: &[&str]) -> (i32, String, String) {
        let folder = self.bench.text("second");
        let reference = self.reference();
        let arguments = [&["push", "-q", folder.as_str(), reference.as_str()], more].concat();
        self.kiln(&arguments)
    }

    fn upgrade(&self, more: &[&str]) -> (i32, String, String) {
        let (reference, host) = (self.reference(), self.registry.host());
        let arguments = [&["upgrade", reference.as_str(), "--plain-http", host.as_str()], more];
        answer(&mut self.machine.kiln(&arguments.concat()))
    }

    /// The machine refuses with these words, and has neither fetched nor written anything.
    fn refuses(&self, expected: &str) {
        self.registry.forget_requests();
        let (code, stdout, stderr) = self.upgrade(&[]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        assert!(stderr.contains(expected) && stderr.contains("\nhint: "), "{stderr}");
        assert_eq!(self.machine.entries(), ["kiln-00000001.efi"]);
        assert_eq!(self.machine.files("EFI/kiln"), ["release.json"]);
        assert_eq!(self.machine.slot(4, 4096), vec![0xff; 4096], "the slot was touched");
        // Signatures are small; layers, tables and facts are not asked for.
        let sent = self.registry.bytes_sent();
        assert!(sent < 16 << 10, "{sent} bytes for a refusal");
    }
}

#[test]
fn a_machine_with_keys_takes_only_what_they_signed() {
    let bench = Bench::new();
    let fleet = Fleet::new(&bench);
    fleet.refuses("has no signature of it");
    assert_eq!(fleet.push(&[]).0, 0);
    fleet.refuses("has no signature of it");

    // Nobody asks for the wish not to verify where the policy does not know it.
    for option in ["--no-verify", "--no-cosign"] {
        let (code, _, stderr) = fleet.upgrade(&[option]);
        assert!(code == 1 && stderr.contains("does not allow --no-verify"), "{stderr}");
    }
    let local = bench.archive("local.tar", &[("etc/version", b"3")]);
    let (code, _, stderr) = answer(&mut fleet.machine.kiln(&["upgrade", &local]));
    assert!(code == 1 && stderr.contains("only images in registries have signatures"), "{stderr}");

    let reference = fleet.reference();
    let sign = |key: &str| fleet.kiln(&["sign", &reference, "--key", &bench.text(key)]);
    let (code, _, stderr) = sign("theirs.key");
    assert_eq!(code, 0, "{stderr}");
    fleet.refuses("its signature is not by a trusted key");
    let (code, stdout, _) = sign("mine.key");
    assert_eq!((code, stdout.lines().count()), (0, 2), "image and release: {stdout}");
    assert!(sign("mine.key").1.contains("was signed already"));

    let (code, stdout, stderr) = fleet.upgrade(&["--check", "--json"]);
    assert_eq!(code, 10, "{stderr}");
    let check: Value = serde_json::from_str(&stdout).unwrap();
    assert!(check["verification"]["signed"].as_str().unwrap().starts_with("sha256:"), "{check}");
    let (code, _, stderr) = fleet.upgrade(&[]);
    assert!(code == 0 && stderr.contains("verified by sha256:"), "{stderr}");
    fleet.machine.start(2, 'b');
    let (_, status, _) = answer(&mut fleet.machine.kiln(&["status"]));
    assert!(status.contains("verified by sha256:"), "{status}");
    let (_, status, _) = answer(&mut fleet.machine.kiln(&["status", "--json"]));
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["booted"]["verification"], check["verification"]);
}

#[test]
fn a_push_that_signs_is_all_that_a_machine_asks_for() {
    let bench = Bench::new();
    let fleet = Fleet::new(&bench);
    let none = bench.text("none.key");
    let (code, ..) = fleet.push(&["--sign-key", &none]);
    assert_eq!(code, 1);
    let is_release = |tag: &String| tag.ends_with(".kiln");
    let tags = fleet.registry.tags("edge");
    assert!(!tags.iter().any(is_release), "pushed without its signature: {tags:?}");
    let key = bench.text("mine.key");
    let (code, stdout, stderr) = fleet.push(&["--sign-key", &key, "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let pushed: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(pushed["signed"]["signatures"].as_array().unwrap().len(), 2);
    let (code, _, stderr) = fleet.upgrade(&[]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(fleet.machine.entries(), ["kiln-00000001.efi", "kiln-00000002+3-0.efi"]);
}

/// Puts a keyless signature of `edge:1` by the holder of an e-mail address under its tag.
fn sign_keyless(fleet: &Fleet<'_>, sigstore: &Sigstore, address: &str) {
    let image = fleet.registry.manifest("edge", "1").unwrap();
    let digest = Digest::of(&image.bytes);
    let payload = Payload::of(&fleet.reference().parse().unwrap(), digest).to_json().unwrap();
    let recipe = Recipe::new(Name::Email(address.to_owned()), "https://issuer.example");
    let leaf = sigstore.leaf(&recipe).unwrap();
    let signature = leaf.sign(&payload).unwrap();
    let body = hashed_record(&leaf, &payload, &signature);
    let entry = sigstore.entry(&body, SIGNED_AT).unwrap();
    let manifest = json!({ "schemaVersion": 2, "layers": [{
        "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
        "digest": fleet.registry.add_blob("edge", payload.as_slice()).unwrap(),
        "size": payload.len(),
        "annotations": annotations(sigstore, &leaf, &entry, &signature),
    }] });
    let tag = format!("sha256-{}.sig", digest.hex());
    let kind = "application/vnd.oci.image.manifest.v1+json";
    fleet.registry.add_manifest("edge", Some(&tag), kind, manifest.to_string().as_bytes());
}

#[test]
fn a_machine_with_a_trust_root_takes_what_its_signers_signed() {
    let bench = Bench::new();
    let fleet = Fleet::new(&bench);
    let sigstore = Sigstore::new().unwrap();
    let root = sigstore.trusted_root().to_string();
    std::fs::remove_dir_all(bench.path("machine/usr/lib/kiln/keys")).unwrap();
    std::fs::write(bench.path("root.json"), &root).unwrap();
    let policy = json!({ "format": "kiln.policy.v1", "keyless": {
        "trust_root": "trusted_root.json",
        "signers": [{ "subject": "*@example.com", "issuer": "https://issuer.example" }],
    } });
    fleet.put("usr/lib/kiln/policy.json", policy.to_string().as_bytes());
    fleet.refuses("trusted_root.json cannot be used");
    fleet.put("usr/lib/kiln/trusted_root.json", root.as_bytes());
    fleet.refuses("has no signature of it");
    sign_keyless(&fleet, &sigstore, "me@example.org");
    fleet.refuses("it is signed by me@example.org (identified by https://issuer.example)");

    let (source, host) = (format!("docker://{}", fleet.reference()), fleet.registry.host());
    let (root, out) = (bench.text("root.json"), bench.path("out"));
    std::fs::remove_dir_all(&out).unwrap();
    let build = |more: &[&str]| {
        let trust = ["--verify-identity", "*@example.com", "--trust-root", &root];
        let common = [source.as_str(), "--plain-http", &host, "--no-cache", "-q"];
        answer(&mut bench.build(&[&common[..], &trust, more].concat()))
    };
    let issuer = ["--verify-issuer", "https://issuer.example"];
    assert_eq!(build(&[]).0, 2, "a subject needs its issuer");
    let (code, _, stderr) = build(&issuer);
    assert!(code == 1 && stderr.contains("it is signed by me@example.org"), "{stderr}");

    sign_keyless(&fleet, &sigstore, "me@example.com");
    let (code, _, stderr) = build(&issuer);
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = fleet.upgrade(&[]);
    let signer = "verified by me@example.com (https://issuer.example)";
    assert!(code == 0 && stderr.contains(signer), "{stderr}");
    let (_, status, _) = answer(&mut fleet.machine.kiln(&["status"]));
    assert!(status.contains(signer), "{status}");
}

#[test]
fn an_image_alone_is_built_by_a_machine_once_it_is_signed() {
    let bench = Bench::new();
    let fleet = Fleet::new(&bench);
    let (reference, key) = (fleet.reference(), bench.text("mine.key"));
    let (code, stdout, stderr) =
        fleet.kiln(&["sign", &reference, "--key", &key, "--referrers", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let signed: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(signed["signatures"].as_array().unwrap().len(), 1);
    let (code, _, stderr) = fleet.upgrade(&[]);
    assert!(code == 0 && stderr.contains("verified by"), "{stderr}");
}

#[test]
fn what_the_policy_allows_is_said_aloud() {
    let bench = Bench::new();
    let fleet = Fleet::new(&bench);
    let policy = br#"{"format":"kiln.policy.v1","allow_no_verify":true}"#;
    fleet.put("usr/lib/kiln/policy.json", policy);
    fleet.refuses("has no signature of it");
    let (code, _, stderr) = fleet.upgrade(&["--no-cosign", "-q"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("warning: signatures are not looked at"), "{stderr}");
    let (_, status, _) = answer(&mut fleet.machine.kiln(&["status", "--json"]));
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["next"]["verification"], "unverified");
}

#[test]
fn a_policy_that_cannot_be_read_lifts_no_lock() {
    let bench = Bench::new();
    let fleet = Fleet::new(&bench);
    fleet.put("usr/lib/kiln/policy.json", b"{");
    fleet.refuses("usr/lib/kiln/policy.json cannot be used");
    fleet.put("usr/lib/kiln/policy.json", br#"{"format":"kiln.policy.v1"}"#);
    fleet.put("usr/lib/kiln/keys/edge.pub", b"no key");
    fleet.refuses("keys/edge.pub cannot be used");
}

#[test]
fn a_build_uses_only_what_the_key_signed() {
    let bench = Bench::new();
    let fleet = Fleet::new(&bench);
    let _ = std::fs::remove_dir_all(bench.path("out"));
    let host = fleet.registry.host();
    let source = format!("docker://{}", fleet.reference());
    let key = bench.text("mine.pub");
    let verified = |source: &str| {
        let arguments = [source, "--verify", &key, "--plain-http", &host, "--no-cache", "-q"];
        answer(&mut bench.build(&arguments))
    };
    let (code, _, stderr) = verified(&source);
    assert!(code == 1 && stderr.contains("has no signature of it"), "{stderr}");
    assert!(!bench.path("out").join("edge.root").exists());
    for (source, expected) in [
        (bench.archive("a.tar", &[]), "only images in registries have signatures"),
        ("dir:/".to_owned(), "cannot be verified"),
    ] {
        let (code, _, stderr) = verified(&source);
        assert!(code == 1 && stderr.contains(expected), "{stderr}");
    }
    let reference = fleet.reference();
    assert_eq!(fleet.kiln(&["sign", &reference, "--key", &bench.text("mine.key")]).0, 0);
    let (code, _, stderr) = verified(&source);
    assert_eq!(code, 0, "{stderr}");
    let verified = std::fs::read(bench.path("out/edge.root")).unwrap();
    let plain = std::fs::read(bench.path("second/edge.root")).unwrap();
    assert!(verified == plain, "a check changes no byte");
}
