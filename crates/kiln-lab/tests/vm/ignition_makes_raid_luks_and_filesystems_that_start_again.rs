//! Promise: an Ignition 3.4 document makes partitions, arrays, encrypted volumes and file systems on two
//! further disks, one lying on the other; they are open before the first service starts, at the next boot
//! without anything being made again, and also when one of the two disks was replaced by an empty one.

mod compat;

use compat::{FIRMWARE_NAME, empty_disk, package_layer, written};
use kiln_lab::releases::{self, Piece};
use kiln_lab::{Error, Failure, Life, Product, WorkDirectory};
use serde_json::json;

/// Bytes of each further disk: xfs needs 300 MiB, and there is more on it.
const DISK: u64 = 1 << 30;

/// UUID of the encrypted volume that the document names.
const VAULT: &str = "6c0b1d0e-4f0b-4d2e-9a35-0d9a3f5b7c11";

/// Writes down what the very first services find.
const FIRST: &str = "[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n\
    [Service]\nType=oneshot\nExecStart=/bin/sh -c '\
    findmnt -n -r -o TARGET,FSTYPE | grep ^/var/lib/ | sort > /run/kiln-lab-first'\n";

/// What these find at each boot.
const MOUNTED: &str = "/var/lib/deep xfs\n/var/lib/mirror ext4\n/var/lib/vault ext4";

/// A mount unit as Butane writes it for `with_mount_unit`: what it asks for is there already.
fn mount_unit(path: &str, device: &str) -> serde_json::Value {
    let (name, node) = (path.replace('/', "-"), device.replace('/', "-"));
    let check = format!("systemd-fsck@{node}.service");
    json!({ "name": format!("{name}.mount"), "enabled": true, "contents": format!(
        "[Unit]\nRequires={check}\nAfter={check}\n\
         [Mount]\nWhere=/{path}\nWhat=/{device}\nType=ext4\n\
         [Install]\nRequiredBy=local-fs.target\n"
    ) })
}

/// The document. Its lists are in no order in which they could be carried out.
fn document() -> String {
    let key = "data:;base64,a2VwdCBvdXQgb2Ygc2lnaHQA/w==";
    let partition = |label: &str, size: u32| json!({ "label": label, "sizeMiB": size });
    let by_label = |label: &str| format!("/dev/disk/by-partlabel/{label}");
    json!({
        "ignition": { "version": "3.4.0" },
        "storage": {
            "disks": [
                { "device": "/dev/vdb", "wipeTable": true, "partitions": [
                    partition("mirror-a", 128), partition("inner-a", 400), partition("vault", 0) ] },
                { "device": "/dev/vdc", "wipeTable": true, "partitions": [
                    partition("mirror-b", 128), partition("inner-b", 400) ] },
            ],
            "filesystems": [
                { "device": "/dev/mapper/deep", "format": "xfs", "path": "/var/lib/deep" },
                { "device": "/dev/mapper/vault", "format": "ext4", "label": "vault",
                  "path": "/var/lib/vault", "mountOptions": ["noatime"] },
                { "device": "/dev/md/mirror", "format": "ext4", "label": "mirror",
                  "path": "/var/lib/mirror" },
            ],
            "luks": [
                // On an array, with a key that the machine draws.
                { "name": "deep", "device": "/dev/md/inner", "discard": true, "wipeVolume": true },
                { "name": "vault", "device": by_label("vault"), "uuid": VAULT, "label": "sealed",
                  "keyFile": { "source": key } },
            ],
            "raid": [
                { "name": "mirror", "level": "raid1",
                  "devices": [by_label("mirror-a"), by_label("mirror-b")] },
                // The superblock at the end: the members look like what lies on the array.
                { "name": "inner", "level": "raid1", "options": ["--metadata=1.0"],
                  "devices": [by_label("inner-a"), by_label("inner-b")] },
            ],
            "files": [
                { "path": "/var/lib/mirror/made", "contents": { "source": "data:,first" } },
                { "path": "/var/lib/vault/made", "contents": { "source": "data:,first" } },
                { "path": "/var/lib/deep/made", "contents": { "source": "data:,first" } },
                // The system's own table names a volume that is open already.
                { "path": "/etc/crypttab", "contents": {
                    "source": format!("data:,vault%20UUID={VAULT}%20/etc/vault.key%20luks%0A") },
                  "overwrite": true },
                { "path": "/etc/vault.key", "mode": 384, "contents": { "source": key } },
                { "path": "/etc/mdadm/mdadm.conf", "contents": {
                    "source": "data:,HOMEHOST%20%3Csystem%3E%0AMAILADDR%20root%0A" } },
            ],
        },
        "systemd": { "units": [
            mount_unit("var/lib/mirror", "dev/md/mirror"),
            mount_unit("var/lib/vault", "dev/mapper/vault"),
        ] },
    })
    .to_string()
}

/// What holds at each boot; `members` is how the arrays' members are shown in `/proc/mdstat`.
fn check(life: &mut Life<'_>, members: &str) -> Result<(), Error> {
    assert_eq!(life.succeed("cat /run/kiln-lab-first")?, MOUNTED);
    for (command, expected) in [
        ("lsblk -n -r -o TYPE /dev/md/mirror", "raid1"),
        ("lsblk -n -r -s -o TYPE /dev/mapper/deep | sort -u | xargs", "crypt disk part raid1"),
        ("lsblk -n -r -s -o TYPE /dev/mapper/vault | xargs", "crypt part disk"),
        ("findmnt -n -o SOURCE /var/lib/vault", "/dev/mapper/vault"),
        ("findmnt -n -o OPTIONS /var/lib/vault | grep -c noatime", "1"),
        ("sudo -n blkid -s TYPE -o value /dev/disk/by-partlabel/mirror-a", "linux_raid_member"),
        ("sudo -n blkid -s TYPE -o value /dev/disk/by-partlabel/inner-a", "linux_raid_member"),
        ("sudo -n blkid -s TYPE -o value /dev/md/mirror", "ext4"),
        ("sudo -n blkid -s TYPE -o value /dev/md/inner", "crypto_LUKS"),
        ("sudo -n blkid -s TYPE -o value /dev/mapper/deep", "xfs"),
        ("sudo -n blkid -s LABEL -o value /dev/disk/by-partlabel/vault", "sealed"),
        ("sudo -n cryptsetup luksUUID /dev/disk/by-partlabel/vault", VAULT),
        ("sudo -n cryptsetup status vault | grep -c 'type: *LUKS2'", "1"),
        (
            "sudo -n cryptsetup luksDump /dev/md/inner | grep Flags: | xargs",
            "Flags: allow-discards",
        ),
        ("sudo -n cryptsetup status deep | grep -c 'flags: *discards'", "1"),
        // Its key opens it, and none other does.
        (
            "sudo -n cryptsetup open --test-passphrase --key-file /etc/vault.key \
             /dev/disk/by-partlabel/vault && echo opens",
            "opens",
        ),
        (
            "sudo -n cryptsetup open --test-passphrase --key-file /etc/hostname \
             /dev/disk/by-partlabel/vault 2> /dev/null || echo stays",
            "stays",
        ),
        ("sudo -n sh -c 'stat -c %a:%U /state/config/*/keys/*' | sort -u", "600:root"),
        ("systemctl is-active var-lib-mirror.mount var-lib-vault.mount | sort -u", "active"),
        ("systemctl show -P Result systemd-cryptsetup@vault.service", "success"),
        ("systemctl list-units --failed --plain --no-legend", ""),
        ("cat /var/lib/mirror/made /var/lib/vault/made /var/lib/deep/made", "firstfirstfirst"),
    ] {
        assert_eq!(life.succeed(command)?, expected, "{command}");
    }
    let arrays = life.succeed("grep -o '\\[[U_]*\\]$' /proc/mdstat | sort | uniq -c | xargs")?;
    assert_eq!(arrays, format!("2 {members}"));
    Ok(())
}

/// Identities of all that was made.
fn identities(life: &mut Life<'_>) -> Result<String, Error> {
    life.succeed(
        "sudo -n sh -c 'for one in /dev/md/mirror /dev/md/inner /dev/mapper/vault /dev/mapper/deep; \
         do blkid -s UUID -o value $one; done; \
         mdadm --detail --export /dev/md/mirror /dev/md/inner | grep UUID; \
         cat /state/config/*/keys/* | sha256sum'",
    )
}

#[test]
#[ignore = "3 boots: on the long list"]
fn ignition_makes_raid_luks_and_filesystems_that_start_again() -> Result<(), Failure> {
    let work = WorkDirectory::new("raid")?;
    let programs = package_layer(&work, &["mdadm", "systemd-cryptsetup", "xfsprogs"])?;
    let own = work.join("own.layer.tar");
    let pieces = [Piece::Unit("kiln-lab-first.service", "sysinit.target.wants", FIRST)];
    releases::layer(&own, "raid", &pieces)?;
    let system = Product::from_environment()?.layered_system("raid", &[&programs, &own], &[])?;
    let mut life = Life::of("raid", &work, &system)?;
    life.add_disk(&empty_disk(&work, "second.raw", DISK)?);
    life.add_disk(&empty_disk(&work, "third.raw", DISK)?);
    life.hand_over(FIRMWARE_NAME, &written(work.join("raid.ign"), document())?);
    life.power_on()?;
    life.settle()?;
    check(&mut life, "[UU]")?;
    let all = "/var/lib/mirror/kept /var/lib/vault/kept /var/lib/deep/kept";
    life.succeed(&format!("echo kept | sudo -n tee {all}"))?;
    let made = identities(&mut life)?;
    assert_eq!(made.lines().count(), 7, "{made}");
    // Both halves have all of it before one is taken away.
    life.complete("sudo -n mdadm --wait /dev/md/mirror /dev/md/inner; true")?;
    life.power_off()?;

    life.power_on()?;
    life.settle()?;
    check(&mut life, "[UU]")?;
    assert_eq!(identities(&mut life)?, made);
    assert_eq!(life.succeed(&format!("cat {all}"))?, "kept\nkept\nkept");
    life.power_off()?;

    // What an array is for: one of its disks is gone, and the machine starts as before.
    empty_disk(&work, "third.raw", DISK)?;
    life.power_on()?;
    life.settle()?;
    check(&mut life, "[U_]")?;
    assert_eq!(identities(&mut life)?, made);
    assert_eq!(life.succeed(&format!("cat {all}"))?, "kept\nkept\nkept");
    Ok(life.power_off()?)
}
