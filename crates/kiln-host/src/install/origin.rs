//! Where an installed system came from: one small file on the ESP beside the facts of its release.
//!
//! It is how a machine that was installed from a registry knows what to follow before it has a
//! ledger, which lies in state and so begins with the first boot. Not a field of `release.json`: that
//! is the same on all machines, and this is not.

use kiln_disk::fat::Fat;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::machine::STAGING;

/// The value of `format`.
const FORMAT: &str = "kiln.origin.v1";

/// Largest file in bytes that is read.
const MAXIMUM_LENGTH: u32 = 64 << 10;

/// Its name in [`STAGING`].
const NAME: &str = "origin.json";

/// The origin of generation 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Always `kiln.origin.v1`.
    format: String,
    /// The reference that `kiln upgrade` follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<String>,
    /// Digest of the manifest that it named then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl Origin {
    /// A new one.
    #[must_use]
    pub fn new(follow: Option<String>, digest: Option<String>) -> Self {
        Self { format: FORMAT.to_owned(), follow, digest }
    }

    /// Its path on the ESP.
    #[must_use]
    pub fn path() -> String {
        format!("{STAGING}/{NAME}")
    }

    /// The canonical text.
    ///
    /// # Errors
    /// [`Error::Refused`] if it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::Refused {
            reason: format!("the origin cannot be written: {error}"),
            hint: "name the source by another reference".to_owned(),
        })?;
        Ok(format!("{text}\n"))
    }

    /// Reads it from a text; `None` for anything that this crate does not write, because a machine
    /// starts without it as well.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().filter(|origin: &Self| origin.format == FORMAT)
    }

    /// Reads it from an ESP.
    #[must_use]
    pub fn read(fat: &Fat<'_>) -> Option<Self> {
        Self::parse(&fat.read(&Self::path(), MAXIMUM_LENGTH).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::Origin;

    #[test]
    fn an_origin_is_read_as_it_was_written() {
        let full = Origin::new(
            Some("docker://registry.example/edge:stable".into()),
            Some("sha256:ab".into()),
        );
        for origin in [full, Origin::new(None, None)] {
            let text = origin.to_json().unwrap();
            assert_eq!(Origin::parse(text.as_bytes()), Some(origin));
        }
        for bad in
            ["", "{}", "{\"format\":\"kiln.origin.v2\"}", "{\"format\":\"kiln.origin.v1\",\"x\":1}"]
        {
            assert_eq!(Origin::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
