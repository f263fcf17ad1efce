//! Where an image or a tree comes from, as users write it on the command line.
//!
//! Every form has its prefix: a bare path could be three kinds of archive, and guessing wrong
//! would show only as an odd error later. A bare path that exists is answered with the form that
//! is probably meant. Like in skopeo, the first colon behind the path begins the reference.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::digest::shorten;
use crate::reference::Name;
use crate::tar_index::TarIndex;
use crate::{Error, Limits, Reference, ShortName};

/// All forms of a source, for hints.
pub(crate) const FORMS: &str = "oci:DIR[:ref], oci-archive:FILE[:ref], \
    docker-archive:FILE[:ref], docker://HOST/REF, dir:PATH, tar:FILE";

/// One parsed source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `oci:DIR[:ref]`: an OCI image layout.
    OciLayout {
        /// The folder with the `oci-layout` file.
        path: PathBuf,
        /// `org.opencontainers.image.ref.name` of the image.
        reference: Option<String>,
    },
    /// `oci-archive:FILE[:ref]`: an OCI image layout in a tar.
    OciArchive {
        /// The tar.
        path: PathBuf,
        /// `org.opencontainers.image.ref.name` of the image.
        reference: Option<String>,
    },
    /// `docker-archive:FILE[:ref]`: what `docker save` writes.
    DockerArchive {
        /// The tar.
        path: PathBuf,
        /// Entry of `RepoTags`.
        reference: Option<String>,
    },
    /// `docker://HOST/REF`: a registry.
    Registry(Reference),
    /// `docker://REF` without a host: only registries.conf can say where that is.
    ShortName(ShortName),
    /// `dir:PATH`: a plain folder.
    Directory(PathBuf),
    /// `tar:FILE`: a plain tar of a file tree.
    Tar(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path, reference) = match self {
            Self::OciLayout { path, reference } => ("oci", path, reference),
            Self::OciArchive { path, reference } => ("oci-archive", path, reference),
            Self::DockerArchive { path, reference } => ("docker-archive", path, reference),
            Self::Registry(reference) => return write!(formatter, "docker://{reference}"),
            Self::ShortName(name) => return write!(formatter, "docker://{name}"),
            Self::Directory(path) => ("dir", path, &None),
            Self::Tar(path) => ("tar", path, &None),
        };
        write!(formatter, "{kind}:{}", path.display())?;
        match reference {
            Some(reference) => write!(formatter, ":{reference}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |reason| Error::InvalidSource {
            given: shorten(text),
            reason,
            suggestion: suggest(text),
        };
        if text.contains('\0') {
            return Err(invalid("it contains a zero byte"));
        }
        let Some((kind, rest)) = text.split_once(':') else {
            return Err(invalid("it has no kind before a colon"));
        };
        let with_reference = || match rest.split_once(':') {
            _ if rest.is_empty() || rest.starts_with(':') => Err(invalid("the path is empty")),
            Some((_, "")) => Err(invalid("the reference behind the last colon is empty")),
            Some((path, reference)) => Ok((PathBuf::from(path), Some(reference.to_owned()))),
            None => Ok((PathBuf::from(rest), None)),
        };
        let plain = || {
            if rest.is_empty() {
                Err(invalid("the path is empty"))
            } else {
                Ok(PathBuf::from(rest))
            }
        };
        Ok(match kind {
            "oci" => {
                let (path, reference) = with_reference()?;
                Self::OciLayout { path, reference }
            }
            "oci-archive" => {
                let (path, reference) = with_reference()?;
                Self::OciArchive { path, reference }
            }
            "docker-archive" => {
                let (path, reference) = with_reference()?;
                Self::DockerArchive { path, reference }
            }
            "docker" => match rest.strip_prefix("//") {
                Some(name) => match name.parse()? {
                    Name::Full(reference) => Self::Registry(reference),
                    Name::Short(name) => Self::ShortName(name),
                },
                None => return Err(invalid("docker: must be followed by two slashes")),
            },
            "dir" => Self::Directory(plain()?),
            "tar" => Self::Tar(plain()?),
            _ => return Err(invalid("its kind is unknown")),
        })
    }
}

/// The form for an existing bare path. Only called on the way to an error.
fn suggest(text: &str) -> Option<String> {
    let path = Path::new(text);
    let metadata = path.metadata().ok()?;
    let kind = if metadata.is_dir() {
        if path.join("oci-layout").is_file() { "oci" } else { "dir" }
    } else {
        let index = TarIndex::open(path, Limits::default().archive_members).ok()?;
        if index.get("oci-layout").is_some() {
            "oci-archive"
        } else if index.get("manifest.json").is_some() {
            "docker-archive"
        } else {
            "tar"
        }
    };
    Some(format!("{kind}:{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_what_it_parses() {
        for text in [
            "oci:/a/b",
            "oci:a:latest",
            "oci:a:name:with:colons",
            "oci-archive:x.tar",
            "docker-archive:x.tar:debian:12",
            "docker://h.example/a:t",
            "docker://debian:12",
            "dir:a:b",
            "tar:-",
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, reason) in [
            ("", "no kind"),
            ("nothing-like-that", "no kind"),
            ("oci:", "path is empty"),
            ("oci::ref", "path is empty"),
            ("oci:a:", "reference behind"),
            ("tar:", "path is empty"),
            ("docker:debian", "two slashes"),
            ("docker://UPPER/", "malformed"),
            ("containers-storage:x", "kind is unknown"),
        ] {
            let error = text.parse::<Source>().unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error}");
            assert!(error.hint().is_some(), "{text}");
        }
        assert!("x".parse::<Source>().unwrap_err().hint().unwrap().contains("docker-archive:FILE"));
    }

    #[test]
    fn suggests_the_kind_of_an_existing_path() {
        let folder = tempfile::tempdir().unwrap();
        let hint = |path: &Path| path.to_str().unwrap().parse::<Source>().unwrap_err().hint();
        assert_eq!(
            hint(folder.path()),
            Some(format!("write it as dir:{}", folder.path().display()))
        );
        std::fs::write(folder.path().join("oci-layout"), "{}").unwrap();
        assert_eq!(
            hint(folder.path()),
            Some(format!("write it as oci:{}", folder.path().display()))
        );
        for (member, kind) in
            [("oci-layout", "oci-archive"), ("manifest.json", "docker-archive"), ("etc", "tar")]
        {
            let file = folder.path().join(member).with_extension("tar");
            let mut builder = tar::Builder::new(std::fs::File::create(&file).unwrap());
            let mut header = tar::Header::new_ustar();
            header.set_size(2);
            builder.append_data(&mut header, member, &b"{}"[..]).unwrap();
            builder.finish().unwrap();
            assert_eq!(hint(&file), Some(format!("write it as {kind}:{}", file.display())));
        }
    }
}
