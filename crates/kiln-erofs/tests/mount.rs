//! The kernel is the oracle: it mounts what we write and finds every file as it was.
//!
//! Needs root, a loop device and mkfs.erofs (package erofs-utils), and fails where one is missing: a
//! format that nobody else reads is no format.
//! `KILN_EROFS_SOURCE` names a directory to use besides the made-up tree, `KILN_EROFS_CODECS` a
//! list of codecs, `KILN_EROFS_FSCK` an fsck.erofs (≥ 1.8 for zstd) to ask too.

#![expect(clippy::unwrap_used, reason = "a failing helper must fail its test")]
#![expect(clippy::print_stdout, reason = "sizes and times are read by people")]

mod common;

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use kiln_tree::{ContentStore, Kind, Tree};

/// Compares a mounted directory with the tree.
fn compare(tree: &Tree, store: &dyn ContentStore, mount: &Path) {
    let counts = tree.link_counts();
    let mut entries = 0;
    for (path, id) in tree.walk() {
        let file = mount.join(std::ffi::OsStr::from_bytes(&path));
        let node = tree.node(id);
        let meta = file.symlink_metadata().unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let expected = &node.metadata;
        assert_eq!(
            (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec()),
            (
                u32::from(expected.mode),
                expected.uid,
                expected.gid,
                expected.mtime_seconds,
                i64::from(expected.mtime_nanoseconds)
            ),
            "{file:?}"
        );
        assert_eq!(meta.nlink(), u64::from(counts[id.index()]), "{file:?}");
        match &node.kind {
            Kind::Directory(children) => {
                let mut names: Vec<_> = std::fs::read_dir(&file)
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().into_vec())
                    .collect();
                names.sort();
                assert!(names.iter().eq(children.keys()), "{file:?}");
            }
            Kind::File(content) => {
                let found = std::fs::read(&file).unwrap_or_else(|e| panic!("{file:?}: {e}"));
                assert!(found == store.read(*content).unwrap(), "{file:?} differs");
            }
            Kind::Symlink(target) => {
                assert_eq!(std::fs::read_link(&file).unwrap().as_os_str().as_bytes(), target);
            }
            Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                let device = meta.rdev();
                assert_eq!(
                    ((device >> 8) & 0xfff, device & 0xff | (device >> 12) & 0xfff00),
                    (u64::from(*major), u64::from(*minor)),
                    "{file:?}"
                );
            }
            Kind::Fifo => assert!(meta.file_type().is_fifo()),
            Kind::Socket => assert!(meta.file_type().is_socket()),
        }
        for (name, value) in &expected.xattrs {
            let name = String::from_utf8(name.clone()).unwrap();
            let mut found = vec![0; 1 << 16];
            let length = rustix::fs::lgetxattr(&file, &name, &mut found).unwrap();
            assert!(found[..length] == *value, "{file:?} {name}");
        }
        entries += 1;
    }
    assert!(entries > 1);
}

fn codecs() -> Vec<String> {
    let list = std::env::var("KILN_EROFS_CODECS").unwrap_or("none,lz4,lz4hc:9,zstd:3".into());
    list.split(',').map(str::to_owned).collect()
}

fn check(name: &str, make: impl Fn(&mut dyn ContentStore) -> Tree) {
    for codec in codecs() {
        let begin = Instant::now();
        let mut encoder = common::encoder(codec.parse().unwrap(), 2);
        let tree = make(&mut encoder);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let out = std::fs::File::create_new(&path).unwrap();
        let facts = common::image(&tree, &encoder, &out);
        println!("{name} {codec}: {facts:?} in {:?}", begin.elapsed());
        if let Ok(program) = std::env::var("KILN_EROFS_FSCK") {
            let status = Command::new(program).arg("--extract").arg(&path).status().unwrap();
            assert!(status.success(), "{name} {codec}");
        }
        let mount = folder.path().join("mount");
        std::fs::create_dir(&mount).unwrap();
        let status = Command::new("mount")
            .args(["-t", "erofs", "-o", "loop,ro"])
            .args([&path, &mount])
            .status()
            .unwrap();
        assert!(status.success());
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            compare(&tree, &encoder, &mount);
        }));
        assert!(Command::new("umount").arg(&mount).status().unwrap().success());
        if let Err(panic) = outcome {
            if let Ok(kept) = std::env::var("KILN_EROFS_KEEP") {
                std::fs::copy(&path, kept).unwrap();
            }
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn the_kernel_finds_every_corner_as_it_was() {
    check("corners", common::corner_tree);
}

#[test]
fn the_kernel_finds_a_host_directory_as_it_was() {
    let source = std::env::var("KILN_EROFS_SOURCE").unwrap_or("/usr/lib/python3".into());
    check("host", |store| common::host_tree(Path::new(&source), store));
}

#[test]
fn the_reader_reads_images_of_mkfs() {
    let source = std::env::var("KILN_EROFS_SOURCE").unwrap_or("/usr/lib/python3".into());
    let program = std::env::var("KILN_EROFS_MKFS").unwrap_or("mkfs.erofs".into());
    let options: [&[&str]; 4] =
        [&[], &["-zlz4", "-C65536"], &["-zlz4hc", "-C16384", "-Eztailpacking"], &["-zlz4"]];
    for options in options {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let status =
            Command::new(&program).args(options).arg(&path).arg(&source).output().unwrap().status;
        assert!(status.success());
        let image = kiln_erofs::Image::open(std::fs::File::open(&path).unwrap()).unwrap();
        let mut files = 0;
        for entry in image.walk() {
            let entry = entry.unwrap();
            if entry.inode.is(kiln_erofs::format::MODE_FILE) {
                let file = Path::new(&source).join(std::ffi::OsStr::from_bytes(&entry.path));
                let found = image.read(&entry.inode, u64::MAX).unwrap();
                assert!(found == std::fs::read(&file).unwrap(), "{options:?} {file:?} differs");
                files += 1;
            }
        }
        assert!(files > 0);
    }
}
