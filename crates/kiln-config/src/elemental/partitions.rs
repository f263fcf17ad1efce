//! `layout`: partitions that are added to a disk, and the last one that grows.
//!
//! The forks differ here more than anywhere: which of label and path finds the disk, whether the last
//! partition grows before or after others are added, what counts as being there already, and the file
//! system by default. Requests for Elemental's own labels stay in the plan and are explained: on the
//! system's disk the executor finds them satisfied, on another disk they are what they say.

use super::Fork;
use super::labels::explain;
use super::scope::{Scope, filled, plain};
use super::step::{Actions, Rank, add, string};
use crate::action::Action;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, Spanned};
use crate::node::Node;
use crate::operation::Text;
use crate::storage::{Layout, LayoutPartition};
use crate::suggest::nearest;

/// File systems: their names, what they are called here, and the longest label in bytes (mkfs's own
/// limits).
const FORMATS: [(&str, &str, usize); 11] = [
    ("ext2", "ext2", 16),
    ("ext3", "ext3", 16),
    ("ext4", "ext4", 16),
    ("xfs", "xfs", 12),
    ("btrfs", "btrfs", 255),
    ("vfat", "vfat", 11),
    ("fat", "vfat", 11),
    ("fat16", "vfat", 11),
    ("fat32", "vfat", 11),
    ("swap", "swap", 16),
    ("linux-swap", "swap", 16),
];
/// Longest name of a partition in UTF-16 units (UEFI 2.10, table 5.6).
const LONGEST_NAME: usize = 36;

/// `layout`.
pub(super) fn layout(fields: &mut Fields<'_, '_>, scope: &Scope, actions: &mut Actions) {
    let Some((key, node)) = fields.take_with_key("layout") else { return };
    let Some(mut entry) = Fields::open(node, "a layout", fields.out()) else { return };
    let mut layout = Layout { add_first: scope.fork == Fork::Yip, ..Layout::default() };
    let device = entry.take("device");
    if let Some(device) = device {
        read_device(device, scope, entry.out(), &mut layout);
    }
    if let Some((_, node)) = entry.entry("expand_partition")
        && let Some(mut expand) = Fields::open(node, "`expand_partition`", entry.out())
    {
        layout.expand = Some(size(&mut expand));
        scope.finish(expand);
    }
    for node in entry.list("add_partitions") {
        layout.add.extend(partition(node, scope, entry.out()));
    }
    scope.finish(entry);
    if layout.label.is_none() && layout.path.is_none() {
        let message = "`layout` names no disk, nothing is done";
        fields.out().push(
            Diagnostic::warning("nothing-to-do", key.span, message)
                .hint("`device` needs `label` or `path`"),
        );
        return;
    }
    add(actions, Rank::Layout, key.span, Action::Layout(layout));
}

fn read_device(node: &Node, scope: &Scope, out: &mut Diagnostics, layout: &mut Layout) {
    let Some(mut fields) = Fields::open(node, "`device`", out) else { return };
    let label = fields.take("label").and_then(|node| filled(node, "label", fields.out()));
    let path = fields.take("path").and_then(|node| filled(node, "path", fields.out()));
    layout.init_disk = fields.boolean("init_disk").is_some_and(|flag| flag.value);
    layout.disk_name = string(&mut fields, "disk_name");
    let both = label.is_some() && path.is_some();
    let by_label = label.is_some() && (scope.fork == Fork::Toolkit || path.is_none());
    if both {
        let (winner, loser) = if by_label { ("label", "path") } else { ("path", "label") };
        let span = fields.span();
        let message = format!("the disk is found by `{winner}`, `{loser}` is not looked at");
        fields.out().push(Diagnostic::note("ignored-key", span, message));
    }
    if by_label {
        layout.label = label.map(|label| {
            explain(&label.value, label.span, fields.out());
            plain(label, fields.out())
        });
    } else {
        layout.path = path.and_then(|path| disk(path, fields.out()));
    }
    scope.finish(fields);
}

/// A disk below `/dev`, or a command that prints one.
fn disk(path: Spanned<String>, out: &mut Diagnostics) -> Option<Text> {
    if path.value.strip_prefix("script://").is_some_and(|command| !command.trim().is_empty()) {
        return Some(Text::Plain(path.value));
    }
    let span = path.span;
    let path = super::scope::path(path, "path", out)?;
    if !path.starts_with("/dev/") {
        let message = format!("`{path}` is no disk: it does not lie below `/dev`");
        out.push(Diagnostic::error("bad-path", span, message));
        return None;
    }
    Some(Text::Plain(path))
}

fn partition(node: &Node, scope: &Scope, out: &mut Diagnostics) -> Option<LayoutPartition> {
    let before = out.errors();
    let mut fields = Fields::open(node, "a partition", out)?;
    let fs_label = fields.take("fsLabel").and_then(|node| filled(node, "fsLabel", fields.out()));
    let p_label = fields.take("pLabel").and_then(|node| filled(node, "pLabel", fields.out()));
    let size_mib = size(&mut fields);
    let bootable = fields.boolean("bootable").is_some_and(|flag| flag.value);
    let format =
        fields.take("filesystem").and_then(|node| filled(node, "filesystem", fields.out()));
    let span = fields.span();
    scope.finish(fields);
    let default = if scope.fork == Fork::Yip { "ext2" } else { "ext4" };
    let named = format.as_ref().map_or(default, |format| format.value.as_str());
    let found = FORMATS.iter().find(|(name, _, _)| *name == named);
    let none = matches!(named, "-" | "none" | "noformat");
    if found.is_none() && !none {
        let place = format.as_ref().map_or(span, |format| format.span);
        let shown: String = named.chars().take(40).collect();
        let message = format!("no file system is called `{shown}`");
        let diagnostic = Diagnostic::error("bad-value", place, message);
        out.push(match nearest(named, FORMATS.iter().map(|row| row.0)) {
            Some(name) => diagnostic.hint(format!("did you mean `{name}`?")),
            None => diagnostic.hint("`none` leaves the partition as it is"),
        });
    }
    let longest = found.map_or(usize::MAX, |(_, _, longest)| *longest);
    if let Some(label) = fs_label.as_ref().filter(|label| label.value.len() > longest) {
        let message =
            format!("`{}` is longer than the {longest} bytes of a label of {named}", label.value);
        out.push(Diagnostic::error("label-too-long", label.span, message));
    }
    if let Some(name) =
        p_label.as_ref().filter(|name| name.value.encode_utf16().count() > LONGEST_NAME)
    {
        let message = format!(
            "`{}` is longer than the {LONGEST_NAME} characters of a partition's name",
            name.value
        );
        out.push(Diagnostic::error("label-too-long", name.span, message));
    }
    let key = if scope.fork == Fork::Yip {
        p_label.as_ref().or(fs_label.as_ref())
    } else {
        fs_label.as_ref()
    };
    if key.is_none() {
        let name = if scope.fork == Fork::Yip { "pLabel" } else { "fsLabel" };
        let message = format!("without `{name}` the partition is added anew each time");
        out.push(Diagnostic::warning("not-repeatable", span, message));
    }
    if let Some(label) = &fs_label {
        explain(&label.value, label.span, out);
    }
    let format = found.map(|(_, format, _)| (*format).to_owned());
    (out.errors() == before).then(|| LayoutPartition {
        fs_label: fs_label.map(|label| plain(label, out)),
        p_label: p_label.map(|name| plain(name, out)),
        size_mib,
        format,
        bootable,
    })
}

/// `size` in MiB; 0, and none at all, is all there is.
fn size(fields: &mut Fields<'_, '_>) -> u64 {
    let Some(size) = fields.integer("size") else { return 0 };
    u64::try_from(size.value).unwrap_or_else(|_| {
        let message = "`size` is a number of MiB, and not below 0";
        fields.out().push(Diagnostic::error("bad-number", size.span, message));
        0
    })
}
