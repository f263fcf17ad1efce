//! Damaged and hostile images: an error or some content, never a panic, a hang or a huge allocation.

#![expect(clippy::unwrap_used, reason = "a failing helper must fail its test")]

mod common;

use std::sync::LazyLock;

use kiln_erofs::{Image, dump};
use proptest::prelude::*;

static IMAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    ["none", "lz4", "zstd:1"]
        .into_iter()
        .map(|codec| {
            let mut encoder = common::encoder(codec.parse().unwrap(), 1);
            let tree = common::golden_tree(&mut encoder);
            let mut out = tempfile::tempfile().unwrap();
            common::image(&tree, &encoder, &out);
            let mut bytes = Vec::new();
            std::io::Seek::rewind(&mut out).unwrap();
            std::io::Read::read_to_end(&mut out, &mut bytes).unwrap();
            bytes
        })
        .collect()
});

/// Reads everything there is; a damaged image may fail anywhere.
fn read_all(bytes: &[u8]) -> bool {
    let Ok(image) = Image::open(bytes) else { return false };
    let mut whole = true;
    for entry in image.walk() {
        match entry {
            Ok(entry) => {
                whole &= image.read(&entry.inode, 16 << 20).is_ok();
                whole &= image.xattrs(&entry.inode).is_ok();
            }
            Err(_) => whole = false,
        }
    }
    whole & dump(&image, &mut std::io::sink()).is_ok()
}

/// Clears the checksum feature, so that damage gets past the superblock.
fn unsealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[1024 + 8] &= !1;
    bytes
}

#[test]
fn undamaged_images_read_whole() {
    for bytes in IMAGES.iter() {
        assert!(read_all(bytes));
        assert!(read_all(&unsealed(bytes.clone())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn mutated_images_never_panic(
        which in 0usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..40),
    ) {
        let mut bytes = unsealed(IMAGES[which].clone());
        for (place, value, early) in changes {
            // Half of the damage goes where the structures are.
            let range = if early { 24_576.min(bytes.len()) } else { bytes.len() };
            let at = place.index(range);
            if !(1024..1028).contains(&at) && at != 1032 {
                bytes[at] = value;
            }
        }
        read_all(&bytes);
    }

    #[test]
    fn truncated_images_never_panic(which in 0usize..3, keep in any::<prop::sample::Index>()) {
        let bytes = unsealed(IMAGES[which].clone());
        let keep = keep.index(bytes.len());
        prop_assert!(!read_all(&bytes[..keep]));
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
        prop_assert!(!read_all(&bytes));
    }
}
