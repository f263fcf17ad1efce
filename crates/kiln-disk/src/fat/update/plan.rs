//! From one change to its writes.

use super::Change;
use super::directory::{Directory, Named, Room};
use super::draft::Draft;
use super::volume::Volume;
use crate::device::Write;
use crate::error::Error;
use crate::fat::format::{DIRECTORY_ENTRY, attribute};
use crate::fat::names;
use crate::fat::writer::entry;

impl Volume<'_> {
    /// The writes of one change, in their order. After they were carried out, open the volume again
    /// for the next change.
    ///
    /// # Errors
    /// [`Error::FatPath`] for a path that cannot be or is taken, [`Error::NoFile`],
    /// [`Error::FatFull`], [`Error::Fat`] for damage or a change that was not finished (see
    /// [`Volume::repair`]), [`Error::Device`].
    pub fn plan<'c>(&self, change: &Change<'c>) -> Result<Vec<Write<'c>>, Error> {
        if self.is_changing() {
            return Err(Error::Fat("an earlier change was not finished"));
        }
        let mut draft = Draft::new(self);
        match *change {
            Change::Add { path, bytes } => {
                let length = file_length(path, bytes)?;
                let (mut parent, name) = self.parent(path)?;
                refuse_taken(&parent, name, path)?;
                draft.begin();
                let clusters = draft.allocate(u64::from(length))?;
                draft.write_content(&clusters, bytes)?;
                let first = clusters.first().copied().unwrap_or(0);
                let target = Target { attributes: attribute::ARCHIVE, cluster: first, length };
                link(&mut draft, &mut parent, name, &target)?;
            }
            Change::Replace { path, bytes } => {
                let length = file_length(path, bytes)?;
                let (mut parent, name) = self.parent(path)?;
                let found = file(&parent, name, path)?;
                let old = self.content(&found)?;
                draft.begin();
                let clusters = draft.allocate(u64::from(length))?;
                draft.write_content(&clusters, bytes)?;
                draft.write_table();
                let at = found.range.end - DIRECTORY_ENTRY;
                let first = clusters.first().copied().unwrap_or(0);
                let short = entry(&found.short, attribute::ARCHIVE, first, length);
                parent.bytes[at..at + DIRECTORY_ENTRY].copy_from_slice(&short);
                draft.write_directory(&parent, at)?;
                draft.flush();
                draft.release(&old);
                draft.write_table();
            }
            Change::Move { from, to } => {
                let (mut source, name) = self.parent(from)?;
                let found = file(&source, name, from)?;
                let (mut target, new_name) = self.parent(to)?;
                let is_same = source.clusters == target.clusters;
                if !(is_same && target.find(new_name).is_some_and(|other| other == found)) {
                    refuse_taken(&target, new_name, to)?;
                }
                if is_same && rename_in_place(&mut draft, &mut source, &found, new_name)? {
                    return Ok(draft.finish());
                }
                draft.begin();
                let content = Target {
                    attributes: attribute::ARCHIVE,
                    cluster: found.cluster,
                    length: found.length,
                };
                link(&mut draft, &mut target, new_name, &content)?;
                let mut remaining = if is_same { target } else { source };
                unlink(&mut draft, &mut remaining, &found)?;
            }
            Change::Remove { path } => {
                let (mut parent, name) = self.parent(path)?;
                let found = file(&parent, name, path)?;
                let clusters = self.content(&found)?;
                draft.begin();
                unlink(&mut draft, &mut parent, &found)?;
                draft.release(&clusters);
                draft.write_table();
            }
            Change::RemoveDirectory { path } => {
                let (mut parent, name) = self.parent(path)?;
                let found = parent.find(name).filter(|entry| entry.is_directory);
                let found = found.ok_or_else(|| Error::NoFile(path.into()))?;
                let inside = self.directory(found.cluster)?;
                if !inside.entries().is_empty() {
                    return Err(Error::FatPath {
                        path: path.into(),
                        reason: "folder is not empty",
                    });
                }
                draft.begin();
                unlink(&mut draft, &mut parent, &found)?;
                draft.release(&inside.clusters);
                draft.write_table();
            }
            Change::MakeDirectory { path } => {
                let (mut parent, name) = self.parent(path)?;
                refuse_taken(&parent, name, path)?;
                draft.begin();
                let clusters = draft.allocate(1)?;
                let own = clusters[0];
                let up = parent.clusters.first().copied().filter(|up| *up != self.root);
                let mut bytes = vec![0; self.geometry.cluster_bytes() as usize];
                let dots = [
                    entry(b".          ", attribute::DIRECTORY, own, 0),
                    entry(b"..         ", attribute::DIRECTORY, up.unwrap_or(0), 0),
                ];
                bytes[..2 * DIRECTORY_ENTRY].copy_from_slice(dots.as_flattened());
                draft.write(self.place(own)?, bytes);
                draft.flush();
                let target = Target { attributes: attribute::DIRECTORY, cluster: own, length: 0 };
                link(&mut draft, &mut parent, name, &target)?;
            }
        }
        draft.end()?;
        Ok(draft.finish())
    }

    /// The directory that holds `path`, and its last name.
    fn parent<'p>(&self, path: &'p str) -> Result<(Directory, &'p str), Error> {
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        if let Some(reason) = names::defect(name) {
            return Err(Error::FatPath { path: path.into(), reason });
        }
        let mut directory = self.directory(0)?;
        for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
            let found = directory.find(parent).filter(|entry| entry.is_directory);
            let found = found.ok_or_else(|| Error::NoFile(parents.into()))?;
            directory = self.directory(found.cluster)?;
        }
        Ok((directory, name))
    }

    /// The clusters of a file.
    pub(super) fn content(&self, file: &Named) -> Result<Vec<u32>, Error> {
        if file.cluster == 0 { Ok(Vec::new()) } else { self.chain(file.cluster) }
    }
}

/// What a name leads to.
struct Target {
    attributes: u8,
    cluster: u32,
    length: u32,
}

fn file_length(path: &str, bytes: &[u8]) -> Result<u32, Error> {
    u32::try_from(bytes.len())
        .map_err(|_| Error::FatPath { path: path.into(), reason: "file of 4 GiB or more" })
}

fn refuse_taken(directory: &Directory, name: &str, path: &str) -> Result<(), Error> {
    match directory.find(name) {
        None => Ok(()),
        Some(_) => Err(Error::FatPath { path: path.into(), reason: "name is taken" }),
    }
}

fn file(directory: &Directory, name: &str, path: &str) -> Result<Named, Error> {
    directory
        .find(name)
        .filter(|entry| !entry.is_directory)
        .ok_or_else(|| Error::NoFile(path.into()))
}

/// Entries of a name: long parts if it needs them, then the 8.3 entry.
fn entries(name: &str, short: &[u8; 11], is_whole: bool, target: &Target) -> Vec<u8> {
    let long = if is_whole { Vec::new() } else { names::long_entries(name, short) };
    let last = entry(short, target.attributes, target.cluster, target.length);
    long.into_iter().chain([last]).flatten().collect()
}

/// Gives a target a name: the tables, then the directory sector that commits.
fn link(
    draft: &mut Draft<'_, '_, '_>,
    directory: &mut Directory,
    name: &str,
    target: &Target,
) -> Result<(), Error> {
    let (short, is_whole) = directory.short_name(name)?;
    let entries = entries(name, &short, is_whole, target);
    if entries.len() > directory.sector_size {
        return Err(Error::FatPath { path: name.into(), reason: "name longer than a sector" });
    }
    match directory.room(entries.len()) {
        Room::Inside(at) => {
            draft.write_table();
            let is_end = directory.ends_by(at + entries.len() - DIRECTORY_ENTRY);
            directory.put(at, &entries, is_end);
            let next = at + entries.len();
            if is_end
                && next.is_multiple_of(directory.sector_size)
                && directory.bytes.get(next) > Some(&0)
            {
                // What lies behind the end mark is anything; the mark moves into that sector first.
                directory.bytes[next] = 0;
                draft.write_directory(directory, next)?;
                draft.flush();
            }
            draft.write_directory(directory, at)?;
        }
        Room::Behind { at, end } => {
            draft.write_table();
            directory.put(at, &entries, true);
            draft.write_directory(directory, at)?;
            draft.flush();
            directory.open_end(end);
            draft.write_directory(directory, end)?;
        }
        Room::Grow { end } => {
            let last = directory.clusters.last().copied();
            let last = last.ok_or(Error::Fat("directory without a cluster"))?;
            let new = draft.allocate(1)?[0];
            let at = directory.bytes.len();
            directory.bytes.resize(at + draft.cluster_bytes(), 0);
            directory.clusters.push(new);
            directory.put(at, &entries, true);
            for sector in (at..directory.bytes.len()).step_by(directory.sector_size) {
                draft.write_directory(directory, sector)?;
            }
            draft.flush();
            draft.write_table();
            // Reaching the new cluster commits, unless an end mark before it still hides it.
            draft.set(last, new);
            draft.write_table();
            if let Some(end) = end {
                directory.open_end(end);
                draft.write_directory(directory, end)?;
            }
        }
    }
    draft.flush();
    Ok(())
}

/// Takes a name away: the 8.3 entry's sector commits, long parts in another sector follow.
pub(super) fn unlink(
    draft: &mut Draft<'_, '_, '_>,
    directory: &mut Directory,
    found: &Named,
) -> Result<(), Error> {
    let sector = directory.sector_size;
    directory.free(found.range.clone());
    let last = (found.range.end - DIRECTORY_ENTRY) / sector;
    for index in (found.range.start / sector..=last).rev() {
        draft.write_directory(directory, index * sector)?;
        draft.flush();
    }
    Ok(())
}

/// Renames within the entries of the old name if they are enough and in one sector.
fn rename_in_place(
    draft: &mut Draft<'_, '_, '_>,
    directory: &mut Directory,
    found: &Named,
    name: &str,
) -> Result<bool, Error> {
    let at = found.range.end - DIRECTORY_ENTRY;
    let sector = directory.sector_size;
    let long = names::long_entries(name, &found.short);
    let length = (long.len() + 1) * DIRECTORY_ENTRY;
    if length > found.range.len() || found.range.start / sector != at / sector {
        return Ok(false);
    }
    // The 8.3 name stays: it is no other file's, and the entry with all it says is kept.
    let start = found.range.end - length;
    directory.free(found.range.start..start);
    directory.bytes[start..at].copy_from_slice(long.as_flattened());
    draft.write_directory(directory, at)?;
    draft.flush();
    Ok(true)
}
