//! Where an image's documents and layers come from, as the readers of images see it.
//!
//! Layouts, archives and registries differ in how they find a blob and in nothing else. What a store
//! gives is checked by whoever asked: a store never vouches for a digest.

use std::fmt;

use crate::blob::Blob;
use crate::manifest::Descriptor;
use crate::{Digest, Error};

/// Something that has blobs by digest.
pub(crate) trait Store: Send + Sync + fmt::Debug {
    /// The document of an index, manifest or configuration; checked by the caller.
    fn document(&self, descriptor: &Descriptor) -> Result<Blob, Error>;

    /// A layer; may take long where it must be downloaded.
    fn layer(&self, digest: Digest, size: u64) -> Result<Blob, Error>;
}
