//! The one error type of this crate.
//!
//! A build fails with the first thing that is wrong and leaves no output under its final name.
//! Errors of the crates below are kept as sources; what a user can do next is in [`Error::hint`].

use std::path::{Path, PathBuf};

use crate::advice;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source could not be opened or read.
    #[error(transparent)]
    Source(#[from] kiln_registry::Error),
    /// Layers or a folder do not make a tree.
    #[error(transparent)]
    Tree(#[from] kiln_tree::Error),
    /// The tree cannot be laid out as EROFS.
    #[error(transparent)]
    Erofs(#[from] kiln_erofs::Error),
    /// The verity tree could not be made.
    #[error(transparent)]
    Verity(#[from] kiln_verity::Error),
    /// No kernel, no stub, no modules: the tree cannot be booted.
    #[error(transparent)]
    Boot(#[from] kiln_boot::Error),
    /// The disk's layout is impossible.
    #[error(transparent)]
    Disk(#[from] kiln_disk::Error),
    /// A disk image could not be written.
    #[error(transparent)]
    Media(#[from] kiln_media::Error),
    /// `release.json` could not be written.
    #[error(transparent)]
    Release(#[from] kiln_release::Error),
    /// A file of the build could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The tar of a file tree could not be opened.
    #[error("cannot open archive {path}")]
    OpenArchive {
        /// The archive.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An addon cannot be made.
    #[error("addon `{addon}` cannot be made: {reason}")]
    Addon {
        /// As it was given.
        addon: String,
        /// What is wrong.
        reason: String,
    },
    /// An output could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file of the tree could not be read back or stored.
    #[error("cannot process the contents of files")]
    Contents(#[source] std::io::Error),
    /// Kiln's own layer does not fit onto this tree.
    #[error("cannot add Kiln's layer: {path}: {reason}")]
    Layer {
        /// The path in the image.
        path: String,
        /// What is in the way.
        reason: String,
    },
    /// A file of the image says what no machine can follow.
    #[error("{path}:{line}: {reason}")]
    Setting {
        /// The path in the image.
        path: &'static str,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
        /// What to write instead.
        remedy: &'static str,
    },
    /// A login that was asked for is impossible.
    #[error("cannot add the user `{name}`: {reason}")]
    User {
        /// The login name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A recipe cannot be read or followed.
    #[error("/usr/lib/kiln/recipe.json: {reason}")]
    Recipe {
        /// What is wrong.
        reason: String,
    },
    /// A name or version that cannot be part of file names.
    #[error("`{value}` cannot be the {what} of a release: {reason}")]
    Name {
        /// `name` or `version`.
        what: &'static str,
        /// The offending text.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The root image is larger than the slot.
    #[error("the root image needs {needed}, the slot has {slot}")]
    SlotTooSmall {
        /// Size of the root image, for people.
        needed: String,
        /// Size of the slot, for people.
        slot: String,
    },
    /// Kiln's own binaries for the image's architecture are missing or unfit.
    #[error("no Kiln binary for {architecture}: {reason}")]
    Runtime {
        /// The image's architecture.
        architecture: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// A program that this verb is made of is not installed.
    #[error("{tool} cannot be started")]
    MissingTool {
        /// The program, which is also its package's name.
        tool: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// No program that builds container images is installed.
    #[error("a Containerfile needs buildah, podman or docker, and none of them is installed")]
    NoBuilder,
    /// A builder did not make an image of a Containerfile.
    #[error("{builder} cannot build {path}: {reason}")]
    Containerfile {
        /// The program.
        builder: &'static str,
        /// The Containerfile.
        path: PathBuf,
        /// What is wrong, with the builder's last words.
        reason: String,
    },
    /// A distribution's packages did not become an image.
    #[error("cannot bootstrap: {reason}")]
    Bootstrap {
        /// What is wrong, with the tool's last words.
        reason: String,
        /// The architecture, if its programs need an emulator here.
        foreign: Option<String>,
    },
    /// A file cannot be inspected.
    #[error("cannot inspect {path}: {reason}")]
    Inspect {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// The error of a file that cannot be written, for those who give a [`Place`](crate::Place).
    #[must_use]
    pub fn write(path: &Path, source: std::io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    pub(crate) fn layer(path: &[u8], reason: impl Into<String>) -> Self {
        let path = format!("/{}", String::from_utf8_lossy(path));
        Self::Layer { path, reason: reason.into() }
    }

    /// What to do next, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let own = || {
            match self {
            // A layer that breaks while it is merged: the reader below knows better than the merge.
            Self::Tree(error) => advice::of_image(error).or_else(|| advice::of_tree(error)),
            Self::Source(error) => advice::of_registry(error),
            Self::Erofs(error) => error.hint(),
            Self::Verity(error) => error.hint(),
            Self::Boot(error) => error.hint(),
            Self::Disk(error) => error.hint(),
            Self::Media(error) => error.hint(),
            Self::Release(error) => error.hint(),
            Self::Addon { .. } => Some(
                "an addon is NAME=ARGUMENTS, such as serial=console=ttyS1; see docs/kernel-arguments.md"
                    .to_owned(),
            ),
            Self::SlotTooSmall { .. } => {
                Some("give more with `--slot-size`, or a stronger codec with `--compress`".into())
            }
            Self::Runtime { .. } => Some(
                "give a folder with `kiln` and `kiln-init` for that architecture with `--runtime`"
                    .into(),
            ),
            Self::Layer { .. } => Some("change that path in the image and build it again".into()),
            Self::Setting { remedy, .. } => Some((*remedy).to_owned()),
            Self::User { .. } => {
                Some("choose another `--user`, or change the accounts of the image".into())
            }
            Self::Recipe { .. } => Some(
                "the running system was built by another version of Kiln; write a new disk with \
                 `kiln build`"
                    .into(),
            ),
            Self::Name { what, .. } => Some(format!("choose one with `--{what}`")),
            Self::MissingTool { tool, .. } => Some(format!("install {tool}")),
            Self::NoBuilder => Some(
                "install one of them, for instance the package buildah of Debian, Fedora or \
                 openSUSE; or give a SOURCE that was built elsewhere"
                    .into(),
            ),
            Self::Containerfile { builder, .. } => {
                Some(format!("`-v` shows all that {builder} says"))
            }
            Self::Bootstrap { foreign: Some(architecture), .. } => Some(format!(
                "packages of {architecture} run in an emulator: install qemu-user-static and \
                 arch-test, and mount binfmt_misc"
            )),
            Self::Bootstrap { foreign: None, .. } => {
                Some("check suite, packages and network; `-o` must name a new folder".into())
            }
            Self::Inspect { .. } => Some(
                "give a disk (raw, qcow2, VMDK, OVA, VHD), a root image (NAME.root) or a boot file \
                 (NAME.efi)"
                    .into(),
            ),
            Self::Read { .. }
            | Self::OpenArchive { .. }
            | Self::Write { .. }
            | Self::Contents(_) => None,
        }
        };
        // Every crate below can be the first to find the disk full; the advice is one.
        advice::of_space(self).or_else(own).or_else(|| advice::advice(self))
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::Error;

    #[test]
    fn a_full_disk_and_a_missing_file_have_remedies() {
        for (kind, expected) in [
            (ErrorKind::StorageFull, "-o"),
            (ErrorKind::FileTooLarge, "-o"),
            (ErrorKind::NotFound, "typing"),
            (ErrorKind::PermissionDenied, "user who may"),
        ] {
            for error in [
                Error::write("out".as_ref(), kind.into()),
                Error::read("in".as_ref(), kind.into()),
                Error::Contents(kind.into()),
            ] {
                let hint = error.hint().unwrap_or_default();
                assert!(hint.contains(expected), "{error}: {hint}");
            }
        }
    }

    #[test]
    fn limits_name_their_flags() {
        let limit = |what| {
            Error::Tree(kiln_tree::Error::Limit {
                origin: "layer x".into(),
                path: "a".into(),
                what,
                limit: 1,
            })
        };
        for (what, flag) in [
            ("entries", "--max-entries"),
            ("bytes of a path", "--max-path-length"),
            ("bytes of files", "--max-total-size"),
            ("bytes of one file", "--max-file-size"),
        ] {
            assert!(limit(what).hint().unwrap().contains(flag), "{what}");
        }
        let ratio = || kiln_registry::Error::Ratio { location: "a".into(), limit: 1, ratio: 1 };
        let inside = Error::Tree(kiln_tree::Error::Read {
            layer: "x".into(),
            offset: 0,
            path: String::new(),
            source: std::io::Error::other(ratio()),
        });
        for error in [inside, Error::Source(ratio())] {
            assert!(error.hint().unwrap().contains("--max-ratio"), "{error}");
        }
    }
}
