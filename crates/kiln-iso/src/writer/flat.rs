//! A tree as lists: directories with numbers, files in the order in which they lie on the medium.
//!
//! The two trees of names, ISO's and Joliet's, differ in names and order but not in what they name,
//! so both are built over these lists.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::format::Place;
use crate::tree::{Content, Directory, Node, lossy};

/// Path tables number directories in 16 bits (ECMA-119, 9.4.4).
pub(crate) const MAXIMUM_DIRECTORIES: usize = 65_535;

/// A directory. The first of the list is the root, which is its own parent.
#[derive(Debug)]
pub(crate) struct FlatDirectory {
    pub(crate) mode: u32,
    pub(crate) parent: usize,
    pub(crate) children: Vec<FlatChild>,
}

impl FlatDirectory {
    /// Its number of links: itself, its name, and `..` of each directory in it.
    pub(crate) fn links(&self) -> u32 {
        let below = self.children.iter().filter(|child| child.directory().is_some());
        // Bounded by the number of directories.
        2 + below.count() as u32
    }
}

/// A name in a directory.
#[derive(Debug)]
pub(crate) struct FlatChild {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: FlatKind,
}

/// What a name is of.
#[derive(Debug)]
pub(crate) enum FlatKind {
    /// Number of the directory.
    Directory(usize),
    /// Permissions, and number of the file.
    File(u32, usize),
    /// Target.
    Symlink(Vec<u8>),
}

impl FlatChild {
    pub(crate) fn directory(&self) -> Option<usize> {
        match self.kind {
            FlatKind::Directory(number) => Some(number),
            _ => None,
        }
    }
}

/// A file.
#[derive(Debug)]
pub(crate) struct FlatFile<'a> {
    pub(crate) path: String,
    pub(crate) content: Content<'a>,
    /// Known when the layout is made.
    pub(crate) place: Place,
}

/// A tree as lists.
#[derive(Debug, Default)]
pub(crate) struct Flat<'a> {
    pub(crate) directories: Vec<FlatDirectory>,
    pub(crate) files: Vec<FlatFile<'a>>,
}

impl<'a> Flat<'a> {
    /// Takes a tree apart, names in their order.
    pub(crate) fn new(root: Directory<'a>) -> Result<Self, Error> {
        let mut flat = Self::default();
        flat.add(root, 0, &mut Vec::new())?;
        Ok(flat)
    }

    fn add(
        &mut self,
        directory: Directory<'a>,
        parent: usize,
        path: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        let number = self.directories.len();
        if number >= MAXIMUM_DIRECTORIES {
            let limit = MAXIMUM_DIRECTORIES as u64;
            return Err(Error::TooMany { what: "directories", limit });
        }
        let mode = directory.mode;
        self.directories.push(FlatDirectory { mode, parent, children: Vec::new() });
        let children = self.children(directory.children, number, path)?;
        if let Some(added) = self.directories.get_mut(number) {
            added.children = children;
        }
        Ok(number)
    }

    fn children(
        &mut self,
        children: BTreeMap<Vec<u8>, Node<'a>>,
        parent: usize,
        path: &mut Vec<u8>,
    ) -> Result<Vec<FlatChild>, Error> {
        let mut flat = Vec::with_capacity(children.len());
        for (name, node) in children {
            let length = path.len();
            path.push(b'/');
            path.extend(&name);
            let kind = match node {
                Node::Directory(directory) => {
                    FlatKind::Directory(self.add(directory, parent, path)?)
                }
                Node::File { mode, content } => {
                    let place = Place { offset: 0, length: content.length };
                    self.files.push(FlatFile { path: lossy(path), content, place });
                    FlatKind::File(mode, self.files.len() - 1)
                }
                Node::Symlink(target) => FlatKind::Symlink(target),
            };
            path.truncate(length);
            flat.push(FlatChild { name, kind });
        }
        Ok(flat)
    }
}
