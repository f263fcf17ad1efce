//! Folders, files and links.
//!
//! What is there and what is wanted meet here; the rules are those of the fields of
//! [`kiln_config::action`]. A folder that holds something gives way only while a journal could bring it
//! back: a misspelt path in a document whose faults are forgiven must not cost a folder.

use kiln_config::action::{Directory, File, Link, Source};

use crate::accounts::Names;
use crate::error::file;
use crate::{Error, Kind, Owner, Status, Surroundings};

/// Mode of a new file (`File::mode`).
const FILE_MODE: u32 = 0o644;
/// Mode of a new folder (`Directory::mode`).
const FOLDER_MODE: u32 = 0o755;
/// Largest file to which something is put behind, in bytes: it is held in memory.
const APPENDED_BYTES: u64 = 256 << 20;

impl Surroundings<'_> {
    pub(crate) fn directory(&mut self, folder: &Directory) -> Result<(), Error> {
        let path = self.text(&folder.path)?;
        let mut there = self.root.status(&path)?;
        // A link to a folder is as good as one: `/home` may be `var/home`.
        let leads_to_folder = there.is_some_and(|status| status.kind == Kind::Link)
            && self.root.target(&path)?.is_some_and(|status| status.kind == Kind::Folder);
        if leads_to_folder && !folder.replace {
            return Ok(());
        }
        if let Some(status) = there {
            if folder.replace {
                self.give_way(&path, status)?;
                there = None;
            } else if status.kind != Kind::Folder {
                return Err(Error::Exists { path, found: status.kind.words() });
            }
        }
        let owner = self.owner(&folder.owner, there)?;
        let kept = there.map_or(FOLDER_MODE, |status| status.mode);
        self.root.directory(&path, folder.mode.unwrap_or(kept), owner)
    }

    pub(crate) fn file(&mut self, wanted: &File) -> Result<(), Error> {
        let path = self.target_of(wanted)?;
        let there = self.root.status(&path)?;
        let bytes = match (&wanted.contents, there) {
            (Some(contents), None) => self.contents(contents)?,
            (Some(contents), Some(status)) => {
                let bytes = self.contents(contents)?;
                let is_same = !wanted.overwrite
                    && status.kind == Kind::File
                    && wanted.append.is_empty()
                    && self
                        .root
                        .read(&path, bytes.len() as u64)
                        .is_ok_and(|old| old.as_deref() == Some(&bytes[..]));
                if !wanted.overwrite && !is_same {
                    return Err(Error::Exists { path, found: status.kind.words() });
                }
                bytes
            }
            (None, None) => Vec::new(),
            (None, Some(status)) if status.kind == Kind::File => {
                self.root.read(&path, APPENDED_BYTES)?.unwrap_or_default()
            }
            (None, Some(status)) => {
                return Err(Error::Exists { path, found: status.kind.words() });
            }
        };
        let mut whole = bytes;
        for part in &wanted.append {
            whole.extend(self.contents(part)?);
        }
        let kept = there.filter(|status| status.kind == Kind::File);
        let owner = self.owner(&wanted.owner, kept)?;
        let mode = match (wanted.mode, kept) {
            (Some(mode), _) => mode,
            (None, Some(status)) if wanted.contents.is_none() => status.mode,
            (None, _) => FILE_MODE,
        };
        if let Some(status) = there
            && status.kind == Kind::Folder
        {
            self.give_way(&path, status)?;
        }
        self.root.write(&path, &whole, mode, owner)
    }

    /// Where a file goes: a fetched one for which a folder is named gets the last part of its address
    /// as its name, as yip's `downloads` do.
    fn target_of(&self, wanted: &File) -> Result<String, Error> {
        let path = self.text(&wanted.path)?;
        let Some(Source::Remote(remote)) =
            wanted.contents.as_ref().map(|contents| &contents.source)
        else {
            return Ok(path);
        };
        let is_folder = path.ends_with('/')
            || (!self.root.is_noted()
                && self.root.target(&path)?.is_some_and(|status| status.kind == Kind::Folder));
        if !is_folder {
            return Ok(path);
        }
        let plain = remote.url.split(['?', '#']).next().unwrap_or_default();
        let name = plain.rsplit('/').next().filter(|name| !matches!(*name, "" | "." | ".."));
        let name = name.ok_or_else(|| Error::Path {
            path: path.clone(),
            reason: "it is a folder, and the address has no name for a file in it",
        })?;
        Ok(format!("{}/{name}", path.trim_end_matches('/')))
    }

    pub(crate) fn link(&mut self, link: &Link) -> Result<(), Error> {
        let path = link.path.as_str();
        if let Some(status) = self.root.status(path)? {
            let is_same = !link.hard && self.root.link_target(path)?.as_ref() == Some(&link.target);
            if !link.overwrite && !is_same {
                return Err(Error::Exists { path: path.to_owned(), found: status.kind.words() });
            }
            if status.kind == Kind::Folder {
                self.give_way(path, status)?;
            }
        }
        if link.hard {
            return self.root.hard_link(path, &link.target);
        }
        let owner = self.owner(&link.owner, None)?;
        self.root.symlink(path, &link.target, owner)
    }

    /// Removes what is there, unless that could not be undone.
    fn give_way(&mut self, path: &str, status: Status) -> Result<(), Error> {
        let is_full = status.kind == Kind::Folder && !self.root.list(path)?.is_empty();
        if is_full && !self.root.is_noted() {
            let found = "a folder that holds something";
            return Err(Error::Exists { path: path.to_owned(), found });
        }
        self.root.remove(path)
    }

    /// The numbers of an owner; what is not said keeps what is there, or is root.
    pub(crate) fn owner(
        &self,
        owner: &kiln_config::action::Owner,
        there: Option<Status>,
    ) -> Result<Owner, Error> {
        let kept = there.map(|status| status.owner).unwrap_or_default();
        if owner.user.is_none() && owner.group.is_none() {
            return Ok(kept);
        }
        let names = Names::read(&self.root)?;
        Ok(Owner {
            user: owner.user.as_deref().map_or(Ok(kept.user), |name| names.user(name))?,
            group: owner.group.as_deref().map_or(Ok(kept.group), |name| names.group(name))?,
        })
    }

    /// Writes a settings file that belongs to root.
    pub(crate) fn settings(&mut self, path: &str, text: &str) -> Result<(), Error> {
        if let Some(status) = self.root.status(path)?
            && status.kind == Kind::Folder
        {
            return Err(file("write", path)(rustix::io::Errno::ISDIR));
        }
        self.root.write(path, text.as_bytes(), FILE_MODE, Owner::default())
    }
}
