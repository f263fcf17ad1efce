//! Two attempts at a root: with what the slots lend, and without it if one of them rots meanwhile.
//!
//! Only a lender's own failure is worth a second attempt; a full disk fails twice. Going on in the middle
//! was dropped: what was laid out with a rotten piece would have to be found and taken out again.

use std::fs::File;
use std::sync::Arc;

use kiln_erofs::{Lender, Profile};
use tempfile::TempDir;

use crate::assemble::Place;
use crate::{Error, Progress};

/// A place that opens its root once for several attempts.
struct Attempts<'a> {
    place: &'a mut dyn Place,
    root: Option<File>,
}

impl Place for Attempts<'_> {
    fn root(&mut self, name: &str) -> Result<File, Error> {
        let root = match self.root.take() {
            Some(root) => root,
            None => self.place.root(name)?,
        };
        let again = root.try_clone().map_err(Error::Contents)?;
        self.root = Some(again);
        Ok(root)
    }

    fn check(&mut self, length: u64) -> Result<(), Error> {
        self.place.check(length)
    }

    fn spool(&self) -> Result<File, Error> {
        self.place.spool()
    }

    fn private_folder(&self) -> Result<TempDir, Error> {
        self.place.private_folder()
    }
}

/// Tries with all that `place` lends, and once more without it if one of the lenders failed.
pub(crate) fn try_twice<T>(
    profile: Profile,
    place: &mut dyn Place,
    progress: &mut dyn Progress,
    mut attempt: impl FnMut(Vec<Arc<Lender>>, &mut dyn Place, &mut dyn Progress) -> Result<T, Error>,
) -> Result<T, Error> {
    let lenders = place.lenders(profile);
    let mut place = Attempts { place, root: None };
    match attempt(lenders.clone(), &mut place, progress) {
        Err(error) if lenders.iter().any(|lender| lender.has_failed()) => {
            progress.detail(&format!("again without what the slots hold: {error}"));
            attempt(Vec::new(), &mut place, progress)
        }
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use kiln_erofs::{Codec, ImageOptions, Lender, Profile, ReadAt, ValidatedTree, write_image};
    use kiln_tree::{ContentStore as _, Kind, Metadata, Node, Tree};
    use tempfile::TempDir;

    use super::{Place, try_twice};
    use crate::assemble::encoder;
    use crate::{Error, Silent};

    fn profile() -> Profile {
        Profile::of(Codec::Lz4)
    }

    /// Bytes of a file that no codec makes shorter, longer than a lender reads at once.
    fn noise() -> Vec<u8> {
        let mut state = 1_u64;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(500_000)
        .collect()
    }

    /// Writes an image of one file with what is lent; whether it was lent.
    fn write(
        lenders: Vec<Arc<Lender>>,
        place: &mut dyn Place,
        name: &str,
    ) -> Result<(File, bool), Error> {
        let mut encoder = encoder(Codec::Lz4, 1, lenders, place)?;
        let bytes = noise();
        let content =
            encoder.store(bytes.len() as u64, &mut &bytes[..]).map_err(Error::Contents)?;
        let mut tree = Tree::new();
        let node = Node { kind: Kind::File(content), metadata: Metadata::file() };
        tree.insert(b"file", node).unwrap();
        let root = place.root(name)?;
        let options = ImageOptions { uuid: [1; 16], build_time: 0 };
        write_image(&ValidatedTree::new(&tree)?, &encoder, &root, options)?;
        Ok((root, encoder.encoded_bytes() == 0))
    }

    /// An image that can be read until it rots.
    #[derive(Debug)]
    struct Rotting {
        image: File,
        is_rotten: AtomicBool,
    }

    impl ReadAt for Rotting {
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            match self.is_rotten.load(Ordering::Relaxed) {
                true => Err(io::ErrorKind::InvalidData.into()),
                false => self.image.read_exact_at(buffer, offset),
            }
        }

        fn length(&self) -> io::Result<u64> {
            Ok(self.image.metadata()?.len())
        }
    }

    /// A slot, and another one that lends.
    struct Slots {
        lenders: Vec<Arc<Lender>>,
        root: File,
        asked: usize,
    }

    impl Place for Slots {
        fn root(&mut self, _: &str) -> Result<File, Error> {
            self.asked += 1;
            self.root.try_clone().map_err(Error::Contents)
        }

        fn spool(&self) -> Result<File, Error> {
            tempfile::tempfile().map_err(Error::Contents)
        }

        fn private_folder(&self) -> Result<TempDir, Error> {
            tempfile::tempdir().map_err(Error::Contents)
        }

        fn lenders(&self, profile: Profile) -> Vec<Arc<Lender>> {
            assert_eq!(profile, self::profile());
            self.lenders.clone()
        }
    }

    fn slots() -> (Slots, Arc<Rotting>, Vec<u8>) {
        let root = tempfile::tempfile().unwrap();
        let mut slots = Slots { lenders: Vec::new(), root, asked: 0 };
        let (image, _) = write(Vec::new(), &mut slots, "old").unwrap();
        let mut bytes = vec![0; image.metadata().unwrap().len() as usize];
        image.read_exact_at(&mut bytes, 0).unwrap();
        let source = Arc::new(Rotting { image, is_rotten: false.into() });
        let lender = Lender::new(Arc::clone(&source) as _, profile(), 1).unwrap();
        let root = tempfile::tempfile().unwrap();
        (Slots { lenders: vec![Arc::new(lender)], root, asked: 0 }, source, bytes)
    }

    fn all(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn what_a_slot_lends_is_taken_and_a_slot_that_rots_is_done_without() {
        for rots in [false, true] {
            let (mut slots, source, expected) = slots();
            let mut tries = Vec::new();
            let made = try_twice(profile(), &mut slots, &mut Silent, |lenders, place, _| {
                tries.push(lenders.len());
                source.is_rotten.store(rots, Ordering::Relaxed);
                write(lenders, place, "new")
            });
            let (root, is_lent) = made.unwrap();
            assert!(all(&root) == expected, "rots: {rots}");
            assert_eq!(is_lent, !rots);
            assert_eq!(tries, if rots { vec![1, 0] } else { vec![1] });
            // The second try writes into the same root, which was asked for once.
            assert_eq!(slots.asked, 1);
        }
    }

    #[test]
    fn a_failure_that_no_lender_is_to_blame_for_is_not_tried_again() {
        let (mut slots, _, _) = slots();
        let mut tries = 0;
        let failed = try_twice(profile(), &mut slots, &mut Silent, |_, _, _| {
            tries += 1;
            Err::<(), _>(Error::Contents(io::ErrorKind::StorageFull.into()))
        });
        assert!(matches!(failed, Err(Error::Contents(_))) && tries == 1);
    }
}
