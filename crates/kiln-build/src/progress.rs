//! What a build tells while it works.
//!
//! The builder reports steps and byte counts; how they look (a bar, lines of text, JSON) is decided
//! by whoever listens. So nothing in this crate knows about terminals.

/// The parts of a build, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Making a container image from a Containerfile.
    Image,
    /// Bringing layers from a registry.
    Fetch,
    /// Reading and merging layers; encoding goes on beside it.
    Read,
    /// Adding Kiln's own layer to the tree.
    Layer,
    /// Choosing modules and writing the initramfs.
    Initramfs,
    /// Waiting for the contents of files to be encoded.
    Encode,
    /// Laying out the root file system.
    Root,
    /// Computing the verity tree.
    Verity,
    /// Assembling the boot file.
    BootFile,
    /// Writing disks.
    Media,
    /// Reading disks back.
    Check,
}

impl Step {
    /// What is happening, for a line of progress.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Image => "building the container image",
            Self::Fetch => "fetching layers",
            Self::Read => "reading layers",
            Self::Layer => "adding Kiln's layer",
            Self::Initramfs => "making the initramfs",
            Self::Encode => "encoding files",
            Self::Root => "writing the root image",
            Self::Verity => "hashing the root image",
            Self::BootFile => "assembling the boot file",
            Self::Media => "writing media",
            Self::Check => "reading media back",
        }
    }
}

/// What a step counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Regular files of layers, hidden ones included.
    Files,
}

/// Listens to a build. `Send`, because a thread watches files grow while the build writes them.
pub trait Progress: Send {
    /// A step begins; the one before it is done.
    fn step(&mut self, step: Step);
    /// The step that just began counts in `unit` and is done at `total`, where that is known.
    fn expect(&mut self, unit: Unit, total: Option<u64>) {
        let _ = (unit, total);
    }
    /// So much of the step is done, counted from its beginning.
    fn advance(&mut self, done: u64) {
        let _ = done;
    }
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
