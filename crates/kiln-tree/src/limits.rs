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
    /// Whether device nodes may be anywhere. Otherwise only in `/dev`, over which the kernel's own
    /// are mounted: elsewhere a node opens a disk to whoever may read it.
    pub device_nodes: bool,
}

/// Whether `path` is a place where a device node does no harm.
pub(crate) fn is_device_place(path: &[u8]) -> bool {
    path.starts_with(b"dev/")
}

/// Why a device node was refused.
pub(crate) const DEVICE_REFUSED: &str = "device nodes belong into /dev";

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
            device_nodes: false,
        }
    }
}
