//! Reads the tree of a root image back: what a build wrote is all that a push needs.
//!
//! Contents stay where they are; the store that comes with the tree only knows their digests, which
//! all cores compute once.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_erofs::{Image, Inode, format};
use kiln_tree::{
    Children, Content, ContentId, ContentStore, Kind, Metadata, Node, NodeId, Opener, Tree, Xattrs,
};
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::table::format::{FILE_MAX, TARGET_MAX};

/// A tree, and where its contents are read.
pub(crate) struct RootTree {
    pub(crate) tree: Tree,
    pub(crate) image: Image<File>,
    /// Node numbers of files that are not empty, by ticket.
    pub(crate) files: Vec<Inode>,
    /// SHA-256 by ticket.
    pub(crate) digests: Vec<[u8; 32]>,
}

impl RootTree {
    /// Reads all of an image.
    pub(crate) fn read(
        root: File,
        threads: usize,
        done: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Self, Error> {
        let image = Image::open(root)?;
        let (mut tree, mut files) = (Tree::new(), Vec::new());
        let mut known: HashMap<u64, NodeId> = HashMap::new();
        for entry in image.walk() {
            let kiln_erofs::WalkEntry { path, inode } = entry?;
            let refused = |reason: &str| Error::Folder {
                path: String::from_utf8_lossy(&path).into_owned(),
                reason: reason.to_owned(),
            };
            if let Some(id) = known.get(&inode.node) {
                tree.link(&path, *id).map_err(|_| refused("it cannot be in a tree"))?;
                continue;
            }
            let metadata = metadata(&image, &inode)?;
            let device = format::decode_device(inode.raw.union);
            let kind = match inode.raw.mode & format::MODE_TYPE {
                format::MODE_DIRECTORY => Kind::Directory(Children::new()),
                format::MODE_FILE => Kind::File(content(&inode, &mut files)?),
                format::MODE_SYMLINK => Kind::Symlink(image.read(&inode, TARGET_MAX as u64)?),
                format::MODE_CHARACTER => {
                    Kind::CharacterDevice { major: device.0, minor: device.1 }
                }
                format::MODE_BLOCK => Kind::BlockDevice { major: device.0, minor: device.1 },
                format::MODE_FIFO => Kind::Fifo,
                format::MODE_SOCKET => Kind::Socket,
                _ => return Err(refused("it is of an unknown kind")),
            };
            if path.is_empty() {
                tree.node_mut(NodeId::ROOT).metadata = metadata;
                continue;
            }
            let is_directory = matches!(kind, Kind::Directory(_));
            let id = tree
                .insert(&path, Node { kind, metadata })
                .map_err(|_| refused("it cannot be in a tree"))?;
            if !is_directory && inode.raw.links > 1 {
                known.insert(inode.node, id);
            }
        }
        let digests = digests(&image, &files, threads, done)?;
        Ok(Self { tree, image, files, digests })
    }

    pub(crate) fn digest(&self, content: Content) -> Result<[u8; 32], Error> {
        let found = self.digests.get(content.id.0 as usize).copied();
        found.ok_or_else(|| Error::malformed("table", "a content is of another tree"))
    }
}

fn content(inode: &Inode, files: &mut Vec<Inode>) -> Result<Content, Error> {
    let size = inode.raw.size;
    if size > FILE_MAX {
        let error = kiln_erofs::Error::OverLimit { node: inode.node, size, limit: FILE_MAX };
        return Err(error.into());
    }
    if size == 0 {
        return Ok(Content { id: ContentId(u32::MAX), size });
    }
    let id = u32::try_from(files.len()).map_err(|_| Error::malformed("table", "too many files"))?;
    files.push(inode.clone());
    Ok(Content { id: ContentId(id), size })
}

fn metadata(image: &Image<File>, inode: &Inode) -> Result<Metadata, Error> {
    let mut metadata = Metadata::with_mode(inode.raw.mode & 0o7777);
    metadata.uid = inode.raw.uid;
    metadata.gid = inode.raw.gid;
    metadata.mtime_seconds = inode.raw.mtime;
    metadata.mtime_nanoseconds = inode.raw.mtime_nanoseconds;
    metadata.xattrs = Xattrs::from(image.xattrs(inode)?);
    Ok(metadata)
}

/// SHA-256 of each file, with all threads.
fn digests(
    image: &Image<File>,
    files: &[Inode],
    threads: usize,
    done: &(dyn Fn(u64, u64) + Sync),
) -> Result<Vec<[u8; 32]>, Error> {
    let total = files.iter().map(|inode| inode.raw.size).sum();
    let next = AtomicUsize::new(0);
    let outcome = Mutex::new((vec![[0; 32]; files.len()], 0_u64, None));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(inode) = files.get(number) else { return };
                    let mut hash = Hashing(Sha256::new());
                    let copied = image.copy(inode, FILE_MAX, &mut hash);
                    let mut outcome =
                        outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    match copied {
                        Ok(()) => outcome.0[number] = hash.0.finalize().into(),
                        Err(error) => {
                            outcome.2.get_or_insert(error);
                            next.store(files.len(), Ordering::Relaxed);
                        }
                    }
                    outcome.1 += inode.raw.size;
                    done(outcome.1, total);
                }
            });
        }
    });
    match outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        (_, _, Some(error)) => Err(error.into()),
        (digests, ..) => Ok(digests),
    }
}

/// A digest that is written to.
pub(crate) struct Hashing(pub(crate) Sha256);

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Knows the digests of contents and nothing else: what the digest of a tree needs.
pub(crate) struct Digests<F>(pub(crate) F);

impl<F: Fn(Content) -> Option<[u8; 32]>> ContentStore for Digests<F> {
    fn store(&mut self, _: u64, _: &mut dyn io::Read) -> io::Result<Content> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn opener(&self, _: Content) -> io::Result<Opener> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn digest(&self, content: Content) -> io::Result<[u8; 32]> {
        if content.size == 0 {
            return Ok(Sha256::digest(b"").into());
        }
        (self.0)(content).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
