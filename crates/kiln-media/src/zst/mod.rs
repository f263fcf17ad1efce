//! A raw disk in Zstandard frames, for who writes it with `zstd -d` onto a disk.
//!
//! Each 4 MiB of the disk are one frame, so that all cores compress and every reader of RFC 8878 that
//! goes on behind the first frame, as `zstd` and its library do, gets the disk. Format source: RFC
//! 8878, section 3 ("one or more frames").
//!
//! The library's own threads were dropped: its output then is one frame, but differs between no
//! threads and some, and every empty gigabyte has to pass through it.

mod format;
mod reader;
mod writer;

pub use format::FRAME;
pub use reader::open_zst;
pub use writer::{ZstOptions, write_zst};
