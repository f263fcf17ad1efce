//! Units: names, syntax (systemd.syntax(7)), and whether enabling one can have an effect.

use std::collections::HashMap;

use super::{present, unique, words};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Spanned;
use crate::ignition::config::{Systemd, Unit};
use crate::ignition::url;

/// Kinds of units, systemd.unit(5).
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
    "snapshot",
    "slice",
];

pub(super) fn check(systemd: &Systemd, out: &mut Diagnostics) {
    unique("systemd.units", words(systemd.units.iter().map(|unit| &unit.name)), out);
    let by_name: HashMap<&str, &Unit> =
        systemd.units.iter().map(|unit| (unit.name.value.as_str(), unit)).collect();
    for unit in &systemd.units {
        if present(&unit.name, "name", "a unit", out) {
            name(&unit.name, out);
        }
        let sections = unit.contents.as_ref().map(|contents| syntax(contents, out));
        unique("dropins", words(unit.dropins.iter().map(|dropin| &dropin.name)), out);
        for dropin in &unit.dropins {
            if present(&dropin.name, "name", "a drop-in", out)
                && (!dropin.name.value.ends_with(".conf")
                    || dropin.name.value.contains(['/', '\0']))
            {
                let message = "the name of a drop-in has to end in `.conf` and be no path";
                out.push(Diagnostic::error("dropin-name", dropin.name.span, message));
            }
            if let Some(contents) = &dropin.contents {
                syntax(contents, out);
            }
        }
        if let Some(enabled) = unit.enabled.as_ref().filter(|enabled| enabled.value) {
            let is_empty = unit.contents.as_ref().is_none_or(|contents| contents.value.is_empty());
            let installs = sections.is_some_and(|sections| sections.installs);
            if !is_empty && !installs && !dropins_install(unit) {
                let message =
                    format!("`{}` is enabled, and has no [Install] section", unit.name.value);
                out.push(
                    Diagnostic::warning("no-install-section", enabled.span, message)
                        .hint("add one with `WantedBy=multi-user.target`"),
                );
            }
            if is_empty && let Some(template) = template(&unit.name.value, &by_name) {
                let message = format!(
                    "`{}` is enabled, and its template `{}` has no [Install] section",
                    unit.name.value, template.name.value
                );
                out.push(
                    Diagnostic::warning("template-no-install", enabled.span, message)
                        .label(template.name.span, "the template is here"),
                );
            }
        }
    }
}

/// The template of an instance, where this config writes it and it cannot be enabled.
fn template<'config>(name: &str, units: &HashMap<&str, &'config Unit>) -> Option<&'config Unit> {
    let (prefix, rest) = name.split_once('@')?;
    let (instance, suffix) = rest.rsplit_once('.')?;
    if instance.is_empty() {
        return None;
    }
    let unit = *units.get(format!("{prefix}@.{suffix}").as_str())?;
    let contents = unit.contents.as_ref().filter(|contents| !contents.value.is_empty())?;
    let installs = parse(&contents.value).is_ok_and(|sections| sections.installs);
    (!installs && !dropins_install(unit)).then_some(unit)
}

fn dropins_install(unit: &Unit) -> bool {
    let contents = unit.dropins.iter().filter_map(|dropin| dropin.contents.as_ref());
    contents.into_iter().any(|text| parse(&text.value).is_ok_and(|sections| sections.installs))
}

fn name(name: &Spanned<String>, out: &mut Diagnostics) {
    /// Bytes, systemd's UNIT_NAME_MAX without its NUL.
    const LONGEST: usize = 255;
    let text = name.value.as_str();
    let fault = match text.rsplit_once('.') {
        Some((front, suffix)) if !front.is_empty() => {
            if text.len() > LONGEST || text.contains(['/', '\0', '\n']) {
                "cannot be the name of a unit"
            } else if SUFFIXES.contains(&suffix) || suffix == "scope" {
                return;
            } else {
                "does not end in a kind of unit"
            }
        }
        _ => "does not end in a kind of unit",
    };
    let message = format!("`{}` {fault}", url::shown_word(text));
    let hint = "the name ends in .service, .socket, .mount, .timer, .path, .target or the like";
    out.push(Diagnostic::error("unit-name", name.span, message).hint(hint));
}

fn syntax(contents: &Spanned<String>, out: &mut Diagnostics) -> Sections {
    parse(&contents.value).unwrap_or_else(|fault| {
        let message = format!("line {} of the unit {}", fault.line, fault.what);
        out.push(Diagnostic::error("unit-syntax", contents.span, message));
        // Half a unit says nothing about its sections.
        Sections { installs: true }
    })
}

/// What the sections of a unit say.
struct Sections {
    /// Whether [Install] has an option.
    installs: bool,
}

struct Fault {
    line: usize,
    what: &'static str,
}

fn parse(text: &str) -> Result<Sections, Fault> {
    let mut section: Option<&str> = None;
    let mut installs = false;
    let mut continued = false;
    for (number, raw) in text.lines().enumerate() {
        let line = raw.trim();
        let fault = |what| Err(Fault { line: number + 1, what });
        // Comments inside a continued value are skipped and do not end it.
        if line.starts_with(['#', ';']) || (line.is_empty() && !continued) {
            continue;
        }
        let was_continued = std::mem::replace(&mut continued, line.ends_with('\\'));
        if was_continued {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let Some(name) = rest.strip_suffix(']').filter(|name| !name.is_empty()) else {
                return fault("begins a section and has no `]`");
            };
            section = Some(name);
        } else if let Some((option, _)) = line.split_once('=') {
            if option.trim().is_empty() {
                return fault("has no name before its `=`");
            }
            match section {
                None => return fault("stands before the first section"),
                Some("Install") => installs = true,
                Some(_) => {}
            }
        } else {
            return fault("is neither a section nor `NAME=VALUE`");
        }
    }
    Ok(Sections { installs })
}
