//! The ledger's file: read whole, replaced whole, by one program at a time.
//!
//! The rename is the commit point. The lock is the kernel's (`flock`), so it goes away with the
//! process, whatever ended it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::format::Ledger;
use crate::Error;

/// Name of the ledger in its folder.
const NAME: &str = "ledger.json";
/// Name of the file that is locked.
const LOCK: &str = "lock";
/// Largest ledger that is read, in bytes: 64 revisions with a few thousand packages each.
const MAXIMUM_LENGTH: u64 = 64 << 20;

/// The folder of the ledger, locked for this process as long as the value lives.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// Closing it releases the lock.
    _lock: File,
}

impl Store {
    /// Makes the folder if it is missing and waits for the lock; `busy` is called once if another
    /// process has it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open(folder: &Path, busy: impl FnOnce()) -> Result<Self, Error> {
        let failed = |source| Error::file("open", folder, source);
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(LOCK))
            .map_err(failed)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            busy();
            flock(&lock, FlockOperation::LockExclusive)
                .map_err(|error| Error::file("lock", folder, error.into()))?;
        }
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    /// The ledger, or `None` if there is none yet.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Ledger`].
    pub fn read(&self) -> Result<Option<Ledger>, Error> {
        read(&self.folder)
    }

    /// Replaces the ledger; afterwards it is on stable storage.
    ///
    /// # Errors
    /// [`Error::File`]; the old ledger is then still there.
    pub fn write(&self, ledger: &Ledger) -> Result<(), Error> {
        let path = self.folder.join(NAME);
        let new = self.folder.join(format!("{NAME}.new"));
        let text = ledger.to_json()?;
        let replace = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // The commit point.
            fs::rename(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        replace().map_err(|source| Error::file("write", &path, source))
    }
}

/// The ledger in a folder, for those who only look: no lock is needed, since it changes by a rename.
///
/// # Errors
/// [`Error::File`], [`Error::Ledger`].
pub fn read(folder: &Path) -> Result<Option<Ledger>, Error> {
    let path = folder.join(NAME);
    let text = match fs::metadata(&path) {
        Ok(metadata) if metadata.len() > MAXIMUM_LENGTH => {
            return Err(Error::Ledger { reason: "it is larger than 64 MiB".to_owned() });
        }
        Ok(_) => fs::read(&path).map_err(|source| Error::file("read", &path, source))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::file("read", &path, source)),
    };
    Ledger::from_json(&text).map(Some)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::{Store, read};
    use crate::ledger::Ledger;

    #[test]
    fn a_ledger_comes_back_and_a_torn_one_never_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kiln");
        assert_eq!(read(&path).unwrap(), None);
        let store = Store::open(&path, || panic!("nobody has it")).unwrap();
        assert_eq!(store.read().unwrap(), None);
        let ledger = Ledger { follow: Some("docker://a/b".into()), ..Ledger::default() };
        store.write(&ledger).unwrap();
        // What a power cut before the rename leaves.
        fs::write(path.join("ledger.json.new"), "{").unwrap();
        assert_eq!(store.read().unwrap(), Some(ledger.clone()));
        store.write(&Ledger::default()).unwrap();
        assert_eq!(read(&path).unwrap(), Some(Ledger::default()));
        assert!(!path.join("ledger.json.new").exists());
        fs::write(path.join("ledger.json"), "{").unwrap();
        assert!(read(&path).unwrap_err().hint().is_some());
    }

    #[test]
    fn the_second_waits_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::open(folder.path(), || panic!("nobody has it")).unwrap();
        let (sender, receiver) = mpsc::channel();
        let path = folder.path().to_owned();
        let second = std::thread::spawn(move || {
            let told = sender.clone();
            let store = Store::open(&path, || told.send("busy").unwrap()).unwrap();
            sender.send("locked").unwrap();
            drop(store);
        });
        let patience = Duration::from_secs(20);
        assert_eq!(receiver.recv_timeout(patience), Ok("busy"));
        assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err(), "it must wait");
        drop(first);
        assert_eq!(receiver.recv_timeout(patience), Ok("locked"));
        second.join().unwrap();
    }
}
