//! Whole documents on a machine of files.

mod incomplete;
mod volumes;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use kiln_config::Action;
use kiln_config::action::{Contents, KernelArguments, Volume};
use kiln_config::operation::Text;
use kiln_config::storage::{Disk, Filesystem, Layout, LayoutPartition, Luks, Partition, Raid};
use kiln_disk::{Gpt, Guid};

use super::kit::{Bench, MIB, entry};
use super::partitions::DATA;
use super::{Disks, Storage};
use crate::Error;

fn partition(number: u32, label: &str, size_mib: u64) -> Partition {
    Partition {
        number: Some(number),
        label: Some(label.into()),
        size_mib: Some(size_mib),
        ..Partition::default()
    }
}

fn disk(device: &str, wipe_table: bool, partitions: Vec<Partition>) -> Action {
    Action::Disk(Disk { device: device.into(), wipe_table, partitions })
}

fn system(device: &str, format: &str, path: &str, wipe: bool) -> Filesystem {
    Filesystem {
        device: device.into(),
        format: Some(format.into()),
        path: (!path.is_empty()).then(|| path.into()),
        wipe,
        ..Filesystem::default()
    }
}

fn filesystem(device: &str, format: &str, path: &str, wipe: bool) -> Action {
    Action::Filesystem(system(device, format, path, wipe))
}

fn luks(name: &str, device: &str, key: Option<&str>) -> Action {
    Action::Luks(Luks {
        name: name.into(),
        device: device.into(),
        key: key.map(Contents::bytes),
        label: None,
        uuid: None,
        options: Vec::new(),
        open_options: Vec::new(),
        discard: false,
        wipe: false,
    })
}

fn raid(name: &str, devices: &[&str]) -> Action {
    Action::Raid(Raid {
        name: name.into(),
        level: "raid1".into(),
        devices: devices.iter().map(|&device| device.into()).collect(),
        ..Raid::default()
    })
}

fn volume(device: &str, path: &str, options: &str) -> Volume {
    let options = options.split_whitespace().map(str::to_owned).collect();
    Volume { device: device.into(), path: path.into(), format: None, options }
}

/// The document up to its commit point.
fn carry_out(disks: &mut Disks<'_>, actions: &[Action]) -> Result<(), Error> {
    disks.begin("hash", &actions.iter().collect::<Vec<_>>()).map_err(|refusal| refusal.error)?;
    actions.iter().try_for_each(|action| disks.carry_out(action))?;
    disks.finish()
}

/// The whole document.
fn done(bench: &Bench, actions: &[Action]) {
    bench.with(|disks| carry_out(disks, actions)).unwrap();
    bench.ledger().finish("hash").unwrap();
}

/// Lines without identities that were drawn.
fn plain(lines: Vec<String>) -> Vec<String> {
    let is_drawn = |text: &str| {
        text.len() > 30
            && text.chars().all(|letter| letter.is_ascii_hexdigit() || "-:".contains(letter))
    };
    let known = |word: &str| match word.split_once('=') {
        Some((name, value)) if is_drawn(value) => format!("{name}=~"),
        _ if is_drawn(word) => "~".to_owned(),
        _ => word.to_owned(),
    };
    lines.iter().map(|line| line.split(' ').map(known).collect::<Vec<_>>().join(" ")).collect()
}

fn whole() -> Vec<Action> {
    vec![
        disk(
            "/dev/vdb",
            true,
            vec![
                partition(1, "one", 8),
                partition(2, "two", 8),
                partition(3, "three", 8),
                partition(4, "four", 8),
            ],
        ),
        raid("data", &["/dev/vdb3", "/dev/disk/by-partlabel/four"]),
        luks("vault", "/dev/md/data", None),
        filesystem("/dev/disk/by-partlabel/one", "ext4", "/srv/app", false),
        filesystem("/dev/vdb2", "xfs", "/var", false),
        filesystem("/dev/mapper/vault", "ext4", "/srv", false),
        Action::KernelArguments(KernelArguments {
            should_exist: vec!["quiet".into()],
            should_not_exist: Vec::new(),
        }),
    ]
}

#[test]
fn a_document_is_carried_out_and_opened_again_at_each_boot() {
    let bench = Bench::new();
    bench.with(|disks| {
        carry_out(disks, &whole()).unwrap();
        assert!(disks.changed_kernel_arguments());
    });
    let key = bench.path("state/config/00000001/keys/vault");
    let key_shown = "/state/config/00000001/keys/vault";
    assert_eq!(
        plain(bench.log()),
        [
            "mdadm --create /dev/md/data --force --run --homehost=any --uuid=~ --level=raid1 \
             --raid-devices=2 /dev/vdb3 /dev/vdb4",
            &format!(
                "cryptsetup luksFormat --batch-mode --type=luks2 --key-file={key_shown} --uuid=~ \
                 --pbkdf=pbkdf2 --pbkdf-force-iterations=1000 /dev/md/data"
            ),
            &format!("cryptsetup luksOpen --key-file={key_shown} /dev/md/data vault"),
            "mkfs.ext4 -F -q -t ext4 -U ~ /dev/vdb1",
            "mount vdb1 /srv/app ext4",
            "mkfs.xfs -f -q -m uuid=~ /dev/vdb2",
            "mount vdb2 /run/kiln/new-var xfs",
            "unmount /run/kiln/new-var",
            "mount vdb2 /var xfs",
            "mkfs.ext4 -F -q -t ext4 -U ~ /dev/mapper/vault",
            // What lies deeper comes on top again.
            "move /srv/app /run/kiln/covered-0",
            "mount vault /srv ext4",
            "move /run/kiln/covered-0 /srv/app",
            "arguments quiet",
        ]
        .map(str::to_owned)
    );
    assert_eq!(fs::read(&key).unwrap().len(), super::arrays::KEY_LENGTH);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(key.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(bench.path("run/kiln/new-var/lib/factory").is_file(), "the new /var was filled");
    let guids: Vec<Guid> =
        bench.located("vdb").table.partitions.values().map(|entry| entry.guid).collect();
    assert!(guids.iter().all(|guid| *guid != Guid::ZERO) && guids[0] != guids[1], "{guids:?}");

    // Without the mark it is an attempt: nothing of it is opened.
    bench.with(|disks| disks.reopen()).unwrap();
    assert_eq!(bench.log(), Vec::<String>::new());
    bench.ledger().finish("hash").unwrap();
    // The next boot: nodes are gone, and the disk has another name.
    fs::remove_file(bench.path("dev/md/data")).unwrap();
    fs::remove_file(bench.path("dev/mapper/vault")).unwrap();
    for name in ["vdb", "vdb1", "vdb2", "vdb3", "vdb4"] {
        fs::rename(
            bench.path("dev").join(name),
            bench.path("dev").join(name.replace("vdb", "vdd")),
        )
        .unwrap();
    }
    // The kit's arrays and volumes hold nothing when they are opened, real ones what was written.
    let text = fs::read_to_string(bench.path("state/config/00000001/devices.json")).unwrap();
    let records: serde_json::Value = serde_json::from_str(&text).unwrap();
    let list = records["documents"]["hash"].as_array().unwrap();
    let kinds: Vec<&str> =
        list.iter().map(|one| one.as_object().unwrap().keys().next().unwrap().as_str()).collect();
    assert_eq!(kinds, ["array", "encrypted", "mount", "mount", "mount"]);
    let error = bench.with(|disks| disks.reopen()).unwrap_err().to_string();
    assert!(error.contains("did not appear"), "the array of the kit is empty: {error}");
    assert!(
        bench.log()[0]
            .starts_with("mdadm --assemble --run --config=partitions /dev/md/data --uuid=")
    );
}

#[test]
fn later_boots_find_file_systems_by_identity_and_check_them() {
    let bench = Bench::new();
    let mut actions = vec![disk("/dev/vdb", false, vec![partition(1, "one", 8)])];
    let mut nofail = system("/dev/vdb1", "ext4", "/srv/app", false);
    nofail.mount_options = vec!["noexec,nofail".into(), "commit=5".into()];
    actions.push(Action::Filesystem(nofail));
    actions.push(luks("vault", "/dev/vdc", Some("secret")));
    done(&bench, &actions);
    let key = fs::read_to_string(bench.path("state/config/00000001/keys/vault")).unwrap();
    assert_eq!(key, "secret");
    let log = bench.log().join("\n");
    assert!(!log.contains("secret"), "{log}");
    fs::remove_file(bench.path("dev/mapper/vault")).unwrap();
    fs::rename(bench.path("dev/vdb"), bench.path("dev/vdx")).unwrap();
    fs::rename(bench.path("dev/vdb1"), bench.path("dev/vdx1")).unwrap();
    bench.with(|disks| disks.reopen()).unwrap();
    let node = bench.path("dev/vdx1");
    assert_eq!(
        bench.log(),
        [
            "e2fsck -p /dev/vdx1",
            "mount vdx1 /srv/app ext4 commit=5",
            "cryptsetup luksOpen --key-file=/state/config/00000001/keys/vault /dev/vdc vault",
        ]
    );
    // It may be missing; the volume may not.
    fs::remove_file(node).unwrap();
    fs::remove_file(bench.path("dev/vdx")).unwrap();
    bench.with(|disks| disks.reopen()).unwrap();
    assert!(bench.world.borrow().said.iter().any(|line| line.contains("did not appear")));
    fs::remove_file(bench.path("dev/mapper/vault")).unwrap();
    fs::remove_file(bench.path("dev/vdc")).unwrap();
    assert!(bench.with(|disks| disks.reopen()).is_err());
}

#[test]
fn a_document_that_would_be_refused_changes_nothing() {
    let parts = || disk("/dev/vdb", true, vec![partition(1, "one", 8), partition(2, "two", 8)]);
    let xfs: &[(u64, &[u8])] = &[(0, b"XFSB")];
    let lvm: &[(u64, &[u8])] = &[(512, b"LABELONE"), (536, b"LVM2 001")];
    for (marks, last, part) in [
        (xfs, filesystem("/dev/vdc", "ext4", "", false), "holds xfs"),
        (lvm, filesystem("/dev/vdc", "ext4", "", false), "LVM"),
        (lvm, luks("v", "/dev/vdc", None), "LVM"),
        (lvm, raid("a", &["/dev/vdb1", "/dev/vdc"]), "LVM"),
        (lvm, disk("/dev/vdc", false, vec![partition(1, "x", 1)]), "LVM"),
        (xfs, disk("/dev/vdc", false, vec![partition(1, "x", 1)]), "holds xfs"),
        (xfs, raid("a", &["/dev/vdb1", "/dev/vdc"]), "holds xfs"),
        (xfs, luks("v", "/dev/vdc", None), "holds xfs"),
        (&[], luks("../v", "/dev/vdc", None), "no name for a device"),
        (&[], filesystem("/dev/vdb3", "ext4", "", false), "did not appear"),
        (&[], filesystem("/dev/disk/by-label/none", "ext4", "", false), "did not appear"),
        (&[], filesystem("/dev/vdc", "zfs", "", false), "zfs"),
        (&[], filesystem("/dev/vdc", "vfat", "", false), "no program `mkfs.vfat`"),
        (&[], filesystem("/dev/vdb1", "ext4", "/etc/x", false), "nothing can be mounted"),
        (&[], filesystem("/srv", "ext4", "", false), "no block device"),
        (&[], disk("/dev/vdb", false, vec![]), "names this disk twice"),
        (&[], disk("/dev/vdc", true, vec![partition(1, "big", 500)]), "30 MiB are free"),
    ] {
        let bench = Bench::new();
        bench.mark("/dev/vdc", marks);
        let before = bench.bytes();
        let actions = vec![parts(), filesystem("/dev/vdb2", "ext4", "/srv/a", true), last];
        let error = bench.with(|disks| carry_out(disks, &actions)).unwrap_err().sentence();
        assert!(error.contains(part), "expected `{part}`: {error}");
        assert_eq!(bench.bytes(), before, "{error}");
        assert_eq!(bench.log(), Vec::<String>::new(), "{error}");
        assert!(!bench.path("state/config/00000001/devices.json").exists());
    }
}

#[test]
fn the_systems_own_is_never_touched_whatever_it_is_called() {
    let bench = Bench::new();
    let guid = Guid::from_u128(25);
    bench.world.borrow_mut().below.insert("dm-0".into(), "vda3".into());
    bench.mark("/dev/vda5", &[(0, b"XFSB"), (108, b"kiln-state")]);
    fs::File::create(bench.path("dev/dm-0")).unwrap().set_len(MIB).unwrap();
    std::os::unix::fs::symlink("/dev/vda5", bench.path("dev/absolute")).unwrap();
    let before = bench.bytes();
    for name in [
        "/dev/vda",
        "/dev/vda2",
        "/dev/vda3",
        "/dev/vda5",
        "/dev/dm-0",
        "/dev/absolute",
        "/dev/../dev/vda5",
        "/dev/disk/by-id/x-part5",
        "/dev/disk/by-partlabel/kiln-state",
        "/dev/disk/by-label/kiln-state",
        "PARTLABEL=kiln-root-a",
        &format!("/dev/disk/by-partuuid/{guid}"),
    ] {
        for action in [
            filesystem(name, "ext4", "", true),
            luks("v", name, None),
            raid("a", &[name, "/dev/vdb"]),
            disk(name, true, Vec::new()),
        ] {
            let result = bench.with(|disks| carry_out(disks, std::slice::from_ref(&action)));
            let error = result.unwrap_err().to_string();
            let expected = [
                "cannot be changed",
                "belongs to the system",
                "is itself a partition",
                "holds `..`",
            ];
            assert!(expected.iter().any(|part| error.contains(part)), "{name}: {error}");
            // The executor itself refuses, too, not only the check before it.
            let alone = bench.with(|disks| {
                disks.begin("hash", &[]).unwrap();
                disks.carry_out(&action)
            });
            assert!(alone.is_err(), "{name}");
        }
    }
    for (partition, part) in [
        (Partition { absent: true, wipe_entry: true, ..partition(5, "kiln-state", 0) }, "belongs"),
        (Partition { wipe_entry: true, ..partition(3, "x", 1) }, "belongs"),
        (Partition { resize: true, ..partition(5, "kiln-state", 1) }, "belongs"),
        (partition(6, "mine", 1), "numbers below 7"),
    ] {
        let action = disk("/dev/vda", false, vec![partition]);
        let error = bench.with(|disks| carry_out(disks, &[action])).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert_eq!((bench.bytes(), bench.log()), (before, Vec::new()));
    // A free place on it is free.
    let free = disk("/dev/vda", false, vec![partition(7, "mine", 8)]);
    done(&bench, &[free, filesystem("/dev/disk/by-partlabel/mine", "ext4", "", false)]);
    let table = bench.located("vda").table;
    assert_eq!(table.partitions[&7].name, "mine");
    assert_eq!(table.partitions[&5].name, "kiln-state");
}

#[test]
fn what_an_attempt_made_is_made_anew_and_nothing_else() {
    let bench = Bench::new();
    let actions = || {
        vec![
            disk("/dev/vdb", false, vec![partition(1, "one", 8)]),
            filesystem("/dev/vdb1", "ext4", "/srv/a", false),
            filesystem("/dev/vdc", "xfs", "/srv/b", false),
        ]
    };
    // Cut off behind the second file system: its device is known by identity and not by name.
    bench.with(|disks| {
        let all = actions();
        disks.begin("hash", &all.iter().collect::<Vec<_>>()).unwrap();
        all.iter().try_for_each(|action| disks.carry_out(action)).unwrap();
    });
    bench.log();
    // Undoing its files finds what its mounts hid covered by empty memory.
    bench.with(|disks| {
        disks.before_undo().unwrap();
        disks.after_undo();
    });
    assert_eq!(
        bench.log(),
        [
            "mount tmpfs /srv/a tmpfs",
            "mount tmpfs /srv/b tmpfs",
            "unmount /srv/b",
            "unmount /srv/a"
        ]
    );
    bench.with(|disks| {
        disks.before_undo().unwrap();
        disks.after_undo();
    });
    assert_eq!(bench.log(), Vec::<String>::new());
    // The document was repaired and wants another format, without a word of wiping.
    let mut repaired = actions();
    repaired[2] = filesystem("/dev/vdc", "ext4", "/srv/b", false);
    done(&bench, &repaired);
    let log = bench.log().join("\n");
    assert!(log.contains("mkfs.ext4 -F -q -t ext4 -U") && log.contains("/dev/vdc"), "{log}");
    assert_eq!(log.matches("mkfs.ext4").count(), 2, "{log}");
    // Done, it is somebody's: kept if it is what is wanted, and refused if it is not.
    let keep = bench.with(|disks| carry_out(disks, &[filesystem("/dev/vdc", "ext4", "", false)]));
    keep.unwrap();
    assert_eq!(bench.log(), Vec::<String>::new());
    let other = bench.with(|disks| carry_out(disks, &[filesystem("/dev/vdc", "xfs", "", false)]));
    assert!(matches!(other, Err(Error::Occupied { .. })), "{other:?}");
}

#[test]
fn a_document_that_fails_takes_its_mounts_out() {
    let bench = Bench::new();
    bench.world.borrow_mut().bad = Some("mkfs.xfs".into());
    let actions = [
        luks("vault", "/dev/vdb", None),
        filesystem("/dev/mapper/vault", "ext4", "/srv/a/deep", false),
        filesystem("/dev/vdc", "xfs", "/srv/b", false),
    ];
    let error = bench.with(|disks| {
        let error = carry_out(disks, &actions).unwrap_err();
        assert!(bench.path("srv/a/deep").is_dir());
        disks.abort();
        error
    });
    assert_eq!(error.to_string(), "/usr/sbin/mkfs.xfs ended with exit status 1: broken");
    let log = bench.log();
    assert_eq!(log[log.len() - 2..], ["unmount /srv/a/deep", "cryptsetup close vault"]);
    assert!(!bench.path("srv/a").exists(), "folders that were made for mounts are gone");
    bench.with(|disks| disks.before_undo()).unwrap();
    assert_eq!(bench.log(), Vec::<String>::new());
    // Repaired, the volume is made anew.
    bench.world.borrow_mut().bad = None;
    done(&bench, &actions);
    assert!(bench.log()[0].starts_with("cryptsetup luksFormat"));
}

#[test]
fn a_layout_is_carried_out_once_on_another_disk() {
    let bench = Bench::new();
    let layout = |path: &str, init_disk| {
        let add = LayoutPartition {
            fs_label: Some("LOGS".into()),
            p_label: Some("logs".into()),
            size_mib: 8,
            format: Some("ext4".into()),
            bootable: true,
        };
        Action::Layout(Layout {
            path: Some(Text::Plain(path.into())),
            init_disk,
            add: vec![add],
            ..Layout::default()
        })
    };
    let run = |action: Action| bench.with(|disks| disks.carry_out(&action));
    assert!(run(layout("/dev/vdb", false)).unwrap_err().to_string().contains("init_disk"));
    bench.world.borrow_mut().bad = Some("mkfs".into());
    assert!(run(layout("/dev/vdb", true)).is_err());
    let cut = bench.located("vdb").table.partitions[&1].clone();
    assert_ne!(cut.type_guid, DATA);
    // The next boot makes the file system, and the type says that it is whole.
    bench.world.borrow_mut().bad = None;
    bench.log();
    run(layout("/dev/vdb", true)).unwrap();
    assert_eq!(bench.log(), ["mkfs.ext4 -F -q -t ext4 -L LOGS /dev/vdb1"]);
    let made = bench.located("vdb").table.partitions[&1].clone();
    assert_eq!((made.type_guid, made.name.as_str(), made.attributes), (DATA, "logs", 4));
    let before = bench.bytes();
    run(layout("script://printf /dev/vdb", true)).unwrap();
    assert_eq!(bench.log(), ["sh -c printf /dev/vdb"]);
    assert_eq!(bench.bytes(), before);
    let grow =
        Layout { path: Some(Text::Plain("/dev/vdb".into())), expand: Some(0), ..Layout::default() };
    run(Action::Layout(grow)).unwrap();
    assert_eq!(bench.located("vdb").table.partitions[&1].length(512), 62 * MIB);
    assert_eq!(bench.log().last().unwrap(), "resize2fs /dev/vdb1");
    // The system's own disk is right as it is.
    let before = bench.bytes();
    for wanted in [Some("/dev/vda"), None] {
        let add = LayoutPartition {
            fs_label: Some("COS_PERSISTENT".into()),
            ..LayoutPartition::default()
        };
        let layout = Layout {
            path: wanted.map(|path| Text::Plain(path.into())),
            label: wanted.is_none().then(|| "COS_STATE".into()),
            add: vec![add],
            expand: Some(0),
            ..Layout::default()
        };
        run(Action::Layout(layout)).unwrap();
    }
    assert_eq!((bench.bytes(), bench.log()), (before, Vec::new()));
}

#[test]
fn what_is_in_use_is_not_taken_away() {
    let bench = Bench::new();
    let mut table = Gpt::empty(512, 64 * MIB, Guid::from_u128(8)).unwrap();
    table.partitions.insert(1, entry(1, 8, DATA, "logs"));
    bench.table("vdb", &table);
    bench.world.borrow_mut().busy = ["vdb1".to_owned(), "vdb".to_owned()].into();
    let before = bench.bytes();
    let gone = Partition { absent: true, wipe_entry: true, ..partition(1, "logs", 0) };
    for action in [
        disk("/dev/vdb", false, vec![gone]),
        disk("/dev/vdb", true, Vec::new()),
        filesystem("/dev/vdb1", "ext4", "", true),
        luks("v", "/dev/vdb1", None),
    ] {
        assert!(bench.with(|disks| carry_out(disks, &[action])).is_err());
    }
    assert_eq!(bench.bytes(), before);
    // Adding beside it takes nothing away.
    done(&bench, &[disk("/dev/vdb", false, vec![partition(2, "new", 8)])]);
}

#[test]
fn an_encrypted_volume_without_its_key_is_not_opened() {
    let bench = Bench::new();
    bench.mark("/dev/vdb", &[(0, b"LUKS\xba\xbe\0\x02"), (168, b"u-u")]);
    let mut found = luks("vault", "/dev/vdb", None);
    let Action::Luks(luks) = &mut found else { return };
    luks.uuid = Some("u-u".into());
    let error = bench.with(|disks| carry_out(disks, &[found.clone()])).unwrap_err().to_string();
    assert!(error.contains("no key"), "{error}");
    assert_eq!(bench.log(), Vec::<String>::new());
}

/// What real programs make is read by our own eyes.
#[test]
fn programs_of_this_computer_take_our_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let node = folder.path().join("device");
    let mut known = Vec::new();
    for (format, label, mib) in [
        ("ext4", "data", 16),
        ("ext2", "old", 16),
        ("vfat", "BOOT", 40),
        ("swap", "swap", 16),
        ("xfs", "logs", 320),
        ("btrfs", "pool", 160),
    ] {
        // What was there before does not matter.
        let file = fs::File::create(&node).unwrap();
        file.set_len(mib * MIB).unwrap();
        let uuid = super::filesystems::identity(format, super::disks::fresh().unwrap());
        let mut wanted = system("", format, "", true);
        wanted.label = Some(label.into());
        wanted.uuid = Some(uuid.clone());
        let program = super::filesystems::program(&wanted, node.to_str().unwrap()).unwrap();
        let run = std::process::Command::new(program.names[0])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(&program.arguments)
            .output();
        let Ok(run) = run else { continue };
        assert!(run.status.success(), "{format}: {}", String::from_utf8_lossy(&run.stderr));
        let open = fs::File::open(&node).unwrap();
        let found = super::devices::signature_at(&open, 0, mib * MIB).unwrap().unwrap();
        assert_eq!(
            (found.format, found.label.as_str(), found.uuid.as_str()),
            (format, label, uuid.as_str())
        );
        known.push(format);
    }
    assert!(known.contains(&"ext4"), "e2fsprogs is needed for this test: {known:?}");
}
