//! A section of a boot file on its way: a file that holds its beginning.
//!
//! A section has a digest as a whole and no other, so it is compared when it is whole; a wrong one is
//! dropped, so that the next run fetches it anew.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use kiln_registry::{Answer, Digest, RangeSink};

use crate::Error;

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
    /// Opens the file, which is made if missing.
    pub(super) fn open(path: PathBuf, digest: Digest, length: u64) -> Result<Self, Error> {
        let doing = || format!("open {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io(doing()))?;
        let have = file.metadata().map_err(Error::io(doing()))?.len();
        let mut section = Self { file, path, digest, length, have, skip: 0 };
        if have > length || (have == length && section.check().is_err()) {
            section.reset()?;
        }
        Ok(section)
    }

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
