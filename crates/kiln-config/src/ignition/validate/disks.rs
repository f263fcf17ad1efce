//! Disks and their partitions.

use super::{path, range, unique, words};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Spanned;
use crate::ignition::config::{Disk, Partition, Storage, Version};
use crate::source::Span;

/// UTF-16 units of a partition's name, UEFI spec §5.3.3.
const LONGEST_LABEL: usize = 36;
/// Type of a physical volume of LVM, Discoverable Partitions.
const LVM_TYPE: &str = "E6D6D379-F507-44C2-A23C-238F2A3DF928";

pub(super) fn check(storage: &Storage, _version: Version, out: &mut Diagnostics) {
    unique("storage.disks", words(storage.disks.iter().map(|disk| &disk.device)), out);
    for disk in &storage.disks {
        path(&disk.device, "device", out);
        for one in &disk.partitions {
            partition(one, out);
        }
        collisions(disk, out);
        overlaps(disk, out);
    }
}

fn partition(partition: &Partition, out: &mut Diagnostics) {
    range(partition.number.as_ref(), "number", i64::from(u32::MAX), out);
    range(partition.start_mib.as_ref(), "startMiB", i64::MAX >> 20, out);
    range(partition.size_mib.as_ref(), "sizeMiB", i64::MAX >> 20, out);
    let number = partition.number.as_ref().map_or(0, |number| number.value);
    let label = partition.label.as_ref().filter(|label| !label.value.is_empty());
    if number == 0 && label.is_none() {
        let message = "a partition needs a `number` of at least 1, or a `label`";
        out.push(Diagnostic::error("number-or-label", partition.span, message));
    }
    if let Some(label) = label {
        if label.value.encode_utf16().count() > LONGEST_LABEL {
            let message =
                format!("the label of a partition has at most {LONGEST_LABEL} characters");
            out.push(Diagnostic::error("partition-label", label.span, message));
        }
        if label.value.contains([':', '\0']) {
            let message = "the label of a partition cannot have a colon";
            out.push(Diagnostic::error("partition-label", label.span, message));
        }
    }
    for (name, guid) in [("guid", &partition.guid), ("typeGuid", &partition.type_guid)] {
        let Some(guid) = guid else { continue };
        if !guid.value.is_empty() && !is_guid(&guid.value) {
            let message = format!("`{name}` is no GUID like `{LVM_TYPE}`");
            out.push(Diagnostic::error("bad-guid", guid.span, message));
        }
        if name == "typeGuid" && guid.value.eq_ignore_ascii_case(LVM_TYPE) {
            let message = "the partition is marked for LVM, which is not set up on it";
            out.push(
                Diagnostic::warning("lvm", guid.span, message)
                    .hint("Kiln makes partitions, RAID, LUKS and file systems, and no LVM"),
            );
        }
    }
    absent(partition, out);
}

/// A partition that is to be absent has its number and nothing else.
fn absent(partition: &Partition, out: &mut Diagnostics) {
    let Some(should_exist) = partition.should_exist.as_ref().filter(|should| !should.value) else {
        return;
    };
    let text = |value: &Option<Spanned<String>>| {
        value.as_ref().filter(|value| !value.value.is_empty()).map(|value| value.span)
    };
    let number = |value: &Option<Spanned<i64>>| value.as_ref().map(|value| value.span);
    let label = partition.label.as_ref().map(|label| label.span);
    for (name, span) in [
        ("label", label),
        ("startMiB", number(&partition.start_mib)),
        ("sizeMiB", number(&partition.size_mib)),
        ("guid", text(&partition.guid)),
        ("typeGuid", text(&partition.type_guid)),
    ] {
        let Some(span) = span else { continue };
        let message = format!("a partition that is to be absent has no `{name}`");
        out.push(
            Diagnostic::error("absent-partition", span, message)
                .label(should_exist.span, "it is to be absent by this"),
        );
    }
}

fn collisions(disk: &Disk, out: &mut Diagnostics) {
    let numbers = disk.partitions.iter().filter_map(|partition| partition.number.as_ref());
    let numbers = numbers.filter(|number| number.value > 0);
    unique("partitions", numbers.map(|number| (number.value, number.span)), out);
    let labels = disk.partitions.iter().filter_map(|partition| partition.label.as_ref());
    unique("partitions", words(labels), out);
}

/// Ranges count only where both ends are written; the others are placed where there is room.
fn overlaps(disk: &Disk, out: &mut Diagnostics) {
    let positive = |value: &Option<Spanned<i64>>| {
        value.as_ref().map(|value| value.value).filter(|&value| value > 0)
    };
    let mut ranges: Vec<(i64, i64, Span)> = disk
        .partitions
        .iter()
        .filter(|partition| partition.should_exist.as_ref().is_none_or(|should| should.value))
        .filter_map(|partition| {
            let start = positive(&partition.start_mib)?;
            let size = positive(&partition.size_mib)?;
            Some((start, start.saturating_add(size), partition.span))
        })
        .collect();
    ranges.sort_unstable();
    let mut last: Option<(i64, Span)> = None;
    for (start, end, span) in ranges {
        if let Some((previous, first)) = last.filter(|(previous, _)| *previous > start) {
            let message = format!(
                "the partition begins at {start} MiB, before another ends at {previous} MiB"
            );
            out.push(
                Diagnostic::error("partition-overlap", span.max(first), message)
                    .label(span.min(first), "the other one is here"),
            );
        }
        if last.is_none_or(|(previous, _)| end > previous) {
            last = Some((end, span));
        }
    }
}

/// Eight, four, four, four and twelve hex digits.
fn is_guid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}
