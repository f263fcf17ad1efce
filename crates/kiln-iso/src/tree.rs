//! What a medium holds: directories, files and links by their true names, and where contents are.
//!
//! A tree is what the writer may rely on: names are checked when they are put in, so that a bad one
//! cannot reach the layout. Contents are described and never loaded: a root of gigabytes is a range
//! of an open file, the files of an overlay are opened one after the other while they are written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::error::Error;
use crate::format::{MAXIMUM_DEPTH, MAXIMUM_NAME, MAXIMUM_NODES, MAXIMUM_TARGET};

/// Permission bits that a file may have.
const PERMISSIONS: u32 = 0o7777;
/// Those of a directory that nobody asked for by name.
const DIRECTORY_MODE: u32 = 0o755;

/// Bytes at any place.
pub trait ReadAt {
    /// Fills `buffer` from byte `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if there are not enough bytes, and what the source reports.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

/// A partition of the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Partition {
    /// The EFI system partition.
    Esp,
    /// The root image.
    Root,
}

impl Partition {
    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Esp => "ESP",
            Self::Root => "root",
        }
    }
}

/// The content of a file or partition: where it is and how long.
#[derive(Debug)]
pub struct Content<'a> {
    pub(crate) length: u64,
    pub(crate) source: Source<'a>,
}

/// Where content comes from.
pub(crate) enum Source<'a> {
    Bytes(Cow<'a, [u8]>),
    /// Everything between the pieces is zeros.
    Pieces(Vec<(u64, Cow<'a, [u8]>)>),
    Range {
        file: &'a File,
        start: u64,
    },
    /// Opened when it is written.
    Path(PathBuf),
    Reader(&'a dyn ReadAt),
    /// The very bytes of a partition, not a copy.
    Partition(Partition),
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(formatter, "{} bytes", bytes.len()),
            Self::Pieces(pieces) => write!(formatter, "{} pieces", pieces.len()),
            Self::Range { start, .. } => write!(formatter, "file from byte {start}"),
            Self::Path(path) => write!(formatter, "{}", path.display()),
            Self::Reader(_) => formatter.write_str("reader"),
            Self::Partition(partition) => write!(formatter, "{partition:?}"),
        }
    }
}

impl<'a> Content<'a> {
    /// From memory.
    pub fn bytes(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        let bytes = bytes.into();
        Self { length: bytes.len() as u64, source: Source::Bytes(bytes) }
    }

    /// `length` bytes that are zeros but for `pieces`, by byte offset and in ascending order: what
    /// [`kiln_disk::fat::format_filesystem`] makes.
    pub fn pieces(length: u64, pieces: Vec<(u64, Cow<'a, [u8]>)>) -> Self {
        Self { length, source: Source::Pieces(pieces) }
    }

    /// `length` bytes of an open file from byte `start` on. Its read position is moved.
    pub fn range(file: &'a File, start: u64, length: u64) -> Self {
        Self { length, source: Source::Range { file, start } }
    }

    /// A file that is opened when it is written, and must then still have this length in bytes.
    pub fn path(path: impl Into<PathBuf>, length: u64) -> Self {
        Self { length, source: Source::Path(path.into()) }
    }

    /// The first `length` bytes of anything.
    pub fn reader(reader: &'a dyn ReadAt, length: u64) -> Self {
        Self { length, source: Source::Reader(reader) }
    }

    /// A file that shows a partition's content to systems that see no partitions on a CD. It costs
    /// no room: its extents are the partition itself.
    pub fn partition(partition: Partition) -> Self {
        Self { length: 0, source: Source::Partition(partition) }
    }

    /// Length in bytes; zero for one that stands for a partition.
    pub fn length(&self) -> u64 {
        self.length
    }
}

/// A directory.
#[derive(Debug)]
pub(crate) struct Directory<'a> {
    pub(crate) mode: u32,
    pub(crate) children: BTreeMap<Vec<u8>, Node<'a>>,
}

impl Directory<'_> {
    fn empty() -> Self {
        Self { mode: DIRECTORY_MODE, children: BTreeMap::new() }
    }
}

/// Something with a name.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    Directory(Directory<'a>),
    File { mode: u32, content: Content<'a> },
    Symlink(Vec<u8>),
}

/// The files of a medium. Paths have `/` between names; one in front is allowed.
#[derive(Debug)]
pub struct Tree<'a> {
    pub(crate) root: Directory<'a>,
    nodes: usize,
}

impl Default for Tree<'_> {
    fn default() -> Self {
        Self { root: Directory::empty(), nodes: 1 }
    }
}

impl<'a> Tree<'a> {
    /// Only the root directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory, or gives one that is there these permissions.
    ///
    /// # Errors
    /// [`Error::Path`] for a name that cannot be, [`Error::TooMany`].
    pub fn directory(&mut self, path: impl AsRef<[u8]>, permissions: u32) -> Result<(), Error> {
        let names = names(path.as_ref())?;
        let directory = self.descend(&names, path.as_ref())?;
        directory.mode = permissions & PERMISSIONS;
        Ok(())
    }

    /// Adds a file, in the place of one that has this name. Directories above are made as needed.
    ///
    /// # Errors
    /// As [`Tree::directory`], and [`Error::Path`] in the place of a directory.
    pub fn file(
        &mut self,
        path: impl AsRef<[u8]>,
        permissions: u32,
        content: Content<'a>,
    ) -> Result<(), Error> {
        self.put(path.as_ref(), Node::File { mode: permissions & PERMISSIONS, content })
    }

    /// Adds a symbolic link, in the place of a file or link that has this name. Repeated slashes and
    /// one at the end of the target are not kept: Rock Ridge stores its names one by one.
    ///
    /// # Errors
    /// As [`Tree::file`]; [`Error::Escape`] for a relative target above the root of the medium.
    pub fn symlink(
        &mut self,
        path: impl AsRef<[u8]>,
        target: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let (path, target) = (path.as_ref(), target.as_ref());
        if target.is_empty() || target.len() > MAXIMUM_TARGET || target.contains(&0) {
            return Err(refuse(path, "a link's target has 1 to 4095 bytes and no zero byte"));
        }
        if target.split(|byte| *byte == b'/').any(|name| name.len() > MAXIMUM_NAME) {
            return Err(refuse(path, "a link's target has a name of more than 255 bytes"));
        }
        if climbs(names(path)?.len(), target) {
            let target = String::from_utf8_lossy(target).into_owned();
            return Err(Error::Escape { path: lossy(path), target });
        }
        self.put(path, Node::Symlink(target.to_vec()))
    }

    /// Whether there is something at this path.
    pub fn contains(&self, path: impl AsRef<[u8]>) -> bool {
        let Ok(names) = names(path.as_ref()) else { return false };
        let Some((last, above)) = names.split_last() else { return true };
        let mut directory = &self.root;
        for name in above {
            match directory.children.get(*name) {
                Some(Node::Directory(below)) => directory = below,
                _ => return false,
            }
        }
        directory.children.contains_key(*last)
    }

    fn put(&mut self, path: &[u8], node: Node<'a>) -> Result<(), Error> {
        let names = names(path)?;
        let (last, above) =
            names.split_last().ok_or_else(|| refuse(path, "it is the root directory"))?;
        let directory = self.descend(above, path)?;
        if let Some(Node::Directory(_)) = directory.children.get(*last) {
            return Err(refuse(path, "there is a directory of this name"));
        }
        if directory.children.insert(last.to_vec(), node).is_none() {
            self.count()?;
        }
        Ok(())
    }

    /// The directory with these names, made as needed. A file in its way gives place: what is put in
    /// later wins.
    fn descend(&mut self, names: &[&[u8]], path: &[u8]) -> Result<&mut Directory<'a>, Error> {
        if names.len() > MAXIMUM_DEPTH {
            return Err(refuse(path, "more than 128 directories deep"));
        }
        let mut directory = &mut self.root;
        let mut made = 0;
        for name in names {
            let fresh = || Node::Directory(Directory::empty());
            let node = directory.children.entry(name.to_vec()).or_insert_with(|| {
                made += 1;
                fresh()
            });
            if !matches!(node, Node::Directory(_)) {
                *node = fresh();
            }
            let Node::Directory(below) = node else {
                return Err(refuse(path, "there is a file in its way"));
            };
            directory = below;
        }
        self.nodes += made;
        if self.nodes > MAXIMUM_NODES {
            return Err(too_many());
        }
        Ok(directory)
    }

    fn count(&mut self) -> Result<(), Error> {
        self.nodes += 1;
        if self.nodes > MAXIMUM_NODES { Err(too_many()) } else { Ok(()) }
    }
}

fn too_many() -> Error {
    Error::TooMany { what: "files, directories and links", limit: MAXIMUM_NODES as u64 }
}

/// For messages.
pub(crate) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn refuse(path: &[u8], reason: &'static str) -> Error {
    Error::Path { path: lossy(path), reason }
}

/// The checked names of a path.
pub(crate) fn names(path: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let inner = path.strip_prefix(b"/").unwrap_or(path);
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&[u8]> = inner.split(|byte| *byte == b'/').collect();
    for name in &names {
        if name.is_empty() {
            return Err(refuse(path, "it has an empty name"));
        }
        if matches!(*name, b"." | b"..") {
            return Err(refuse(path, "it has a name of dots only"));
        }
        if name.len() > MAXIMUM_NAME {
            return Err(refuse(path, "it has a name of more than 255 bytes"));
        }
        if name.contains(&0) {
            return Err(refuse(path, "it has a zero byte"));
        }
    }
    Ok(names)
}

/// Whether a target, seen from a link with so many names, leads above the root. An absolute one
/// belongs to whoever reads the medium and is not followed here.
fn climbs(depth: usize, target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return false;
    }
    let mut depth = depth.saturating_sub(1);
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_paths_are_refused() {
        let mut tree = Tree::new();
        let long = "n".repeat(256);
        for path in ["a/../b", "..", "a//b", "a/", "./a", "a\0b", "/", "", &long] {
            let file = tree.file(path, 0o644, Content::bytes(&b""[..]));
            assert!(matches!(file, Err(Error::Path { .. })), "{path:?}");
        }
        assert!(tree.directory("/".to_owned() + &"d/".repeat(128) + "d", 0o755).is_err());
        tree.file("/boot/grub/grub.cfg", 0o644, Content::bytes(&b"x"[..])).unwrap();
        assert!(tree.contains("boot/grub") && tree.contains("/boot/grub/grub.cfg"));
        assert!(!tree.contains("boot/grub/grub.cfg/x") && !tree.contains("grub"));
        assert!(tree.file("boot", 0o644, Content::bytes(&b""[..])).is_err());
        // What comes later wins, also a directory over a file.
        tree.file("boot/grub/grub.cfg/x", 0o644, Content::bytes(&b""[..])).unwrap();
        assert!(tree.contains("boot/grub/grub.cfg/x"));
    }

    #[test]
    fn links_stay_inside() {
        for (path, target, inside) in [
            ("a", "b", true),
            ("a", "../b", false),
            ("x/a", "../b", true),
            ("x/a", "../../b", false),
            ("x/a", "y/../../b", true),
            ("x/a", "./../.././b", false),
            ("a", "/etc/../../b", true),
            ("a", "", false),
        ] {
            let done = Tree::new().symlink(path, target);
            assert_eq!(done.is_ok(), inside, "{path} -> {target}");
        }
    }

    #[test]
    fn the_number_of_nodes_is_bounded() {
        let mut tree = Tree::new();
        let outcome =
            (0..MAXIMUM_NODES).try_for_each(|number| tree.directory(format!("{number}"), 0o755));
        assert!(matches!(outcome, Err(Error::TooMany { .. })));
    }
}
