//! What refers to an image: the referrers API, and the tag that stands for it where there is none
//! (distribution spec 1.1, "Listing Referrers" and "Referrers Tag Schema").
//!
//! A list from a registry is only a list of candidates: who takes one of them reads its manifest by
//! digest and checks that its subject is the image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::api::{Repository, encode, read_bounded};
use super::retry::retry;
use crate::manifest::null_as_default;
use crate::media_type::OCI_INDEX;
use crate::{Digest, Error};

/// Most referrers that are looked at: an image with more is being flooded.
const REFERRERS_MAX: usize = 1000;

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// Of the manifest that refers.
    pub media_type: String,
    /// Digest of that manifest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Copied from the manifest.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// An image index as far as lists of referrers need it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    #[serde(default, deserialize_with = "null_as_default")]
    manifests: Vec<Referrer>,
}

/// The tag that lists what refers to an image where the registry does not.
fn fallback_tag(subject: Digest) -> String {
    format!("sha256-{}", subject.hex())
}

impl Repository {
    /// Manifests of the type that refer to `subject`.
    pub(super) fn referrers(
        &self,
        subject: Digest,
        artifact_type: &str,
        limit: u64,
    ) -> Result<Vec<Referrer>, Error> {
        let url = format!(
            "{}/v2/{}/referrers/{subject}?artifactType={}",
            self.transport.base,
            self.name,
            encode(artifact_type)
        );
        let asked = retry(&self.transport.network, || {
            let response = self.get(&url, Some(OCI_INDEX), 0, None)?;
            read_bounded(response, &url, limit)
        });
        let bytes = match asked {
            Ok(bytes) => bytes,
            Err(Error::Status { status: 404 | 405 | 501 | 400, .. }) => {
                match self.manifest(&fallback_tag(subject), limit) {
                    Ok((bytes, _)) => bytes,
                    Err(Error::Status { status: 404, .. }) => return Ok(Vec::new()),
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        let list: List = crate::manifest::parse(&bytes, &format!("referrers of {subject}"))?;
        let mut found = list.manifests;
        found.truncate(REFERRERS_MAX);
        found.retain(|referrer| referrer.artifact_type.as_deref() == Some(artifact_type));
        Ok(found)
    }

    /// Adds an entry to the tag that stands for the list, as the specification asks of clients of
    /// registries without the API.
    pub(super) fn add_referrer(
        &self,
        subject: Digest,
        referrer: &Referrer,
        limit: u64,
    ) -> Result<(), Error> {
        let tag = fallback_tag(subject);
        let mut manifests = match self.manifest(&tag, limit) {
            Ok((bytes, _)) => {
                let list: List = crate::manifest::parse(&bytes, &format!("the tag {tag}"))?;
                list.manifests
            }
            Err(Error::Status { status: 404, .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        if manifests.iter().any(|known| known.digest == referrer.digest) {
            return Ok(());
        }
        manifests.push(referrer.clone());
        let list = List { schema_version: 2, media_type: OCI_INDEX.to_owned(), manifests };
        let bytes = serde_json::to_vec(&list)
            .map_err(|source| Error::Json { location: format!("the tag {tag}"), source })?;
        self.push_manifest(&tag, OCI_INDEX, &bytes).map(drop)
    }
}
