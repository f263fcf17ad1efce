//! The bytes of every profile, pinned. A changed digest here means a new profile generation: what a
//! profile number stands for never changes, because machines rebuild root images from trees and
//! must come to the very same root hash.

mod common;

use kiln_erofs::{Codec, Profile};

#[test]
fn profiles_keep_their_bytes() {
    let mut found = String::new();
    let mut codecs = vec![Codec::None, Codec::Lz4];
    codecs.extend((3..=12).map(|level| Codec::Lz4hc { level }));
    codecs.extend((1..=22).map(|level| Codec::Zstd { level }));
    for codec in codecs {
        let mut encoder = common::encoder(codec, 2);
        let tree = common::golden_tree(&mut encoder);
        let out = tempfile::tempfile().unwrap();
        common::image(&tree, &encoder, &out);
        found.push_str(&format!("{} {codec} {}\n", Profile::of(codec), common::digest(&out)));
    }
    assert_eq!(found, include_str!("golden.txt"), "\n{found}");
}
