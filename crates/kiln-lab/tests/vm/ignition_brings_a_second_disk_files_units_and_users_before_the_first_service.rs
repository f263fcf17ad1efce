//! Promise: an Ignition 3.4 document is carried out once, before the first service starts: partitions and
//! file systems of a second disk, files, links, users, units, drop-ins, masks and kernel arguments. For the
//! arguments the machine starts once more, for nothing else; the next boot finds all of it and does
//! nothing again.

mod compat;

use compat::{FIRMWARE_NAME, WORKER, empty_disk, package_layer, written};
use kiln_lab::releases::{self, Piece};
use kiln_lab::{Failure, Life, Product, WorkDirectory};

/// Bytes of the second disk: 512 MiB of `data`, and the rest has to hold xfs (300 MiB at least).
const SECOND_DISK: u64 = 2 << 30;

/// Writes down what the very first services find.
const FIRST: &str = "[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n\
    [Service]\nType=oneshot\nExecStart=/bin/sh -c '\
    { id core; cat /proc/sys/kernel/hostname /etc/hostname; echo; \
    findmnt -n -o FSTYPE,LABEL /var/data; findmnt -n -o FSTYPE,LABEL /var/log-archive; \
    test -e /etc/systemd/system/app.service && echo unit; } > /run/kiln-lab-first 2>&1'\n";

/// Stands in for chrony: what it runs with is what its folder holds when it starts.
const CHRONY: &str = "[Unit]\nAfter=basic.target\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
    ExecStart=/bin/sh -c 'cat /etc/chrony.d/*.conf > /run/kiln-lab-chrony'\n";

#[test]
fn ignition_brings_a_second_disk_files_units_and_users_before_the_first_service()
-> Result<(), Failure> {
    let work = WorkDirectory::new("ignition")?;
    let programs = package_layer(&work, &["xfsprogs"])?;
    let own = work.join("own.layer.tar");
    let pieces = [
        Piece::Unit("kiln-lab-first.service", "sysinit.target.wants", FIRST),
        Piece::Unit("chrony.service", "multi-user.target.wants", CHRONY),
    ];
    releases::layer(&own, "worker", &pieces)?;
    let system = Product::from_environment()?.layered_system("worker", &[&programs, &own], &[])?;
    let mut life = Life::of("ignition", &work, &system)?;
    life.add_disk(&empty_disk(&work, "second.raw", SECOND_DISK)?);
    life.hand_over(FIRMWARE_NAME, &written(work.join("worker.ign"), WORKER)?);
    life.power_on()?;
    // Once by hand, and once for the kernel arguments.
    life.starts_again(2)?;

    life.machine()?.login("core", "core")?;
    let groups = life.succeed("id -Gn")?;
    assert!(groups.split(' ').any(|group| group == "operators"), "{groups}");
    assert_eq!(life.succeed("getent group operators | cut -d: -f3")?, "1500");
    life.machine()?.send("exit\n")?;
    life.settle()?;
    // The arguments are a revision of their own; the one before them stays to fall back to.
    let boot_files = life.boot_files()?;
    assert_eq!(boot_files.last().map(String::as_str), Some("kiln-00000002.efi"), "{boot_files:?}");

    let first = life.succeed("cat /run/kiln-lab-first")?;
    for line in ["worker-1\nworker-1", "ext4   data", "xfs    logs", "\nunit", "(operators)"] {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&first).contains(&words(line)), "{line}: {first}");
    }
    let chrony = life.succeed("cat /run/kiln-lab-chrony")?;
    assert_eq!(chrony, "server ntp.example iburst\nmakestep 1.0 3");
    // sudo says that no server knows the machine's new name.
    for (command, expected) in [
        ("stat -c %a:%U /var/data/app/a/b", "700:core"),
        ("readlink /etc/localtime", "../usr/share/zoneinfo/UTC"),
        ("systemctl is-active app.service", "active"),
        ("systemctl show -P LimitNOFILE ssh.service", "65536"),
        ("systemctl show -P LoadState apt-daily.timer", "masked"),
        ("systemctl list-units --failed --plain --no-legend", ""),
        ("sudo -n sh -c 'ls /state/config/00000001 | grep -c done$' 2> /dev/null", "1"),
        ("sudo -n grep -c saltsalt /etc/shadow 2> /dev/null", "1"),
    ] {
        assert_eq!(life.succeed(command)?, expected, "{command}");
    }
    let arguments = life.succeed("cat /proc/cmdline")?;
    assert!(arguments.split(' ').any(|one| one == "mitigations=auto,nosmt"), "{arguments}");

    // What is changed by hand since then stays: nothing is made, written or formatted again.
    life.succeed("echo kept | sudo -n tee /var/data/kept /var/log-archive/kept")?;
    life.succeed("echo 'server own.example' | sudo -n tee /etc/chrony.d/site.conf")?;
    let uuid = life.succeed("sudo -n blkid -s UUID -o value /dev/vdb1 /dev/vdb2 2> /dev/null")?;
    life.power_off()?;

    life.power_on()?;
    life.settle()?;
    let starts = life.machine()?.shown().matches("BdsDxe: starting Boot").count();
    assert_eq!(starts, 1, "it started again for arguments that it has");
    for (command, expected) in [
        ("cat /var/data/kept /var/log-archive/kept", "kept\nkept"),
        ("cat /run/kiln-lab-chrony", "server own.example"),
        ("sudo -n blkid -s UUID -o value /dev/vdb1 /dev/vdb2 2> /dev/null", uuid.as_str()),
        ("systemctl is-active app.service", "active"),
        ("hostname", "worker-1"),
    ] {
        assert_eq!(life.succeed(command)?, expected, "{command}");
    }
    Ok(life.power_off()?)
}
