//! Where a document may be: decided by names alone, so that a boot without any pays nothing.
//!
//! Reads no document. What it takes for one and is none costs a boot the start of one program; what it
//! overlooked would never be carried out, so the places here are those of `kiln_provision::sources`.

use crate::cmdline::Mode;
use crate::console::note;
use crate::disks::Disk;
use crate::modules::{self, Modules};
use kiln_disk::fat::Fat;
use kiln_sys::command_line::words;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders of the root that may hold documents.
const IMAGE_FOLDERS: [&str; 3] = ["system/oem", "usr/lib/kiln/provision.d", "usr/lib/ignition"];
/// Folders of the state that may: `/oem`, and `/usr/local/cloud-config` in its overlay.
const STATE_FOLDERS: [&str; 2] = ["oem", "overlay/usr-local/upper/cloud-config"];
/// Beginnings of paths on the ESP, in lower case.
const BOOT_PATHS: [&str; 3] =
    ["kiln/provision/", "ignition/config.ign", "loader/credentials/kiln.config"];
/// Marks of each generation, in the state (`kiln_provision::Ledger`).
const MARKS: &str = "config";
/// Items of QEMU's fw_cfg that may be documents.
const ITEMS: [&str; 3] =
    ["opt/kiln/config", "opt/com.coreos/config", "opt/io.systemd.credentials/kiln.config"];
/// Where the kernel shows them, and the device behind them on machines with ACPI.
const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name";
const FW_CFG_DEVICE: &str = "/sys/bus/acpi/devices/QEMU0002:00";
/// The module that shows them.
const FW_CFG_MODULE: &str = "qemu_fw_cfg.ko";
/// All SMBIOS structures, and words that one of a document has (kiln_provision's sources).
const SMBIOS: &str = "/sys/firmware/dmi/tables/DMI";
const SMBIOS_WORDS: [&[u8]; 3] = [b"kiln.config=", b"ignition.config=", b"io.systemd.credential"];
/// Who made the machine, by DMI: those that have metadata for it; the number is Azure's.
const CLOUDS: [&str; 9] = [
    "Amazon EC2",
    "Google",
    "7783-7084-3265-9085-8269-3286-77",
    "OpenStack",
    "DigitalOcean",
    "Hetzner",
    "Packet",
    "Equinix",
    "Vultr",
];
const MAKERS: [&str; 5] = [
    "/sys/class/dmi/id/sys_vendor",
    "/sys/class/dmi/id/product_name",
    "/sys/class/dmi/id/bios_vendor",
    "/sys/class/dmi/id/chassis_vendor",
    "/sys/class/dmi/id/chassis_asset_tag",
];

/// Where a document may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// In the verified root.
    pub in_root: bool,
    /// In the state, or something is to be done of what an earlier boot carried out.
    pub in_state: bool,
    /// On the ESP.
    pub on_esp: bool,
    /// On the kernel command line.
    pub on_line: bool,
    /// With the hypervisor, the firmware, a cloud or another disk.
    pub handed_over: bool,
}

impl Facts {
    /// Whether anything is to be looked at. Recovery leaves out what lies on the machine's own disk: that
    /// is what is repaired there.
    #[must_use]
    pub fn is_wanted(self, mode: Mode) -> bool {
        let own = mode == Mode::System && (self.in_state || self.on_esp);
        own || self.in_root || self.on_line || self.handed_over
    }
}

/// What the marks of the newest generation say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    /// A boot has come to its end with what it found (`kiln_provision::boot`).
    is_provisioned: bool,
    /// Documents or devices of it are kept, or an attempt was cut off.
    has_work: bool,
}

/// Looks at all places.
pub(super) fn look(disk: &Disk, sysroot: &Path, state: &Path, command_line: &str) -> Facts {
    let has_entries =
        |folder: PathBuf| fs::read_dir(folder).is_ok_and(|mut all| all.next().is_some());
    let marks = marks(&state.join(MARKS));
    Facts {
        in_root: IMAGE_FOLDERS.iter().any(|folder| has_entries(sysroot.join(folder))),
        in_state: marks.has_work || STATE_FOLDERS.iter().any(|one| has_entries(state.join(one))),
        on_esp: on_esp(disk),
        on_line: is_named(command_line),
        handed_over: !marks.is_provisioned && is_handed_over(disk, sysroot),
    }
}

/// Whether the kernel command line names documents or holds steps.
#[must_use]
pub fn is_named(command_line: &str) -> bool {
    const KEYS: [&str; 6] = [
        "kiln.setup",
        "elemental.setup",
        "cos.setup",
        "kiln.config",
        "ignition.config.url",
        "ignition.platform.id",
    ];
    words(command_line).iter().any(|word| {
        let key = word.split_once('=').map_or("", |(key, _)| key);
        word.starts_with("stages.") || KEYS.contains(&key)
    })
}

fn marks(folder: &Path) -> Marks {
    let mut marks = Marks::default();
    let generations = fs::read_dir(folder).into_iter().flatten().flatten();
    let newest = generations
        .map(|entry| entry.path())
        .filter(|path| path.file_name().and_then(OsStr::to_str).is_some_and(is_generation))
        .max();
    let Some(newest) = newest else { return marks };
    for entry in fs::read_dir(newest).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        marks.is_provisioned |= name == "provisioned";
        marks.has_work |=
            name.ends_with(".undo") || matches!(name.as_ref(), "documents" | "devices.json");
    }
    marks
}

fn is_generation(name: &str) -> bool {
    name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_digit())
}

fn on_esp(disk: &Disk) -> bool {
    let Some(place) = disk.system_partition() else { return false };
    let list = Fat::open(&disk.device, place.offset, place.length).and_then(|fat| fat.list());
    // A damaged ESP holds nothing that can be read; whoever needs it says so.
    list.unwrap_or_default().iter().any(|entry| {
        let path = entry.path.to_ascii_lowercase();
        !entry.directory && BOOT_PATHS.iter().any(|start| path.starts_with(start))
    })
}

fn is_handed_over(disk: &Disk, sysroot: &Path) -> bool {
    show_items(sysroot);
    let has_item = ITEMS.iter().any(|item| Path::new(FW_CFG).join(item).is_dir());
    let tables = fs::read(SMBIOS).unwrap_or_default();
    let has_string =
        SMBIOS_WORDS.iter().any(|word| tables.windows(word.len()).any(|window| window == *word));
    let makers = MAKERS.iter().filter_map(|path| fs::read_to_string(path).ok());
    let is_cloud = makers.into_iter().any(|maker| CLOUDS.iter().any(|name| maker.contains(name)));
    has_item || has_string || is_cloud || disk.has_others()
}

/// Loads what shows fw_cfg, where there is such a device.
fn show_items(sysroot: &Path) {
    if !Path::new(FW_CFG_DEVICE).exists() || Path::new(FW_CFG).exists() {
        return;
    }
    let Ok(release) = fs::read_to_string(modules::RELEASE) else { return };
    match Modules::open_late(sysroot, release.trim_end()) {
        Ok(mut modules) => modules.load_file(FW_CFG_MODULE),
        Err(error) => note(&error.sentence()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_without_any_place_of_documents_does_nothing() {
        let none = Facts::default();
        let all = [
            (Facts { in_root: true, ..none }, true, true),
            (Facts { in_state: true, ..none }, true, false),
            (Facts { on_esp: true, ..none }, true, false),
            (Facts { on_line: true, ..none }, true, true),
            (Facts { handed_over: true, ..none }, true, true),
            (none, false, false),
        ];
        for (facts, system, recovery) in all {
            assert_eq!(facts.is_wanted(Mode::System), system, "{facts:?}");
            assert_eq!(facts.is_wanted(Mode::Recovery), recovery, "{facts:?}");
        }
    }

    #[test]
    fn the_command_line_names_documents_by_known_keys() {
        for (line, expected) in [
            ("quiet console=ttyS0", false),
            ("quiet stages.network[0].commands[0]=true", true),
            ("\"stages.boot[0].commands[0]=echo a b\"", true),
            ("cos.setup=/run/x", true),
            ("elemental.setup=https://example.com/a.yaml", true),
            ("ignition.config.url=https://example.com/a.ign", true),
            ("ignition.firstboot", false),
            ("backstages.x=1 my.cos.setup=2", false),
        ] {
            assert_eq!(is_named(line), expected, "{line}");
        }
    }

    #[test]
    fn only_the_newest_generation_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        let found = || marks(folder.path());
        assert_eq!(found(), Marks::default());
        write("failures");
        write("00000001/provisioned");
        assert_eq!(found(), Marks { is_provisioned: true, has_work: false });
        write("00000002/cd.undo");
        assert_eq!(found(), Marks { is_provisioned: false, has_work: true });
        write("00000003/report-first-boot.json");
        assert_eq!(found(), Marks::default());
        write("00000003/documents/0-x.yaml");
        write("99/cd.done");
        assert_eq!(found(), Marks { is_provisioned: false, has_work: true });
    }
}
