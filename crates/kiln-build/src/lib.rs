//! From a source to a release and its media: the path of the data.
//!
//! One function, [`build`], carries a container image through the whole house: layers become a
//! tree (`kiln-tree`), the tree gets Kiln's own layer ([`layer`]), the tree becomes a root image
//! (`kiln-erofs`, `kiln-verity`), root and kernel become a boot file (`kiln-boot`), and all of it
//! becomes media (`kiln-media`). The steps stand in [`assemble()`] in that order and nowhere else.
//!
//! What it must never do: run a program of the image, need root or a tool of the host, look at the
//! clock, or leave a file under its final name that is not whole ([`output`]).
//!
//! Dropped alternative: unpacking into a directory and packing that up. It needs root for owners
//! and device nodes, twice the disk, and loses what the host's file system cannot store.

mod addon;
mod advice;
mod assemble;
mod attempts;
pub mod bootstrap;
mod checksum;
mod containerfile;
mod error;
pub mod inspect;
pub mod layer;
mod media;
mod options;
mod output;
mod packages;
mod password;
mod pipeline;
mod progress;
pub mod recipe;
mod runtime;
mod size;
mod source;
mod watch;

pub use addon::{Addon, AddonFile};
pub use advice::advice;
pub use assemble::{Assembled, Place, assemble};
pub use error::Error;
pub use options::{
    BuildOptions, Builder, Containerfile, Formats, Input, Mode, ModuleSet, ReadOptions, TreeLimits,
    User,
};
pub use pipeline::{Built, build};
pub use progress::{Progress, Silent, Step, Unit};
pub use runtime::Runtime;
pub use size::{format_size, parse_size};
pub use source::load_tree;
