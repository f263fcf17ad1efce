//! Only what a trusted key signed is taken, and each way of not being that has its own words.

use kiln_lab::registry::{Fault, Registry, Rule, Settings};
use kiln_registry::Digest;
use kiln_release::Error;
use kiln_release::fetch::{Found, look_up};
use kiln_release::signature::{
    PrivateKey, Reason, Scheme, SignOptions, Signer, Trust, Verdict, Verifier, sign,
};

use super::support::{Made, boot_file, container_image, noise, options, pushed, reference};
use kiln_erofs::Codec;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Made with `openssl genpkey -algorithm ed25519`; for tests alone.
fn key(number: usize) -> PrivateKey {
    let text = [
        "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC",
        "MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
    ][number];
    let text = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    PrivateKey::from_pem("test", text.as_bytes(), None).unwrap()
}

/// An image with a release beside it.
struct Bench {
    registry: Registry,
    image: Digest,
    release: Digest,
}

impl Bench {
    fn new(referrers: bool) -> Self {
        let registry = Registry::start(Settings { referrers, ..Settings::default() }).unwrap();
        let image = container_image(&registry, "edge", "1").parse().unwrap();
        let mut bench = Self { registry, image, release: image };
        bench.release = bench.push(1);
        bench
    }

    fn push(&self, sequence: u64) -> Digest {
        let mut made = Made::new(Codec::None);
        made.file("usr/noise", &noise(20_000, 1));
        let (folder, _) = made.build(sequence, &boot_file("a", b"kernel"));
        pushed(&self.registry, folder.path(), "edge:1").unwrap().manifest_digest
    }

    fn sign(&self, number: usize, digest: Digest, scheme: Scheme) {
        let (key, registry) = (key(number), options(&self.registry));
        let options = SignOptions { key: &key, scheme, place: None, registry: &registry };
        assert!(sign(&reference(&self.registry, "edge:1"), digest, &options).unwrap().is_new);
    }

    fn verifier(&self, is_required: bool, identities: &[&str]) -> Verifier {
        let keys = vec![key(0).public().clone()];
        let identities = identities.iter().map(|name| (*name).to_owned()).collect();
        Verifier::new(
            Trust { keys, identities, ..Trust::default() },
            is_required,
            None,
            &options(&self.registry),
        )
    }

    fn resolve(&self, verifier: &Verifier) -> Result<(Found, Verdict), Error> {
        let named = look_up(&reference(&self.registry, "edge:1"), &options(&self.registry))?;
        named.resolve_verified(verifier)
    }

    /// Why a machine that requires signatures refuses, without having fetched any part of the release.
    fn refused(&self, identities: &[&str]) -> (String, Reason) {
        self.registry.forget_requests();
        let outcome = self.resolve(&self.verifier(true, identities));
        let release = self.registry.manifest("edge", &self.release.to_string()).unwrap();
        let release: serde_json::Value = serde_json::from_slice(&release.bytes).unwrap();
        let facts = release["config"]["digest"].as_str().unwrap();
        assert!(self.registry.requests_for(facts).is_empty(), "facts were fetched before");
        match outcome.unwrap_err() {
            Error::Signature { subject, reason } => (subject, reason),
            error => panic!("{error:?}"),
        }
    }

    /// The same machine without that requirement takes it and says so.
    fn is_taken_unverified(&self) {
        let (found, verdict) = self.resolve(&self.verifier(false, &[])).unwrap();
        assert!(matches!(found, Found::Release(_)));
        assert_eq!(verdict, Verdict::Unverified);
    }
}

#[test]
fn image_and_release_signed_by_a_trusted_key_are_taken() {
    for (referrers, scheme) in [
        (true, Scheme::Tag),
        (true, Scheme::Referrers),
        (false, Scheme::Tag),
        (false, Scheme::Referrers),
    ] {
        let bench = Bench::new(referrers);
        for digest in [bench.image, bench.release] {
            bench.sign(1, digest, scheme);
            bench.sign(0, digest, scheme);
        }
        let (found, verdict) = bench.resolve(&bench.verifier(true, &[])).unwrap();
        let Found::Release(remote) = found else { panic!("no release") };
        assert_eq!(remote.manifest_digest, bench.release);
        assert_eq!(
            verdict,
            Verdict::Verified(Signer::Key(key(0).public().fingerprint())),
            "{scheme:?}"
        );
        // What needs no signature is verified all the same.
        let (_, verdict) = bench.resolve(&bench.verifier(false, &[])).unwrap();
        assert!(matches!(verdict, Verdict::Verified(_)));
        let named = look_up(&reference(&bench.registry, "edge:1"), &options(&bench.registry));
        assert_eq!(named.unwrap().releases().unwrap(), [bench.release]);
    }
}

#[test]
fn unsigned_and_foreign_are_told_apart() {
    let bench = Bench::new(true);
    let (subject, reason) = bench.refused(&[]);
    let place = reference(&bench.registry, "edge").name();
    assert_eq!(subject, format!("{place}@{}", bench.image));
    assert_eq!(reason, Reason::Missing { place });
    bench.is_taken_unverified();

    for digest in [bench.image, bench.release] {
        bench.sign(1, digest, Scheme::Tag);
    }
    assert_eq!(bench.refused(&[]).1, Reason::Foreign { signatures: 1 });
    bench.is_taken_unverified();
}

#[test]
fn a_signed_image_does_not_cover_its_release() {
    let bench = Bench::new(true);
    bench.sign(0, bench.image, Scheme::Tag);
    let (subject, reason) = bench.refused(&[]);
    assert!(subject.ends_with(&bench.release.to_string()), "{subject}");
    assert!(matches!(reason, Reason::ReleaseUnsigned { image, .. } if image == bench.image));
    assert!(reason.to_string().contains("does not cover the release"), "{reason}");
    bench.is_taken_unverified();
}

#[test]
fn a_signed_release_does_not_cover_its_image() {
    let bench = Bench::new(true);
    bench.sign(0, bench.release, Scheme::Tag);
    let (subject, reason) = bench.refused(&[]);
    assert!(subject.ends_with(&bench.image.to_string()), "{subject}");
    assert!(matches!(reason, Reason::ImageUnsigned { release, .. } if release == bench.release));
    bench.is_taken_unverified();
}

#[test]
fn a_signature_that_was_moved_is_of_another_digest() {
    let bench = Bench::new(true);
    bench.sign(0, bench.release, Scheme::Tag);
    let tag = |digest: Digest| format!("sha256-{}.sig", digest.hex());
    let moved = bench.registry.manifest("edge", &tag(bench.release)).unwrap();
    bench.registry.add_manifest("edge", Some(&tag(bench.image)), MANIFEST, &moved.bytes);
    let Reason::ImageUnsigned { reason, .. } = bench.refused(&[]).1 else { panic!("another") };
    assert_eq!(*reason, Reason::OtherDigest { signed: bench.release.to_string() });
}

#[test]
fn other_repositories_of_the_same_signer_are_refused_where_the_policy_lists_some() {
    let bench = Bench::new(true);
    for digest in [bench.image, bench.release] {
        bench.sign(0, digest, Scheme::Tag);
    }
    let signed_as = Some(reference(&bench.registry, "edge").name());
    let reason = bench.refused(&["registry.example"]).1;
    assert_eq!(reason, Reason::OtherIdentity { signed_as });
    assert!(bench.resolve(&bench.verifier(true, &[&bench.registry.host()])).is_ok());
}

#[test]
fn what_is_keyless_or_torn_is_refused_by_name() {
    let bench = Bench::new(true);
    let payload = bench.registry.add_blob("edge", &b"{}"[..]).unwrap();
    let tag = format!("sha256-{}.sig", bench.image.hex());
    let signature = |annotations: &str, size: u64| {
        let document = format!(
            "{{\"schemaVersion\":2,\"layers\":[{{\"mediaType\":\
             \"application/vnd.dev.cosign.simplesigning.v1+json\",\"digest\":\"{payload}\",\
             \"size\":{size},\"annotations\":{{{annotations}}}}}]}}"
        );
        bench.registry.add_manifest("edge", Some(&tag), MANIFEST, document.as_bytes());
        bench.refused(&[]).1
    };
    let good = "\"dev.cosignproject.cosign/signature\":\"AAAA\"";
    let keyless = format!("{good},\"dev.sigstore.cosign/certificate\":\"-----BEGIN\"");
    assert_eq!(signature(&keyless, 2), Reason::Keyless);
    assert_eq!(signature(good, 2), Reason::Foreign { signatures: 1 });
    for (annotations, size, expected) in [
        ("", 2, "it has no signature"),
        (&good.replace("AAAA", "%"), 2, "no Base64"),
        (good, 1 << 30, "bytes"),
    ] {
        let Reason::Malformed { reason } = signature(annotations, size) else { panic!("{size}") };
        assert!(reason.contains(expected), "{reason}");
    }
    bench.registry.add_manifest("edge", Some(&tag), MANIFEST, b"[]");
    assert!(matches!(bench.refused(&[]).1, Reason::Malformed { .. }));
    bench.is_taken_unverified();
}

#[test]
fn a_newer_release_that_nobody_signed_does_not_hide_the_signed_one() {
    let bench = Bench::new(true);
    for digest in [bench.image, bench.release] {
        bench.sign(0, digest, Scheme::Tag);
    }
    let newer = bench.push(99);
    let (found, verdict) = bench.resolve(&bench.verifier(true, &[])).unwrap();
    let Found::Release(remote) = found else { panic!("no release") };
    assert_eq!(remote.manifest_digest, bench.release);
    assert!(matches!(verdict, Verdict::Verified(_)));
    // Where nothing is required the newest one counts, as ever.
    let (found, verdict) = bench.resolve(&bench.verifier(false, &[])).unwrap();
    let Found::Release(remote) = found else { panic!("no release") };
    assert_eq!((remote.manifest_digest, verdict), (newer, Verdict::Unverified));
}

#[test]
fn a_registry_that_does_not_answer_says_nothing_about_signatures() {
    for is_required in [true, false] {
        let bench = Bench::new(true);
        bench.registry.script(Rule::new(".sig", Fault::status(503)));
        let error = bench.resolve(&bench.verifier(is_required, &[])).unwrap_err();
        assert!(matches!(error, Error::Registry(_)), "{error:?}");
    }
}

#[test]
fn nobody_is_asked_where_nobody_is_trusted() {
    let bench = Bench::new(true);
    bench.registry.forget_requests();
    let verifier = Verifier::new(Trust::default(), false, None, &options(&bench.registry));
    let (_, verdict) = bench.resolve(&verifier).unwrap();
    assert_eq!(verdict, Verdict::Unverified);
    assert!(bench.registry.requests_for(".sig").is_empty());
}
