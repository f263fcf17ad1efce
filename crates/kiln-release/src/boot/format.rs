//! Constants of the boot recipe, frozen with version 1 of the media type. Described for others in
//! docs/formats/release.md.

/// Media type of a recipe.
pub const MEDIA_TYPE: &str = "application/vnd.kiln.release.boot.v1";
/// Media type of a section.
pub const SECTION_MEDIA_TYPE: &str = "application/vnd.kiln.release.boot.section.v1";
/// First bytes of a recipe.
pub const MAGIC: &[u8; 8] = b"KILNBOT1";
/// Bytes before the parts.
pub const HEADER: usize = 52;
/// Bytes of a part without what stands in the recipe itself: kind, name, length.
pub const PART: usize = 17;
/// Bytes of the name of a section.
pub const NAME: usize = 8;

/// Bytes that stand in the recipe.
pub const INLINE: u8 = 0;
/// So many zeros.
pub const ZEROS: u8 = 1;
/// A blob.
pub const BLOB: u8 = 2;

/// Sections of fewer bytes stand in the recipe.
pub const BLOB_MIN: usize = 4096;
/// Most parts: twice what a PE file may have as sections, and one.
pub const PARTS_MAX: u32 = 256;
/// Longest recipe in bytes.
pub const RECIPE_MAX: u64 = 4 << 20;
/// Longest boot file in bytes: half of the default ESP, and far above any kernel.
pub const FILE_MAX: u64 = 512 << 20;
