//! The dm-verity hash tree: what proves every read of a root image.
//!
//! The builder appends a tree to the root image, the machine's first process checks the top block of
//! that tree against the hash on the kernel command line, and the kernel checks everything below.
//! All three must agree on one format, which is therefore frozen here: SHA-256, hash type 1 (salt in
//! front of the block), 4096-byte data and hash blocks, no superblock, levels stored top first
//! directly behind the data. Format source: the Linux kernel's
//! `Documentation/admin-guide/device-mapper/verity.rst`.
//!
//! This crate never talks to device-mapper and never writes a file. A superblock was dropped on
//! purpose: it would hold unauthenticated parameters that the first process had to parse before
//! anything is proved; the command line carries them instead.

mod argument;
mod error;
mod hash;
mod tree;

pub use argument::{MAXIMUM_DATA_BLOCKS, RootArgument};
pub use error::Error;
pub use hash::{RootHash, decode_hex, encode_hex, hash_block, verify_block};
pub use tree::{HashTree, ReadAt, build, tree_blocks};

/// Length in bytes of a data block and of a hash block. The page size of every architecture that
/// Kiln builds for; changing it is a break of every shipped machine.
pub const BLOCK: usize = 4096;

/// Length in bytes of one SHA-256 digest, and also of the salt.
pub const DIGEST: usize = 32;
