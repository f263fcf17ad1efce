//! Elemental's labels, and what stands for each on a machine of Kiln.
//!
//! Elemental has a partition for each; Kiln has one for all that is written and two slots. A label is a
//! pair of partition and folder (DESIGN §3). The table is for people: what an executor mounts it decides
//! by its own table of partitions.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::source::Span;

/// Label of the file system, name in Elemental's table, and what it is here.
const LABELS: [(&str, &str, &str); 8] = [
    ("COS_OEM", "oem", "the folder `/oem` of the state partition"),
    ("COS_PERSISTENT", "persistent", "the state partition"),
    ("COS_RECOVERY", "recovery", "the recovery partition"),
    ("COS_STATE", "state", "the two slots"),
    ("COS_GRUB", "efi", "the boot partition"),
    ("COS_ACTIVE", "", "the slot that runs"),
    ("COS_PASSIVE", "", "the other slot"),
    ("COS_SYSTEM", "", "the recovery partition"),
];

/// What stands for a label of Elemental on a machine of Kiln, as the end of a sentence.
#[must_use]
pub fn meaning(label: &str) -> Option<&'static str> {
    LABELS.iter().find(|(name, _, _)| *name == label).map(|(_, _, meaning)| *meaning)
}

/// Explains a device such as `LABEL=COS_OEM` or `PARTLABEL=oem`, where it is one of Elemental's.
pub(super) fn explain_device(device: &str, span: Span, out: &mut Diagnostics) {
    let found = match device.split_once('=') {
        Some(("LABEL", label)) => meaning(label).map(|meaning| (label, meaning)),
        Some(("PARTLABEL", name)) => LABELS
            .iter()
            .find(|(_, partition, _)| *partition == name && !name.is_empty())
            .map(|(_, _, meaning)| (name, *meaning)),
        _ => None,
    };
    if let Some((label, meaning)) = found {
        note(label, meaning, span, out);
    }
}

/// Explains a label, where it is one of Elemental's.
pub(super) fn explain(label: &str, span: Span, out: &mut Diagnostics) {
    if let Some(meaning) = meaning(label) {
        note(label, meaning, span, out);
    }
}

fn note(label: &str, meaning: &str, span: Span, out: &mut Diagnostics) {
    out.push(Diagnostic::note("mapped-label", span, format!("`{label}` is {meaning} here")));
}
