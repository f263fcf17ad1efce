//! An image made with what another one lends is the same, byte for byte, and what does not change is
//! not encoded again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_erofs::{
    Codec, Encoder, EncoderOptions, ImageOptions, Lender, Profile, ReadAt, ValidatedTree,
    write_image,
};
use kiln_tree::{ContentStore as _, Kind, Metadata, Node, Tree};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

const OPTIONS: ImageOptions = ImageOptions { uuid: [0x4b; 16], build_time: 1_700_000_000 };
const CODECS: [&str; 5] = ["none", "lz4", "lz4hc:4", "zstd:1", "zstd:6"];

/// Files by path; equal numbers are hard links of one file.
type Files = BTreeMap<String, (u8, Sample)>;

/// A content: kind, length, seed.
type Sample = (u8, usize, u8);

fn bytes(&(kind, length, seed): &Sample) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut noise = |length: usize| -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    };
    let text = |length: usize| -> Vec<u8> {
        let line = format!("line of {seed}, the same again and again\n");
        let numbers = (0_u32..).flat_map(|n| format!("{line}{}\n", n.wrapping_mul(n)).into_bytes());
        numbers.take(length).collect()
    };
    match kind % 4 {
        0 => text(length),
        1 => noise(length),
        2 => vec![0; length],
        _ => [text(length / 3), noise(length / 3), text(length - length / 3 * 2)].concat(),
    }
}

/// How contents come into an encoder.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// As a stream, as from a layer.
    Stored,
    /// By their digests where a lender has them, as from a table.
    Borrowed,
}

struct Made {
    image: File,
    encoded: u64,
}

/// Writes an image of these files.
fn make(
    files: &Files,
    codec: Codec,
    lenders: Vec<Arc<Lender>>,
    way: Way,
) -> Result<Made, kiln_erofs::Error> {
    let options = EncoderOptions { codec, threads: 2, spool: tempfile::tempfile().unwrap() };
    let mut encoder = Encoder::with_lenders(options, lenders).unwrap();
    let mut tree = Tree::new();
    let mut linked = BTreeMap::new();
    for (path, (link, sample)) in files {
        if let Some((parent, _)) = path.rsplit_once('/') {
            tree.ensure_directory(parent.as_bytes(), &Metadata::directory()).unwrap();
        }
        if let Some(&id) = linked.get(link) {
            tree.link(path.as_bytes(), id).unwrap();
            continue;
        }
        let bytes = bytes(sample);
        let size = bytes.len() as u64;
        let borrowed = match way {
            Way::Stored => None,
            Way::Borrowed => encoder.borrow(&Sha256::digest(&bytes).into(), size).unwrap(),
        };
        let content = borrowed.unwrap_or_else(|| encoder.store(size, &mut &bytes[..]).unwrap());
        assert!(encoder.read(content).unwrap_or(bytes.clone()) == bytes, "{path} reads otherwise");
        let node = Node { kind: Kind::File(content), metadata: Metadata::file() };
        let id = tree.insert(path.as_bytes(), node).unwrap();
        if *link > 0 {
            linked.insert(*link, id);
        }
    }
    let image = tempfile::tempfile().unwrap();
    write_image(&ValidatedTree::new(&tree)?, &encoder, &image, OPTIONS)?;
    Ok(Made { image, encoded: encoder.encoded_bytes() })
}

fn all(mut file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn lender(image: &File, codec: Codec) -> Arc<Lender> {
    let source = Arc::new(image.try_clone().unwrap());
    Arc::new(Lender::new(source, Profile::of(codec), 2).unwrap())
}

/// Lengths around every boundary of blocks, tails, clusters, chunks and segments.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0_usize..9000,
        2 => prop::sample::select(vec![
            0, 1, 3583, 3584, 3585, 4095, 4096, 4097, 65_536, 70_000, 262_144, 327_681, 600_001,
        ]),
        1 => prop::sample::select(vec![2_097_151, 2_097_152, 2_097_153, 4_194_305]),
    ]
}

/// A tree and what became of it: files changed, removed, moved, added and doubled.
fn pair() -> impl Strategy<Value = (Files, Files)> {
    let sample = || (0_u8..4, length(), 0_u8..3);
    let file = (0_u8..5, sample(), 0_u8..8, sample());
    prop::collection::vec(file, 1..16).prop_map(|files| {
        let (mut old, mut new) = (Files::new(), Files::new());
        for (number, (link, before, fate, after)) in files.into_iter().enumerate() {
            // Names of one inode must have one content.
            let own = |files: &Files, link: u8, sample: Sample| {
                let known = files.values().find(|(other, _)| link > 0 && *other == link);
                (link, known.map_or(sample, |&(_, sample)| sample))
            };
            let link = if link < 3 { 0 } else { link };
            let path = format!("folder-{}/{number}", number % 3);
            let was = own(&old, link, before);
            old.insert(path.clone(), was);
            match fate {
                0 => {}
                1 => drop(new.insert(path, own(&new, 0, after))),
                2 => drop(new.insert(format!("another/{number}"), own(&new, 0, before))),
                3 => {
                    new.insert(path.clone(), (0, before));
                    new.insert(format!("{path}-again"), (0, before));
                }
                4 => {
                    new.insert(path, own(&new, link, before));
                    new.insert(format!("first/{number}"), own(&new, 0, after));
                }
                _ => drop(new.insert(path, own(&new, link, before))),
            }
        }
        (old, new)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn what_is_made_with_a_lender_is_what_is_made_without((old, new) in pair()) {
        for codec in CODECS {
            let codec: Codec = codec.parse().unwrap();
            let before = make(&old, codec, Vec::new(), Way::Stored).unwrap();
            let fresh = make(&new, codec, Vec::new(), Way::Stored).unwrap();
            let lender = lender(&before.image, codec);
            for way in [Way::Stored, Way::Borrowed] {
                let lent = make(&new, codec, vec![Arc::clone(&lender)], way).unwrap();
                prop_assert!(all(&lent.image) == all(&fresh.image), "{codec}");
                prop_assert!(lent.encoded <= fresh.encoded, "{codec}");
                let again = make(&old, codec, vec![Arc::clone(&lender)], way).unwrap();
                prop_assert!(all(&again.image) == all(&before.image), "{codec}");
                prop_assert_eq!(again.encoded, 0, "{} encodes what is lent", codec);
            }
        }
    }
}

/// Files in all forms that contents take.
fn forms() -> Files {
    let lengths = [0, 100, 3000, 5000, 70_000, 600_001, 2_097_153, 4_500_000];
    let forms = lengths.iter().flat_map(|&length| (0..4).map(move |kind| (kind, length, 9)));
    forms.enumerate().map(|(number, form)| (format!("{number}"), (0, form))).collect()
}

#[test]
fn a_lender_of_another_profile_lends_nothing() {
    let codec = "lz4hc:4".parse().unwrap();
    let forms = || forms().into_iter().filter(|(_, (_, sample))| sample.1 < 100_000).collect();
    let fresh = make(&forms(), codec, Vec::new(), Way::Stored).unwrap();
    for other in ["lz4", "lz4hc:9", "zstd:1", "none"] {
        let other: Codec = other.parse().unwrap();
        let image = make(&forms(), other, Vec::new(), Way::Stored).unwrap().image;
        let made = make(&forms(), codec, vec![lender(&image, other)], Way::Borrowed).unwrap();
        assert!(all(&made.image) == all(&fresh.image));
        assert_eq!(made.encoded, fresh.encoded, "{other}");
    }
}

#[test]
fn segments_of_a_file_that_changed_elsewhere_are_lent() {
    let codec = Codec::Lz4;
    let mut one = bytes(&(3, 9_000_000, 1));
    let store = |bytes: &[u8], lenders| {
        let options = EncoderOptions { codec, threads: 2, spool: tempfile::tempfile().unwrap() };
        let mut encoder = Encoder::with_lenders(options, lenders).unwrap();
        let content = encoder.store(bytes.len() as u64, &mut &bytes[..]).unwrap();
        let mut tree = Tree::new();
        let node = Node { kind: Kind::File(content), metadata: Metadata::file() };
        tree.insert(b"file", node).unwrap();
        let image = tempfile::tempfile().unwrap();
        write_image(&ValidatedTree::new(&tree).unwrap(), &encoder, &image, OPTIONS).unwrap();
        Made { image, encoded: encoder.encoded_bytes() }
    };
    let before = store(&one, Vec::new());
    one[3_000_000] ^= 1;
    one.extend(b"and more");
    let fresh = store(&one, Vec::new());
    let lent = store(&one, vec![lender(&before.image, codec)]);
    assert!(all(&lent.image) == all(&fresh.image));
    // The second segment of five, and the last one, which ends elsewhere.
    assert!(lent.encoded * 2 < fresh.encoded, "{} of {}", lent.encoded, fresh.encoded);
    assert!(lent.encoded > 0);
}

#[test]
fn a_long_file_of_zeros_is_lent() {
    let codec = Codec::Lz4;
    let files = Files::from([("zeros".to_owned(), (0, (2, 64 << 20, 0)))]);
    let before = make(&files, codec, Vec::new(), Way::Stored).unwrap();
    let lent = make(&files, codec, vec![lender(&before.image, codec)], Way::Borrowed).unwrap();
    assert!(all(&lent.image) == all(&before.image));
    assert_eq!(lent.encoded, 0);
}

/// A source that knows what it gave and fails where that changed, as one that checks blocks does.
#[derive(Debug)]
struct Checked {
    good: Vec<u8>,
    now: Vec<u8>,
    is_changed: AtomicBool,
}

impl ReadAt for Checked {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let block = |offset: u64| offset / 4096 * 4096;
        let end = (block(offset + buffer.len() as u64 + 4095) as usize).min(self.good.len());
        let read = if self.is_changed.load(Ordering::Relaxed) { &self.now } else { &self.good };
        let begin = block(offset) as usize;
        if read[begin..end] != self.good[begin..end] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a block changed"));
        }
        buffer.copy_from_slice(&read[offset as usize..][..buffer.len()]);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.good.len() as u64)
    }
}

#[test]
fn a_lender_that_rots_gives_the_same_image_or_none() {
    let codec: Codec = "lz4hc:4".parse().unwrap();
    let files: Files =
        forms().into_iter().filter(|(_, (_, sample))| sample.1 < 1_000_000).collect();
    let good = all(&make(&files, codec, Vec::new(), Way::Stored).unwrap().image);
    let (mut without, mut failed) = (0, 0);
    for step in 0..16_usize {
        // Metadata come first; contents have most of the image.
        let place = if step < 4 { 1200 + step * 640 } else { good.len() / 18 * (step + 1) };
        let mut now = good.clone();
        now[place] ^= 0x10;
        for rots_before in [true, false] {
            let is_changed = rots_before.into();
            let source = Arc::new(Checked { good: good.clone(), now: now.clone(), is_changed });
            let Ok(lender) = Lender::new(Arc::clone(&source) as _, Profile::of(codec), 2) else {
                continue;
            };
            let lender = Arc::new(lender);
            source.is_changed.store(true, Ordering::Relaxed);
            match make(&files, codec, vec![Arc::clone(&lender)], Way::Borrowed) {
                Ok(made) => {
                    assert!(all(&made.image) == good, "{place}: another image");
                    without += usize::from(made.encoded > 0);
                }
                Err(_) => {
                    assert!(!rots_before && lender.has_failed(), "{place}");
                    failed += 1;
                }
            }
        }
    }
    assert!(without > 3 && failed > 3, "{without} {failed}");
}

/// Nobody vouches for such a source; still nothing panics and no content is wrong.
#[test]
fn flipped_bytes_of_an_unchecked_lender_never_change_a_content() {
    for codec in CODECS {
        let codec: Codec = codec.parse().unwrap();
        let files: Files =
            forms().into_iter().filter(|(_, (_, sample))| sample.1 < 10_000).collect();
        let good = all(&make(&files, codec, Vec::new(), Way::Stored).unwrap().image);
        for step in 0..24 {
            let image = tempfile::tempfile().unwrap();
            image.write_all_at(&good, 0).unwrap();
            let place = (step * 7919 + 1100) % good.len();
            image.write_all_at(&[good[place] ^ 1 << (step % 8)], place as u64).unwrap();
            let source = Arc::new(image);
            let Ok(lender) = Lender::new(source, Profile::of(codec), 1) else { continue };
            // Reads every content back and compares.
            make(&files, codec, vec![Arc::new(lender)], Way::Stored).unwrap();
        }
    }
}

/// More than stays in memory: some pieces lie in the file, and one would have to lie in both.
#[test]
fn a_long_spool_begins_in_memory_and_ends_in_the_file() {
    let codec = Codec::Lz4;
    let old = Files::from([("old".to_owned(), (0, (0, 5000, 0)))]);
    let image = make(&old, codec, Vec::new(), Way::Stored).unwrap().image;
    // Noise, so that a length is what is spooled of it.
    let new: Files = (0..20)
        .map(|number| {
            (format!("new-{number}"), (0, (1, 1_500_000 + 777 * usize::from(number), number)))
        })
        .collect();
    let fresh = make(&new, codec, Vec::new(), Way::Stored).unwrap();
    let made = make(&new, codec, vec![lender(&image, codec)], Way::Stored).unwrap();
    assert!(all(&made.image) == all(&fresh.image));
    assert_eq!(made.encoded, fresh.encoded);
}
