//! `kiln build`: a source becomes a root image, a boot file and disks.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use kiln_build::{
    Addon, BuildOptions, Built, Formats, Input, Mode, ModuleSet, ReadOptions, parse_size,
};
use kiln_erofs::Codec;
use kiln_host::install::Configuration;
use kiln_registry::{Gate, Options, Source};
use kiln_release::signature::{Trust, Verifier};

use crate::options::containerfile::ContainerfileArguments;
use crate::options::keys::{public_key, signature_repository};
use crate::options::limits::LimitArguments;
use crate::options::parse_source;
use crate::options::registry::RegistryArguments;
use crate::options::users::UserArguments;
use crate::progress::Lines;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Sources:
  oci:DIR[:REF]  oci-archive:FILE[:REF]  docker-archive:FILE[:REF]  docker://HOST/NAME[:TAG]
  dir:FOLDER     tar:FILE

Examples:
  kiln build oci-archive:edge.tar -o out
  kiln build docker://registry.example/edge:13 -o out -f raw,qcow2 --compress zstd:9
  kiln build docker://registry.example/edge:13 --verify cosign.pub -o out
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
    /// What the disks start: the system, or recovery, which puts the system onto its disk
    #[arg(long, value_name = "MODE", value_enum, default_value = "system")]
    boot: Boot,
    /// The system's name [default: IMAGE_ID or ID of the image's os-release, or its reference]
    #[arg(long)]
    name: Option<String>,
    /// The version people see [default: IMAGE_VERSION, VERSION or VERSION_ID of os-release]
    #[arg(long, value_name = "V")]
    version: Option<String>,
    /// The number that alone decides which release is newer [default: when the image was created]
    #[arg(long, value_name = "N")]
    sequence: Option<u64>,
    /// How files are compressed: none, lz4, lz4hc[:LEVEL] or zstd[:LEVEL]
    #[arg(long, value_name = "CODEC", default_value = "lz4")]
    compress: Codec,
    /// A kernel argument, behind Kiln's own; may be given more than once
    #[arg(long = "karg", value_name = "ARG", allow_hyphen_values = true)]
    kernel_arguments: Vec<String>,
    /// Kernel arguments that a machine may switch on with `kiln kargs --enable NAME`
    #[arg(long = "addon", value_name = "NAME=ARGS")]
    addons: Vec<Addon>,
    /// A layout for the disk: sizes, recovery or none, further partitions; see docs/install.md
    #[arg(long, value_name = "FILE")]
    layout: Option<PathBuf>,
    /// Size of a root slot [default: twice the image, at least 2GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    slot_size: Option<u64>,
    /// Size of the EFI system partition
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "1GiB")]
    esp_size: u64,
    /// Bytes of a disk sector
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = ["512", "4096"])]
    sector_size: String,
    /// Drivers in the initramfs
    #[arg(long, value_name = "SET", value_enum, default_value = "generic")]
    modules: Modules,
    /// A further kernel module for the initramfs; may be given more than once
    #[arg(long = "module", value_name = "NAME")]
    extra_modules: Vec<String>,
    /// An image that brings boot stub and loader, for images that have none
    #[arg(long, value_name = "SOURCE", value_parser = parse_source)]
    boot_files: Option<Source>,
    /// A folder with Kiln's own static binaries for the image's architecture
    #[arg(long, value_name = "DIR")]
    runtime: Option<PathBuf>,
    /// Threads for compression and hashing [default: one a processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Use only images that one of these public keys signed; may be given more than once
    #[arg(long, value_name = "KEY", conflicts_with = "file")]
    verify: Vec<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    users: UserArguments,
    #[command(flatten)]
    containerfile: ContainerfileArguments,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    limits: LimitArguments,
}

/// A disk to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A disk byte for byte
    Raw,
    /// QEMU's format
    Qcow2,
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

/// Drivers in the initramfs.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Modules {
    /// Virtual machines: virtio, NVMe, AHCI
    Virtio,
    /// Common storage of servers, desktops and clouds
    Generic,
    /// Every storage driver that the image has
    Full,
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
    let users = arguments.users.users()?;
    let wanted = Configuration::read(arguments.layout.as_slice())?;
    if let Some(path) = arguments.layout.as_ref().filter(|_| wanted.layout.is_none()) {
        return Err(Failure::new(
            format!("{} is no layout", path.display()),
            "a layout begins with `format = \"kiln.layout.v1\"`; see docs/install.md",
        ));
    }
    let (layout, layout_text) = (wanted.layout(), wanted.layout.map(|(_, text)| text));
    let sources: Vec<&Source> = arguments.source.iter().chain(&arguments.boot_files).collect();
    let mut registry = arguments.registry.options(&sources)?;
    if !arguments.verify.is_empty() {
        registry.gate = Some(gate(&arguments.verify, &sources, &registry)?);
    }
    let mut reading = ReadOptions { registry, ..ReadOptions::default() };
    arguments.limits.apply(&mut reading);
    let containerfile = arguments.containerfile.containerfile(arguments.registry.platform);
    let input = match (arguments.source, containerfile) {
        (Some(source), _) => Input::Source(source),
        (None, Some(containerfile)) => Input::Containerfile(containerfile),
        (None, None) => {
            return Err(Failure::new("there is nothing to build", "give a SOURCE"));
        }
    };
    let threads = match arguments.threads {
        Some(threads) => usize::from(threads),
        None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    };
    Ok(BuildOptions {
        input,
        reading,
        output: arguments.output,
        formats: Formats {
            raw: arguments.format.contains(&Format::Raw),
            qcow2: arguments.format.contains(&Format::Qcow2),
        },
        mode: arguments.boot.mode(),
        name: arguments.name,
        version: arguments.version,
        sequence: arguments.sequence,
        codec: arguments.compress,
        kernel_arguments: arguments.kernel_arguments,
        addons: arguments.addons,
        slot_size: arguments.slot_size.or(layout.slot),
        esp_size: layout.esp.unwrap_or(arguments.esp_size),
        sector_size: if arguments.sector_size == "4096" { 4096 } else { 512 },
        modules: match arguments.modules {
            Modules::Virtio => ModuleSet::Virtio,
            Modules::Generic => ModuleSet::Generic,
            Modules::Full => ModuleSet::Full,
        },
        extra_modules: arguments.extra_modules,
        layout: layout_text,
        boot_files: arguments.boot_files,
        runtime: arguments.runtime,
        users,
        threads,
    })
}

/// Lets only images pass that one of the keys signed.
fn gate(
    keys: &[PathBuf],
    sources: &[&Source],
    registry: &Options,
) -> Result<Arc<dyn Gate>, Failure> {
    let is_file = |source: &&&Source| matches!(source, Source::Directory(_) | Source::Tar(_));
    if let Some(source) = sources.iter().find(is_file) {
        return Err(Failure::new(
            format!("{source} cannot be verified: it is no image of a registry"),
            "build from a registry, where signatures are, or leave --verify out",
        ));
    }
    let keys = keys.iter().map(|path| public_key(path)).collect::<Result<_, _>>()?;
    let trust = Trust { keys, identities: Vec::new() };
    Ok(Arc::new(Verifier::new(trust, true, signature_repository()?, registry)))
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
