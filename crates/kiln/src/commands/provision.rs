//! `kiln provision`: the configuration before the system starts, as the first process asks for it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use kiln_config::action::KernelArguments;
use kiln_host::execute::{ArgumentOptions, change_kernel_arguments};
use kiln_host::plan::ArgumentEdit;
use kiln_provision::boot::{self, Boot, Ended};
use kiln_provision::sources::Outcome as Found;
use kiln_provision::stages::{self, Gathered};
use kiln_provision::{Error, Outcome, Report};
use kiln_registry::Options;
use serde_json::json;

use crate::commands::stage::is_sealed;
use crate::commands::validate;
use crate::exit;
use crate::options::machine::{MachineArguments, busy};
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln provision rootfs
  kiln provision initramfs
  kiln provision initramfs --json

Exit codes: 0 done (also where a step of a stage failed), 1 a document of the first boot failed and nothing
of it is kept, 2 wrong usage, 11 done and the kernel arguments have changed: restart.";

/// Where the first process leaves facts of this boot.
const RUN: &str = "/run/kiln";

/// Carry out the configuration that is due before the system starts
///
/// The first process calls this in the verified root: `rootfs` before anything writable is mounted, with
/// the future root at /sysroot, and `initramfs` inside the future root. The first boot's documents
/// (Ignition, Butane, kind: Provision) are carried out once and all or nothing. On a running system nothing
/// calls it, and it refuses to run.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ProvisionArguments {
    /// Which half
    half: Half,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    /// Folders that stand for the root, the state and /run/kiln, for tests
    #[arg(long, value_name = "DIR", num_args = 3, hide = true)]
    folders: Vec<PathBuf>,
    #[command(flatten)]
    machine: MachineArguments,
}

/// The halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Half {
    /// The stages pre-rootfs and rootfs, and what can be written
    Rootfs,
    /// Devices, the first boot's documents, the stage initramfs
    Initramfs,
}

pub(crate) fn run(arguments: &ProvisionArguments, quiet: bool) -> Result<ExitCode, Failure> {
    let [root, state, run] = folders(arguments)?;
    let paths = arguments.machine.paths();
    let say = |line: &str| {
        if !quiet {
            render::message(line);
        }
    };
    let mut show = |gathered: &Gathered| show(gathered, quiet);
    let line = stages::kernel_command_line()?;
    let mut kernel_arguments = |wanted: &KernelArguments| {
        let edits = edits(wanted, &line);
        if edits.is_empty() {
            return Ok(false);
        }
        // A first boot is not blessed yet, and its arguments are no try of somebody else's.
        let options = ArgumentOptions { edits: &edits, dry_run: false, is_forced: true };
        match change_kernel_arguments(&paths, options, busy) {
            Ok((_, plan)) => Ok(plan.is_some()),
            Err(error) => Err(Error::KernelArguments(Box::new(error))),
        }
    };
    let mut boot = Boot {
        root,
        state,
        is_recovery: run.join("recovery_mode").exists(),
        run,
        command_line: line.clone(),
        is_sealed: is_sealed(&arguments.machine),
        network: Options::from_environment(),
        kernel_arguments: &mut kernel_arguments,
        show: &mut show,
        say: &say,
    };
    let ended = match arguments.half {
        Half::Rootfs => boot::rootfs(&mut boot)?,
        Half::Initramfs => boot::initramfs(&mut boot)?,
    };
    report(&ended, arguments.json)?;
    Ok(ExitCode::from(match ended {
        Ended { failure: Some(_), .. } => exit::FAILED,
        Ended { restart: true, .. } => exit::RESTART,
        Ended { .. } => exit::DONE,
    }))
}

/// Root, state and the folder of this boot, seen from the root that the first process has chosen.
fn folders(arguments: &ProvisionArguments) -> Result<[PathBuf; 3], Failure> {
    if let Ok(folders) = <[PathBuf; 3]>::try_from(arguments.folders.clone()) {
        return Ok(folders);
    }
    if !is_before_the_system() {
        return Err(Failure::new(
            "only the first process calls this, before the system starts",
            "`kiln stage NAME` carries a stage out on a running system",
        ));
    }
    let state = match arguments.half {
        Half::Rootfs => "/sysroot/state",
        Half::Initramfs => "/state",
    };
    Ok(["/", state, RUN].map(PathBuf::from))
}

/// Whether the first process is Kiln's and has not handed over yet: it has left the facts of this boot, and
/// has another root than this one, which in a container it may have, too.
fn is_before_the_system() -> bool {
    let identity = |path: &str| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    Path::new(RUN).join("boot").is_file() && identity("/proc/1/root/.") != identity("/.")
}

/// What was found and what is wrong with it. Places without documents are not worth a line of a console,
/// nor are those that a configured machine does not ask again.
fn show(gathered: &Gathered, quiet: bool) {
    for looked in &gathered.trace.looked {
        let is_told = match looked.outcome {
            Found::Absent => false,
            Found::Ignored(_) => !looked.place.is_handed_over(),
            Found::Taken(_) => true,
        };
        if !quiet && is_told {
            render::message(&looked.to_string());
        }
    }
    for failure in &gathered.failures {
        render::warning(failure);
    }
    let said = validate::text(&gathered.checked, render::is_coloured());
    if !said.is_empty() && (!quiet || gathered.checked.diagnostics.has_errors()) {
        render::message(said.trim_end());
    }
}

/// What of the wishes the command line does not fulfil yet. Each wish may be several arguments.
fn edits(wanted: &KernelArguments, line: &str) -> Vec<ArgumentEdit> {
    let is_there = |word: &str| line.split_ascii_whitespace().any(|one| one == word);
    let words = |list: &[String]| -> Vec<String> {
        list.iter().flat_map(|wish| wish.split_ascii_whitespace()).map(str::to_owned).collect()
    };
    let gone = words(&wanted.should_not_exist).into_iter().filter(|word| is_there(word));
    let new = words(&wanted.should_exist).into_iter().filter(|word| !is_there(word));
    gone.map(ArgumentEdit::Delete).chain(new.map(ArgumentEdit::Append)).collect()
}

fn report(ended: &Ended, as_json: bool) -> Result<(), Failure> {
    for record in ended.reports.iter().flat_map(Report::failures) {
        if let Outcome::Failed { reason, hint } = &record.outcome {
            let hint = hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
            render::warning(&format!("{}: {}: {reason}{hint}", record.place, record.action));
        }
    }
    if let Some(failure) = &ended.failure {
        render::warning(&format!("the first boot is undone: {failure}"));
    }
    if as_json {
        render::json(&json!({
            "format": "kiln.provision.v1",
            "failure": ended.failure,
            "restart": ended.restart,
            "reports": ended.reports,
        }))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ArgumentEdit, KernelArguments, edits};

    #[test]
    fn only_what_is_not_so_already_is_changed() {
        let wanted = KernelArguments {
            should_exist: vec!["quiet".into(), "a=1 b".into(), "mitigations=off".into()],
            should_not_exist: vec!["splash".into(), "rhgb".into()],
        };
        let line = "kiln.root=00:1:00 quiet b splash\n";
        let expected = [
            ArgumentEdit::Delete("splash".into()),
            ArgumentEdit::Append("a=1".into()),
            ArgumentEdit::Append("mitigations=off".into()),
        ];
        assert_eq!(edits(&wanted, line), expected);
        assert!(edits(&wanted, "quiet a=1 b mitigations=off").is_empty());
    }
}
