//! Trees for tests: a host directory, and one made up to hit every corner of the format.
#![expect(dead_code, reason = "each test file uses a part")]
#![expect(clippy::unwrap_used, reason = "a failing helper must fail its test")]

use std::fs::{self, File};
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use kiln_erofs::{
    Codec, Encoder, EncoderOptions, ImageFacts, ImageOptions, ValidatedTree, write_image,
};
use kiln_tree::{ContentStore, Kind, Metadata, Node, Tree};

/// Fixed identifier and time of test images.
pub(crate) const OPTIONS: ImageOptions =
    ImageOptions { uuid: [0x4b; 16], build_time: 1_700_000_000 };

/// An encoder over a temporary spool.
pub(crate) fn encoder(codec: Codec, threads: usize) -> Encoder {
    let spool = tempfile::tempfile().unwrap();
    Encoder::new(EncoderOptions { codec, threads, spool }).unwrap()
}

/// Writes an image of a tree.
pub(crate) fn image(tree: &Tree, encoder: &Encoder, out: &File) -> ImageFacts {
    write_image(&ValidatedTree::new(tree).unwrap(), encoder, out, OPTIONS).unwrap()
}

/// Reads a directory of the host, without extended attributes.
pub(crate) fn host_tree(root: &Path, store: &mut dyn ContentStore) -> Tree {
    let mut tree = Tree::new();
    let mut links = std::collections::BTreeMap::new();
    let metadata = |meta: &fs::Metadata| Metadata {
        mode: (meta.mode() & 0o7777) as u16,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime_seconds: meta.mtime(),
        mtime_nanoseconds: meta.mtime_nsec() as u32,
        ..Metadata::file()
    };
    tree.node_mut(kiln_tree::NodeId::ROOT).metadata = metadata(&root.symlink_metadata().unwrap());
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let mut entries: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let meta = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
            if let Some(&id) = links.get(&(meta.dev(), meta.ino())) {
                tree.link(name, id).unwrap();
                continue;
            }
            let kind = if meta.is_dir() {
                Kind::Directory(Default::default())
            } else if meta.is_symlink() {
                Kind::Symlink(fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else if meta.is_file() {
                Kind::File(store.store(meta.len(), &mut File::open(&path).unwrap()).unwrap())
            } else if meta.file_type().is_fifo() {
                Kind::Fifo
            } else {
                continue;
            };
            let id = tree.insert(name, Node { kind, metadata: metadata(&meta) }).unwrap();
            if meta.is_dir() {
                open.push(path);
            } else if meta.nlink() > 1 {
                links.insert((meta.dev(), meta.ino()), id);
            }
        }
    }
    tree
}

/// Repeatable noise.
pub(crate) fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    (0..length)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        })
        .collect()
}

/// Text that compresses like text.
pub(crate) fn text(length: usize) -> Vec<u8> {
    (0u32..)
        .flat_map(|n| format!("line {} of {}\n", n, n.wrapping_mul(2_654_435_761)).into_bytes())
        .take(length)
        .collect()
}

/// Contents around every boundary of blocks, clusters, chunks and segments.
pub(crate) fn contents() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for size in [
        0, 1, 100, 3583, 3584, 3585, 4095, 4096, 4097, 8192, 10_000, 65_535, 65_536, 65_537,
        100_000, 262_144, 327_680, 327_681, 1_048_577, 2_097_151, 2_097_152, 2_097_153, 5_000_000,
    ] {
        found.push(text(size));
        found.push(noise(size, size as u64));
        found.push(vec![0; size]);
        let mut mixed = text(size / 3);
        mixed.extend(noise(size / 3, 5));
        mixed.extend(text(size / 3 + size % 3));
        found.push(mixed);
    }
    found
}

/// A tree with every kind of entry.
pub(crate) fn corner_tree(store: &mut dyn ContentStore) -> Tree {
    let mut tree = Tree::new();
    let plain = Metadata {
        mtime_seconds: OPTIONS.build_time as i64,
        mtime_nanoseconds: 0,
        ..Metadata::file()
    };
    let detailed = Metadata {
        mode: 0o4751,
        uid: 100_000,
        gid: 70_000,
        mtime_seconds: 1_234_567_890,
        mtime_nanoseconds: 123_456_789,
        ..Metadata::file()
    };
    let add = |tree: &mut Tree, path: &str, kind: Kind, metadata: &Metadata| {
        tree.insert(path.as_bytes(), Node { kind, metadata: metadata.clone() }).unwrap()
    };
    tree.node_mut(kiln_tree::NodeId::ROOT).metadata = Metadata { mode: 0o755, ..plain.clone() };
    for directory in ["files", "many", "links", "devices", "xattrs", "deep/er/still", "empty"] {
        tree.ensure_directory(directory.as_bytes(), &Metadata { mode: 0o2775, ..plain.clone() })
            .unwrap();
    }
    for (number, bytes) in contents().into_iter().enumerate() {
        let content = store.store(bytes.len() as u64, &mut Cursor::new(bytes)).unwrap();
        let metadata = if number % 2 == 0 { &plain } else { &detailed };
        add(&mut tree, &format!("files/{number:03}"), Kind::File(content), metadata);
    }
    let small = |store: &mut dyn ContentStore, bytes: &[u8]| {
        Kind::File(store.store(bytes.len() as u64, &mut Cursor::new(bytes)).unwrap())
    };
    for number in 0..1500 {
        let name = format!("many/{}-{number}", "n".repeat(number % 240));
        add(&mut tree, &name, Kind::Symlink(format!("../files/{number}").into_bytes()), &plain);
    }
    for length in [1, 59, 3000, 3584, 3585, 4032, 4033, 4095] {
        let target = "s".repeat(length).into_bytes();
        add(&mut tree, &format!("links/{length}"), Kind::Symlink(target), &detailed);
    }
    let original = add(&mut tree, "links/hard", small(store, b"one of three"), &detailed);
    tree.link(b"links/hard-2", original).unwrap();
    tree.link(b"deep/er/hard-3", original).unwrap();
    for (name, kind) in [
        ("null", Kind::CharacterDevice { major: 1, minor: 3 }),
        ("disk", Kind::BlockDevice { major: 259, minor: 70_000 }),
        ("pipe", Kind::Fifo),
        ("socket", Kind::Socket),
        ("-sorts-before-dot", Kind::Fifo),
        ("...", Kind::Fifo),
    ] {
        add(&mut tree, &format!("devices/{name}"), kind, &detailed);
    }
    let acl: &[u8] = &[
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 4, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0,
        255, 255, 255, 255,
    ];
    for number in 0..40usize {
        let mut metadata = if number % 3 == 0 { plain.clone() } else { detailed.clone() };
        let xattrs = &mut metadata.xattrs;
        xattrs.insert(b"security.label".to_vec(), b"system_u:object_r:usr_t:s0".to_vec());
        xattrs.insert(b"user.number".to_vec(), number.to_string().into_bytes());
        if number % 5 == 0 {
            xattrs.insert(b"user.large".to_vec(), noise(number * 50, 1));
            xattrs.insert(b"trusted.kept".to_vec(), Vec::new());
            xattrs.insert(b"system.posix_acl_access".to_vec(), acl.to_vec());
        }
        let bytes = text(number * 700);
        add(&mut tree, &format!("xattrs/{number}"), small(store, &bytes), &metadata);
    }
    tree
}

/// A small tree with every kind of entry and every form of content.
pub(crate) fn golden_tree(store: &mut dyn ContentStore) -> Tree {
    let mut tree = Tree::new();
    let mut metadata = Metadata {
        mtime_seconds: OPTIONS.build_time as i64,
        mtime_nanoseconds: 0,
        ..Metadata::file()
    };
    tree.node_mut(kiln_tree::NodeId::ROOT).metadata = Metadata { mode: 0o755, ..metadata.clone() };
    let directory = Metadata { mode: 0o755, ..metadata.clone() };
    tree.ensure_directory(b"usr/lib", &directory).unwrap();
    let mut mixed = text(90_000);
    mixed.extend(noise(70_001, 3));
    mixed.extend(text(300_000));
    for (number, bytes) in
        [vec![], text(50), text(5000), noise(5000, 1), text(40_000), vec![0; 3_000_000], mixed]
            .into_iter()
            .enumerate()
    {
        let content = store.store(bytes.len() as u64, &mut Cursor::new(bytes)).unwrap();
        let label = if number == 2 { "rare" } else { "system_u:object_r:usr_t:s0" };
        metadata.xattrs.insert(b"security.selinux".to_vec(), label.as_bytes().to_vec());
        metadata.mtime_nanoseconds = number as u32 % 2;
        let node = Node { kind: Kind::File(content), metadata: metadata.clone() };
        let id = tree.insert(format!("usr/lib/{number}").as_bytes(), node).unwrap();
        tree.link(format!("usr/{number}").as_bytes(), id).unwrap();
    }
    for (name, kind) in [
        ("link", Kind::Symlink(b"usr/lib".to_vec())),
        ("null", Kind::CharacterDevice { major: 1, minor: 3 }),
        ("disk", Kind::BlockDevice { major: 8, minor: 1 }),
        ("pipe", Kind::Fifo),
        ("socket", Kind::Socket),
    ] {
        tree.insert(name.as_bytes(), Node { kind, metadata: directory.clone() }).unwrap();
    }
    for number in 0..200 {
        let path = format!("usr/lib/many/{}{number}", "x".repeat(20));
        tree.ensure_directory(b"usr/lib/many", &directory).unwrap();
        tree.insert(path.as_bytes(), Node { kind: Kind::Fifo, metadata: directory.clone() })
            .unwrap();
    }
    tree
}

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn digest(file: &File) -> String {
    use sha2::Digest;
    let mut file = file;
    std::io::Seek::rewind(&mut file).unwrap();
    let mut hash = sha2::Sha256::new();
    std::io::copy(&mut file, &mut hash).unwrap();
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
