//! Everything that can go wrong with an EROFS image, as one type.
//!
//! Writer errors name the path in the tree, reader errors the node number in the image, so that a
//! message can be acted on without a debugger. Damage is always an error and never a panic.

use std::io;

/// What went wrong while making or reading an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile text names no codec, or a level outside its range.
    #[error("unknown codec {0:?}")]
    UnknownCodec(String),
    /// A name is empty, too long, `.`, `..`, or holds a slash or NUL.
    #[error("{path}: the name cannot be stored")]
    BadName {
        /// Path in the tree.
        path: String,
    },
    /// A symbolic link is empty or longer than 4095 bytes.
    #[error("{path}: a symbolic link of {length} bytes cannot be stored")]
    BadSymlink {
        /// Path in the tree.
        path: String,
        /// Length of the link text in bytes.
        length: usize,
    },
    /// An extended attribute with a prefix EROFS has no number for, or too large.
    #[error("{path}: extended attribute {name} cannot be stored")]
    BadXattr {
        /// Path in the tree.
        path: String,
        /// Full attribute name.
        name: String,
    },
    /// A directory is reachable by two paths.
    #[error("{path}: a directory has two parents")]
    LinkedDirectory {
        /// The second path.
        path: String,
    },
    /// The root of the tree is not a directory.
    #[error("the root of the tree is not a directory")]
    RootNotDirectory,
    /// The image outgrew a field of the format.
    #[error("{what} does not fit the format")]
    TooLarge {
        /// What outgrew its field.
        what: &'static str,
    },
    /// A file's content was stored in another encoder than the one given.
    #[error("content {content} is not of this encoder")]
    UnknownContent {
        /// Number of the content.
        content: u32,
    },
    /// Reading the spool or writing the image failed.
    #[error("cannot {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A content was written to a place that is not its own.
    #[error("content {content} lies in the image where it does not belong")]
    Misplaced {
        /// Number of the content in the encoder.
        content: u32,
    },
    /// The first block is no EROFS superblock.
    #[error("not an EROFS image")]
    NotErofs,
    /// The checksum of the superblock does not match.
    #[error("superblock checksum {found:#010x} does not match, computed {computed:#010x}")]
    Checksum {
        /// Stored value.
        found: u32,
        /// Value over the bytes.
        computed: u32,
    },
    /// A feature that this reader does not know.
    #[error("unsupported feature: {0}")]
    Unsupported(String),
    /// Structures that contradict each other.
    #[error("node {node}: {what}")]
    Damaged {
        /// Node number (byte offset / 32 from the metadata area).
        node: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Content larger than the caller allows.
    #[error("node {node}: {size} bytes are more than the allowed {limit}")]
    OverLimit {
        /// Node number.
        node: u64,
        /// Size the inode states, in bytes.
        size: u64,
        /// The caller's limit, in bytes.
        limit: u64,
    },
}

impl Error {
    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownCodec(_) => {
                Some("use none, lz4, lz4hc[:3..12] or zstd[:1..22]".to_owned())
            }
            Self::BadXattr { .. } => Some(
                "only user., trusted., security. and system.posix_acl_* are stored; remove it in \
                 the source"
                    .to_owned(),
            ),
            Self::TooLarge { .. } => Some("make the source smaller".to_owned()),
            Self::Checksum { .. } | Self::Damaged { .. } => {
                Some("the image is damaged: fetch or build it again".to_owned())
            }
            Self::NotErofs => Some("give a root image or the start of a slot".to_owned()),
            _ => None,
        }
    }

    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_culprit_and_hints_say_what_to_do() {
        let error = Error::BadXattr { path: "a/b".into(), name: "btrfs.x".into() };
        assert_eq!(error.to_string(), "a/b: extended attribute btrfs.x cannot be stored");
        assert!(error.hint().unwrap().contains("security."));
        assert!(Error::UnknownCodec("xz".into()).hint().unwrap().contains("zstd"));
    }
}
