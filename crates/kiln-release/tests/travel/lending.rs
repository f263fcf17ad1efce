//! A slot lends what it holds encoded; one that lies or rots only makes an upgrade slower.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use kiln_erofs::{Codec, Profile};
use kiln_lab::registry::Registry;
use kiln_release::Release;
use kiln_release::fetch::{LocalContents, RebuildOptions, Spool, bring, lender};

use crate::support::{Made, boot_file, brought, noise, pushed, release_of, text};

/// A system whose update changes a few of its files, one of them long.
fn system(codec: Codec, changed: bool) -> Made {
    let mut made = Made::new(codec);
    for number in 0..150_u32 {
        let seed = number + if changed && number % 30 == 7 { 100_000 } else { 0 };
        let path = format!("usr/lib/part-{}/library-{number}", number / 20);
        made.file(&path, &text(500 + 300 * number as usize, seed));
    }
    let mut long = noise(5 << 20, 5);
    if changed {
        long[3_000_000] ^= 1;
    }
    made.file("usr/lib/long", &long);
    made.file("usr/lib/another", &noise(1_500_000, 3));
    made
}

struct Pair {
    registry: Registry,
    old: tempfile::TempDir,
    facts: Release,
    new: Vec<u8>,
}

fn pair(codec: Codec) -> Pair {
    let registry = Registry::plain().unwrap();
    let (old, facts) = system(codec, false).build(1, &boot_file("kiln.root=1", b"kernel"));
    let (new, _) = system(codec, true).build(2, &boot_file("kiln.root=2", b"kernel"));
    pushed(&registry, new.path(), "edge:2").unwrap();
    let new = std::fs::read(new.path().join("edge.root")).unwrap();
    Pair { registry, old, facts, new }
}

impl Pair {
    fn slot(&self) -> File {
        let path = self.old.path().join("edge.root");
        File::options().read(true).write(true).open(path).unwrap()
    }

    /// The slot as a machine sees it that trusts its facts.
    fn local(&self, slot: &File) -> LocalContents {
        let profile = Profile::from_number(self.facts.profile).unwrap();
        let mut local = LocalContents::of_root(slot, 2);
        local.add_lender(lender(slot, &self.facts, profile, 2).unwrap());
        local
    }
}

#[test]
fn what_did_not_change_is_copied_as_it_is_encoded() {
    for codec in ["none", "lz4", "lz4hc:4", "zstd:3"] {
        let pair = pair(codec.parse().unwrap());
        let local = pair.local(&pair.slot());
        let remote = release_of(&pair.registry, "edge:2").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path()).unwrap();
        let root = tempfile::tempfile().unwrap();
        let encoded = tempfile::tempfile().unwrap();
        let rebuild = RebuildOptions { spool: encoded.try_clone().unwrap(), threads: 2 };
        let mut place = || root.try_clone();
        bring(&remote, &local, &[], &mut spool, &mut place, rebuild, &|_, _, _| ()).unwrap();
        let mut bytes = vec![0; pair.new.len()];
        root.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes == pair.new, "{codec}");
        // Five files, and of the long one the chunks around its change.
        let written = spool.bytes() + encoded.metadata().unwrap().len();
        assert!(written * 5 < bytes.len() as u64, "{codec}: {written} of {}", bytes.len());
        assert!(!local.lenders()[0].has_failed());
    }
}

#[test]
fn a_lender_that_rots_meanwhile_is_done_without() {
    let pair = pair(Codec::Lz4hc { level: 4 });
    let remote = release_of(&pair.registry, "edge:2").unwrap();
    let slot = pair.slot();
    let inside = noise(1_500_000, 3)[700_000..700_008].to_vec();
    let original = std::fs::read(pair.old.path().join("edge.root")).unwrap();
    let at = original.windows(8).position(|bytes| bytes == inside).unwrap();

    let local = pair.local(&slot);
    slot.write_all_at(&[!original[at]], at as u64).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (told, root) = brought(&remote, &local, &[], folder.path()).unwrap();
    assert!(root == pair.new);
    assert!(local.lenders()[0].has_failed());
    assert!(told.replaced > 0, "what rotted came from the registry");

    // Known from the beginning it lends the rest, and nobody asks it for what it has not.
    let local = pair.local(&slot);
    let folder = tempfile::tempdir().unwrap();
    let (_, root) = brought(&remote, &local, &[], folder.path()).unwrap();
    assert!(root == pair.new);
    assert!(!local.lenders()[0].has_failed());
}

#[test]
fn who_cannot_prove_what_it_holds_does_not_lend() {
    let pair = pair(Codec::Lz4);
    let (slot, profile) = (pair.slot(), Profile::of(Codec::Lz4));
    assert!(lender(&slot, &pair.facts, profile, 1).is_some());
    let other_profile = Profile::of(Codec::Zstd { level: 3 });
    assert!(lender(&slot, &pair.facts, other_profile, 1).is_none());
    for facts in [
        Release { profile: other_profile.number(), ..pair.facts.clone() },
        Release {
            root: kiln_release::Root { hash: "00".repeat(32), ..pair.facts.root.clone() },
            ..pair.facts.clone()
        },
        Release {
            root: kiln_release::Root { data_blocks: 2, ..pair.facts.root.clone() },
            ..pair.facts.clone()
        },
    ] {
        assert!(lender(&slot, &facts, profile, 1).is_none());
    }
    slot.set_len(0).unwrap();
    assert!(lender(&slot, &pair.facts, profile, 1).is_none());
}
