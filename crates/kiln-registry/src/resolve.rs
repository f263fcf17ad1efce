//! From a name to an image: through nested indexes to one manifest and its configuration.
//!
//! The walk is the same for layouts, archives and registries; they differ only in the [`Store`]
//! that hands out blobs. Every document is checked against its digest before it is parsed. No
//! layer is touched here.

use crate::image::Image;
use crate::layer::Layer;
use crate::manifest::{Descriptor, Document, ImageConfig, Index, parse_document};
use crate::media_type::{Compression, is_image_config};
use crate::store::Store;
use crate::{Digest, Error, Options};

/// The indexes above a document.
#[derive(Debug, Default)]
struct Ancestors(Vec<Digest>);

impl Ancestors {
    fn enter(&mut self, digest: Digest, limit: usize) -> Result<(), Error> {
        if self.0.contains(&digest) {
            return Err(Error::IndexCycle { digest });
        }
        if self.0.len() >= limit {
            return Err(Error::TooLarge {
                location: format!("index {digest}"),
                actual: self.0.len() as u64 + 1,
                limit: limit as u64,
                unit: "levels of indexes",
            });
        }
        self.0.push(digest);
        Ok(())
    }
}

/// Follows `descriptor` to a manifest and reads the image's configuration.
pub(crate) fn resolve(
    store: std::sync::Arc<dyn Store>,
    mut descriptor: Descriptor,
    reference: Option<String>,
    options: &Options,
) -> Result<Image, Error> {
    let limits = &options.limits;
    let mut ancestors = Ancestors::default();
    let (manifest, location, chosen_by_platform) = loop {
        let blob = store.document(&descriptor)?;
        let bytes =
            blob.read_verified(descriptor.digest, Some(descriptor.size), limits.manifest_bytes)?;
        let location = blob.describe(descriptor.digest);
        match parse_document(&bytes, &descriptor.media_type, &location)? {
            Document::Manifest(manifest) => break (manifest, location, !ancestors.0.is_empty()),
            Document::Index(index) => {
                ancestors.enter(descriptor.digest, limits.index_depth)?;
                descriptor = choose(&index, options, &location)?.clone();
            }
        }
    };
    if !is_image_config(&manifest.config.media_type) {
        return Err(Error::UnsupportedMediaType {
            location: format!("the configuration of {location}"),
            media_type: crate::digest::shorten(&manifest.config.media_type),
        });
    }
    let blob = store.document(&manifest.config)?;
    let bytes = blob.read_verified(
        manifest.config.digest,
        Some(manifest.config.size),
        limits.config_bytes,
    )?;
    let config = ImageConfig::parse(&bytes, &blob.describe(manifest.config.digest))?;
    let layers = pair_layers(&manifest.layers, &config, &location, options)?;
    // An index was told apart by platform already; a lone image must fit as well.
    if !chosen_by_platform {
        check_platform(&config, &location, options)?;
    }
    Ok(Image {
        manifest_digest: descriptor.digest,
        config,
        layers,
        reference,
        annotations: manifest.annotations,
        store,
        limits: limits.clone(),
    })
}

/// A single image for another processor is refused like an index without the right entry.
pub(crate) fn check_platform(
    config: &ImageConfig,
    location: &str,
    options: &Options,
) -> Result<(), Error> {
    let offered = config.platform();
    // Some builders leave the platform out; then nothing can be said.
    if offered.os.is_empty()
        || offered.architecture.is_empty()
        || options.platform.accepts(&offered)
    {
        return Ok(());
    }
    Err(Error::NoPlatform {
        location: location.to_owned(),
        wanted: options.platform.to_string(),
        available: vec![offered.to_string()],
    })
}

/// The entry of an index for the wanted platform.
fn choose<'a>(
    index: &'a Index,
    options: &Options,
    location: &str,
) -> Result<&'a Descriptor, Error> {
    let offers = |descriptor: &&Descriptor| {
        descriptor.platform.as_ref().is_some_and(|offered| options.platform.accepts(offered))
    };
    if let Some(found) = index.manifests.iter().find(offers) {
        return Ok(found);
    }
    // Layout tools wrap a lone image in an index without platform.
    if let [only] = index.manifests.as_slice()
        && only.platform.is_none()
    {
        return Ok(only);
    }
    Err(Error::NoPlatform {
        location: location.to_owned(),
        wanted: options.platform.to_string(),
        available: index
            .manifests
            .iter()
            .filter_map(|descriptor| descriptor.platform.as_ref())
            // Attestations stand in indexes as unknown/unknown.
            .filter(|platform| platform.os != "unknown")
            .map(ToString::to_string)
            .collect(),
    })
}

/// Joins the manifest's layers with the configuration's diff ids, and checks their bounds.
fn pair_layers(
    descriptors: &[Descriptor],
    config: &ImageConfig,
    location: &str,
    options: &Options,
) -> Result<Vec<Layer>, Error> {
    let limits = &options.limits;
    if descriptors.len() != config.diff_ids.len() {
        return Err(Error::InvalidDocument {
            location: location.to_owned(),
            reason: format!(
                "it has {} layers while its configuration has {} diff ids",
                descriptors.len(),
                config.diff_ids.len()
            ),
        });
    }
    check_layer_count(descriptors.len(), location, limits.max_layers)?;
    let pair = |(descriptor, diff_id): (&Descriptor, &Digest)| {
        let compression = Compression::of_media_type(&descriptor.media_type).ok_or_else(|| {
            Error::UnsupportedMediaType {
                location: format!("layer {}", descriptor.digest),
                media_type: crate::digest::shorten(&descriptor.media_type),
            }
        })?;
        if descriptor.size > limits.max_blob_bytes {
            return Err(Error::TooLarge {
                location: format!("layer {}", descriptor.digest),
                actual: descriptor.size,
                limit: limits.max_blob_bytes,
                unit: "bytes",
            });
        }
        Ok(Layer {
            digest: descriptor.digest,
            diff_id: *diff_id,
            media_type: descriptor.media_type.clone(),
            compression,
            size: descriptor.size,
        })
    };
    descriptors.iter().zip(&config.diff_ids).map(pair).collect()
}

pub(crate) fn check_layer_count(count: usize, location: &str, limit: usize) -> Result<(), Error> {
    if count <= limit {
        return Ok(());
    }
    Err(Error::TooLarge {
        location: location.to_owned(),
        actual: count as u64,
        limit: limit as u64,
        unit: "layers",
    })
}

/// Picks an image of `index.json` by reference, or the only one.
pub(crate) fn select(
    index: &Index,
    wanted: Option<&str>,
    location: &str,
    options: &Options,
) -> Result<Descriptor, Error> {
    let mut candidates: Vec<&Descriptor> = index
        .manifests
        .iter()
        .filter(|descriptor| wanted.is_none_or(|wanted| descriptor.reference() == Some(wanted)))
        .collect();
    // Several names for one image are one image.
    let mut seen = Vec::new();
    candidates.retain(|descriptor| {
        let new = !seen.contains(&descriptor.digest);
        seen.push(descriptor.digest);
        new
    });
    let available = || {
        let name = |descriptor: &Descriptor| {
            let name = descriptor.reference().map(crate::digest::shorten);
            name.unwrap_or_else(|| descriptor.digest.to_string())
        };
        index.manifests.iter().map(name).collect()
    };
    let location = location.to_owned();
    match (candidates.as_slice(), wanted) {
        ([only], _) => Ok((*only).clone()),
        ([], Some(wanted)) => Err(Error::ReferenceNotFound {
            location,
            wanted: crate::digest::shorten(wanted),
            available: available(),
        }),
        ([], None) => {
            Err(Error::InvalidDocument { location, reason: "it lists no image at all".to_owned() })
        }
        (several, _) => {
            // Some builders put the platforms side by side here instead of in a nested index.
            let one_name = several.iter().all(|d| d.reference() == several[0].reference());
            if one_name && several.iter().all(|d| d.platform.is_some()) {
                let several = several.iter().map(|d| (*d).clone()).collect();
                return choose(&Index { manifests: several }, options, &location).cloned();
            }
            Err(Error::SeveralImages { location, available: available() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_and_depth_are_refused() {
        let mut ancestors = Ancestors::default();
        for byte in 0..4_u8 {
            ancestors.enter(Digest::of(&[byte]), 4).unwrap();
        }
        assert!(matches!(
            ancestors.enter(Digest::of(&[2]), 9),
            Err(Error::IndexCycle { digest }) if digest == Digest::of(&[2])
        ));
        assert!(matches!(ancestors.enter(Digest::of(&[9]), 4), Err(Error::TooLarge { .. })));
    }

    fn entry(name: Option<&str>, platform: Option<&str>, content: &[u8]) -> Descriptor {
        Descriptor {
            media_type: String::new(),
            digest: Digest::of(content),
            size: 1,
            platform: platform.map(|platform| platform.parse().unwrap()),
            annotations: name
                .map(|name| (crate::manifest::REFERENCE_ANNOTATION.to_owned(), name.to_owned()))
                .into_iter()
                .collect(),
        }
    }

    #[test]
    fn selects_by_reference_or_uniqueness() {
        let options = Options { platform: "linux/arm64".parse().unwrap(), ..Options::default() };
        let two = [entry(Some("a"), None, b"1"), entry(Some("b"), None, b"2")];
        let twice = [entry(Some("a"), None, b"1"), entry(Some("b"), None, b"1")];
        let side_by_side =
            [entry(None, Some("linux/amd64"), b"1"), entry(None, Some("linux/arm64"), b"2")];
        let wrong =
            [entry(None, Some("linux/amd64"), b"1"), entry(None, Some("linux/s390x"), b"2")];
        let (first, second) = (Digest::of(b"1").to_string(), Digest::of(b"2").to_string());
        for (manifests, wanted, outcome) in [
            (&two[..], Some("b"), second.as_str()),
            (&two, None, "several images: a, b"),
            (&two, Some("c"), "it has a, b"),
            (&twice, None, &first),
            (&two[..1], None, &first),
            (&side_by_side, None, &second),
            (&wrong, None, "it has linux/amd64, linux/s390x"),
            (&[], None, "no image at all"),
        ] {
            let index = Index { manifests: manifests.to_vec() };
            let found = match select(&index, wanted, "x", &options) {
                Ok(descriptor) => descriptor.digest.to_string(),
                Err(error) => error.to_string(),
            };
            assert!(found.contains(outcome), "{wanted:?}: {found}");
        }
    }
}
