//! A root image that lends its encoded contents to the next one: what did not change is copied
//! block by block instead of being compressed and spooled again.
//!
//! Segments know nothing of each other, so two of the same bytes at the same end of a file are
//! encoded alike, whatever file they belong to; a segment is therefore what is lent. What the image
//! says about itself is not believed: a segment is known by the digest of what it decodes to. But
//! equal contents can be encoded in many ways, so whoever makes a [`Lender`] vouches that its source
//! gives what an encoder of this profile wrote, or fails; a source that checks each block against a
//! known root hash does. A stored index was dropped: it would be as old as the last lie of the disk.

mod index;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::extent::{Extent, SEGMENT};
use crate::profile::Profile;
use crate::reader::{Image, ReadAt};

/// Where a lender's bytes come from.
pub trait Source: ReadAt + Send + Sync + std::fmt::Debug {}

impl<T: ReadAt + Send + Sync + std::fmt::Debug> Source for T {}

/// Where a segment lies in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lent {
    /// Byte offset of its first block.
    pub(crate) offset: u64,
    /// Byte offset of its last piece if that lies beside the inode, else zero.
    pub(crate) tail: u32,
    /// Its pieces: first one in the table of all extents, and how many.
    extents: (u32, u32),
}

/// What tells one segment from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// SHA-256 of its bytes.
    pub(crate) digest: [u8; 32],
    /// Its bytes; at most [`SEGMENT`].
    pub(crate) length: u32,
    /// Whether a file begins with it, and whether one ends with it: both decide how it is encoded.
    pub(crate) ends: (bool, bool),
}

/// A content of several segments, which are neighbours.
#[derive(Debug, Clone, Copy)]
struct Whole {
    digest: [u8; 32],
    size: u64,
    segments: (u32, u32),
}

/// An image and what it can lend.
#[derive(Debug)]
pub struct Lender {
    profile: Profile,
    source: Arc<dyn Source>,
    segments: Vec<(Key, Lent)>,
    extents: Vec<Extent>,
    /// Sorted by digest.
    wholes: Vec<Whole>,
    /// Segments sorted by key.
    order: Vec<u32>,
    /// Whether its contents lie in the image that they are lent to.
    is_placed: bool,
    has_failed: AtomicBool,
}

impl Lender {
    /// Reads all contents of the image at the beginning of `source`, which an encoder of `profile`
    /// wrote, with so many threads. What cannot be read is not lent.
    ///
    /// # Errors
    /// It is no image.
    pub fn new(source: Arc<dyn Source>, profile: Profile, threads: usize) -> Result<Self, Error> {
        let image = Image::open(Arc::clone(&source))?;
        Ok(index::read(&image, profile, threads).into_lender(source, profile))
    }

    /// One whose parts are known: for each content its digest, its size, and for each of its segments
    /// where it and its tail lie and its pieces. Only whole contents are lent.
    pub(crate) fn of_parts<'a, Segments: Iterator<Item = (u64, u32, &'a [Extent])>>(
        source: Arc<dyn Source>,
        profile: Profile,
        contents: impl Iterator<Item = ([u8; 32], u64, Segments)>,
    ) -> Self {
        let mut found = index::Found::default();
        contents.for_each(|(digest, size, segments)| found.content(digest, size, segments));
        Self { is_placed: true, ..found.into_lender(source, profile) }
    }

    /// Whether its contents lie in the image that they are lent to.
    pub(crate) fn is_placed(&self) -> bool {
        self.is_placed
    }

    /// The profile it was written with.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Whether it failed to give what it had given before. What was made with it is not finished
    /// then, and can be made again without it.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Whether it has this content, which is not empty.
    pub fn has(&self, digest: &[u8; 32], size: u64) -> bool {
        self.content(digest, size).is_some()
    }

    /// A segment by what it decodes to.
    pub(crate) fn segment(&self, key: &Key) -> Option<Lent> {
        self.find(key).and_then(|number| self.lent(number))
    }

    /// The segments of a content by what it decodes to.
    pub(crate) fn content(&self, digest: &[u8; 32], size: u64) -> Option<Range<usize>> {
        if size <= SEGMENT as u64 {
            let key = Key { digest: *digest, length: size as u32, ends: (true, true) };
            return self.find(&key).map(|number| number..number + 1);
        }
        let first = self.wholes.partition_point(|whole| whole.digest < *digest);
        let whole = self.wholes.get(first)?;
        let (begin, count) = (whole.segments.0 as usize, whole.segments.1 as usize);
        (whole.digest == *digest && whole.size == size).then(|| begin..begin + count)
    }

    /// A segment by its number.
    pub(crate) fn lent(&self, number: usize) -> Option<Lent> {
        self.segments.get(number).map(|&(_, lent)| lent)
    }

    /// The pieces of a segment, in order.
    pub(crate) fn extents(&self, lent: Lent) -> &[Extent] {
        let first = lent.extents.0 as usize;
        self.extents.get(first..first + lent.extents.1 as usize).unwrap_or_default()
    }

    /// Bytes of the image.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.source.read_exact_at(buffer, offset).inspect_err(|_| {
            self.has_failed.store(true, Ordering::Relaxed);
        })
    }

    fn find(&self, key: &Key) -> Option<usize> {
        let key_of = |number: &u32| self.segments.get(*number as usize).map(|(key, _)| key);
        let place = self.order.partition_point(|number| key_of(number) < Some(key));
        let number = self.order.get(place)?;
        (key_of(number) == Some(key)).then_some(*number as usize)
    }
}
