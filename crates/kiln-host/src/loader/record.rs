//! What this machine remembers of its boot loaders: one JSON file in the state.
//!
//! The ESP is the truth and this is the memory: an event is added when a loader is found to be another
//! than the last one that was written down, by whatever it was replaced and however often the power went
//! in between. Nothing is decided by it, so a record that was lost or is damaged begins anew. It is no
//! part of the ledger, whose unknown keys are refused: a Kiln that a machine goes back to must go on.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::SYSTEMD_BOOT;
use crate::Error;
use crate::machine::LoaderFile;

/// The value of `format`.
pub const FORMAT: &str = "kiln.loader.v1";

/// Events that are kept: more changes of a loader than a machine sees in its life.
pub const MAXIMUM_EVENTS: usize = 64;

/// Name of the record beside the ledger.
const NAME: &str = "loader.json";
/// Longest record that is read, in bytes; a full one has about 15 kB.
const MAXIMUM_RECORD: u64 = 1 << 20;

/// A loader that was found for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderEvent {
    /// Seconds since 1970 by the machine's clock, which may be wrong. The order is that of the list.
    pub time: u64,
    /// The generation that ran then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// The loader's path on the ESP.
    pub path: String,
    /// Its version; missing if it is none that Kiln knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Which loader it is, where a version is known and it is not systemd-boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

impl LoaderEvent {
    /// Kind and version; `None` for a loader that Kiln does not know.
    #[must_use]
    pub fn loader(&self) -> Option<(&str, &str)> {
        let kind = self.kind.as_deref().unwrap_or(SYSTEMD_BOOT);
        self.version.as_deref().map(|version| (kind, version))
    }
}

/// The whole record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Always [`FORMAT`].
    pub format: String,
    /// Oldest first.
    pub events: Vec<LoaderEvent>,
}

impl Default for Record {
    fn default() -> Self {
        Self { format: FORMAT.to_owned(), events: Vec::new() }
    }
}

impl Record {
    /// The record in the folder of the ledger; an empty one if there is none that can be read.
    #[must_use]
    pub fn read(folder: &Path) -> Self {
        let read = || -> io::Result<Vec<u8>> {
            let mut text = Vec::new();
            File::open(folder.join(NAME))?.take(MAXIMUM_RECORD).read_to_end(&mut text)?;
            Ok(text)
        };
        let record = read().ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        record.filter(|record| record.format == FORMAT).unwrap_or_default()
    }

    /// Each event that found another loader where one was already, with the one before, oldest first.
    pub fn changes(&self) -> impl Iterator<Item = (&LoaderEvent, &LoaderEvent)> {
        self.events.iter().enumerate().filter_map(|(at, event)| {
            let earlier = self.events.get(..at)?;
            let before = earlier.iter().rev().find(|before| before.path == event.path)?;
            Some((before, event))
        })
    }

    /// The record that knows these loaders.
    #[must_use]
    pub fn with(&self, loaders: &[LoaderFile], generation: Option<u32>, time: u64) -> Self {
        let mut record = self.clone();
        for file in loaders {
            let last = record.events.iter().rev().find(|event| event.path == file.path);
            let found = file.loader.as_ref();
            let found = found.map(|loader| (loader.kind.name(), loader.version.as_str()));
            if last.is_none_or(|last| last.loader() != found) {
                let kind = found.map(|(kind, _)| kind).filter(|kind| *kind != SYSTEMD_BOOT);
                record.events.push(LoaderEvent {
                    time,
                    generation,
                    path: file.path.clone(),
                    version: found.map(|(_, version)| version.to_owned()),
                    kind: kind.map(str::to_owned),
                });
            }
        }
        let surplus = record.events.len().saturating_sub(MAXIMUM_EVENTS);
        record.events.drain(..surplus);
        record
    }

    /// Replaces the record; afterwards it is on stable storage.
    ///
    /// # Errors
    /// [`Error::File`]; the old one is then still there.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let (path, new) = (folder.join(NAME), folder.join(format!("{NAME}.new")));
        let replace = || -> io::Result<()> {
            let mut text = serde_json::to_string_pretty(self)?;
            text.push('\n');
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // The commit point.
            fs::rename(&new, &path)?;
            File::open(folder)?.sync_all()
        };
        replace().map_err(|source| Error::file("write", &path, source))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{FORMAT, MAXIMUM_EVENTS, Record};
    use crate::loader::facts::tests::loader;
    use crate::machine::LoaderFile;

    fn file(path: &str, version: Option<&str>) -> LoaderFile {
        LoaderFile {
            path: path.into(),
            length: 9,
            loader: version.map(|version| loader(version, &[])),
        }
    }

    #[test]
    fn what_changed_is_written_down_once_and_in_its_order() {
        let one = [file("a", Some("252")), file("b", None)];
        let first = Record::default().with(&one, Some(1), 900);
        let told = |record: &Record| -> Vec<_> {
            let event = |event: &super::LoaderEvent| {
                (event.time, event.generation, event.path.clone(), event.version.clone())
            };
            record.events.iter().map(event).collect()
        };
        let version = |text: &str| Some(text.to_owned());
        let expected =
            [(900, Some(1), "a".to_owned(), version("252")), (900, Some(1), "b".to_owned(), None)];
        assert_eq!(told(&first), expected);
        assert_eq!(first.with(&one, Some(2), 950), first);
        // The clock went back; the order is that of the list.
        let second = first.with(&[file("a", Some("257")), file("b", None)], Some(2), 5);
        assert_eq!(told(&second)[2], (5, Some(2), "a".to_owned(), version("257")));
        assert_eq!(second.with(&[file("a", Some("257"))], Some(3), 0), second);
        let mut many = second;
        for number in 0..2 * MAXIMUM_EVENTS {
            many = many.with(&[file("a", Some(&number.to_string()))], None, 1);
        }
        assert_eq!(many.events.len(), MAXIMUM_EVENTS);
        assert_eq!(many.events.last().unwrap().version, version("127"));
    }

    /// A record of the field must be readable for ever.
    #[test]
    fn the_text_is_frozen_and_a_damaged_one_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(folder.path()), Record::default());
        let record = Record::default().with(&[file("a", Some("252"))], Some(1), 9);
        record.write(folder.path()).unwrap();
        assert_eq!(Record::read(folder.path()), record);
        let path = folder.path().join("loader.json");
        let text = fs::read_to_string(&path).unwrap();
        let golden = format!(
            "{{\n  \"format\": \"{FORMAT}\",\n  \"events\": [\n    {{\n      \"time\": 9,\n      \
             \"generation\": 1,\n      \"path\": \"a\",\n      \"version\": \"252\"\n    }}\n  ]\n}}\n"
        );
        assert_eq!(text, golden);
        let newer = text.replace("\"time\"", "\"how\": 1, \"time\"");
        for (text, is_known) in
            [(newer, true), (text.replace("v1", "v2"), false), ("{".into(), false)]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(Record::read(folder.path()) == record, is_known);
        }
        assert!(record.write(&folder.path().join("none")).is_err());
    }
}
