//! Unified kernel images: the systemd stub, a PE file, with kernel, initramfs and command line as
//! further sections (UAPI specification "Unified Kernel Image"; Microsoft "PE Format").
//!
//! Sections are only ever appended: the stub's code is position independent but its sections are
//! not movable, and a signature over a UKI made elsewhere would be lost by anything else. objcopy
//! was dropped: it needs binutils for the target and is known to corrupt section alignment.

pub mod dump;
pub mod format;
pub mod mode;
mod reader;
mod rewrite;
mod writer;

pub use reader::{Section, Uki, parse};
pub use rewrite::{addon, with_command_line};
pub use writer::{UkiSections, assemble};
