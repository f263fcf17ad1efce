//! Images in registries: the pull half of the OCI distribution spec 1.1.
//!
//! Our own blocking client on `ureq`: ready-made registry clients need an asynchronous runtime and
//! lack mirrors, resumption and retries. Documents and layers are downloaded into content-addressed
//! files, verified, and read from there like local ones, so nothing above knows about networks.
//!
//! Never: plain HTTP for a host that was not listed, credentials for a host they are not for, and
//! bytes without their digest checked (except for a tag's manifest, whose digest is computed).

mod api;
mod artifacts;
mod auth;
mod cache;
mod certificates;
mod challenge;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod proxy;
mod push;
mod ranges;
mod referrers;
mod registries_conf;
mod retry;
mod transport;
mod web;

use std::sync::Arc;

use crate::blob::Blob;
use crate::manifest::Descriptor;
use crate::resolve::resolve;
use crate::store::Store;
use crate::{Digest, Error, Image, Network, Options, Reference, ShortName, Source};

use api::Repository;
pub use artifacts::{Artifacts, Document};
use cache::Cache;
pub use push::Pushed;
pub use ranges::{Answer, RangeSink};
pub use referrers::Referrer;
use registries_conf::Configuration;
use transport::Transport;
pub use web::{SendMethod, WebRequest, get, send};

/// Attempts for one request at a mirror, progress not counted.
const MIRROR_ATTEMPTS: u32 = 2;

/// The mirrors of a repository and the repository itself, in the order they are asked.
#[derive(Debug)]
struct Remote {
    repositories: Vec<Repository>,
    cache: Cache,
    manifest_bytes: u64,
}

impl Remote {
    /// Asks one place after the other; the last failure counts, since it is the primary's. A mirror
    /// that could not be reached is not asked again: an image of forty layers would wait for it
    /// forty times.
    fn first<T>(&self, ask: impl FnMut(&Repository) -> Result<T, Error>) -> Result<T, Error> {
        first(&self.repositories, ask)
    }
}

/// As [`Remote::first`].
fn first<T>(
    repositories: &[Repository],
    mut ask: impl FnMut(&Repository) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut outcome = None;
    for (place, repository) in repositories.iter().enumerate() {
        let is_last = place + 1 == repositories.len();
        if !is_last && repository.is_down() {
            continue;
        }
        match ask(repository) {
            Ok(answer) => return Ok(answer),
            // A full or read-only disk does not get better elsewhere.
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(error) => {
                repository.note(&error);
                outcome = Some(error);
            }
        }
    }
    Err(outcome.unwrap_or_else(|| Error::Protocol {
        url: "registries.conf".into(),
        reason: "it leaves no place to ask".into(),
    }))
}

impl Store for Remote {
    fn document(&self, descriptor: &Descriptor) -> Result<Blob, Error> {
        let Descriptor { digest, size, .. } = *descriptor;
        if crate::media_type::Kind::of(&descriptor.media_type).is_none() {
            // The configuration is a blob like layers.
            return self.layer(digest, size);
        }
        if let Some(blob) = self.cache.find(digest, size)? {
            return Ok(blob);
        }
        self.first(|repository| {
            let (bytes, _) = repository.manifest(&digest.to_string(), self.manifest_bytes)?;
            self.cache.insert(digest, &bytes)
        })
    }

    fn layer(&self, digest: Digest, size: u64) -> Result<Blob, Error> {
        if let Some(blob) = self.cache.find(digest, size)? {
            return Ok(blob);
        }
        // One unfinished file for all places, so that a mirror's half is resumed elsewhere.
        let mut partial = self.cache.begin(digest, size)?;
        self.first(|repository| repository.blob(&mut partial))?;
        self.cache.finish(partial)
    }
}

/// Opens the image `reference` names.
pub(crate) fn open(reference: &Reference, options: &Options) -> Result<Image, Error> {
    let configuration = registries_conf::load(&options.network.registries_conf)?;
    open_configured(reference, &configuration, options)
}

/// Opens the image a name without a host means on this machine.
pub(crate) fn open_short(name: &ShortName, options: &Options) -> Result<Image, Error> {
    let configuration = registries_conf::load(&options.network.registries_conf)?;
    open_configured(&configuration.qualify(name)?, &configuration, options)
}

fn open_configured(
    reference: &Reference,
    configuration: &Configuration,
    options: &Options,
) -> Result<Image, Error> {
    let remote = Remote {
        repositories: repositories(reference, configuration, options)?,
        cache: Cache::new(options.cache.as_deref())?,
        manifest_bytes: options.limits.manifest_bytes,
    };
    let version = reference.version();
    let (bytes, media_type) =
        remote.first(|repository| repository.manifest(&version, remote.manifest_bytes))?;
    let digest = Digest::of(&bytes);
    if let Some(expected) = reference.digest
        && expected != digest
    {
        let location = format!("manifest of {reference}");
        return Err(Error::DigestMismatch { location, expected, actual: digest });
    }
    if let Some(gate) = &options.gate {
        gate.admit(&Source::Registry(reference.clone()), Some(digest)).map_err(Error::denied)?;
    }
    remote.cache.insert(digest, &bytes)?;
    let descriptor = Descriptor {
        media_type,
        digest,
        size: bytes.len() as u64,
        platform: None,
        annotations: Default::default(),
    };
    resolve(Arc::new(remote), descriptor, Some(reference.to_string()), options)
}

/// The mirrors of a repository and the repository itself, last.
fn repositories(
    reference: &Reference,
    configuration: &Configuration,
    options: &Options,
) -> Result<Vec<Repository>, Error> {
    let network = &options.network;
    let credentials = auth::Credentials::load(&network.auth_files)?;
    let places = configuration.places(reference)?;
    let last = places.len().saturating_sub(1);
    // Where there is another place to ask, patience is short.
    let hurried = Network { attempts: network.attempts.min(MIRROR_ATTEMPTS), ..network.clone() };
    places
        .into_iter()
        .enumerate()
        .map(|(number, place)| {
            let network = if number == last { network } else { &hurried };
            let transport = Transport::new(&place.host, network)?;
            let login = credentials.find(&place.host, &place.repository)?;
            Ok(Repository::new(Arc::new(transport), place.repository, login))
        })
        .collect()
}
