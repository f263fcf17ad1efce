//! A large update goes into the new root as it comes, and an interrupted one goes on there.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use kiln_erofs::{Codec, Profile};
use kiln_lab::registry::{Fault, Registry, Rule, Settings};
use kiln_release::blocks;
use kiln_release::fetch::{LocalContents, Remote, Spool, lender};
use kiln_release::manifest::Descriptor;

use super::support::{Made, boot_file, brought, brought_into, noise, pushed, release_of, text};

const CODECS: [&str; 4] = ["none", "lz4", "lz4hc:4", "zstd:3"];

/// A registry with a release, and its root image. The kernel of its boot file is one of its files.
fn published(codec: Codec) -> (Registry, Vec<u8>) {
    let registry = Registry::start(Settings::default()).unwrap();
    let kernel = noise(700_000, 8);
    let mut made = Made::corners(codec);
    made.file("boot/vmlinuz", &kernel);
    let (folder, _) = made.build(1, &boot_file("kiln.root=1", &kernel));
    pushed(&registry, folder.path(), "edge:1").unwrap();
    (registry, std::fs::read(folder.path().join("edge.root")).unwrap())
}

/// Bytes that the registry sent of the contents.
fn sent(registry: &Registry, remote: &Remote) -> u64 {
    let requests = registry.requests_for(&remote.layers.contents.digest.to_string());
    requests.iter().map(|request| request.sent).sum()
}

fn size_of(folder: &Path, name: &str) -> u64 {
    folder.join(name).metadata().map_or(0, |file| file.len())
}

#[test]
fn a_whole_release_is_written_once() {
    for codec in CODECS {
        let (registry, original) = published(codec.parse().unwrap());
        let remote = release_of(&registry, "edge:1").unwrap();
        registry.forget_requests();
        let spool = tempfile::tempdir().unwrap();
        let (told, root) = brought(&remote, &LocalContents::none(), &[], spool.path()).unwrap();
        assert!(root == original, "{codec}");
        assert!(told.placed > 1990, "{codec}: {} contents", told.placed);
        assert_eq!(told.boot_files["system"], boot_file("kiln.root=1", &noise(700_000, 8)));
        // The kernel came as a file and not once more.
        let kernel = kiln_registry::Digest::of(&noise(700_000, 8)).to_string();
        assert!(registry.requests_for(&kernel).is_empty(), "{codec}");
        // Frames of the three long contents at most, and what lies beside inodes.
        let frames = size_of(spool.path(), "frames");
        assert!(frames < original.len() as u64 * 3 / 4, "{codec}: {frames}");
    }
}

/// Interrupts an upgrade after half of the contents.
fn interrupted(registry: &Registry, remote: &Remote, root: &File, spool: &Path) {
    let contents = remote.layers.contents.digest.to_string();
    let half = remote.layers.contents.size / 2;
    registry.forget_requests();
    registry.script(Rule::new(&contents, Fault::Truncate(half)).method("GET").times(1));
    registry.script(Rule::new(&contents, Fault::status(404)).method("GET").skip(1));
    brought_into(root, remote, &LocalContents::none(), &[], spool).unwrap_err();
    registry.forgive();
}

#[test]
fn an_interrupted_download_goes_on_where_it_was() {
    for codec in CODECS {
        let (registry, original) = published(codec.parse().unwrap());
        let remote = release_of(&registry, "edge:1").unwrap();
        let size = remote.layers.contents.size;
        let (spool, root) = (tempfile::tempdir().unwrap(), tempfile::tempfile().unwrap());
        interrupted(&registry, &remote, &root, spool.path());
        // A power cut left half a record behind.
        for name in ["frames", "placed"] {
            let path = spool.path().join(name);
            let mut bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.is_empty(), "{name}");
            bytes.extend([7; 500]);
            std::fs::write(&path, bytes).unwrap();
        }
        let (told, bytes) =
            brought_into(&root, &remote, &LocalContents::none(), &[], spool.path()).unwrap();
        assert!(bytes == original, "{codec}");
        assert!(told.fetched < size * 3 / 4 && told.placed > 1990, "{codec}: {}", told.fetched);
        // Only what the network had in flight.
        let sent = sent(&registry, &remote);
        assert!(sent <= size + 70_000, "{codec}: {sent} of {size}");
    }
}

#[test]
fn what_was_lost_meanwhile_comes_again() {
    let (registry, original) = published(Codec::Lz4);
    let remote = release_of(&registry, "edge:1").unwrap();
    for loss in ["slot", "part of the slot", "list", "part of the list", "frames"] {
        let (spool, root) = (tempfile::tempdir().unwrap(), tempfile::tempfile().unwrap());
        interrupted(&registry, &remote, &root, spool.path());
        let path = spool.path().join(if loss == "frames" { "frames" } else { "placed" });
        let damaged = File::options().read(true).write(true).open(&path).unwrap();
        let length = damaged.metadata().unwrap().len();
        match loss {
            "slot" => root.set_len(0).unwrap(),
            "part of the slot" => {
                root.write_all_at(&[9; 70_000], original.len() as u64 / 2).unwrap()
            }
            "part of the list" => damaged.write_all_at(&[9; 700], length / 2).unwrap(),
            _ => damaged.set_len(0).unwrap(),
        }
        let (_, bytes) =
            brought_into(&root, &remote, &LocalContents::none(), &[], spool.path()).unwrap();
        assert!(bytes == original, "{loss}");
    }
}

#[test]
fn a_wrong_list_of_blocks_only_costs_time() {
    let (registry, original) = published(Codec::Lz4);
    let mut remote = release_of(&registry, "edge:1").unwrap();
    let right = remote.layers.blocks.clone().unwrap();
    let path = registry.blob("edge", &right.digest.to_string()).unwrap();
    let stored = std::fs::read(path).unwrap();
    let count = (1..5000).find(|&count| blocks::read(&stored, count).is_ok()).unwrap();
    let right = blocks::read(&stored, count).unwrap();
    let long = right.iter().rposition(|&blocks| blocks > 100).unwrap();
    let changed = |change: &dyn Fn(&mut Vec<u32>)| {
        let mut blocks = right.clone();
        change(&mut blocks);
        Some(blocks::write(&blocks).unwrap())
    };
    let lists = [
        ("none", None, false),
        ("rubbish", Some(vec![7; 100]), false),
        ("one too many", changed(&|blocks| blocks.push(1)), false),
        ("more than the root", changed(&|blocks| blocks[3] = u32::MAX), false),
        // Contents before the changed one are moved, and nothing fits.
        ("one content less", changed(&|blocks| blocks[long] -= 1), false),
        ("one content more", changed(&|blocks| blocks[long] += 1), false),
        ("right", changed(&|_| ()), true),
    ];
    for (name, list, is_used) in lists {
        remote.layers.blocks = list.map(|bytes| Descriptor {
            media_type: blocks::MEDIA_TYPE.to_owned(),
            digest: registry.add_blob("edge", &bytes[..]).unwrap().parse().unwrap(),
            size: bytes.len() as u64,
            annotations: Default::default(),
        });
        let spool = tempfile::tempdir().unwrap();
        let (told, root) = brought(&remote, &LocalContents::none(), &[], spool.path()).unwrap();
        assert!(root == original, "{name}");
        assert_eq!(told.placed > 0, is_used, "{name}");
    }
}

/// A system of which half changes, and one that has a file of the one before again.
fn system(version: u32) -> Made {
    let mut made = Made::new(Codec::Lz4hc { level: 4 });
    for number in 0..80_u32 {
        let seed = if number % 2 == 0 { number } else { number + 1000 * version };
        made.file(&format!("usr/lib/library-{number:02}"), &text(900 * number as usize, seed));
    }
    let returns = if version == 2 { 2 } else { 1 };
    made.file("usr/lib/returns", &noise(40_000, returns));
    made.file("usr/lib/returns-long", &noise(300_000, 10 + returns));
    made.file("usr/lib/stays", &noise(8_000_000, 5));
    made.file("usr/lib/changes", &noise(500_000, 100 + u64::from(version)));
    made
}

#[test]
fn what_only_the_overwritten_slot_holds_is_not_fetched() {
    let registry = Registry::plain().unwrap();
    let built: Vec<_> = (1..=3)
        .map(|version| {
            let boot = boot_file(&format!("kiln.root={version}"), b"kernel");
            system(version).build(version.into(), &boot)
        })
        .collect();
    pushed(&registry, built[2].0.path(), "edge:3").unwrap();
    let remote = release_of(&registry, "edge:3").unwrap();
    let root_of = |number: usize| {
        let path = built[number].0.path().join("edge.root");
        File::options().read(true).write(true).open(path).unwrap()
    };
    // The running slot has version 2; version 1 is written over.
    let (running, target) = (root_of(1), root_of(0));
    let profile = Profile::from_number(built[1].1.profile).unwrap();
    let mut local = LocalContents::of_root(&running, 2);
    local.add_lender(lender(&running, &built[1].1, profile, 2).unwrap());
    local.add_target(&target, 2);
    let spool = tempfile::tempdir().unwrap();
    registry.forget_requests();
    let (told, bytes) = brought_into(&target, &remote, &local, &[], spool.path()).unwrap();
    let original = std::fs::read(built[2].0.path().join("edge.root")).unwrap();
    assert!(bytes[..original.len()] == original);
    assert!(told.placed > 30 && told.replaced == 0, "{} {}", told.placed, told.replaced);
    // What changed, without the two files that came back.
    let changed: u64 = (1..80).step_by(2).map(|number| 900 * number).sum::<u64>() + 500_000;
    assert!(told.fetched < changed + 20_000, "{} of {changed}", told.fetched);
    assert!(sent(&registry, &remote) < changed + 200_000);
    Spool::open(spool.path()).unwrap().clear().unwrap();
    assert_eq!(size_of(spool.path(), "placed") + size_of(spool.path(), "frames"), 0);
}
