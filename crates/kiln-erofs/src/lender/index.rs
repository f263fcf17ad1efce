//! Finds out what an image can lend by decoding all of it once.
//!
//! Only what has exactly the form that this crate writes is taken: pieces in neighbouring blocks, cut
//! at the ends of segments. Images of other programs, and damaged ones, lend less or nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::{Key, Lender, Lent, Source, Whole};
use crate::error::Error;
use crate::extent::{Extent, SEGMENT};
use crate::format::{
    BLOCK, LAYOUT_COMPRESSED_COMPACT, LAYOUT_FLAT_INLINE, LAYOUT_FLAT_PLAIN, MODE_FILE,
};
use crate::profile::Profile;
use crate::reader::{Image, Inode, Place, ReadAt};

/// Files that a thread takes at once, so that threads do not wait for each other.
const FILES_AT_ONCE: usize = 64;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    segments: Vec<(Key, Lent)>,
    extents: Vec<Extent>,
    wholes: Vec<Whole>,
}

/// Decodes all files of an image.
pub(super) fn read<R: ReadAt + Sync>(image: &Image<R>, profile: Profile, threads: usize) -> Found {
    // Behind the first directory that cannot be read nothing is found.
    let mut files: Vec<u64> = image
        .walk()
        .map_while(Result::ok)
        .filter(|entry| entry.inode.is(MODE_FILE) && entry.inode.raw.size > 0)
        .map(|entry| entry.inode.node)
        .collect();
    files.sort_unstable();
    files.dedup();
    let parts: Vec<&[u64]> = files.chunks(FILES_AT_ONCE).collect();
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Found::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut found = Found::default();
                    for &node in *part {
                        let sound = found.mark();
                        if found.file(image, node, profile).is_err() {
                            found.reset(sound);
                        }
                    }
                    all.lock().unwrap_or_else(PoisonError::into_inner).append(&found);
                }
            });
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Found {
    pub(super) fn into_lender(self, source: Arc<dyn Source>, profile: Profile) -> Lender {
        let Self { segments, extents, mut wholes } = self;
        wholes.sort_unstable_by_key(|whole| whole.digest);
        // A tree counts its contents with 32 bits, and what is more is not lent.
        let mut order: Vec<u32> = (0..segments.len().min(u32::MAX as usize) as u32).collect();
        order.sort_unstable_by_key(|&number| segments.get(number as usize).map(|(key, _)| key));
        let has_failed = false.into();
        let is_placed = false;
        Lender { profile, source, segments, extents, wholes, order, is_placed, has_failed }
    }

    fn mark(&self) -> (usize, usize, usize) {
        (self.segments.len(), self.extents.len(), self.wholes.len())
    }

    fn reset(&mut self, (segments, extents, wholes): (usize, usize, usize)) {
        self.segments.truncate(segments);
        self.extents.truncate(extents);
        self.wholes.truncate(wholes);
    }

    /// Adds what another thread found.
    fn append(&mut self, other: &Self) {
        let (Ok(segments), Ok(extents)) =
            (u32::try_from(self.segments.len()), u32::try_from(self.extents.len()))
        else {
            return;
        };
        self.segments.extend(other.segments.iter().map(|&(key, lent)| {
            let own = (lent.extents.0.saturating_add(extents), lent.extents.1);
            (key, Lent { extents: own, ..lent })
        }));
        self.extents.extend_from_slice(&other.extents);
        self.wholes.extend(other.wholes.iter().map(|&whole| {
            let own = (whole.segments.0.saturating_add(segments), whole.segments.1);
            Whole { segments: own, ..whole }
        }));
    }

    /// Adds a content whose parts are known.
    pub(super) fn content<'a>(
        &mut self,
        digest: [u8; 32],
        size: u64,
        segments: impl Iterator<Item = (u64, u32, &'a [Extent])>,
    ) {
        let first = self.segments.len() as u32;
        let is_whole = size <= SEGMENT as u64;
        for (offset, tail, pieces) in segments {
            let key = match is_whole {
                true => Key { digest, length: size as u32, ends: (true, true) },
                // Nothing has the length 0: it is found as a part of the whole alone.
                false => Key { digest, length: 0, ends: (false, false) },
            };
            let extents = (self.extents.len() as u32, pieces.len() as u32);
            self.extents.extend_from_slice(pieces);
            self.segments.push((key, Lent { offset, tail, extents }));
        }
        if !is_whole {
            let count = self.segments.len() as u32 - first;
            self.wholes.push(Whole { digest, size, segments: (first, count) });
        }
    }

    /// Adds a file.
    fn file<R: ReadAt>(
        &mut self,
        image: &Image<R>,
        node: u64,
        profile: Profile,
    ) -> Result<(), Error> {
        let inode = image.inode(node)?;
        let first = self.segments.len() as u32;
        let mut whole = Sha256::new();
        match inode.raw.layout {
            LAYOUT_FLAT_PLAIN | LAYOUT_FLAT_INLINE => self.flat(image, &inode, &mut whole)?,
            LAYOUT_COMPRESSED_COMPACT => self.indexed(image, &inode, profile, &mut whole)?,
            other => return Err(Error::Unsupported(format!("data layout {other}"))),
        }
        let count = self.segments.len() as u32 - first;
        if count > 1 {
            let digest = whole.finalize().into();
            self.wholes.push(Whole { digest, size: inode.raw.size, segments: (first, count) });
        }
        Ok(())
    }

    /// A file whose bytes lie as they are.
    fn flat<R: ReadAt>(
        &mut self,
        image: &Image<R>,
        inode: &Inode,
        whole: &mut Sha256,
    ) -> Result<(), Error> {
        let size = inode.raw.size;
        let beside = match inode.raw.layout {
            LAYOUT_FLAT_INLINE => (size - 1) % BLOCK as u64 + 1,
            _ => 0,
        };
        let begin = u64::from(inode.raw.union) * BLOCK as u64;
        let mut start = 0;
        while start < size {
            let length = (size - start).min(SEGMENT as u64);
            let bytes = image.read_stretch(inode, start, length as usize)?;
            let mut segment = Open { inode, start, offset: begin + start, tail: 0, bytes };
            let first = self.extents.len();
            let in_blocks = length.min(size - beside - start);
            self.plain(in_blocks as u32);
            if in_blocks < length {
                segment.tail = tail_offset(inode, inode.body())?;
                self.plain((length - in_blocks) as u32);
            }
            self.close(&segment, first, whole);
            start += length;
        }
        Ok(())
    }

    /// Pieces of their own that take whole blocks.
    fn plain(&mut self, length: u32) {
        if length > 0 {
            self.extents.push(Extent { logical: length, stored: length, compressed: false });
        }
    }

    /// A file with an index.
    fn indexed<R: ReadAt>(
        &mut self,
        image: &Image<R>,
        inode: &Inode,
        profile: Profile,
        whole: &mut Sha256,
    ) -> Result<(), Error> {
        let wrong = || inode.damaged("it was not written by this profile");
        let mut first = self.extents.len();
        let mut segment = Open { inode, start: 0, offset: 0, tail: 0, bytes: Vec::new() };
        // Nothing is known of the first piece's place.
        let mut next_block = None;
        for extent in image.extents(inode)? {
            let extent = extent?;
            if segment.bytes.len() == SEGMENT {
                self.close(&segment, first, whole);
                first = self.extents.len();
                segment.start += SEGMENT as u64;
                segment.bytes.clear();
            }
            let has = segment.bytes.len();
            let end = has as u64 + extent.length;
            if extent.start != segment.start + has as u64
                || end > SEGMENT as u64
                || extent.interlaced
                || extent.algorithm.is_some_and(|found| found != profile.codec().algorithm())
            {
                return Err(wrong());
            }
            let stored = match extent.place {
                Place::Blocks { first: block, count } => {
                    if next_block.is_some_and(|next| next != block) {
                        return Err(wrong());
                    }
                    if has == 0 {
                        segment.offset = u64::from(block) * BLOCK as u64;
                    }
                    next_block = Some(block.checked_add(count).ok_or_else(wrong)?);
                    count.checked_mul(BLOCK as u32).ok_or_else(wrong)?
                }
                Place::Inline { offset, length } => {
                    segment.tail = tail_offset(inode, offset)?;
                    u32::from(length)
                }
            };
            let logical = u32::try_from(extent.length).map_err(|_| wrong())?;
            segment.bytes.extend(image.decode(inode, &extent)?);
            let compressed = extent.algorithm.is_some();
            match self.extents.get_mut(first..).and_then(<[Extent]>::last_mut) {
                // Plain pieces of a block each are one piece again, as the encoder makes them.
                Some(last)
                    if !compressed && !last.compressed && last.logical % BLOCK as u32 == 0 =>
                {
                    last.logical += logical;
                    last.stored += logical;
                }
                _ => self.extents.push(Extent {
                    logical,
                    stored: if compressed { stored } else { logical },
                    compressed,
                }),
            }
        }
        if segment.start + segment.bytes.len() as u64 != inode.raw.size {
            return Err(wrong());
        }
        self.close(&segment, first, whole);
        Ok(())
    }

    /// Ends a segment whose extents are those from `first` on.
    fn close(&mut self, segment: &Open<'_>, first: usize, whole: &mut Sha256) {
        let size = segment.inode.raw.size;
        if size > SEGMENT as u64 {
            whole.update(&segment.bytes);
        }
        let key = Key {
            digest: Sha256::digest(&segment.bytes).into(),
            // At most a segment.
            length: segment.bytes.len() as u32,
            ends: (segment.start == 0, segment.start + segment.bytes.len() as u64 == size),
        };
        // As many extents as blocks of 64 files, at most.
        let extents = (first as u32, (self.extents.len() - first) as u32);
        let lent = Lent { offset: segment.offset, tail: segment.tail, extents };
        self.segments.push((key, lent));
    }
}

/// A segment that is being read.
struct Open<'a> {
    inode: &'a Inode,
    /// Where it begins in its file.
    start: u64,
    offset: u64,
    tail: u32,
    bytes: Vec<u8>,
}

/// Inodes of ordinary images lie in the first 4 GiB; zero would mean that there is none.
fn tail_offset(inode: &Inode, offset: u64) -> Result<u32, Error> {
    u32::try_from(offset).map_err(|_| inode.damaged("its last piece lies too far behind"))
}
