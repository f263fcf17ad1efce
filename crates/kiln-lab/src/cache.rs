//! Things that take long to make and can always be made again, kept outside the checkout.
//!
//! An entry is a folder named by its kind and the digest of everything it depends on, so a changed
//! recipe is another entry and nothing is ever out of date. It appears by one rename after it is
//! complete. Several test processes share the cache: whoever uses an entry holds a shared lock on
//! it, whoever makes or removes one holds it exclusively.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, file_error};

/// Hexadecimal digits of the digest in a name; 64 bits are plenty among a handful of entries.
const KEY_DIGITS: usize = 16;

/// The cache's folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// A complete entry, safe from removal while this value lives.
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
    _lock: File,
}

impl Entry {
    /// The entry's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Cache {
    /// Opens `$KILN_CACHE`, `$XDG_CACHE_HOME/kiln` or `~/.cache/kiln`, whichever is named first.
    ///
    /// # Errors
    /// When the environment names none of them, or the folder cannot be created.
    pub fn open() -> Result<Self, Error> {
        let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let root = named("KILN_CACHE")
            .map(PathBuf::from)
            .or_else(|| named("XDG_CACHE_HOME").map(|base| Path::new(&base).join("kiln")))
            .or_else(|| named("HOME").map(|home| Path::new(&home).join(".cache/kiln")))
            .ok_or(Error::Unset { variable: "KILN_CACHE" })?;
        Self::at(root)
    }

    /// Opens a cache at this place.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(file_error("create", &root))?;
        Ok(Self { root })
    }

    /// The entry of this kind for these inputs; `make` fills a folder with it when it is missing.
    ///
    /// # Errors
    /// When `make` fails, or the folder cannot be used.
    pub fn get(
        &self,
        kind: &str,
        inputs: &[&[u8]],
        make: impl Fn(&Path) -> Result<(), Error>,
    ) -> Result<Entry, Error> {
        let name = format!("{kind}-{}", key(inputs));
        let path = self.root.join(&name);
        let lock_path = self.root.join(format!("{name}.lock"));
        let lock = File::options()
            .create(true)
            .append(true)
            .open(&lock_path)
            .map_err(file_error("open", &lock_path))?;
        let locking = file_error("lock", &lock_path);
        loop {
            lock.lock_shared().map_err(&locking)?;
            if path.is_dir() {
                return Ok(Entry { path, _lock: lock });
            }
            // Not an upgrade but a new lock: two waiting processes would block each other.
            lock.unlock().map_err(&locking)?;
            lock.lock().map_err(&locking)?;
            if !path.is_dir() {
                let partial = self.root.join(format!("{name}.partial"));
                if partial.exists() {
                    fs::remove_dir_all(&partial).map_err(file_error("remove", &partial))?;
                }
                fs::create_dir(&partial).map_err(file_error("create", &partial))?;
                make(&partial)?;
                fs::rename(&partial, &path).map_err(file_error("create", &path))?;
            }
            lock.unlock().map_err(&locking)?;
        }
    }

    /// Removes all entries of this kind that nobody uses, except `keep`.
    ///
    /// # Errors
    /// When the cache cannot be read or an entry not be removed.
    pub fn prune(&self, kind: &str, keep: &Entry) -> Result<(), Error> {
        let prefix = format!("{kind}-");
        for found in fs::read_dir(&self.root).map_err(file_error("read", &self.root))? {
            let path = found.map_err(file_error("read", &self.root))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_entry = name
                .strip_prefix(&prefix)
                .is_some_and(|key| key.len() == KEY_DIGITS && !key.contains('.'));
            if !is_entry || path == keep.path {
                continue;
            }
            let lock_path = self.root.join(format!("{name}.lock"));
            let Ok(lock) = File::options().append(true).open(&lock_path) else { continue };
            if lock.try_lock().is_ok() {
                fs::remove_dir_all(&path).map_err(file_error("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// Digest of the inputs, each with its length, so that moving a byte between two of them counts.
fn key(inputs: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for input in inputs {
        hash.update((input.len() as u64).to_le_bytes());
        hash.update(input);
    }
    let mut text = String::new();
    for byte in hash.finalize().iter().take(KEY_DIGITS / 2) {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn an_entry_is_made_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let made = AtomicUsize::new(0);
        let make = |path: &Path| {
            made.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::write(path.join("file"), b"content").map_err(file_error("write", path))
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let entry = cache.get("kind", &[b"a"], make).unwrap();
                    assert_eq!(fs::read(entry.path().join("file")).unwrap(), b"content");
                });
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
        cache.get("kind", &[b"b"], make).unwrap();
        assert_eq!(made.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_failed_entry_does_not_exist() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let failing = |path: &Path| {
            fs::write(path.join("half"), b"").unwrap();
            Err(Error::Unset { variable: "NOTHING" })
        };
        assert!(cache.get("kind", &[], failing).is_err());
        let entry = cache.get("kind", &[], |_| Ok(())).unwrap();
        assert!(!entry.path().join("half").exists());
    }

    #[test]
    fn pruning_spares_what_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let old = cache.get("kind", &[b"old"], |_| Ok(())).unwrap().path().to_owned();
        let used = cache.get("kind", &[b"used"], |_| Ok(())).unwrap();
        let other = cache.get("kind-of", &[b"old"], |_| Ok(())).unwrap().path().to_owned();
        let newest = cache.get("kind", &[b"new"], |_| Ok(())).unwrap();
        cache.prune("kind", &newest).unwrap();
        assert!(!old.exists());
        assert!(used.path().exists() && newest.path().exists() && other.exists());
    }

    #[test]
    fn borders_between_inputs_count() {
        assert_ne!(key(&[b"ab", b"c"]), key(&[b"a", b"bc"]));
        assert_ne!(key(&[]), key(&[b""]));
        assert_eq!(key(&[b"x"]).len(), KEY_DIGITS);
    }
}
