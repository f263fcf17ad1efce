//! Tidying up after a change that was not finished.
//!
//! Repairs only what an interrupted change of this module, or of firmware, leaves: a file with two
//! names, a name behind a directory's end mark, clusters of no file, copies of the table that
//! differ, a wrong count. Everything else is an error: guessing at foreign damage could lose the one
//! boot file that works.

use super::directory::{Directory, Named};
use super::draft::Draft;
use super::plan::unlink;
use super::volume::Volume;
use crate::device::Write;
use crate::error::Error;
use std::collections::BTreeMap;

/// Directories inside each other that are followed, as in the reader.
const MAXIMUM_DEPTH: usize = 32;

/// A file and where its name is.
struct Found {
    path: String,
    /// First cluster of the directory that names it.
    directory: u32,
    named: Named,
}

impl Volume<'_> {
    /// The writes that end an unfinished change; none if there is nothing to do.
    ///
    /// Of two names for one file the one in `preferred` (a directory, such as `EFI/Linux`) stays:
    /// a move commits when the new name appears. Both in the same directory: the later entry goes.
    ///
    /// # Errors
    /// [`Error::Fat`] for damage that no interrupted change leaves, [`Error::Device`].
    pub fn repair(&self, preferred: &str) -> Result<Vec<Write<'static>>, Error> {
        if !self.is_changing() && self.table == self.copy {
            return Ok(Vec::new());
        }
        let mut used = vec![false; self.table.len()];
        for cluster in self.chain(self.root)? {
            used[cluster as usize] = true;
        }
        let mut files = Vec::new();
        let mut directories = BTreeMap::new();
        self.walk("", 0, MAXIMUM_DEPTH, &mut used, &mut files, &mut directories)?;

        let mut draft = Draft::new(self);
        draft.begin();
        // Preferred names first, so that the others are the surplus ones.
        let prefix = format!("{}/", preferred.to_uppercase());
        files.sort_by_key(|file| !file.path.to_uppercase().starts_with(&prefix));
        let mut owners: BTreeMap<u32, (u32, String)> = BTreeMap::new();
        for file in &files {
            let clusters = self.content(&file.named)?;
            let Some(first) = clusters.first() else { continue };
            match owners.get(first) {
                Some((length, _)) if *length == file.named.length => {
                    // The walk has read every directory that names a file.
                    if let Some(directory) = directories.get_mut(&file.directory) {
                        unlink(&mut draft, directory, &file.named)?;
                    }
                }
                Some(_) => return Err(Error::Fat("two files of different length share clusters")),
                None => {
                    owners.insert(*first, (file.named.length, file.path.clone()));
                    for cluster in clusters {
                        if std::mem::replace(&mut used[cluster as usize], true) {
                            return Err(Error::Fat("two files share clusters"));
                        }
                    }
                }
            }
        }
        for directory in directories.values_mut() {
            for sector in directory.clear_behind_end() {
                draft.write_directory(directory, sector)?;
            }
        }
        let lost: Vec<u32> = self
            .clusters()
            .filter(|cluster| !used[*cluster as usize] && is_allocated(self.next(*cluster)))
            .collect();
        draft.release(&lost);
        draft.unite_tables();
        draft.write_table();
        draft.end()?;
        Ok(draft.finish())
    }

    fn walk(
        &self,
        prefix: &str,
        first: u32,
        depth: usize,
        used: &mut [bool],
        files: &mut Vec<Found>,
        directories: &mut BTreeMap<u32, Directory>,
    ) -> Result<(), Error> {
        let depth = depth.checked_sub(1).ok_or(Error::Fat("directories too deep"))?;
        let directory = self.directory(first)?;
        let entries = directory.entries();
        directories.insert(first, directory);
        for named in entries {
            let path = format!("{prefix}{}", named.name);
            if named.is_directory {
                for cluster in self.chain(named.cluster)? {
                    if std::mem::replace(&mut used[cluster as usize], true) {
                        return Err(Error::Fat("two directories share clusters"));
                    }
                }
                self.walk(&format!("{path}/"), named.cluster, depth, used, files, directories)?;
            } else {
                files.push(Found { path, directory: first, named });
            }
        }
        Ok(())
    }
}

/// Whether a table entry belongs to a chain: neither free nor marked as a bad cluster.
fn is_allocated(entry: u32) -> bool {
    /// A cluster that the disk cannot hold (section 4).
    const BAD: u32 = 0x0fff_fff7;
    entry != 0 && entry != BAD
}
