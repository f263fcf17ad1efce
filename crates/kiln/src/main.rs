//! The command line of Kiln.
//!
//! Here the process is set up and errors become exit codes; each verb is a file of `commands`, and
//! what the verbs do lives in the crates below. Exit codes stand in `exit`.

mod arguments;
mod commands;
mod exit;
mod hooks;
mod legacy;
mod options;
mod progress;
mod reference;
mod render;
mod snippet;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

/// The static binary's C library returns every large buffer to the kernel at once and locks for
/// each small one; a build then spends a third of its time on page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long freed memory is kept. An upgrade is over in seconds and reads, decodes and writes one behind
/// the other: with the allocator's own second it held what all of them had needed, 150 to 200 MiB in
/// place of 80. A build takes no longer for it.
const FREED_KEPT: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    kiln_sys::allocator::give_back_after(FREED_KEPT);
    if let Some(code) = hooks::tools::called() {
        return code;
    }
    legacy::call_or(|| commands::run(arguments::Arguments::parse()))
        .unwrap_or_else(|failure| render::failure(&failure))
}
