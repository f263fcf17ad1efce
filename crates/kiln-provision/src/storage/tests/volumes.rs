//! Volumes: found by any name, in each other's way, and Elemental's labels.

use std::fs;

use kiln_disk::{Gpt, Guid};

use super::{carry_out, filesystem, volume};
use crate::Error;
use crate::storage::kit::{Bench, MIB, entry};
use crate::storage::partitions::DATA;
use crate::storage::{LABELS, Storage};

#[test]
fn volumes_are_found_by_any_name() {
    let bench = Bench::new();
    let mut table = Gpt::empty(512, 64 * MIB, Guid::from_u128(8)).unwrap();
    table.partitions.insert(1, entry(4, 8, DATA, "logs"));
    bench.table("vdb", &table);
    let id: Vec<u8> = (1..17).collect();
    bench.mark("/dev/vdb1", &[(0, b"XFSB"), (32, &id), (108, b"data")]);
    let guid = Guid::from_u128(4);
    for device in [
        "LABEL=data",
        "UUID=01020304-0506-0708-090A-0B0C0D0E0F10",
        "PARTLABEL=logs",
        &format!("PARTUUID={guid}"),
        "/dev/vdb1",
        "/dev/disk/by-label/data",
    ] {
        bench.with(|disks| disks.mount_volumes(&[volume(device, "/srv/x", "ro")])).unwrap();
        assert_eq!(bench.log(), ["mount vdb1 /srv/x xfs ro"], "{device}");
    }
    bench.mark("/dev/vdc", &[(0, b"XFSB"), (108, b"data")]);
    let two = bench.with(|disks| disks.mount_volumes(&[volume("LABEL=data", "/srv/x", "")]));
    assert!(matches!(two, Err(Error::TwoDevices { .. })), "{two:?}");
    let missing = |options: &str| {
        bench.with(|disks| disks.mount_volumes(&[volume("LABEL=none", "/srv/x", options)]))
    };
    assert!(missing("").is_err());
    missing("nofail").unwrap();
    missing("noauto").unwrap();
    let depth = [volume("/dev/vdb1", "/srv/x/y", ""), volume("/dev/vdc", "/srv/x", "")];
    bench.log();
    bench.with(|disks| disks.mount_volumes(&depth)).unwrap();
    assert_eq!(bench.log(), ["mount vdc /srv/x xfs", "mount vdb1 /srv/x/y xfs"]);
}

#[test]
fn labels_of_elemental_mean_what_stands_for_them() {
    let bench = Bench::new();
    // The initramfs has bound it: the same folder under both names.
    fs::remove_dir(bench.path("oem")).unwrap();
    std::os::unix::fs::symlink("state/oem", bench.path("oem")).unwrap();
    fs::create_dir_all(bench.path("state/lib")).unwrap();
    let volumes = [volume("LABEL=COS_OEM", "/oem", ""), volume("LABEL=COS_PERSISTENT", "/var", "")];
    bench.with(|disks| disks.mount_volumes(&volumes)).unwrap();
    assert_eq!(bench.log(), ["bind /state/ /var"].map(|line| line.replace("/state/ ", "/state ")));
    assert_eq!(fs::read_to_string(bench.path("state/lib/factory")).unwrap(), "x");
    // What the machine removed stays away.
    fs::remove_file(bench.path("state/lib/factory")).unwrap();
    bench.with(|disks| disks.mount_volumes(&volumes)).unwrap();
    assert!(!bench.path("state/lib/factory").exists());
    bench.log();
    for (device, part) in [("LABEL=COS_STATE", "COS_STATE"), ("PARTLABEL=state", "COS_STATE")] {
        let result = bench.with(|disks| disks.mount_volumes(&[volume(device, "/srv/x", "")]));
        assert!(result.unwrap_err().to_string().contains(part));
    }
    // A disk that has such a label of its own is what it says.
    bench.mark("/dev/vdc", &[(0, b"XFSB"), (108, b"COS_OEM")]);
    let own = [volume("LABEL=COS_OEM", "/srv/x", "")];
    bench.with(|disks| disks.mount_volumes(&own)).unwrap();
    assert_eq!(bench.log(), ["mount vdc /srv/x xfs"]);
}

#[test]
fn labels_are_explained_as_they_are_carried_out() {
    for (label, partition, folder) in LABELS {
        let meaning = kiln_config::elemental::meaning_of_label(label).unwrap();
        let word = match (partition, folder) {
            ("kiln-state", "/") => "the state partition",
            ("kiln-state", folder) => folder,
            ("kiln-recovery", _) => "recovery",
            ("kiln-esp", _) => "boot partition",
            _ => "slot",
        };
        assert!(meaning.contains(word), "{label}: {meaning}");
    }
}

#[test]
fn volumes_of_the_boot_stay_and_come_on_top_of_a_new_var() {
    let bench = Bench::new();
    bench.mark("/dev/vdc", &[(0, b"XFSB"), (108, b"data")]);
    bench.with(|disks| {
        disks.mount_volumes(&[volume("LABEL=data", "/var/lib/app", "")]).unwrap();
        disks.mount_volumes(&[volume("LABEL=data", "/srv/x", "")]).unwrap();
        carry_out(disks, &[filesystem("/dev/vdb", "ext4", "/var", false)]).unwrap();
        disks.abort();
    });
    let log = bench.log();
    let mounts: Vec<&str> =
        log.iter().map(String::as_str).filter(|line| !line.starts_with("mkfs")).collect();
    assert_eq!(
        mounts,
        [
            "mount vdc /var/lib/app xfs",
            "mount vdc /srv/x xfs",
            "move /var/lib/app /run/kiln/covered-0",
            "mount vdb /run/kiln/new-var ext4",
            "unmount /run/kiln/new-var",
            "mount vdb /var ext4",
            "move /run/kiln/covered-0 /var/lib/app",
            "unmount /var/lib/app",
            "unmount /var",
        ]
    );
}

#[test]
fn a_mount_that_fails_brings_back_what_it_would_have_covered() {
    let bench = Bench::new();
    bench.mark("/dev/vdc", &[(0, b"XFSB"), (108, b"data")]);
    fs::create_dir(bench.path("srv/x")).unwrap();
    bench.with(|disks| {
        disks.mount_volumes(&[volume("LABEL=data", "/srv/x/y", "")]).unwrap();
        bench.mark("/dev/vdb", &[(1080, &[0x53, 0xef])]);
        bench.world.borrow_mut().bad = Some("mount vdb".into());
        assert!(disks.mount_volumes(&[volume("/dev/vdb", "/srv/x", "")]).is_err());
    });
    assert_eq!(
        bench.log(),
        [
            "mount vdc /srv/x/y xfs",
            "e2fsck -p /dev/vdb",
            "move /srv/x/y /run/kiln/covered-0",
            "mount vdb /srv/x ext2",
            "move /run/kiln/covered-0 /srv/x/y",
        ]
    );
}
