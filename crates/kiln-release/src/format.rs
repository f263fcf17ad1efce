//! `release.json`: the facts of one release, as they stand beside the root image, in the registry
//! and in every slot's record.
//!
//! The text is canonical: keys in the order of the fields below, two spaces, one final line feed.
//! So equal releases have equal bytes, and the digest of the text names the release. Unknown keys
//! are refused: a fact that the reader does not understand could be the one that matters.

use serde::{Deserialize, Serialize};

use crate::{Error, Sequence};

/// The value of `format` in every `release.json` that this crate writes.
pub const FORMAT: &str = "kiln.release.v1";

/// One release. Digests are lower-case hexadecimal SHA-256 without a prefix, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Always [`FORMAT`].
    pub format: String,
    /// The system's name, as in the output files' names.
    pub name: String,
    /// The version for people; never compared.
    pub version: String,
    /// What boot menus show.
    pub title: String,
    /// What alone decides which release is newer.
    pub sequence: Sequence,
    /// The CPU architecture in the words of OCI platforms: `amd64`, `arm64`.
    pub architecture: String,
    /// The kernel's release name, as `uname -r` prints it.
    pub kernel: String,
    /// The number of the frozen EROFS profile: layout, codec, its build and its level.
    pub profile: u16,
    /// Digest of the canonical tree (metadata and contents) that the root image was made from.
    pub tree_digest: String,
    /// The root image.
    pub root: Root,
    /// The boot files, by file name.
    pub boot_files: Vec<BootFile>,
    /// Where the tree came from.
    pub source: Source,
    /// What package databases in the tree list, sorted by name.
    pub packages: Vec<Package>,
    /// Kernel arguments that a machine may switch on by name, sorted by name. The root holds the files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addons: Vec<Addon>,
    /// The oldest version of Kiln that can bring this release onto a machine.
    pub minimum_agent: String,
}

/// The root image: an EROFS file system with its dm-verity tree appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Length in bytes, hash tree included.
    pub length: u64,
    /// The verity root hash.
    pub hash: String,
    /// 4096-byte blocks of data, which is also where the hash tree begins.
    pub data_blocks: u64,
    /// The verity salt in hexadecimal.
    pub salt: String,
}

/// A file that a boot loader starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootFile {
    /// What it starts: `system` or `recovery`, as in `kiln.mode=`.
    pub mode: String,
    /// Length in bytes.
    pub length: u64,
    /// Digest of its bytes.
    pub digest: String,
}

/// Kernel arguments in a file of their own, which systemd's stub adds to those of a boot file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addon {
    /// What people switch on.
    pub name: String,
    /// The arguments, separated by single spaces.
    pub arguments: String,
    /// Length of the file in bytes.
    pub length: u64,
    /// Digest of its bytes, in hexadecimal.
    pub digest: String,
}

/// Where a tree came from. Local paths never appear here: they differ between builders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// `oci` for container images, `tree` for folders and tar files.
    pub kind: String,
    /// Digest of the image manifest with its algorithm (`sha256:…`), for container images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_digest: Option<String>,
}

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The package's name.
    pub name: String,
    /// Its version, as its database writes it.
    pub version: String,
    /// Its architecture, as its database writes it.
    pub architecture: String,
}

impl Release {
    /// The canonical text.
    ///
    /// # Errors
    /// [`Error::Json`] if a field cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        let mut text = serde_json::to_string_pretty(self).map_err(Error::Json)?;
        text.push('\n');
        Ok(text)
    }

    /// Reads and checks a `release.json`.
    ///
    /// # Errors
    /// Everything that [`Error`] lists: no JSON, another format, digests of the wrong length.
    pub fn from_json(text: &[u8]) -> Result<Self, Error> {
        let release: Self = serde_json::from_slice(text).map_err(Error::Json)?;
        release.check()?;
        Ok(release)
    }

    fn check(&self) -> Result<(), Error> {
        if self.format != FORMAT {
            return Err(Error::UnknownFormat(self.format.clone()));
        }
        check_digest("root.hash", &self.root.hash)?;
        check_digest("root.salt", &self.root.salt)?;
        check_digest("tree_digest", &self.tree_digest)?;
        for file in &self.boot_files {
            check_digest("boot_files.digest", &file.digest)?;
        }
        for addon in &self.addons {
            check_digest("addons.digest", &addon.digest)?;
        }
        let data_length = self.root.data_blocks.checked_mul(4096);
        if data_length.is_none_or(|length| length >= self.root.length) {
            let reason = format!("{} blocks do not fit the root's length", self.root.data_blocks);
            return Err(Error::Field { field: "root.data_blocks", reason });
        }
        Ok(())
    }
}

fn check_digest(field: &'static str, value: &str) -> Result<(), Error> {
    let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if value.len() == 64 && value.bytes().all(is_lower_hex) {
        return Ok(());
    }
    Err(Error::Field { field, reason: format!("`{value}` is no lower-case SHA-256") })
}

#[cfg(test)]
mod tests {
    use super::{BootFile, FORMAT, Package, Release, Root, Source};
    use crate::{Error, Sequence};

    fn example() -> Release {
        Release {
            format: FORMAT.into(),
            name: "edge".into(),
            version: "13".into(),
            title: "Edge 13".into(),
            sequence: Sequence(7),
            architecture: "amd64".into(),
            kernel: "6.12.1".into(),
            profile: 1,
            tree_digest: "1".repeat(64),
            root: Root {
                length: 3 * 4096,
                hash: "a".repeat(64),
                data_blocks: 2,
                salt: "0".repeat(64),
            },
            boot_files: vec![BootFile { mode: "system".into(), length: 9, digest: "b".repeat(64) }],
            source: Source { kind: "oci".into(), manifest_digest: Some("sha256:00".into()) },
            packages: vec![Package {
                name: "bash".into(),
                version: "5".into(),
                architecture: "amd64".into(),
            }],
            addons: Vec::new(),
            minimum_agent: "0.1.0".into(),
        }
    }

    #[test]
    fn the_text_reads_back_as_it_was() {
        let text = example().to_json().unwrap();
        assert!(text.starts_with("{\n  \"format\": \"kiln.release.v1\""), "{text}");
        assert!(text.ends_with("}\n"));
        assert_eq!(Release::from_json(text.as_bytes()).unwrap(), example());
    }

    #[test]
    fn what_no_build_writes_is_refused() {
        type Change = fn(&mut Release);
        let cases: [(Change, &str); 4] = [
            (|release| release.format = "kiln.release.v9".into(), "kiln.release.v9"),
            (|release| release.root.hash = "A".repeat(64), "root.hash"),
            (|release| release.root.data_blocks = 3, "root.data_blocks"),
            (|release| release.root.data_blocks = u64::MAX, "root.data_blocks"),
        ];
        for (change, expected) in cases {
            let mut release = example();
            change(&mut release);
            let text = release.to_json().unwrap();
            let error = Release::from_json(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let unknown = example().to_json().unwrap().replacen("\"name\"", "\"nom\"", 1);
        assert!(matches!(Release::from_json(unknown.as_bytes()), Err(Error::Json(_))));
    }
}
