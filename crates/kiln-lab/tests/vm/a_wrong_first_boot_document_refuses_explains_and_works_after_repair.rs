//! Promise: a first-boot document that cannot be carried out stops the machine with the reason on its
//! console, leaves nothing half done, costs none of the boot's tries and selects no other boot entry; with
//! the document repaired the same machine works.

mod compat;

use compat::{FIRMWARE_NAME, empty_disk, written};
use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Failure, Life, Oracle, WorkDirectory};
use serde_json::{Value, json};

/// The boot file of a machine that has not proved itself, with all of its tries.
const FRESH: [&str; 1] = ["kiln-00000001+3-0.efi"];
/// The SHA-256 of `x`, and one that nothing has.
const RIGHT: &str = "sha256-2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
const WRONG: &str = "sha256-0000000000000000000000000000000000000000000000000000000000000000";

/// A document with a file of this hash, and on the second disk a partition, whose table is made anew or
/// has to fit.
fn document(hash: &str, second_disk: Option<bool>) -> String {
    let partition = json!({ "label": "data", "number": 1, "sizeMiB": 64 });
    let disks: Vec<Value> = second_disk
        .iter()
        .map(|wipe| json!({ "device": "/dev/vdb", "wipeTable": wipe, "partitions": [partition] }))
        .collect();
    json!({
        "ignition": { "version": "3.4.0" },
        "passwd": { "users": [{ "name": "core" }] },
        "storage": {
            "disks": disks,
            "files": [
                { "path": "/etc/before", "contents": { "source": "data:,x" } },
                { "path": "/etc/proved", "contents": {
                    "source": "data:,x", "verification": { "hash": hash } } },
            ],
        },
    })
    .to_string()
}

#[test]
fn a_wrong_first_boot_document_refuses_explains_and_works_after_repair() -> Result<(), Failure> {
    let work = WorkDirectory::new("wrong")?;
    let mut life = Life::new("wrong", &work)?;
    // Somebody's disk: a table with another partition in the first place.
    let second = empty_disk(&work, "second.raw", 256 << 20)?;
    Oracle::new("sgdisk")
        .arguments(["-n", "1:2048:+32M", "-c", "1:theirs"])
        .argument(&second)
        .run()?;
    life.add_disk(&second);
    let path = written(work.join("config.ign"), "")?;
    life.hand_over(FIRMWARE_NAME, &path);

    life.end_at_restarts();
    // Each of these is wrong in one way; the console names it. The disk is still theirs each time.
    for (what, hash, second_disk, words) in
        [("hash", WRONG, None, WRONG), ("disk", RIGHT, Some(false), "/dev/vdb")]
    {
        written(path.clone(), document(hash, second_disk))?;
        life.power_on()?;
        // It says why, waits for whoever reads it, and would try again.
        life.machine()?.expect("the first boot is undone: ", BOOT)?;
        let reason = life.machine()?.expect("boot failed: ", BOOT)?;
        assert!(reason.contains(words), "{what}: {reason}");
        life.machine()?.wait_for_end(BOOT)?;
        let shown = life.machine()?.shown();
        assert!(!shown.contains("login:"), "{what}: {shown}");
        assert_eq!(life.boot_files()?, FRESH, "{what}: a try was spent");
        let table = Oracle::new("sgdisk").argument("-p").argument(&second).run()?;
        assert!(table.contains("theirs"), "{what}: the disk was changed: {table}");
    }

    written(path, document(RIGHT, Some(true)))?;
    life.power_on()?;
    life.settle()?;
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi"]);
    for (command, expected) in [
        ("cat /etc/before /etc/proved", "xx"),
        ("getent passwd core | cut -d: -f1", "core"),
        ("lsblk -n -r -o PARTLABEL /dev/vdb1", "data"),
        ("sudo -n sh -c 'ls /state/config/*/failure 2> /dev/null | wc -l'", "0"),
        ("systemctl list-units --failed --plain --no-legend", ""),
    ] {
        assert_eq!(life.succeed(command)?, expected, "{command}");
    }
    Ok(life.power_off()?)
}
