//! Promise: the root is EROFS on a dm-verity device, and nobody, root included, can write to what
//! the release brought.

use kiln_lab::{Error, Failure, Product, VirtualMachine, WorkDirectory, debian, product};

#[test]
fn root_is_verity_backed_and_read_only() -> Result<(), Failure> {
    let work = WorkDirectory::new("verity")?;
    let system = Product::from_environment()?.debian_system(&[])?;
    let machine = product::machine(&system.disk(&work)?)?;
    let mut machine = VirtualMachine::start("verity", machine, &work)?;
    machine.login(debian::USER, product::PASSWORD)?;

    assert_eq!(machine.succeed("findmnt -no FSTYPE /")?, "erofs");
    let options = machine.succeed("findmnt -no OPTIONS /")?;
    assert!(options.split(',').any(|option| option == "ro"), "{options}");

    // The device under the root, by number, so that no name in /dev has to be trusted.
    let number = machine.succeed("findmnt -no MAJ:MIN /")?;
    let number = number.trim();
    let name = machine.succeed(&format!("cat /sys/dev/block/{number}/dm/name"))?;
    let table = machine.succeed(&format!("sudo -n dmsetup table {name}"))?;
    assert!(table.split_whitespace().any(|word| word == "verity"), "{table}");
    let status = machine.succeed(&format!("sudo -n dmsetup status {name}"))?;
    assert!(status.trim_end().ends_with(" V"), "corruption was seen: {status}");

    // The hash that the kernel checks is the one that the boot file demanded.
    let command_line = machine.succeed("cat /proc/cmdline")?;
    let demanded = command_line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("kiln.root="))
        .and_then(|value| value.split(':').next())
        .ok_or_else(|| Error::Unexpected {
            what: "kiln.root".into(),
            text: command_line.clone(),
        })?;
    assert!(table.contains(demanded), "{table} lacks {demanded}");

    for path in ["/new", "/usr/new", "/usr/bin/new"] {
        let attempt = machine.run(&format!("sudo -n touch {path}"))?;
        assert_ne!(attempt.status, 0, "{path} was created");
        assert!(attempt.text.contains("Read-only file system"), "{path}: {}", attempt.text);
    }
    let remount = machine.run("sudo -n mount -o remount,rw /")?;
    assert_ne!(remount.status, 0, "the root was remounted for writing");
    machine.succeed(&format!("test \"$(cat /sys/dev/block/{number}/ro)\" = 1"))?;
    Ok(machine.power_off()?)
}
