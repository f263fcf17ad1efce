//! Keyless signatures, rule by rule: what is whole is taken, and for each rule one signature that
//! breaks it alone is refused by that rule's name.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::collections::BTreeMap;

use base64ct::{Base64, Encoding as _};
use kiln_lab::sigstore::{
    Leaf, Name, Purpose, Recipe, SIGNED_AT, Sigstore, annotations, authenticated, bundle, dsse,
    envelope, hashed_record, message_signature,
};
use kiln_registry::Digest;
use kiln_release::signature::{
    AllowedSigner, Candidate, Fault, KeylessTrust, Payload, Reason, Signer, Trust, TrustRoot,
    judge, parse_bundle, parse_layer,
};
use serde_json::{Value, json};

const DOCUMENT: &[u8] = b"{\"schemaVersion\":2}";
const SUBJECT: &str = "https://git.example/edge/os/.github/workflows/build.yml@refs/heads/main";
const ISSUER: &str = "https://issuer.example";

/// A Sigstore and another one, and a good certificate of the first.
struct Bench {
    mine: Sigstore,
    other: Sigstore,
    leaf: Leaf,
}

impl Bench {
    fn new() -> Self {
        let mine = Sigstore::new().unwrap();
        let leaf = mine.leaf(&recipe()).unwrap();
        Self { mine, other: Sigstore::new().unwrap(), leaf }
    }

    fn trust(&self) -> Trust {
        trust(&self.mine.trusted_root(), SUBJECT, ISSUER)
    }

    /// A bundle of a signature of the document by the holder of a certificate.
    fn bundle_by(&self, leaf: &Leaf, time: i64) -> Value {
        let signature = leaf.sign(DOCUMENT).unwrap();
        let body = hashed_record(leaf, DOCUMENT, &signature);
        let entry = self.mine.entry(&body, time).unwrap();
        bundle(leaf, &entry, message_signature(DOCUMENT, &signature))
    }

    fn bundle(&self) -> Value {
        self.bundle_by(&self.leaf, SIGNED_AT)
    }

    /// A bundle of a certificate that differs from the good one.
    fn bundle_of(&self, change: impl FnOnce(&mut Recipe)) -> Value {
        let mut recipe = recipe();
        change(&mut recipe);
        self.bundle_by(&self.mine.leaf(&recipe).unwrap(), SIGNED_AT)
    }

    /// A bundle of a statement.
    fn stated(&self, digest: Digest) -> Value {
        let payload = statement(digest);
        let signature = self.leaf.sign(&authenticated(&payload)).unwrap();
        let content = envelope(&payload, &signature);
        let body = dsse(&self.leaf, &content.1, &payload, &signature);
        bundle(&self.leaf, &self.mine.entry(&body, SIGNED_AT).unwrap(), content)
    }

    /// A payload with its annotations, as under a tag.
    fn tagged(&self, digest: Digest) -> (Vec<u8>, BTreeMap<String, String>) {
        let reference = "registry.example/edge:1".parse().unwrap();
        let payload = Payload::of(&reference, digest).to_json().unwrap();
        let signature = self.leaf.sign(&payload).unwrap();
        let body = hashed_record(&self.leaf, &payload, &signature);
        let entry = self.mine.entry(&body, SIGNED_AT).unwrap();
        let annotations = annotations(&self.mine, &self.leaf, &entry, &signature);
        (payload, annotations)
    }
}

fn recipe() -> Recipe {
    Recipe::new(Name::Url(SUBJECT.to_owned()), ISSUER)
}

fn statement(digest: Digest) -> Vec<u8> {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "registry.example/edge", "digest": { "sha256": digest.hex() } }],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    });
    statement.to_string().into_bytes()
}

fn trust(root: &Value, subject: &str, issuer: &str) -> Trust {
    let root = TrustRoot::parse(root.to_string().as_bytes()).unwrap();
    let signers = vec![AllowedSigner::new(subject, issuer).unwrap()];
    Trust { keyless: vec![KeylessTrust { root, signers }], ..Trust::default() }
}

fn verdict(candidate: Result<Candidate, String>, trust: &Trust) -> Result<Signer, Reason> {
    judge(&[candidate], Digest::of(DOCUMENT), DOCUMENT, trust)
}

fn of_bundle(bundle: &Value, trust: &Trust) -> Result<Signer, Reason> {
    verdict(parse_bundle(bundle.to_string().as_bytes()), trust)
}

fn fault(outcome: Result<Signer, Reason>) -> Fault {
    match outcome {
        Err(Reason::Certificate(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

/// Bytes in Base64 with one changed.
fn flipped(value: &Value) -> Value {
    let mut bytes = Base64::decode_vec(value.as_str().unwrap()).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    Base64::encode_string(&bytes).into()
}

#[test]
fn what_is_whole_is_taken() {
    let bench = Bench::new();
    let digest = Digest::of(DOCUMENT);
    let trust = bench.trust();
    let signer = Signer::Certificate { subject: SUBJECT.to_owned(), issuer: ISSUER.to_owned() };
    assert_eq!(signer.to_string(), format!("{SUBJECT} ({ISSUER})"));

    let (payload, annotations) = bench.tagged(digest);
    assert_eq!(verdict(parse_layer(payload, &annotations), &trust), Ok(signer.clone()));
    let mut no_proof = bench.bundle();
    entry(&mut no_proof)["inclusionProof"] = Value::Null;
    let mut chained = bench.bundle();
    let certificate = chained["verificationMaterial"]["certificate"].take();
    chained["verificationMaterial"]["x509CertificateChain"] =
        json!({ "certificates": [certificate] });
    let mut old = bench.bundle();
    old["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
    let one_issuer = bench.bundle_of(|recipe| recipe.issuer_v2 = None);
    let new_issuer = bench.bundle_of(|recipe| recipe.issuer = None);
    for good in
        [bench.bundle(), bench.stated(digest), no_proof, chained, old, one_issuer, new_issuer]
    {
        assert_eq!(of_bundle(&good, &trust), Ok(signer.clone()), "{good}");
    }
    let mail = bench.bundle_of(|recipe| recipe.names = vec![Name::Email("me@example.com".into())]);
    let whoever = self::trust(&bench.mine.trusted_root(), "*@example.com", ISSUER);
    let subject = "me@example.com".to_owned();
    let mailer = Signer::Certificate { subject, issuer: ISSUER.to_owned() };
    assert_eq!(of_bundle(&mail, &whoever), Ok(mailer));

    // Of several trust roots and signers one is enough.
    let strangers = self::trust(&bench.other.trusted_root(), "a@example.com", ISSUER);
    let both = Trust { keyless: [strangers.keyless, trust.keyless].concat(), ..Trust::default() };
    assert_eq!(of_bundle(&bench.bundle(), &both), Ok(signer));
}

#[test]
fn intermediates_may_come_with_the_signature() {
    let bench = Bench::new();
    let mut root = bench.mine.trusted_root();
    let chain = &mut root["certificateAuthorities"][0]["certChain"]["certificates"];
    let intermediate = chain.as_array_mut().unwrap().remove(0);
    let trust = trust(&root, SUBJECT, ISSUER);
    let (payload, mut annotations) = bench.tagged(Digest::of(DOCUMENT));
    assert!(verdict(parse_layer(payload.clone(), &annotations), &trust).is_ok());
    annotations.remove("dev.sigstore.cosign/chain");
    let refused = fault(verdict(parse_layer(payload, &annotations), &trust));
    assert_eq!(refused, Fault::ForeignAuthority);

    let mut chained = bench.bundle();
    assert_eq!(fault(of_bundle(&chained, &trust)), Fault::ForeignAuthority);
    let certificate = chained["verificationMaterial"]["certificate"].take();
    chained["verificationMaterial"]["x509CertificateChain"] =
        json!({ "certificates": [certificate, intermediate] });
    assert!(of_bundle(&chained, &trust).is_ok());
}

#[test]
fn each_rule_of_a_certificate_is_kept() {
    let bench = Bench::new();
    let unsupported = |what: &str| Fault::Unsupported { what: what.to_owned() };
    let other = |subject: &str, issuer: &str| Fault::OtherSigner {
        subject: subject.to_owned(),
        issuer: issuer.to_owned(),
    };
    let foreign = bench.other.leaf(&recipe()).unwrap();
    let stranger = "https://git.example/other";
    for (name, bundle, expected) in [
        (
            "wrong identity",
            bench.bundle_of(|recipe| recipe.names = vec![Name::Url(stranger.to_owned())]),
            other(stranger, ISSUER),
        ),
        (
            "wrong issuer",
            bench.bundle_of(|recipe| {
                recipe.issuer = None;
                recipe.issuer_v2 = Some("https://other.example".to_owned());
            }),
            other(SUBJECT, "https://other.example"),
        ),
        (
            "expired when it was entered",
            bench.bundle_of(|recipe| recipe.start = SIGNED_AT - 601),
            Fault::Expired { time: SIGNED_AT },
        ),
        (
            "not valid yet when it was entered",
            bench.bundle_of(|recipe| recipe.start = SIGNED_AT + 1),
            Fault::Expired { time: SIGNED_AT },
        ),
        ("foreign authority", bench.bundle_by(&foreign, SIGNED_AT), Fault::ForeignAuthority),
        ("no purpose", bench.bundle_of(|recipe| recipe.purpose = Purpose::None), Fault::Usage),
        ("a server's", bench.bundle_of(|recipe| recipe.purpose = Purpose::Server), Fault::Usage),
        (
            "not in the log of certificates",
            bench.bundle_of(|recipe| recipe.is_logged = false),
            Fault::CertificateLog { reason: "it has no timestamp" },
        ),
        (
            "a host as subject",
            bench.bundle_of(|recipe| recipe.names = vec![Name::Host("git.example".to_owned())]),
            unsupported("a subject that is neither an e-mail address nor a URL"),
        ),
    ] {
        assert_eq!(fault(of_bundle(&bundle, &bench.trust())), expected, "{name}");
    }
    for (name, bundle, expected) in [
        ("no subject", bench.bundle_of(|recipe| recipe.names.clear()), "no subject"),
        (
            "two subjects",
            bench.bundle_of(|recipe| recipe.names.push(Name::Email("me@example.com".into()))),
            "not one subject",
        ),
        (
            "no issuer",
            bench.bundle_of(|recipe| (recipe.issuer, recipe.issuer_v2) = (None, None)),
            "no issuer",
        ),
        (
            "two issuers",
            bench.bundle_of(|recipe| recipe.issuer = Some("https://other.example".to_owned())),
            "two issuers",
        ),
    ] {
        let Fault::Malformed { what: "certificate", reason } =
            fault(of_bundle(&bundle, &bench.trust()))
        else {
            panic!("{name}")
        };
        assert!(reason.contains(expected), "{name}: {reason}");
    }
    let mut flipped_certificate = bench.bundle();
    let raw = &mut flipped_certificate["verificationMaterial"]["certificate"]["rawBytes"];
    *raw = flipped(raw);
    // The entry has the true one.
    let expected = Fault::OtherEntry { what: "certificate" };
    assert_eq!(fault(of_bundle(&flipped_certificate, &bench.trust())), expected);
}

#[test]
fn each_rule_of_a_log_entry_is_kept() {
    let bench = Bench::new();
    let (payload_of_other, _) = bench.tagged(Digest::of(b"other"));
    let other_leaf = bench.mine.leaf(&recipe()).unwrap();
    let good = bench.bundle();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        bundle
    };
    // Entries that are good, and of something else.
    let entered = |body: &Value| {
        changed(&|bundle| *entry(bundle) = bench.mine.entry(body, SIGNED_AT).unwrap())
    };
    let signature = Base64::decode_vec(good["messageSignature"]["signature"].as_str().unwrap());
    let signature = signature.unwrap();
    let checkpoint = |text: &Value, from: &str, to: &str| -> Value {
        text.as_str().unwrap().replacen(from, to, 1).into()
    };
    let elsewhere = bench.other.entry(&json!({}), SIGNED_AT).unwrap();
    let log = elsewhere["logId"]["keyId"].clone();
    let log_hex = {
        let bytes = Base64::decode_vec(log.as_str().unwrap()).unwrap();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let refused_head = |reason: &str| Fault::Checkpoint { reason: reason.to_owned() };
    for (name, bundle, expected) in [
        (
            "no entry",
            changed(&|bundle| bundle["verificationMaterial"]["tlogEntries"] = json!([])),
            Fault::NoEntry,
        ),
        (
            "a time stamp in place of an entry",
            changed(&|bundle| {
                bundle["verificationMaterial"]["tlogEntries"] = json!([]);
                bundle["verificationMaterial"]["timestampVerificationData"] =
                    json!({ "rfc3161Timestamps": [{ "signedTimestamp": "AAAA" }] });
            }),
            Fault::Unsupported { what: "a time stamp in place of a log entry".to_owned() },
        ),
        (
            "no promise",
            changed(&|bundle| entry(bundle)["inclusionPromise"] = Value::Null),
            Fault::NoTime,
        ),
        (
            "no time",
            changed(&|bundle| entry(bundle)["integratedTime"] = Value::Null),
            Fault::Malformed { what: "log entry", reason: String::new() },
        ),
        ("time 0", changed(&|bundle| entry(bundle)["integratedTime"] = 0.into()), Fault::NoTime),
        (
            "foreign log",
            changed(&|bundle| entry(bundle)["logId"]["keyId"] = log.clone()),
            Fault::ForeignLog { log: log_hex },
        ),
        (
            "promise tampered",
            changed(&|bundle| {
                let promise = &mut entry(bundle)["inclusionPromise"]["signedEntryTimestamp"];
                *promise = flipped(promise);
            }),
            Fault::Promise,
        ),
        (
            "time tampered",
            changed(&|bundle| entry(bundle)["integratedTime"] = (SIGNED_AT + 1).into()),
            Fault::Promise,
        ),
        (
            "number tampered",
            changed(&|bundle| entry(bundle)["logIndex"] = 7.into()),
            Fault::Promise,
        ),
        (
            "body tampered",
            changed(&|bundle| {
                let body = &mut entry(bundle)["canonicalizedBody"];
                *body = flipped(body);
            }),
            Fault::Promise,
        ),
        (
            "place in the tree wrong",
            changed(&|bundle| entry(bundle)["inclusionProof"]["logIndex"] = 5.into()),
            Fault::Inclusion,
        ),
        (
            "hash of the proof wrong",
            changed(&|bundle| {
                let hash = &mut entry(bundle)["inclusionProof"]["hashes"][1];
                *hash = flipped(hash);
            }),
            Fault::Inclusion,
        ),
        (
            "hash of the proof missing",
            changed(&|bundle| {
                entry(bundle)["inclusionProof"]["hashes"].as_array_mut().unwrap().pop();
            }),
            Fault::Inclusion,
        ),
        (
            "size of the tree wrong",
            changed(&|bundle| entry(bundle)["inclusionProof"]["treeSize"] = 12.into()),
            refused_head("it is of another tree"),
        ),
        (
            "root of the tree wrong",
            changed(&|bundle| {
                let root = &mut entry(bundle)["inclusionProof"]["rootHash"];
                *root = flipped(root);
            }),
            refused_head("it is of another tree"),
        ),
        (
            "checkpoint tampered",
            changed(&|bundle| {
                let text = &mut entry(bundle)["inclusionProof"]["checkpoint"]["envelope"];
                *text = checkpoint(text, "\n11\n", "\n12\n");
            }),
            refused_head("the log did not sign it"),
        ),
        (
            "checkpoint of another log",
            changed(&|bundle| {
                let foreign = bench.other.checkpoint(11, &[0; 32]).unwrap();
                entry(bundle)["inclusionProof"]["checkpoint"]["envelope"] = foreign.into();
            }),
            refused_head("the log did not sign it"),
        ),
        (
            "entry of another artifact",
            entered(&hashed_record(&bench.leaf, &payload_of_other, &signature)),
            Fault::OtherEntry { what: "content" },
        ),
        (
            "entry of another signature",
            entered(&hashed_record(&bench.leaf, DOCUMENT, b"another")),
            Fault::OtherEntry { what: "signature" },
        ),
        (
            "entry of another certificate",
            entered(&hashed_record(&other_leaf, DOCUMENT, &signature)),
            Fault::OtherEntry { what: "certificate" },
        ),
        (
            "entry of an envelope for a message",
            entered(&dsse(&bench.leaf, &json!({}), DOCUMENT, &signature)),
            Fault::OtherEntry { what: "kind of content" },
        ),
        (
            "entry of a kind that is not known",
            entered(&json!({ "apiVersion": "0.0.2", "kind": "intoto", "spec": {} })),
            Fault::Unsupported { what: "a log entry of intoto 0.0.2".to_owned() },
        ),
        (
            "signature tampered",
            changed(&|bundle| {
                let signature = &mut bundle["messageSignature"]["signature"];
                *signature = flipped(signature);
            }),
            Fault::Signature,
        ),
    ] {
        match (fault(of_bundle(&bundle, &bench.trust())), expected) {
            (Fault::Malformed { .. }, Fault::Malformed { .. }) => {}
            (found, expected) => assert_eq!(found, expected, "{name}"),
        }
    }
}

#[test]
fn what_was_signed_must_be_what_is_wanted() {
    let bench = Bench::new();
    let other = Digest::of(b"other");
    let moved = Reason::OtherDigest { signed: other.to_string() };
    assert_eq!(of_bundle(&bench.stated(other), &bench.trust()), Err(moved.clone()));
    let (payload, annotations) = bench.tagged(other);
    assert_eq!(verdict(parse_layer(payload, &annotations), &bench.trust()), Err(moved));

    // The signature of one payload beside another one.
    let (_, annotations) = bench.tagged(other);
    let (payload, _) = bench.tagged(Digest::of(DOCUMENT));
    let outcome = verdict(parse_layer(payload, &annotations), &bench.trust());
    assert_eq!(fault(outcome), Fault::Signature);

    let elsewhere = Trust { identities: vec!["registry.example/os".to_owned()], ..bench.trust() };
    let outcome = of_bundle(&bench.stated(Digest::of(DOCUMENT)), &elsewhere);
    assert!(matches!(outcome, Err(Reason::OtherIdentity { signed_as: Some(_) })), "{outcome:?}");
}

#[test]
fn each_rule_of_a_tag_is_kept() {
    let bench = Bench::new();
    let digest = Digest::of(DOCUMENT);
    let (payload, good) = bench.tagged(digest);
    let refused = |name: &str, value: Option<&str>| {
        let mut annotations = good.clone();
        let name = format!("dev.sigstore.cosign/{name}");
        match value {
            Some(value) => annotations.insert(name, value.to_owned()),
            None => annotations.remove(&name),
        };
        fault(verdict(parse_layer(payload.clone(), &annotations), &bench.trust()))
    };
    assert_eq!(refused("bundle", None), Fault::NoEntry);
    let log = &good["dev.sigstore.cosign/bundle"];
    let later = log.replace(&SIGNED_AT.to_string(), &(SIGNED_AT + 1).to_string());
    assert_eq!(refused("bundle", Some(&later)), Fault::Promise);
    let twice = bench.leaf.pem.repeat(2);
    for (name, value) in [
        ("bundle", "{}"),
        ("bundle", &*log.replace("\"logID\":\"", "\"logID\":\"ü")),
        ("certificate", "-----BEGIN"),
        ("certificate", &twice),
        ("certificate", &bench.leaf.pem.replace("CERTIFICATE", "PUBLIC KEY")),
        ("chain", "x"),
        ("chain", &bench.leaf.pem.repeat(9)),
    ] {
        let found = refused(name, Some(value));
        assert!(matches!(found, Fault::Malformed { .. }), "{name} {value}: {found}");
        assert!(!found.to_string().contains('\n'));
    }
    // The time that a certificate is good for is over.
    let stale = Bench {
        leaf: bench.mine.leaf(&Recipe { start: SIGNED_AT + 60, ..recipe() }).unwrap(),
        ..bench
    };
    let (payload, annotations) = stale.tagged(digest);
    let found = fault(verdict(parse_layer(payload, &annotations), &stale.trust()));
    assert_eq!(found, Fault::Expired { time: SIGNED_AT });
}

#[test]
fn trust_roots_end_what_they_vouch_for() {
    let bench = Bench::new();
    let bundle = bench.bundle();
    let before = json!({ "start": "2020-01-01T00:00:00Z", "end": "2023-11-14T22:13:20Z" });
    let after = json!({ "start": "2023-11-14T22:13:21.000Z" });
    let with = |change: &dyn Fn(&mut Value)| {
        let mut root = bench.mine.trusted_root();
        change(&mut root);
        of_bundle(&bundle, &trust(&root, SUBJECT, ISSUER))
    };
    for window in [&before, &after] {
        let found = with(&|root| root["tlogs"][0]["publicKey"]["validFor"] = window.clone());
        assert_eq!(fault(found), Fault::LogTime { time: SIGNED_AT });
        let found = with(&|root| root["certificateAuthorities"][0]["validFor"] = window.clone());
        assert_eq!(fault(found), Fault::Expired { time: SIGNED_AT });
    }
    let unlisted = "no timestamp is by a certificate log of the trust root";
    let found = with(&|root| root["ctlogs"][0]["publicKey"]["validFor"] = after.clone());
    assert_eq!(fault(found), Fault::CertificateLog { reason: unlisted });
    let other = bench.other.trusted_root();
    let found = with(&|root| root["ctlogs"] = other["ctlogs"].clone());
    assert_eq!(fault(found), Fault::CertificateLog { reason: unlisted });
    let found = with(&|root| {
        let raw = other["ctlogs"][0]["publicKey"]["rawBytes"].clone();
        root["ctlogs"][0]["publicKey"]["rawBytes"] = raw;
    });
    let reason = "the log's signature does not hold";
    assert_eq!(fault(found), Fault::CertificateLog { reason });
    // A trust root without logs of certificates asks for none.
    assert!(with(&|root| root["ctlogs"] = json!([])).is_ok());
    // The certificates of another authority with the same names.
    let found =
        with(&|root| root["certificateAuthorities"] = other["certificateAuthorities"].clone());
    assert_eq!(fault(found), Fault::ForeignAuthority);
    // Several logs and authorities, of which the last one is the right one.
    assert!(
        with(&|root| {
            for kind in ["tlogs", "certificateAuthorities", "ctlogs"] {
                let mine = root[kind][0].clone();
                root[kind] = json!([other[kind][0], mine]);
            }
        })
        .is_ok()
    );
    let nobody = Trust { identities: Vec::new(), ..Trust::default() };
    assert_eq!(of_bundle(&bundle, &nobody), Err(Reason::Keyless));
}

#[test]
fn trust_roots_that_prove_nothing_are_refused() {
    let good = Sigstore::new().unwrap().trusted_root();
    let rsa = "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAL1TsRV0NxzHP2WUcCjLkiIiV3H+Q3Hp";
    for (pointer, value, expected) in [
        ("/mediaType", json!("application/json"), "mediaType"),
        ("/tlogs", json!([]), "no transparency log"),
        ("/tlogs/0/publicKey/rawBytes", json!(rsa), "no transparency log"),
        ("/tlogs/0/publicKey/rawBytes", json!("%"), "no Base64"),
        ("/tlogs/0/publicKey/validFor/start", json!("2020"), "RFC 3339"),
        ("/tlogs", json!({}), "invalid type"),
        ("/certificateAuthorities", json!([]), "no certificate authority"),
        ("/certificateAuthorities/0/certChain/certificates", json!([]), "no certificates"),
        ("/certificateAuthorities/0/certChain/certificates/0/rawBytes", json!("AAAA"), "be read"),
        ("/ctlogs", Value::Array(vec![good["ctlogs"][0].clone(); 65]), "more than 64"),
    ] {
        let mut root = good.clone();
        *root.pointer_mut(pointer).unwrap() = value;
        let refused = TrustRoot::parse(root.to_string().as_bytes()).unwrap_err();
        assert!(refused.contains(expected), "{pointer}: {refused}");
    }
    let mut newer = good.clone();
    newer["mediaType"] = "application/vnd.dev.sigstore.trustedroot.v0.1+json".into();
    newer["timestampAuthorities"] = json!([{ "uri": "https://time.example" }]);
    assert!(TrustRoot::parse(newer.to_string().as_bytes()).is_ok());
    let long = format!("{good}{}", " ".repeat(300_000));
    assert!(TrustRoot::parse(long.as_bytes()).unwrap_err().contains("too long"));
    assert!(TrustRoot::parse(b"").is_err());

    // An entry of a log whose key cannot be used is told as such.
    let bench = Bench::new();
    let mut root = bench.mine.trusted_root();
    let usable = bench.other.trusted_root()["tlogs"][0].clone();
    root["tlogs"][0]["publicKey"]["rawBytes"] = rsa.into();
    root["tlogs"].as_array_mut().unwrap().push(usable);
    let found = fault(of_bundle(&bench.bundle(), &trust(&root, SUBJECT, ISSUER)));
    assert!(found.to_string().contains("RSA"), "{found}");
}
