//! `kiln inspect`: what a disk, an ISO image, a root image or a boot file is.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kiln_build::inspect::{self, DIRECTORIES};

use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln inspect out/edge.qcow2
  kiln inspect out/edge.root --directories 20
  kiln inspect out/edge.raw --json | jq .disk.slots";

/// Show what is in a disk, an ISO image, a root image or a boot file
///
/// Reads disks (raw, qcow2, VMDK, OVA, VHD), root images and boot files; which it is shows in the
/// file itself.
/// For a disk, the top block of each slot's hash tree is checked against the boot files.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InspectArguments {
    /// The disk, ISO image, root image or boot file
    file: PathBuf,
    /// Print JSON, all lengths in bytes
    #[arg(long)]
    json: bool,
    /// How many of the largest directories to show
    #[arg(long, value_name = "N", default_value_t = DIRECTORIES)]
    directories: usize,
}

pub(crate) fn run(arguments: &InspectArguments) -> Result<ExitCode, Failure> {
    let report = inspect::inspect(&arguments.file, arguments.directories)?;
    if arguments.json {
        let value = serde_json::to_value(&report)
            .map_err(|error| Failure::system("cannot write the report", error.into()))?;
        render::json(&value)?;
    } else {
        render::data(&inspect::to_text(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}
