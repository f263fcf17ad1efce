//! The `mount:` document of Elemental's second generation.
//!
//! It stands in a file of its own, or a step writes it below `/run/elemental/config.d`; both are
//! understood. Kiln decides itself where the root and the state are mounted, so keys about that are
//! known and change nothing.

use super::persistence::{block, memory, paths, volume};
use super::scope::{Scope, filled, plain, strings};
use super::step::{Actions, Rank, Step, add, string};
use crate::action::{Action, Persistence};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, wrong_kind};
use crate::node::Node;
use crate::operation::Stage;
use crate::programs;
use crate::source::Span;
use crate::yaml;

/// Folder whose files Elemental's `mount` reads.
const FOLDER: &str = "/run/elemental/config.d/";

/// The document as a step of its own, behind all others that may say what is mounted.
pub(super) fn step(node: &Node, scope: &Scope, out: &mut Diagnostics) -> Option<(Stage, Step)> {
    let mut actions = Actions::new();
    read(node, scope, out, &mut actions);
    (!actions.is_empty()).then(|| (Stage::named("rootfs.after"), Step::named("mount", actions)))
}

/// What a file asks for that a step writes; nothing where it is none that Elemental reads.
pub(super) fn in_file(
    path: &str,
    bytes: &[u8],
    span: Span,
    scope: &Scope,
    out: &mut Diagnostics,
) -> Option<Actions> {
    let name = path.strip_prefix(FOLDER)?;
    if name.contains('/') || !(name.ends_with(".yaml") || name.ends_with(".yml")) {
        return None;
    }
    let mut said = Diagnostics::default();
    let mut actions = Actions::new();
    match std::str::from_utf8(bytes).map(|text| yaml::document(span.source, text)) {
        Ok(Ok(document)) => {
            if let Some(node) = document.get("mount") {
                read(node, scope, &mut said, &mut actions);
            }
        }
        Ok(Err(fault)) => said.push(fault),
        Err(_) => return None,
    }
    // Places inside the file are not places of this document.
    for diagnostic in said.list() {
        out.push(Diagnostic { span: Some(span), labels: Vec::new(), ..diagnostic.clone() });
    }
    for ranked in &mut actions {
        ranked.origin = span;
    }
    Some(actions)
}

fn read(node: &Node, scope: &Scope, out: &mut Diagnostics, actions: &mut Actions) {
    let Some(mut fields) = Fields::open(node, "`mount`", out) else { return };
    let span = fields.span();
    let disabled = fields.boolean("disable").filter(|flag| flag.value);
    if let Some(flag) = &disabled {
        let message = "`disable` changes nothing: a machine without its state does not start";
        fields.out().push(Diagnostic::warning("ignored-key", flag.span, message));
    }
    for name in ["sysroot", "write-fstab", "mode", "selinux-relabel"] {
        if let Some((key, _)) = fields.take_with_key(name) {
            let message = format!("`{name}` changes nothing, it is always decided by what booted");
            fields.out().push(Diagnostic::note("ignored-key", key.span, message));
        }
    }
    for node in fields.list("extra-volumes") {
        extra(node, scope, fields.out(), actions);
    }
    let mut layout = Persistence::default();
    let ephemeral = fields.take("ephemeral");
    let persistent = fields.take("persistent");
    if let Some(node) = ephemeral {
        read_ephemeral(node, scope, fields.out(), &mut layout);
    }
    if let Some(node) = persistent {
        read_persistent(node, scope, fields.out(), &mut layout);
    }
    scope.finish(fields);
    if ephemeral.is_some() || persistent.is_some() {
        add(actions, Rank::Environment, span, Action::Persistence(layout));
    }
}

fn read_ephemeral(node: &Node, scope: &Scope, out: &mut Diagnostics, layout: &mut Persistence) {
    let Some(mut fields) = Fields::open(node, "`ephemeral`", out) else { return };
    let device = fields.text("device");
    if let Some(kind) = fields.text("type") {
        match kind.value.as_str() {
            "tmpfs" => {}
            "block" => {
                let (device, span) = device
                    .map_or(("block".into(), kind.span), |device| (device.value, device.span));
                block(&device, span, fields.out());
            }
            other => {
                let message = format!("`type` is `tmpfs` or `block`, and not `{other}`");
                fields.out().push(Diagnostic::error("bad-value", kind.span, message));
            }
        }
    }
    if let Some(size) = fields.text("size") {
        layout.ephemeral_size = memory(&size.value, size.span, fields.out());
    }
    if let Some(found) = list(&mut fields) {
        layout.ephemeral = found;
        layout.replace_ephemeral = true;
    }
    scope.finish(fields);
}

fn read_persistent(node: &Node, scope: &Scope, out: &mut Diagnostics, layout: &mut Persistence) {
    let Some(mut fields) = Fields::open(node, "`persistent`", out) else { return };
    if let Some(mode) = fields.text("mode") {
        layout.bind = mode.value == "bind";
        if !matches!(mode.value.as_str(), "bind" | "overlay") {
            let message = format!("`mode` is `overlay` or `bind`, and not `{}`", mode.value);
            fields.out().push(Diagnostic::error("bad-value", mode.span, message));
        }
    }
    if let Some(node) = fields.take("volume")
        && let Some(mut volume) = Fields::open(node, "`volume`", fields.out())
    {
        for name in ["mountpoint", "device", "options", "fs"] {
            volume.entry(name);
        }
        let message = "`volume` changes nothing: what persists lies on the state partition";
        volume.out().push(Diagnostic::note("ignored-key", node.span, message));
        scope.finish(volume);
    }
    let span = fields.present().iter().find(|(key, _)| key.text == "paths");
    let span = span.map_or(fields.span(), |(_, node)| node.span);
    if let Some(found) = list(&mut fields) {
        programs::warn(&found, span, fields.out());
        layout.persist = found;
        layout.replace_persist = true;
    }
    scope.finish(fields);
}

/// `paths`; nothing where the key is absent, which keeps what holds otherwise.
fn list(fields: &mut Fields<'_, '_>) -> Option<Vec<String>> {
    let node = fields.take("paths")?;
    let Some(members) = node.list() else {
        let diagnostic = wrong_kind(node, "paths", "a list");
        fields.out().push(diagnostic);
        return None;
    };
    let mut all: Vec<String> = Vec::new();
    for member in members {
        let Some(text) = filled(member, "paths", fields.out()) else { continue };
        let span = text.span;
        for path in paths(&plain(text, fields.out()), "paths", span, fields.out()) {
            if !all.contains(&path) {
                all.push(path);
            }
        }
    }
    Some(all)
}

fn extra(node: &Node, scope: &Scope, out: &mut Diagnostics, actions: &mut Actions) {
    let Some(mut fields) = Fields::open(node, "a volume", out) else { return };
    let folder = super::scope::required_path(&mut fields, "mountpoint");
    let device = fields.require_text("device");
    let options = strings(&mut fields, "options");
    let options = options.into_iter().map(|one| plain(one, fields.out())).collect();
    let format = string(&mut fields, "fs").filter(|format| format != "auto");
    let span = fields.span();
    scope.finish(fields);
    if let (Some(folder), Some(device)) = (folder, device) {
        volume(&device.value, folder, format, options, span, out, actions);
    }
}
