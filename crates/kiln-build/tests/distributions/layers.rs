//! Everything that layers can say, in one image: what is hidden, replaced, linked and labelled.

use kiln_erofs::Codec;

use crate::entry::{
    Entry, What, directory, file, hard_link, opaque, special, symlink, whiteout, with_parents,
};
use crate::machine::Workshop;
use crate::model::expected;
use crate::programs::AMD64;
use crate::readback::{differences, read};
use crate::trees::Shape;

/// An id that needs more than the 21 bits of an old header, and more than 16 bits of an inode.
const BIG_ID: u32 = 3_000_000_001;

/// POSIX ACL of one named user (acl(5), the kernel's binary form of version 2).
const ACL: &[u8] = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x07\0\xe8\x03\0\0\x04\0\x04\0\
                     \xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";

/// `cap_net_raw=ep` (linux/capability.h, `struct vfs_cap_data` revision 2).
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn lowest() -> Vec<Entry> {
    let long = "n".repeat(200);
    with_parents(vec![
        file("usr/bin/ping", b"ping").mode(0o755).attribute("security.capability", CAPABILITY),
        file("usr/bin/su", b"su").mode(0o4755),
        directory("srv/shared")
            .mode(0o3775)
            .owner(0, 50)
            .attribute("system.posix_acl_default", ACL),
        file("srv/shared/acl", b"x").attribute("system.posix_acl_access", ACL),
        file("srv/user", b"x").attribute("user.comment", b"\0\xff\n=").attribute("user.empty", b""),
        file("srv/big-owner", b"x").owner(BIG_ID, BIG_ID + 1),
        file("srv/exact", b"x").time(1_700_000_000, 123_456_789),
        file("srv/before-1970", b"x").time(-1, 0),
        file("srv/after-2038", b"x").time(1 << 33, 1),
        file("srv/empty", b""),
        file("srv/block", &[7; 4096]),
        file("srv/noise", &noise(300_001)),
        file("srv/text", "All work and no play. ".repeat(50_000).as_bytes()),
        file(&format!("srv/{long}/pax-{}", "p".repeat(90)), b"pax"),
        file(&format!("srv/{long}/gnu-{}", "g".repeat(90)), b"gnu").gnu(),
        symlink("srv/long-link", &"../t/".repeat(60)),
        special("dev/null", What::CharacterDevice(1, 3)).mode(0o666),
        special("dev/high", What::BlockDevice(259, 70_000)),
        special("srv/pipe", What::Pipe),
        directory("etc/hidden"),
        file("etc/hidden/a", b"a"),
        directory("etc/opaque").mode(0o700).owner(5, 6),
        file("etc/opaque/old", b"old"),
        directory("etc/kept").mode(0o711).time(5, 5),
        file("etc/kept/old", b"old"),
        file("etc/becomes-directory", b"file"),
        directory("etc/becomes-file"),
        file("etc/becomes-file/inner", b"inner"),
        file("usr/lib/one", b"one and the same").mode(0o640).owner(1, 2),
        hard_link("usr/lib/two", "usr/lib/one"),
        file("usr/lib/target", b"the first content"),
        file("usr/lib/loses-a-name", b"stays under its other name"),
        hard_link("usr/lib/other-name", "usr/lib/loses-a-name"),
        symlink("etc/link", "nowhere"),
    ])
}

fn middle() -> Vec<Entry> {
    vec![
        // Links into the layer below; the last one's target is replaced in the layer above.
        hard_link("usr/bin/one", "usr/lib/one"),
        hard_link("usr/lib/keeps-first", "usr/lib/target"),
        whiteout("etc/hidden"),
        // A whiteout hides what is below, never what its own layer brings.
        opaque("etc/opaque"),
        directory("etc/opaque").mode(0o750).owner(7, 8),
        file("etc/opaque/new", b"new"),
        // No entry for the folder: what the lower layer says of it stays.
        file("etc/kept/new", b"new"),
        directory("etc/becomes-directory").mode(0o710),
        file("etc/becomes-directory/inner", b"inner"),
        whiteout("etc/becomes-file"),
        file("etc/becomes-file", b"file"),
    ]
}

fn top() -> Vec<Entry> {
    vec![
        file("usr/lib/target", b"the second content").mode(0o600),
        whiteout("usr/lib/loses-a-name"),
        // Back again after it was hidden.
        directory("etc/hidden").mode(0o701),
        file("etc/hidden/b", b"b"),
        symlink("etc/link", "kept"),
        file("srv/noise", &noise(70_000)).mode(0o444).time(9, 9),
    ]
}

fn check(codec: Codec, layers: &[Vec<Entry>]) {
    let mut workshop = Workshop::new(AMD64, layers);
    workshop.options.codec = codec;
    workshop.build().unwrap();
    let found = read(&workshop.output("fedora.root"));
    let lines = differences(&expected(layers), &found);
    assert!(lines.is_empty(), "{codec:?}:\n{}", lines.join("\n"));
    if layers.len() == 4 {
        let name = |path: &str| String::from_utf8(found[path.as_bytes()].first_name.clone());
        assert_eq!(name("usr/lib/two").unwrap(), "usr/bin/one", "three names, one file");
        assert_ne!(name("usr/lib/keeps-first").unwrap(), name("usr/lib/target").unwrap());
    }
}

#[test]
fn all_that_layers_say_is_in_the_root_whatever_the_codec() {
    let layers = [Shape::fedora().base(), lowest(), middle(), top()];
    for codec in [Codec::None, Codec::Lz4, Codec::Lz4hc { level: 9 }, Codec::Zstd { level: 3 }] {
        check(codec, &layers);
    }
}

/// 4 GiB and a bit, almost all of it a hole; offsets and lengths need more than 32 bits.
#[test]
fn a_file_beyond_four_gibibytes_keeps_its_length_and_its_end() {
    let length = (4 << 30) + 5000;
    let pieces = vec![
        (0, b"begin".to_vec()),
        (1 << 31, noise(5000)),
        ((4 << 30) - 2, b"across the border".to_vec()),
        (length - 3, b"end".to_vec()),
    ];
    let sparse = Entry { what: What::Sparse(length, pieces), ..file("srv/huge", b"") };
    check(Codec::Lz4, &[Shape::fedora().base(), with_parents(vec![sparse])]);
}
