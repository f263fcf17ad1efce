//! `oci://`: a file out of a container registry.
//!
//! `oci://registry.example/name:tag` or `…@sha256:…` names a manifest with one layer, whose bytes are the
//! file, as ORAS and others push it. With several layers `#NAME` behind the address chooses one by its title
//! (`org.opencontainers.image.title`) or by its digest. Layers are verified against the manifest. Unpacking
//! an image's layers to find a file was dropped: `unpack_images` does that for whole images.

use kiln_registry::{Artifacts, Digest, Network, Options, Reference};
use serde::Deserialize;

use super::address;
use crate::Error;

/// The annotation that names a layer (OCI image specification, annotations.md).
const TITLE: &str = "org.opencontainers.image.title";

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// The bytes of the layer that an address names.
pub(super) fn get(url: &str, network: &Network, limit: u64) -> Result<Vec<u8>, Error> {
    let refused = |reason: String| Error::Contents { origin: address(url), reason };
    let name = url.split_once("://").map(|(_, name)| name).unwrap_or_default();
    let (name, wanted) = match name.split_once('#') {
        Some((name, wanted)) => (name, Some(wanted)),
        None => (name, None),
    };
    let reference: Reference = name.parse()?;
    let options = Options { network: network.clone(), ..Options::default() };
    let artifacts = Artifacts::open(&reference, &options)?;
    let document = artifacts.document(&reference.version())?;
    let layer = choose(&document.bytes, wanted).map_err(refused)?;
    if layer.size > limit {
        return Err(refused(format!("they have more than {limit} bytes")));
    }
    let digest: Digest = layer.digest.parse()?;
    Ok(artifacts.blob(digest, layer.size)?)
}

/// The layer that is meant.
fn choose(manifest: &[u8], wanted: Option<&str>) -> Result<Layer, String> {
    let manifest: Manifest =
        serde_json::from_slice(manifest).map_err(|error| format!("no manifest: {error}"))?;
    let is_wanted = |layer: &Layer| {
        wanted.is_none_or(|wanted| {
            layer.digest == wanted || layer.annotations.get(TITLE).is_some_and(|one| one == wanted)
        })
    };
    let mut found = manifest.layers.into_iter().filter(is_wanted);
    match (found.next(), found.next()) {
        (Some(layer), None) => Ok(layer),
        (None, _) => Err("the manifest has no such layer".to_owned()),
        (Some(_), Some(_)) => {
            Err("the manifest has several layers; put `#TITLE` behind the address".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn one_layer_is_chosen() {
        let one = r#"{"layers":[{"digest":"sha256:a","size":3}]}"#;
        let two = r#"{"layers":[{"digest":"sha256:a","size":3,
            "annotations":{"org.opencontainers.image.title":"node.ign"}},
            {"digest":"sha256:b","size":4}]}"#;
        for (manifest, wanted, expected) in [
            (one, None, Some("sha256:a")),
            (one, Some("node.ign"), None),
            (two, None, None),
            (two, Some("node.ign"), Some("sha256:a")),
            (two, Some("sha256:b"), Some("sha256:b")),
            (r#"{"manifests":[]}"#, None, None),
            ("[", None, None),
        ] {
            let found = choose(manifest.as_bytes(), wanted).ok().map(|layer| layer.digest);
            assert_eq!(found.as_deref(), expected, "{manifest} {wanted:?}");
        }
    }
}
