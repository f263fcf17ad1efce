//! `kiln reset`: forget what the machine has stored, at the next boot.

use std::process::ExitCode;

use clap::Args;
use kiln_host::execute::{self, Forgotten, ResetOptions};
use kiln_host::hooks::NoHooks;
use kiln_host::plan::{ResetPlan, ResetRequest};

use crate::hooks::{self, DocumentHooks};
use crate::options::change::ChangeArguments;
use crate::options::confirm::ConfirmArguments;
use crate::options::machine::busy;
use crate::options::strict::StrictArguments;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln reset --dry-run
  kiln reset --keep /etc --keep /home/admin --reboot
  kiln reset --wipe-state --yes --reboot
  kiln reset --cancel

Exit codes: 0 done, 1 failed or refused, 2 wrong usage.";

/// Forget the state of this machine at the next boot
///
/// Releases stay. Who the machine is stays (machine-id, host keys, host name) unless `--wipe-state` is
/// given. Nothing is changed before the restart, and until then it can be taken back. Hooks (before-reset,
/// after-reset-chroot, after-reset, post-reset) run now; what they write to /etc and /var is there after
/// the restart.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ResetArguments {
    /// A path that stays, such as /etc or /home; may be given more than once
    #[arg(long, value_name = "PATH", conflicts_with = "wipe_state")]
    keep: Vec<String>,
    /// Make a new file system: everything goes, also who the machine is, also if it is damaged
    #[arg(long)]
    wipe_state: bool,
    /// Take back what was asked for
    #[arg(long, conflicts_with_all = ["keep", "wipe_state", "dry_run", "yes", "reboot"])]
    cancel: bool,
    #[command(flatten)]
    confirm: ConfirmArguments,
    #[command(flatten)]
    strict: StrictArguments,
    #[command(flatten)]
    change: ChangeArguments,
}

pub(crate) fn run(arguments: &ResetArguments, quiet: bool) -> Result<ExitCode, Failure> {
    let paths = arguments.change.machine.paths();
    if arguments.cancel {
        let was_asked = execute::take_back(&paths, busy)?;
        render::message(if was_asked { "the state stays" } else { "no reset was asked for" });
        return Ok(ExitCode::SUCCESS);
    }
    let dry_run = arguments.confirm.dry_run;
    let request = ResetRequest { keep: &arguments.keep, wipe_state: arguments.wipe_state };
    let options = ResetOptions { request, dry_run: true };
    let plan = execute::reset(&paths, options, &mut NoHooks, busy)?;
    let mut hooks = DocumentHooks::new("reset", &arguments.change.machine, &[], quiet)?;
    let planned = hooks.planned();
    if !arguments.change.json {
        render::data(&describe(&plan))?;
        render::data(&hooks::describe(&planned))?;
    }
    if !dry_run {
        arguments.confirm.ask("the next boot forgets all of this", "reset")?;
        let options = ResetOptions { dry_run: false, ..options };
        execute::reset(&paths, options, &mut hooks, busy)?;
    }
    if arguments.change.json {
        let kept: Vec<String> = match &plan.plan {
            ResetPlan::Forget(reset) => reset.kept().collect(),
            ResetPlan::Format => Vec::new(),
        };
        render::json(&serde_json::json!({
            "format": "kiln.reset.v1",
            "dry_run": dry_run,
            "wipe_state": arguments.wipe_state,
            "goes": plan.goes,
            "keeps": kept,
            "hooks": hooks::to_json(&planned),
        }))?;
    } else if !dry_run {
        render::message("done at the next boot; `kiln reset --cancel` takes it back until then");
    }
    arguments.change.finish_with(&hooks)?;
    Ok(arguments.strict.code(&hooks))
}

/// What goes and what stays, by paths in the state.
fn describe(forgotten: &Forgotten) -> String {
    let ResetPlan::Forget(reset) = &forgotten.plan else {
        return "goes      everything in /state, also who this machine is\n".to_owned();
    };
    let mut text = String::new();
    let mut put = |label: &str, lines: &mut dyn Iterator<Item = String>| {
        let mut label = label;
        for line in lines {
            let line: String = line.chars().filter(|letter| !letter.is_control()).collect();
            text.push_str(&format!("{label:<10}/state/{line}\n"));
            label = "";
        }
    };
    put("goes", &mut forgotten.goes.iter().cloned());
    let always = ["identity", "kiln/ledger.json"].map(str::to_owned);
    put("stays", &mut always.into_iter().chain(reset.kept()));
    text
}

#[cfg(test)]
mod tests {
    use kiln_host::execute::Forgotten;
    use kiln_host::plan::{ResetPlan, ResetRequest, reset};

    use super::describe;

    #[test]
    fn what_goes_is_listed() {
        let keep = ["/etc/ssh".to_owned()];
        let plan = reset(true, ResetRequest { keep: &keep, wipe_state: false }).unwrap();
        let goes = vec!["overlay".to_owned(), "var\n".to_owned()];
        let expected = "\
goes      /state/overlay
          /state/var
stays     /state/identity
          /state/kiln/ledger.json
          /state/etc/*/ssh
";
        assert_eq!(describe(&Forgotten { plan, goes }), expected);
        let all = Forgotten { plan: ResetPlan::Format, goes: Vec::new() };
        assert!(describe(&all).contains("everything"));
    }
}
