//! The folder that a build wrote: `release.json`, `NAME.root` and boot files.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::boot::format::FILE_MAX;
use crate::contents::{hex, sha256};
use crate::manifest::CONFIG_MAX;
use crate::{Error, Release};

/// A release on disk.
#[derive(Debug)]
pub struct ReleaseFolder {
    /// Its facts.
    pub release: Release,
    /// Where its root image is.
    pub root: PathBuf,
    /// Its boot files with their modes, as the facts list them; verified.
    pub boot_files: Vec<(String, Vec<u8>)>,
}

impl ReleaseFolder {
    /// Reads the facts and the boot files.
    ///
    /// # Errors
    /// [`Error::Folder`] for any other folder, [`Error::Digest`] for a boot file of another build.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let refused = |path: &Path, reason: &str| Error::Folder {
            path: path.display().to_string(),
            reason: reason.to_owned(),
        };
        let facts = folder.join("release.json");
        if !facts.is_file() {
            return Err(refused(folder, "it has no release.json"));
        }
        let release = Release::from_json(&read(&facts, CONFIG_MAX)?)?;
        let name = &release.name;
        let is_plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        if !is_plain {
            return Err(refused(&facts, "its name is no file name"));
        }
        let root = folder.join(format!("{name}.root"));
        let length = root.metadata().map(|metadata| metadata.len()).unwrap_or_default();
        if length != release.root.length {
            return Err(refused(&root, "it is missing or has another length"));
        }
        let mut boot_files = Vec::new();
        for file in &release.boot_files {
            let path = match file.mode.as_str() {
                "system" => folder.join(format!("{name}.efi")),
                mode if mode.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                    folder.join(format!("{name}.{mode}.efi"))
                }
                _ => return Err(refused(&facts, "a boot file has an unknown mode")),
            };
            let bytes = read(&path, FILE_MAX)?;
            let actual = hex(&sha256(&bytes));
            if actual != file.digest {
                let (what, expected) = (path.display().to_string(), file.digest.clone());
                return Err(Error::Digest { what, expected, actual });
            }
            boot_files.push((file.mode.clone(), bytes));
        }
        Ok(Self { release, root, boot_files })
    }

    /// The root image.
    pub(crate) fn open_root(&self) -> Result<File, Error> {
        File::open(&self.root).map_err(Error::io(format!("open {}", self.root.display())))
    }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let doing = || format!("read {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io(doing()))?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io(doing()))?;
    if bytes.len() as u64 > limit {
        let reason = format!("it is longer than {limit} bytes");
        return Err(Error::Folder { path: path.display().to_string(), reason });
    }
    Ok(bytes)
}
