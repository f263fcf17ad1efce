//! `kiln build`: a source becomes a root image, a boot file and disks.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kiln_build::{BuildOptions, Built, Formats, Input, Mode, parse_size};
use kiln_registry::Source;

use crate::options::containerfile::ContainerfileArguments;
use crate::options::parse_source;
use crate::options::registry::RegistryArguments;
use crate::options::release::ReleaseArguments;
use crate::progress::Lines;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Sources:
  oci:DIR[:REF]  oci-archive:FILE[:REF]  docker-archive:FILE[:REF]  docker://HOST/NAME[:TAG]
  dir:FOLDER     tar:FILE

Examples:
  kiln build oci-archive:edge.tar -o out
  kiln build docker://registry.example/edge:13 -o out -f raw,qcow2 --compress zstd:9
  kiln build oci-archive:edge.tar -o out -f qcow2,ova,vhd,gce --check
  kiln build docker://registry.example/edge:13 --verify cosign.pub -o out
  kiln build docker://registry.example/edge:13 --verify-identity '*@example.com' \
      --verify-issuer https://login.example.com --trust-root trusted_root.json -o out
  kiln build oci:edge --platform linux/arm64 --runtime runtime-arm64 -o out
  kiln build --containerfile Containerfile --build-arg RELEASE=13 -o out
  kiln build oci:edge -o out --boot recovery
  kiln build oci:edge -o out --layout layout.toml
  kiln build dir:rootfs -o out --user admin --ssh-key ~/.ssh/id_ed25519.pub";

/// Make an operating system from a container image
///
/// Writes NAME.root (EROFS and its verity tree), NAME.efi (the boot file), release.json and the
/// disks that were asked for. Needs neither root nor any other program; never runs a program of the
/// image. Equal inputs give equal bytes, whoever builds, wherever, with any number of threads.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BuildArguments {
    /// Where the image comes from; see Sources below
    #[arg(required_unless_present = "file", conflicts_with = "file", value_parser = parse_source)]
    source: Option<Source>,
    /// The folder for the results; made if missing
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Disks to write
    #[arg(short, long, value_name = "FORMAT", value_delimiter = ',', default_value = "raw")]
    format: Vec<Format>,
    /// Read the disks back and compare them with what they were made from
    #[arg(long)]
    check: bool,
    /// What the disks start: the system, or recovery, which puts the system onto its disk
    #[arg(long, value_name = "MODE", value_enum, default_value = "system")]
    boot: Boot,
    /// Size of a root slot [default: the layout's, or twice the image, at least 2GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    slot_size: Option<u64>,
    /// Size of the EFI system partition [default: the layout's, or 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    esp_size: Option<u64>,
    /// Bytes of a disk sector
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = ["512", "4096"])]
    sector_size: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    release: ReleaseArguments,
    #[command(flatten)]
    containerfile: ContainerfileArguments,
    #[command(flatten)]
    registry: RegistryArguments,
}

/// A disk to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A disk byte for byte; also what AWS imports
    Raw,
    /// The same, compressed with Zstandard
    #[value(name = "raw.zst")]
    RawZst,
    /// QEMU's and OpenStack's format, compressed
    Qcow2,
    /// VMware's format for import (streamOptimized)
    Vmdk,
    /// A virtual machine for VMware
    Ova,
    /// Azure's format (fixed)
    Vhd,
    /// What Google's Compute Engine makes an image of
    Gce,
}

/// What a disk starts.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Boot {
    /// The system, at once
    System,
    /// Recovery, which puts the system onto its disk
    Recovery,
}

impl Boot {
    fn mode(self) -> Mode {
        match self {
            Self::System => Mode::System,
            Self::Recovery => Mode::Recovery,
        }
    }
}

pub(crate) fn run(
    arguments: BuildArguments,
    quiet: bool,
    verbose: bool,
) -> Result<ExitCode, Failure> {
    let json = arguments.json;
    let options = options(arguments)?;
    let mut lines = Lines::new(quiet, verbose);
    let built = kiln_build::build(&options, &mut lines)?;
    if json {
        render::json(&to_json(&built))?;
    } else {
        lines.line(&format!(
            "{} {} is ready: {} packages, kernel {}",
            built.release.name,
            built.release.version,
            built.release.packages.len(),
            built.release.kernel
        ));
        let paths: Vec<String> =
            built.files.iter().map(|file| format!("{}\n", file.display())).collect();
        render::data(&paths.concat())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn options(arguments: BuildArguments) -> Result<BuildOptions, Failure> {
    let containerfile = arguments.containerfile.containerfile(arguments.registry.platform.clone());
    let input = match (arguments.source, containerfile) {
        (Some(source), _) => Input::Source(source),
        (None, Some(containerfile)) => Input::Containerfile(containerfile),
        (None, None) => {
            return Err(Failure::new("there is nothing to build", "give a SOURCE"));
        }
    };
    Ok(BuildOptions {
        formats: Formats {
            raw: arguments.format.contains(&Format::Raw),
            raw_zst: arguments.format.contains(&Format::RawZst),
            qcow2: arguments.format.contains(&Format::Qcow2),
            vmdk: arguments.format.contains(&Format::Vmdk),
            ova: arguments.format.contains(&Format::Ova),
            vhd: arguments.format.contains(&Format::Vhd),
            gce: arguments.format.contains(&Format::Gce),
        },
        check: arguments.check,
        mode: arguments.boot.mode(),
        slot_size: arguments.slot_size,
        esp_size: arguments.esp_size,
        sector_size: if arguments.sector_size == "4096" { 4096 } else { 512 },
        ..arguments.release.build_options(input, &arguments.registry, arguments.output)?
    })
}

fn to_json(built: &Built) -> serde_json::Value {
    serde_json::json!({
        "name": built.release.name,
        "version": built.release.version,
        "title": built.release.title,
        "sequence": built.release.sequence.0,
        "architecture": built.release.architecture,
        "kernel": built.release.kernel,
        "root_hash": built.release.root.hash,
        "tree_digest": built.release.tree_digest,
        "root_bytes": built.release.root.length,
        "packages": built.release.packages.len(),
        "files": built.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
    })
}
