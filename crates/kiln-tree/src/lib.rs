//! The canonical file tree: layers merged, checked and digested.
//!
//! Whatever the source – container layers, a directory, an archive – it becomes one [`Tree`] whose file contents went to a
//! [`ContentStore`] as they streamed by. Nothing is unpacked to disk, so neither root rights nor a case-preserving, xattr-capable
//! host file system are needed, and nothing in an image can touch the build machine. [`tree_digest`] names a tree by its meaning.
//!
//! - building and editing: [`Tree`], [`Node`], [`Metadata`]
//! - layers, top first: [`LayerMerge`]
//! - a directory of the host: [`read_directory`]
//! - images that only carry `/os.tar`: [`lone_os_tar`]

mod archive;
mod content;
mod digest;
mod directory;
mod error;
mod kubeos;
mod limits;
mod merge;
mod metadata;
mod path;
mod resolve;
mod tree;
mod walk;

pub use content::{Content, ContentId, ContentStore, MemoryStore, Opener};
pub use digest::tree_digest;
pub use directory::read_directory;
pub use error::Error;
pub use kubeos::lone_os_tar;
pub use limits::Limits;
pub use merge::LayerMerge;
pub use metadata::{Metadata, XattrMap, Xattrs};
pub use tree::{Children, Kind, Node, NodeId, Tree};
pub use walk::Walk;
