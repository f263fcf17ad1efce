//! Further partitions of a layout: made on the first boot, mounted by systemd on every one.
//!
//! They get their file system here, by the root's own mkfs, because only now it is certain that this
//! boot or an installation made them: the table says so by a type that nothing else has. They are
//! mounted by units in `/run` that are written here and not by this program: their drivers may be
//! on the root only, systemd checks and orders them as it does all others, and one that cannot be
//! mounted fails the boot in the way that a person expects of a line in fstab.
//!
//! State comes first, so a failure here costs no state. A partition for which there is no rule any
//! more is left alone.

use crate::Error;
use crate::console::{note, note_time};
use crate::disks::Disk;
use crate::error::file;
use crate::root::SYSROOT;
use crate::tools::Workshop;
use kiln_disk::Guid;
use kiln_disk::fat::Fat;
use kiln_disk::layout::{self, ExtraPartition, FIRST_EXTRA, FileSystem, Layout};
use std::fs;
use std::path::Path;

/// Units that last until the next boot (systemd.unit(5)).
const UNITS: &str = "/run/systemd/system";

/// The layout of this machine: what it was installed with, else what its root was built with.
pub(crate) fn layout(disk: &Disk) -> Layout {
    match on_system_partition(disk).or_else(in_root) {
        Some((name, text)) => Layout::parse(&name, &text).unwrap_or_else(|error| {
            // Whoever wrote it was told when it was built or installed; booting matters more.
            note(&format!("layout ignored: {error}"));
            Layout::default()
        }),
        None => Layout::default(),
    }
}

fn on_system_partition(disk: &Disk) -> Option<(String, String)> {
    let place = disk.system_partition()?;
    let fat = Fat::open(&disk.device, place.offset, place.length).ok()?;
    let maximum = u32::try_from(layout::MAXIMUM_LENGTH).unwrap_or(u32::MAX);
    let bytes = fat.read(layout::ESP_PATH, maximum).ok()?;
    Some((layout::ESP_PATH.to_owned(), String::from_utf8(bytes).ok()?))
}

fn in_root() -> Option<(String, String)> {
    let text = fs::read_to_string(Path::new(SYSROOT).join(layout::ROOT_PATH)).ok()?;
    Some((layout::ROOT_PATH.to_owned(), text))
}

/// Makes what is to be made and has it mounted. Reads no layout where the table has nothing for it.
pub(crate) fn prepare(disk: &mut Disk) -> Result<(), Error> {
    if disk.located.table.partitions.range(FIRST_EXTRA..).next().is_none() {
        return Ok(());
    }
    let layout = layout(disk);
    while let Some((number, label)) = layout::unformatted(&disk.located.table) {
        let rule = layout.partition(label).and_then(|extra| Some((extra, extra.file_system?)));
        let Some((extra, kind)) = rule else {
            note(&format!("partition {number} ({label}): no layout says what it is to hold"));
            break;
        };
        format(disk, number, extra, kind)?;
    }
    for (extra, guid, path) in layout::mounts(&disk.located.table, &layout) {
        if let Some(kind) = extra.file_system {
            write_unit(Path::new(UNITS), guid, path, kind)?;
        }
    }
    Ok(())
}

/// Writes the file system, then commits by the type in the table.
fn format(
    disk: &mut Disk,
    number: u32,
    extra: &ExtraPartition,
    kind: FileSystem,
) -> Result<(), Error> {
    let node = disk.partition_node(number).ok_or_else(|| Error::State {
        device: disk.node.clone(),
        reason: format!("the kernel shows no node for partition {number}"),
    })?;
    let name = format!("mkfs.{}", kind.name());
    let program = Workshop::find(&[&name])
        .ok_or_else(|| Error::Image(format!("{name} for `{}`", extra.label)))?;
    let arguments = arguments(kind, &extra.label, &node);
    Workshop::open()?.make_file_system(&program, &arguments, &node)?;
    let finished = layout::finish_extra(&disk.located.table, number).map_err(disk.failed())?;
    disk.replace_table(&finished)?;
    note_time(&format!("first boot: {} formatted as {}", extra.label, kind.name()));
    Ok(())
}

/// Arguments of its mkfs: quiet, whatever was there before, with the label.
fn arguments<'a>(kind: FileSystem, label: &'a str, node: &'a str) -> Vec<&'a str> {
    match kind {
        FileSystem::Ext4 => vec!["-q", "-F", "-L", label, node],
        FileSystem::Xfs | FileSystem::Btrfs => vec!["-q", "-f", "-L", label, node],
        FileSystem::Vfat => vec!["-n", label, node],
    }
}

/// A mount unit, required like a line of fstab.
fn write_unit(units: &Path, guid: Guid, path: &str, kind: FileSystem) -> Result<(), Error> {
    let what = format!("/dev/disk/by-partuuid/{guid}");
    let check = match kind {
        FileSystem::Ext4 | FileSystem::Vfat => {
            let unit = format!("systemd-fsck@{}.service", escaped(&what));
            format!("Requires={unit}\nAfter={unit}\n")
        }
        // They repair themselves when they are mounted; their fsck does nothing.
        FileSystem::Xfs | FileSystem::Btrfs => String::new(),
    };
    let kind = kind.name();
    let text = format!(
        "[Unit]\nDescription=Partition for {path}\nBefore=local-fs.target\n{check}\n\
         [Mount]\nWhat={what}\nWhere={path}\nType={kind}\n"
    );
    let name = format!("{}.mount", escaped(path));
    let wants = units.join("local-fs.target.requires");
    fs::create_dir_all(&wants).map_err(file("create", &wants))?;
    let unit = units.join(&name);
    fs::write(&unit, text).map_err(file("write", &unit))?;
    let link = wants.join(&name);
    match std::os::unix::fs::symlink(Path::new("..").join(&name), &link) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(file("create", &link)(error))
        }
        _ => Ok(()),
    }
}

/// A path in the name of a unit (systemd.unit(5), "string escaping for inclusion in unit names").
fn escaped(path: &str) -> String {
    let mut name = String::new();
    for (index, byte) in path.trim_matches('/').bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if index == 0 => name.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => name.push(byte.into()),
            other => name.push_str(&format!("\\x{other:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_have_the_names_that_systemd_wants() {
        let cases = [
            ("/srv/data", "srv-data"),
            ("/srv/my-data", "srv-my\\x2ddata"),
            ("/.hidden/.x", "\\x2ehidden-.x"),
            ("/dev/disk/by-partuuid/0a-1b", "dev-disk-by\\x2dpartuuid-0a\\x2d1b"),
        ];
        for (path, expected) in cases {
            assert_eq!(escaped(path), expected);
        }
    }

    #[test]
    fn a_mount_is_required_and_checked_first() {
        let folder = tempfile::tempdir().unwrap();
        let guid = Guid([1; 16]);
        for _ in 0..2 {
            write_unit(folder.path(), guid, "/srv/data", FileSystem::Ext4).unwrap();
        }
        let link = folder.path().join("local-fs.target.requires/srv-data.mount");
        let text = fs::read_to_string(link).unwrap();
        assert!(text.contains("\nWhere=/srv/data\nType=ext4\n"), "{text}");
        assert!(text.contains(&format!("What=/dev/disk/by-partuuid/{guid}\n")), "{text}");
        assert!(text.contains("Requires=systemd-fsck@dev-disk-by\\x2dpartuuid-"), "{text}");
        write_unit(folder.path(), guid, "/srv/x", FileSystem::Xfs).unwrap();
        let text = fs::read_to_string(folder.path().join("srv-x.mount")).unwrap();
        assert!(!text.contains("fsck"), "{text}");
    }

    #[test]
    fn every_mkfs_is_told_not_to_ask() {
        for (kind, flag) in
            [(FileSystem::Ext4, "-F"), (FileSystem::Xfs, "-f"), (FileSystem::Btrfs, "-f")]
        {
            let arguments = arguments(kind, "data", "/dev/vda7");
            assert!(arguments.contains(&flag) && arguments.last() == Some(&"/dev/vda7"));
        }
    }
}
