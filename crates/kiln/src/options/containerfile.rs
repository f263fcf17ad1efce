//! `--containerfile`: an image that is built first.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kiln_build::{Builder, Containerfile};
use kiln_registry::Platform;

/// A Containerfile and what it is built with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Containerfile")]
pub(crate) struct ContainerfileArguments {
    /// Build the image from this file first, with buildah, podman or docker
    #[arg(long = "containerfile", value_name = "FILE", conflicts_with_all = ["verify", "verify_identity"])]
    pub file: Option<PathBuf>,
    /// The folder that its COPY reads [default: the file's folder]
    #[arg(long, value_name = "DIR", requires = "file", conflicts_with = "source")]
    context: Option<PathBuf>,
    /// A value for one of its ARGs; may be given more than once
    #[arg(long = "build-arg", value_name = "NAME=VALUE", requires = "file", conflicts_with = "source",
          value_parser = parse_argument)]
    arguments: Vec<String>,
    /// The stage to take [default: the last]
    #[arg(long, value_name = "STAGE", requires = "file", conflicts_with = "source")]
    target: Option<String>,
    /// The program to use [default: the first of these that is installed]
    #[arg(long, value_name = "NAME", value_enum, requires = "file", conflicts_with = "source")]
    builder: Option<BuilderName>,
}

/// A program that builds container images.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum BuilderName {
    /// Needs neither daemon nor root
    Buildah,
    /// Needs neither daemon nor root
    Podman,
    /// Needs its daemon
    Docker,
}

impl ContainerfileArguments {
    /// What to build, if a file was named.
    pub(crate) fn containerfile(self, platform: Option<Platform>) -> Option<Containerfile> {
        Some(Containerfile {
            file: self.file?,
            context: self.context,
            arguments: self.arguments,
            target: self.target,
            platform,
            builder: self.builder.map(|name| match name {
                BuilderName::Buildah => Builder::Buildah,
                BuilderName::Podman => Builder::Podman,
                BuilderName::Docker => Builder::Docker,
            }),
        })
    }
}

/// A name alone would take its value from the environment, unseen.
fn parse_argument(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("it must be NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_argument;

    #[test]
    fn arguments_have_a_name_and_a_value() {
        for good in ["A=", "A=b=c", "A=b c"] {
            assert_eq!(parse_argument(good).as_deref(), Ok(good));
        }
        for bad in ["", "A", "=b"] {
            assert!(parse_argument(bad).is_err(), "{bad}");
        }
    }
}
