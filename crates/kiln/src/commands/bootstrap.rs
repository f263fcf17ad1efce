//! `kiln bootstrap`: a container image from a distribution's packages.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use kiln_build::bootstrap::{BootstrapOptions, bootstrap};
use kiln_registry::{Platform, Source};

use crate::options::parse_source;
use crate::progress::Lines;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln bootstrap debian trixie -o oci:base
  kiln bootstrap debian trixie -o oci:edge --package linux-image-cloud-amd64 --package podman
  kiln build oci:base -o out --user admin --ssh-key ~/.ssh/id_ed25519.pub";

/// Make a container image from a distribution's packages
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BootstrapArguments {
    #[command(subcommand)]
    distribution: Distribution,
}

#[derive(Debug, Subcommand)]
enum Distribution {
    /// Debian, by mmdebstrap, which must be installed; works without root
    #[command(after_help = EXAMPLES)]
    Debian(DebianArguments),
}

#[derive(Debug, Args)]
struct DebianArguments {
    /// The suite, such as trixie or stable
    suite: String,
    /// Where the image goes: oci:DIR, a folder that does not exist yet
    #[arg(short, long, value_name = "oci:DIR", value_parser = parse_source)]
    output: Source,
    /// A package to add; one named linux-image-… replaces the default kernel
    #[arg(long = "package", value_name = "NAME")]
    packages: Vec<String>,
    /// The architecture [default: this machine's]
    #[arg(long = "arch", value_name = "ARCH")]
    architecture: Option<String>,
    /// The archive to read [default: mmdebstrap's own choice]
    #[arg(long, value_name = "URI")]
    mirror: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(
    arguments: BootstrapArguments,
    quiet: bool,
    verbose: bool,
) -> Result<ExitCode, Failure> {
    let Distribution::Debian(arguments) = arguments.distribution;
    let output = output(&arguments.output)?;
    let options = BootstrapOptions {
        suite: arguments.suite,
        packages: arguments.packages,
        architecture: arguments.architecture.unwrap_or_else(|| Platform::host().architecture),
        mirror: arguments.mirror,
        output,
    };
    let mut lines = Lines::new(quiet, verbose);
    lines.line(&format!("bootstrapping Debian {} for {}", options.suite, options.architecture));
    let digest = bootstrap(&options, &mut lines)?;
    let source = format!("oci:{}", options.output.display());
    if arguments.json {
        render::json(&serde_json::json!({ "source": source, "manifest_digest": digest }))?;
    } else {
        lines.line(&format!("the image is ready: {digest}"));
        render::data(&format!("{source}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn output(source: &Source) -> Result<PathBuf, Failure> {
    match source {
        Source::OciLayout { path, reference: None } => Ok(path.clone()),
        _ => Err(Failure::new(
            format!("`{source}` is no place for a new image"),
            "give a folder as `-o oci:DIR`",
        )),
    }
}
