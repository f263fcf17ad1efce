//! Constants of the table, frozen with version 1 of the media type. Described for others in
//! docs/formats/release.md; the golden digest in this crate's tests holds them.

/// Media type of the table.
pub const MEDIA_TYPE: &str = "application/vnd.kiln.release.table.v1";
/// First bytes of the index.
pub const MAGIC: &[u8; 8] = b"KILNTAB1";
/// Bytes of the index before its entries.
pub const HEADER: usize = 64;
/// Bytes of an entry of the index.
pub const ENTRY: usize = 40;

/// zstd level of a piece; readers do not care.
pub const LEVEL: i32 = 19;
/// From this length on a piece may end before a directory.
pub const PIECE_MIN: usize = 32 << 10;
/// A directory begins a piece if the first byte of the SHA-256 of its path is below this: one in
/// eight, so that pieces have some 64 KiB and an added file moves few of their ends.
pub const PIECE_CUT: u8 = 32;
/// From this length on a piece ends before whatever comes next.
pub const PIECE_FULL: usize = 256 << 10;

/// Most pieces of a table.
pub const PIECES_MAX: u32 = 1 << 16;
/// Longest piece unpacked: a file of 32 GiB in the shortest chunks, alone.
pub const PIECE_MAX: u32 = 32 << 20;
/// Most bytes of all pieces unpacked.
pub const TOTAL_MAX: u64 = 1 << 30;
/// Most entries, as kiln-tree bounds sources.
pub const ENTRIES_MAX: u64 = 2_000_000;
/// Longest path in bytes (Linux PATH_MAX).
pub const PATH_MAX: usize = 4096;
/// Longest name in bytes.
pub const NAME_MAX: usize = 255;
/// Longest target of a symbolic link in bytes.
pub const TARGET_MAX: usize = 4095;
/// Most bytes of the extended attributes of one entry (Linux XATTR_SIZE_MAX).
pub const XATTRS_MAX: usize = 64 << 10;
/// Longest file in bytes, as kiln-tree bounds sources.
pub const FILE_MAX: u64 = 32 << 30;

/// Letters of kinds, as in the tree's digest.
pub const DIRECTORY: u8 = b'd';
/// Regular file.
pub const FILE: u8 = b'f';
/// Symbolic link.
pub const SYMLINK: u8 = b'l';
/// Character device.
pub const CHARACTER: u8 = b'c';
/// Block device.
pub const BLOCK: u8 = b'b';
/// Named pipe.
pub const FIFO: u8 = b'p';
/// Socket.
pub const SOCKET: u8 = b's';
/// A further name of an entry before.
pub const HARD_LINK: u8 = b'h';

/// How a file's content is stored: it has no bytes.
pub const EMPTY: u8 = 0;
/// Its frames are the next in the contents.
pub const HERE: u8 = 1;
/// An entry before has the same content.
pub const BEFORE: u8 = 2;
