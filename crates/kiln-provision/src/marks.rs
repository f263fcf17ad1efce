//! Marks of documents that were carried out, and journals of those that were not finished.
//!
//! One folder for each generation of configuration: `<state>/config/<generation, 8 digits>`. A document
//! is known by the hash of what it asks for. While it runs, `<hash>.undo` holds its journal; that it is
//! done is the file `<hash>.done`, and the rename which gives that file its name is the commit point
//! of the whole document. So a journal without a mark belongs to an attempt that was cut off, and one
//! beside a mark only to tidying up that was cut off. A flag inside the journal was dropped: it would be
//! a second thing that has to be true at the same time.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::marks;
use crate::root::{Journal, forget, undo};
use crate::{Error, Report, Root};

/// Ends of the names.
const DONE: &str = ".done";
const UNDO: &str = ".undo";
/// What happened in a stage the last time, for people and programs: `report-<stage>.json`.
const REPORT: &str = "report-";
/// Why the last document failed, in one sentence; gone after a success.
const FAILURE: &str = "failure";
/// Only root reads them: names of users and paths are nobody else's business.
const MODE: u32 = 0o600;

/// The marks of one generation.
#[derive(Debug, Clone)]
pub struct Ledger {
    folder: PathBuf,
    generation: u64,
}

impl Ledger {
    /// Opens the marks of a generation in the state's folder (`/state` on a machine).
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(state: &Path, generation: u64) -> Result<Self, Error> {
        let folder = state.join("config").join(format!("{generation:08}"));
        fs::create_dir_all(&folder).map_err(marks("make", &folder))?;
        Ok(Self { folder, generation })
    }

    /// Where the marks lie.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a document is done.
    #[must_use]
    pub fn is_done(&self, hash: &str) -> bool {
        self.folder.join(format!("{hash}{DONE}")).is_file()
    }

    /// The hashes of all documents that are done in this generation, sorted.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn done(&self) -> Result<Vec<String>, Error> {
        self.with_ending(DONE)
    }

    /// Whether there are journals: of attempts that were cut off, or of tidying up that was.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn is_cut_off(&self) -> Result<bool, Error> {
        Ok(!self.with_ending(UNDO)?.is_empty())
    }

    /// Undoes what an attempt left that was cut off, and gives the hashes of those documents.
    ///
    /// # Errors
    /// It cannot be undone; the journal is kept.
    pub fn recover(&self, root: &mut Root) -> Result<Vec<String>, Error> {
        let mut undone = Vec::new();
        for hash in self.with_ending(UNDO)? {
            let journal = self.journal(&hash);
            if self.is_done(&hash) {
                forget(&journal)?;
            } else {
                undo(&journal, root)?;
                undone.push(hash);
            }
        }
        Ok(undone)
    }

    /// A journal for a document that begins.
    pub(crate) fn begin(&self, hash: &str) -> Result<Journal, Error> {
        Journal::create(&self.journal(hash))
    }

    /// Marks a document as done.
    pub(crate) fn finish(&self, hash: &str) -> Result<(), Error> {
        let mark = serde_json::json!({ "hash": hash, "generation": self.generation });
        // The commit point of the document.
        self.write(&format!("{hash}{DONE}"), format!("{mark}\n").as_bytes())?;
        Ok(kiln_etc::file::remove(&self.folder.join(FAILURE))?)
    }

    /// Keeps what happened.
    pub(crate) fn keep(&self, report: &Report) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(report)
            .map_err(|error| marks("write", &self.folder)(std::io::Error::from(error)))?;
        // Hooks have names that users choose.
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
        let stage: String = report.stage.to_string();
        let stage: String =
            stage.chars().take(64).map(|one| if is_plain(one) { one } else { '_' }).collect();
        self.write(&format!("{REPORT}{stage}.json"), &text)?;
        report.aborted.as_ref().map_or(Ok(()), |reason| self.fail(reason))
    }

    /// Keeps why nothing could be done.
    pub(crate) fn fail(&self, reason: &str) -> Result<(), Error> {
        self.write(FAILURE, format!("{reason}\n").as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        Ok(kiln_etc::file::replace(&self.folder.join(name), bytes, MODE)?)
    }

    fn journal(&self, hash: &str) -> PathBuf {
        self.folder.join(format!("{hash}{UNDO}"))
    }

    fn with_ending(&self, ending: &str) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(marks("read", &self.folder))? {
            let entry = entry.map_err(marks("read", &self.folder))?;
            if let Some(name) = entry.file_name().to_str()
                && let Some(hash) = name.strip_suffix(ending)
            {
                names.push(hash.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}
