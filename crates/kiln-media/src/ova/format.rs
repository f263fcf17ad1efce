//! Numbers and words of the package (DSP0243 1.1).

/// Longest VMDK in bytes: a ustar header has eleven octal digits for its length.
pub const MAXIMUM_DISK: u64 = 0o77_777_777_777;
/// Endings of the files in a package, in the order of the specification.
pub(super) const DESCRIPTION: &str = ".ovf";
pub(super) const MANIFEST: &str = ".mf";
pub(super) const DISK: &str = ".vmdk";
/// Bytes of a name without its ending that are kept, so that a tar header has room for both.
pub(super) const LONGEST_NAME: usize = 90;
/// Bytes of description and manifest that are read; those written here have 4 KiB.
pub(super) const LONGEST_TEXT: u64 = 1 << 20;
/// Files of a package that are read.
pub(super) const MOST_FILES: usize = 16;
