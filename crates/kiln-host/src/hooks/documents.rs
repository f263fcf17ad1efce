//! Documents of a root that does not run: what its image says is done in it.
//!
//! Hooks that run in the new root are the new release's own affair, so its documents count there and not
//! those of the release that runs. They are read out of the image, because most have none and nothing is
//! mounted then.

use std::fs::File;
use std::io;

use kiln_erofs::format::{MODE_DIRECTORY, MODE_FILE};
use kiln_erofs::{Image, Inode, ReadAt};

use super::RootPlace;
use crate::Error;

/// The folder with an image's own documents.
pub const FOLDER: &str = "/system/oem";
/// Ends of names of documents that can have stages.
const ENDS: [&str; 2] = [".yaml", ".yml"];
/// Levels of folders that are walked.
const MAXIMUM_DEPTH: usize = 8;
/// Documents at most, and bytes of each: as many as a running system reads.
const MAXIMUM_DOCUMENTS: usize = 256;
const MAXIMUM_BYTES: u64 = 16 << 20;

/// A document: its path in the root, and what it holds.
pub type Document = (String, Vec<u8>);

/// All documents of a root, in lexical order of their paths; `None` for one that runs.
///
/// # Errors
/// [`Error::Refused`] with the reason why the image cannot be read.
pub fn documents(root: &RootPlace<'_>) -> Result<Option<Vec<Document>>, Error> {
    let refuse = |reason: String| Error::Refused {
        reason: format!("{FOLDER} of the new release cannot be read: {reason}"),
        hint: "its own hooks do not run; those of this system do".to_owned(),
    };
    let window = match root {
        RootPlace::Running => return Ok(None),
        RootPlace::Extent(extent) => {
            let disk = extent.disk.try_clone().map_err(|error| refuse(error.to_string()))?;
            Window { disk, offset: extent.offset, length: extent.length }
        }
        RootPlace::Partition(node) => {
            let disk = File::open(node).map_err(Error::device("open", node))?;
            let length = ReadAt::length(&disk).map_err(Error::device("look at", node))?;
            Window { disk, offset: 0, length }
        }
    };
    let found = (|| {
        let image = Image::open(window)?;
        let mut found = Vec::new();
        if let Some(folder) = image.lookup(FOLDER.as_bytes())? {
            walk(&image, &folder, FOLDER, 0, &mut found)?;
        }
        Ok(found)
    })();
    found.map(Some).map_err(|error: kiln_erofs::Error| refuse(error.to_string()))
}

fn walk(
    image: &Image<Window>,
    folder: &Inode,
    path: &str,
    depth: usize,
    found: &mut Vec<Document>,
) -> Result<(), kiln_erofs::Error> {
    if !folder.is(MODE_DIRECTORY) || depth > MAXIMUM_DEPTH {
        return Ok(());
    }
    for entry in image.read_directory(folder)? {
        let Ok(name) = String::from_utf8(entry.name) else { continue };
        if name.starts_with('.') || found.len() >= MAXIMUM_DOCUMENTS {
            continue;
        }
        let inode = image.inode(entry.node)?;
        let inner = format!("{path}/{name}");
        let lower = name.to_lowercase();
        if inode.is(MODE_DIRECTORY) {
            walk(image, &inode, &inner, depth + 1, found)?;
        } else if inode.is(MODE_FILE) && ENDS.iter().any(|end| lower.ends_with(end)) {
            found.push((inner, image.read(&inode, MAXIMUM_BYTES)?));
        }
    }
    Ok(())
}

/// A part of a disk.
struct Window {
    disk: File,
    offset: u64,
    length: u64,
}

impl ReadAt for Window {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        let start = self.offset.checked_add(offset);
        match (start, end) {
            (Some(start), Some(end)) if end <= self.length => {
                ReadAt::read_exact_at(&self.disk, buffer, start)
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }
}
