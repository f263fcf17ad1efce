//! Bytes of a blob where they lie: a stretch of an open file.
//!
//! Layout files, members of an archive and downloads all end up as this one type, so there is one
//! reading path to verify. Positioned reads leave no shared cursor, hence a blob can be read by
//! several threads and as often as wanted. Mapping files was dropped: a file truncated meanwhile
//! would kill the process instead of giving an error.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Hasher;
use crate::{Digest, Error};

/// Largest document that is allocated before any byte of it has been seen, in bytes.
const TRUSTED_CAPACITY: u64 = 1 << 20;

/// Bytes read at once while a blob is only hashed.
const HASHED_BYTES: usize = 512 << 10;

/// A stretch of a file.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    file: Arc<File>,
    /// For messages only.
    pub(crate) path: PathBuf,
    /// First byte within the file.
    offset: u64,
    /// Length in bytes.
    pub(crate) length: u64,
}

impl Blob {
    pub(crate) fn new(file: Arc<File>, path: &Path, offset: u64, length: u64) -> Self {
        Self { file, path: path.to_owned(), offset, length }
    }

    /// The whole of a regular file.
    pub(crate) fn open_file(path: &Path) -> Result<Self, Error> {
        let file = open_regular(path)?;
        let length = file.metadata().map_err(Error::io("read the size of", path))?.len();
        Ok(Self::new(Arc::new(file), path, 0, length))
    }

    /// Reads from the first byte, each time anew.
    pub(crate) fn reader(&self) -> BlobReader {
        BlobReader { file: Arc::clone(&self.file), position: self.offset, left: self.length }
    }

    /// All bytes of a small document, at most `limit`.
    pub(crate) fn read_all(&self, limit: u64) -> Result<Vec<u8>, Error> {
        let location = || self.path.display().to_string();
        if self.length > limit {
            return Err(Error::TooLarge {
                location: location(),
                actual: self.length,
                limit,
                unit: "bytes",
            });
        }
        let mut bytes =
            Vec::with_capacity(usize::try_from(self.length.min(TRUSTED_CAPACITY)).unwrap_or(0));
        self.reader().read_to_end(&mut bytes).map_err(Error::io("read", &self.path))?;
        if bytes.len() as u64 != self.length {
            return Err(Error::Truncated {
                location: location(),
                expected: self.length,
                actual: bytes.len() as u64,
            });
        }
        Ok(bytes)
    }

    /// All bytes of a small document with a known digest and, if known, size.
    pub(crate) fn read_verified(
        &self,
        digest: Digest,
        size: Option<u64>,
        limit: u64,
    ) -> Result<Vec<u8>, Error> {
        if let Some(size) = size {
            check_length(self.length, size, || self.describe(digest))?;
        }
        let bytes = self.read_all(limit)?;
        let actual = Digest::of(&bytes);
        if actual != digest {
            let location = self.describe(digest);
            return Err(Error::DigestMismatch { location, expected: digest, actual });
        }
        Ok(bytes)
    }

    /// The digest its bytes really have, however many there are by now.
    pub(crate) fn digest(&self) -> Result<Digest, Error> {
        let mut reader = self.reader();
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; HASHED_BYTES];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(read) => hasher.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.path)(error)),
            }
        }
    }

    /// How errors name this blob.
    pub(crate) fn describe(&self, digest: Digest) -> String {
        format!("blob {digest} in {}", self.path.display())
    }
}

/// Compares a blob's length with its descriptor.
pub(crate) fn check_length(
    actual: u64,
    expected: u64,
    location: impl FnOnce() -> String,
) -> Result<(), Error> {
    match actual.cmp(&expected) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => {
            Err(Error::Truncated { location: location(), expected, actual })
        }
        std::cmp::Ordering::Greater => Err(Error::Overlong { location: location(), expected }),
    }
}

/// Opens a file and refuses anything that could block or never end.
pub(crate) fn open_regular(path: &Path) -> Result<File, Error> {
    // Asked before opening: opening a named pipe would wait for its writer.
    let metadata = path.metadata().map_err(Error::io("open", path))?;
    if !metadata.is_file() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
        return Err(Error::Io { action: "open", path: path.to_owned(), source });
    }
    File::open(path).map_err(Error::io("open", path))
}

/// A cursor over a [`Blob`].
#[derive(Debug)]
pub(crate) struct BlobReader {
    file: Arc<File>,
    position: u64,
    left: u64,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.file.read_at(&mut buffer[..wanted], self.position)?;
        self.position += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(content: &[u8], offset: u64, length: u64) -> (tempfile::NamedTempFile, Blob) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let opened = Arc::new(File::open(file.path()).unwrap());
        let blob = Blob::new(opened, file.path(), offset, length);
        (file, blob)
    }

    #[test]
    fn reads_its_stretch_again_and_again() {
        let (_file, blob) = blob(b"0123456789", 2, 5);
        for _ in 0..2 {
            assert_eq!(blob.read_all(100).unwrap(), b"23456");
        }
    }

    #[test]
    fn refuses_wrong_sizes_and_digests() {
        let (_file, blob) = blob(b"0123456789", 0, 10);
        let digest = Digest::of(b"0123456789");
        assert!(blob.read_verified(digest, Some(10), 10).is_ok());
        assert!(matches!(blob.read_verified(digest, Some(11), 99), Err(Error::Truncated { .. })));
        assert!(matches!(blob.read_verified(digest, Some(9), 99), Err(Error::Overlong { .. })));
        assert!(matches!(blob.read_verified(digest, None, 9), Err(Error::TooLarge { .. })));
        let other = Digest::of(b"");
        let error = blob.read_verified(other, None, 99).unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }));
        assert!(error.to_string().contains(&other.to_string()), "{error}");
    }

    #[test]
    fn a_file_shorter_than_its_stretch_is_truncated() {
        let (_file, blob) = blob(b"0123", 2, 5);
        assert!(matches!(blob.read_all(100), Err(Error::Truncated { actual: 2, .. })));
    }
}
