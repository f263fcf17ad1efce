//! Stretches of files are what the whole file has there, for each codec and layout.

mod common;

use kiln_erofs::{Codec, Image};
use kiln_tree::{ContentStore as _, Kind, Metadata, Node, Tree};

#[test]
fn stretches_are_parts_of_the_whole() {
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd { level: 3 }] {
        let mut encoder = common::encoder(codec, 2);
        let mut tree = Tree::new();
        let mut files = Vec::new();
        for (number, bytes) in common::contents().into_iter().enumerate() {
            let content = encoder.store(bytes.len() as u64, &mut &bytes[..]).unwrap();
            let path = format!("{number}");
            let node = Node { kind: Kind::File(content), metadata: Metadata::file() };
            tree.insert(path.as_bytes(), node).unwrap();
            files.push((path, bytes));
        }
        let out = tempfile::tempfile().unwrap();
        common::image(&tree, &encoder, &out);
        let image = Image::open(out).unwrap();
        for (path, bytes) in files {
            let inode = image.lookup(path.as_bytes()).unwrap().unwrap();
            let size = bytes.len();
            for (start, length) in [
                (0, size),
                (0, size.min(1)),
                (size / 2, size / 3),
                (size.saturating_sub(5000), size.min(5000)),
                (size.saturating_sub(4100), size.min(7)),
                (size, 0),
            ] {
                let found = image.read_stretch(&inode, start as u64, length).unwrap();
                assert!(found == bytes[start..start + length], "{codec} {path} {start}+{length}");
            }
            assert!(image.read_stretch(&inode, 1, size).is_err(), "{path}");
            assert!(image.read_stretch(&inode, u64::MAX, 2).is_err(), "{path}");
        }
    }
}
