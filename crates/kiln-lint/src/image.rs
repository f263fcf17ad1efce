//! The image as rules see it: the tree, its contents, and the facts that several rules ask for.

use kiln_boot::Kernel;
use kiln_boot::uki::format::Architecture;
use kiln_tree::{Content, ContentStore, Kind, Node, NodeId, Tree};

use crate::Error;

/// Most bytes of a text file that a rule reads, such as `/etc/shadow`: 1 MiB. Larger ones are taken
/// as absent, because no real one comes near.
const TEXT_LIMIT: u64 = 1 << 20;

/// An image under judgement.
pub(crate) struct Image<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) store: &'a dyn ContentStore,
    /// The one kernel, or why there is none to speak of.
    pub(crate) kernel: Result<Kernel, kiln_boot::Error>,
}

impl<'a> Image<'a> {
    pub(crate) fn new(tree: &'a Tree, store: &'a dyn ContentStore) -> Result<Self, Error> {
        let kernel = match Kernel::find(tree, store) {
            Err(error @ kiln_boot::Error::Read { .. }) => return Err(error.into()),
            other => other,
        };
        Ok(Self { tree, store, kernel })
    }

    /// The architectures that boot programs may be for: the kernel's, or any if it has none.
    pub(crate) fn architectures(&self) -> Vec<Architecture> {
        match &self.kernel {
            Ok(kernel) => vec![kernel.architecture],
            Err(_) => vec![Architecture::X86_64, Architecture::Aarch64],
        }
    }

    /// Whether a regular file is at `path`, through symbolic links.
    pub(crate) fn has_file(&self, path: &str) -> bool {
        self.file(path.as_bytes()).is_some()
    }

    /// The content of the regular file at `path`, through symbolic links.
    pub(crate) fn file(&self, path: &[u8]) -> Option<Content> {
        match self.tree.node(self.tree.resolve(path)?).kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }

    /// The text of a small file; empty if there is none.
    pub(crate) fn text(&self, path: &str) -> Result<String, Error> {
        match self.file(path.as_bytes()) {
            Some(content) if content.size <= TEXT_LIMIT => {
                let bytes = self.read(path.as_bytes(), content)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => Ok(String::new()),
        }
    }

    /// The bytes of a file whose size the caller has looked at.
    pub(crate) fn read(&self, path: &[u8], content: Content) -> Result<Vec<u8>, Error> {
        self.store.read(content).map_err(|source| Error::Read {
            path: String::from_utf8_lossy(path).into_owned(),
            source,
        })
    }

    /// All entries below a folder, or the whole image for an empty path, in canonical order.
    pub(crate) fn below(&self, folder: &str) -> impl Iterator<Item = (Vec<u8>, NodeId, &Node)> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        self.tree
            .walk()
            .filter(move |(path, _)| path.starts_with(prefix.as_bytes()))
            .map(|(path, id)| (path, id, self.tree.node(id)))
    }

    /// All regular files below a folder with their contents.
    pub(crate) fn files(&self, folder: &str) -> impl Iterator<Item = (Vec<u8>, NodeId, Content)> {
        self.below(folder).filter_map(|(path, id, node)| match node.kind {
            Kind::File(content) => Some((path, id, content)),
            _ => None,
        })
    }
}

/// Whether `path` is `folder` or lies below it.
pub(crate) fn is_within(path: &[u8], folder: &str) -> bool {
    path.strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The last component of a path.
pub(crate) fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::{is_within, name};

    #[test]
    fn folders_end_at_slashes() {
        let cases: [(&[u8], bool); 4] =
            [(b"var/lib", true), (b"var/lib/x", true), (b"var/library", false), (b"var", false)];
        for (path, expected) in cases {
            assert_eq!(is_within(path, "var/lib"), expected);
        }
        assert_eq!(name(b"a/b/c"), b"c");
        assert_eq!(name(b"c"), b"c");
    }
}
