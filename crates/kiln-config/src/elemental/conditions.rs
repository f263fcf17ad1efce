//! Conditions of a step: `if`, `node`, `only_*`, `if_files`.
//!
//! All of them have to hold. A condition that cannot be read takes its step out of the plan: running it
//! without the condition could be the opposite of what its author wanted. Patterns are checked with the
//! engine that matches them on the machine, so that a laptop finds what a machine would.

use super::scope::{Scope, filled, plain, template};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, wrong_kind};
use crate::node::Node;
use crate::operation::{Condition, Exists, Fact, Text};
use crate::suggest::nearest;

/// Reads the conditions of a step; nothing, and an error, where one of them cannot be read.
pub(super) fn read(fields: &mut Fields<'_, '_>, scope: &Scope) -> Option<Vec<Condition>> {
    let before = fields.out().errors();
    let mut all = Vec::new();
    if let Some(node) = fields.take("if")
        && let Some(command) = filled(node, "if", fields.out())
    {
        all.push(Condition::Command(template(command, fields.out())));
    }
    if let Some(node) = fields.take("node") {
        all.extend(pattern(node, "node", fields.out()).map(Condition::Node));
    }
    for (name, fact) in [
        ("only_os", Fact::Os),
        ("only_os_version", Fact::OsVersion),
        ("only_arch", Fact::Architecture),
    ] {
        if let Some(node) = fields.take(name) {
            all.extend(
                pattern(node, name, fields.out()).map(|pattern| Condition::Fact(fact, pattern)),
            );
        }
    }
    if let Some(node) = fields.take("only_service_manager") {
        all.extend(service_manager(node, fields.out()));
    }
    if let Some(node) = fields.take("if_files") {
        files(node, scope, fields.out(), &mut all);
    }
    (fields.out().errors() == before).then_some(all)
}

fn pattern(node: &Node, what: &str, out: &mut Diagnostics) -> Option<String> {
    let value = filled(node, what, out)?;
    let span = value.span;
    let pattern = plain(value, out);
    if let Err(error) = regex_lite::Regex::new(&pattern) {
        let message = format!("`{what}` is no regular expression: {error}");
        out.push(Diagnostic::error("bad-pattern", span, message));
        return None;
    }
    Some(pattern)
}

fn service_manager(node: &Node, out: &mut Diagnostics) -> Option<Condition> {
    let value = filled(node, "only_service_manager", out)?;
    if !matches!(value.value.as_str(), "systemd" | "openrc") {
        let message =
            format!("`only_service_manager` is `systemd` or `openrc`, and not `{}`", value.value);
        out.push(Diagnostic::error("bad-value", value.span, message));
        return None;
    }
    Some(Condition::Fact(Fact::ServiceManager, format!("^{}$", value.value)))
}

fn files(node: &Node, scope: &Scope, out: &mut Diagnostics, all: &mut Vec<Condition>) {
    let Some(mut fields) = Fields::open(node, "`if_files`", out) else { return };
    for (name, exists) in [("all", Exists::All), ("any", Exists::Any), ("none", Exists::None)] {
        let Some(list) = fields.take(name) else { continue };
        let Some(list) = list.list() else {
            let diagnostic = wrong_kind(list, name, "a list");
            fields.out().push(diagnostic);
            continue;
        };
        let mut paths: Vec<Text> = Vec::new();
        for node in list {
            paths.extend(
                filled(node, name, fields.out())
                    .and_then(|value| super::scope::path(value, name, fields.out()))
                    .map(Text::Plain),
            );
        }
        // An empty list holds in yip, whatever its kind.
        if !paths.is_empty() {
            all.push(Condition::Files(exists, paths));
        }
    }
    // yip skips the step for any other kind; an error does the same and says so.
    let unknown: Vec<_> = fields
        .present()
        .iter()
        .filter(|(key, _)| !matches!(key.text.as_str(), "all" | "any" | "none"))
        .collect();
    for (key, _) in &unknown {
        let message = format!("`if_files` has no kind `{}`", key.text);
        let diagnostic = Diagnostic::error("bad-value", key.span, message);
        fields.out().push(match nearest(&key.text, ["all", "any", "none"]) {
            Some(name) => diagnostic.hint(format!("did you mean `{name}`?")),
            None => diagnostic.hint("it is `all`, `any` or `none`"),
        });
    }
    if unknown.is_empty() {
        scope.finish(fields);
    }
}
