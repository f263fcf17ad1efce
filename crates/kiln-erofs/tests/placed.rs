//! An image around contents that were put into it before is the same, byte for byte, and nothing of
//! them is written again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use kiln_erofs::{
    Codec, ContentEncoder, Encoder, EncoderOptions, Error, Image, ImageOptions, Lender,
    PlacedContent, Profile, ValidatedTree, write_image,
};
use kiln_tree::{ContentStore as _, Kind, Metadata, Node, Tree};
use sha2::{Digest as _, Sha256};

const OPTIONS: ImageOptions = ImageOptions { uuid: [0x4b; 16], build_time: 1_700_000_000 };
const CODECS: [&str; 5] = ["none", "lz4", "lz4hc:4", "zstd:1", "zstd:6"];
const BLOCK: u64 = 4096;

/// Text, noise, zeros and all of them, of lengths around every boundary.
fn contents() -> Vec<Vec<u8>> {
    let lengths =
        [1, 100, 3583, 3584, 3585, 4095, 4096, 4097, 65_537, 270_000, 2_097_152, 2_097_153];
    let mut state = 1_u64;
    let mut contents = Vec::new();
    for length in lengths {
        let text: Vec<u8> = (0_u32..)
            .flat_map(|n| format!("{length} {}\n", n.wrapping_mul(n)).into_bytes())
            .take(length)
            .collect();
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(length)
        .collect();
        let mixed = [&noise[..length / 2], &text[..length - length / 2]].concat();
        contents.extend([text, noise, vec![0; length], mixed]);
    }
    contents.retain(|content| content.len() > 1);
    contents
}

fn make(
    contents: &[Vec<u8>],
    codec: Codec,
    lenders: Vec<Arc<Lender>>,
    image: &File,
) -> Result<u64, Error> {
    let options = EncoderOptions { codec, threads: 2, spool: tempfile::tempfile().unwrap() };
    let mut encoder = Encoder::with_lenders(options, lenders).unwrap();
    let mut tree = Tree::new();
    for (number, bytes) in contents.iter().enumerate() {
        let size = bytes.len() as u64;
        let lent = encoder.borrow(&Sha256::digest(bytes).into(), size).unwrap();
        let content = lent.unwrap_or_else(|| encoder.store(size, &mut &bytes[..]).unwrap());
        assert!(encoder.read(content).unwrap() == *bytes, "{number} reads otherwise");
        let node = Node { kind: Kind::File(content), metadata: Metadata::file() };
        tree.insert(format!("{number:04}").as_bytes(), node).unwrap();
    }
    write_image(&ValidatedTree::new(&tree)?, &encoder, image, OPTIONS)?;
    Ok(encoder.encoded_bytes())
}

fn all(mut file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Puts most contents where the finished image has it.
struct Put {
    image: File,
    tails: File,
    placed: Vec<PlacedContent>,
}

fn put(contents: &[Vec<u8>], codec: Codec, finished: &[u8], shift: u64) -> Put {
    let (image, mut tails) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    tails.write_all(b"so that nothing begins at 0").unwrap();
    let mut encoder = ContentEncoder::new(codec).unwrap();
    let encoded: Vec<_> = contents
        .iter()
        .map(|bytes| encoder.encode(bytes.len() as u64, &mut &bytes[..]).unwrap())
        .collect();
    let blocks: u64 = encoded.iter().map(|content| u64::from(content.blocks())).sum();
    let mut block = finished.len() as u64 / BLOCK - blocks + shift;
    let mut placed = Vec::new();
    for (number, (content, bytes)) in encoded.into_iter().zip(contents).enumerate() {
        let (first, next) = (block, block + u64::from(content.blocks()));
        block = next;
        if number % 5 == 3 {
            continue;
        }
        content.write(&image, first as u32).unwrap();
        assert!(content.digest()[..] == Sha256::digest(bytes)[..]);
        let at = if content.tail().is_empty() { 0 } else { tails.stream_position().unwrap() };
        tails.write_all(content.tail()).unwrap();
        let record = content.placed(first as u32, at as u32).to_bytes();
        let content = PlacedContent::from_bytes(&record, at as u32).unwrap();
        assert!(content.is_there(&image, &tails, codec), "{number}");
        assert!(content.read(&image, &tails, codec).unwrap() == *bytes, "{number}");
        placed.push(content);
    }
    Put { image, tails, placed }
}

fn lender(put: &Put, codec: Codec) -> Arc<Lender> {
    let (image, tails) = (put.image.try_clone().unwrap(), put.tails.try_clone().unwrap());
    Arc::new(Lender::placed(image, tails, Profile::of(codec), &put.placed))
}

#[test]
fn an_image_around_placed_contents_is_the_same() {
    let contents = contents();
    for codec in CODECS {
        let codec: Codec = codec.parse().unwrap();
        let finished = tempfile::tempfile().unwrap();
        let encoded = make(&contents, codec, Vec::new(), &finished).unwrap();
        let finished = all(&finished);
        let put = put(&contents, codec, &finished, 0);
        let rest = make(&contents, codec, vec![lender(&put, codec)], &put.image).unwrap();
        assert!(all(&put.image) == finished, "{codec}");
        assert!(rest < encoded * 3 / 4, "{codec}: {rest} of {encoded}");
    }
}

#[test]
fn what_lies_elsewhere_is_refused() {
    let contents = contents();
    let codec = Codec::Lz4;
    let finished = tempfile::tempfile().unwrap();
    make(&contents, codec, Vec::new(), &finished).unwrap();
    let put = put(&contents, codec, &all(&finished), 1);
    let error = make(&contents, codec, vec![lender(&put, codec)], &put.image).unwrap_err();
    assert!(matches!(error, Error::Misplaced { .. }), "{error}");
}

#[test]
fn what_changed_since_is_not_there() {
    let contents = contents();
    let codec: Codec = "lz4hc:4".parse().unwrap();
    let finished = tempfile::tempfile().unwrap();
    make(&contents, codec, Vec::new(), &finished).unwrap();
    let put = put(&contents, codec, &all(&finished), 0);
    let mut changed = 0;
    for content in &put.placed {
        assert!(content.is_there(&put.image, &put.tails, codec));
    }
    // Every byte of the image and of the tails.
    for file in [&put.image, &put.tails] {
        let flipped: Vec<u8> = all(file).iter().map(|byte| !byte).collect();
        file.write_all_at(&flipped, 0).unwrap();
        changed += put
            .placed
            .iter()
            .filter(|content| !content.is_there(&put.image, &put.tails, codec))
            .count();
        let back: Vec<u8> = flipped.iter().map(|byte| !byte).collect();
        file.write_all_at(&back, 0).unwrap();
    }
    assert!(changed > put.placed.len(), "{changed} of {}", put.placed.len());
    // Cut short.
    put.image.set_len(BLOCK).unwrap();
    let there = put.placed.iter().filter(|one| one.is_there(&put.image, &put.tails, codec));
    assert!(there.count() < put.placed.len());
    assert!(Image::open(put.image.try_clone().unwrap()).is_err());
}
