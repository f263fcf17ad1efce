//! `kiln stage`: carries out the configuration of one stage, as systemd's units do at each boot.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use kiln_config::check::Checked;
use kiln_host::{execute, secure_boot};
use kiln_provision::sources::Policy;
use kiln_provision::stages::{self, Gathered};
use kiln_provision::{Host, Machine, NoStorage, Outcome, Report, Root, Surroundings, Web};
use kiln_registry::Options;
use serde_json::json;

use crate::commands::validate;
use crate::exit;
use crate::options::documents::{self, DialectName};
use crate::options::machine::MachineArguments;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln stage network
  kiln stage boot --dry-run
  kiln stage boot ./cloud-config.yaml
  kiln stage after-install --json
  kiln stage initramfs --root /mnt site.yaml

Exit codes: 0 done (without --strict also where a step failed), 1 failed, 2 wrong usage.";

/// Carry out the configuration of one stage
///
/// Runs NAME.before, NAME and NAME.after: for each, all documents in /system/oem, /oem and
/// /usr/local/cloud-config, then those that the kernel command line names, then the steps that stand in it.
/// Files on the command line take the place of all of these. A step that fails does not keep the
/// others from running.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StageArguments {
    /// The stage: fs, boot, network, reconcile, or any other name that documents use
    name: String,
    /// Documents to use instead of the machine's own; `-` is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Take all FILEs for this dialect instead of looking at each
    #[arg(long, value_name = "DIALECT", value_enum, requires = "files")]
    dialect: Option<DialectName>,
    /// Change the files of this root, and run its programs, instead of the running system's
    #[arg(long = "root", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Fail where a step fails or a document has an error
    #[arg(long)]
    strict: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: MachineArguments,
}

pub(crate) fn run(arguments: &StageArguments, quiet: bool) -> Result<ExitCode, Failure> {
    let path = arguments.folder.as_deref().unwrap_or(Path::new("/"));
    let root = Root::open(path)?;
    let mut web = Web::new(Options::from_environment().network);
    let dialect = arguments.dialect.map(DialectName::dialect);
    let gathered = if arguments.files.is_empty() {
        let policy = Policy::read(&root, is_sealed(&arguments.machine), true);
        stages::gather(&root, &stages::kernel_command_line()?, &policy, &mut web)
    } else {
        Gathered {
            checked: documents::check_files(&arguments.files, dialect)?,
            ..Gathered::default()
        }
    };
    let checked = &gathered.checked;
    if !quiet {
        render::message(gathered.trace.to_string().trim_end());
    }
    let said = validate::text(checked, render::is_coloured());
    if !said.is_empty() && (!quiet || checked.diagnostics.has_errors()) {
        render::message(said.trim_end());
    }
    if arguments.dry_run {
        return dry_run(arguments, checked);
    }
    let reports = carry_out(arguments, root, &mut web, checked, quiet)?;
    if arguments.json {
        render::json(&json!({
            "format": "kiln.stage.v1",
            "looked": gathered.trace.looked,
            "reports": reports,
        }))?;
    }
    let is_good = reports.iter().all(Report::is_good) && !checked.diagnostics.has_errors();
    let failed = arguments.strict && !is_good;
    Ok(ExitCode::from(if failed { exit::FAILED } else { exit::DONE }))
}

/// Whether only the signed image may configure the machine. Where the disk cannot be read, the
/// firmware's word decides: what enforces signatures is taken for sealed.
pub(crate) fn is_sealed(machine: &MachineArguments) -> bool {
    let paths = machine.paths();
    match execute::status(&paths) {
        Ok(machine) => machine.is_sealed() == Some(true),
        Err(_) => secure_boot::is_enforced(&paths) == Some(true),
    }
}

fn dry_run(arguments: &StageArguments, checked: &Checked) -> Result<ExitCode, Failure> {
    let mut operations = Vec::new();
    let mut text = String::new();
    for stage in stages::rounds(&arguments.name) {
        for operation in checked.plan.stage(&stage) {
            let place = checked.sources.place(operation.origin);
            let action = kiln_provision::summary(&operation.action);
            text.push_str(&format!("{stage}: {action} ({place})\n"));
            operations.push(json!({
                "stage": stage.to_string(),
                "name": operation.name,
                "action": action,
                "place": place,
            }));
        }
    }
    if arguments.json {
        render::json(&json!({ "format": "kiln.stage.plan.v1", "operations": operations }))?;
    } else {
        render::data(&text)?;
    }
    let failed = arguments.strict && checked.diagnostics.has_errors();
    Ok(ExitCode::from(if failed { exit::FAILED } else { exit::DONE }))
}

fn carry_out(
    arguments: &StageArguments,
    root: Root,
    web: &mut Web,
    checked: &Checked,
    quiet: bool,
) -> Result<Vec<Report>, Failure> {
    let mut random = || kiln_provision::random();
    let values = kiln_provision::values(&root, &Machine::default(), random()?)?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (mut programs, mut storage) = (Host::default(), NoStorage);
    let mut say = |line: &str| {
        if !quiet {
            render::message(line);
        }
    };
    let mut surroundings = Surroundings {
        root,
        is_running: arguments.folder.is_none(),
        kernel: "/proc".into(),
        // Seconds of a day (POSIX.1, seconds since the Epoch).
        today: seconds / 86_400,
        programs: &mut programs,
        fetch: web,
        storage: &mut storage,
        values,
        random: &mut random,
        images: Options::from_environment(),
        ledger: None,
        say: &mut say,
        environment: Vec::new(),
    };
    let reports = stages::run_stage(&arguments.name, checked, &mut surroundings);
    for record in reports.iter().flat_map(Report::failures) {
        if let Outcome::Failed { reason, hint } = &record.outcome {
            let hint = hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
            render::warning(&format!("{}: {}: {reason}{hint}", record.place, record.action));
        }
    }
    Ok(reports)
}
