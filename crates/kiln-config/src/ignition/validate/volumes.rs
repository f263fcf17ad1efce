//! RAID arrays, encrypted volumes and file systems.

use super::resource;
use super::{path, present, range, unique, words};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Spanned;
use crate::ignition::config::{Filesystem, Luks, Raid, Storage, Version};
use crate::ignition::{lvm, url};

/// Levels of arrays, by mdadm's names; an array of the first group has no spares.
const WITHOUT_SPARES: [&str; 5] = ["linear", "raid0", "0", "stripe", "striped"];
const WITH_SPARES: [&str; 11] =
    ["raid1", "1", "mirror", "raid4", "4", "raid5", "5", "raid6", "6", "raid10", "10"];

/// Formats with the bytes that their label may have at most (mkfs of each).
const FORMATS: [(&str, usize); 5] =
    [("ext4", 16), ("btrfs", 256), ("xfs", 12), ("swap", 15), ("vfat", 11)];

/// Bytes of a LUKS2 label without its NUL.
const LONGEST_LUKS_LABEL: usize = 47;

pub(super) fn check(storage: &Storage, version: Version, out: &mut Diagnostics) {
    unique("storage.raid", words(storage.raid.iter().map(|raid| &raid.name)), out);
    unique("storage.luks", words(storage.luks.iter().map(|luks| &luks.name)), out);
    unique("storage.filesystems", words(storage.filesystems.iter().map(|one| &one.device)), out);
    let paths = storage.filesystems.iter().filter_map(|one| one.path.as_ref());
    mount_paths(paths, out);
    for one in &storage.raid {
        raid(one, out);
    }
    for one in &storage.luks {
        luks(one, version, out);
    }
    for one in &storage.filesystems {
        filesystem(one, version, out);
        on_disk(one, storage, out);
    }
}

fn mount_paths<'config>(
    paths: impl Iterator<Item = &'config Spanned<String>>,
    out: &mut Diagnostics,
) {
    let mut seen = std::collections::HashMap::new();
    for path in paths.filter(|path| !path.value.is_empty()) {
        if let Some(first) = seen.insert(path.value.as_str(), path.span) {
            let message = format!("two file systems are mounted at `{}`", path.value);
            out.push(
                Diagnostic::error("same-mount-path", path.span, message)
                    .label(first, "the first is here"),
            );
        }
    }
}

fn raid(raid: &Raid, out: &mut Diagnostics) {
    present(&raid.name, "name", "a RAID array", out);
    match &raid.level {
        None => {
            let message = "a RAID array needs `level`";
            out.push(Diagnostic::error("missing-key", raid.span, message));
        }
        Some(level) => {
            let name = level.value.as_str();
            let spares = raid.spares.as_ref().filter(|spares| spares.value != 0);
            if WITHOUT_SPARES.contains(&name) {
                if let Some(spares) = spares {
                    let message = format!("a RAID array of level `{name}` has no spares");
                    out.push(
                        Diagnostic::error("raid-spares", spares.span, message)
                            .label(level.span, "the level is here"),
                    );
                }
            } else if !WITH_SPARES.contains(&name) {
                let message = format!("`{}` is no level of RAID", url::shown_word(name));
                let hint = "there are linear, raid0, raid1, raid4, raid5, raid6 and raid10";
                out.push(Diagnostic::error("raid-level", level.span, message).hint(hint));
            }
        }
    }
    range(raid.spares.as_ref(), "spares", i64::from(u32::MAX), out);
    if raid.devices.is_empty() {
        let message = "a RAID array needs at least one member in `devices`";
        out.push(Diagnostic::error("missing-key", raid.span, message));
    }
    unique("devices", words(&raid.devices), out);
    for member in &raid.devices {
        if path(member, "devices", out) {
            lvm::check(member, out);
        }
    }
}

fn luks(luks: &Luks, version: Version, out: &mut Diagnostics) {
    if present(&luks.name, "name", "a LUKS volume", out) && luks.name.value.contains(['/', '\0']) {
        let message = "the name of a LUKS volume cannot have a slash";
        out.push(Diagnostic::error("bad-name", luks.name.span, message));
    }
    match &luks.device {
        None => {
            let message = "a LUKS volume needs `device`";
            out.push(Diagnostic::error("missing-key", luks.span, message));
        }
        Some(device) => {
            if path(device, "device", out) {
                lvm::check(device, out);
            }
        }
    }
    if let Some(label) = &luks.label
        && label.value.len() > LONGEST_LUKS_LABEL
    {
        let message = format!("the label of a LUKS volume has at most {LONGEST_LUKS_LABEL} bytes");
        out.push(Diagnostic::error("luks-label", label.span, message));
    }
    unique("openOptions", words(&luks.open_options), out);
    if let Some(key_file) = &luks.key_file {
        resource::check(key_file, false, version, out);
    }
    clevis(luks, version, out);
    let Some(cex) = luks.cex.as_ref().filter(|cex| is_true(cex.enabled.as_ref())) else { return };
    let others = [
        luks.clevis.as_ref().map(|clevis| ("clevis", clevis.span)),
        luks.key_file.as_ref().filter(|key| key.source.is_some()).map(|key| ("keyFile", key.span)),
    ];
    for (name, span) in others.into_iter().flatten() {
        let message = format!("a LUKS volume cannot have `cex` together with `{name}`");
        out.push(
            Diagnostic::error("luks-cex", cex.span, message).label(span, "the other one is here"),
        );
    }
}

fn clevis(luks: &Luks, version: Version, out: &mut Diagnostics) {
    let Some(clevis) = &luks.clevis else { return };
    range(clevis.threshold.as_ref(), "threshold", i64::from(u32::MAX), out);
    unique("tang", words(clevis.tang.iter().map(|tang| &tang.url)), out);
    for tang in &clevis.tang {
        if present(&tang.url, "url", "a tang server", out)
            && let Err(fault) = url::check_http(&tang.url.value)
        {
            out.push(Diagnostic::error(fault.code, tang.url.span, fault.message));
        }
        if tang.thumbprint.as_ref().is_none_or(|thumbprint| thumbprint.value.is_empty()) {
            let message = "a tang server needs `thumbprint`";
            out.push(Diagnostic::error("missing-key", tang.span, message));
        }
        if let Some(advertisement) =
            tang.advertisement.as_ref().filter(|advertisement| !advertisement.value.is_empty())
            && crate::json::document(advertisement.span.source, &advertisement.value).is_err()
        {
            let message = "`advertisement` is no JSON";
            out.push(Diagnostic::error("tang-advertisement", advertisement.span, message));
        }
    }
    let Some(custom) = &clevis.custom else { return };
    let text =
        |value: &Option<Spanned<String>>| value.as_ref().is_some_and(|text| !text.value.is_empty());
    if !text(&custom.pin) && !text(&custom.config) && custom.needs_network.is_none() {
        return;
    }
    let others = [
        clevis.tang.first().map(|tang| ("tang", tang.span)),
        clevis.tpm2.as_ref().filter(|tpm2| tpm2.value).map(|tpm2| ("tpm2", tpm2.span)),
        clevis
            .threshold
            .as_ref()
            .filter(|threshold| threshold.value != 0)
            .map(|threshold| ("threshold", threshold.span)),
    ];
    for (name, span) in others.into_iter().flatten() {
        let message = format!("`custom` cannot stand together with `{name}`");
        out.push(
            Diagnostic::error("clevis-custom", custom.span, message)
                .label(span, "the other one is here"),
        );
    }
    for (name, value) in [("pin", &custom.pin), ("config", &custom.config)] {
        if !text(value) {
            let message = format!("`custom` needs `{name}`");
            out.push(Diagnostic::error("missing-key", custom.span, message));
        }
    }
    if version < Version::V3_6
        && let Some(pin) = custom.pin.as_ref().filter(|pin| !pin.value.is_empty())
        && !["tpm2", "tang", "sss"].contains(&pin.value.as_str())
    {
        let message = format!("`{}` is no pin before version 3.6.0", url::shown_word(&pin.value));
        out.push(
            Diagnostic::error("clevis-custom", pin.span, message)
                .hint("there are tpm2, tang and sss"),
        );
    }
}

fn filesystem(filesystem: &Filesystem, version: Version, out: &mut Diagnostics) {
    if path(&filesystem.device, "device", out) {
        lvm::check(&filesystem.device, out);
    }
    if let Some(mount) = filesystem.path.as_ref().filter(|mount| !mount.value.is_empty()) {
        path(mount, "path", out);
    }
    let Some(format) = filesystem.format.as_ref().filter(|format| !format.value.is_empty()) else {
        format_missing(filesystem, out);
        return;
    };
    let name = format.value.as_str();
    if name == "none" && version >= Version::V3_3 {
        return;
    }
    let Some((_, longest)) = FORMATS.into_iter().find(|(known, _)| *known == name) else {
        let message =
            format!("`{}` is no file system of version {}", url::shown_word(name), version.name());
        let hint = if name.to_ascii_lowercase().contains("lvm") {
            "Kiln makes partitions, RAID, LUKS and file systems, and no LVM"
        } else if name == "none" {
            "`none` came with version 3.3.0"
        } else {
            "there are ext4, btrfs, xfs, swap and vfat"
        };
        out.push(Diagnostic::error("filesystem-format", format.span, message).hint(hint));
        return;
    };
    if let Some(label) = &filesystem.label
        && label.value.len() > longest
    {
        let message =
            format!("the label of a {name} has at most {longest} bytes, not {}", label.value.len());
        out.push(Diagnostic::error("filesystem-label", label.span, message));
    }
}

/// Without a format nothing else about a file system means anything.
fn format_missing(filesystem: &Filesystem, out: &mut Diagnostics) {
    let text = |name, value: &Option<Spanned<String>>| {
        let value = value.as_ref().filter(|value| !value.value.is_empty());
        value.map(|value| (name, value.span))
    };
    let first = |name, list: &[Spanned<String>]| list.first().map(|one| (name, one.span));
    let wipe = filesystem.wipe_filesystem.as_ref().filter(|wipe| wipe.value);
    let given = [
        text("path", &filesystem.path),
        text("label", &filesystem.label),
        text("uuid", &filesystem.uuid),
        wipe.map(|wipe| ("wipeFilesystem", wipe.span)),
        first("options", &filesystem.options),
        first("mountOptions", &filesystem.mount_options),
    ];
    for (name, span) in given.into_iter().flatten() {
        let message = format!("`{name}` means nothing without `format`");
        out.push(Diagnostic::error("format-missing", span, message));
    }
}

/// Says where a file system and a disk of the same name get in each other's way.
fn on_disk(filesystem: &Filesystem, storage: &Storage, out: &mut Diagnostics) {
    let device = filesystem.device.value.as_str();
    if filesystem.format.as_ref().is_none_or(|format| format.value.is_empty()) || device.is_empty()
    {
        return;
    }
    let Some(disk) = storage.disks.iter().find(|disk| disk.device.value == device) else { return };
    if !disk.partitions.is_empty() {
        let message = format!("a file system on `{device}` destroys the partitions of that disk");
        out.push(
            Diagnostic::warning("partitioned-disk", filesystem.device.span, message)
                .label(disk.device.span, "they are made here"),
        );
    } else if is_true(disk.wipe_table.as_ref()) && !is_true(filesystem.wipe_filesystem.as_ref()) {
        let message =
            format!("`wipeTable` of `{device}` destroys the file system that is to be kept");
        out.push(
            Diagnostic::warning("wiped-disk", filesystem.device.span, message)
                .label(disk.device.span, "it is wiped here")
                .hint("say `wipeFilesystem: true`, or leave `wipeTable` out"),
        );
    }
}

fn is_true(value: Option<&Spanned<bool>>) -> bool {
    value.is_some_and(|value| value.value)
}
