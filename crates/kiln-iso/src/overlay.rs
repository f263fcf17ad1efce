//! A directory of the user, laid over the tree: what is in it wins.
//!
//! The result depends on names, contents, links and whether a file may be executed, and on nothing
//! else of the file system: owners, times and the umask of whoever made the directory do not show.
//! Links are taken as links and never followed; devices, sockets and pipes are refused by name.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use crate::error::Error;
use crate::format::MAXIMUM_DEPTH;
use crate::tree::{Content, Tree, lossy};

impl Tree<'_> {
    /// Lays the directory at `folder` over this tree. Files and links of the tree give place; a
    /// file in the place of one of its directories is refused, because it would hide what the medium
    /// needs. Files are opened only when the medium is written.
    ///
    /// # Errors
    /// [`Error::ReadFile`], [`Error::SpecialFile`], [`Error::Escape`], [`Error::Path`],
    /// [`Error::TooMany`].
    pub fn overlay(&mut self, folder: &Path) -> Result<(), Error> {
        self.overlay_folder(folder, &mut Vec::new(), 0)
    }

    fn overlay_folder(
        &mut self,
        folder: &Path,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Error> {
        let failed = |source| Error::ReadFile { path: folder.to_owned(), source };
        if depth > MAXIMUM_DEPTH {
            let reason = "more than 128 directories deep";
            return Err(Error::Path { path: lossy(path), reason });
        }
        let mut entries = fs::read_dir(folder)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(failed)?;
        entries.sort_unstable_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let place = entry.path();
            let failed = |source| Error::ReadFile { path: place.clone(), source };
            let metadata = fs::symlink_metadata(&place).map_err(failed)?;
            let length = path.len();
            path.push(b'/');
            path.extend(entry.file_name().as_bytes());
            if metadata.is_dir() {
                self.directory(&*path, 0o755)?;
                self.overlay_folder(&place, path, depth + 1)?;
            } else if metadata.is_symlink() {
                let target = fs::read_link(&place).map_err(failed)?;
                self.symlink(&*path, target.as_os_str().as_bytes())?;
            } else if metadata.is_file() {
                let content = Content::path(&place, metadata.len());
                self.file(&*path, permissions(&metadata), content)?;
            } else {
                return Err(Error::SpecialFile { kind: kind(&metadata), path: place });
            }
            path.truncate(length);
        }
        Ok(())
    }
}

fn permissions(metadata: &Metadata) -> u32 {
    if metadata.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 }
}

fn kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_fifo() {
        "pipe"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_char_device() {
        "character device"
    } else if kind.is_block_device() {
        "block device"
    } else {
        "special file"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn files_of_the_user_win() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        fs::create_dir_all(base.join("boot/grub")).unwrap();
        fs::write(base.join("boot/grub/grub.cfg"), "theirs").unwrap();
        symlink("grub.cfg", base.join("boot/grub/link")).unwrap();
        let mut tree = Tree::new();
        tree.file("boot/grub/grub.cfg", 0o644, Content::bytes(&b"ours"[..])).unwrap();
        tree.file("boot/kernel", 0o644, Content::bytes(&b"kernel"[..])).unwrap();
        tree.overlay(base).unwrap();
        assert!(tree.contains("boot/kernel") && tree.contains("boot/grub/link"));
        let text = format!("{tree:?}");
        assert!(text.contains("boot/grub/grub.cfg") && !text.contains("4 bytes"), "{text}");
    }

    #[test]
    fn what_a_medium_cannot_hold_is_refused() {
        type Make = fn(&Path);
        type Expected = fn(&Error) -> bool;
        let cases: [(&str, Make, Expected); 4] = [
            (
                "socket",
                |base| drop(UnixListener::bind(base.join("s")).unwrap()),
                |error| matches!(error, Error::SpecialFile { kind: "socket", .. }),
            ),
            (
                "climbing link",
                |base| symlink("../outside", base.join("link")).unwrap(),
                |error| matches!(error, Error::Escape { .. }),
            ),
            (
                "file over directory",
                |base| fs::write(base.join("boot"), "x").unwrap(),
                |error| matches!(error, Error::Path { .. }),
            ),
            (
                "no directory",
                |base| fs::remove_dir(base).unwrap(),
                |error| matches!(error, Error::ReadFile { .. }),
            ),
        ];
        for (name, make, expected) in cases {
            let folder = tempfile::tempdir().unwrap();
            let base = folder.path().join("overlay");
            fs::create_dir(&base).unwrap();
            make(&base);
            let mut tree = Tree::new();
            tree.file("boot/kernel", 0o644, Content::bytes(&b"kernel"[..])).unwrap();
            let error = tree.overlay(&base).unwrap_err();
            assert!(expected(&error), "{name}: {error}");
        }
    }
}
