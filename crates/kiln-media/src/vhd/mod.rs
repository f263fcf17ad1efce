//! Fixed VHD, the disk format of Azure: the bytes of the disk, and one sector behind them.
//!
//! Format source: Microsoft's "Virtual Hard Disk Image Format Specification" (version 1.0, 2006) for
//! the footer; Azure's "Prepare a Windows VHD or VHDX to upload" and its page on generic Linux images for
//! the size: a whole number of MiB in front of the footer. Dynamic VHDs and VHDX were dropped: Azure
//! takes neither, and the holes of a fixed one are not uploaded.

mod format;
mod reader;
mod writer;

pub use format::{ALIGNMENT, MAXIMUM_LENGTH};
pub use reader::{VhdDevice, VhdFooter, read_footer};
pub use writer::{VhdOptions, write_vhd};
