//! Archive formats as their writers make them, and archives that are broken.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test by panicking")]

mod support;

use std::io::{self, Read};

use kiln_tree::{ContentStore, Error, Kind, LayerMerge, Limits, MemoryStore, Tree};
use support::{Layer, merge, merge_bytes};

fn content(tree: &Tree, store: &MemoryStore, path: &str) -> Vec<u8> {
    match tree.node(tree.lookup(path.as_bytes()).unwrap()).kind {
        Kind::File(content) => store.read(content).unwrap(),
        ref other => panic!("{path} is {other:?}"),
    }
}

#[test]
fn extended_records_are_applied() {
    let long = format!("{}/{}", "d".repeat(200), "n".repeat(255));
    let target = "t".repeat(300);
    let layer = Layer::new()
        .record("path", long.as_bytes())
        .record("uid", b"4294967294")
        .record("gid", b"3000000")
        .record("mtime", b"-1.25")
        .record("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\n=\n")
        .record("SCHILY.xattr.system.posix_acl_access", b"\x02\0\0\0\xff")
        .record("LIBARCHIVE.xattr.user.comment", b"aGVsbG8")
        .record("size", b"3")
        .raw(b'0', "short", b"abc", |header| header.set_size(0))
        .record("linkpath", target.as_bytes())
        .symlink("symlink", "x")
        .raw(b'g', "global", b"20 comment=anything\n", |_| ())
        .file("after", "end");
    let (tree, store) = merge(vec![layer]).unwrap();
    assert_eq!(content(&tree, &store, &long), b"abc");
    assert_eq!(content(&tree, &store, "after"), b"end");
    let metadata = &tree.node(tree.lookup(long.as_bytes()).unwrap()).metadata;
    assert_eq!((metadata.uid, metadata.gid), (4_294_967_294, 3_000_000));
    assert_eq!((metadata.mtime_seconds, metadata.mtime_nanoseconds), (-2, 750_000_000));
    assert_eq!(metadata.xattrs.len(), 3);
    assert_eq!(metadata.xattrs[&b"security.capability"[..]], b"\x01\0\0\x02\0\n=\n");
    assert_eq!(metadata.xattrs[&b"user.comment"[..]], b"hello");
    let link = tree.node(tree.lookup(b"symlink").unwrap());
    assert_eq!(link.kind, Kind::Symlink(target.into_bytes()));
}

#[test]
fn gnu_long_names_base256_and_header_only_entries() {
    let long = "l".repeat(150);
    let layer = Layer::new()
        .raw(b'L', "././@LongLink", format!("{long}\0").as_bytes(), |_| ())
        .raw(b'K', "././@LongLink", b"far/away\0", |_| ())
        .symlink("l", "f")
        .raw(b'0', "big", b"x", |header| {
            header.as_old_mut().uid = *b"\x80\0\0\0\0\x2d\xc6\xc0";
            header.as_old_mut().mtime = *b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe";
        })
        // A directory and a link whose headers claim data that is not there, as some writers do.
        .raw(b'5', "d", b"", |header| header.set_size(4096))
        .raw(b'1', "second", b"", |header| {
            header.set_size(1);
            header.set_link_name_literal("big").unwrap();
        })
        .raw(0, "old-directory/", b"", |_| ())
        .raw(b'3', "dev/console", b"", |header| {
            header.set_device_major(5).unwrap();
            header.set_device_minor(1).unwrap();
        })
        .raw(b'6', "pipe", b"", |_| ());
    let (tree, _) = merge(vec![layer]).unwrap();
    let kind = |path: &[u8]| tree.node(tree.lookup(path).unwrap()).kind.clone();
    assert_eq!(kind(long.as_bytes()), Kind::Symlink(b"far/away".to_vec()));
    let big = tree.lookup(b"big").unwrap();
    assert_eq!(tree.node(big).metadata.uid, 3_000_000);
    assert_eq!(tree.node(big).metadata.mtime_seconds, -2);
    assert_eq!(tree.lookup(b"second"), Some(big));
    assert!(matches!(kind(b"d"), Kind::Directory(_)));
    assert!(matches!(kind(b"old-directory"), Kind::Directory(_)));
    assert_eq!(kind(b"dev/console"), Kind::CharacterDevice { major: 5, minor: 1 });
    assert_eq!(kind(b"pipe"), Kind::Fifo);
}

#[test]
fn sparse_files_of_all_four_formats() {
    let mut map_and_data = b"2\n2\n3\n8\n1\n".to_vec();
    map_and_data.resize(512, 0);
    map_and_data.extend(b"abcd");
    let layer = Layer::new()
        .record("GNU.sparse.size", b"10")
        .record("GNU.sparse.numblocks", b"2")
        .record("GNU.sparse.offset", b"2")
        .record("GNU.sparse.numbytes", b"3")
        .record("GNU.sparse.offset", b"8")
        .record("GNU.sparse.numbytes", b"1")
        .file("0.0", "abcd")
        .record("GNU.sparse.size", b"10")
        .record("GNU.sparse.name", b"0.1")
        .record("GNU.sparse.map", b"2,3,8,1")
        .file("GNUSparseFile.1/0.1", "abcd")
        .record("GNU.sparse.major", b"1")
        .record("GNU.sparse.minor", b"0")
        .record("GNU.sparse.name", b"1.0")
        .record("GNU.sparse.realsize", b"10")
        .raw(b'0', "GNUSparseFile.1/1.0", &map_and_data, |_| ())
        .raw(b'S', "old", b"abcd", |header| {
            let gnu = header.as_gnu_mut().unwrap();
            gnu.set_real_size(10);
            gnu.sparse[0].set_offset(2);
            gnu.sparse[0].set_length(3);
            gnu.sparse[1].set_offset(8);
            gnu.sparse[1].set_length(1);
        })
        .file("plain", "after");
    let (tree, store) = merge(vec![layer]).unwrap();
    for path in ["0.0", "0.1", "1.0", "old"] {
        assert_eq!(content(&tree, &store, path), b"\0\0abc\0\0\0d\0", "{path}");
    }
    assert_eq!(content(&tree, &store, "plain"), b"after");
    assert_eq!(tree.entry_count(), 6);
}

#[test]
fn gnu_tar_itself_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir_all(source.join("deep").join("x".repeat(180))).unwrap();
    std::fs::write(source.join("plain"), "plain").unwrap();
    std::fs::hard_link(source.join("plain"), source.join("linked")).unwrap();
    // 30 islands: more than fit into one old GNU header and its first extension.
    let sparse = std::fs::File::create(source.join("sparse")).unwrap();
    let mut expected = vec![0; 30 << 20];
    for island in 0..30u8 {
        let at = usize::from(island) << 20;
        std::os::unix::fs::FileExt::write_all_at(&sparse, &[island + 1; 4096], at as u64).unwrap();
        expected[at..at + 4096].fill(island + 1);
    }
    sparse.set_len(30 << 20).unwrap();
    let formats: [&[&str]; 4] = [
        &["--format=gnu"],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ];
    let mut digests = Vec::new();
    for format in formats {
        let output = std::process::Command::new("tar")
            .args(format)
            .args(["--sparse", "--sort=name", "--numeric-owner", "--mtime=@1700000000", "-C"])
            .arg(&source)
            .args(["-cf", "-", "."])
            .output()
            .unwrap();
        assert!(output.status.success());
        assert!(output.stdout.len() < 4 << 20, "the test file is not sparse here");
        let mut store = MemoryStore::new();
        let tree = merge_bytes(&mut store, &[output.stdout], Limits::default()).unwrap();
        assert_eq!(content(&tree, &store, "sparse"), expected, "{format:?}");
        assert_eq!(tree.lookup(b"plain"), tree.lookup(b"linked"));
        digests.push(support::digest(&tree, &store));
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Made of one folder on ext4 by the tools in their names, both with `--acls --xattrs --sparse` or what they call it:
/// `file` (0640, `setfacl -m u:1000:r,g:50:rw`, user.note, user.bin), `plain`, `dir` (`setfacl -m u:1000:rwx -m d:g:50:r`) and
/// `sparse` (1 MiB, data at 512 KiB). GNU tar writes lists as text with names and the attribute, bsdtar text with numbers.
const MADE_BY_TOOLS: [&[u8]; 2] = [
    include_bytes!("fixtures/gnu-tar-1.34-acls-xattrs-sparse.tar"),
    include_bytes!("fixtures/bsdtar-3.6.2-acls-xattrs-sparse.tar"),
];

#[test]
fn access_control_lists_of_real_tools_become_the_kernels_attributes() {
    let mut digests = Vec::new();
    for bytes in MADE_BY_TOOLS {
        let mut store = MemoryStore::new();
        let tree = merge_bytes(&mut store, &[bytes.to_vec()], Limits::default()).unwrap();
        let metadata = |path: &[u8]| tree.node(tree.lookup(path).unwrap()).metadata.clone();
        let file = metadata(b"file");
        // What getfattr(1) showed of the file itself.
        let access = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\
            \x08\0\x06\0\x32\0\0\0\x10\0\x06\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
        assert_eq!(file.xattrs[&b"system.posix_acl_access"[..]], access);
        assert_eq!(file.xattrs[&b"user.note"[..]], b"a=b%c d");
        assert_eq!(file.xattrs[&b"user.bin"[..]], b"\0\x01\x0a\xff");
        assert_eq!((file.mode, file.xattrs.len()), (0o660, 3));
        let directory = metadata(b"dir");
        assert_eq!(directory.xattrs[&b"system.posix_acl_default"[..]].len(), 4 + 5 * 8);
        assert_eq!((directory.mode, directory.xattrs.len()), (0o775, 2));
        assert_eq!((metadata(b"plain").mode, metadata(b"plain").xattrs.len()), (0o755, 0));
        let sparse = content(&tree, &store, "sparse");
        assert_eq!((sparse.len(), &sparse[512 << 10..][..6]), (1 << 20, &b"island"[..]));
        digests.push(support::digest(&tree, &store));
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn access_control_lists_as_text() {
    let list = b"user::rwx,user:joe:r--:1000,group::---,mask::r-x,other::---";
    let layer = Layer::new()
        .record("SCHILY.acl.access", list)
        .file("extended", "")
        .record("SCHILY.acl.access", b"user::rwx,group::r-x,other::--x")
        .file("only-a-mode", "")
        .record("SCHILY.acl.access", b"u::rw,u:joe:r,g::r,m::r,o::-")
        .record("SCHILY.xattr.system.posix_acl_access", b"\x02\0\0\0")
        .file("both", "")
        .record("RHT.security.selinux", b"system_u:object_r:etc_t:s0")
        .file("labelled", "");
    let (tree, _) = merge(vec![layer]).unwrap();
    let metadata = |path: &[u8]| tree.node(tree.lookup(path).unwrap()).metadata.clone();
    let extended = metadata(b"extended");
    assert_eq!(extended.xattrs[&b"system.posix_acl_access"[..]].len(), 4 + 5 * 8);
    assert_eq!(extended.mode, 0o750);
    assert_eq!((metadata(b"only-a-mode").mode, metadata(b"only-a-mode").xattrs.len()), (0o751, 0));
    assert_eq!(metadata(b"both").xattrs[&b"system.posix_acl_access"[..]], b"\x02\0\0\0");
    let label = &metadata(b"labelled").xattrs[&b"security.selinux"[..]];
    assert_eq!(label, b"system_u:object_r:etc_t:s0\0");

    let by_name = b"u::rw,u:joe:r,g::r,m::r,o::-";
    for (key, value, flag, expected) in [
        ("SCHILY.acl.access", &by_name[..], b'0', "without a number"),
        ("SCHILY.acl.default", &list[..], b'0', "no directory"),
        ("SCHILY.acl.access", &list[..], b'2', "symbolic link"),
    ] {
        let layer = Layer::new().record(key, value);
        let layer = layer.raw(flag, "x", b"", |header| header.set_link_name_literal("y").unwrap());
        let error = merge(vec![layer]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn broken_archives_name_layer_and_offset() {
    let sample = Layer::new()
        .file("first", "1")
        .record("mtime", b"1")
        .file("second", &"2".repeat(600))
        .finished();
    let run = |bytes: &[u8]| {
        merge_bytes(&mut MemoryStore::new(), &[bytes.to_vec()], Limits::default()).map(drop)
    };
    run(&sample).unwrap();
    let mut flipped = sample.clone();
    flipped[1024 + 3] ^= 1;
    let cases: [(&str, &[u8], u64, &str); 6] = [
        ("inside a header", &sample[..700], 512 + 512, "it ends inside a header"),
        ("inside an extension", &sample[..1536 + 5], 1024, "it ends inside a file"),
        ("after an extension", &sample[..2048], 2048, "it ends after an extension header"),
        ("inside data", &sample[..2048 + 512 + 100], 2048, "it ends inside a file"),
        ("flipped", &flipped, 1024, "the header checksum is wrong"),
        ("no archive", b"#!/bin/sh\necho no archive at all", 0, "it ends inside a header"),
    ];
    for (case, bytes, at, expected) in cases {
        // The first case cuts inside the data of `first`, whose padding is part of it.
        match run(bytes) {
            Err(Error::Corrupt { layer, offset, reason, .. }) => {
                assert_eq!(layer, "layer0", "{case}");
                if case != "inside a header" {
                    assert_eq!((offset, reason), (at, expected), "{case}");
                }
            }
            other => panic!("{case}: {other:?}"),
        }
    }
}

/// Fails after some bytes, as a digest check or a decompressor does.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("digest mismatch")),
            count => Ok(count),
        }
    }
}

#[test]
fn failures_of_the_stream_reach_the_surface_wherever_they_happen() {
    let sample = Layer::new().file("first", &"1".repeat(5000)).finished();
    for cut in [0, 100, 512, 600, 5000, sample.len() - 1000, sample.len()] {
        let mut store = MemoryStore::new();
        let mut merge = LayerMerge::new(&mut store, Limits::default());
        let error =
            merge.layer("sha256:aa", &mut || Ok(Box::new(Failing(&sample[..cut])))).unwrap_err();
        assert!(
            matches!(&error, Error::Read { layer, .. } if layer == "sha256:aa"),
            "{cut}: {error}"
        );
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "digest mismatch", "{cut}");
    }
}

#[test]
fn a_full_store_is_not_blamed_on_the_layer() {
    struct Full;
    impl ContentStore for Full {
        fn store(&mut self, _: u64, _: &mut dyn Read) -> io::Result<kiln_tree::Content> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn opener(&self, _: kiln_tree::Content) -> io::Result<kiln_tree::Opener> {
            Ok(Box::new(|| Box::new(io::empty())))
        }
        fn digest(&self, _: kiln_tree::Content) -> io::Result<[u8; 32]> {
            Ok([0; 32])
        }
    }
    let sample = Layer::new().file("usr/big", "x").finished();
    let mut store = Full;
    let mut merge = LayerMerge::new(&mut store, Limits::default());
    let error = merge.layer("sha256:aa", &mut || Ok(Box::new(sample.as_slice()))).unwrap_err();
    assert_eq!(error.to_string(), "cannot keep the content of `usr/big` of layer sha256:aa");
}
