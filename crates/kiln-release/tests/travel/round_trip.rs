//! What was pushed comes back byte by byte, and nothing travels that is here already.

use std::fs::File;

use kiln_erofs::Codec;
use kiln_lab::registry::{Registry, Settings};
use kiln_release::fetch::{Found, LocalContents, look_up};

use super::support::{
    Made, boot_file, brought, container_image, noise, options, pushed, reference, release_of, text,
};

#[test]
fn every_kind_of_entry_comes_back_with_every_codec() {
    for codec in [Codec::None, Codec::Lz4, Codec::Lz4hc { level: 9 }, Codec::Zstd { level: 3 }] {
        let registry = Registry::plain().unwrap();
        let boot = boot_file("kiln.root=1", &noise(300_000, 8));
        let (folder, release) = Made::corners(codec).build(1, &boot);
        let report = pushed(&registry, folder.path(), "edge:1").unwrap();
        assert_eq!(report.tags, ["1"]);
        assert_eq!(report.sent, report.bytes);

        let remote = release_of(&registry, "edge:1").unwrap();
        assert_eq!(remote.release, release);
        let spool = tempfile::tempdir().unwrap();
        let (brought, root) = brought(&remote, &LocalContents::none(), &[], spool.path()).unwrap();
        assert!(root == std::fs::read(folder.path().join("edge.root")).unwrap(), "{codec}");
        assert!(brought.boot_files["system"] == boot);
        assert_eq!(brought.root_hash.to_string(), release.root.hash);
        assert_eq!(brought.fetched, brought.total);
    }
}

#[test]
fn pushing_again_sends_nothing() {
    let registry = Registry::plain().unwrap();
    let (folder, _) = Made::corners(Codec::None).build(1, &boot_file("a", &noise(9000, 8)));
    let first = pushed(&registry, folder.path(), "edge:1").unwrap();
    let second = pushed(&registry, folder.path(), "edge:1").unwrap();
    assert_eq!((second.sent, second.blobs.1), (0, 0));
    assert_eq!(second.manifest_digest, first.manifest_digest, "equal releases, equal bytes");
}

#[test]
fn a_release_stands_beside_its_image_with_and_without_the_referrers_api() {
    for referrers in [true, false] {
        let registry = Registry::start(Settings { referrers, ..Settings::default() }).unwrap();
        let image = container_image(&registry, "edge", "1");
        let named = look_up(&reference(&registry, "edge:1"), &options(&registry)).unwrap();
        assert_eq!(named.digest.to_string(), image);
        assert!(matches!(named.resolve().unwrap(), Found::ContainerImage(_)));

        let (folder, release) = Made::corners(Codec::Lz4).build(1, &boot_file("a", b"kernel"));
        let report = pushed(&registry, folder.path(), "edge:1").unwrap();
        let hexadecimal = image.strip_prefix("sha256:").unwrap();
        assert_eq!(report.tags, [format!("sha256-{hexadecimal}.kiln")]);
        assert_eq!(report.subject.unwrap().to_string(), image);
        let remote = release_of(&registry, "edge:1").unwrap();
        assert_eq!(remote.release, release);
        assert_eq!(remote.subject.unwrap().to_string(), image);

        // Of several the highest sequence counts, in whatever order they came.
        let (newer, _) = Made::corners(Codec::Lz4).build(12, &boot_file("b", b"kernel"));
        let (older, _) = Made::corners(Codec::Lz4).build(9, &boot_file("c", b"kernel"));
        pushed(&registry, newer.path(), "edge:1").unwrap();
        pushed(&registry, older.path(), "edge:1").unwrap();
        let sequence = release_of(&registry, "edge:1").unwrap().release.sequence.0;
        assert_eq!(sequence, 12, "referrers: {referrers}");
    }
}

#[test]
fn only_the_tag_is_left_by_a_tool_that_copies_no_referrers() {
    let registry = Registry::start(Settings { referrers: false, ..Settings::default() }).unwrap();
    let image = container_image(&registry, "edge", "1");
    let (folder, release) = Made::corners(Codec::Lz4).build(1, &boot_file("a", b"kernel"));
    pushed(&registry, folder.path(), "edge:1").unwrap();
    // The list that stands in for the API is lost.
    let fallback = image.replace(':', "-");
    let nothing = br#"{"schemaVersion":2,"manifests":[]}"#;
    let media_type = "application/vnd.oci.image.index.v1+json";
    registry.add_manifest("edge", Some(&fallback), media_type, nothing);
    assert_eq!(release_of(&registry, "edge:1").unwrap().release, release);
}

#[test]
fn a_check_for_updates_is_one_request() {
    let registry = Registry::plain().unwrap();
    container_image(&registry, "edge", "1");
    registry.forget_requests();
    look_up(&reference(&registry, "edge:1"), &options(&registry)).unwrap();
    assert_eq!(registry.requests().len(), 1);
}

/// A system of some size: many files, some of them long.
fn system(changed: bool) -> Made {
    let mut made = Made::new(Codec::Zstd { level: 3 });
    for number in 0..600_u32 {
        let is_changed = changed && number % 60 == 7;
        let seed = number + if is_changed { 100_000 } else { 0 };
        let path = format!("usr/lib/part-{}/library-{number}", number / 20);
        made.file(&path, &text(3000 + 40 * number as usize, seed));
    }
    let mut long = noise(4 << 20, 5);
    if changed {
        long.splice(1_000_000..1_000_010, *b"a change of the middle");
    }
    made.file("usr/lib/long", &long);
    made
}

#[test]
fn a_small_change_fetches_what_changed() {
    let registry = Registry::plain().unwrap();
    let kernel = noise(2_000_000, 8);
    let old_boot = boot_file("kiln.root=1", &kernel);
    let new_boot = boot_file("kiln.root=2", &kernel);
    let (old, _) = system(false).build(1, &old_boot);
    let (new, _) = system(true).build(2, &new_boot);
    pushed(&registry, old.path(), "edge:1").unwrap();
    pushed(&registry, new.path(), "edge:2").unwrap();

    let spool = tempfile::tempdir().unwrap();
    let remote = release_of(&registry, "edge:1").unwrap();
    brought(&remote, &LocalContents::none(), &[], spool.path()).unwrap();
    kiln_release::fetch::Spool::open(spool.path()).unwrap().clear().unwrap();

    let slot = File::open(old.path().join("edge.root")).unwrap();
    let local = LocalContents::of_root(&slot, 2);
    assert!(!local.is_empty());
    let remote = release_of(&registry, "edge:2").unwrap();
    registry.forget_requests();
    let (brought, root) = brought(&remote, &local, &[old_boot], spool.path()).unwrap();
    assert!(root == std::fs::read(new.path().join("edge.root")).unwrap());
    assert!(brought.boot_files["system"] == new_boot);

    let changed: usize = (0..600_u32)
        .filter(|number| number % 60 == 7)
        .map(|number| text(3000 + 40 * number as usize, number + 100_000))
        .chain([noise(4 << 20, 5)[..600_000].to_vec()])
        .map(|bytes| zstd::bulk::compress(&bytes, 9).unwrap().len())
        .sum();
    let table = remote.layers.table.size;
    let allowed = (changed as u64 + table) * 11 / 10;
    let sent = registry.bytes_sent();
    assert!(sent <= allowed, "{sent} of {allowed} bytes");
    assert!(brought.fetched < brought.total / 4, "{} of {}", brought.fetched, brought.total);
    let kernel_digest = kiln_registry::Digest::of(&kernel).to_string();
    assert!(registry.requests_for(&kernel_digest).is_empty(), "the kernel did not travel");
    let table_bytes: u64 = registry
        .requests_for(&remote.layers.table.digest.to_string())
        .iter()
        .map(|request| request.sent)
        .sum();
    assert!(table_bytes <= table, "{table_bytes} of {table}");
}

#[test]
fn a_slot_that_rots_is_no_obstacle() {
    let registry = Registry::plain().unwrap();
    let (folder, _) = Made::corners(Codec::None).build(1, &boot_file("a", b"kernel"));
    pushed(&registry, folder.path(), "edge:1").unwrap();
    let original = std::fs::read(folder.path().join("edge.root")).unwrap();
    let slot = folder.path().join("slot");
    std::fs::write(&slot, &original).unwrap();
    let local = LocalContents::of_root(&File::open(&slot).unwrap(), 2);
    let mut rotten = original.clone();
    let inside = noise(1_500_000, 3)[700_000..700_008].to_vec();
    let at = original.windows(8).position(|bytes| bytes == inside);
    rotten[at.unwrap()] ^= 1;
    std::fs::write(&slot, &rotten).unwrap();

    let spool = tempfile::tempdir().unwrap();
    let remote = release_of(&registry, "edge:1").unwrap();
    let (brought, root) = brought(&remote, &local, &[], spool.path()).unwrap();
    assert!(root == original);
    assert_eq!((brought.fetched, brought.replaced), (0, 1));
}
