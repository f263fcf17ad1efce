//! Tables: frozen bytes, and hostile ones that are refused without harm.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::collections::BTreeMap;

use kiln_release::contents::FrameRecord;
use kiln_release::table::{
    Assembler, Index, Piece, Table, TableSource, dump, unpack_piece, write_table,
};
use kiln_tree::{Content, ContentId, Kind, Metadata, Node, Tree};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

const DIGESTS: [[u8; 32]; 2] = [[0xaa; 32], [0xbb; 32]];

/// Every kind of entry, and so many directories that it has several pieces.
fn tree(directories: usize) -> Tree {
    let mut tree = Tree::new();
    let mut put = |path: &str, kind: Kind, metadata: Metadata| {
        tree.insert(path.as_bytes(), Node { kind, metadata }).unwrap()
    };
    let file = |number: u32, size| Kind::File(Content { id: ContentId(number), size });
    let mut odd = Metadata::with_mode(0o4711);
    odd.mtime_seconds = -1;
    odd.mtime_nanoseconds = 7;
    odd.xattrs.insert(b"user.a".to_vec(), b"1".to_vec());
    odd.xattrs.insert(b"user.b".to_vec(), Vec::new());
    put("a", Kind::Directory(Default::default()), odd.clone());
    let first = put("a/file", file(0, 700), odd);
    put("a/long", file(1, 300_000), Metadata::file());
    put("b", file(0, 700), Metadata::file());
    put("c", file(9, 0), Metadata::file());
    put("d", Kind::Symlink(b"a/file".to_vec()), Metadata::symlink());
    put("e", Kind::CharacterDevice { major: 1, minor: 3 }, Metadata::file());
    put("f", Kind::BlockDevice { major: 8, minor: 1 }, Metadata::file());
    put("g", Kind::Fifo, Metadata::file());
    put("h", Kind::Socket, Metadata::file());
    for number in 0..directories {
        put(&format!("z{number}"), Kind::Directory(Default::default()), Metadata::directory());
    }
    tree.link(b"i", first).unwrap();
    tree
}

fn written(tree: &Tree) -> (Vec<u8>, u64) {
    let record = |digest, length, frame_length| FrameRecord { digest, length, frame_length };
    let frames = BTreeMap::from([
        (DIGESTS[0], vec![record(DIGESTS[0], 700, 100)]),
        (DIGESTS[1], vec![record([1; 32], 200_000, 50), record([2; 32], 100_000, 60)]),
    ]);
    write_table(&TableSource {
        tree,
        digest: &|content| Ok(DIGESTS[content.id.0 as usize]),
        frames: &frames,
        contents_length: 210,
        uuid: [3; 16],
        build_time: 5,
    })
    .unwrap()
}

fn read(blob: &[u8], index_length: u64) -> Table {
    let index = Index::parse(&blob[..index_length as usize]).unwrap();
    let mut assembler = Assembler::new(&index);
    for piece in &index.pieces {
        let stored = &blob[piece.offset as usize..][..piece.stored as usize];
        assembler.add(&unpack_piece(piece, stored).unwrap()).unwrap();
    }
    assembler.finish().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_are_frozen_and_read_back() {
    let (blob, index_length) = written(&tree(2));
    assert_eq!(
        hex(&Sha256::digest(&blob)),
        "e24b38fbde53a6b13b3cbfdb0f05624cbe591f23078be30fbe9830adbbd93e24"
    );
    let table = read(&blob, index_length);
    assert_eq!((table.uuid, table.build_time, table.contents_length), ([3; 16], 5, 210));
    let offsets: Vec<u64> = table.chunks.iter().map(|chunk| chunk.frame_offset).collect();
    assert_eq!(offsets, [0, 100, 150]);
    let (expected, found) = (tree(2), &table.tree);
    let paths = |tree: &Tree| tree.walk().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(paths(&expected), paths(found));
    for ((_, a), (path, b)) in expected.walk().zip(found.walk()) {
        let (a, b) = (expected.node(a), found.node(b));
        assert_eq!(a.metadata, b.metadata, "{path:?}");
        match (&a.kind, &b.kind) {
            (Kind::File(a), Kind::File(b)) => assert_eq!(a.size, b.size),
            (Kind::Directory(_), Kind::Directory(_)) => {}
            (a, b) => assert_eq!(a, b),
        }
    }
    assert_eq!(found.lookup(b"a/file"), found.lookup(b"i"), "hard links stay");
    let text = dump::dump(&blob, index_length).unwrap();
    assert!(text.contains("/a/long 0644 0:0 0.000000000 file 300000 bbbb"), "{text}");
}

#[test]
fn a_change_leaves_most_pieces_as_they_are() {
    let pieces = |tree: &Tree| {
        let (blob, index_length) = written(tree);
        let table = read(&blob, index_length);
        assert_eq!(table.tree.entry_count(), tree.entry_count());
        Index::parse(&blob[..index_length as usize]).unwrap().pieces
    };
    let old = tree(20_000);
    let mut new = tree(20_000);
    new.insert(b"z1/new", Node { kind: Kind::Fifo, metadata: Metadata::file() }).unwrap();
    let (old, new) = (pieces(&old), pieces(&new));
    let known: Vec<[u8; 32]> = old.iter().map(|piece| piece.digest).collect();
    let fresh: u32 =
        new.iter().filter(|piece| !known.contains(&piece.digest)).map(|piece| piece.stored).sum();
    let all: u32 = new.iter().map(|piece| piece.stored).sum();
    assert!(new.len() > 8, "{}", new.len());
    assert!(fresh * 3 < all, "{fresh} of {all}");
}

/// A record by hand.
fn record(path: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend((path.len() as u16).to_le_bytes());
    bytes.extend(path.as_bytes());
    bytes.extend(body);
    bytes
}

fn metadata(letter: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = vec![letter, 0xed, 0x01];
    body.extend([0; 4 + 4 + 8 + 4 + 2]);
    body.extend(rest);
    body
}

fn directory(path: &str) -> Vec<u8> {
    record(path, &metadata(b'd', &[]))
}

/// A file of one chunk.
fn file(path: &str, digest: u8, size: u64, length: u32, frame_length: u32) -> Vec<u8> {
    let mut rest = size.to_le_bytes().to_vec();
    rest.push(1);
    rest.extend([digest; 32]);
    rest.extend(1_u32.to_le_bytes());
    rest.extend(length.to_le_bytes());
    rest.extend(frame_length.to_le_bytes());
    record(path, &metadata(b'f', &rest))
}

fn before(path: &str, digest: u8, size: u64) -> Vec<u8> {
    let mut rest = size.to_le_bytes().to_vec();
    rest.push(2);
    rest.extend([digest; 32]);
    record(path, &metadata(b'f', &rest))
}

fn hard_link(path: &str, target: &str) -> Vec<u8> {
    let mut body = vec![b'h'];
    body.extend((target.len() as u16).to_le_bytes());
    body.extend(target.as_bytes());
    record(path, &body)
}

fn symlink(path: &str, target: &str) -> Vec<u8> {
    let mut rest = (target.len() as u16).to_le_bytes().to_vec();
    rest.extend(target.as_bytes());
    record(path, &metadata(b'l', &rest))
}

fn index(entries: u64) -> Index {
    let piece = Piece { digest: [0; 32], offset: Index::length(1), stored: 1, length: 1 };
    Index { pieces: vec![piece], entries, contents_length: 100, uuid: [0; 16], build_time: 0 }
}

fn assembled(records: &[Vec<u8>]) -> Result<Table, String> {
    let mut assembler = Assembler::new(&index(records.len() as u64));
    assembler.add(&records.concat()).map_err(|error| error.to_string())?;
    assembler.finish().map_err(|error| error.to_string())
}

#[test]
fn what_no_writer_writes_is_refused() {
    let root = || directory("");
    let good = [root(), directory("a"), file("a/f", 1, 5, 5, 100), before("b", 1, 5)];
    assert!(assembled(&good).is_ok());
    let bad_mode = {
        let mut bytes = directory("a");
        bytes[6..8].copy_from_slice(&0o10000_u16.to_le_bytes());
        bytes
    };
    let bad_time = {
        let mut bytes = directory("a");
        bytes[24..28].copy_from_slice(&1_000_000_000_u32.to_le_bytes());
        bytes
    };
    let long = "n".repeat(256);
    let cases: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        ("no root", vec![directory("a")], "root directory"),
        ("a second root", vec![root(), root()], "name"),
        ("out of order", vec![root(), directory("b"), directory("a")], "order"),
        ("twice", vec![root(), directory("a"), directory("a")], "order"),
        ("orphan", vec![root(), directory("a/b")], "did not come before"),
        ("below a file", vec![root(), file("a", 1, 5, 5, 100), directory("a/b")], "before"),
        ("through a link", vec![root(), symlink("a", "/etc"), directory("a/b")], "before"),
        (
            "back into a directory",
            vec![root(), directory("a"), directory("b"), directory("a/c")],
            "did not come before",
        ),
        ("dots", vec![root(), directory("..")], "name"),
        ("dot", vec![root(), directory(".")], "name"),
        ("absolute", vec![root(), directory("/a")], "name"),
        ("slash", vec![root(), directory("a"), directory("a/")], "name"),
        ("zero", vec![root(), directory("a\0b")], "name"),
        ("long", vec![root(), directory(&long)], "name"),
        ("mode", vec![root(), bad_mode], "mode"),
        ("time", vec![root(), bad_time], "time"),
        ("target", vec![root(), symlink("a", "")], "target"),
        ("kind", vec![root(), record("a", &metadata(b'x', &[]))], "kind"),
        ("link to a directory", vec![root(), directory("a"), hard_link("b", "a")], "directory"),
        ("link to itself", vec![root(), hard_link("b", "b")], "nothing before"),
        ("link ahead", vec![root(), hard_link("b", "c"), directory("c")], "nothing before"),
        ("link to the root", vec![root(), hard_link("b", "")], "directory"),
        ("frame outside", vec![root(), file("a", 1, 5, 5, 101)], "impossible length"),
        ("frame of nothing", vec![root(), file("a", 1, 5, 5, 0)], "impossible length"),
        ("chunk of nothing", vec![root(), file("a", 1, 5, 0, 100)], "impossible length"),
        ("chunk too long", vec![root(), file("a", 1, 1 << 20, 1 << 20, 90)], "impossible length"),
        ("sizes differ", vec![root(), file("a", 1, 6, 5, 100)], "not its size"),
        ("a file too long", vec![root(), file("a", 1, 1 << 40, 5, 100)], "size"),
        (
            "stored twice",
            vec![root(), file("a", 1, 5, 5, 50), file("b", 1, 5, 5, 50)],
            "stored twice",
        ),
        ("never stored", vec![root(), before("a", 1, 5)], "did not come before"),
        (
            "another size",
            vec![root(), file("a", 1, 5, 5, 100), before("b", 1, 6)],
            "that of its content",
        ),
        ("contents too long", vec![root(), file("a", 1, 5, 5, 99)], "not what its index says"),
    ];
    for (case, records, expected) in cases {
        let error = assembled(&records).expect_err(case);
        assert!(error.contains(expected), "{case}: {error}");
    }
    let mut more = Assembler::new(&index(1));
    assert!(more.add(&[root(), directory("a")].concat()).is_err(), "more than the index says");
    let cut = [root(), directory("a")].concat();
    for length in 1..cut.len() {
        let mut assembler = Assembler::new(&index(2));
        let outcome = assembler.add(&cut[..length]).and_then(|()| assembler.finish().map(drop));
        assert!(outcome.is_err(), "{length}");
    }
}

#[test]
fn pieces_are_verified_before_they_are_unpacked() {
    let (blob, index_length) = written(&tree(0));
    let piece = Index::parse(&blob[..index_length as usize]).unwrap().pieces[0];
    let mut stored = blob[piece.offset as usize..].to_vec();
    assert!(unpack_piece(&piece, &stored).is_ok());
    let shorter = Piece { length: piece.length - 1, ..piece };
    assert!(unpack_piece(&shorter, &stored).is_err());
    stored[10] ^= 1;
    assert!(unpack_piece(&piece, &stored).unwrap_err().to_string().contains("digest"));
}

proptest! {
    #[test]
    fn rubbish_never_panics(bytes: Vec<u8>) {
        let mut assembler = Assembler::new(&index(1000));
        let _ = assembler.add(&bytes);
        let _ = assembler.add(&[directory(""), bytes].concat());
    }

    #[test]
    fn damage_never_panics(at in 0_usize..4000, byte: u8) {
        let (blob, index_length) = written(&tree(20));
        let index = Index::parse(&blob[..index_length as usize]).unwrap();
        let piece = index.pieces[0];
        let mut raw = unpack_piece(&piece, &blob[piece.offset as usize..]).unwrap();
        let at = at % raw.len();
        raw[at] = byte;
        let mut assembler = Assembler::new(&index);
        let _ = assembler.add(&raw).and_then(|()| assembler.finish().map(drop));
    }
}
