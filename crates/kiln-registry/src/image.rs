//! An opened image: what its documents say, and its layers as verified streams.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::layer::{self, Layer};
use crate::manifest::ImageConfig;
use crate::store::Store;
use crate::{Digest, Error, Limits};

/// An image whose documents are read and checked. Layers are read on demand.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of the manifest; for `docker save` archives, which have none, of the configuration.
    pub manifest_digest: Digest,
    /// The configuration.
    pub config: ImageConfig,
    /// Layers, bottom first.
    pub layers: Vec<Layer>,
    /// The name the image was found under, where it has one.
    pub reference: Option<String>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) limits: Limits,
}

impl Image {
    /// The uncompressed tar of layer `index`, bottom first, from its beginning at each call.
    ///
    /// Bytes are handed out before all is verified: only the end of the stream, `Ok(0)`, says that
    /// size, digest and diff id were right. A reader must therefore go to the end, also behind the
    /// tar's own end mark. A failure is an [`io::Error`] with an [`Error`] inside, see
    /// [`Error::from_io`].
    ///
    /// # Errors
    /// When the layer does not exist, cannot be fetched or has another size than described.
    pub fn open_layer(&self, index: usize) -> Result<Box<dyn Read + Send>, Error> {
        let layer = self.layer(index)?;
        let blob = self.store.layer(layer.digest, layer.size)?;
        layer::open(&blob, layer, &self.limits)
    }

    /// Brings all layers here, so that `open_layer` need not wait; does nothing for local images.
    ///
    /// # Errors
    /// The first failed download, by order of layers.
    pub fn fetch(&self, connections: usize) -> Result<(), Error> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), (usize, Error)> {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(layer) = self.layers.get(index) else { return Ok(()) };
                self.store.layer(layer.digest, layer.size).map_err(|error| (index, error))?;
            }
        };
        let failures = std::thread::scope(|scope| {
            let threads = connections.clamp(1, self.layers.len().max(1));
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            handles
                .into_iter()
                .filter_map(|handle| match handle.join() {
                    Ok(result) => result.err(),
                    Err(_) => Some((0, Error::Stopped { location: "the download".into() })),
                })
                .collect::<Vec<_>>()
        });
        match failures.into_iter().min_by_key(|(index, _)| *index) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Reads layer `index` to its end only to verify it; returns its uncompressed bytes.
    ///
    /// # Errors
    /// What [`Image::open_layer`] or its stream fail with.
    pub fn verify_layer(&self, index: usize) -> Result<u64, io::Error> {
        let mut stream = self.open_layer(index).map_err(Error::into_io)?;
        io::copy(&mut stream, &mut io::sink())
    }

    fn layer(&self, index: usize) -> Result<&Layer, Error> {
        self.layers.get(index).ok_or_else(|| Error::InvalidDocument {
            location: format!("image {}", self.manifest_digest),
            reason: format!("it has {} layers, number {index} was asked for", self.layers.len()),
        })
    }
}
