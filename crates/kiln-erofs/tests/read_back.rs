//! What was written reads back, whatever the codec; and the bytes depend on the tree alone.

#![expect(clippy::unwrap_used, reason = "a failing helper must fail its test")]

mod common;

use std::fs::File;

use kiln_erofs::format::{
    MODE_BLOCK, MODE_CHARACTER, MODE_DIRECTORY, MODE_FIFO, MODE_FILE, MODE_SOCKET, MODE_SYMLINK,
    decode_device,
};
use kiln_erofs::{Codec, Image, ReadAt, dump};
use kiln_tree::{ContentStore, Kind};

const CODECS: [&str; 5] = ["none", "lz4", "lz4hc:3", "lz4hc:9", "zstd:3"];

fn built(codec: Codec, threads: usize) -> File {
    let mut encoder = common::encoder(codec, threads);
    let tree = common::corner_tree(&mut encoder);
    let out = tempfile::tempfile().unwrap();
    let facts = common::image(&tree, &encoder, &out);
    assert_eq!(out.length().unwrap(), facts.length);
    out
}

#[test]
fn every_entry_reads_back() {
    for codec in CODECS {
        let mut encoder = common::encoder(codec.parse().unwrap(), 2);
        let tree = common::corner_tree(&mut encoder);
        let out = tempfile::tempfile().unwrap();
        common::image(&tree, &encoder, &out);
        let image = Image::open(&out).unwrap();
        let counts = tree.link_counts();
        let mut entries = image.walk();
        for (path, id) in tree.walk() {
            let node = tree.node(id);
            let entry = entries.next().unwrap().unwrap();
            let raw = &entry.inode.raw;
            let shown = path.escape_ascii().to_string();
            assert_eq!(entry.path, path);
            assert_eq!(raw.mode & 0o7777, node.metadata.mode, "{shown}");
            assert_eq!((raw.uid, raw.gid), (node.metadata.uid, node.metadata.gid), "{shown}");
            assert_eq!(
                (raw.mtime, raw.mtime_nanoseconds),
                (node.metadata.mtime_seconds, node.metadata.mtime_nanoseconds),
                "{shown}"
            );
            assert_eq!(raw.links, counts[id.index()], "{shown}");
            assert_eq!(image.xattrs(&entry.inode).unwrap(), *node.metadata.xattrs, "{shown}");
            let kind = match &node.kind {
                Kind::Directory(_) => MODE_DIRECTORY,
                Kind::File(content) => {
                    let found = image.read(&entry.inode, u64::MAX).unwrap();
                    assert!(found == encoder.read(*content).unwrap(), "{codec} {shown} differs");
                    MODE_FILE
                }
                Kind::Symlink(target) => {
                    assert_eq!(image.read(&entry.inode, 4095).unwrap(), *target);
                    MODE_SYMLINK
                }
                Kind::CharacterDevice { major, minor } => {
                    assert_eq!(decode_device(raw.union), (*major, *minor));
                    MODE_CHARACTER
                }
                Kind::BlockDevice { major, minor } => {
                    assert_eq!(decode_device(raw.union), (*major, *minor));
                    MODE_BLOCK
                }
                Kind::Fifo => MODE_FIFO,
                Kind::Socket => MODE_SOCKET,
            };
            assert!(entry.inode.is(kind), "{shown}");
        }
        assert!(entries.next().is_none());
        let found = image.lookup(b"/deep/er/hard-3").unwrap().unwrap();
        assert_eq!(image.read(&found, 100).unwrap(), b"one of three");
        assert!(image.lookup(b"deep/none").unwrap().is_none());
        let mut text = Vec::new();
        dump(&image, &mut text).unwrap();
        assert!(String::from_utf8(text).unwrap().contains("/devices/null "));
    }
}

#[test]
fn threads_change_no_byte() {
    for codec in ["lz4", "lz4hc:3", "zstd:3"] {
        let codec = codec.parse().unwrap();
        let digests: Vec<_> =
            [1, 2, 5].into_iter().map(|threads| common::digest(&built(codec, threads))).collect();
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{codec}: {digests:?}");
    }
}

#[test]
fn equal_contents_are_stored_once() {
    let bytes = common::noise(1 << 20, 1);
    let length = |copies: usize| {
        let mut encoder = common::encoder(Codec::Lz4, 1);
        let mut tree = kiln_tree::Tree::new();
        for copy in 0..copies {
            let content = encoder.store(1 << 20, &mut &bytes[..]).unwrap();
            let node = kiln_tree::Node {
                kind: Kind::File(content),
                metadata: kiln_tree::Metadata::file(),
            };
            tree.insert(copy.to_string().as_bytes(), node).unwrap();
        }
        common::image(&tree, &encoder, &tempfile::tempfile().unwrap()).length
    };
    assert_eq!(length(1), length(5));
}

#[test]
fn a_short_reader_is_an_error_and_spoils_nothing() {
    let mut encoder = common::encoder(Codec::Lz4, 2);
    let kept = encoder.store(5, &mut &b"hello"[..]).unwrap();
    let error = encoder.store(5_000_000, &mut &vec![1; 3_000_000][..]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(encoder.read(kept).unwrap(), b"hello");
    assert_eq!(encoder.digest(kept).unwrap()[..2], [0x2c, 0xf2]);
    let mut tree = kiln_tree::Tree::new();
    let metadata = kiln_tree::Metadata::file();
    tree.insert(b"a", kiln_tree::Node { kind: Kind::File(kept), metadata }).unwrap();
    common::image(&tree, &encoder, &tempfile::tempfile().unwrap());
}
