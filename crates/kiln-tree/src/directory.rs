//! A directory of the host as a source (`dir:`).
//!
//! Entries are taken in byte order, so the same directory gives the same tickets and the same image on every file system. Symbolic
//! links are never followed, not even while opening a file. Owners and modes are taken as they are: whoever wants root's files
//! must own them (or use a tar archive). A directory that changes while it is read gives an error or a mixture, never a panic.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::content::ContentStore;
use crate::error::{Error, show};
use crate::limits::{DEVICE_REFUSED, Limits, is_device_place};
use crate::metadata::{Metadata, XattrMap, XattrPool};
use crate::path::join;
use crate::tree::{Kind, Node, NodeId, Tree};

/// Bytes of one attribute's value or of all names of one file (Linux XATTR_SIZE_MAX, XATTR_LIST_MAX).
const XATTR_BYTES: usize = 64 << 10;

/// Reads a directory of the host into a tree.
pub fn read_directory(
    path: &Path,
    store: &mut dyn ContentStore,
    limits: Limits,
) -> Result<Tree, Error> {
    let mut reading = Reading {
        top: path,
        store,
        limits,
        tree: Tree::new(),
        pool: XattrPool::default(),
        linked: HashMap::new(),
        entries: 1,
        bytes: 0,
        buffer: vec![0; XATTR_BYTES],
    };
    let root = fs::metadata(path).map_err(at(path))?;
    if !root.is_dir() {
        return Err(at(path)(io::ErrorKind::NotADirectory.into()));
    }
    // The source itself may be given through a symbolic link; only what is inside is taken literally.
    let top = fs::canonicalize(path).map_err(at(path))?;
    reading.tree.node_mut(NodeId::ROOT).metadata = reading.metadata(&top, b"", &root)?;
    let mut open = vec![(top, Vec::new(), NodeId::ROOT)];
    while let Some((host, inside, directory)) = open.pop() {
        reading.directory(&host, &inside, directory, &mut open)?;
    }
    Ok(reading.tree)
}

/// A directory still to be read: on the host, in the tree, its node.
type Open = (PathBuf, Vec<u8>, NodeId);

struct Reading<'a> {
    top: &'a Path,
    store: &'a mut dyn ContentStore,
    limits: Limits,
    tree: Tree,
    pool: XattrPool,
    /// Files with several names seen so far, by device and inode.
    linked: HashMap<(u64, u64), NodeId>,
    entries: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl Reading<'_> {
    fn directory(
        &mut self,
        host: &Path,
        inside: &[u8],
        directory: NodeId,
        open: &mut Vec<Open>,
    ) -> Result<(), Error> {
        let mut names = Vec::new();
        for entry in fs::read_dir(host).map_err(at(host))? {
            names.push(entry.map_err(at(host))?.file_name().into_vec());
            self.count(inside)?;
        }
        names.sort_unstable();
        let mut subdirectories = Vec::new();
        for name in names {
            let host = host.join(OsStr::from_bytes(&name));
            let inside = join(inside, &name);
            if inside.len() > self.limits.path_bytes {
                return Err(self.limit(&inside, "bytes of a path", self.limits.path_bytes as u64));
            }
            let facts = fs::symlink_metadata(&host).map_err(at(&host))?;
            let id = self.node(&host, &inside, &facts)?;
            self.tree.attach(directory, &name, id);
            if facts.is_dir() {
                subdirectories.push((host, inside, id));
            }
        }
        open.extend(subdirectories.into_iter().rev());
        Ok(())
    }

    fn node(&mut self, host: &Path, inside: &[u8], facts: &fs::Metadata) -> Result<NodeId, Error> {
        let identity = (facts.dev(), facts.ino());
        if !facts.is_dir()
            && facts.nlink() > 1
            && let Some(known) = self.linked.get(&identity)
        {
            return Ok(*known);
        }
        let kind = self.kind(host, inside, facts)?;
        let metadata = self.metadata(host, inside, facts)?;
        let id = self.tree.add(Node { kind, metadata });
        if !facts.is_dir() && facts.nlink() > 1 {
            self.linked.insert(identity, id);
        }
        Ok(id)
    }

    fn kind(&mut self, host: &Path, inside: &[u8], facts: &fs::Metadata) -> Result<Kind, Error> {
        let file_type = facts.file_type();
        let device = facts.rdev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let is_device = file_type.is_char_device() || file_type.is_block_device();
        if is_device && !self.limits.device_nodes && !is_device_place(inside) {
            return Err(Error::path(inside, DEVICE_REFUSED));
        }
        Ok(if file_type.is_dir() {
            Kind::Directory(Default::default())
        } else if file_type.is_file() {
            self.file(host, inside)?
        } else if file_type.is_symlink() {
            let target = fs::read_link(host).map_err(at(host))?.into_os_string().into_vec();
            if target.len() > self.limits.symlink_bytes {
                let limit = self.limits.symlink_bytes as u64;
                return Err(self.limit(inside, "bytes of a symbolic link", limit));
            }
            Kind::Symlink(target)
        } else if file_type.is_char_device() {
            Kind::CharacterDevice { major, minor }
        } else if file_type.is_block_device() {
            Kind::BlockDevice { major, minor }
        } else if file_type.is_fifo() {
            Kind::Fifo
        } else {
            Kind::Socket
        })
    }

    fn file(&mut self, host: &Path, inside: &[u8]) -> Result<Kind, Error> {
        // A file swapped for a link or a pipe since it was looked at must neither be followed nor block.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.cast_signed())
            .open(host)
            .map_err(at(host))?;
        let size = file.metadata().map_err(at(host))?.len();
        if size > self.limits.file_bytes {
            return Err(self.limit(inside, "bytes of one file", self.limits.file_bytes));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.total_bytes {
            return Err(self.limit(inside, "bytes of files", self.limits.total_bytes));
        }
        let mut reader = HostFile { file, failure: None };
        let stored = self.store.store(size, &mut reader);
        if let Some(source) = reader.failure {
            return Err(at(host)(source));
        }
        stored.map(Kind::File).map_err(|source| Error::Store {
            origin: self.origin(),
            path: show(inside),
            source,
        })
    }

    fn metadata(
        &mut self,
        host: &Path,
        inside: &[u8],
        facts: &fs::Metadata,
    ) -> Result<Metadata, Error> {
        let xattrs = xattrs(host, &mut self.buffer).map_err(|error| at(host)(error.into()))?;
        let bytes: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > self.limits.xattr_bytes {
            let limit = self.limits.xattr_bytes as u64;
            return Err(self.limit(inside, "bytes of extended attributes", limit));
        }
        Ok(Metadata {
            mode: (facts.mode() & 0o7777) as u16,
            uid: facts.uid(),
            gid: facts.gid(),
            mtime_seconds: facts.mtime(),
            mtime_nanoseconds: u32::try_from(facts.mtime_nsec()).unwrap_or(0),
            xattrs: self.pool.share(xattrs),
        })
    }

    fn count(&mut self, inside: &[u8]) -> Result<(), Error> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(self.limit(inside, "entries", self.limits.entries));
        }
        Ok(())
    }

    fn limit(&self, path: &[u8], what: &'static str, limit: u64) -> Error {
        Error::Limit { origin: self.origin(), path: show(path), what, limit }
    }

    fn origin(&self) -> String {
        format!("directory {}", self.top.display())
    }
}

/// Remembers why reading failed, so that a damaged disk is not blamed on the content store.
struct HostFile {
    file: File,
    failure: Option<io::Error>,
}

impl Read for HostFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.file.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let kind = error.kind();
                self.failure = Some(error);
                Err(kind.into())
            }
            result => result,
        }
    }
}

/// Reads all attributes; `buffer` is reused between files.
fn xattrs(path: &Path, buffer: &mut [u8]) -> Result<XattrMap, Errno> {
    let mut map = XattrMap::new();
    // No question for the length first: it costs a system call per file and sandboxed kernels answer it with zero.
    let length = match rustix::fs::llistxattr(path, &mut *buffer) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error),
    };
    let names = buffer.get(..length).unwrap_or_default().to_vec();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match rustix::fs::lgetxattr(path, name, &mut *buffer) {
            Ok(length) => {
                map.insert(name.to_vec(), buffer.get(..length).unwrap_or_default().to_vec());
            }
            // Removed since it was listed.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(map)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Directory { path, source }
}
