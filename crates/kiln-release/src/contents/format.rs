//! Constants of the contents, frozen with version 1 of the media type. Described for others in
//! docs/formats/release.md; the golden digests in this crate's tests hold them.

/// Media type of the contents.
pub const MEDIA_TYPE: &str = "application/vnd.kiln.release.contents.v1+zstd";

/// Longest content that is one chunk, in bytes. Most files of a system are shorter.
pub const WHOLE_MAX: u64 = 256 << 10;
/// Shortest chunk of a longer content, but for its last one.
pub const CHUNK_MIN: usize = 64 << 10;
/// From this length on a cut is made more readily.
pub const CHUNK_NORMAL: usize = 128 << 10;
/// Longest chunk.
pub const CHUNK_MAX: usize = 512 << 10;
/// Upper bits of the rolling value that must be zero for a cut below [`CHUNK_NORMAL`].
pub const BITS_BELOW: u32 = 19;
/// The same from [`CHUNK_NORMAL`] on.
pub const BITS_ABOVE: u32 = 15;
/// Bytes that the rolling value depends on: each step shifts it by one of 64 bits.
pub const WINDOW: usize = 64;
/// The value added for a byte is the first eight bytes, little-endian, of the SHA-256 of this text
/// followed by the byte.
pub const GEAR_SEED: &[u8] = b"kiln gear 1\0";

/// zstd level of a frame. Readers do not care; writers keep to it so that equal roots give equal
/// blobs, which registries then hold once.
pub const LEVEL: i32 = 9;

/// Most bytes that a frame of `length` bytes may have (zstd's `ZSTD_compressBound`, with its own
/// margin for short inputs).
#[must_use]
pub const fn frame_max(length: u32) -> u64 {
    let length = length as u64;
    length + (length >> 8) + 512
}
