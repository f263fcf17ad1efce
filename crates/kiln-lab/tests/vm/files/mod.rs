//! What a build left in its folder, as names and digests.
//!
//! Promises about equal bytes compare whole folders, so that a file too many or too few counts as
//! much as a changed one. Digests and not the bytes: a disk has gigabytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use kiln_lab::Error;
use sha2::{Digest, Sha256};

/// Size of the read buffer, in bytes.
const BUFFER: usize = 1 << 20;

/// The SHA-256 of every file in `folder`, hidden ones included, by name.
pub(crate) fn digests(folder: &Path) -> Result<BTreeMap<String, String>, Error> {
    let list = || -> io::Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            found.insert(name, digest(&entry.path())?);
        }
        Ok(found)
    };
    list().map_err(|source| Error::File { action: "read", path: folder.to_owned(), source })
}

fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("{:x}", hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}
