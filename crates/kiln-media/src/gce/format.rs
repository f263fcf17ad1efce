//! Numbers of the archive (GNU tar 1.35's manual, "Basic Tar Format": `struct oldgnu_header` and
//! `struct sparse_header`; RFC 1952, section 2.3).

/// Name of the disk in the archive.
pub const MEMBER: &str = "disk.raw";
/// What the length of a disk must be a multiple of, in bytes.
pub const ALIGNMENT: u64 = 1 << 30;
/// Longest disk in bytes: 64 TiB, the longest persistent disk.
pub const MAXIMUM_LENGTH: u64 = 64 << 40;

/// Bytes of an entry of the map: offset and length, each a number of 12 bytes.
pub(super) const MAP_ENTRY: usize = 24;
/// Bytes of a number of the map.
pub(super) const MAP_NUMBER: usize = 12;
/// Where the map stands in the header, and how many entries it has there.
pub(super) const MAP_IN_HEADER: usize = 386;
pub(super) const ENTRIES_IN_HEADER: usize = 4;
/// Where the header says that blocks with more of the map follow.
pub(super) const MORE_IN_HEADER: usize = 482;
/// Where the header has the length of the whole file.
pub(super) const REAL_SIZE: std::ops::Range<usize> = 483..495;
/// How many entries such a block has, and where it says that another one follows.
pub(super) const ENTRIES_IN_BLOCK: usize = 21;
pub(super) const MORE_IN_BLOCK: usize = 504;
/// Most entries that are read: each range of a disk of 64 TiB may have a GiB.
pub(super) const MOST_ENTRIES: usize = 1 << 16;

/// Bytes at which zeros are left out.
pub(super) const GRAIN: u64 = 64 << 10;
/// Bytes of the tar that one thread compresses at a time.
pub(super) const PART: usize = 1 << 20;
/// Window of the compressor, the largest.
pub(super) const WINDOW_BITS: u8 = 15;

/// Head of a gzip file: deflate, no name, no time, no extra flags, unknown system.
pub(super) const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
