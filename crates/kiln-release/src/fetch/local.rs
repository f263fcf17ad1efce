//! What a machine has already: the files of its slots by digest.
//!
//! Nothing about a slot is believed: it is indexed by hashing what it holds now, and every chunk is
//! hashed once more when it is taken. A slot that has rotted or was half written gives what it can.
//! An index written at install time was dropped: it would be as old as the last lie of the disk.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kiln_erofs::{Image, Inode, Lender, format};

use crate::Error;
use crate::contents::{ChunkWriter, hex, sha256};
use crate::table::Chunk;
use crate::table::format::FILE_MAX;

/// Where a chunk lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    image: u8,
    length: u32,
    node: u64,
    start: u64,
}

/// Chunks of root images by their digests.
#[derive(Debug, Default)]
pub struct LocalContents {
    images: Vec<Image<File>>,
    chunks: HashMap<[u8; 32], Place>,
    /// Number of the image that the new root is written over.
    target: Option<u8>,
    lenders: Vec<Arc<Lender>>,
}

impl LocalContents {
    /// Nothing: everything will be fetched.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The contents of one root image, at the beginning of a file or partition.
    #[must_use]
    pub fn of_root(root: &File, threads: usize) -> Self {
        let mut contents = Self::none();
        contents.add_root(root, threads);
        contents
    }

    /// Adds the contents of another. What is no root image, or no longer, adds what can be read.
    pub fn add_root(&mut self, root: &File, threads: usize) {
        let Some(image) = root.try_clone().ok().and_then(|root| Image::open(root).ok()) else {
            return;
        };
        let Ok(number) = u8::try_from(self.images.len()) else { return };
        let mut files: Vec<Inode> = image
            .walk()
            .map_while(Result::ok)
            .map(|entry| entry.inode)
            .filter(|inode| inode.is(format::MODE_FILE) && (1..=FILE_MAX).contains(&inode.raw.size))
            .collect();
        // In the order of the disk; hard links once.
        files.sort_by_key(|inode| inode.node);
        files.dedup_by_key(|inode| inode.node);
        let next = AtomicUsize::new(0);
        let found = Mutex::new(&mut self.chunks);
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    while let Some(inode) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let chunks = chunks_of(&image, inode, number);
                        let mut found =
                            found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        for (digest, place) in chunks {
                            found.entry(digest).or_insert(place);
                        }
                    }
                });
            }
        });
        self.images.push(image);
    }

    /// Adds the contents of what the new root will be written over: they can be read only until then.
    /// To be called last, so that everything else is taken from elsewhere.
    pub fn add_target(&mut self, root: &File, threads: usize) {
        let number = self.images.len();
        self.add_root(root, threads);
        if self.images.len() > number {
            self.target = u8::try_from(number).ok();
        }
    }

    /// Whether a chunk is here, and only where the new root will be written.
    pub(super) fn is_passing(&self, chunk: &Chunk) -> bool {
        let place = self.chunks.get(&chunk.digest);
        place.is_some_and(|place| self.target == Some(place.image))
    }

    /// Adds what gives encoded contents as they are. It must not be where the new root goes.
    pub fn add_lender(&mut self, lender: Arc<Lender>) {
        self.lenders.push(lender);
    }

    /// All that give encoded contents.
    #[must_use]
    pub fn lenders(&self) -> &[Arc<Lender>] {
        &self.lenders
    }

    /// How many distinct chunks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Whether a chunk is here, or was when it was indexed.
    #[must_use]
    pub fn contains(&self, chunk: &Chunk) -> bool {
        self.chunks.get(&chunk.digest).is_some_and(|place| place.length == chunk.length)
    }

    /// A chunk, verified; `None` if it is not here.
    ///
    /// # Errors
    /// [`Error::Digest`] if it has changed since, and all of reading.
    pub fn read(&self, chunk: &Chunk) -> Result<Option<Vec<u8>>, Error> {
        let Some(place) = self.chunks.get(&chunk.digest) else { return Ok(None) };
        let Some(image) = self.images.get(usize::from(place.image)) else { return Ok(None) };
        if place.length != chunk.length {
            return Ok(None);
        }
        let inode = image.inode(place.node)?;
        let bytes = image.read_stretch(&inode, place.start, place.length as usize)?;
        let actual = sha256(&bytes);
        if actual != chunk.digest {
            let what = "a chunk of a slot".to_owned();
            let expected = hex(&chunk.digest);
            return Err(Error::Digest { what, expected, actual: hex(&actual) });
        }
        Ok(Some(bytes))
    }
}

/// The chunks of a file, as far as it can be read.
fn chunks_of(image: &Image<File>, inode: &Inode, number: u8) -> Vec<([u8; 32], Place)> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut writer = ChunkWriter::new(inode.raw.size, |chunk| {
        // Bounded by the longest chunk.
        let length = chunk.len() as u32;
        found.push((sha256(&chunk), Place { image: number, length, node: inode.node, start }));
        start += u64::from(length);
        Ok(())
    });
    if image.copy(inode, FILE_MAX, &mut writer).is_ok() {
        // The taker above cannot fail.
        let _ = writer.finish();
    }
    found
}
