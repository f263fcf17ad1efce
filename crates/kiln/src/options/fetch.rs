//! How a release comes onto a machine: from where, in which bounds, and on whose word.
//!
//! `install` and `upgrade` take the same arguments for it. Where the machine's own credentials and its
//! cache come in is each verb's to say: only one of them always runs on a system of Kiln's.

use std::path::PathBuf;

use clap::Args;
use kiln_build::{BuildOptions, ReadOptions};
use kiln_registry::{Options, Source};

use super::limits::LimitArguments;
use super::registry::RegistryArguments;

/// What is fetched, and how.
#[derive(Debug, Args)]
pub(crate) struct FetchArguments {
    /// Do not look for signatures, where the policy of the running system allows that
    #[arg(long, visible_alias = "no-cosign")]
    pub(crate) no_verify: bool,
    /// A folder with Kiln's own static binaries, for tests
    #[arg(long, value_name = "DIR", hide = true)]
    runtime: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) registry: RegistryArguments,
    #[command(flatten)]
    limits: LimitArguments,
}

impl FetchArguments {
    /// A build of `source` without media, with `output` for what is needed meanwhile.
    pub(crate) fn build_options(
        &self,
        source: Source,
        registry: Options,
        output: PathBuf,
    ) -> BuildOptions {
        let mut reading = ReadOptions { registry, ..ReadOptions::default() };
        self.limits.apply(&mut reading);
        let runtime = self.runtime.clone();
        BuildOptions { runtime, ..BuildOptions::without_media(source, reading, output) }
    }
}
