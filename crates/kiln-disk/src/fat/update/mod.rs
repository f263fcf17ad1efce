//! Changing a FAT32 file system so that a power cut leaves it old or new.
//!
//! A [`Volume`] is what the device holds, read once; [`Volume::plan`] turns one [`Change`] into
//! ordered writes, and the caller carries them out with [`apply`](crate::device::apply). Nothing
//! here writes. The order is always the same: mark the volume as being changed, data, flush,
//! allocation tables, flush, **one directory sector, which is the commit**, flush, what has become
//! free, the count of free clusters, and last the mark is taken away.
//!
//! Between mark and end a cut may leave clusters that nobody uses or a file with two names. A reader
//! (firmware, the boot loader) sees neither: it follows directories, and those are old or new.
//! [`Volume::repair`] tidies up before the next change.
//!
//! Must never be used on a mounted file system: the kernel would write its own idea of it later.
//! Mounting it and renaming files instead was dropped, because vfat orders nothing.
//!
//! Format source: Microsoft FAT32 File System Specification, version 1.03.

mod directory;
mod draft;
mod plan;
mod repair;
mod volume;

pub use volume::Volume;

/// One change of the file system. Paths have `/` between names and none in front; their case does
/// not matter where they name what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// A new file in a directory that is there.
    Add {
        /// Its path.
        path: &'a str,
        /// Its content, below 4 GiB.
        bytes: &'a [u8],
    },
    /// Another content for a file that is there. The old one stays whole until the commit.
    Replace {
        /// Its path.
        path: &'a str,
        /// Its new content, below 4 GiB.
        bytes: &'a [u8],
    },
    /// Another name, in the same directory or in another that is there. Within a directory, and with
    /// a name that needs no more entries, it is a single sector write.
    Move {
        /// The path now.
        from: &'a str,
        /// The path afterwards.
        to: &'a str,
    },
    /// No such file any more.
    Remove {
        /// Its path.
        path: &'a str,
    },
    /// No such directory any more; it must be empty.
    RemoveDirectory {
        /// Its path.
        path: &'a str,
    },
    /// A new empty directory in one that is there.
    MakeDirectory {
        /// Its path.
        path: &'a str,
    },
}
