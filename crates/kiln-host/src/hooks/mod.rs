//! Hooks: what the owner of a machine wants done around an installation, an upgrade or a reset.
//!
//! This crate knows when, and never what: it calls [`Hooks`] at three moments, in this order, and the
//! one who gave them carries them out. Before the commit point a hook sees the new system whole and
//! proved while nothing starts it yet, so that a power cut in a hook leaves the machine as it was, and
//! none ever starts without what its hooks did. Running them after the commit was dropped for that
//! reason. What a hook fails at is its own to report: nothing here stops for it.

mod documents;
mod sandbox;

use std::fs::File;

pub use documents::{Document, FOLDER, documents};
pub use sandbox::{Pending, Sandbox};

/// A moment of an action.
#[derive(Debug)]
pub enum Moment<'a> {
    /// All that can be refused was, and nothing is changed yet.
    Before,
    /// All is written and proved, and nothing starts it yet.
    Written(Written<'a>),
    /// The commit point lies behind.
    Committed,
}

/// The system that will start.
#[derive(Debug)]
pub struct Written<'a> {
    /// Root hash of its release, hexadecimal.
    pub root_hash: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Where its root is.
    pub root: RootPlace<'a>,
    /// Where its state is.
    pub state: StatePlace<'a>,
}

/// Where a root is: an EROFS file system, proved by its root hash just now, or the one that runs.
#[derive(Debug)]
pub enum RootPlace<'a> {
    /// On a disk without partitions that the kernel knows.
    Extent(Extent<'a>),
    /// On a partition, by its node.
    Partition(&'a str),
    /// It runs.
    Running,
}

/// Where the state is.
#[derive(Debug)]
pub enum StatePlace<'a> {
    /// On a disk without partitions that the kernel knows.
    Extent {
        /// Its place.
        extent: Extent<'a>,
        /// Whether it has no file system yet. One that a hook's runner makes there is kept.
        is_new: bool,
    },
    /// It is this machine's own, and what is in it stays.
    Own,
    /// It is this machine's own, and the next start forgets all of it but these paths of the system.
    Forgotten {
        /// What stays, such as `/etc`.
        kept: &'a [String],
    },
    /// It is this machine's own, and the next start makes a new file system.
    Formatted,
}

/// A part of an open disk.
#[derive(Debug, Clone, Copy)]
pub struct Extent<'a> {
    /// The disk, open for writing.
    pub disk: &'a File,
    /// Bytes of its sectors.
    pub sector_size: u32,
    /// Where the part begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// Carries hooks out.
pub trait Hooks {
    /// Does what is to be done at a moment. Nothing of `moment` is mounted or open any more afterwards.
    fn run(&mut self, moment: &Moment<'_>);
}

/// A machine without hooks.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn run(&mut self, _moment: &Moment<'_>) {}
}
