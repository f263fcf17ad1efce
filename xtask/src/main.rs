//! Developer commands: `cargo xtask demo`, `cargo xtask test` and their parts.
//!
//! What a newcomer, a contributor and the build server type is the same, and it is Rust: no shell
//! script holds logic that could not be read, typed and tested. Nothing here is shipped.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a developer reads along")]

mod apt;
mod bans;
mod bench;
mod demo;
mod documents;
mod error;
mod fuzz;
mod nightly;
mod packages;
mod product;
mod run;
mod runtime;
mod style;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Developer commands of Kiln", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install the Debian packages and the Rust target that demo and tests need
    Packages,
    /// Build an operating system from a Debian container image and boot it
    Demo {
        /// Log in by program, wait until systemd says `running`, power off; fail otherwise
        #[arg(long)]
        check: bool,
    },
    /// Format, lints, style, all tests, and the tests that boot machines
    Test {
        /// Leave out the tests that boot machines
        #[arg(long)]
        no_vm: bool,
    },
    /// Everything that is tested at all, or only some parts of it
    ///
    /// The parts run one after the other, a part that fails keeps none of the others from running, and
    /// the last lines tell how many minutes each took.
    Nightly {
        /// The parts; all of them without any
        #[arg(value_enum, value_name = "PART")]
        parts: Vec<nightly::Part>,
    },
    /// Take Kiln's figures beside those of other tools
    Bench(bench::BenchArguments),
    /// Feed hostile bytes to every parser, or to that of one target
    Fuzz {
        /// A program of fuzz/fuzz_targets; all of them without it
        target: Option<String>,
        /// Time for each target
        #[arg(long, default_value_t = fuzz::DEFAULT_SECONDS)]
        seconds: u32,
    },
    /// Print where the Debian image of demo and tests is, making it if need be
    Image,
    /// Write docs/reference anew from the command line
    Documents,
    /// Build Kiln's own binaries for an architecture, for `kiln build --runtime`
    Runtime {
        /// The architecture in the words of container images: amd64 or arm64
        #[arg(long, value_name = "ARCH", default_value = "arm64")]
        arch: String,
        /// The folder for `kiln` and `kiln-init`
        #[arg(short, long, value_name = "DIR")]
        output: std::path::PathBuf,
    },
    /// Only the rules that rustfmt and clippy do not know
    Style,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Packages => packages::install(),
        Command::Demo { check } => demo::demo(check),
        Command::Test { no_vm } => test::test(!no_vm),
        Command::Nightly { parts } => nightly::nightly(&parts),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Fuzz { target, seconds } => fuzz::fuzz(target.as_deref(), seconds),
        Command::Image => demo::image(),
        Command::Documents => documents::write(),
        Command::Runtime { arch, output } => {
            runtime::build(&arch, &output).and_then(|()| runtime::check(&arch, &output))
        }
        Command::Style => style::check(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("\nhint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}
