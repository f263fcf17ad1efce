//! Tar headers, as far as OVA and Compute Engine's archives have them: one regular file behind the
//! other, one of them perhaps sparse.
//!
//! `kiln-tree` reads tars of any kind and hostile paths; a medium has a few files with fixed names,
//! and is written here, so the two share nothing but the specification. Format sources: POSIX.1-2024,
//! pax, "ustar Interchange Format"; GNU tar 1.35's manual, "Basic Tar Format" and "Old GNU Format".

mod format;
mod reader;
mod writer;

pub(crate) use format::{BLOCK, END, MAGIC_GNU, MAGIC_POSIX, REGULAR, SPARSE, put_number};
pub(crate) use reader::{number, read_header};
pub(crate) use writer::{render, seal};
