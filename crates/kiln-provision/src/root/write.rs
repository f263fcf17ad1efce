//! Changes in a root: one entry each, whole or not at all.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::resolve::Place;
use super::{Kind, Owner, Root};
use crate::Error;
use crate::error::file;

/// The name under which an entry is made before it gets its own; one at a time, because operations
/// run one after the other. What a power cut leaves is replaced by the next write in that folder.
const PARTIAL: &str = ".kiln-provision.new";

/// How long another program may hold a lock, and how often it is tried (lckpwdf(3) has 15 seconds).
const LOCK_PATIENCE: Duration = Duration::from_secs(15);
const LOCK_PAUSE: Duration = Duration::from_millis(100);

impl Root {
    /// Writes a file. What is at the path and is no folder gives way; a link is replaced, not followed.
    ///
    /// # Errors
    /// A folder is there, or the kernel refuses; what was there is then still there.
    pub fn write(
        &mut self,
        path: &str,
        bytes: &[u8],
        mode: u32,
        owner: Owner,
    ) -> Result<(), Error> {
        self.replace(path, |place| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            // Closed until owner and mode are right.
            let new = rustix::fs::openat(&place.parent, PARTIAL, flags, Mode::RUSR | Mode::WUSR)?;
            let mut new = File::from(new);
            new.write_all(bytes)?;
            // The owner first: changing it clears set-user-id bits.
            rustix::fs::fchown(&new, user(owner), group(owner))?;
            rustix::fs::fchmod(&new, Mode::from_raw_mode(mode & 0o7777))?;
            new.sync_all()
        })
    }

    /// As [`Root::write`], from a stream of at most `limit` bytes. Not brought onto the disk one by one:
    /// this is for trees of many files.
    pub(crate) fn write_stream(
        &mut self,
        path: &str,
        stream: &mut dyn Read,
        limit: u64,
        mode: u32,
        owner: Owner,
    ) -> Result<(), Error> {
        self.replace(path, |place| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let new = rustix::fs::openat(&place.parent, PARTIAL, flags, Mode::RUSR | Mode::WUSR)?;
            let mut new = File::from(new);
            if std::io::copy(&mut stream.take(limit.saturating_add(1)), &mut new)? > limit {
                return Err(std::io::Error::other("it is larger than what is unpacked"));
            }
            rustix::fs::fchown(&new, user(owner), group(owner))?;
            rustix::fs::fchmod(&new, Mode::from_raw_mode(mode & 0o7777))?;
            Ok(())
        })
    }

    /// Makes a symbolic link; what is at the path and is no folder gives way.
    ///
    /// # Errors
    /// As [`Root::write`].
    pub fn symlink(&mut self, path: &str, target: &str, owner: Owner) -> Result<(), Error> {
        self.replace(path, |place| {
            rustix::fs::symlinkat(target, &place.parent, PARTIAL)?;
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(&place.parent, PARTIAL, user(owner), group(owner), flags)?;
            Ok(())
        })
    }

    /// Gives the file `target` a second name.
    ///
    /// # Errors
    /// As [`Root::write`], or `target` is no regular file on the same file system.
    pub fn hard_link(&mut self, path: &str, target: &str) -> Result<(), Error> {
        match self.status(target)? {
            Some(status) if status.kind == Kind::File => {}
            Some(status) => {
                return Err(Error::Exists { path: target.into(), found: status.kind.words() });
            }
            None => return Err(file("link to", target)(Errno::NOENT)),
        }
        let Some(from) = self.place(target)? else {
            return Err(file("link to", target)(Errno::NOENT));
        };
        self.replace(path, |place| {
            rustix::fs::linkat(&from.parent, &from.name, &place.parent, PARTIAL, AtFlags::empty())?;
            Ok(())
        })
    }

    /// Makes a folder, or gives one that is there this mode and owner. Anything else gives way.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn directory(&mut self, path: &str, mode: u32, owner: Owner) -> Result<(), Error> {
        let kind = self.status(path)?.map(|status| status.kind);
        if kind.is_some_and(|kind| kind != Kind::Folder) {
            self.remove(path)?;
        }
        let place = self.make_place(path)?;
        self.note(path)?;
        if kind != Some(Kind::Folder) {
            rustix::fs::mkdirat(&place.parent, &place.name, Mode::RWXU)
                .map_err(file("make the folder", path))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(&place.parent, &place.name, flags, Mode::empty())
            .map_err(file("open the folder", path))?;
        rustix::fs::fchown(&folder, user(owner), group(owner))
            .map_err(file("set the owner of", path))?;
        rustix::fs::fchmod(&folder, Mode::from_raw_mode(mode & 0o7777))
            .map_err(file("set the mode of", path))?;
        rustix::fs::fsync(&place.parent).map_err(file("write back the folder of", path))
    }

    /// Removes what is at a path, a folder with all below it; links are not followed.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove(&mut self, path: &str) -> Result<(), Error> {
        let Some(status) = self.status(path)? else { return Ok(()) };
        let Some(place) = self.place(path)? else { return Ok(()) };
        if status.kind == Kind::Folder {
            self.note_whole(path)?;
        } else {
            self.note(path)?;
        }
        remove_at(&place, status.kind, path)?;
        rustix::fs::fsync(&place.parent).map_err(file("write back the folder of", path))
    }

    /// Takes a lock on a file, which is made where it is not there (fcntl(2), held until it is dropped).
    ///
    /// # Errors
    /// Somebody else has it for longer than 15 seconds, the patience of lckpwdf(3).
    pub(crate) fn lock(&mut self, path: &str) -> Result<File, Error> {
        let place = self.make_place(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&place.parent, &place.name, flags, Mode::RUSR | Mode::WUSR);
        let opened = File::from(opened.map_err(file("open the lock", path))?);
        let end = Instant::now() + LOCK_PATIENCE;
        loop {
            match rustix::fs::fcntl_lock(&opened, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(opened),
                Err(error) if Instant::now() >= end => return Err(file("lock", path)(error)),
                Err(_) => std::thread::sleep(LOCK_PAUSE),
            }
        }
    }

    /// Makes an entry under another name and renames it.
    fn replace(
        &mut self,
        path: &str,
        make: impl FnOnce(&Place) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        if let Some(status) = self.status(path)?
            && status.kind == Kind::Folder
        {
            return Err(Error::Exists { path: path.to_owned(), found: status.kind.words() });
        }
        let place = self.make_place(path)?;
        self.note(path)?;
        clear_partial(&place).map_err(file("clear the way for", path))?;
        make(&place).map_err(file("write", path))?;
        // The commit point of this entry.
        rustix::fs::renameat(&place.parent, PARTIAL, &place.parent, &place.name)
            .map_err(file("rename", path))?;
        // Two names of one file stay two (rename(2)).
        clear_partial(&place).map_err(file("clean up beside", path))?;
        rustix::fs::fsync(&place.parent).map_err(file("write back the folder of", path))
    }
}

fn clear_partial(place: &Place) -> Result<(), Errno> {
    match rustix::fs::unlinkat(&place.parent, PARTIAL, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes an entry, whatever it is.
pub(super) fn remove_at(place: &Place, kind: Kind, path: &str) -> Result<(), Error> {
    let removed = if kind == Kind::Folder {
        std::fs::remove_dir_all(place.real())
    } else {
        std::fs::remove_file(place.real())
    };
    removed.map_err(file("remove", path))
}

fn user(owner: Owner) -> Option<Uid> {
    Some(Uid::from_raw(owner.user))
}

fn group(owner: Owner) -> Option<Gid> {
    Some(Gid::from_raw(owner.group))
}
