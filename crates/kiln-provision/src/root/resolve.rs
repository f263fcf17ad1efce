//! From the text of a path to the folder that holds its last element.
//!
//! The kernel resolves (openat2(2), `RESOLVE_IN_ROOT`): absolute links and `..` in links stay inside,
//! without a race against whoever changes them. Resolving link by link here was dropped for that
//! race. Only where a link leads to a folder that is not there yet (`/home` to `var/home` on a new
//! machine) its text is read, to make that folder.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Root;
use crate::Error;
use crate::error::file;

/// Longest path, in bytes (`PATH_MAX` of Linux).
const PATH_BYTES: usize = 4096;
/// Longest element, in bytes (`NAME_MAX`).
const NAME_BYTES: usize = 255;
/// Links to folders that are not there, followed for one path (the kernel's own limit on links).
const LINKS: u32 = 40;
/// Attempts where a folder was renamed while `..` was resolved (openat2(2), `EAGAIN`).
const ATTEMPTS: u32 = 8;
/// Permissions of folders that are made on the way; group and others could not reach a service's file
/// otherwise.
const FOLDER_MODE: u32 = 0o755;

/// The folder that holds the last element of a path, and that element.
#[derive(Debug)]
pub(crate) struct Place {
    /// Open for reading.
    pub(crate) parent: OwnedFd,
    /// The last element.
    pub(crate) name: String,
}

impl Place {
    /// A path for functions that take no descriptor. It holds as long as this value lives.
    pub(crate) fn real(&self) -> std::path::PathBuf {
        format!("/proc/self/fd/{}/{}", self.parent.as_raw_fd(), self.name).into()
    }
}

/// The elements of an absolute path; `.` and empty ones are left out.
pub(crate) fn elements(path: &str) -> Result<Vec<&str>, Error> {
    let refused = |reason| Error::Path { path: path.to_owned(), reason };
    if !path.starts_with('/') {
        return Err(refused("it does not begin with `/`"));
    }
    if path.contains('\0') || path.len() >= PATH_BYTES {
        return Err(refused("it is too long or holds a zero byte"));
    }
    let elements: Vec<&str> =
        path.split('/').filter(|element| !matches!(*element, "" | ".")).collect();
    if elements.contains(&"..") {
        return Err(refused("it holds `..`"));
    }
    if elements.iter().any(|element| element.len() > NAME_BYTES) {
        return Err(refused("an element is longer than 255 bytes"));
    }
    Ok(elements)
}

impl Root {
    /// Opens a folder or file inside the root; links are followed inside it.
    pub(crate) fn open_inside(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let relative = path.trim_start_matches('/');
        let relative = if relative.is_empty() { "." } else { relative };
        let mut left = ATTEMPTS;
        loop {
            let opened = rustix::fs::openat2(
                &self.folder,
                relative,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::IN_ROOT,
            );
            match opened {
                Err(Errno::AGAIN) if left > 0 => left -= 1,
                other => return other,
            }
        }
    }

    /// The place of a path, if the folder that holds it is there.
    pub(crate) fn place(&self, path: &str) -> Result<Option<Place>, Error> {
        let elements = elements(path)?;
        let (name, parents) = elements.split_last().ok_or_else(|| no_name(path))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.open_inside(&parents.join("/"), flags) {
            Ok(parent) => Ok(Some(Place { parent, name: (*name).to_owned() })),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(file("open the folder of", path)(error)),
        }
    }

    /// The place of a path; folders on the way are made with mode 0755.
    pub(crate) fn make_place(&mut self, path: &str) -> Result<Place, Error> {
        let elements = elements(path)?;
        let (name, parents) = elements.split_last().ok_or_else(|| no_name(path))?;
        let parent = self.ensure_folder(&format!("/{}", parents.join("/")), LINKS)?;
        Ok(Place { parent, name: (*name).to_owned() })
    }

    fn ensure_folder(&mut self, path: &str, links: u32) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.open_inside(path, flags) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(file("open the folder", path)),
        }
        let Some((above, name)) = path.rsplit_once('/').filter(|(_, name)| !name.is_empty()) else {
            return Err(no_name(path));
        };
        let parent = self.ensure_folder(if above.is_empty() { "/" } else { above }, links)?;
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Err(error) => return Err(file("look at", path)(error)),
            Ok(_) => return self.ensure_target(path, &parent, name, links),
        }
        self.note(path)?;
        let mode = Mode::from_raw_mode(FOLDER_MODE);
        rustix::fs::mkdirat(&parent, name, mode).map_err(file("make the folder", path))?;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&parent, name, flags, Mode::empty());
        let made = made.map_err(file("open the folder", path))?;
        // The mask of the process took bits away.
        rustix::fs::fchmod(&made, mode).map_err(file("set the mode of", path))?;
        rustix::fs::fsync(&parent).map_err(file("write back the folder of", path))?;
        Ok(made)
    }

    /// Makes the folder that the link `name` in `parent` leads to.
    fn ensure_target(
        &mut self,
        path: &str,
        parent: &OwnedFd,
        name: &str,
        links: u32,
    ) -> Result<OwnedFd, Error> {
        let Some(links) = links.checked_sub(1) else {
            return Err(Error::Path { path: path.to_owned(), reason: "its links lead in circles" });
        };
        let target = rustix::fs::readlinkat(parent, name, Vec::new())
            .map_err(file("read the link", path))?;
        let target = target.to_str().map_err(|_| Error::Path {
            path: path.to_owned(),
            reason: "a link on the way is no text",
        })?;
        let above =
            if target.starts_with('/') { String::new() } else { self.inside(parent, path)? };
        let target = clamped(&format!("{above}/{target}"));
        self.ensure_folder(&target, links)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.open_inside(path, flags).map_err(file("open the folder", path))
    }

    /// The path of an open folder as the machine sees it.
    fn inside(&self, folder: &OwnedFd, path: &str) -> Result<String, Error> {
        let name = |folder: &OwnedFd| {
            std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd()))
                .map_err(file("find the place of", path))
        };
        let (whole, root) = (name(folder)?, name(&self.folder)?);
        let inside = whole.strip_prefix(&root).ok().and_then(|inside| inside.to_str());
        let inside = inside.ok_or_else(|| Error::Path {
            path: path.to_owned(),
            reason: "it was moved out of the root",
        })?;
        Ok(format!("/{inside}"))
    }
}

fn no_name(path: &str) -> Error {
    Error::Path { path: path.to_owned(), reason: "it names the root itself" }
}

/// A path without `.` and `..`, which never lead above the root.
fn clamped(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for element in path.split('/') {
        match element {
            "" | "." => {}
            ".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{clamped, elements};

    #[test]
    fn only_plain_absolute_paths_are_taken() {
        let long = format!("/{}", "a".repeat(256));
        let endless = "/a".repeat(3000);
        for (path, expected) in [
            ("/etc/x", Some(vec!["etc", "x"])),
            ("//etc/./x/", Some(vec!["etc", "x"])),
            ("/", Some(vec![])),
            ("etc/x", None),
            ("", None),
            ("/a/../b", None),
            ("/a\0b", None),
            (long.as_str(), None),
            (endless.as_str(), None),
        ] {
            assert_eq!(elements(path).ok(), expected, "{path}");
        }
    }

    #[test]
    fn links_never_lead_above_the_root() {
        for (path, expected) in
            [("/a/../../../b", "/b"), ("/var/../home/./x", "/home/x"), ("/..", "/")]
        {
            assert_eq!(clamped(path), expected);
        }
    }
}
