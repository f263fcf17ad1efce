//! Files of `--config`: a layout for now, or configuration for the first boot.
//!
//! Which it is, the content tells and never the name. Configuration is only carried to the ESP, into
//! a folder that the first boot reads: what it means is decided there, by the system that has to
//! live with it. The ESP and not state, because state has no file system before that boot.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use kiln_disk::layout::{self, Layout};

use crate::Error;

/// Folder on the ESP for configuration of the first boot.
pub const FOLDER: &str = "EFI/kiln/config";

/// Largest file in bytes: as much as clouds allow for user data, many times over.
pub const MAXIMUM_CONFIGURATION: u64 = 1 << 20;

/// Files at most: their numbers have two digits.
const MAXIMUM_FILES: usize = 99;

/// What all the files together say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The layout and its text.
    pub layout: Option<(Layout, String)>,
    /// Configuration for the first boot: path on the ESP and content, in the order given.
    pub files: Vec<(String, Vec<u8>)>,
    /// Where those files are here: hooks of the installation may stand in them.
    pub documents: Vec<PathBuf>,
}

impl Configuration {
    /// Reads files in their order.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Refused`] for what is no text, too large, or a second layout;
    /// [`Error::Layout`] with file, line and column.
    pub fn read(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut configuration = Self::default();
        for path in paths {
            let bytes = read(path)?;
            configuration.add(path, bytes)?;
        }
        Ok(configuration)
    }

    fn add(&mut self, path: &Path, bytes: Vec<u8>) -> Result<(), Error> {
        let name = path.display().to_string();
        let refuse = |reason: &str, hint: &str| {
            Err(Error::Refused { reason: format!("{name} {reason}"), hint: hint.to_owned() })
        };
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return refuse("is not UTF-8 text", "give cloud-config, Ignition or a layout");
        };
        if layout::is_layout(text) {
            if self.layout.is_some() {
                return refuse("is a second layout", "a disk has one; merge them");
            }
            let layout = Layout::parse(&name, text).map_err(Error::Layout)?;
            self.layout = Some((layout, text.to_owned()));
            return Ok(());
        }
        if text.trim().is_empty() {
            return refuse("is empty", "leave it out");
        }
        if self.files.len() == MAXIMUM_FILES {
            return refuse("is one too many", "give 99 files of configuration at most");
        }
        let place = format!("{FOLDER}/{:02}-{}", self.files.len() + 1, plain(path));
        self.files.push((place, bytes));
        self.documents.push(path.to_owned());
        Ok(())
    }

    /// The layout that counts.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout.as_ref().map_or_else(Layout::default, |(layout, _)| layout.clone())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::file("read", path, source);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAXIMUM_CONFIGURATION + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAXIMUM_CONFIGURATION {
        return Err(Error::Refused {
            reason: format!("{} is larger than 1 MiB", path.display()),
            hint: "configuration names what it needs; it does not carry it".to_owned(),
        });
    }
    Ok(bytes)
}

/// A file name that FAT and every shell can hold.
fn plain(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let name: String =
        name.chars().map(|letter| if allowed(letter) { letter } else { '_' }).take(64).collect();
    // FAT drops dots at the end.
    name.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_tells_what_a_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let cloud = write("my users.yaml.", b"#cloud-config\nusers: []\n");
        let layout = write("disk.yaml", b"# hi\nformat = \"kiln.layout.v1\"\nrecovery = false\n");
        let ignition = write("x.ign", b"{\"ignition\":{\"version\":\"3.4.0\"}}");
        let read = Configuration::read(&[cloud, layout.clone(), ignition]).unwrap();
        let places: Vec<&str> = read.files.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(places, ["EFI/kiln/config/01-my_users.yaml", "EFI/kiln/config/02-x.ign"]);
        assert!(!read.layout().recovery);
        assert!(Configuration::default().layout().recovery);

        let broken = write("broken.toml", b"format = \"kiln.layout.v1\"\nesp = 1\n");
        let large = write("large", &vec![b'a'; 1 << 20 | 1]);
        let cases = [
            (vec![layout.clone(), layout], "is a second layout"),
            (vec![write("binary", &[0xff, 0xfe])], "is not UTF-8"),
            (vec![write("empty", b" \n")], "is empty"),
            (vec![large], "larger than 1 MiB"),
            (vec![broken], "broken.toml:2:7: a value is a text"),
            (vec![folder.path().join("missing")], "cannot read"),
        ];
        for (paths, expected) in cases {
            let error = Configuration::read(&paths).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
