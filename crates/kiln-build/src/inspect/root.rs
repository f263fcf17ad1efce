//! A root image: which release it is, how it is stored and where its bytes are.
//!
//! The walk counts what files hold, not what they take: compressed lengths belong to runs of many
//! files and say nothing about one directory. A file with several names counts where it is met
//! first, in the order of names.

use std::collections::BTreeSet;

use kiln_boot::os_release::OsRelease;
use kiln_erofs::format::{
    ALGORITHM_LZ4, ALGORITHM_ZSTD, BLOCK, MODE_DIRECTORY, MODE_FILE, MODE_SYMLINK,
};
use kiln_erofs::{Error, Image};
use kiln_verity::{MAXIMUM_DATA_BLOCKS, encode_hex, tree_blocks};
use serde::Serialize;

use super::view::View;

/// Longest os-release in bytes that is read.
const MAXIMUM_OS_RELEASE: u64 = 64 << 10;

/// What a root image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RootFacts {
    /// What it says about itself.
    pub release: ReleaseFacts,
    /// How it is stored.
    pub erofs: ErofsFacts,
    /// Where its hash tree is.
    pub verity: VerityFacts,
    /// Directories with most bytes of files below them, the largest first.
    pub largest_directories: Vec<DirectoryFacts>,
}

/// From the image's os-release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReleaseFacts {
    /// `IMAGE_ID` or `ID`.
    pub name: Option<String>,
    /// `IMAGE_VERSION`, `VERSION` or `VERSION_ID`.
    pub version: Option<String>,
    /// `PRETTY_NAME` or what comes next to it.
    pub title: Option<String>,
}

/// The file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErofsFacts {
    /// `none`, `lz4`, `zstd`, several joined by `+`, or `unknown`.
    pub codec: String,
    /// Identifier, 32 hexadecimal digits.
    pub uuid: String,
    /// Length of the file system.
    pub length: u64,
    /// Number of inodes.
    pub inodes: u64,
    /// Number of files, each once.
    pub files: u64,
    /// Number of directories.
    pub directories: u64,
    /// Number of symbolic links.
    pub symbolic_links: u64,
    /// Bytes that the files hold, each once.
    pub content_length: u64,
}

/// The hash tree behind the file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerityFacts {
    /// Number of data blocks of 4096 bytes.
    pub data_blocks: u64,
    /// Where the tree starts.
    pub hash_offset: u64,
    /// Length of the tree.
    pub hash_length: u64,
    /// Whether the file or slot is long enough to hold it.
    pub fits: bool,
}

/// A directory and what is below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DirectoryFacts {
    /// Path from the root, with a leading slash.
    pub path: String,
    /// Bytes of all files below it, each once.
    pub length: u64,
}

/// Reads an image that starts where `view` does.
pub(super) fn facts(view: View<'_>, directories: usize) -> Result<RootFacts, Error> {
    let image = Image::open(view)?;
    let superblock = image.superblock();
    let data_blocks = u64::from(superblock.blocks);
    let hash_offset = data_blocks * BLOCK as u64;
    let hash_length = tree_blocks(data_blocks.min(MAXIMUM_DATA_BLOCKS)) * BLOCK as u64;
    let mut erofs = ErofsFacts {
        codec: codec(superblock.algorithms, is_compressed(superblock.incompat)),
        uuid: encode_hex(&superblock.uuid),
        length: hash_offset,
        inodes: superblock.inodes,
        files: 0,
        directories: 0,
        symbolic_links: 0,
        content_length: 0,
    };
    let largest_directories = walk(&image, &mut erofs, directories)?;
    let verity = VerityFacts {
        data_blocks,
        hash_offset,
        hash_length,
        fits: view.bytes() >= hash_offset + hash_length,
    };
    Ok(RootFacts { release: release(&image)?, erofs, verity, largest_directories })
}

/// Whether the superblock asks for a reader of compressed files.
fn is_compressed(incompat: u32) -> bool {
    incompat & kiln_erofs::format::INCOMPAT_ZERO_PADDING != 0
}

/// The codecs of an image. Images of before the bit mask have LZ4 without a bit.
fn codec(algorithms: u16, compressed: bool) -> String {
    let known = [(ALGORITHM_LZ4, "lz4"), (ALGORITHM_ZSTD, "zstd")];
    let names: Vec<&str> = known
        .iter()
        .filter(|(number, _)| algorithms & (1 << number) != 0)
        .map(|(_, name)| *name)
        .collect();
    match (algorithms, names.is_empty()) {
        (0, _) if compressed => "lz4".to_owned(),
        (0, _) => "none".to_owned(),
        (_, true) => "unknown".to_owned(),
        _ => names.join("+"),
    }
}

fn release(image: &Image<View<'_>>) -> Result<ReleaseFacts, Error> {
    for path in OsRelease::PATHS {
        // The first of the paths is often a link to the second, which then comes next.
        let Some(inode) = image.lookup(path.as_bytes())? else { continue };
        if !inode.is(MODE_FILE) {
            continue;
        }
        let bytes = image.read(&inode, MAXIMUM_OS_RELEASE)?;
        let fields = OsRelease::parse(&String::from_utf8_lossy(&bytes));
        let owned = |field: Option<&str>| field.map(str::to_owned);
        return Ok(ReleaseFacts {
            name: owned(fields.name()),
            version: owned(fields.version()),
            title: owned(fields.title()),
        });
    }
    Ok(ReleaseFacts::default())
}

/// Walks everything once, counts into `erofs` and returns the largest directories but the root,
/// whose length is that of all contents.
fn walk(
    image: &Image<View<'_>>,
    erofs: &mut ErofsFacts,
    wanted: usize,
) -> Result<Vec<DirectoryFacts>, Error> {
    let mut largest = Largest { wanted, found: Vec::new() };
    // Directories from the root to the present one; the walk is in pre-order.
    let mut open: Vec<(Vec<u8>, u64)> = Vec::new();
    let mut seen = BTreeSet::new();
    for entry in image.walk() {
        let entry = entry?;
        while open.last().is_some_and(|(path, _)| !is_below(path, &entry.path)) {
            close(&mut open, &mut largest);
        }
        let (inode, size) = (&entry.inode, entry.inode.raw.size);
        if inode.is(MODE_DIRECTORY) {
            erofs.directories += 1;
            open.push((entry.path, 0));
        } else if inode.raw.links > 1 && !seen.insert(inode.node) {
            continue;
        } else if inode.is(MODE_FILE) {
            erofs.files += 1;
            erofs.content_length = erofs.content_length.saturating_add(size);
            if let Some((_, length)) = open.last_mut() {
                *length = length.saturating_add(size);
            }
        } else if inode.is(MODE_SYMLINK) {
            erofs.symbolic_links += 1;
        }
    }
    while !open.is_empty() {
        close(&mut open, &mut largest);
    }
    Ok(largest.finish())
}

fn is_below(directory: &[u8], path: &[u8]) -> bool {
    directory.is_empty()
        || path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// Leaves the innermost directory: its bytes are also its parent's.
fn close(open: &mut Vec<(Vec<u8>, u64)>, largest: &mut Largest) {
    let Some((path, length)) = open.pop() else { return };
    if let Some((_, above)) = open.last_mut() {
        *above = above.saturating_add(length);
        largest.offer(path, length);
    }
}

/// The directories with most bytes; equal ones in the order of their paths.
struct Largest {
    wanted: usize,
    found: Vec<(Vec<u8>, u64)>,
}

impl Largest {
    fn offer(&mut self, path: Vec<u8>, length: u64) {
        self.found.push((path, length));
        // Cut seldom, so that sorting costs little, and often enough to hold only a few paths.
        if self.found.len() > self.wanted.saturating_mul(2).saturating_add(256) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.found.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        self.found.truncate(self.wanted);
    }

    fn finish(mut self) -> Vec<DirectoryFacts> {
        self.cut();
        let facts = |(path, length): (Vec<u8>, u64)| DirectoryFacts {
            path: format!("/{}", String::from_utf8_lossy(&path)),
            length,
        };
        self.found.into_iter().map(facts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Largest, codec, is_below};

    #[test]
    fn codecs_have_names() {
        let cases = [
            (0, false, "none"),
            (0, true, "lz4"),
            (1, true, "lz4"),
            (8, true, "zstd"),
            (9, true, "lz4+zstd"),
            (2, true, "unknown"),
        ];
        for (algorithms, compressed, expected) in cases {
            assert_eq!(codec(algorithms, compressed), expected, "{algorithms}");
        }
    }

    #[test]
    fn below_means_below_and_not_beside() {
        assert!(is_below(b"", b"a") && is_below(b"a", b"a/b"));
        assert!(!is_below(b"a", b"ab") && !is_below(b"a", b"a") && !is_below(b"a/b", b"a"));
    }

    #[test]
    fn the_largest_survive_many_smaller_ones() {
        let mut largest = Largest { wanted: 2, found: Vec::new() };
        for number in 0..2000_u64 {
            largest.offer(format!("d{number}").into_bytes(), number * 7 % 2000);
        }
        let found: Vec<u64> = largest.finish().iter().map(|facts| facts.length).collect();
        assert_eq!(found, [1999, 1998]);
    }
}
