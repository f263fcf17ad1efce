//! What came goes right into the new root: contents are put where the release says that they lie,
//! and a list of them lets an interrupted run go on from there.
//!
//! The release tells how many blocks each content has, and contents end an image; so all places are
//! known before anything was fetched. Nothing of that is believed: a content that takes other blocks
//! than it says is not put there, the layout fails for what lies elsewhere, what an earlier run put
//! there is decoded and compared by digest, and one hash proves the whole. What lies beside an inode
//! waits in the list, since it has no place yet.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_erofs::{ContentEncoder, Lender, PlacedContent, Profile};
use kiln_verity::decode_hex;

use super::Spool;
use crate::contents::{decode_frame, sha256};
use crate::table::{Chunk, Table, TableContent};
use crate::{Error, Release};

/// Name of the list in the spool's folder.
pub(super) const PLACED: &str = "placed";
/// First bytes of the list; the root hash of the release follows.
const MAGIC: &[u8; 8] = b"KILNPLC1";
/// Bytes of the list before its records.
const HEADER: u64 = 40;
/// Bytes in front of a record: its length and that of the tail behind it.
const LENGTHS: usize = 8;
/// Bytes behind them: their digest.
const DIGEST: usize = 32;
/// Longest record and longest tail in bytes: what a content of [`CONTENT_MAX`] can need.
const RECORD_MAX: u32 = 1 << 20;
/// Longest content that is put there at once, in bytes: it is in memory as it is encoded.
pub(super) const CONTENT_MAX: u64 = 16 << 20;
/// After so many bytes they are flushed: what a power cut can cost.
const FLUSH_EVERY: u64 = 16 << 20;
/// Bytes of a block of a root.
const BLOCK: u64 = kiln_verity::BLOCK as u64;

/// A root that contents are put into before it is written.
#[derive(Debug)]
pub(super) struct Placed {
    root: File,
    list: File,
    profile: Profile,
    /// First block and number of blocks by the content's place in the table.
    places: Vec<(u32, u32)>,
    state: Mutex<State>,
    /// One for each thread that ever needed one.
    encoders: Mutex<Vec<ContentEncoder>>,
}

#[derive(Debug)]
struct State {
    /// Where the next record goes.
    end: u64,
    contents: HashMap<[u8; 32], PlacedContent>,
    /// Where the frames of chunks lie whose contents are not whole, in bytes of the root.
    waiting: HashMap<[u8; 32], u64>,
    unflushed: u64,
}

impl Placed {
    /// Whether an interrupted run has put something there for this release.
    pub(super) fn is_begun(spool: &Spool, release: &Release) -> bool {
        let mut header = [0; HEADER as usize];
        let list = File::open(spool.path(PLACED));
        list.is_ok_and(|list| list.read_exact_at(&mut header, 0).is_ok())
            && header_of(release).is_ok_and(|expected| expected == header)
    }

    /// Forgets what an interrupted run has put there.
    pub(super) fn forget(spool: &Spool) -> Result<(), Error> {
        let path = spool.path(PLACED);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove {}", path.display()))(error))
            }
            _ => Ok(()),
        }
    }

    /// Takes up what an interrupted run has put into `root`. `places` are those of the table's contents.
    pub(super) fn open(
        spool: &Spool,
        release: &Release,
        profile: Profile,
        root: File,
        places: Vec<(u32, u32)>,
    ) -> Result<Self, Error> {
        let path = spool.path(PLACED);
        let failed = || Error::io(format!("use {}", path.display()));
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let list = options.open(&path).map_err(failed())?;
        if !Self::is_begun(spool, release) {
            list.set_len(0).map_err(failed())?;
            list.write_all_at(&header_of(release)?, 0).map_err(failed())?;
        }
        let (contents, waiting) = (HashMap::new(), HashMap::new());
        let state = State { end: HEADER, contents, waiting, unflushed: 0 };
        let (state, encoders) = (Mutex::new(state), Mutex::default());
        let placed = Self { root, list, profile, places, state, encoders };
        placed.resume().map_err(failed())?;
        Ok(placed)
    }

    /// Reads the list up to its first record that is not whole.
    fn resume(&self) -> io::Result<()> {
        let length = self.list.metadata()?.len();
        let mut state = self.lock();
        while let Some((bytes, record, tail)) = self.record(state.end, length) {
            let tail_at = state.end + (LENGTHS + record) as u64;
            let tail_at = if tail > 0 { u32::try_from(tail_at).unwrap_or(0) } else { 0 };
            let record = bytes.get(LENGTHS..LENGTHS + record).unwrap_or_default();
            if let Some(content) = PlacedContent::from_bytes(record, tail_at)
                && content.size() <= CONTENT_MAX
                && (tail == 0) == (tail_at == 0)
                && content.is_there(&self.root, &self.list, self.profile.codec())
            {
                state.contents.insert(*content.digest(), content);
            }
            state.end += (bytes.len() + DIGEST) as u64;
        }
        Ok(())
    }

    /// The record at this place without its digest, and the lengths of its parts.
    fn record(&self, at: u64, end: u64) -> Option<(Vec<u8>, usize, usize)> {
        let mut lengths = [0; LENGTHS];
        self.list.read_exact_at(&mut lengths, at).ok()?;
        let (record, tail) = lengths.split_first_chunk::<4>()?;
        let record = u32::from_le_bytes(*record);
        let tail = u32::from_le_bytes(*tail.first_chunk::<4>()?);
        let length = LENGTHS + record as usize + tail as usize;
        if record.max(tail) > RECORD_MAX || at + (length + DIGEST) as u64 > end {
            return None;
        }
        let mut bytes = vec![0; length + DIGEST];
        self.list.read_exact_at(&mut bytes, at).ok()?;
        let digest = bytes.split_off(length);
        (sha256(&bytes)[..] == digest[..]).then_some((bytes, record as usize, tail as usize))
    }

    /// How many contents are there.
    pub(super) fn len(&self) -> u64 {
        self.lock().contents.len() as u64
    }

    /// Whether a content is there.
    pub(super) fn contains(&self, content: &TableContent) -> bool {
        let state = self.lock();
        state.contents.get(&content.digest).is_some_and(|placed| placed.size() == content.size)
    }

    /// The bytes of a content that is there.
    pub(super) fn read(&self, digest: &[u8; 32]) -> Option<Vec<u8>> {
        let content = self.lock().contents.get(digest).cloned()?;
        let bytes = content.read(&self.root, &self.list, self.profile.codec())?;
        (sha256(&bytes) == *digest).then_some(bytes)
    }

    /// Puts a content of the table there; `false` if it is another one, or not as long as the release
    /// says. It has what waits there read wholly before anything is written.
    pub(super) fn put(
        &self,
        number: usize,
        content: &TableContent,
        bytes: &mut dyn Read,
    ) -> io::Result<bool> {
        let Some(&(first_block, blocks)) = self.places.get(number) else { return Ok(false) };
        let kept = self.encoders.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut encoder = match kept {
            Some(encoder) => encoder,
            None => ContentEncoder::new(self.profile.codec())?,
        };
        let encoded = encoder.encode(content.size, bytes)?;
        self.encoders.lock().unwrap_or_else(PoisonError::into_inner).push(encoder);
        if encoded.blocks() != blocks || *encoded.digest() != content.digest {
            return Ok(false);
        }
        encoded.write(&self.root, first_block)?;
        let mut state = self.lock();
        // The record does not hold where its tail is, so its length is known before that is.
        let record = encoded.placed(first_block, 0).to_bytes();
        let Ok(at) = u32::try_from(state.end + (LENGTHS + record.len()) as u64) else {
            return Ok(false);
        };
        let tail = encoded.tail();
        let placed = encoded.placed(first_block, if tail.is_empty() { 0 } else { at });
        let mut entry = (record.len() as u32).to_le_bytes().to_vec();
        entry.extend((tail.len() as u32).to_le_bytes());
        entry.extend(record);
        entry.extend(tail);
        entry.extend(sha256(&entry));
        self.list.write_all_at(&entry, state.end)?;
        state.end += entry.len() as u64;
        state.contents.insert(content.digest, placed);
        state.unflushed += u64::from(blocks) * BLOCK + entry.len() as u64;
        if state.unflushed > FLUSH_EVERY {
            state.unflushed = 0;
            drop(state);
            self.root.sync_data()?;
            self.list.sync_data()?;
        }
        Ok(true)
    }

    /// Lets the frame of a chunk wait in the blocks where its content will lie, which are written in any
    /// case; `false` if there is no room. `before` are the bytes of frames before it in the content.
    pub(super) fn wait(
        &self,
        number: usize,
        before: u64,
        chunk: &Chunk,
        frame: &[u8],
    ) -> io::Result<bool> {
        let Some(place) = self.waiting_place(number, before, chunk) else { return Ok(false) };
        self.root.write_all_at(frame, place)?;
        self.lock().waiting.insert(chunk.digest, place);
        Ok(true)
    }

    /// A chunk that waits, verified.
    pub(super) fn waiting(&self, chunk: &Chunk) -> Option<Vec<u8>> {
        let place = self.lock().waiting.get(&chunk.digest).copied()?;
        self.frame_at(chunk, place)
    }

    fn frame_at(&self, chunk: &Chunk, place: u64) -> Option<Vec<u8>> {
        // Bounded by the table's reader.
        let mut frame = vec![0; chunk.frame_length as usize];
        self.root.read_exact_at(&mut frame, place).ok()?;
        decode_frame(&frame, chunk.length, &chunk.digest).ok()
    }

    fn waiting_place(&self, number: usize, before: u64, chunk: &Chunk) -> Option<u64> {
        let &(first_block, blocks) = self.places.get(number)?;
        let end = before.checked_add(u64::from(chunk.frame_length))?;
        let fits = end <= u64::from(blocks) * BLOCK;
        fits.then(|| u64::from(first_block) * BLOCK + before)
    }

    /// Finds the chunks that an interrupted run has let wait.
    pub(super) fn find_waiting(&self, table: &Table) {
        for (number, content) in table.contents.iter().enumerate() {
            let chunks = table.chunks.get(content.chunks.clone()).unwrap_or_default();
            if chunks.len() < 2 || content.size > CONTENT_MAX || self.contains(content) {
                continue;
            }
            let mut before = 0;
            for chunk in chunks {
                if let Some(place) = self.waiting_place(number, before, chunk)
                    && self.frame_at(chunk, place).is_some()
                {
                    self.lock().waiting.insert(chunk.digest, place);
                }
                before += u64::from(chunk.frame_length);
            }
        }
    }

    /// Whether a chunk waits.
    pub(super) fn is_waiting(&self, chunk: &Chunk) -> bool {
        self.lock().waiting.contains_key(&chunk.digest)
    }

    /// What is there, for the encoder that makes the image around it.
    pub(super) fn lender(&self) -> Result<Arc<Lender>, Error> {
        let failed = || Error::io("open the new root");
        let root = self.root.try_clone().map_err(failed())?;
        let list = self.list.try_clone().map_err(failed())?;
        let contents: Vec<PlacedContent> = self.lock().contents.values().cloned().collect();
        Ok(Arc::new(Lender::placed(root, list, self.profile, &contents)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves it consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn header_of(release: &Release) -> Result<[u8; HEADER as usize], Error> {
    let mut header = [0; HEADER as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..].copy_from_slice(&decode_hex(&release.root.hash)?);
    Ok(header)
}

/// First block and number of blocks of each content: they end the image, one behind the other. `None`
/// if they are more than it has.
pub(super) fn places(blocks: &[u32], data_blocks: u64) -> Option<Vec<(u32, u32)>> {
    let total: u64 = blocks.iter().map(|&blocks| u64::from(blocks)).sum();
    let mut next = data_blocks.checked_sub(total)?;
    let mut places = Vec::with_capacity(blocks.len());
    for &count in blocks {
        places.push((u32::try_from(next).ok()?, count));
        next += u64::from(count);
    }
    Some(places)
}

/// Which contents go there as they come: each that is missing, with how many of its chunks are.
#[derive(Debug, Default)]
pub(super) struct Coming {
    /// Content by chunk; a chunk of several contents is not in it.
    of_chunk: HashMap<[u8; 32], usize>,
    /// Chunks still to come by content.
    missing: Mutex<HashMap<usize, usize>>,
}

impl Coming {
    /// `is_wanted` says which contents may go there, `is_missing` which chunks are to come.
    pub(super) fn new(
        table: &Table,
        is_wanted: impl Fn(&TableContent) -> bool,
        is_missing: impl Fn(&[u8; 32]) -> bool,
    ) -> Self {
        let mut uses: HashMap<[u8; 32], usize> = HashMap::new();
        for chunk in &table.chunks {
            *uses.entry(chunk.digest).or_default() += 1;
        }
        let (mut of_chunk, mut missing) = (HashMap::new(), HashMap::new());
        for (number, content) in table.contents.iter().enumerate() {
            let chunks = table.chunks.get(content.chunks.clone()).unwrap_or_default();
            let is_own = chunks.iter().all(|chunk| uses.get(&chunk.digest) == Some(&1));
            let count = chunks.iter().filter(|chunk| is_missing(&chunk.digest)).count();
            if is_own && count > 0 && content.size <= CONTENT_MAX && is_wanted(content) {
                of_chunk.extend(chunks.iter().map(|chunk| (chunk.digest, number)));
                missing.insert(number, count);
            }
        }
        Self { of_chunk, missing: Mutex::new(missing) }
    }

    /// The content of a chunk that came.
    pub(super) fn content(&self, digest: &[u8; 32]) -> Option<usize> {
        self.of_chunk.get(digest).copied()
    }

    /// Counts a chunk of a content; whether it was the last one.
    pub(super) fn came(&self, content: usize) -> bool {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = missing.get_mut(&content) else { return false };
        *count = count.saturating_sub(1);
        *count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn contents_end_the_image() {
        assert_eq!(places(&[2, 0, 3], 20).unwrap(), [(15, 2), (17, 0), (17, 3)]);
        assert_eq!(places(&[], 20).unwrap(), []);
        assert_eq!(places(&[20, 1], 20), None);
        assert_eq!(places(&[1], 1 << 33), None);
    }
}
