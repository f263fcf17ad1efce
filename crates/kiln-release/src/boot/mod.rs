//! A boot file as it travels: its sections as blobs of their own, and a recipe that puts them back
//! together byte by byte.
//!
//! An unchanged kernel or stub has the same digest in every release and does not travel again. The
//! recipe says nothing about PE files: it lists stretches of bytes in order, so a signed boot file
//! comes back with its signature, and a later form of boot file needs no new recipe.

pub mod dump;
pub mod format;
mod reader;
mod writer;

pub use reader::{Part, Recipe};
pub use writer::{Sections, split};
