//! Where configuration is looked for, in which order, and what was found.
//!
//! The order is fixed and the same on every machine: what the image brings, then what its owner put on
//! its own disk, then what firmware or hypervisor hand over, then labelled volumes, then the metadata of a
//! cloud, then what the kernel command line names. All of it is written down in a [`Trace`] that people can
//! read: "why did my file do nothing" has one place to be answered. Merging the search into the readers of
//! the dialects was dropped: two dialects would then look at two different sets of places.

mod block;
pub(crate) mod cloud;
mod command_line;
mod firmware;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing {
    /// All OEM strings of a table of SMBIOS.
    #[must_use]
    pub fn oem_strings(table: &[u8]) -> Vec<&[u8]> {
        super::firmware::oem_strings(table)
    }
}
mod folders;
mod gather;
mod policy;
pub(crate) mod volumes;
mod wants;

use serde::{Deserialize, Serialize};

pub use block::{BlockVolumes, own_boot_partition};
pub use command_line::{Named, Setup};
pub use folders::folder;
pub(crate) use gather::document_at;
pub use gather::{Search, gather_all};
pub use policy::Policy;
pub use volumes::{BlockDevice, NoVolumes, Volumes};
pub use wants::wants_network;

/// Documents that one machine takes at most: beyond, a folder holds something else by mistake.
pub const MAXIMUM_DOCUMENTS: usize = 256;

/// A document as it was found.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    /// Path or name by which people find it again.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Where it was found.
    pub place: Place,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Documents hold passwords and tokens.
        formatter
            .debug_struct("Document")
            .field("name", &self.name)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// The kinds of places, in the order in which their documents are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The verified root.
    Image,
    /// The EFI system partition of the own disk.
    BootPartition,
    /// The own disk's state: `/oem`, `/usr/local/cloud-config`.
    OwnDisk,
    /// The hypervisor's fw_cfg.
    Hypervisor,
    /// OEM strings of SMBIOS.
    Smbios,
    /// Credentials for systemd that hypervisor or firmware hand over.
    Credentials,
    /// A volume that is found by its label.
    Volume,
    /// The metadata of a cloud.
    Cloud,
    /// An address or a file that the kernel command line names.
    CommandLine,
}

impl Place {
    /// All places in their order.
    pub const ALL: [Self; 9] = [
        Self::Image,
        Self::BootPartition,
        Self::OwnDisk,
        Self::Hypervisor,
        Self::Smbios,
        Self::Credentials,
        Self::Volume,
        Self::Cloud,
        Self::CommandLine,
    ];

    /// Whether somebody else than the machine's owner may put a document there at any time.
    #[must_use]
    pub fn is_handed_over(self) -> bool {
        use Place::{Cloud, Credentials, Hypervisor, Smbios, Volume};
        matches!(self, Hypervisor | Smbios | Credentials | Volume | Cloud)
    }

    /// The name in files and policies.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::BootPartition => "boot-partition",
            Self::OwnDisk => "own-disk",
            Self::Hypervisor => "hypervisor",
            Self::Smbios => "smbios",
            Self::Credentials => "credentials",
            Self::Volume => "volume",
            Self::Cloud => "cloud",
            Self::CommandLine => "command-line",
        }
    }
}

/// What was looked at, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// One entry for each place.
    pub looked: Vec<Looked>,
}

/// One place that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// Kind of place.
    pub place: Place,
    /// Where exactly.
    pub at: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of looking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing is there.
    Absent,
    /// So many documents were taken.
    Taken(usize),
    /// It was not looked at, or not used, and why.
    Ignored(String),
}

impl Trace {
    /// Writes down one place.
    pub fn note(&mut self, place: Place, at: impl Into<String>, outcome: Outcome) {
        self.looked.push(Looked { place, at: at.into(), outcome });
    }

    /// Writes down a place from which a number of documents came.
    pub fn found(&mut self, place: Place, at: impl Into<String>, count: usize) {
        let outcome = if count == 0 { Outcome::Absent } else { Outcome::Taken(count) };
        self.note(place, at, outcome);
    }
}

impl std::fmt::Display for Looked {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: ", self.at)?;
        match &self.outcome {
            Outcome::Absent => formatter.write_str("nothing there"),
            Outcome::Taken(1) => formatter.write_str("1 document taken"),
            Outcome::Taken(count) => write!(formatter, "{count} documents taken"),
            Outcome::Ignored(reason) => write!(formatter, "not used: {reason}"),
        }
    }
}

impl std::fmt::Display for Trace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.looked.iter().try_for_each(|looked| writeln!(formatter, "{looked}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Place, Trace};

    #[test]
    fn a_trace_can_be_read() {
        let mut trace = Trace::default();
        trace.found(Place::Image, "/system/oem", 2);
        trace.found(Place::OwnDisk, "/oem", 0);
        trace.note(Place::Volume, "CIDATA", Outcome::Ignored("too late".into()));
        assert_eq!(
            trace.to_string(),
            "/system/oem: 2 documents taken\n/oem: nothing there\nCIDATA: not used: too late\n"
        );
    }

    #[test]
    fn names_are_those_of_the_files() {
        for place in Place::ALL {
            assert_eq!(serde_json::json!(place), place.name());
        }
    }
}
