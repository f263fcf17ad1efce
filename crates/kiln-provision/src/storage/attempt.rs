//! What an attempt at a document has made on disks, in case it is cut off.
//!
//! A file system, volume or array gets an identity that is drawn here and is on the disk, in
//! `devices.attempt` beside the marks, before its program starts. The next attempt knows its own by that
//! identity and makes it anew; everything else is somebody's and is wiped only if asked. Going by the
//! name of the device was dropped: disks change their names between boots.
//!
//! The list is taken over from attempt to attempt until a document is done, also when the document was
//! repaired in between and has another hash.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::records::Record;
use crate::error::marks;
use crate::{Error, Ledger};

/// Name of the file: one JSON object a line.
const NAME: &str = "devices.attempt";
/// Longest file that is read, in bytes.
const MAXIMUM_BYTES: u64 = 16 << 20;
/// Only root reads it.
const MODE: u32 = 0o600;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    /// The document.
    Document(String),
    /// Identity of a file system, volume or array that is about to be made.
    Made(String),
    /// GUID of a partition that is about to be made.
    Partition(String),
    /// Something that is about to be opened or mounted.
    Opened(Record),
}

/// The attempt that runs.
#[derive(Debug)]
pub(crate) struct Attempt {
    path: PathBuf,
    file: File,
    /// The document.
    pub(crate) hash: String,
    made: BTreeSet<String>,
    partitions: BTreeSet<String>,
    /// What is open, in order.
    pub(crate) opened: Vec<Record>,
}

/// What is in the file.
#[derive(Debug, Default)]
struct Past {
    hash: String,
    made: BTreeSet<String>,
    partitions: BTreeSet<String>,
    opened: Vec<Record>,
}

fn read(ledger: &Ledger) -> Result<Past, Error> {
    let path = ledger.folder().join(NAME);
    let bytes = kiln_etc::file::read_small(&path, MAXIMUM_BYTES)?.unwrap_or_default();
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    // Behind the last line feed is a line that was cut off: what it is about never began.
    let whole = lines.split_last().map_or(&[][..], |(_, whole)| whole);
    let mut past = Past::default();
    for line in whole {
        let line: Line = serde_json::from_slice(line)
            .map_err(|error| marks("read", &path)(std::io::Error::from(error)))?;
        match line {
            Line::Document(hash) => past.hash = hash,
            Line::Made(identity) => drop(past.made.insert(identity)),
            Line::Partition(guid) => drop(past.partitions.insert(guid)),
            Line::Opened(record) => past.opened.push(record),
        }
    }
    // What a finished document made is the machine's, and nobody's left-over.
    Ok(if ledger.is_done(&past.hash) { Past::default() } else { past })
}

fn bytes(lines: &[Line]) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut bytes, line)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

fn rewrite(ledger: &Ledger, past: &Past) -> Result<(), Error> {
    let path = ledger.folder().join(NAME);
    let mut lines = vec![Line::Document(past.hash.clone())];
    lines.extend(past.made.iter().cloned().map(Line::Made));
    lines.extend(past.partitions.iter().cloned().map(Line::Partition));
    let bytes =
        bytes(&lines).map_err(|error| marks("write", &path)(std::io::Error::from(error)))?;
    Ok(kiln_etc::file::replace(&path, &bytes, MODE)?)
}

/// What an attempt had opened that was cut off, in order.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn left_open(ledger: &Ledger) -> Result<Vec<Record>, Error> {
    Ok(read(ledger)?.opened)
}

/// Whether a past attempt that is not done made this.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn has_left(ledger: &Ledger, identity: &str) -> Result<bool, Error> {
    Ok(read(ledger)?.made.contains(&identity.to_ascii_lowercase()))
}

/// Notes that nothing of the past attempt is open any more.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn forget_open(ledger: &Ledger) -> Result<(), Error> {
    let past = read(ledger)?;
    if past.opened.is_empty() { Ok(()) } else { rewrite(ledger, &past) }
}

impl Attempt {
    /// Begins an attempt, and takes over what earlier ones left.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(crate) fn begin(ledger: &Ledger, hash: &str) -> Result<Self, Error> {
        let past = Past { hash: hash.to_owned(), opened: Vec::new(), ..read(ledger)? };
        rewrite(ledger, &past)?;
        let path = ledger.folder().join(NAME);
        let file = File::options().append(true).open(&path).map_err(marks("open", &path))?;
        let Past { hash, made, partitions, opened } = past;
        Ok(Self { path, file, hash, made, partitions, opened })
    }

    /// Whether an attempt made this; the letters of a UUID may be large or small.
    pub(crate) fn has_made(&self, identity: &str) -> bool {
        !identity.is_empty() && self.made.contains(&identity.to_ascii_lowercase())
    }

    /// Whether an attempt made this partition.
    pub(crate) fn has_partition(&self, guid: &str) -> bool {
        self.partitions.contains(guid)
    }

    /// Notes what is about to be made.
    ///
    /// # Errors
    /// It cannot be written; nothing may be made.
    pub(crate) fn makes(&mut self, identity: &str) -> Result<(), Error> {
        let identity = identity.to_ascii_lowercase();
        self.append(&Line::Made(identity.clone()))?;
        self.made.insert(identity);
        Ok(())
    }

    /// Notes a partition that is about to be made.
    ///
    /// # Errors
    /// As [`Self::makes`].
    pub(crate) fn makes_partition(&mut self, guid: &str) -> Result<(), Error> {
        self.append(&Line::Partition(guid.to_owned()))?;
        self.partitions.insert(guid.to_owned());
        Ok(())
    }

    /// Notes what is about to be opened.
    ///
    /// # Errors
    /// As [`Self::makes`].
    pub(crate) fn opens(&mut self, record: Record) -> Result<(), Error> {
        self.append(&Line::Opened(record.clone()))?;
        self.opened.push(record);
        Ok(())
    }

    fn append(&mut self, line: &Line) -> Result<(), Error> {
        let bytes = bytes(std::slice::from_ref(line))
            .map_err(|error| marks("write", &self.path)(std::io::Error::from(error)))?;
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.map_err(marks("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_known_until_a_document_is_done() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path(), 1).unwrap();
        let mut first = Attempt::begin(&ledger, "one").unwrap();
        first.makes("AB-12").unwrap();
        first.makes_partition("p").unwrap();
        let record = Record::Array { name: "a".into(), uuid: "u".into() };
        first.opens(record.clone()).unwrap();
        assert_eq!(left_open(&ledger).unwrap(), [record]);
        // A cut in the middle of a line.
        first.file.write_all(b"{\"made\":\"no").unwrap();
        forget_open(&ledger).unwrap();
        assert!(left_open(&ledger).unwrap().is_empty());
        // The document was repaired and has another hash.
        let second = Attempt::begin(&ledger, "two").unwrap();
        assert!(second.has_made("ab-12") && second.has_made("AB-12") && second.has_partition("p"));
        assert!(!second.has_made("no") && !second.has_made(""));
        ledger.finish("two").unwrap();
        let third = Attempt::begin(&ledger, "three").unwrap();
        assert!(!third.has_made("ab-12") && !third.has_partition("p"));
    }
}
