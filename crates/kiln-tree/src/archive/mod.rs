//! Tar archives read as a stream of entries, every field checked before it is believed.
//!
//! Formats: POSIX.1-2024 `pax` (ustar headers with extended records) and GNU tar 1.35's manual, "Basic Tar Format" and "Storing
//! Sparse Files". Only the field layout is taken from the `tar` crate. Its entry iterator was dropped: it cuts extended records
//! at newlines, so the size of a file with a binary attribute is lost; it reads extension headers of any length into memory; it
//! takes link headers with a size for headers with data, unlike the tools that make layers; and it does not know PAX sparse files.

mod acl;
mod header;
mod number;
mod pax;
mod reader;
mod sparse;

pub(crate) use reader::{Entry, EntryKind, TarReader};
