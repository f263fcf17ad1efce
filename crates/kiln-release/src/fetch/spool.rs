//! What was fetched, on disk until the release stands: an interrupted download goes on.
//!
//! One file of frames, appended to; pieces of tables and halves of sections as files of their own.
//! Everything is verified before it is written and again when it is read, so a power cut in the
//! middle costs what was being written and nothing else, and the files need no order of flushes.
//! Pieces stay when all else goes: the next release shares most of them.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use kiln_registry::{Answer, Digest, RangeSink};

use crate::Error;
use crate::contents::format::{CHUNK_MAX, frame_max};
use crate::contents::{decode_frame, hex, sha256};
use crate::table::Chunk;
use crate::table::format::PIECE_MAX;

/// Name of the file of frames.
const FRAMES: &str = "frames";
/// Name of the folder of pieces.
const PIECES: &str = "pieces";
/// Bytes in front of each frame: digest of the chunk, its length, length of the frame.
const RECORD: usize = 40;
/// After so many bytes they are flushed: what a power cut can cost.
const FLUSH_EVERY: u64 = 16 << 20;

/// A folder of what was fetched, locked while it is open.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    frames: File,
    index: HashMap<[u8; 32], Place>,
    end: u64,
    flushed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    length: u32,
    frame_length: u32,
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
        let mut spool =
            Self { folder: folder.to_owned(), frames, index: HashMap::new(), end: 0, flushed: 0 };
        spool.scan().map_err(failed("read the frames of"))?;
        Ok(spool)
    }

    /// Takes up what is whole, and cuts the rest off.
    fn scan(&mut self) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(1 << 20, &self.frames);
        let mut header = [0; RECORD];
        let mut frame = Vec::new();
        while reader.read_exact(&mut header).is_ok() {
            let mut digest = [0; 32];
            digest.copy_from_slice(&header[..32]);
            let number = |at: usize| {
                u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
            };
            let (length, frame_length) = (number(32), number(36));
            let is_sound =
                length as usize <= CHUNK_MAX && u64::from(frame_length) <= frame_max(length);
            if !is_sound {
                break;
            }
            frame.resize(frame_length as usize, 0);
            if reader.read_exact(&mut frame).is_err()
                || decode_frame(&frame, length, &digest).is_err()
            {
                break;
            }
            let offset = self.end + RECORD as u64;
            self.index.insert(digest, Place { offset, length, frame_length });
            self.end = offset + u64::from(frame_length);
        }
        self.flushed = self.end;
        self.frames.set_len(self.end)
    }

    /// Whether a chunk is here.
    #[must_use]
    pub fn contains(&self, chunk: &Chunk) -> bool {
        self.index.get(&chunk.digest).is_some_and(|place| place.length == chunk.length)
    }

    /// Keeps the frame of a chunk; it must have been verified.
    pub(super) fn put(&mut self, chunk: &Chunk, frame: &[u8]) -> io::Result<()> {
        if self.contains(chunk) {
            return Ok(());
        }
        let frame_length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        let mut record = Vec::with_capacity(RECORD + frame.len());
        record.extend(chunk.digest);
        record.extend(chunk.length.to_le_bytes());
        record.extend(frame_length.to_le_bytes());
        record.extend(frame);
        self.frames.write_all_at(&record, self.end)?;
        let offset = self.end + RECORD as u64;
        self.index.insert(chunk.digest, Place { offset, length: chunk.length, frame_length });
        self.end += record.len() as u64;
        if self.end - self.flushed > FLUSH_EVERY {
            self.frames.sync_data()?;
            self.flushed = self.end;
        }
        Ok(())
    }

    /// A chunk, verified; `None` if it is not here.
    ///
    /// # Errors
    /// [`Error::Digest`] or [`Error::Malformed`] if the disk lies, [`Error::Io`].
    pub fn read(&self, chunk: &Chunk) -> Result<Option<Vec<u8>>, Error> {
        let Some(place) = self.index.get(&chunk.digest) else { return Ok(None) };
        let mut frame = vec![0; place.frame_length as usize];
        self.frames
            .read_exact_at(&mut frame, place.offset)
            .map_err(Error::io(format!("read the frames of {}", self.folder.display())))?;
        decode_frame(&frame, chunk.length, &chunk.digest).map(Some)
    }

    /// Bytes of frames that are kept.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end
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
        let path = self.folder.join(format!("section-{}", digest.hex()));
        let doing = || format!("open {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io(doing()))?;
        let have = file.metadata().map_err(Error::io(doing()))?.len();
        let mut section = Section { file, path, digest, length, have, skip: 0 };
        if have > length || (have == length && section.check().is_err()) {
            section.reset()?;
        }
        Ok(section)
    }

    /// Removes what the release needed, when it stands. Pieces of its table stay.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear(&mut self) -> Result<(), Error> {
        let doing = format!("empty {}", self.folder.display());
        self.frames.set_len(0).map_err(Error::io(doing))?;
        self.index.clear();
        self.end = 0;
        self.flushed = 0;
        self.remove(&self.folder, |name| name.starts_with("section-"))
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

/// A section of a boot file under way.
#[derive(Debug)]
pub(super) struct Section {
    file: File,
    path: PathBuf,
    digest: Digest,
    length: u64,
    have: u64,
    skip: u64,
}

impl Section {
    fn reset(&mut self) -> Result<(), Error> {
        self.have = 0;
        let doing = format!("empty {}", self.path.display());
        self.file.set_len(0).map_err(Error::io(doing))
    }

    fn check(&self) -> Result<Vec<u8>, Error> {
        let doing = || format!("read {}", self.path.display());
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, 0).map_err(Error::io(doing()))?;
        let actual = Digest::of(&bytes);
        if actual != self.digest {
            let (expected, actual) = (self.digest.hex(), actual.hex());
            let what = "a section of the boot file".to_owned();
            return Err(Error::Digest { what, expected, actual });
        }
        Ok(bytes)
    }

    /// The whole section, verified. A wrong one is dropped, so that the next run fetches it anew.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, Error> {
        let outcome = self.check();
        if outcome.is_err() {
            self.reset()?;
        }
        outcome
    }
}

impl RangeSink for Section {
    fn wanted(&self) -> std::ops::Range<u64> {
        self.have..self.length
    }

    fn begin(&mut self, offset: u64, _: Answer) {
        self.skip = self.have.saturating_sub(offset);
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        let left = usize::try_from(self.length - self.have).unwrap_or(usize::MAX);
        let fresh = &bytes[skipped..];
        let fresh = &fresh[..fresh.len().min(left)];
        self.file.write_all_at(fresh, self.have)?;
        self.have += fresh.len() as u64;
        Ok(())
    }
}
