//! What Compute Engine makes an image of: `disk.raw` in a tar in gzip.
//!
//! Its documentation ("Manually import boot disks", "Create and save a compressed file") asks for the
//! name, for GNU tar's older format, in which a file may be sparse, for gzip and for a disk of whole
//! GiB. Format sources: GNU tar 1.35's manual, "Old GNU Format" and "Storing Sparse Files"; RFC 1952.
//!
//! A file that is not sparse was dropped: its zeros pack well, but are unpacked in full by everybody.

mod format;
mod reader;
mod writer;

pub use format::{ALIGNMENT, MAXIMUM_LENGTH, MEMBER};
pub use reader::GceReader;
pub use writer::{GceOptions, write_gce};
