//! The GUID partition table: format, reader, writer, dump.
//!
//! [`Gpt`] is the table as a value; places of header and array on the disk are not part of it, so
//! two tables are equal if they mean the same. Format source: UEFI 2.10, chapter 5.

pub mod dump;
pub mod format;
pub mod reader;
pub mod writer;

pub use format::{Gpt, Guid, PartitionEntry};
pub use reader::{Copy, Located, read};
pub use writer::{create, update};
