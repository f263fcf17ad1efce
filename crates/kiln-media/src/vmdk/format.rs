//! Numbers of the format (Virtual Disk Format 5.0, "Hosted Sparse Extent Header" and
//! "Stream-Optimized Compressed Sparse Extents"). Everything on disk is little-endian and counted in
//! sectors of 512 bytes.

/// Bytes of a sector; also the length of header, footer and markers.
pub(super) const SECTOR: u64 = 512;
/// First bytes of header and footer.
pub(super) const MAGIC: [u8; 4] = *b"KDMV";
/// Version of headers with compressed grains and markers.
pub(super) const VERSION: u32 = 3;
/// Flags: bit 0, line feeds are tested; bit 16, grains are compressed; bit 17, there are markers.
pub(super) const FLAGS: u32 = NEWLINES | COMPRESSED | MARKERS;
pub(super) const NEWLINES: u32 = 1;
pub(super) const COMPRESSED: u32 = 1 << 16;
pub(super) const MARKERS: u32 = 1 << 17;
/// Sectors of a grain.
pub(super) const GRAIN_SECTORS: u64 = 128;
/// Bytes of a grain: the format's usual.
pub const GRAIN: u64 = GRAIN_SECTORS * SECTOR;
/// Entries of a grain table; readers take no other number.
pub(super) const ENTRIES: u32 = 512;
/// First sector of the descriptor and the room for it, in sectors.
pub(super) const DESCRIPTOR: u64 = 1;
pub(super) const DESCRIPTOR_SECTORS: u64 = 20;
/// Sectors in front of the first grain: one grain, as everywhere.
pub(super) const OVERHEAD: u64 = GRAIN_SECTORS;
/// "gdOffset" in the header of a stream: the footer has it.
pub(super) const AT_END: u64 = u64::MAX;
/// Bytes that a transfer as text would change: line feed, space, carriage return and line feed.
pub(super) const NEWLINE_TEST: [u8; 4] = *b"\n \r\n";
/// "compressAlgorithm": deflate in a zlib frame (RFC 1950).
pub(super) const DEFLATE: u16 = 1;
/// Bytes of the head of a grain: its first sector on the disk and its length.
pub(super) const GRAIN_HEAD: usize = 12;
/// Longest disk in bytes: 2 TiB, so that places in the file, which have 32 bits, always suffice.
pub const MAXIMUM_LENGTH: u64 = 2 << 40;

/// Kinds of markers.
pub(super) mod marker {
    /// The stream is over.
    pub(in crate::vmdk) const END: u32 = 0;
    /// A grain table follows.
    pub(in crate::vmdk) const TABLE: u32 = 1;
    /// The grain directory follows.
    pub(in crate::vmdk) const DIRECTORY: u32 = 2;
    /// The footer follows.
    pub(in crate::vmdk) const FOOTER: u32 = 3;
}

/// Offsets in bytes of the fields of header and footer.
pub(super) mod header {
    pub(in crate::vmdk) const VERSION: usize = 4;
    pub(in crate::vmdk) const FLAGS: usize = 8;
    pub(in crate::vmdk) const CAPACITY: usize = 12;
    pub(in crate::vmdk) const GRAIN: usize = 20;
    pub(in crate::vmdk) const DESCRIPTOR: usize = 28;
    pub(in crate::vmdk) const DESCRIPTOR_LENGTH: usize = 36;
    pub(in crate::vmdk) const ENTRIES: usize = 44;
    pub(in crate::vmdk) const DIRECTORY: usize = 56;
    pub(in crate::vmdk) const OVERHEAD: usize = 64;
    pub(in crate::vmdk) const NEWLINE_TEST: usize = 73;
    pub(in crate::vmdk) const ALGORITHM: usize = 77;
}

/// Offsets in bytes of the fields of a marker.
pub(super) mod mark {
    pub(in crate::vmdk) const SECTORS: usize = 0;
    pub(in crate::vmdk) const KIND: usize = 12;
}
