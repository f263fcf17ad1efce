//! The folder that is the machine's root, and all changes in it.
//!
//! A path never leads out of it, its last element is never followed when something is written, and a
//! file is written under another name and renamed: who looks sees the old or the new one, with owner
//! and mode already right. While a [`Journal`] is there, what a path was before its first change is
//! noted there, so that all can be undone.

mod journal;
mod resolve;
#[cfg(test)]
mod tests;
mod write;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

use crate::Error;
use crate::error::file;
pub use journal::Journal;
pub(crate) use journal::{forget, undo};
pub(crate) use resolve::elements;

/// A machine's root.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
    path: PathBuf,
    journal: Option<Journal>,
}

/// To whom an entry belongs, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// User.
    pub user: u32,
    /// Group.
    pub group: u32,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A device, pipe or socket.
    Other,
}

impl Kind {
    /// The kind in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Folder => "a folder",
            Self::File => "a file",
            Self::Link => "a symbolic link",
            Self::Other => "a device, pipe or socket",
        }
    }
}

/// What is known of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// To whom it belongs.
    pub owner: Owner,
}

impl Root {
    /// Opens a root. `/` is the running system.
    ///
    /// # Errors
    /// It is no folder.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let shown = path.to_string_lossy();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, rustix::fs::Mode::empty())
            .map_err(file("open the root", &shown))?;
        let path = path.canonicalize().map_err(file("open the root", &shown))?;
        Ok(Self { folder, path, journal: None })
    }

    /// A folder of this root as a root of its own, whose changes are not noted.
    ///
    /// # Errors
    /// It is no folder.
    pub(crate) fn below(&self, path: &str) -> Result<Self, Error> {
        elements(path)?;
        let folder = self.open_inside(path, OFlags::RDONLY | OFlags::DIRECTORY);
        let folder = folder.map_err(file("open the folder", path))?;
        let real = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder));
        let real = std::fs::read_link(real).map_err(file("find the place of", path))?;
        Ok(Self { folder, path: real, journal: None })
    }

    /// Where the root lies on the running system.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether changes are noted and can be undone.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        self.journal.is_some()
    }

    /// From now on changes are noted there.
    pub fn begin(&mut self, journal: Journal) {
        self.journal = Some(journal);
    }

    /// Ends noting, and gives the journal back.
    pub fn end(&mut self) -> Option<Journal> {
        self.journal.take()
    }

    /// What is at a path; a link itself, not its target. `None` where nothing is.
    ///
    /// # Errors
    /// The path is none, or the kernel refuses.
    pub fn status(&self, path: &str) -> Result<Option<Status>, Error> {
        let Some(place) = self.place(path)? else { return Ok(None) };
        match rustix::fs::statat(&place.parent, &place.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(status(&stat))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(file("look at", path)(error)),
        }
    }

    /// What a path leads to, links followed inside the root. `None` where nothing is.
    ///
    /// # Errors
    /// As [`Root::status`].
    pub fn target(&self, path: &str) -> Result<Option<Status>, Error> {
        elements(path)?;
        let opened = match self.open_inside(path, OFlags::PATH) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(file("look at", path)(error)),
        };
        let stat = rustix::fs::fstat(&opened).map_err(file("look at", path))?;
        Ok(Some(status(&stat)))
    }

    /// The bytes of a regular file, links followed inside the root. `None` where nothing is.
    ///
    /// # Errors
    /// It is no regular file, larger than `limit` bytes, or cannot be read.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let kind = match self.target(path)? {
            None => return Ok(None),
            Some(status) => status.kind,
        };
        if kind != Kind::File {
            return Err(Error::Exists { path: path.to_owned(), found: kind.words() });
        }
        let opened = self.open_inside(path, OFlags::RDONLY | OFlags::NONBLOCK);
        let opened = std::fs::File::from(opened.map_err(file("open", path))?);
        let mut bytes = Vec::new();
        opened.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(file("read", path))?;
        if bytes.len() as u64 > limit {
            let reason = "it is larger than what is read of such a file";
            return Err(Error::Path { path: path.to_owned(), reason });
        }
        Ok(Some(bytes))
    }

    /// The text of a small file, or nothing.
    ///
    /// # Errors
    /// As [`Root::read`], or it is no UTF-8.
    pub(crate) fn text(&self, path: &str, limit: u64) -> Result<Option<String>, Error> {
        let Some(bytes) = self.read(path, limit)? else { return Ok(None) };
        let text = String::from_utf8(bytes);
        let reason = "it is no text in UTF-8";
        text.map(Some).map_err(|_| Error::Path { path: path.to_owned(), reason })
    }

    /// Where a link leads, as it is written; `None` for anything else.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn link_target(&self, path: &str) -> Result<Option<String>, Error> {
        let Some(place) = self.place(path)? else { return Ok(None) };
        match rustix::fs::readlinkat(&place.parent, &place.name, Vec::new()) {
            Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
            Err(Errno::NOENT | Errno::INVAL | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(file("read the link", path)(error)),
        }
    }

    /// The names in a folder, sorted; none where no folder is.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        elements(path)?;
        let folder = match self.open_inside(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
            Err(error) => return Err(file("open the folder", path)(error)),
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(folder).map_err(file("read the folder", path))? {
            let entry = entry.map_err(file("read the folder", path))?;
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}

fn status(stat: &rustix::fs::Stat) -> Status {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Folder,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    };
    let owner = Owner { user: stat.st_uid, group: stat.st_gid };
    Status { kind, mode: stat.st_mode & 0o7777, owner }
}
