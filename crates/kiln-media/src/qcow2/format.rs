//! Numbers of the format (`qcow2.rst`, sections "Header", "Host cluster management" and
//! "Cluster mapping"). Everything on disk is big-endian.

/// First bytes of an image.
pub(super) const MAGIC: [u8; 4] = *b"QFI\xfb";
/// The version that is written.
pub(super) const VERSION: u32 = 3;
/// Logarithm of [`CLUSTER`]; QEMU's default.
pub(super) const CLUSTER_BITS: u32 = 16;
/// Bytes per cluster.
pub const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Bytes of a version 3 header without optional fields.
pub(super) const HEADER_LENGTH: u32 = 104;
/// Logarithm of the bits of a reference count: 16 bits.
pub(super) const REFCOUNT_ORDER: u32 = 4;
/// Reference counts in one cluster.
pub(super) const REFCOUNTS_PER_BLOCK: u64 = CLUSTER / 2;
/// Entries of a mapping table (second level) in one cluster.
pub(super) const ENTRIES_PER_TABLE: u64 = CLUSTER / 8;
/// Set in an entry whose cluster is referred to exactly once, so that it may be written in place.
pub(super) const COPIED: u64 = 1 << 63;
/// Set in an entry of a compressed cluster.
pub(super) const COMPRESSED: u64 = 1 << 62;
/// Lowest bit of the sector count in the entry of a compressed cluster.
pub(super) const SECTORS_SHIFT: u32 = 62 - (CLUSTER_BITS - 8);
/// Unit in which the length of compressed data is counted.
pub(super) const COMPRESSED_SECTOR: u64 = 512;
/// Logarithm of the window in bytes that readers use to decompress; a larger one is not readable.
pub(super) const WINDOW_BITS: u8 = 12;
/// Largest virtual length in bytes: 64 TiB, which keeps the first-level table at 1 MiB.
pub const MAXIMUM_LENGTH: u64 = 1 << 46;

/// Offsets in bytes of the header fields.
pub(super) mod header {
    pub(in crate::qcow2) const VERSION: usize = 4;
    pub(in crate::qcow2) const BACKING_OFFSET: usize = 8;
    pub(in crate::qcow2) const CLUSTER_BITS: usize = 20;
    pub(in crate::qcow2) const LENGTH: usize = 24;
    pub(in crate::qcow2) const ENCRYPTION: usize = 32;
    pub(in crate::qcow2) const MAPPING_ENTRIES: usize = 36;
    pub(in crate::qcow2) const MAPPING_OFFSET: usize = 40;
    pub(in crate::qcow2) const REFCOUNT_OFFSET: usize = 48;
    pub(in crate::qcow2) const REFCOUNT_CLUSTERS: usize = 56;
    pub(in crate::qcow2) const SNAPSHOTS: usize = 60;
    pub(in crate::qcow2) const INCOMPATIBLE: usize = 72;
    pub(in crate::qcow2) const REFCOUNT_ORDER: usize = 96;
    pub(in crate::qcow2) const HEADER_LENGTH: usize = 100;
}
