//! Which devices the first boot made, for all later boots: `devices.json` beside the marks.
//!
//! Written before the commit point of the document that asked for them, under its hash: what is listed
//! for a document without a mark belongs to an attempt that was cut off, and is not opened. Files of the
//! image (`crypttab`, `mdadm.conf`, units) were dropped: they would have to be in step with the image's
//! programs, and `/var` on another disk is needed before any of them is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::marks;

/// Name of the file.
pub(crate) const NAME: &str = "devices.json";
/// What its first field says.
const FORMAT: &str = "kiln.devices.v1";
/// Longest file that is read, in bytes: a record has a few hundred.
const MAXIMUM_BYTES: u64 = 16 << 20;
/// Only root reads it.
const MODE: u32 = 0o600;

/// One device that is opened at each boot, in the order in which they lie on each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub(crate) enum Record {
    /// An array.
    Array {
        /// Name below `/dev/md`.
        name: String,
        /// Its identity.
        uuid: String,
    },
    /// An encrypted volume; its key is [`key_file`].
    Encrypted {
        /// Name below `/dev/mapper`.
        name: String,
        /// What is encrypted, as the document calls it.
        device: String,
        /// UUID of the header.
        uuid: String,
        /// Options for opening it.
        options: Vec<String>,
    },
    /// A file system.
    Mount {
        /// Where.
        path: String,
        /// The device as the document calls it.
        device: String,
        /// UUID of the file system; empty where it has none.
        uuid: String,
        /// Kind of file system.
        format: String,
        /// mount(8) options.
        options: Vec<String>,
    },
}

impl Record {
    /// The word for messages.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Array { name, .. } => format!("array `{name}`"),
            Self::Encrypted { name, .. } => format!("encrypted volume `{name}`"),
            Self::Mount { path, .. } => format!("file system of `{path}`"),
        }
    }
}

/// All records, by the hash of their document.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Records {
    format: String,
    pub(crate) documents: BTreeMap<String, Vec<Record>>,
}

impl Records {
    /// Reads them; none where no file is.
    ///
    /// # Errors
    /// The file cannot be read or is none of these.
    pub(crate) fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(NAME);
        let Some(bytes) = kiln_etc::file::read_small(&path, MAXIMUM_BYTES)? else {
            return Ok(Self::default());
        };
        let records: Self = serde_json::from_slice(&bytes)
            .map_err(|error| marks("read", &path)(std::io::Error::from(error)))?;
        if records.format != FORMAT {
            let other = std::io::Error::other(format!("its format is not {FORMAT}"));
            return Err(marks("read", &path)(other));
        }
        Ok(records)
    }

    /// Writes them, the old or the new ones whatever happens.
    ///
    /// # Errors
    /// They cannot be written.
    pub(crate) fn write(&mut self, folder: &Path) -> Result<(), Error> {
        FORMAT.clone_into(&mut self.format);
        let path = folder.join(NAME);
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| marks("write", &path)(std::io::Error::from(error)))?;
        Ok(kiln_etc::file::replace(&path, &bytes, MODE)?)
    }
}

/// Where the key of an encrypted volume lies.
pub(crate) fn key_file(folder: &Path, name: &str) -> PathBuf {
    folder.join("keys").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Records::read(folder.path()).unwrap(), Records::default());
        let mut records = Records::default();
        let mount = Record::Mount {
            path: "/var".into(),
            device: "/dev/vdb1".into(),
            uuid: "u".into(),
            format: "xfs".into(),
            options: vec!["noatime".into()],
        };
        let array = Record::Array { name: "a".into(), uuid: "1:2".into() };
        records.documents.insert("h".into(), vec![array, mount]);
        records.write(folder.path()).unwrap();
        assert_eq!(Records::read(folder.path()).unwrap(), records);
        let text = std::fs::read_to_string(folder.path().join(NAME)).unwrap();
        assert!(text.contains("\"format\": \"kiln.devices.v1\""), "{text}");
        for bad in ["{", "{\"format\":\"other\",\"documents\":{}}"] {
            std::fs::write(folder.path().join(NAME), bad).unwrap();
            assert!(Records::read(folder.path()).is_err(), "{bad}");
        }
    }
}
