//! What a registry can do wrong, and what becomes of it.

use std::time::Duration;

use kiln_erofs::Codec;
use kiln_lab::registry::{Fault, Ranges, Registry, Rule, Settings};
use kiln_release::Error;
use kiln_release::fetch::{LocalContents, RebuildOptions, Remote, Spool, bring};

use super::support::{Made, boot_file, brought, noise, pushed, release_of};

/// A registry with a release, and its root image.
fn published(settings: Settings) -> (Registry, Vec<u8>) {
    let registry = Registry::start(settings).unwrap();
    let boot = boot_file("kiln.root=1", &noise(300_000, 8));
    let (folder, _) = Made::corners(Codec::Lz4).build(1, &boot);
    pushed(&registry, folder.path(), "edge:1").unwrap();
    (registry, std::fs::read(folder.path().join("edge.root")).unwrap())
}

fn contents(remote: &Remote) -> String {
    remote.layers.contents.digest.to_string()
}

#[test]
fn passing_faults_are_outlived() {
    let faults = [
        Fault::Truncate(10_000),
        Fault::Shorten(10_000),
        Fault::Flip(5000),
        Fault::HangUp,
        Fault::status(500),
        Fault::status(503),
        Fault::busy(0),
        Fault::ShiftRange(0),
        Fault::IgnoreRange,
        Fault::Stall { after: 20_000, pause: Duration::from_secs(5) },
    ];
    let (registry, original) = published(Settings::default());
    let remote = release_of(&registry, "edge:1").unwrap();
    for fault in faults {
        let name = format!("{fault:?}");
        registry.script(Rule::new(&contents(&remote), fault.clone()).method("GET").times(2));
        let table = remote.layers.table.digest.to_string();
        registry.script(Rule::new(&table, fault.clone()).method("GET").skip(1).times(1));
        registry.script(Rule::new(&table, Fault::Flip(20)).method("GET").times(1));
        let kernel = kiln_registry::Digest::of(&noise(300_000, 8)).to_string();
        registry.script(Rule::new(&kernel, fault).method("GET").times(1));
        let spool = tempfile::tempdir().unwrap();
        let (_, root) = brought(&remote, &LocalContents::none(), &[], spool.path()).unwrap();
        assert!(root == original, "{name}");
        registry.forgive();
    }
}

#[test]
fn lasting_faults_are_errors_that_name_the_request() {
    let (registry, _) = published(Settings::default());
    let remote = release_of(&registry, "edge:1").unwrap();
    for (fault, expected) in [
        (Fault::status(401), "401"),
        (Fault::status(404), "404"),
        (Fault::busy(0), "429"),
        (Fault::status(500), "500"),
        (Fault::Flip(5000), "expected"),
        (Fault::ShiftRange(7), "another range"),
    ] {
        registry.script(Rule::new(&contents(&remote), fault).method("GET"));
        let spool = tempfile::tempdir().unwrap();
        let error = brought(&remote, &LocalContents::none(), &[], spool.path()).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert!(matches!(error, Error::Registry(_)), "{error:?}");
        registry.forgive();
    }
}

#[test]
fn without_ranges_the_contents_come_once_as_a_whole() {
    for ranges in [Ranges::Ignored, Ranges::SingleOrRefused, Ranges::Several] {
        let (registry, original) = published(Settings { ranges, ..Settings::default() });
        let remote = release_of(&registry, "edge:1").unwrap();
        registry.forget_requests();
        let spool = tempfile::tempdir().unwrap();
        let (_, root) = brought(&remote, &LocalContents::none(), &[], spool.path()).unwrap();
        assert!(root == original);
        let requests = registry.requests_for(&contents(&remote));
        let sent: u64 = requests.iter().map(|request| request.sent).sum();
        assert!(sent <= remote.layers.contents.size, "{ranges:?}: {sent}");
        assert!(requests.iter().all(|request| !request.range().unwrap().contains(',')));
    }
}

#[test]
fn a_release_of_another_time_is_refused_before_anything_is_fetched() {
    let (registry, _) = published(Settings::default());
    for (profile, agent, expected) in [(9999, "0.1.0", "profile 9999"), (101, "99.0.0", "99.0.0")] {
        let mut remote = release_of(&registry, "edge:1").unwrap();
        remote.release.profile = profile;
        remote.release.minimum_agent = agent.to_owned();
        registry.forget_requests();
        let spool = tempfile::tempdir().unwrap();
        let error = brought(&remote, &LocalContents::none(), &[], spool.path()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().is_some());
        assert!(registry.requests().is_empty());
    }
}

#[test]
fn a_root_that_is_another_is_an_error_naming_both_hashes() {
    let (registry, _) = published(Settings::default());
    let mut remote = release_of(&registry, "edge:1").unwrap();
    let right = std::mem::replace(&mut remote.release.root.hash, "0".repeat(64));
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path()).unwrap();
    let root = tempfile::tempfile().unwrap();
    let options = RebuildOptions { spool: tempfile::tempfile().unwrap(), threads: 1 };
    let local = LocalContents::none();
    let error =
        bring(&remote, &local, &[], &mut spool, &mut || root.try_clone(), options, &|_, _, _| ())
            .unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&right) && text.contains(&"0".repeat(64)), "{text}");
    // A table of another tree is refused before that.
    remote.release.tree_digest = "1".repeat(64);
    let error = remote.table(&mut spool, &|_, _, _| ()).unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
}

#[test]
fn uploads_survive_faults_and_large_blobs_go_on() {
    let registry = Registry::plain().unwrap();
    let mut made = Made::new(Codec::None);
    // Noise does not compress: the contents are longer than one piece of an upload.
    made.file("noise", &noise(40 << 20, 4));
    let (folder, _) = made.build(1, &boot_file("a", b"kernel"));
    registry
        .script(Rule::new("/blobs/uploads/", Fault::CutUpload(1 << 20)).method("PATCH").times(1));
    registry.script(Rule::new("/blobs/uploads/", Fault::status(500)).method("POST").times(1));
    registry.script(Rule::new("/blobs/uploads/", Fault::status(503)).method("PUT").times(1));
    pushed(&registry, folder.path(), "edge:1").unwrap();
    let remote = release_of(&registry, "edge:1").unwrap();
    let received: u64 =
        registry.requests_for("/blobs/uploads/").iter().map(|request| request.received).sum();
    assert!(received < remote.layers.contents.size * 5 / 4, "{received}");
    for status in [401, 403] {
        registry.script(Rule::new("/manifests/", Fault::status(status)).method("PUT"));
        let error = pushed(&registry, folder.path(), "edge:2").unwrap_err();
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        registry.forgive();
    }
}
