//! Units, and the presets that keep them enabled.
//!
//! Ignition enables through a preset file, which the first start of systemd carries out; where the
//! identity of the machine is known before, systemd sees no first start. So a unit is enabled at once and
//! the preset file is written as well: `systemctl preset-all`, whenever it comes, changes nothing.

use std::collections::BTreeMap;

use super::{Lowering, Rank};
use crate::action::{self, Action, Contents, File, Owner};
use crate::diagnostic::Diagnostic;
use crate::ignition::config::{Config, Unit};
use crate::operation::Text;
use crate::source::Span;

/// Where Ignition writes its presets; the number decides which of several files wins.
const PRESETS: &str = "/etc/systemd/system-preset/20-ignition.preset";

pub(super) fn lower(config: &Config, lowering: &mut Lowering<'_>) {
    let mut units: Vec<&Unit> = config.systemd.units.iter().collect();
    units.sort_by_key(|unit| &unit.name.value);
    if let Some((span, text)) = presets(&units) {
        let files = config.storage.files.iter().map(|file| &file.entry);
        let links = config.storage.links.iter().map(|link| &link.entry);
        match files.chain(links).find(|entry| entry.path.value == PRESETS) {
            Some(entry) => {
                let message =
                    format!("`{PRESETS}` is written by this config, so its units get no preset");
                lowering.out.push(Diagnostic::warning("preset-path", entry.path.span, message));
            }
            None => lowering.push(Rank::Units, span, Action::File(preset_file(text))),
        }
    }
    for one in units {
        lowering.push(Rank::Units, one.span, Action::Unit(unit(one)));
    }
}

fn preset_file(text: String) -> File {
    File {
        path: Text::from(PRESETS),
        contents: Some(Contents::bytes(text)),
        append: Vec::new(),
        mode: Some(0o644),
        owner: Owner { user: Some("0".to_owned()), group: Some("0".to_owned()) },
        overwrite: true,
    }
}

/// The lines of the preset file, systemd.preset(5); instances of a template stand in its line.
fn presets(units: &[&Unit]) -> Option<(Span, String)> {
    let mut span = None;
    let mut lines: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for unit in units {
        let Some(enabled) = &unit.enabled else { continue };
        span = span.or(Some(unit.span));
        let name = unit.name.value.as_str();
        let instance = name.split_once('@').and_then(|(prefix, rest)| {
            let (instance, suffix) = rest.rsplit_once('.')?;
            (!instance.is_empty()).then(|| (format!("{prefix}@.{suffix}"), instance))
        });
        match (enabled.value, instance) {
            (true, Some((template, instance))) => {
                lines.entry(format!("enable {template}")).or_default().push(instance);
            }
            (true, None) => {
                lines.entry(format!("enable {name}")).or_default();
            }
            (false, _) => {
                lines.entry(format!("disable {name}")).or_default();
            }
        }
    }
    let text = lines.into_iter().fold(String::new(), |mut text, (line, instances)| {
        text.push_str(&line);
        for instance in instances {
            text.push(' ');
            text.push_str(instance);
        }
        text.push('\n');
        text
    });
    span.map(|span| (span, text))
}

fn unit(unit: &Unit) -> action::Unit {
    let mut dropins: Vec<(String, Text)> = unit
        .dropins
        .iter()
        .filter_map(|dropin| {
            Some((dropin.name.value.clone(), Text::from(dropin.contents.as_ref()?.value.clone())))
        })
        .collect();
    dropins.sort();
    action::Unit {
        name: unit.name.value.clone(),
        contents: unit.contents.as_ref().map(|text| Text::from(text.value.clone())),
        enabled: unit.enabled.as_ref().map(|enabled| enabled.value),
        mask: unit.mask.as_ref().map(|mask| mask.value),
        dropins,
    }
}
