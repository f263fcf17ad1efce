//! The question before every image: may it be used at all?
//!
//! Asked inside [`crate::open`], with the digest that a name means at this moment and before any
//! document behind it is fetched, so that no caller can forget it and nothing can change between the
//! question and the reading. This crate knows no signatures; whoever sets the gate does.

use std::fmt;

use crate::{Digest, Source};

/// Decides about images.
pub trait Gate: fmt::Debug + Send + Sync {
    /// Lets an image pass. There is a digest for images of registries, whose `source` is then
    /// [`Source::Registry`], and none for files of this computer.
    ///
    /// # Errors
    /// Why not.
    fn admit(&self, source: &Source, digest: Option<Digest>) -> Result<(), Denied>;
}

/// Why an image may not be used.
#[derive(Debug)]
pub struct Denied {
    /// The reason, which names the image.
    pub source: Box<dyn std::error::Error + Send + Sync>,
    /// What to do next.
    pub hint: Option<String>,
}
