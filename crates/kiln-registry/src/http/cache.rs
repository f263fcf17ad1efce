//! Downloaded blobs as files named by their digest.
//!
//! A finished blob appears only by rename, after its digest was right and its bytes were synced. An
//! unfinished one stays, so that the next run resumes it; a lock keeps two runs from writing the
//! same. A kept file is hashed before its first use in a run: what turns out to be damaged is
//! dropped and downloaded again, which is impossible once a reader has seen half of it. Leaving
//! that to the verification of the stream, which still happens, was dropped: it can only report.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blob::{Blob, check_length};
use crate::digest::Hasher;
use crate::{Digest, Error};

/// Bytes read at once while a resumed file is hashed.
const BUFFER_BYTES: usize = 512 << 10;

/// Where blobs are kept.
#[derive(Debug)]
pub(super) struct Cache {
    /// The folder, or unlinked files for this image alone.
    folder: Option<PathBuf>,
    unlinked: Mutex<BTreeMap<Digest, Blob>>,
    /// Files in the folder that this run has hashed or written.
    sound: Mutex<BTreeSet<Digest>>,
}

impl Cache {
    pub(super) fn new(folder: Option<&Path>) -> Result<Self, Error> {
        let folder = folder.map(|folder| folder.join("sha256"));
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        Ok(Self { folder, unlinked: Mutex::default(), sound: Mutex::default() })
    }

    /// A finished blob of that size. Damaged files are removed and count as missing.
    pub(super) fn find(&self, digest: Digest, size: u64) -> Result<Option<Blob>, Error> {
        let Some(folder) = &self.folder else {
            let blobs = self.unlinked.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(blobs.get(&digest).filter(|blob| blob.length == size).cloned());
        };
        let path = folder.join(digest.hex());
        let blob = match Blob::open_file(&path) {
            Ok(blob) => blob,
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if blob.length == size {
            // Not held while hashing: several layers are brought here at once.
            let is_known = self.sound().contains(&digest);
            if is_known || blob.digest()? == digest {
                self.sound().insert(digest);
                return Ok(Some(blob));
            }
        }
        // Another run may have put a sound file in its place by now. Then that is fetched once
        // more, and who has it open keeps it.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove the damaged", &path)(error))
            }
            _ => Ok(None),
        }
    }

    fn sound(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.sound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a document that is in memory already.
    pub(super) fn insert(&self, digest: Digest, bytes: &[u8]) -> Result<Blob, Error> {
        if let Some(blob) = self.find(digest, bytes.len() as u64)? {
            return Ok(blob);
        }
        let mut partial = self.begin(digest, bytes.len() as u64)?;
        partial.reset()?;
        partial.append(bytes)?;
        partial.check()?;
        self.finish(partial)
    }

    /// Opens the unfinished file of a blob, with what an earlier attempt left in it.
    pub(super) fn begin(&self, digest: Digest, size: u64) -> Result<Partial, Error> {
        let Some(folder) = &self.folder else {
            let path = PathBuf::from("a temporary file");
            let file = tempfile::tempfile().map_err(Error::io("create", &path))?;
            return Ok(Partial::new(file, path, digest, size));
        };
        let path = folder.join(format!("{}.partial", digest.hex()));
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(Error::io("create", &path))?;
            file.lock().map_err(Error::io("lock", &path))?;
            // Who held the lock may have renamed the file to its final name meanwhile.
            let locked = file.metadata().map_err(Error::io("inspect", &path))?;
            if path.metadata().is_ok_and(|named| named.ino() == locked.ino()) {
                let mut partial = Partial::new(file, path, digest, size);
                partial.resume()?;
                return Ok(partial);
            }
        }
    }

    /// Gives a checked blob its name.
    pub(super) fn finish(&self, partial: Partial) -> Result<Blob, Error> {
        let Partial { file, path, digest, size, .. } = partial;
        let Some(folder) = &self.folder else {
            let blob = Blob::new(Arc::new(file), &path, 0, size);
            let mut blobs = self.unlinked.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(blobs.entry(digest).or_insert(blob).clone());
        };
        file.sync_all().map_err(Error::io("sync", &path))?;
        let name = folder.join(digest.hex());
        std::fs::rename(&path, &name).map_err(Error::io("rename to", &name))?;
        let folder = File::open(folder).map_err(Error::io("open", folder))?;
        folder.sync_all().map_err(Error::io("sync", &name))?;
        self.sound().insert(digest);
        Ok(Blob::new(Arc::new(file), &name, 0, size))
    }
}

/// A download under way.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    pub(super) digest: Digest,
    /// Expected bytes.
    pub(super) size: u64,
    /// Bytes there are.
    pub(super) have: u64,
    /// Most bytes there ever were: what counts as progress.
    pub(super) furthest: u64,
    hasher: Hasher,
}

impl Partial {
    fn new(file: File, path: PathBuf, digest: Digest, size: u64) -> Self {
        Self { file, path, digest, size, have: 0, furthest: 0, hasher: Hasher::default() }
    }

    pub(super) fn describe(&self) -> String {
        format!("blob {} in {}", self.digest, self.path.display())
    }

    /// Hashes what is there.
    fn resume(&mut self) -> Result<(), Error> {
        let path = self.path.clone();
        let failed = || Error::io("read", &path);
        let length = self.file.metadata().map_err(failed())?.len();
        if length > self.size {
            return self.reset();
        }
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = self.file.read(&mut buffer).map_err(failed())?;
            if read == 0 {
                self.furthest = self.have;
                return Ok(());
            }
            self.hasher.update(&buffer[..read]);
            self.have += read as u64;
        }
    }

    /// Begins anew.
    pub(super) fn reset(&mut self) -> Result<(), Error> {
        self.file.set_len(0).map_err(Error::io("truncate", &self.path))?;
        self.file.rewind().map_err(Error::io("truncate", &self.path))?;
        self.have = 0;
        self.hasher = Hasher::default();
        Ok(())
    }

    /// Adds bytes; more than expected are refused and nothing is kept.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() as u64 > self.size - self.have {
            let (location, expected) = (self.describe(), self.size);
            self.reset()?;
            return Err(Error::Overlong { location, expected });
        }
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.hasher.update(bytes);
        self.have += bytes.len() as u64;
        self.furthest = self.furthest.max(self.have);
        Ok(())
    }

    /// Compares size and digest; with the wrong digest nothing is kept.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        check_length(self.have, self.size, || self.describe())?;
        let (expected, actual) = (self.digest, self.hasher.clone().finish());
        if actual == expected {
            return Ok(());
        }
        let location = self.describe();
        self.reset()?;
        Err(Error::DigestMismatch { location, expected, actual })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_blob_is_resumed_and_then_found() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"0123456789");
        let cache = Cache::new(Some(folder.path())).unwrap();
        cache.begin(digest, 10).unwrap().append(b"0123").unwrap();
        assert!(cache.find(digest, 10).unwrap().is_none());
        let mut partial = cache.begin(digest, 10).unwrap();
        assert_eq!(partial.have, 4);
        partial.append(b"456789").unwrap();
        partial.check().unwrap();
        cache.finish(partial).unwrap();
        let blob = cache.find(digest, 10).unwrap().unwrap();
        assert_eq!(blob.read_verified(digest, Some(10), 10).unwrap(), b"0123456789");
        assert!(!folder.path().join(format!("sha256/{}.partial", digest.hex())).exists());
    }

    #[test]
    fn damaged_files_are_dropped() {
        let digest = Digest::of(b"0123456789");
        for damaged in [&b"012345678_"[..], b"012345678", b"0123456789_", b""] {
            let folder = tempfile::tempdir().unwrap();
            Cache::new(Some(folder.path())).unwrap().insert(digest, b"0123456789").unwrap();
            let path = folder.path().join("sha256").join(digest.hex());
            let find = || Cache::new(Some(folder.path())).unwrap().find(digest, 10).unwrap();
            assert!(find().is_some());
            std::fs::write(&path, damaged).unwrap();
            assert!(find().is_none());
            assert!(!path.exists());
        }
    }

    #[test]
    fn wrong_bytes_are_not_kept() {
        for folder in [Some(tempfile::tempdir().unwrap()), None] {
            let cache = Cache::new(folder.as_ref().map(|folder| folder.path())).unwrap();
            let mut partial = cache.begin(Digest::of(b"ab"), 2).unwrap();
            partial.append(b"xx").unwrap();
            assert!(matches!(partial.check(), Err(Error::DigestMismatch { .. })));
            assert_eq!(partial.have, 0);
            assert!(matches!(partial.append(b"abc"), Err(Error::Overlong { .. })));
            partial.append(b"ab").unwrap();
            partial.check().unwrap();
            cache.finish(partial).unwrap();
            assert!(cache.find(Digest::of(b"ab"), 2).unwrap().is_some());
        }
    }
}
