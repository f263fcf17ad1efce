//! OCI image layouts: folders of blobs named by digest (OCI image spec 1.1, image-layout.md).
//!
//! Reading is here, writing in [`writer`](self::write_oci_layout). Symbolic links below `blobs`
//! are followed, since stores that share blobs use them; the digest check makes that harmless.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::blob::Blob;
use crate::manifest::{Descriptor, Index, parse};
use crate::resolve::{resolve, select};
use crate::store::Store;
use crate::{Digest, Error, Image, Options};

mod writer;

pub use writer::{LayerCompression, WriteOptions, write_oci_archive, write_oci_layout};

/// The only version of the layout there is.
const LAYOUT_VERSION: &str = "1.0.0";
/// Largest `oci-layout` file that is read, in bytes; real ones have about 30.
const LAYOUT_FILE_BYTES: u64 = 4096;

#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn blob(&self, digest: Digest) -> Result<Blob, Error> {
        let path = self.0.join("blobs/sha256").join(digest.hex());
        match Blob::open_file(&path) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::BlobMissing { digest, location: self.0.display().to_string() })
            }
            other => other,
        }
    }
}

impl Store for Folder {
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
    check_version(&Blob::open_file(&path.join("oci-layout"))?, path)?;
    let index = Blob::open_file(&path.join("index.json"))?;
    let descriptor = read_index(&index, path, reference, options)?;
    let name = descriptor.reference().map(str::to_owned);
    resolve(Arc::new(Folder(path.to_owned())), descriptor, name, options)
}

/// Refuses layouts of a version that may mean something else.
pub(crate) fn check_version(file: &Blob, layout: &Path) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(rename = "imageLayoutVersion")]
        version: String,
    }
    let location = format!("oci-layout of {}", layout.display());
    let found: Version = parse(&file.read_all(LAYOUT_FILE_BYTES)?, &location)?;
    if found.version != LAYOUT_VERSION {
        let reason = format!(
            "layout version {:?} is not supported, only {LAYOUT_VERSION} is",
            crate::digest::shorten(&found.version)
        );
        return Err(Error::InvalidDocument { location, reason });
    }
    Ok(())
}

/// Reads `index.json` and picks the image.
pub(crate) fn read_index(
    file: &Blob,
    layout: &Path,
    reference: Option<&str>,
    options: &Options,
) -> Result<Descriptor, Error> {
    let location = format!("index.json of {}", layout.display());
    let index: Index = parse(&file.read_all(options.limits.manifest_bytes)?, &location)?;
    select(&index, reference, &layout.display().to_string(), options)
}
