//! One step: its name, its conditions, and its actions in the order that the forks fix.
//!
//! The order inside a step is that of [`Rank`], whatever the order of the text: commands run before the
//! users of the same step exist, and `layout` comes after both. Authors know it and use several steps.

use super::scope::{Scope, entries, filled, plain, strings, template};
use super::{accounts, conditions, entities, files, network, partitions, services};
use crate::action::{Action, Command};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, Spanned, wrong_kind};
use crate::node::Node;
use crate::operation::Condition;
use crate::source::Span;

/// Places of the actions of one step, in the order of yip's and the toolkit's plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Dns,
    Downloads,
    Git,
    EnsureEntities,
    Directories,
    Files,
    Commands,
    DeleteEntities,
    Hostname,
    Sysctl,
    Users,
    AuthorizedKeys,
    Modules,
    Timesyncd,
    Systemctl,
    Environment,
    SystemdFirstboot,
    Datasource,
    Layout,
    UnpackImages,
}

/// An action with its place inside the step.
#[derive(Debug)]
pub(super) struct Ranked {
    pub(super) rank: Rank,
    pub(super) origin: Span,
    pub(super) action: Action,
}

/// The actions of one step while it is read.
pub(super) type Actions = Vec<Ranked>;

/// Puts an action behind the others.
pub(super) fn add(actions: &mut Actions, rank: Rank, origin: Span, action: Action) {
    actions.push(Ranked { rank, origin, action });
}

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: Option<String>,
    /// Names of the steps that come before it.
    pub(super) after: Vec<Spanned<String>>,
    pub(super) conditions: Vec<Condition>,
    pub(super) actions: Actions,
}

impl Step {
    /// A step without conditions.
    pub(super) fn named(name: &str, actions: Actions) -> Self {
        Self { name: Some(name.to_owned()), after: Vec::new(), conditions: Vec::new(), actions }
    }
}

/// Reads one step; nothing where it is no map at all.
pub(super) fn read(node: &Node, scope: &Scope, out: &mut Diagnostics) -> Option<Step> {
    let mut fields = Fields::open(node, "a step", out)?;
    let name = fields.text("name").map(|name| name.value).filter(|name| !name.is_empty());
    let after = after(&mut fields, scope);
    let conditions = conditions::read(&mut fields, scope);
    let mut actions = Actions::new();
    network::dns(&mut fields, scope, &mut actions);
    files::downloads(&mut fields, scope, &mut actions);
    network::git(&mut fields, scope, &mut actions);
    entities::read(&mut fields, "ensure_entities", scope, &mut actions);
    files::directories(&mut fields, scope, &mut actions);
    files::files(&mut fields, scope, &mut actions);
    commands(&mut fields, &mut actions);
    entities::read(&mut fields, "delete_entities", scope, &mut actions);
    hostname(&mut fields, &mut actions);
    services::sysctl(&mut fields, &mut actions);
    accounts::users(&mut fields, scope, &mut actions);
    accounts::authorized_keys(&mut fields, &mut actions);
    services::modules(&mut fields, &mut actions);
    services::timesyncd(&mut fields, &mut actions);
    services::systemctl(&mut fields, scope, &mut actions);
    services::environment(&mut fields, scope, &mut actions);
    services::systemd_firstboot(&mut fields, &mut actions);
    network::datasource(&mut fields, scope, &mut actions);
    partitions::layout(&mut fields, scope, &mut actions);
    refused(&mut fields, &["package_pins", "packages"]);
    network::unpack_images(&mut fields, scope, &mut actions);
    scope.finish(fields);
    // A step has one action or two, and a document may have thousands of steps.
    actions.shrink_to_fit();
    // Without its condition it could run where it must not; the error says why it does not run.
    let Some(conditions) = conditions else {
        actions.clear();
        return Some(Step { name, after, conditions: Vec::new(), actions });
    };
    Some(Step { name, after, conditions, actions })
}

fn after(fields: &mut Fields<'_, '_>, scope: &Scope) -> Vec<Spanned<String>> {
    let mut names = Vec::new();
    for node in fields.list("after") {
        if let Some(mut entry) = Fields::open(node, "a step to wait for", fields.out()) {
            names.extend(entry.require_text("name"));
            scope.finish(entry);
        }
    }
    names
}

fn commands(fields: &mut Fields<'_, '_>, actions: &mut Actions) {
    for command in strings(fields, "commands") {
        let span = command.span;
        let script = template(command, fields.out());
        add(actions, Rank::Commands, span, Action::Command(Command { script }));
    }
}

/// The host name, also under cloud-init's key of the same name.
pub(super) fn hostname(fields: &mut Fields<'_, '_>, actions: &mut Actions) {
    let Some(node) = fields.take("hostname") else { return };
    let Some(value) = filled(node, "hostname", fields.out()) else { return };
    let span = value.span;
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    // hostname(7): labels of at most 63 bytes; the kernel keeps 64 in all.
    if !value.value.contains("{{") && (value.value.len() > 64 || !value.value.split('.').all(label))
    {
        let message =
            format!("`{}` is no host name", value.value.chars().take(80).collect::<String>());
        fields.out().push(
            Diagnostic::error("bad-name", span, message)
                .hint("letters, digits and hyphens, at most 64 bytes"),
        );
        return;
    }
    let name = template(value, fields.out());
    add(actions, Rank::Hostname, span, Action::Hostname(name));
}

/// What a system cannot do that is the same bytes everywhere.
pub(super) fn refused(fields: &mut Fields<'_, '_>, names: &[&'static str]) {
    for name in names.iter().copied() {
        if let Some((key, _)) = fields.take_with_key(name) {
            let message = format!(
                "`{name}` is refused: the root is read-only and proved by its hash, no package can be put into it"
            );
            let diagnostic = Diagnostic::error("packages-refused", key.span, message)
                .hint("install it in the Dockerfile of the image, and upgrade to that");
            fields.out().push(diagnostic);
        }
    }
}

/// A map of strings whose keys the user chooses, in its order.
pub(super) fn variables<'node>(
    fields: &mut Fields<'node, '_>,
    name: &'static str,
) -> Vec<(&'node str, Spanned<String>)> {
    let mut all: Vec<(&str, Spanned<String>)> = Vec::new();
    for (key, node) in entries(fields, name) {
        if node.is_null() {
            all.push((&key.text, Spanned { value: String::new(), span: key.span }));
        } else if node.text().is_some() {
            all.extend(
                crate::fields::text(node, &key.text, fields.out())
                    .map(|value| (key.text.as_str(), value)),
            );
        } else {
            fields.out().push(wrong_kind(node, &key.text, "a string"));
        }
    }
    all
}

/// A string under a key that stays as it is.
pub(super) fn string(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<String> {
    let node = fields.take(name)?;
    let value = filled(node, name, fields.out())?;
    Some(plain(value, fields.out()))
}
