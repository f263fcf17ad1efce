//! Bounds on what a source may ask of us: every source is hostile until merged.
//!
//! Defaults are far above any operating system and far below what hurts a build machine. They bound what is kept or written;
//! the compressed length is bounded by whoever opens the layer.

/// Bounds on a source; exceeding one is an error that names layer and path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of all layers together, hidden ones and implied directories included.
    pub entries: u64,
    /// Bytes of one path (Linux PATH_MAX).
    pub path_bytes: usize,
    /// Bytes of one name (Linux and EROFS: 255).
    pub name_bytes: usize,
    /// Bytes of a symbolic link's target (Linux PATH_MAX less the final zero).
    pub symlink_bytes: usize,
    /// Bytes of regular files of all layers together, hidden ones included.
    pub total_bytes: u64,
    /// Bytes of one regular file.
    pub file_bytes: u64,
    /// Bytes of names and values of the extended attributes of one entry (Linux XATTR_SIZE_MAX).
    pub xattr_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            entries: 2_000_000,
            path_bytes: 4096,
            name_bytes: 255,
            symlink_bytes: 4095,
            total_bytes: 64 << 30,
            file_bytes: 32 << 30,
            xattr_bytes: 64 << 10,
        }
    }
}
