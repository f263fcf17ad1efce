//! What can go wrong with ISO images. Every message names the path, byte or field that was refused.

use std::path::PathBuf;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path that a medium cannot hold.
    #[error("path {path:?} cannot be on the medium: {reason}")]
    Path {
        /// The path as given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file of the overlay that is neither a file, a directory nor a symbolic link.
    #[error("{path} is a {kind}, which a medium cannot hold")]
    SpecialFile {
        /// Where it is.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A symbolic link that leads out of the medium.
    #[error("symbolic link {path:?} leads out of the medium: {target:?}")]
    Escape {
        /// The link in the medium.
        path: String,
        /// Where it points.
        target: String,
    },
    /// More than a bound allows.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// An input that is too long for its place.
    #[error("{what} has {length} bytes, at most {limit} are possible")]
    TooLong {
        /// Which input.
        what: String,
        /// Its length in bytes.
        length: u64,
        /// The longest length in bytes.
        limit: u64,
    },
    /// A field of the volume descriptor that cannot hold its value.
    #[error("{field} {value:?}: {reason}")]
    Field {
        /// Which one.
        field: &'static str,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An image of a boot loader that cannot be one.
    #[error("{what}: {reason}")]
    BootImage {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file that stands for a partition that the medium does not have.
    #[error("{path:?} stands for the {partition} partition, which the medium does not have")]
    NoPartition {
        /// The file in the medium.
        path: String,
        /// `ESP` or `root`.
        partition: &'static str,
    },
    /// A file or directory of the overlay cannot be read.
    #[error("cannot read {path}")]
    ReadFile {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The content of a file cannot be read while the medium is written.
    #[error("cannot read the content of {path:?} at byte {offset}")]
    ReadContent {
        /// The file in the medium.
        path: String,
        /// Byte offset in the file.
        offset: u64,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is not what it was when the medium was planned.
    #[error("{path} changed while the medium was made")]
    Changed {
        /// Where it is.
        path: PathBuf,
    },
    /// The medium cannot be written.
    #[error("cannot write the medium at byte {offset}")]
    Write {
        /// Byte offset of the access.
        offset: u64,
        /// Why.
        source: std::io::Error,
    },
    /// The partition table cannot be made.
    #[error("cannot make the partition table of the medium")]
    Table(#[source] kiln_disk::Error),
    /// The medium cannot be read.
    #[error("cannot read {length} bytes at byte {offset} of the medium")]
    Read {
        /// Byte offset of the access.
        offset: u64,
        /// Length in bytes.
        length: u64,
        /// Why.
        source: std::io::Error,
    },
    /// Bytes that are no ISO 9660 volume.
    #[error("it is no ISO 9660 image")]
    NotIso,
    /// A volume that contradicts itself.
    #[error("damaged ISO 9660 image at byte {offset}: {reason}")]
    Damaged {
        /// Byte offset of what is wrong.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file that is not there.
    #[error("no file {0:?} in the image")]
    NoFile(String),
    /// A medium that has no room for a customization.
    #[error("the image cannot be customized: {0}")]
    NotCustomizable(&'static str),
    /// A customization area that is not wholly written.
    #[error("the customization in the image is damaged: {0}")]
    Customization(&'static str),
}

impl Error {
    /// What to do next, if there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::SpecialFile { .. } => "remove it from the overlay".into(),
            Self::Escape { .. } => "let the link point to something inside the overlay".into(),
            Self::Field { field: "volume id", .. } => {
                "give 1 to 32 letters, digits, underscores or hyphens".into()
            }
            Self::Changed { .. } => "build again when nobody writes to the overlay".into(),
            Self::Write { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "free some room beside the output or choose another folder".into()
            }
            Self::Customization(_) => {
                "customize the image again, or reset it: both write the whole area anew".into()
            }
            Self::NotCustomizable(_) => "use an image that Kiln made".into(),
            Self::Table(source) => return source.hint(),
            _ => return None,
        })
    }
}
