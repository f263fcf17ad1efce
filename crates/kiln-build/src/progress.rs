//! What a build tells while it works.
//!
//! The builder reports steps and byte counts; how they look (a bar, lines of text, JSON) is decided
//! by whoever listens. So nothing in this crate knows about terminals.

/// The parts of a build, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Reading and merging layers; encoding goes on beside it.
    Read,
    /// Adding Kiln's own layer to the tree.
    Layer,
    /// Choosing modules and writing the initramfs.
    Initramfs,
    /// Laying out the root file system.
    Root,
    /// Computing the verity tree.
    Verity,
    /// Assembling the boot file.
    BootFile,
    /// Writing disks.
    Media,
}

impl Step {
    /// What is happening, for a line of progress.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Read => "reading layers",
            Self::Layer => "adding Kiln's layer",
            Self::Initramfs => "making the initramfs",
            Self::Root => "writing the root image",
            Self::Verity => "hashing the root image",
            Self::BootFile => "assembling the boot file",
            Self::Media => "writing media",
        }
    }
}

/// Listens to a build.
pub trait Progress {
    /// A step begins; the one before it is done.
    fn step(&mut self, step: Step);
    /// Something that a person should know and that does not stop the build.
    fn warning(&mut self, message: &str);
    /// A detail for those who asked for more (`-v`).
    fn detail(&mut self, message: &str);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&mut self, _step: Step) {}
    fn warning(&mut self, _message: &str) {}
    fn detail(&mut self, _message: &str) {}
}
