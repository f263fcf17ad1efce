//! The reference in Markdown, made of the same tree that help and manual pages come from.
//!
//! One page a verb, one for the limits and one for the exit codes, and the schema of Kiln's YAML. The pages are part of the
//! repository, where people read them, and a test keeps them fresh. They hold nothing that depends on
//! the machine, the terminal or the day.

use std::fmt::Write as _;

use clap::{Arg, Command};

use crate::exit::CODES;
use crate::options::limits;

/// Stands on top of each page.
const ORIGIN: &str = "<!-- Written by `cargo xtask documents`; change the code instead. -->\n\n";

/// All pages: file name and text.
pub(crate) fn pages(mut root: Command) -> Vec<(String, String)> {
    root.build();
    let mut pages = vec![
        ("exit-codes.md".to_owned(), exit_codes()),
        ("limits.md".to_owned(), limits_page(&root)),
        ("provision.schema.json".to_owned(), kiln_config::provision::schema()),
    ];
    for verb in root.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let mut text = ORIGIN.to_owned();
        verb_section(&mut text, verb, "kiln", 1);
        pages.push((format!("kiln-{}.md", verb.get_name()), text));
    }
    pages
}

/// Formatting into a string cannot fail.
fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(line);
}

fn verb_section(text: &mut String, verb: &Command, parent: &str, depth: usize) {
    let name = format!("{parent} {}", verb.get_name());
    let level = "#".repeat(depth);
    put(text, format_args!("{level} {name}\n\n"));
    let about = verb.get_long_about().or(verb.get_about());
    put(text, format_args!("{}\n", sentence(&about.map(ToString::to_string).unwrap_or_default())));
    let usage = verb.clone().render_usage().to_string();
    put(text, format_args!("\n    {}\n", usage.trim_start_matches("Usage: ")));
    for heading in headings(verb) {
        put(text, format_args!("\n{level}# {heading}\n\n"));
        for argument in arguments(verb).filter(|argument| heading_of(argument) == heading) {
            argument_item(text, argument);
        }
    }
    for inner in verb.get_subcommands() {
        text.push('\n');
        verb_section(text, inner, &name, depth + 1);
    }
    if verb.has_subcommands() {
        return;
    }
    let after = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
    for paragraph in after.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        match paragraph.split_once(":\n") {
            Some((title, lines)) => {
                put(text, format_args!("\n{level}# {title}\n\n"));
                for line in lines.lines() {
                    put(text, format_args!("    {}\n", line.trim_start()));
                }
            }
            None => put(text, format_args!("\n{paragraph}\n")),
        }
    }
}

fn sentence(text: &str) -> String {
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let rest: String = paragraphs.map(|paragraph| format!("\n\n{paragraph}")).collect();
    format!("{first}.{rest}")
}

fn arguments(verb: &Command) -> impl Iterator<Item = &Arg> {
    verb.get_arguments().filter(|argument| !argument.is_hide_set())
}

/// Headings in the order in which the help has them.
fn headings(verb: &Command) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    let positional = arguments(verb).filter(|argument| argument.is_positional());
    let options = arguments(verb).filter(|argument| !argument.is_positional());
    for argument in positional.chain(options) {
        let heading = heading_of(argument);
        if !found.contains(&heading) {
            found.push(heading);
        }
    }
    found
}

fn heading_of(argument: &Arg) -> &str {
    match argument.get_help_heading() {
        Some(heading) => heading,
        None if argument.is_positional() => "Arguments",
        None => "Options",
    }
}

fn argument_item(text: &mut String, argument: &Arg) {
    put(text, format_args!("- `{}`: {}", spelling(argument), help_of(argument)));
    if let Some(default) = default_of(argument) {
        put(text, format_args!(" (default: `{default}`)"));
    }
    text.push('\n');
    let values = argument.get_possible_values();
    if !takes_value(argument) {
        return;
    }
    for value in values.iter().filter(|value| !value.is_hide_set()) {
        let help = value.get_help().map(|help| format!(": {help}")).unwrap_or_default();
        put(text, format_args!("  - `{}`{help}\n", value.get_name()));
    }
}

fn help_of(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help());
    help.map(ToString::to_string).unwrap_or_default().replace('\n', " ")
}

fn takes_value(argument: &Arg) -> bool {
    argument.get_action().takes_values()
}

fn default_of(argument: &Arg) -> Option<String> {
    let defaults = argument.get_default_values();
    if !takes_value(argument) || defaults.is_empty() {
        return None;
    }
    let words = defaults.iter().map(|value| value.to_string_lossy().into_owned());
    Some(words.collect::<Vec<_>>().join(","))
}

/// `-o, --output <DIR>` and so on.
fn spelling(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let values: String = names.iter().map(|name| format!("<{name}>")).collect();
    if argument.is_positional() {
        return values;
    }
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let flags = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
    if takes_value(argument) { format!("{flags} {values}") } else { flags }
}

fn exit_codes() -> String {
    let mut text = format!("{ORIGIN}# Exit codes\n\n| code | means |\n|---|---|\n");
    for (code, meaning) in CODES {
        put(&mut text, format_args!("| {code} | {meaning} |\n"));
    }
    text
}

fn limits_page(root: &Command) -> String {
    let mut text = format!(
        "{ORIGIN}# Limits\n\n\
         Images are read as if an enemy had made them. What is beyond a limit is refused with the\n\
         layer's digest and the path, and no output gets its name.\n\n\
         | option | bounds | default |\n|---|---|---|\n"
    );
    let build = root.find_subcommand("build");
    let options = build.into_iter().flat_map(arguments);
    for argument in options.filter(|argument| heading_of(argument) == limits::HEADING) {
        let default = default_of(argument).unwrap_or_default();
        let (name, help) = (spelling(argument), help_of(argument));
        put(&mut text, format_args!("| `{name}` | {help} | {default} |\n"));
    }
    let image = kiln_registry::Limits::default();
    let tree = kiln_build::TreeLimits::default();
    text.push_str("\nNo option changes these:\n\n| bounds | limit |\n|---|---|\n");
    let fixed = [
        ("bytes of an image index or manifest", image.manifest_bytes),
        ("bytes of an image configuration", image.config_bytes),
        ("layers of an image", image.max_layers as u64),
        ("indexes on the way to a manifest", image.index_depth as u64),
        ("members of an archive", image.archive_members as u64),
        ("bytes of a name in a directory", tree.name_bytes as u64),
        ("bytes of a symbolic link", tree.symlink_bytes as u64),
        ("bytes of the extended attributes of an entry", tree.xattr_bytes as u64),
    ];
    for (what, limit) in fixed {
        put(&mut text, format_args!("| {what} | {limit} |\n"));
    }
    text
}
