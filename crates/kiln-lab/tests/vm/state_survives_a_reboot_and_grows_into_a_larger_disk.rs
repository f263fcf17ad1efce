//! Promise: what is written to /etc, /var and /home is there after a restart, even after power was
//! cut once it was synced, the machine stays the same machine, and when the disk has become larger
//! meanwhile, the room for it has too.

use kiln_lab::{Error, Failure, Oracle, Product, VirtualMachine, WorkDirectory, debian, product};

/// How much the disk grows between the boots, in bytes.
const GROWTH: u64 = 4 << 30;

/// How much of the growth the file system itself may use up, in bytes: inode tables and the like.
const OVERHEAD: u64 = GROWTH / 8;

const PLACES: &[&str] = &["/etc/kiln-lab", "/var/lib/kiln-lab", "/home/kiln/kiln-lab"];

#[test]
fn state_survives_a_reboot_and_grows_into_a_larger_disk() -> Result<(), Failure> {
    let work = WorkDirectory::new("state")?;
    let system = Product::from_environment()?.debian_system(&[])?;
    let disk = system.disk(&work)?;
    let boot = |name: &str| -> Result<VirtualMachine, Error> {
        let mut machine = VirtualMachine::start(name, product::machine(&disk)?, &work)?;
        machine.login(debian::USER, product::PASSWORD)?;
        Ok(machine)
    };

    let mut machine = boot("state-first")?;
    let identity = machine.succeed("cat /etc/machine-id")?;
    assert_eq!(identity.len(), 32, "machine-id: {identity:?}");
    let before = room(&mut machine)?;
    for place in PLACES {
        machine.succeed(&format!("echo written at {place} | sudo -n tee {place}"))?;
    }
    machine.succeed("sudo -n sync")?;
    machine.cut_power()?;

    let bytes = (product::DISK_BYTES + GROWTH).to_string();
    Oracle::new("qemu-img").arguments(["resize", "-q"]).argument(&disk).argument(&bytes).run()?;

    let mut machine = boot("state-second")?;
    for place in PLACES {
        assert_eq!(machine.succeed(&format!("cat {place}"))?, format!("written at {place}"));
    }
    assert_eq!(machine.succeed("cat /etc/machine-id")?, identity);
    let after = room(&mut machine)?;
    assert!(
        after >= before + GROWTH - OVERHEAD,
        "the disk grew by {GROWTH} bytes, the state from {before} to {after}"
    );
    Ok(machine.power_off()?)
}

/// Size in bytes of the file system that holds /var.
fn room(machine: &mut VirtualMachine) -> Result<u64, Error> {
    let text = machine.succeed("df -B1 --output=size /var | tail -n 1")?;
    text.trim().parse().map_err(|_| Error::Unexpected { what: "df's size".into(), text })
}
