//! What can go wrong with a tree, each naming the layer and the path a person has to look at.
//!
//! One enum for the crate; nothing here decides, it only tells. Paths arrive as bytes from hostile archives, so they are made
//! printable and cut before they reach a message (`show`).

use std::io;
use std::path::PathBuf;

/// Characters of a path that a message shows: the longest allowed path would fill the screen.
const SHOWN_CHARACTERS: usize = 200;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes of a layer could not be opened.
    #[error("cannot open layer {layer}")]
    Open {
        /// Digest or name of the layer.
        layer: String,
        /// What the opener said.
        source: io::Error,
    },
    /// Reading a layer failed: truncated, wrong digest, damaged compression.
    #[error("cannot read layer {layer} at byte {offset} of its tar archive{}", near(.path))]
    Read {
        /// Digest or name of the layer.
        layer: String,
        /// Byte position in the uncompressed archive.
        offset: u64,
        /// Entry being read, empty between entries.
        path: String,
        /// What the reader said.
        source: io::Error,
    },
    /// A layer is not a tar archive, or a damaged one.
    #[error("layer {layer} is damaged at byte {offset} of its tar archive{}: {reason}", near(.path))]
    Corrupt {
        /// Digest or name of the layer.
        layer: String,
        /// Byte position of the header concerned.
        offset: u64,
        /// Entry being read, empty if its name is not known yet.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// An entry of a layer is refused.
    #[error("layer {layer}: `{path}` is refused: {reason}")]
    Entry {
        /// Digest or name of the layer.
        layer: String,
        /// Path of the entry.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// A layer writes below something that is not a directory.
    #[error("layer {layer}: `{path}` goes through `{parent}`, which is {what}")]
    Through {
        /// Layer that has the entry.
        layer: String,
        /// Path of the entry or of the directory it implies.
        path: String,
        /// The component in the way.
        parent: String,
        /// `a symbolic link`, `not a directory`, with the layer it comes from if that is another.
        what: String,
    },
    /// A hard link to nothing.
    #[error("layer {layer}: `{path}` is a hard link to `{target}`, {reason}")]
    Link {
        /// Layer that has the link.
        layer: String,
        /// Path of the link.
        path: String,
        /// Path it names.
        target: String,
        /// Why that does not work.
        reason: &'static str,
    },
    /// A limit is exceeded.
    #[error("{origin}: `{path}` exceeds the limit of {limit} {what}")]
    Limit {
        /// `layer DIGEST` or the source directory.
        origin: String,
        /// Path of the entry that crossed the limit.
        path: String,
        /// What is counted, with its unit.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The content store refused a file.
    #[error("cannot keep the content of `{path}` of {origin}")]
    Store {
        /// `layer DIGEST` or the source directory.
        origin: String,
        /// Path of the file.
        path: String,
        /// What the store said.
        source: io::Error,
    },
    /// A path cannot be used in an edit of the tree.
    #[error("cannot use `{path}` in the file tree: {reason}")]
    Path {
        /// Path as given.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// A file of a source directory could not be read.
    #[error("cannot read {}", .path.display())]
    Directory {
        /// Path on the host.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// What to do next, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Read { .. } | Error::Corrupt { .. } => {
                Some("fetch or export the image again; the layer is damaged or incomplete".into())
            }
            Error::Through { .. } => Some(
                "write to the directory that the link points to, or replace the link by a directory entry in the same layer"
                    .into(),
            ),
            Error::Link { .. } => {
                Some("the image must carry the file that the hard link names; build it again".into())
            }
            Error::Limit { .. } => {
                Some("raise the limit by its option if you trust the source".into())
            }
            Error::Store { .. } => Some("check the free space beside the output".into()),
            Error::Directory { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("read the directory as a user who may, or pack it into a tar archive as root".into())
            }
            Error::Open { .. } | Error::Entry { .. } | Error::Path { .. } | Error::Directory { .. } => None,
        }
    }

    pub(crate) fn path(path: &[u8], reason: &'static str) -> Error {
        Error::Path { path: show(path), reason }
    }
}

fn near(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" (entry `{path}`)") }
}

/// A path as a message shows it: printable, at most `SHOWN_CHARACTERS` long; the root is `/`.
pub(crate) fn show(path: &[u8]) -> String {
    if path.is_empty() {
        return "/".into();
    }
    // Four bytes are the most a character has, so this prefix is enough and bounds the work.
    let head = &path[..path.len().min(SHOWN_CHARACTERS * 4)];
    let text = String::from_utf8_lossy(head);
    let mut shown: String =
        text.chars().take(SHOWN_CHARACTERS).flat_map(char::escape_debug).collect();
    if head.len() < path.len() || text.chars().count() > SHOWN_CHARACTERS {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_paths_are_printable_and_short() {
        assert_eq!(show(b""), "/");
        assert_eq!(show(b"usr/bin"), "usr/bin");
        assert_eq!(show(b"a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(show(&[b'x'; 5000]).chars().count(), SHOWN_CHARACTERS + 1);
        assert_eq!(show("ü".repeat(300).as_bytes()).chars().count(), SHOWN_CHARACTERS + 1);
    }

    #[test]
    fn messages_name_layer_offset_and_entry() {
        let error = Error::Corrupt {
            layer: "sha256:00".into(),
            offset: 512,
            path: "a".into(),
            reason: "the checksum is wrong",
        };
        assert_eq!(
            error.to_string(),
            "layer sha256:00 is damaged at byte 512 of its tar archive (entry `a`): the checksum is wrong"
        );
        assert!(error.hint().is_some());
    }
}
