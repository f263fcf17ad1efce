//! What was fetched, on disk until the release stands: an interrupted download goes on.
//!
//! One file of frames, whole ones and those that are coming; pieces of tables and halves of sections
//! as files of their own. Everything whole is verified before it is written and again when it is
//! read, so a power cut in the middle costs what was being written and nothing else, and the files
//! need no order of flushes. Room of frames that are needed no longer is used again, so that what
//! goes on into a slot at once costs a few megabytes here and not the whole release; appending alone
//! was dropped, it wrote every update once more. Pieces stay when all else goes: the next release
//! shares most of them.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use kiln_registry::Digest;

use super::placed::PLACED;
use super::section::Section;
use crate::Error;
use crate::contents::format::{CHUNK_MAX, frame_max};
use crate::contents::{decode_frame, hex, sha256};
use crate::table::Chunk;
use crate::table::format::PIECE_MAX;

/// Name of the file of frames.
const FRAMES: &str = "frames";
/// Name of the folder of pieces.
const PIECES: &str = "pieces";
/// First bytes of a record in use.
const MAGIC: &[u8; 8] = b"KILNFRM1";
/// Bytes in front of each frame: [`MAGIC`], digest of the chunk, its length, length of the frame, bytes
/// of the frame that are there.
const RECORD: usize = 52;
/// Place in a record of the bytes that are there.
const HAVE: u64 = 48;
/// Records begin at multiples of this many bytes: a page, so that two never share one.
const UNIT: u64 = 4096;
/// After so many bytes they are flushed: what a power cut can cost.
const FLUSH_EVERY: u64 = 16 << 20;

/// A folder of what was fetched, locked while it is open.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    frames: File,
    index: HashMap<[u8; 32], Place>,
    room: Room,
    unflushed: u64,
    written: u64,
}

/// A frame, or the beginning of one.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    length: u32,
    frame_length: u32,
    have: u32,
}

impl Place {
    fn is_whole(&self) -> bool {
        self.have == self.frame_length
    }

    /// Of what chunk it is.
    fn fits(&self, chunk: &Chunk) -> bool {
        self.length == chunk.length && (self.is_whole() || self.frame_length == chunk.frame_length)
    }
}

impl Spool {
    /// Opens the folder, which is made if missing, and reads what an interrupted run left. Waits
    /// for another run to end.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let failed = |what: &str| Error::io(format!("{what} {}", folder.display()));
        fs::create_dir_all(folder.join(PIECES)).map_err(failed("make the folder"))?;
        let frames = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(FRAMES))
            .map_err(failed("open the frames of"))?;
        frames.lock().map_err(failed("lock"))?;
        let (index, room) = (HashMap::new(), Room::default());
        let folder_path = folder.to_owned();
        let mut spool = Self { folder: folder_path, frames, index, room, unflushed: 0, written: 0 };
        spool.scan().map_err(failed("read the frames of"))?;
        Ok(spool)
    }

    /// Takes up what is whole, and what came of the rest. Room that is used again leaves parts of
    /// older records, so every place where one can begin is looked at.
    fn scan(&mut self) -> io::Result<()> {
        let end = self.frames.metadata()?.len();
        let mut at = 0;
        while at < end {
            match self.record(at) {
                Some((digest, place)) if !self.index.contains_key(&digest) => {
                    let units = units(place.frame_length);
                    self.room.take(at / UNIT, units);
                    self.index.insert(digest, place);
                    at += units * UNIT;
                }
                _ => at += UNIT,
            }
        }
        Ok(())
    }

    /// The record at this place, if it is one that [`Self::begin`] writes and what is there is sound.
    fn record(&self, at: u64) -> Option<([u8; 32], Place)> {
        let mut header = [0; RECORD];
        self.frames.read_exact_at(&mut header, at).ok()?;
        let digest = *header.get(8..40)?.first_chunk::<32>()?;
        let number = |at: usize| {
            header.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
        };
        let (length, frame_length, have) = (number(40)?, number(44)?, number(48)?);
        let is_sound = header.starts_with(MAGIC)
            && (1..=CHUNK_MAX).contains(&(length as usize))
            && u64::from(frame_length) <= frame_max(length)
            && have <= frame_length;
        let place = Place { offset: at + RECORD as u64, length, frame_length, have };
        let bytes = is_sound.then(|| self.bytes_of(&place).ok()).flatten()?;
        // What is not whole has no digest yet; it is compared when the rest is there.
        (!place.is_whole() || decode_frame(&bytes, length, &digest).is_ok())
            .then_some((digest, place))
    }

    fn bytes_of(&self, place: &Place) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; place.have as usize];
        self.frames.read_exact_at(&mut bytes, place.offset)?;
        Ok(bytes)
    }

    /// Whether a chunk is here.
    #[must_use]
    pub fn contains(&self, chunk: &Chunk) -> bool {
        let place = self.index.get(&chunk.digest);
        place.is_some_and(|place| place.is_whole() && place.fits(chunk))
    }

    /// Bytes of the beginning of a chunk's frame that are here, if it is not whole.
    pub(super) fn begun(&self, chunk: &Chunk) -> u32 {
        let place = self.index.get(&chunk.digest).filter(|place| !place.is_whole());
        place.filter(|place| place.fits(chunk)).map_or(0, |place| place.have)
    }

    /// The beginning of a chunk's frame, not verified; empty if there is none.
    pub(super) fn beginning(&self, chunk: &Chunk) -> io::Result<Vec<u8>> {
        let place = self.index.get(&chunk.digest).filter(|place| !place.is_whole());
        place.filter(|place| place.fits(chunk)).map_or(Ok(Vec::new()), |place| self.bytes_of(place))
    }

    /// Makes sure that this beginning of a chunk's frame is kept, of which earlier calls have written
    /// some.
    pub(super) fn begin(&mut self, chunk: &Chunk, frame: &[u8]) -> io::Result<()> {
        if self.contains(chunk) {
            return Ok(());
        }
        let place = match self.index.get(&chunk.digest) {
            Some(place) if place.fits(chunk) => *place,
            _ => {
                self.forget(chunk)?;
                let at = self.room.allocate(units(chunk.frame_length)) * UNIT;
                let mut header = MAGIC.to_vec();
                header.extend(chunk.digest);
                header.extend(chunk.length.to_le_bytes());
                header.extend(chunk.frame_length.to_le_bytes());
                header.extend(0_u32.to_le_bytes());
                self.frames.write_all_at(&header, at)?;
                let offset = at + RECORD as u64;
                let (length, frame_length) = (chunk.length, chunk.frame_length);
                Place { offset, length, frame_length, have: 0 }
            }
        };
        let fresh = frame.get(place.have as usize..).unwrap_or_default();
        self.frames.write_all_at(fresh, place.offset + u64::from(place.have))?;
        // Bounded by the frame's length.
        let have = place.have + fresh.len() as u32;
        let header = place.offset - RECORD as u64;
        self.frames.write_all_at(&have.to_le_bytes(), header + HAVE)?;
        self.index.insert(chunk.digest, Place { have, ..place });
        self.written += fresh.len() as u64;
        self.unflushed += fresh.len() as u64;
        if self.unflushed > FLUSH_EVERY {
            self.frames.sync_data()?;
            self.unflushed = 0;
        }
        Ok(())
    }

    /// Keeps the frame of a chunk; it must have been verified.
    pub(super) fn put(&mut self, chunk: &Chunk, frame: &[u8]) -> io::Result<()> {
        self.begin(chunk, frame)
    }

    /// Gives up a chunk's room.
    pub(super) fn forget(&mut self, chunk: &Chunk) -> io::Result<()> {
        let Some(place) = self.index.remove(&chunk.digest) else { return Ok(()) };
        let at = place.offset - RECORD as u64;
        self.room.give(at / UNIT, units(place.frame_length));
        // So that it is no record for whoever scans.
        self.frames.write_all_at(&[0; MAGIC.len()], at)
    }

    /// A chunk, verified; `None` if it is not here.
    ///
    /// # Errors
    /// [`Error::Digest`] or [`Error::Malformed`] if the disk lies, [`Error::Io`].
    pub fn read(&self, chunk: &Chunk) -> Result<Option<Vec<u8>>, Error> {
        let Some(place) = self.index.get(&chunk.digest).filter(|place| place.is_whole()) else {
            return Ok(None);
        };
        let frame = self
            .bytes_of(place)
            .map_err(Error::io(format!("read the frames of {}", self.folder.display())))?;
        decode_frame(&frame, chunk.length, &chunk.digest).map(Some)
    }

    /// Bytes of frames that were written since it was opened.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.written
    }

    /// A file of this folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn piece_path(&self, digest: &[u8; 32]) -> PathBuf {
        self.folder.join(PIECES).join(hex(digest))
    }

    /// A piece of a table, verified; what is damaged counts as missing.
    pub(super) fn piece(&self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, Error> {
        let path = self.piece_path(digest);
        let mut bytes = Vec::new();
        let read = File::open(&path)
            .and_then(|file| file.take(u64::from(PIECE_MAX)).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(Some(bytes).filter(|bytes| sha256(bytes) == *digest)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { doing: format!("read {}", path.display()), source }),
        }
    }

    pub(super) fn put_piece(&self, digest: &[u8; 32], bytes: &[u8]) -> Result<(), Error> {
        let path = self.piece_path(digest);
        fs::write(&path, bytes).map_err(Error::io(format!("write {}", path.display())))
    }

    /// Removes all pieces but these.
    pub(super) fn keep_pieces(&self, keep: impl Iterator<Item = [u8; 32]>) -> Result<(), Error> {
        let keep: BTreeSet<String> = keep.map(|digest| hex(&digest)).collect();
        self.remove(&self.folder.join(PIECES), |name| !keep.contains(name))
    }

    /// A section of a boot file, with what there is of it.
    pub(super) fn section(&self, digest: Digest, length: u64) -> Result<Section, Error> {
        Section::open(self.folder.join(format!("section-{}", digest.hex())), digest, length)
    }

    /// Removes what the release needed, when it stands. Pieces of its table stay.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear(&mut self) -> Result<(), Error> {
        let doing = format!("empty {}", self.folder.display());
        self.frames.set_len(0).map_err(Error::io(doing))?;
        self.index.clear();
        self.room = Room::default();
        self.unflushed = 0;
        self.remove(&self.folder, |name| name.starts_with("section-") || name == PLACED)
    }

    fn remove(&self, folder: &Path, which: impl Fn(&str) -> bool) -> Result<(), Error> {
        let failed = || Error::io(format!("clean {}", folder.display()));
        for entry in fs::read_dir(folder).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            if entry.file_name().to_str().is_none_or(&which) {
                fs::remove_file(entry.path()).map_err(failed())?;
            }
        }
        Ok(())
    }
}

/// Units that a frame with its header takes.
fn units(frame_length: u32) -> u64 {
    (RECORD as u64 + u64::from(frame_length)).div_ceil(UNIT)
}

/// Which units of the file are in use.
#[derive(Debug, Default)]
struct Room {
    used: Vec<bool>,
    /// All units below are in use.
    lowest: usize,
}

impl Room {
    /// The first place with so many free units; they are in use then.
    fn allocate(&mut self, units: u64) -> u64 {
        // A frame has at most a few hundred units.
        let wanted = units as usize;
        let mut begin = self.lowest;
        let mut free = 0;
        for at in self.lowest..self.used.len() {
            free = if self.used.get(at) == Some(&false) { free + 1 } else { 0 };
            if free == wanted {
                break;
            }
            if free == 0 {
                begin = at + 1;
            }
        }
        self.take(begin as u64, units);
        begin as u64
    }

    fn take(&mut self, begin: u64, units: u64) {
        let (begin, end) = (begin as usize, (begin + units) as usize);
        if self.used.len() < end {
            self.used.resize(end, false);
        }
        self.used.iter_mut().take(end).skip(begin).for_each(|used| *used = true);
        if begin <= self.lowest {
            let rest = self.used.iter().skip(self.lowest);
            self.lowest += rest.take_while(|used| **used).count();
        }
    }

    fn give(&mut self, begin: u64, units: u64) {
        let (begin, end) = (begin as usize, (begin + units) as usize);
        self.used.iter_mut().take(end).skip(begin).for_each(|used| *used = false);
        self.lowest = self.lowest.min(begin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u8, length: usize) -> (Chunk, Vec<u8>) {
        let mut state = u64::from(number) + 1;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(length)
        .collect();
        let frame = zstd::bulk::compress(&bytes, 1).unwrap();
        let chunk = Chunk {
            digest: sha256(&bytes),
            length: length as u32,
            frame_offset: 0,
            frame_length: frame.len() as u32,
        };
        (chunk, frame)
    }

    #[test]
    fn room_is_used_again_and_nothing_that_is_kept_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let chunks: Vec<_> =
            (0..60_u8).map(|number| chunk(number, 1 + 977 * usize::from(number % 23))).collect();
        let mut spool = Spool::open(folder.path()).unwrap();
        let mut kept: Vec<usize> = Vec::new();
        for (number, (chunk, frame)) in chunks.iter().enumerate() {
            spool.put(chunk, frame).unwrap();
            kept.push(number);
            if kept.len() > 7 {
                let gone = kept.remove(number * 5 % kept.len());
                spool.forget(&chunks[gone].0).unwrap();
                assert!(!spool.contains(&chunks[gone].0));
            }
        }
        let whole: usize = chunks.iter().map(|(_, frame)| frame.len()).sum();
        let length = folder.path().join(FRAMES).metadata().unwrap().len();
        assert!(length < whole as u64 / 2, "{length} of {whole}");
        drop(spool);
        let spool = Spool::open(folder.path()).unwrap();
        for (number, (chunk, _)) in chunks.iter().enumerate() {
            let bytes = spool.read(chunk).unwrap();
            assert_eq!(bytes.is_some(), kept.contains(&number), "{number}");
            assert!(bytes.is_none_or(|bytes| sha256(&bytes) == chunk.digest));
        }
    }

    #[test]
    fn the_beginning_of_a_frame_is_there_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let (one, frame) = chunk(1, 50_000);
        let (other, other_frame) = chunk(2, 9000);
        let mut spool = Spool::open(folder.path()).unwrap();
        spool.begin(&one, &frame[..700]).unwrap();
        spool.put(&other, &other_frame).unwrap();
        spool.begin(&one, &frame[..30_000]).unwrap();
        drop(spool);
        let mut spool = Spool::open(folder.path()).unwrap();
        assert_eq!((spool.begun(&one), spool.begun(&other)), (30_000, 0));
        assert!(!spool.contains(&one) && spool.read(&one).unwrap().is_none());
        assert!(spool.beginning(&one).unwrap() == frame[..30_000]);
        spool.put(&one, &frame).unwrap();
        assert_eq!(spool.begun(&one), 0);
        drop(spool);
        let mut spool = Spool::open(folder.path()).unwrap();
        assert!(spool.contains(&one) && spool.contains(&other));
        // Another release has the same chunk in another frame.
        let same = Chunk { frame_length: one.frame_length + 1, ..one };
        assert!(spool.contains(&same));
        spool.forget(&same).unwrap();
        assert!(!spool.contains(&one));
    }

    #[test]
    fn damaged_records_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let chunks: Vec<_> = (0..4).map(|number| chunk(number, 6000)).collect();
        let mut spool = Spool::open(folder.path()).unwrap();
        chunks.iter().for_each(|(chunk, frame)| spool.put(chunk, frame).unwrap());
        let place = spool.index[&chunks[1].0.digest].offset;
        spool.frames.write_all_at(&[9; 9], place + 400).unwrap();
        let place = spool.index[&chunks[2].0.digest].offset - RECORD as u64;
        spool.frames.write_all_at(&[9; 4], place + 44).unwrap();
        drop(spool);
        let spool = Spool::open(folder.path()).unwrap();
        let found: Vec<bool> = chunks.iter().map(|(chunk, _)| spool.contains(chunk)).collect();
        assert_eq!(found, [true, false, false, true]);
    }
}
