//! Numbers of the files written here; the format itself is RFC 8878.

/// Bytes of the disk in one frame. Larger ones pack little better and give a small disk to few cores.
pub const FRAME: u64 = 4 << 20;
/// Logarithm of the largest window in bytes that is read: 128 MiB, what `zstd -d` takes without
/// being told (RFC 8878, section 3.1.1.1.2, lets a decoder refuse more).
pub(super) const MAXIMUM_WINDOW_BITS: u32 = 27;
/// Levels of the compressor.
pub(super) const LEVELS: std::ops::RangeInclusive<i32> = 1..=19;
/// The first bytes of a frame (RFC 8878, section 3.1.1).
pub(super) const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
