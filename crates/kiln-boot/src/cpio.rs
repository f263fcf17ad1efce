//! Writer of cpio archives in the "newc" format, the one that the kernel unpacks as an initramfs.
//!
//! Format: kernel documentation, "initramfs buffer format". The archive is a function of the
//! entries alone: sorted by path, numbered from 1, all times and owners 0, so that two builds are
//! byte-identical. There are no hard links; every file appears once with link count 1.

use std::collections::BTreeMap;

use crate::Error;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Names and contents start at multiples of four bytes.
const ALIGNMENT: usize = 4;

/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

enum Entry {
    Directory,
    File { permissions: u32, bytes: Vec<u8> },
    CharacterDevice { permissions: u32, major: u32, minor: u32 },
}

/// An archive in the making.
#[derive(Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.entries.keys()).finish()
    }
}

impl Archive {
    /// An empty archive.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder and those above it; paths have no leading slash.
    pub fn directory(&mut self, path: &str) {
        self.parents(path);
        self.entries.insert(path.to_owned(), Entry::Directory);
    }

    /// Adds a regular file and the folders above it; replaces one of the same path.
    pub fn file(&mut self, path: &str, permissions: u32, bytes: Vec<u8>) {
        self.parents(path);
        self.entries.insert(path.to_owned(), Entry::File { permissions, bytes });
    }

    /// Adds a character device and the folders above it.
    pub fn character_device(&mut self, path: &str, permissions: u32, major: u32, minor: u32) {
        self.parents(path);
        self.entries.insert(path.to_owned(), Entry::CharacterDevice { permissions, major, minor });
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.entries.entry(path[..at].to_owned()).or_insert(Entry::Directory);
        }
    }

    /// The bytes of the archive, with its trailer.
    ///
    /// # Errors
    /// A file of 4 GiB or more: sizes are eight hexadecimal digits.
    pub fn finish(self) -> Result<Vec<u8>, Error> {
        let mut folders_inside: BTreeMap<&str, u32> = BTreeMap::new();
        for (path, entry) in &self.entries {
            if let (Entry::Directory, Some((parent, _))) = (entry, path.rsplit_once('/')) {
                *folders_inside.entry(parent).or_default() += 1;
            }
        }
        let mut out = Vec::new();
        for (index, (path, entry)) in (1..).zip(&self.entries) {
            // A folder counts its own `.` and the `..` of each folder inside.
            let header = match entry {
                Entry::Directory => Header {
                    mode: DIRECTORY | 0o755,
                    links: 2 + folders_inside.get(path.as_str()).copied().unwrap_or(0),
                    ..Header::default()
                },
                Entry::File { permissions, .. } => {
                    Header { mode: REGULAR | permissions, links: 1, ..Header::default() }
                }
                &Entry::CharacterDevice { permissions, major, minor } => {
                    Header { mode: CHARACTER_DEVICE | permissions, links: 1, major, minor }
                }
            };
            let content: &[u8] = match entry {
                Entry::File { bytes, .. } => bytes,
                _ => &[],
            };
            header.write(&mut out, index, path, content)?;
        }
        Header { links: 1, ..Header::default() }.write(&mut out, 0, TRAILER, &[])?;
        Ok(out)
    }
}

/// The fields of a header that vary.
#[derive(Default)]
struct Header {
    mode: u32,
    links: u32,
    major: u32,
    minor: u32,
}

impl Header {
    fn write(
        &self,
        out: &mut Vec<u8>,
        index: u32,
        path: &str,
        content: &[u8],
    ) -> Result<(), Error> {
        let too_large = |_| Error::FormatLimit { what: "a file of the initramfs" };
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = u32::try_from(path.len() + 1).map_err(too_large)?;
        let Self { mode, links, major, minor } = *self;
        // Order: ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor
        // namesize check.
        let fields = [index, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0];
        out.extend_from_slice(b"070701");
        for field in fields {
            out.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        out.extend_from_slice(path.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Archive {
        let mut archive = Archive::new();
        archive.file("kiln/mod/erofs.ko", 0o644, b"module".to_vec());
        archive.file("init", 0o755, b"#!".to_vec());
        archive.character_device("dev/console", 0o600, 5, 1);
        archive.directory("proc");
        archive
    }

    #[test]
    fn the_bytes_are_frozen() {
        let bytes = example().finish().unwrap();
        assert!(
            bytes.starts_with(b"07070100000001000041ED0000000000000000000000020000000000000000")
        );
        assert_eq!(
            crate::test_support::sha256(&bytes),
            "6cd93db13f7208dbb2e3462b2976d3281c6a95cb7e32ccb2da1504fafb965e09"
        );
    }

    #[test]
    fn order_of_insertion_does_not_matter() {
        let mut other = Archive::new();
        other.directory("proc");
        other.character_device("dev/console", 0o600, 5, 1);
        other.file("init", 0o755, b"#!".to_vec());
        other.file("kiln/mod/erofs.ko", 0o644, b"module".to_vec());
        assert_eq!(other.finish().unwrap(), example().finish().unwrap());
    }
}
