//! What Kiln's figures are, measured beside the tools that people would use instead.
//!
//! Each name is one set of figures with its own page in `docs/bench.md`. A bench compares within
//! one run on one machine, because seconds of different days cannot be compared; so ratios are
//! the result and seconds only their evidence. Nothing here is a test: a goal that is missed is
//! printed as missed, but a contender that cannot run is an error.

mod boot;
mod build;
mod contenders;
mod many;
mod measure;
mod media;
mod table;
mod tools;
mod trees;
mod upgrade;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::error::Error;

/// Rounds when none are asked for: the least whose median bears one disturbed run on each side.
const ROUNDS: u16 = 5;

/// Which figures to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Building against mkfs.erofs, mksquashfs, systemd-repart and mkosi
    Build,
    /// Booting against the initramfs of initramfs-tools and dracut
    Boot,
    /// Bringing Debian's updates onto a machine against skopeo and a download of the whole
    Upgrade,
    /// Every format of a disk against a raw one that is converted
    Media,
    /// All of them
    All,
}

/// What `cargo xtask bench` takes.
#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// Which figures
    name: Name,
    /// Timed runs of each contender
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Run only contenders whose name starts with one of these, for instance `kiln,mkosi`
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Take only this tree of `build`
    #[arg(long, value_enum)]
    tree: Option<trees::TreeName>,
    /// Also write the figures as JSON to this file; with `all`, those of `boot`,
    /// `upgrade` and `media` beside it
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl BenchArguments {
    /// Whether `--only` leaves this contender in.
    fn is_wanted(&self, contender: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| contender.starts_with(only.as_str()))
    }
}

/// Takes the figures.
pub(crate) fn run(arguments: &BenchArguments) -> Result<(), Error> {
    if matches!(arguments.name, Name::Build | Name::All) {
        build::build(arguments)?;
    }
    if matches!(arguments.name, Name::Boot | Name::All) {
        boot::boot(arguments)?;
    }
    if matches!(arguments.name, Name::Upgrade | Name::All) {
        upgrade::upgrade(arguments)?;
    }
    if matches!(arguments.name, Name::Media | Name::All) {
        media::media(arguments)?;
    }
    Ok(())
}

/// Turns a system error into one of the test kit.
fn lab_error(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> kiln_lab::Error {
    let path = path.to_owned();
    move |source| kiln_lab::Error::File { action, path: path.clone(), source }
}
