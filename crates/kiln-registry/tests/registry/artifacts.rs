//! Things beside images: pushing, mounting, stretches of blobs, referrers.

use std::io;
use std::ops::Range;

use kiln_lab::Registry;
use kiln_lab::registry::{Access, Fault, Ranges, Rule, Settings, basic};
use kiln_registry::{Answer, Artifacts, Digest, Error, Pushed, RangeSink, Referrer};

use crate::support::options;

const KIND: &str = "application/vnd.example.kind.v1";

fn repository(registry: &Registry, name: &str, for_push: bool) -> Artifacts {
    let reference = format!("{}/{name}", registry.host()).parse().unwrap();
    let mut options = options(&[registry]);
    options.network.attempts = 3;
    options.network.first_delay = std::time::Duration::from_millis(1);
    if for_push {
        Artifacts::open_for_push(&reference, &options).unwrap()
    } else {
        Artifacts::open(&reference, &options).unwrap()
    }
}

fn push(repository: &Artifacts, bytes: &[u8], from: Option<&str>) -> Result<Pushed, Error> {
    let owned = bytes.to_vec();
    let open = move |start: u64| -> io::Result<Box<dyn io::Read>> {
        Ok(Box::new(io::Cursor::new(owned[start as usize..].to_vec())))
    };
    repository.push_blob(Digest::of(bytes), bytes.len() as u64, &open, from, &mut |_| ())
}

#[test]
fn blobs_are_sent_once_and_mounted_where_possible() {
    let registry = Registry::plain().unwrap();
    let first = repository(&registry, "a/first", true);
    assert_eq!(push(&first, b"blob", None).unwrap(), Pushed::Sent);
    assert_eq!(push(&first, b"blob", None).unwrap(), Pushed::Existing);
    assert_eq!(push(&first, b"", None).unwrap(), Pushed::Sent, "also one without bytes");
    let second = repository(&registry, "a/second", true);
    assert_eq!(push(&second, b"blob", Some("a/first")).unwrap(), Pushed::Mounted);
    assert_eq!(push(&second, b"other", Some("a/first")).unwrap(), Pushed::Sent);
    assert_eq!(second.blob(Digest::of(b"blob"), 4).unwrap(), b"blob");
    assert_eq!(second.blob(Digest::of(b"other"), 5).unwrap(), b"other");
    let error = second.blob(Digest::of(b"none"), 4).unwrap_err();
    assert!(matches!(error, Error::Status { status: 404, .. }), "{error}");
}

#[test]
fn a_token_is_asked_for_that_allows_to_push() {
    let user = Some(("me".to_owned(), "secret".to_owned()));
    let access = Access::Token { user, refresh: None };
    let registry = Registry::start(Settings { access, ..Settings::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.json");
    let encoded = basic("me", "secret").replace("Basic ", "");
    let text = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{encoded}\"}}}}}}", registry.host());
    std::fs::write(&file, text).unwrap();
    let reference = format!("{}/a/b:1", registry.host()).parse().unwrap();
    let mut with_login = options(&[&registry]);
    with_login.network.auth_files.push(file);
    let artifacts = Artifacts::open_for_push(&reference, &with_login).unwrap();
    assert_eq!(push(&artifacts, b"blob", None).unwrap(), Pushed::Sent);
    registry.revoke_tokens();
    assert_eq!(push(&artifacts, b"blob 2", None).unwrap(), Pushed::Sent);
    let error = push(&repository(&registry, "a/b", true), b"blob 3", None).unwrap_err();
    assert!(matches!(error, Error::Status { status: 401, .. }), "{error}");
}

#[test]
fn a_registry_that_forgets_an_upload_gets_it_again() {
    let registry = Registry::plain().unwrap();
    let artifacts = repository(&registry, "a/b", true);
    let bytes = vec![7; 40 << 20];
    registry.script(Rule::new("/uploads/", Fault::status(404)).method("PATCH").skip(1).times(1));
    assert_eq!(push(&artifacts, &bytes, None).unwrap(), Pushed::Sent);
    let path = registry.blob("a/b", &Digest::of(&bytes).to_string()).unwrap();
    assert_eq!(path.metadata().unwrap().len(), bytes.len() as u64);
    for (fault, status) in [(Fault::status(403), 403), (Fault::status(507), 507)] {
        registry.script(Rule::new("/uploads/", fault).method("POST"));
        let error = push(&artifacts, b"refused", None).unwrap_err();
        assert!(matches!(error, Error::Status { status: found, .. } if found == status), "{error}");
        registry.forgive();
    }
}

/// Takes a stretch and refuses a wrong byte.
struct Stretch {
    wanted: Range<u64>,
    position: u64,
    answers: Vec<Answer>,
}

impl RangeSink for Stretch {
    fn wanted(&self) -> Range<u64> {
        self.wanted.clone()
    }

    fn begin(&mut self, offset: u64, answer: Answer) {
        self.position = offset;
        self.answers.push(answer);
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            if *byte != (self.position % 251) as u8 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.position += 1;
            if self.position > self.wanted.start && self.position <= self.wanted.end {
                self.wanted.start = self.position;
            }
        }
        Ok(())
    }
}

#[test]
fn stretches_come_whole_in_spite_of_faults() {
    let bytes: Vec<u8> = (0..400_000_u32).map(|number| (number % 251) as u8).collect();
    let digest = Digest::of(&bytes);
    let cases = [
        (None, Ranges::Single, Answer::Stretch),
        (Some(Fault::Truncate(50_000)), Ranges::Single, Answer::Stretch),
        (Some(Fault::Shorten(50_000)), Ranges::Single, Answer::Stretch),
        (Some(Fault::Flip(70_000)), Ranges::Single, Answer::Stretch),
        (Some(Fault::status(500)), Ranges::Single, Answer::Stretch),
        (None, Ranges::Ignored, Answer::Whole),
        (Some(Fault::Truncate(200_000)), Ranges::Ignored, Answer::Whole),
    ];
    for (fault, ranges, expected) in cases {
        let registry = Registry::start(Settings { ranges, ..Settings::default() }).unwrap();
        registry.add_blob("a/b", &bytes[..]).unwrap();
        let name = format!("{fault:?} {ranges:?}");
        if let Some(fault) = fault {
            registry.script(Rule::new("/blobs/", fault).method("GET").times(1));
        }
        let mut sink = Stretch { wanted: 100_000..300_000, position: 0, answers: Vec::new() };
        let artifacts = repository(&registry, "a/b", false);
        artifacts.stretch(digest, bytes.len() as u64, &mut sink).unwrap();
        assert!(sink.wanted.is_empty(), "{name}");
        assert!(sink.answers.iter().all(|answer| *answer == expected), "{name}");
        let sent = registry.bytes_sent();
        assert!(expected == Answer::Whole || sent <= 330_000, "{name}: {sent}");
    }
}

#[test]
fn another_range_than_asked_for_is_refused() {
    let registry = Registry::plain().unwrap();
    registry.add_blob("a/b", &[0; 1000][..]).unwrap();
    registry.script(Rule::new("/blobs/", Fault::ShiftRange(5)).method("GET"));
    let mut sink = Stretch { wanted: 100..200, position: 0, answers: Vec::new() };
    let artifacts = repository(&registry, "a/b", false);
    let error = artifacts.stretch(Digest::of(&[0; 1000]), 1000, &mut sink).unwrap_err();
    assert!(error.to_string().contains("another range"), "{error}");
    assert!(sink.answers.is_empty());
}

#[test]
fn referrers_are_listed_with_and_without_the_api() {
    for has_api in [true, false] {
        let settings = Settings { referrers: has_api, ..Settings::default() };
        let registry = Registry::start(settings).unwrap();
        let artifacts = repository(&registry, "a/b", true);
        let subject = Digest::of(b"subject");
        assert!(artifacts.referrers(subject, KIND).unwrap().is_empty());
        push(&artifacts, b"{}", None).unwrap();
        let empty = Digest::of(b"{}");
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        for kind in [KIND, "application/vnd.example.other.v1"] {
            let document = format!(
                "{{\"schemaVersion\":2,\"mediaType\":\"{media_type}\",\"artifactType\":\"{kind}\",\
                 \"config\":{{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"digest\":\
                 \"{empty}\",\"size\":2}},\"layers\":[],\"subject\":{{\"mediaType\":\
                 \"{media_type}\",\"digest\":\"{subject}\",\"size\":7}}}}"
            );
            let digest = Digest::of(document.as_bytes());
            let version = digest.to_string();
            let listed = artifacts.push_manifest(&version, media_type, document.as_bytes());
            assert_eq!(listed.unwrap(), has_api);
            let referrer = Referrer {
                media_type: media_type.to_owned(),
                digest,
                size: document.len() as u64,
                artifact_type: Some(kind.to_owned()),
                annotations: Default::default(),
            };
            if !has_api {
                // Twice is once.
                artifacts.add_referrer(subject, &referrer).unwrap();
                artifacts.add_referrer(subject, &referrer).unwrap();
            }
            if kind == KIND {
                assert_eq!(artifacts.referrers(subject, KIND).unwrap(), [referrer]);
            }
        }
        assert_eq!(artifacts.referrers(subject, KIND).unwrap().len(), 1);
    }
}
