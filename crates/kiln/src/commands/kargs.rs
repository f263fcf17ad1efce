//! `kiln kargs`: kernel arguments beside those of the release.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{ArgMatches, Args};
use kiln_host::execute::{
    ArgumentOptions, KernelArguments, RevisionArguments, change_kernel_arguments,
    show_kernel_arguments,
};
use kiln_host::plan::{ArgumentEdit, ArgumentPlan};
use serde_json::{Value, json};

use crate::options::change::ChangeArguments;
use crate::options::machine::busy;
use crate::render::{self, Failure};

const EXAMPLES: &str = "\
Examples:
  kiln kargs
  kiln kargs --append console=ttyS1,115200 --delete quiet --reboot
  kiln kargs --enable serial --dry-run

Exit codes: 0 printed or changed, 1 refused or failed, 2 wrong usage.";

/// Show and change kernel arguments
///
/// A change is a revision of its own: the same root with another boot file. It is counted like an
/// upgrade; if the machine does not come up with it, it goes back by itself, and `kiln rollback` goes
/// back by hand. Later upgrades keep what was changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct KernelArgumentArguments {
    #[command(flatten)]
    edits: Edits,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
    /// Also what failed before, and before the running system has proved itself
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

/// Changes in the order in which they were typed, across all four options.
#[derive(Debug, Default)]
struct Edits(Vec<ArgumentEdit>);

/// The options of [`Edits`], which clap collects each for itself.
#[derive(Debug, Args)]
struct EditOptions {
    /// Put an argument behind the others; may be given more than once
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    append: Vec<String>,
    /// Leave an argument out: NAME=VALUE, or NAME for all its values
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    delete: Vec<String>,
    /// Switch on an addon that the release brings
    #[arg(long, value_name = "NAME")]
    enable: Vec<String>,
    /// Switch it off
    #[arg(long, value_name = "NAME")]
    disable: Vec<String>,
}

/// An option, its values, and the edit that each of them means.
type Group = (&'static str, Vec<String>, fn(String) -> ArgumentEdit);

impl clap::FromArgMatches for Edits {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let options = EditOptions::from_arg_matches(matches)?;
        let mut all: Vec<(usize, ArgumentEdit)> = Vec::new();
        let groups: [Group; 4] = [
            ("append", options.append, ArgumentEdit::Append),
            ("delete", options.delete, ArgumentEdit::Delete),
            ("enable", options.enable, ArgumentEdit::Enable),
            ("disable", options.disable, ArgumentEdit::Disable),
        ];
        for (name, values, edit) in groups {
            let places = matches.indices_of(name).into_iter().flatten();
            all.extend(places.zip(values.into_iter().map(edit)));
        }
        all.sort_by_key(|(place, _)| *place);
        Ok(Self(all.into_iter().map(|(_, edit)| edit).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Edits {
    fn augment_args(command: clap::Command) -> clap::Command {
        EditOptions::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        EditOptions::augment_args_for_update(command)
    }
}

pub(crate) fn run(arguments: &KernelArgumentArguments) -> Result<ExitCode, Failure> {
    let paths = arguments.change.machine.paths();
    let edits = &arguments.edits.0;
    if edits.is_empty() {
        let found = show_kernel_arguments(&paths)?;
        if arguments.change.json {
            render::json(&to_json(&found))?;
        } else {
            render::data(&to_text(&found))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let options = ArgumentOptions { edits, dry_run: arguments.dry_run, is_forced: arguments.force };
    let (_, plan) = change_kernel_arguments(&paths, options, busy)?;
    if arguments.change.json {
        render::json(&change_to_json(plan.as_ref(), arguments.dry_run))?;
    } else {
        render::message(&match &plan {
            None => "the arguments are so already".to_owned(),
            Some(plan) => {
                let verb = if arguments.dry_run { "would start" } else { "starts" };
                format!(
                    "the next boot {verb} generation {}: {}",
                    plan.generation, plan.command_line
                )
            }
        });
    }
    if plan.is_some() { arguments.change.finish() } else { Ok(ExitCode::SUCCESS) }
}

fn change_to_json(plan: Option<&ArgumentPlan>, dry_run: bool) -> Value {
    json!({
        "format": "kiln.kargs-change.v1",
        "dry_run": dry_run,
        "changed": plan.is_some(),
        "generation": plan.map(|plan| plan.generation),
        "command_line": plan.map(|plan| plan.command_line.as_str()),
        "addons": plan.map(|plan| plan.arguments.addons.as_slice()),
    })
}

fn revision_to_json(found: &KernelArguments, revision: &RevisionArguments) -> Value {
    let arguments: Vec<Value> = found
        .sources(revision)
        .into_iter()
        .map(|(source, argument)| json!({ "argument": argument, "source": source }))
        .collect();
    json!({
        "generation": revision.generation,
        "arguments": arguments,
        "deleted": revision.arguments.delete,
        "addons": revision.arguments.addons,
    })
}

fn to_json(found: &KernelArguments) -> Value {
    let addons: Vec<Value> = found
        .addons
        .iter()
        .map(|addon| json!({ "name": addon.name, "arguments": addon.arguments }))
        .collect();
    json!({
        "format": "kiln.kargs.v1",
        "sealed": found.is_sealed,
        "current": revision_to_json(found, &found.current),
        "pending": found.pending.as_ref().map(|pending| revision_to_json(found, pending)),
        "available_addons": addons,
    })
}

fn to_text(found: &KernelArguments) -> String {
    let mut text = String::new();
    let mut put = |label: &str, line: &str| {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{label:<10}{line}");
    };
    let revisions = [("running", Some(&found.current)), ("pending", found.pending.as_ref())];
    for (label, revision) in revisions {
        let Some(revision) = revision else { continue };
        let generation = revision.generation.map_or_else(String::new, |number| number.to_string());
        put(label, &format!("generation {generation}"));
        for source in ["release", "local", "addon"] {
            let of_source: Vec<String> = found
                .sources(revision)
                .into_iter()
                .filter(|(from, _)| *from == source)
                .map(|(_, argument)| argument)
                .collect();
            if !of_source.is_empty() {
                put("", &format!("{source:<9}{}", of_source.join(" ")));
            }
        }
        if !revision.arguments.delete.is_empty() {
            put("", &format!("deleted  {}", revision.arguments.delete.join(" ")));
        }
    }
    for (at, addon) in found.addons.iter().enumerate() {
        let is_enabled = found.current.arguments.addons.contains(&addon.name);
        let state = if is_enabled { "on" } else { "off" };
        let label = if at == 0 { "addons" } else { "" };
        put(label, &format!("{} ({state}): {}", addon.name, addon.arguments));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use kiln_host::execute::{KernelArguments, RevisionArguments};
    use kiln_host::ledger::LocalArguments;
    use kiln_host::plan::ArgumentEdit;
    use kiln_release::Addon;

    use super::{KernelArgumentArguments, to_json, to_text};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: KernelArgumentArguments,
    }

    #[test]
    fn changes_keep_their_order() {
        let words = ["kargs", "--append=a", "--delete", "b", "--append", "c", "--disable", "d"];
        let line = Line::try_parse_from(words).unwrap();
        let expected = [
            ArgumentEdit::Append("a".into()),
            ArgumentEdit::Delete("b".into()),
            ArgumentEdit::Append("c".into()),
            ArgumentEdit::Disable("d".into()),
        ];
        assert_eq!(line.arguments.edits.0, expected);
    }

    #[test]
    fn every_argument_says_where_it_is_from() {
        let mut arguments = LocalArguments::of_release("kiln.root=x quiet panic=10");
        arguments.append.push("debug".into());
        arguments.delete.push("quiet".into());
        arguments.addons.push("serial".into());
        let plain = LocalArguments::of_release("kiln.root=x quiet panic=10");
        let of = |generation, arguments| RevisionArguments { generation, arguments };
        let found = KernelArguments {
            is_sealed: false,
            current: of(Some(2), plain),
            pending: Some(of(Some(3), arguments)),
            addons: vec![Addon {
                name: "serial".into(),
                arguments: "console=ttyS1".into(),
                length: 1,
                digest: String::new(),
            }],
        };
        let expected = "\
running   generation 2
          release  kiln.root=x quiet panic=10
pending   generation 3
          release  kiln.root=x panic=10
          local    debug
          addon    console=ttyS1
          deleted  quiet
addons    serial (off): console=ttyS1
";
        assert_eq!(to_text(&found), expected);
        let value = to_json(&found);
        assert_eq!(value["pending"]["arguments"][2]["source"], "local");
        assert_eq!(value["pending"]["arguments"][3]["argument"], "console=ttyS1");
        assert_eq!(value["current"]["deleted"], serde_json::json!([]));
    }
}
