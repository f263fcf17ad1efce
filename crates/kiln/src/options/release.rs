//! What a release is made with: the same for `build`, which keeps it, and `push`, which sends it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use kiln_build::{Addon, BuildOptions, Input, ModuleSet, ReadOptions};
use kiln_erofs::Codec;
use kiln_host::install::Configuration;
use kiln_registry::{Gate, Options, Source};
use kiln_release::signature::{Trust, Verifier};

use super::keys::{TrustArguments, signature_repository};
use super::limits::LimitArguments;
use super::parse_source;
use super::registry::RegistryArguments;
use super::users::UserArguments;
use crate::render::Failure;

/// Everything about a release but its source and where it goes.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArguments {
    /// The system's name [default: IMAGE_ID or ID of the image's os-release, or its reference]
    #[arg(long)]
    name: Option<String>,
    /// The version people see [default: IMAGE_VERSION, VERSION or VERSION_ID of os-release]
    #[arg(long, value_name = "V")]
    version: Option<String>,
    /// The number that alone decides which release is newer [default: when the image was created]
    #[arg(long, value_name = "N")]
    sequence: Option<u64>,
    /// How files are compressed: none, lz4, lz4hc[:LEVEL] or zstd[:LEVEL] [default: lz4]
    #[arg(long, value_name = "CODEC")]
    compress: Option<Codec>,
    /// A kernel argument, behind Kiln's own; may be given more than once
    #[arg(long = "karg", value_name = "ARG", allow_hyphen_values = true)]
    kernel_arguments: Vec<String>,
    /// Kernel arguments that a machine may switch on with `kiln kargs --enable NAME`
    #[arg(long = "addon", value_name = "NAME=ARGS")]
    addons: Vec<Addon>,
    /// A layout for the disk: sizes, recovery or none, further partitions; see docs/install.md
    #[arg(long, value_name = "FILE")]
    layout: Option<PathBuf>,
    /// Drivers in the initramfs [default: generic]
    #[arg(long, value_name = "SET", value_enum)]
    modules: Option<Modules>,
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
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    users: UserArguments,
    #[command(flatten)]
    limits: LimitArguments,
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

impl ReleaseArguments {
    /// A build of `input` into the folder `output`, without media.
    pub(crate) fn build_options(
        self,
        input: Input,
        registry: &RegistryArguments,
        output: PathBuf,
    ) -> Result<BuildOptions, Failure> {
        let threads = self.threads();
        let users = self.users.users()?;
        let layout = layout(self.layout)?;
        let source = match &input {
            Input::Source(source) => Some(source),
            Input::Containerfile(_) => None,
        };
        let sources: Vec<&Source> = source.into_iter().chain(&self.boot_files).collect();
        let mut registry = registry.options(&sources)?;
        if let Some(trust) = self.trust.read()? {
            registry.gate = Some(gate(trust, &sources, &registry)?);
        }
        let mut reading = ReadOptions { registry, ..ReadOptions::default() };
        self.limits.apply(&mut reading);
        let usual = BuildOptions::of(input, reading, output);
        Ok(BuildOptions {
            name: self.name,
            version: self.version,
            sequence: self.sequence,
            codec: self.compress.unwrap_or(usual.codec),
            kernel_arguments: self.kernel_arguments,
            addons: self.addons,
            modules: match self.modules {
                Some(Modules::Virtio) => ModuleSet::Virtio,
                Some(Modules::Generic) => ModuleSet::Generic,
                Some(Modules::Full) => ModuleSet::Full,
                None => usual.modules,
            },
            extra_modules: self.extra_modules,
            layout,
            boot_files: self.boot_files,
            runtime: self.runtime,
            users,
            threads,
            ..usual
        })
    }

    /// Threads for whatever takes time.
    pub(crate) fn threads(&self) -> usize {
        match self.threads {
            Some(threads) => usize::from(threads),
            None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }

    /// An argument that means nothing for a release that is there already, if one was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--name", self.name.is_some()),
            ("--version", self.version.is_some()),
            ("--sequence", self.sequence.is_some()),
            ("--compress", self.compress.is_some()),
            ("--karg", !self.kernel_arguments.is_empty()),
            ("--addon", !self.addons.is_empty()),
            ("--layout", self.layout.is_some()),
            ("--modules", self.modules.is_some()),
            ("--module", !self.extra_modules.is_empty()),
            ("--boot-files", self.boot_files.is_some()),
            ("--runtime", self.runtime.is_some()),
            ("--verify", self.trust.is_given()),
            ("--user", !self.users.is_empty()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(name, _)| name)
    }
}

/// The text of a layout, checked.
fn layout(path: Option<PathBuf>) -> Result<Option<String>, Failure> {
    let Some(path) = path else { return Ok(None) };
    match Configuration::read(std::slice::from_ref(&path))?.layout {
        Some((_, text)) => Ok(Some(text)),
        None => Err(Failure::new(
            format!("{} is no layout", path.display()),
            "a layout begins with `format = \"kiln.layout.v1\"`; see docs/install.md",
        )),
    }
}

/// Lets only images pass that somebody trusted signed.
fn gate(trust: Trust, sources: &[&Source], registry: &Options) -> Result<Arc<dyn Gate>, Failure> {
    let is_file = |source: &&&Source| matches!(source, Source::Directory(_) | Source::Tar(_));
    if let Some(source) = sources.iter().find(is_file) {
        return Err(Failure::new(
            format!("{source} cannot be verified: it is no image of a registry"),
            "build from a registry, where signatures are, or leave --verify out",
        ));
    }
    Ok(Arc::new(Verifier::new(trust, true, signature_repository()?, registry)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        release: ReleaseArguments,
        #[command(flatten)]
        registry: RegistryArguments,
    }

    fn options(words: &[&str]) -> BuildOptions {
        let Only { release, registry } = Only::parse_from(["kiln"].iter().chain(words));
        let input = Input::Source("dir:/nowhere".parse().unwrap());
        release.build_options(input, &registry, "out".into()).unwrap()
    }

    #[test]
    fn the_defaults_are_those_of_the_crates() {
        let (found, usual) = (
            options(&[]),
            BuildOptions::of(
                Input::Source("dir:/nowhere".parse().unwrap()),
                ReadOptions::default(),
                "out".into(),
            ),
        );
        assert_eq!((found.codec, found.modules), (usual.codec, usual.modules));
        assert_eq!(
            (found.codec, found.modules),
            (Codec::Lz4, ModuleSet::Generic),
            "told in the help"
        );
        assert_eq!((found.name, found.layout, found.sequence), (None, None, None));
    }

    #[test]
    fn what_a_finished_release_cannot_take_is_found() {
        for (words, expected) in [
            (&[][..], None),
            (&["--threads=2", "--max-entries=7"], None),
            (&["--threads=2", "--compress=lz4"], Some("--compress")),
            (&["--modules=generic"], Some("--modules")),
            (&["--user=admin"], Some("--user")),
            (&["--karg=quiet", "--sequence=0"], Some("--sequence")),
        ] {
            let parsed = Only::parse_from(["kiln"].iter().chain(words));
            assert_eq!(parsed.release.given(), expected, "{words:?}");
        }
        assert_eq!(options(&["--modules=full", "--threads=3"]).threads, 3);
    }
}
