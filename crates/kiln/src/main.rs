//! The command line of Kiln.
//!
//! Here the process is set up and errors become exit codes; each verb is a file of `commands`, and
//! what the verbs do lives in the crates below. Exit codes stand in `exit`.

mod arguments;
mod commands;
mod exit;
mod options;
mod progress;
mod reference;
mod render;
mod snippet;

use std::process::ExitCode;

use clap::Parser as _;

/// The static binary's C library returns every large buffer to the kernel at once and locks for
/// each small one; a build then spends a third of its time on page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match commands::run(arguments::Arguments::parse()) {
        Ok(code) => code,
        Err(failure) => render::failure(&failure),
    }
}
