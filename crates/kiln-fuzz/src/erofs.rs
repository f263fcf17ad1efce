//! EROFS images: hostile ones, and the ones that Kiln's own writer makes.

use kiln_erofs::format::{
    LAYOUT_COMPRESSED_COMPACT, LAYOUT_COMPRESSED_FULL, MODE_BLOCK, MODE_CHARACTER, MODE_DIRECTORY,
    MODE_FIFO, MODE_FILE, MODE_SOCKET, MODE_SYMLINK, MODE_TYPE, decode_device,
};
use kiln_erofs::{
    Codec, Encoder, EncoderOptions, Image, ImageOptions, Inode, ReadAt, ValidatedTree, dump,
    write_image,
};
use kiln_tree::{ContentStore, Kind, Tree};

use crate::layers;
use crate::{memory, repair};

/// Byte of the superblock that says whether it carries a checksum (bit 0).
const CHECKSUM_FLAG: usize = 1024 + 8;
/// Entries looked at in a hostile image.
const ENTRIES: usize = 2000;
/// Largest content read from a hostile image, and all of them together, in bytes.
const CONTENT_BYTES: u64 = 2 << 20;
const ALL_BYTES: u64 = 16 << 20;

/// Opens, walks, dumps and reads an image of any bytes; once as it is and once with the checksum
/// declared absent, since no mutation would keep it right.
pub fn erofs_image(data: &[u8]) -> bool {
    let accepted = read_image(data);
    let mut unchecked = data.to_vec();
    match unchecked.get_mut(CHECKSUM_FLAG) {
        Some(flag) if *flag & 1 != 0 => *flag &= !1,
        _ => return accepted,
    }
    read_image(&unchecked) || accepted
}

/// Whether a file was read to its end.
fn read_image(data: &[u8]) -> bool {
    let Ok(image) = Image::open(data) else { return false };
    assert!(u64::from(image.superblock().blocks) * 4096 <= data.len() as u64);
    let mut read = 0;
    for entry in image.walk().take(ENTRIES) {
        let Ok(entry) = entry else { break };
        let clean = |name: &[u8]| !name.is_empty() && name.len() <= 255 && !name.contains(&0);
        let is_root = entry.path.is_empty();
        assert!(is_root || entry.path.split(|byte| *byte == b'/').all(clean));
        let _ = image.xattrs(&entry.inode);
        check_extents(&image, &entry.inode);
        if read < ALL_BYTES
            && let Ok(content) = image.read(&entry.inode, CONTENT_BYTES)
        {
            assert_eq!(content.len() as u64, entry.inode.raw.size, "content as long as stated");
            read += content.len() as u64;
        }
    }
    let _ = image.lookup(b"usr/bin/env");
    let _ = dump(&image, &mut std::io::sink());
    read > 0
}

/// Extents follow each other without gap or overlap; all of them together are the file.
fn check_extents<R: ReadAt>(image: &Image<R>, inode: &Inode) {
    let compressed = [LAYOUT_COMPRESSED_FULL, LAYOUT_COMPRESSED_COMPACT];
    if !compressed.contains(&inode.raw.layout) {
        return;
    }
    let Ok(extents) = image.extents(inode) else { return };
    let mut end = 0;
    for extent in extents.take(ENTRIES) {
        let Ok(extent) = extent else { return };
        assert!(extent.start == end && extent.length > 0, "extents with a gap");
        end += extent.length;
        assert!(end <= inode.raw.size, "extents beyond the end");
    }
}

/// Writes the tree of a tar layer as a root image and reads it back: nothing may change. The first
/// byte chooses the codec.
pub fn root_image(data: &[u8]) -> bool {
    let Some((choice, tar)) = data.split_first() else { return false };
    let mut tar = tar.to_vec();
    repair::tar(&mut tar);
    let codec = match choice % 4 {
        0 => Codec::None,
        1 => Codec::Lz4,
        2 => Codec::Lz4hc { level: 3 },
        _ => Codec::Zstd { level: 1 },
    };
    let options = EncoderOptions { codec, threads: 1, spool: memory::file() };
    let mut encoder = match Encoder::new(options) {
        Ok(encoder) => encoder,
        Err(error) => panic!("cannot start the encoder: {error}"),
    };
    let Ok(tree) = layers::single(&tar, &mut encoder) else { return false };
    let Ok(validated) = ValidatedTree::new(&tree) else { return false };
    let out = memory::file();
    let options = ImageOptions { uuid: [7; 16], build_time: 1_700_000_000 };
    let facts = match write_image(&validated, &encoder, &out, options) {
        Ok(facts) => facts,
        Err(error) => panic!("a validated tree is not written: {error}"),
    };
    assert_eq!(facts.length % 4096, 0);
    match Image::open(&out).map_err(|error| error.to_string()) {
        Ok(image) => compare(&image, &tree, &encoder),
        Err(error) => panic!("the image is not read: {error}"),
    }
    true
}

fn compare(image: &Image<&std::fs::File>, tree: &Tree, store: &dyn ContentStore) {
    assert_eq!(image.walk().filter(Result::is_ok).count() as u64, tree.entry_count());
    let links = tree.link_counts();
    for (path, id) in tree.walk() {
        let shown = path.escape_ascii();
        let found = match image.lookup(&path) {
            Ok(Some(inode)) => inode,
            other => panic!("{shown} is lost: {other:?}"),
        };
        let (node, raw) = (tree.node(id), &found.raw);
        let (metadata, kind) = (&node.metadata, raw.mode & MODE_TYPE);
        assert_eq!(raw.mode & !MODE_TYPE, metadata.mode, "{shown}");
        assert_eq!((raw.uid, raw.gid), (metadata.uid, metadata.gid), "{shown}");
        let time = (metadata.mtime_seconds, metadata.mtime_nanoseconds);
        assert_eq!((raw.mtime, raw.mtime_nanoseconds), time, "{shown}");
        assert_eq!(raw.links, links[id.index()], "{shown}");
        let content = || match image.read(&found, layers::LIMITS.file_bytes) {
            Ok(content) => content,
            Err(error) => panic!("{shown} is not read: {error}"),
        };
        match &node.kind {
            Kind::Directory(_) => assert_eq!(kind, MODE_DIRECTORY, "{shown}"),
            Kind::File(stored) => {
                assert_eq!(kind, MODE_FILE, "{shown}");
                assert!(store.read(*stored).is_ok_and(|expected| expected == content()), "{shown}");
            }
            Kind::Symlink(target) => {
                assert!(kind == MODE_SYMLINK && *target == content(), "{shown}");
            }
            Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                assert!(kind == MODE_CHARACTER || kind == MODE_BLOCK, "{shown}");
                assert_eq!(decode_device(raw.union), (*major, *minor), "{shown}");
            }
            Kind::Fifo => assert_eq!(kind, MODE_FIFO, "{shown}"),
            Kind::Socket => assert_eq!(kind, MODE_SOCKET, "{shown}"),
        }
        match image.xattrs(&found) {
            Ok(xattrs) => assert_eq!(xattrs, *metadata.xattrs, "{shown}"),
            Err(error) => panic!("attributes of {shown}: {error}"),
        }
    }
}
