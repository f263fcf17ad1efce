//! What paths were before a document that is all or nothing changed them.
//!
//! A record is on the disk before the change it is about begins, so that the next boot can undo what a
//! power cut or a fault left. Undoing goes from the last record to the first and may itself be cut
//! off: it is begun again and gives the same. Records name paths, not inodes: at each step back the
//! links on the way are those of the step forward.
//!
//! Not undone are the effects of programs: what is not a file of [`Root`] is not noted.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::write::remove_at;
use super::{Kind, Owner, Root, elements};
use crate::Error;
use crate::error::{file, marks};

/// Name of the list of records in a journal's folder: one JSON object a line.
const RECORDS: &str = "records";
/// Longest list that is read, in bytes: a record has some hundred, a document changes some thousand
/// paths.
const RECORDS_BYTES: u64 = 64 << 20;
/// Largest file that is kept, in bytes; configuration is far below, and a larger one would fill the
/// state.
const KEPT_BYTES: u64 = 1 << 30;

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    records: File,
    /// Number of the next copy.
    next: u32,
    noted: BTreeSet<String>,
    /// Paths at which nothing was: all below them is new, too.
    absent: BTreeSet<String>,
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    path: String,
    before: Before,
}

/// What was there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Before {
    Nothing,
    /// A folder of which only mode and owner change.
    Folder {
        mode: u32,
        user: u32,
        group: u32,
    },
    /// A file, link or device, kept whole under this number.
    Entry(u32),
    /// A folder that was removed with all in it, kept under this number.
    Tree(u32),
}

impl Journal {
    /// Begins an empty journal in a folder that is not there yet, or holds one that was undone.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn create(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(marks("make", folder))?;
        let path = folder.join(RECORDS);
        let records = File::options().create_new(true).append(true).open(&path);
        let records = records.map_err(marks("make", &path))?;
        sync_folder(folder)?;
        if let Some(above) = folder.parent() {
            sync_folder(above)?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            records,
            next: 0,
            noted: BTreeSet::new(),
            absent: BTreeSet::new(),
        })
    }

    fn note(&mut self, root: &Root, path: &str, whole: bool) -> Result<(), Error> {
        let path = format!("/{}", elements(path)?.join("/"));
        if self.is_new(&path) || (self.noted.contains(&path) && !whole) {
            return Ok(());
        }
        let before = match (root.status(&path)?, root.place(&path)?) {
            (Some(status), Some(place)) if status.kind == Kind::Folder && whole => {
                let kept = self.take_number();
                // Through a name below the descriptor: copying takes paths.
                kiln_etc::copy::folder(&place.real(), &self.copy(kept), &|_| false)?;
                Before::Tree(kept)
            }
            (Some(status), _) if status.kind == Kind::Folder => {
                let Owner { user, group } = status.owner;
                Before::Folder { mode: status.mode, user, group }
            }
            (Some(_), Some(place)) => {
                let kept = self.take_number();
                keep_entry(&place.real(), &self.copy(kept), &path)?;
                Before::Entry(kept)
            }
            _ => Before::Nothing,
        };
        if matches!(before, Before::Nothing) {
            self.absent.insert(path.clone());
        }
        self.noted.insert(path.clone());
        let mut line = serde_json::to_vec(&Record { path, before })
            .map_err(|error| marks("write", &self.folder)(std::io::Error::from(error)))?;
        line.push(b'\n');
        let written = self.records.write_all(&line).and_then(|()| self.records.sync_data());
        written.map_err(marks("write", &self.folder.join(RECORDS)))
    }

    /// Whether nothing was there before, or not even a folder above it.
    fn is_new(&self, path: &str) -> bool {
        let mut above = path;
        loop {
            if self.absent.contains(above) {
                return true;
            }
            match above.rsplit_once('/') {
                Some((rest, _)) if !rest.is_empty() => above = rest,
                _ => return false,
            }
        }
    }

    fn take_number(&mut self) -> u32 {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        number
    }

    fn copy(&self, number: u32) -> PathBuf {
        self.folder.join(number.to_string())
    }

    /// Forgets all: the changes stay.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn forget(self) -> Result<(), Error> {
        forget(&self.folder)
    }

    /// Brings back what was there, and forgets.
    ///
    /// # Errors
    /// A path cannot be brought back; the journal is then kept.
    pub fn undo(self, root: &mut Root) -> Result<(), Error> {
        undo(&self.folder, root)
    }
}

/// Removes a journal's folder.
pub(crate) fn forget(folder: &Path) -> Result<(), Error> {
    Ok(kiln_etc::file::remove(folder)?)
}

/// Undoes the journal in a folder and forgets it; a folder without one is only removed.
pub(crate) fn undo(folder: &Path, root: &mut Root) -> Result<(), Error> {
    let list = folder.join(RECORDS);
    let text = kiln_etc::file::read_small(&list, RECORDS_BYTES)?.unwrap_or_default();
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    // Behind the last line feed is a record that was cut off: its change never began.
    let whole = lines.split_last().map_or(&[][..], |(_, whole)| whole);
    for line in whole.iter().rev() {
        let record: Record = serde_json::from_slice(line)
            .map_err(|error| marks("read", &list)(std::io::Error::from(error)))?;
        bring_back(folder, &record, root)?;
    }
    forget(folder)
}

fn bring_back(folder: &Path, record: &Record, root: &mut Root) -> Result<(), Error> {
    let path = record.path.as_str();
    let clear = |root: &mut Root| -> Result<(), Error> {
        match (root.status(path)?, root.place(path)?) {
            (Some(status), Some(place)) => remove_at(&place, status.kind, path),
            _ => Ok(()),
        }
    };
    match &record.before {
        Before::Nothing => clear(root),
        Before::Folder { mode, user, group } => {
            root.directory(path, *mode, Owner { user: *user, group: *group })
        }
        Before::Entry(number) => {
            clear(root)?;
            let place = root.make_place(path)?;
            keep_entry(&folder.join(number.to_string()), &place.real(), path)
        }
        Before::Tree(number) => {
            clear(root)?;
            let place = root.make_place(path)?;
            Ok(kiln_etc::copy::folder(&folder.join(number.to_string()), &place.real(), &|_| false)?)
        }
    }
}

/// Copies one entry that is no folder, with all that is known of it.
fn keep_entry(from: &Path, to: &Path, path: &str) -> Result<(), Error> {
    let like = fs::symlink_metadata(from).map_err(file("look at", path))?;
    // Left by an attempt that was cut off.
    kiln_etc::file::remove(to)?;
    if like.is_file() {
        if like.len() > KEPT_BYTES {
            let reason = "it is larger than 1 GiB, and could not be brought back";
            return Err(Error::Path { path: path.to_owned(), reason });
        }
        fs::copy(from, to).map_err(file("keep a copy of", path))?;
    } else if like.is_symlink() {
        let target = fs::read_link(from).map_err(file("read the link", path))?;
        std::os::unix::fs::symlink(target, to).map_err(file("keep a copy of", path))?;
    } else {
        kiln_sys::inode::make_node(to, &like)?;
    }
    kiln_sys::inode::copy_attributes(from, to, |_| true)?;
    kiln_sys::inode::copy_metadata(to, &like)?;
    if like.is_file() {
        File::open(to).and_then(|copy| copy.sync_all()).map_err(file("keep a copy of", path))?;
    }
    to.parent().map_or(Ok(()), sync_folder)
}

fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(marks("write back", folder))
}

impl Root {
    /// Notes what is at a path before it changes.
    pub(super) fn note(&mut self, path: &str) -> Result<(), Error> {
        self.note_as(path, false)
    }

    /// Notes a folder with all in it before it is removed.
    pub(super) fn note_whole(&mut self, path: &str) -> Result<(), Error> {
        self.note_as(path, true)
    }

    fn note_as(&mut self, path: &str, whole: bool) -> Result<(), Error> {
        let Some(mut journal) = self.journal.take() else { return Ok(()) };
        let noted = journal.note(self, path, whole);
        self.journal = Some(journal);
        noted
    }
}
