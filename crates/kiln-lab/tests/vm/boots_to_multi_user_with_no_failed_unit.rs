//! Promise: a system built from a plain Debian image boots through firmware and loader to
//! multi-user, systemd calls it `running`, and no unit has failed.

use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Failure, Product, VirtualMachine, WorkDirectory, debian, product};

#[test]
fn boots_to_multi_user_with_no_failed_unit() -> Result<(), Failure> {
    let work = WorkDirectory::new("boots")?;
    let system = Product::from_environment()?.debian_system(&[])?;
    let machine = product::machine(&system.disk(&work)?)?;
    let mut machine = VirtualMachine::start("boots", machine, &work)?;
    machine.login(debian::USER, product::PASSWORD)?;

    let state = machine.run_for("systemctl is-system-running --wait", BOOT)?;
    let failed = machine.succeed("systemctl list-units --state=failed --no-legend --plain")?;
    assert_eq!(failed, "", "failed units");
    assert_eq!(state.text, "running");
    machine.succeed("systemctl is-active multi-user.target")?;
    Ok(machine.power_off()?)
}
