//! Files without a name, for parsers that take a file or a path.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

/// An empty file in memory.
pub(crate) fn file() -> File {
    match memfd_create("kiln-fuzz", MemfdFlags::CLOEXEC) {
        Ok(file) => file.into(),
        Err(error) => panic!("cannot make a file in memory: {error}"),
    }
}

/// A file in memory with these bytes.
pub(crate) fn file_of(bytes: &[u8]) -> File {
    let file = file();
    write(&file, 0, bytes);
    file
}

/// Writes into a file in memory.
pub(crate) fn write(file: &File, offset: u64, bytes: &[u8]) {
    if let Err(error) = file.write_all_at(bytes, offset) {
        panic!("cannot write to a file in memory: {error}");
    }
}

/// A path that opens the file while it is open here.
pub(crate) fn path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
