//! An OCI image layout in a tar, read in place.

use std::path::Path;
use std::sync::Arc;

use crate::blob::Blob;
use crate::manifest::Descriptor;
use crate::resolve::resolve;
use crate::store::Store;
use crate::tar_index::TarIndex;
use crate::{Digest, Error, Image, Options, layout};

impl Store for TarIndex {
    fn document(&self, descriptor: &Descriptor) -> Result<Blob, Error> {
        self.blob(descriptor.digest)
    }

    fn layer(&self, digest: Digest, _size: u64) -> Result<Blob, Error> {
        self.blob(digest)
    }
}

/// Opens the image called `reference`, or the only one.
pub(crate) fn open(
    path: &Path,
    reference: Option<&str>,
    options: &Options,
) -> Result<Image, Error> {
    let index = TarIndex::open(path, options.limits.archive_members)?;
    let document = |name: &str| {
        index.get(name).ok_or_else(|| Error::InvalidDocument {
            location: format!("archive {}", path.display()),
            reason: format!("it has no {name}, so it is no OCI archive"),
        })
    };
    layout::check_version(&document("oci-layout")?, path)?;
    let descriptor = layout::read_index(&document("index.json")?, path, reference, options)?;
    let name = descriptor.reference().map(str::to_owned);
    resolve(Arc::new(index), descriptor, name, options)
}
