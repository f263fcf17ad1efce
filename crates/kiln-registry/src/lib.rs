//! Container images from every source, each byte verified before it counts.
//!
//! [`Source`] is what users write; [`open`] turns it into an [`Image`]: manifest, configuration
//! and layers that are read as uncompressed tar streams. Nothing is unpacked to disk, nothing
//! needs a daemon or root, and every blob is checked against its digest and size while it is read.
//! [`layout`] writes images.
//!
//! All input is hostile: sizes, depths and ratios are bounded by [`Limits`]. The crate never looks
//! into layers; merging them is kiln-tree's part.

mod blob;
mod digest;
mod docker_archive;
mod error;
mod gate;
mod http;
mod image;
mod layer;
pub mod layout;
mod manifest;
mod media_type;
mod oci_archive;
mod options;
mod platform;
mod rate;
mod reference;
mod resolve;
mod source;
mod store;
mod tar_index;

pub use digest::Digest;
pub use error::Error;
pub use gate::{Denied, Gate};
#[cfg(feature = "fuzzing")]
pub use http::fuzzing;
pub use http::{
    Answer, Artifacts, Document, Pushed, RangeSink, Referrer, SendMethod, WebRequest, get, send,
};
pub use image::Image;
pub use layer::Layer;
pub use manifest::ImageConfig;
pub use media_type::Compression;
pub use options::{Limits, Network, Options, Proxies};
pub use platform::Platform;
pub use rate::RateLimit;
pub use reference::{Reference, ShortName};
pub use source::Source;

/// Opens the image behind `source`. Reads documents only; layers follow on demand.
///
/// # Errors
/// When the image is missing, ambiguous, malformed or beyond a limit; and for `dir:` and `tar:`,
/// which are plain files.
pub fn open(source: &Source, options: &Options) -> Result<Image, Error> {
    let is_remote = matches!(source, Source::Registry(_) | Source::ShortName(_));
    if let Some(gate) = options.gate.as_ref().filter(|_| !is_remote) {
        gate.admit(source, None).map_err(Error::denied)?;
    }
    match source {
        Source::OciLayout { path, reference } => layout::open(path, reference.as_deref(), options),
        Source::OciArchive { path, reference } => {
            oci_archive::open(path, reference.as_deref(), options)
        }
        Source::DockerArchive { path, reference } => {
            docker_archive::open(path, reference.as_deref(), options)
        }
        Source::Registry(reference) => http::open(reference, options),
        Source::ShortName(name) => http::open_short(name, options),
        Source::Directory(_) | Source::Tar(_) => {
            Err(Error::NotAnImage { given: source.to_string() })
        }
    }
}
