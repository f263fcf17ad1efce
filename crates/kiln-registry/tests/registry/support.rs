//! An image in a registry of the lab, and one way to pull it.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use kiln_lab::Registry;
use kiln_lab::registry::{Request, Settings};
use kiln_registry::layout::{LayerCompression, WriteOptions, write_oci_layout};
use kiln_registry::{Digest, Error, Network, Options, Source, open};

/// An image of one uncompressed layer.
pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) manifest: Digest,
    pub(crate) layer: Vec<u8>,
    /// End of the layer's path in any registry.
    pub(crate) layer_path: String,
}

pub(crate) fn fixture() -> Fixture {
    fixture_for("linux/amd64", 900_000)
}

/// An image for a platform with a layer of so many bytes.
pub(crate) fn fixture_for(platform: &str, bytes: u32) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let layer: Vec<u8> = (0..bytes).map(|number| (number % 251) as u8).collect();
    let options = WriteOptions {
        platform: platform.parse().unwrap(),
        compression: LayerCompression::None,
        ..WriteOptions::default()
    };
    let layout = folder.path().join("layout");
    let manifest = write_oci_layout(&layout, &mut [&mut layer.as_slice()], &options).unwrap();
    let layer_path = format!("/blobs/{}", Digest::of(&layer));
    Fixture { folder, manifest, layer, layer_path }
}

impl Fixture {
    pub(crate) fn layout(&self) -> PathBuf {
        self.folder.path().join("layout")
    }

    /// A registry with this image as `a/b:v1`.
    pub(crate) fn registry(&self, settings: Settings) -> Registry {
        let registry = Registry::start(settings).unwrap();
        self.put(&registry, "a/b");
        registry
    }

    /// A registry without TLS, logins or faults.
    pub(crate) fn plain_registry(&self) -> Registry {
        self.registry(Settings::default())
    }

    pub(crate) fn put(&self, registry: &Registry, repository: &str) {
        let digest = registry.add_layout(repository, "v1", &self.layout()).unwrap();
        assert_eq!(digest, self.manifest.to_string());
    }

    /// Requests for the layer.
    pub(crate) fn asked(&self, registry: &Registry) -> Vec<Request> {
        registry.requests_for(&self.layer_path)
    }
}

/// Short delays, and plain HTTP for these registries.
pub(crate) fn options(plain: &[&Registry]) -> Options {
    Options {
        platform: "linux/amd64".parse().unwrap(),
        network: Network {
            plain_http: plain.iter().map(|registry| registry.host()).collect(),
            attempts: 4,
            first_delay: Duration::from_millis(1),
            longest_delay: Duration::from_millis(20),
            ..Network::default()
        },
        ..Options::default()
    }
}

/// The first layer of an image.
pub(crate) fn pull(name: &str, options: &Options) -> Result<Vec<u8>, Error> {
    let source: Source = format!("docker://{name}").parse()?;
    let image = open(&source, options)?;
    let mut bytes = Vec::new();
    image.open_layer(0)?.read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

/// `a/b:v1` of a registry.
pub(crate) fn pull_from(registry: &Registry, options: &Options) -> Result<Vec<u8>, Error> {
    pull(&format!("{}/a/b:v1", registry.host()), options)
}
