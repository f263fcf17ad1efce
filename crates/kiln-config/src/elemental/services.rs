//! What a step says to systemd and the kernel: units, variables, parameters, modules, time servers.

use super::persistence;
use super::scope::{Scope, plain, strings, template};
use super::step::{Actions, Rank, add, string, variables};
use crate::action::{Action, Environment, Setting, Systemctl, SystemctlVerb, Unit};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, Spanned};
use crate::operation::Text;

/// File of variables where a step names none.
const ENVIRONMENT_FILE: &str = "/etc/environment";
/// Name of yip's drop-ins where a step gives none.
const DROP_IN: &str = "override-yip.conf";
/// Suffixes of unit names, systemd.unit(5).
const SUFFIXES: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];

/// `sysctl`.
pub(super) fn sysctl(fields: &mut Fields<'_, '_>, actions: &mut Actions) {
    for (name, value) in variables(fields, "sysctl") {
        let span = value.span;
        let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
        let parts = name.split(['.', '/']);
        if name.is_empty()
            || !name.bytes().all(allowed)
            || parts.clone().any(|part| part.is_empty())
        {
            let message = format!("`{name}` is no kernel parameter");
            fields.out().push(
                Diagnostic::error("bad-name", span, message).hint("like `net.ipv4.ip_forward`"),
            );
            continue;
        }
        let value = Text::Plain(plain(value, fields.out()));
        let setting = Setting { name: name.to_owned(), value };
        add(actions, Rank::Sysctl, span, Action::Sysctl(setting));
    }
}

/// `modules`: names, each perhaps with parameters behind it.
pub(super) fn modules(fields: &mut Fields<'_, '_>, actions: &mut Actions) {
    for module in strings(fields, "modules") {
        let span = module.span;
        let line = plain(module, fields.out());
        let (name, parameters) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if name.is_empty() || name.starts_with('-') || !name.bytes().all(allowed) {
            let message = format!("`{name}` is no name of a kernel module");
            fields.out().push(Diagnostic::error("bad-name", span, message));
            continue;
        }
        let value = Text::Plain(parameters.trim().to_owned());
        let setting = Setting { name: name.to_owned(), value };
        add(actions, Rank::Modules, span, Action::Module(setting));
    }
}

/// `timesyncd`: keys of the section `[Time]`.
pub(super) fn timesyncd(fields: &mut Fields<'_, '_>, actions: &mut Actions) {
    let all = variables(fields, "timesyncd");
    let Some(span) = all.first().map(|(_, value)| value.span) else { return };
    let settings = all
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Text::Plain(plain(value, fields.out()))))
        .collect();
    add(actions, Rank::Timesyncd, span, Action::Timesyncd(settings));
}

/// `systemd_firstboot`: options, where `true` stands for one without a value.
pub(super) fn systemd_firstboot(fields: &mut Fields<'_, '_>, actions: &mut Actions) {
    let all = variables(fields, "systemd_firstboot");
    let Some(span) = all.first().map(|(_, value)| value.span) else { return };
    let mut options = std::collections::BTreeMap::new();
    for (name, value) in all {
        let name = name.trim_start_matches('-');
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
            let message = format!("`{name}` is no option of systemd-firstboot");
            fields.out().push(Diagnostic::error("bad-name", value.span, message));
            continue;
        }
        options.insert(name.to_owned(), Text::Plain(plain(value, fields.out())));
    }
    if !options.is_empty() {
        add(actions, Rank::SystemdFirstboot, span, Action::SystemdFirstboot(options));
    }
}

/// `systemctl`, in the order enable, disable, mask, start, overrides.
pub(super) fn systemctl(fields: &mut Fields<'_, '_>, scope: &Scope, actions: &mut Actions) {
    let Some(node) = fields.take("systemctl") else { return };
    let Some(mut entry) = Fields::open(node, "`systemctl`", fields.out()) else { return };
    for (name, verb) in [
        ("enable", SystemctlVerb::Enable),
        ("disable", SystemctlVerb::Disable),
        ("mask", SystemctlVerb::Mask),
        ("start", SystemctlVerb::Start),
    ] {
        for unit in strings(&mut entry, name) {
            let span = unit.span;
            let Some(unit) = unit_name(unit, entry.out()) else { continue };
            let unit = Text::Plain(unit);
            add(actions, Rank::Systemctl, span, Action::Systemctl(Systemctl { verb, unit }));
        }
    }
    for node in entry.list("overrides") {
        let Some(mut part) = Fields::open(node, "a drop-in", entry.out()) else { continue };
        let service = part.require_text("service").and_then(|name| unit_name(name, part.out()));
        let content = part.require_text("content");
        let content = content.map(|content| plain(content, part.out()));
        let name = string(&mut part, "name").unwrap_or_else(|| DROP_IN.to_owned());
        let span = part.span();
        scope.finish(part);
        let (Some(service), Some(content)) = (service, content) else { continue };
        let name = if name.ends_with(".conf") { name } else { format!("{name}.conf") };
        if name.contains('/') || name.starts_with('.') {
            let message = format!("`{name}` is no name of a drop-in");
            entry.out().push(Diagnostic::error("bad-name", span, message));
            continue;
        }
        let name_of_unit =
            if has_suffix(&service) { service } else { format!("{service}.service") };
        let dropins = vec![(name, Text::Plain(content))];
        let unit = Unit { name: name_of_unit, dropins, ..Unit::default() };
        add(actions, Rank::Systemctl, span, Action::Unit(unit));
    }
    scope.finish(entry);
}

fn has_suffix(unit: &str) -> bool {
    unit.rsplit_once('.').is_some_and(|(_, suffix)| SUFFIXES.contains(&suffix))
}

/// A name that systemd takes for a unit; the forks paste it into a shell, here it is one argument.
fn unit_name(name: Spanned<String>, out: &mut Diagnostics) -> Option<String> {
    let span = name.span;
    let name = plain(name, out).trim().to_owned();
    let allowed = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@')
    };
    if name.is_empty() || name.starts_with('-') || name.len() > 255 || !name.bytes().all(allowed) {
        let shown: String = name.chars().take(80).collect();
        out.push(Diagnostic::error("bad-name", span, format!("`{shown}` is no name of a unit")));
        return None;
    }
    Some(name)
}

/// `environment` and `environment_file`.
pub(super) fn environment(fields: &mut Fields<'_, '_>, scope: &Scope, actions: &mut Actions) {
    let node = fields.take("environment_file");
    let file =
        match node.and_then(|node| super::scope::filled(node, "environment_file", fields.out())) {
            Some(file) => match super::scope::path(file, "environment_file", fields.out()) {
                Some(file) => file,
                None => return,
            },
            None => ENVIRONMENT_FILE.to_owned(),
        };
    let mut all = variables(fields, "environment");
    all.retain(|(name, value)| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let good = !name.is_empty() && name.bytes().all(allowed);
        if !good {
            let message = format!("`{name}` is no name of a variable");
            fields.out().push(Diagnostic::error("bad-name", value.span, message));
        }
        good
    });
    let Some(span) = all.first().map(|(_, value)| value.span) else { return };
    let layout = persistence::is_layout(&file).then(|| all.clone());
    let variables = all
        .into_iter()
        .map(|(name, value)| (name.to_owned(), template(value, fields.out())))
        .collect();
    let written = Environment { file: Text::Plain(file), variables };
    add(actions, Rank::Environment, span, Action::Environment(written));
    if let Some(layout) = layout {
        persistence::from_variables(&layout, scope, fields.out(), actions);
    }
}
