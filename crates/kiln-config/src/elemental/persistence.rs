//! The variables of `cos-layout.env`: what is mounted, what is writable, what stays.
//!
//! The file is written as any other file of variables; what it asks for is in the plan besides, so that
//! `kiln explain` shows it and an executor need not parse the file again. The generations of Elemental
//! read it differently, and each loses something: the second ignores `VOLUMES`, takes every value of
//! `PERSISTENT_STATE_BIND` for yes, and splits at single blanks. Here all variables count, only `true`
//! is true, and an empty `RW_PATHS` means none, as in the first. What stays always lies on the state
//! partition, so a target changes nothing.

use super::Fork;
use super::labels::explain_device;
use super::scope::{Scope, path};
use super::step::{Actions, Rank, add};
use crate::action::{Action, Persistence, Volume};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Spanned;
use crate::programs;
use crate::source::{SourceId, Span};

/// Files from which the two generations read their layout.
pub const LAYOUT_FILES: [&str; 2] = ["/run/cos/cos-layout.env", "/run/elemental/mount-layout.env"];
/// Where the first generation keeps what stays, if nobody says otherwise.
const DEFAULT_TARGET: &str = "/usr/local/.state";

/// Whether a file of variables describes the layout.
pub(super) fn is_layout(file: &str) -> bool {
    LAYOUT_FILES.contains(&file)
}

/// What the variables of a layout file ask for that a machine finds after its commands have run, and what
/// is to be said about them. The diagnostics have no places: the file is none of the documents.
#[must_use]
pub fn layout(variables: &[(String, String)]) -> (Vec<Action>, Diagnostics) {
    let span = Span::new(SourceId(0), 0, 0);
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), Spanned { value: value.clone(), span }))
        .collect();
    let (mut out, mut actions) = (Diagnostics::default(), Actions::new());
    from_variables(&variables, &Scope::new(Fork::Toolkit), &mut out, &mut actions);
    (actions.into_iter().map(|ranked| ranked.action).collect(), out)
}

/// What the variables ask for, as actions behind the file itself.
pub(super) fn from_variables(
    variables: &[(&str, Spanned<String>)],
    scope: &Scope,
    out: &mut Diagnostics,
    actions: &mut Actions,
) {
    let mut layout = Persistence::default();
    let mut origin = None;
    for (name, value) in variables {
        if !KNOWN.contains(name) {
            continue;
        }
        if value.value.contains("{{") {
            let message = format!("`{name}` is known on the machine only and is not in the plan");
            out.push(Diagnostic::warning("layout-template", value.span, message));
            continue;
        }
        let span = value.span;
        let text = value.value.trim();
        let mut layout_of_paths = true;
        match *name {
            "RW_PATHS" => {
                layout.ephemeral = paths(text, name, span, out);
                layout.replace_ephemeral = true;
            }
            "PERSISTENT_STATE_PATHS" => {
                layout.persist = paths(text, name, span, out);
                layout.replace_persist = true;
                programs::warn(&layout.persist, span, out);
            }
            "PERSISTENT_STATE_BIND" => scope.bind.set(bind(text, span, out)),
            "OVERLAY" => layout.ephemeral_size = overlay(text, span, out),
            "VOLUMES" => {
                volumes(text, span, out, actions);
                layout_of_paths = false;
            }
            "PERSISTENT_STATE_TARGET" => {
                target(text, span, out);
                layout_of_paths = false;
            }
            _ => {
                ignored(name, text, span, out);
                layout_of_paths = false;
            }
        }
        if layout_of_paths {
            origin = origin.or(Some(span));
        }
    }
    layout.bind = scope.bind.get();
    if let Some(origin) = origin {
        add(actions, Rank::Environment, origin, Action::Persistence(layout));
    }
}

/// The variables that have a meaning.
const KNOWN: [&str; 9] = [
    "VOLUMES",
    "OVERLAY",
    "RW_PATHS",
    "PERSISTENT_STATE_PATHS",
    "PERSISTENT_STATE_TARGET",
    "PERSISTENT_STATE_BIND",
    "MERGE",
    "DEBUG_RW",
    "DEBUGRW",
];

/// A list of paths, each once.
pub(super) fn paths(text: &str, name: &str, span: Span, out: &mut Diagnostics) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = Spanned { value: word.to_owned(), span };
        let Some(found) = path(word, name, out) else { continue };
        let found = if found.len() > 1 { found.trim_end_matches('/').to_owned() } else { found };
        if found.is_empty() || found == "/" {
            let message = format!("`{name}` cannot hold `/`: the root itself is never written");
            out.push(Diagnostic::error("bad-path", span, message));
        } else if !all.contains(&found) {
            all.push(found);
        }
    }
    all
}

fn bind(text: &str, span: Span, out: &mut Diagnostics) -> bool {
    if !matches!(text, "true" | "false" | "") {
        let message =
            format!("`PERSISTENT_STATE_BIND` is `true` or `false`; `{text}` counts as false");
        out.push(Diagnostic::warning("bad-value", span, message));
    }
    text == "true"
}

/// Size of the memory for what is gone with the next boot.
fn overlay(text: &str, span: Span, out: &mut Diagnostics) -> Option<String> {
    match text.split_once(':') {
        Some(("tmpfs", size)) => memory(size, span, out),
        None if text == "tmpfs" || text.is_empty() => None,
        _ => {
            block(text, span, out);
            None
        }
    }
}

/// Says that what is gone with the next boot is never kept on a disk.
pub(super) fn block(device: &str, span: Span, out: &mut Diagnostics) {
    let message =
        format!("`{device}` is not used: what is gone with the next boot is kept in memory");
    out.push(Diagnostic::warning("ephemeral-in-memory", span, message));
}

/// A share of the memory or a size, tmpfs(5).
pub(super) fn memory(size: &str, span: Span, out: &mut Diagnostics) -> Option<String> {
    let size = size.trim();
    let percent = size.strip_suffix('%').and_then(|digits| digits.parse::<u8>().ok());
    let bytes = size.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G']);
    let bytes = (size.len() - bytes.len() < 2).then(|| bytes.parse::<u64>().ok()).flatten();
    if percent.is_some_and(|percent| (1..=100).contains(&percent))
        || bytes.is_some_and(|size| size > 0)
    {
        return Some(size.to_owned());
    }
    let shown: String = size.chars().take(40).collect();
    let message = format!("`{shown}` is no size of memory");
    out.push(Diagnostic::error("bad-value", span, message).hint("like `25%` or `512m`"));
    None
}

fn volumes(text: &str, span: Span, out: &mut Diagnostics, actions: &mut Actions) {
    for word in text.split_whitespace() {
        // The device may hold colons, the path begins with a slash.
        let Some((device, folder)) = word.rfind(":/").map(|at| word.split_at(at)) else {
            let message = format!("`{word}` is no volume: it has to be like `LABEL=DATA:/data`");
            out.push(Diagnostic::error("bad-volume", span, message));
            continue;
        };
        let folder = Spanned { value: folder.trim_start_matches(':').to_owned(), span };
        let Some(folder) = path(folder, "VOLUMES", out) else { continue };
        volume(device, folder, None, Vec::new(), span, out, actions);
    }
}

/// One volume, from either notation.
pub(super) fn volume(
    device: &str,
    path: String,
    format: Option<String>,
    options: Vec<String>,
    span: Span,
    out: &mut Diagnostics,
    actions: &mut Actions,
) {
    let named = ["LABEL=", "UUID=", "PARTLABEL=", "PARTUUID=", "/dev/"];
    let known =
        named.iter().any(|start| device.strip_prefix(start).is_some_and(|rest| !rest.is_empty()));
    if !known {
        let shown: String = device.chars().take(80).collect();
        let message = format!("`{shown}` is no device");
        out.push(
            Diagnostic::error("bad-volume", span, message)
                .hint("`LABEL=`, `UUID=`, `PARTLABEL=`, `PARTUUID=` or a path below `/dev`"),
        );
        return;
    }
    explain_device(device, span, out);
    let volume = Volume { device: device.to_owned(), path, format, options };
    add(actions, Rank::Environment, span, Action::Volume(volume));
}

fn target(text: &str, span: Span, out: &mut Diagnostics) {
    let count = text.split_whitespace().count();
    if count > 1 {
        let message = format!(
            "`PERSISTENT_STATE_TARGET` is one folder, and this is a list of {count}: the default `{DEFAULT_TARGET}` is used"
        );
        out.push(
            Diagnostic::warning("target-list", span, message)
                .hint("the paths themselves belong into `PERSISTENT_STATE_PATHS`"),
        );
    } else if count == 1 && text != DEFAULT_TARGET {
        let message = format!("`{text}` is not used: what persists lies on the state partition");
        out.push(Diagnostic::note("ignored-key", span, message));
    }
}

fn ignored(name: &str, text: &str, span: Span, out: &mut Diagnostics) {
    if name == "MERGE" {
        let message = "`MERGE` changes nothing: volumes of the command line and of files add up";
        out.push(Diagnostic::note("ignored-key", span, message));
    } else if !matches!(text, "" | "false") {
        let message =
            format!("`{name}` is refused: the root is proved by its hash and never written");
        out.push(Diagnostic::warning("read-only-root", span, message));
    }
}

#[cfg(test)]
mod tests {
    use super::from_variables;
    use crate::action::Action;
    use crate::diagnostic::Diagnostics;
    use crate::elemental::Fork;
    use crate::elemental::scope::Scope;
    use crate::fields::Spanned;
    use crate::source::{SourceId, Span};

    /// The actions in short, and the codes of what was said.
    fn run(name: &'static str, value: &str) -> (String, Vec<&'static str>) {
        let span = Span::new(SourceId(0), 0, 1);
        let variables = [(name, Spanned { value: value.to_owned(), span })];
        let (mut out, mut actions) = (Diagnostics::default(), Vec::new());
        from_variables(&variables, &Scope::new(Fork::Toolkit), &mut out, &mut actions);
        let shown: Vec<String> = actions
            .into_iter()
            .map(|ranked| match ranked.action {
                Action::Volume(volume) => format!("{} at {}", volume.device, volume.path),
                Action::Persistence(layout) => format!(
                    "persist{}{:?} ephemeral{}{:?} bind {} size {:?}",
                    if layout.replace_persist { "=" } else { "+" },
                    layout.persist,
                    if layout.replace_ephemeral { "=" } else { "+" },
                    layout.ephemeral,
                    layout.bind,
                    layout.ephemeral_size.as_deref().unwrap_or("-"),
                ),
                other => format!("{other:?}"),
            })
            .collect();
        (shown.join("; "), out.list().iter().map(|one| one.code).collect())
    }

    #[test]
    fn each_variable_means_what_the_first_generation_meant() {
        for (name, value, expected, codes) in [
            (
                "VOLUMES",
                "LABEL=COS_OEM:/oem  UUID=1-2:/mnt\n/dev/vdb1:/x",
                "LABEL=COS_OEM at /oem; UUID=1-2 at /mnt; /dev/vdb1 at /x",
                vec!["mapped-label"],
            ),
            ("VOLUMES", "LABEL=x /y", "", vec!["bad-volume", "bad-volume"]),
            ("VOLUMES", "LABEL=:/y tmpfs:/z", "", vec!["bad-volume", "bad-volume"]),
            ("VOLUMES", "LABEL=x:/../y", "", vec!["bad-path"]),
            (
                "RW_PATHS",
                "/etc   /srv/\n/etc",
                r#"persist+[] ephemeral=["/etc", "/srv"] bind false size "-""#,
                vec![],
            ),
            ("RW_PATHS", "", r#"persist+[] ephemeral=[] bind false size "-""#, vec![]),
            (
                "RW_PATHS",
                "/ etc",
                r#"persist+[] ephemeral=[] bind false size "-""#,
                vec!["bad-path"; 2],
            ),
            (
                "PERSISTENT_STATE_PATHS",
                "/home /usr/libexec /usr/local/bin",
                r#"persist=["/home", "/usr/libexec", "/usr/local/bin"] ephemeral+[] bind false size "-""#,
                vec!["persistent-programs"],
            ),
            (
                "PERSISTENT_STATE_BIND",
                "true",
                r#"persist+[] ephemeral+[] bind true size "-""#,
                vec![],
            ),
            (
                "PERSISTENT_STATE_BIND",
                "false",
                r#"persist+[] ephemeral+[] bind false size "-""#,
                vec![],
            ),
            (
                "PERSISTENT_STATE_BIND",
                "yes",
                r#"persist+[] ephemeral+[] bind false size "-""#,
                vec!["bad-value"],
            ),
            ("OVERLAY", "tmpfs:25%", r#"persist+[] ephemeral+[] bind false size "25%""#, vec![]),
            ("OVERLAY", "tmpfs:512m", r#"persist+[] ephemeral+[] bind false size "512m""#, vec![]),
            (
                "OVERLAY",
                "LABEL=COS_OVERLAY",
                r#"persist+[] ephemeral+[] bind false size "-""#,
                vec!["ephemeral-in-memory"],
            ),
            (
                "OVERLAY",
                "tmpfs:0%",
                r#"persist+[] ephemeral+[] bind false size "-""#,
                vec!["bad-value"],
            ),
            ("PERSISTENT_STATE_TARGET", "/usr/local/.state", "", vec![]),
            ("PERSISTENT_STATE_TARGET", "/var/keep", "", vec!["ignored-key"]),
            ("PERSISTENT_STATE_TARGET", "/a /b", "", vec!["target-list"]),
            ("MERGE", "true", "", vec!["ignored-key"]),
            ("DEBUG_RW", "true", "", vec!["read-only-root"]),
            ("DEBUG_RW", "false", "", vec![]),
            ("RW_PATHS", "{{ .Values.x }}", "", vec!["layout-template"]),
            ("OTHER", "x", "", vec![]),
        ] {
            let (shown, said) = run(name, value);
            assert_eq!((shown.as_str(), said), (expected, codes), "{name}={value}");
        }
    }
}
