//! EROFS root images: format, encoder, writer, reader, dump and the frozen profiles.
//!
//! An image is a function of (tree, profile) and of nothing else: not of the machine, the user, the
//! number of threads or the order in which contents arrived. Contents are compressed while the tree
//! is still being read ([`Encoder`]); once the tree is known, [`write_image`] lays everything out
//! in canonical order. [`Image`] reads images back, also damaged and hostile ones.
//!
//! mkfs.erofs was dropped as a tool: it needs the tree on disk, its bytes change between versions,
//! and its fixed-output search makes zstd several times dearer than zstd itself.

mod checksum;
mod dump;
mod encoder;
mod error;
mod extent;
pub mod format;
mod lender;
mod placed;
mod profile;
mod reader;
mod writer;

pub use dump::dump;
pub use encoder::{Encoder, EncoderOptions};
pub use error::Error;
pub use lender::{Lender, Source};
pub use placed::{ContentEncoder, EncodedContent, PlacedContent};
pub use profile::{Codec, LZ4HC_DEFAULT_LEVEL, Profile, ZSTD_DEFAULT_LEVEL};
pub use reader::{DirectoryEntry, Extent, Extents, Image, Inode, Place, ReadAt, Walk, WalkEntry};
pub use writer::{ImageFacts, ImageOptions, ValidatedTree, image_length, write_image};
