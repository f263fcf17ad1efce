//! Promise: a reset forgets what the machine has stored except what was named and who it is; giving the
//! state up makes a machine as new.

use kiln_lab::{Failure, Life, WorkDirectory};

#[test]
#[ignore = "3 boots: on the long list"]
fn a_reset_forgets_the_state_and_keeps_what_was_named() -> Result<(), Failure> {
    let work = WorkDirectory::new("reset")?;
    let mut life = Life::new("reset", &work)?;
    life.power_on()?;
    life.settle()?;
    let machine_id = life.succeed("cat /etc/machine-id")?;
    life.succeed("echo x | sudo -n tee /etc/kiln-lab-etc /var/kiln-lab-var /srv/kiln-lab-srv")?;
    let plan = life.succeed("sudo -n kiln reset --keep /etc --dry-run")?;
    assert!(plan.contains("/state/var") && !plan.contains("goes      /state/etc"), "{plan}");
    life.restart_by("sudo -n kiln reset --keep /etc --yes --reboot")?;
    life.settle()?;
    assert_eq!(life.succeed("cat /etc/machine-id")?, machine_id);
    life.succeed("test -e /etc/kiln-lab-etc")?;
    life.succeed("test ! -e /var/kiln-lab-var && test ! -e /srv/kiln-lab-srv")?;
    let status = life.status()?;
    assert_eq!(status["booted"]["state"], "blessed", "the ledger stays: {status:#}");

    life.restart_by("sudo -n kiln reset --wipe-state --yes --reboot")?;
    life.settle()?;
    life.succeed("test ! -e /etc/kiln-lab-etc")?;
    assert_ne!(life.succeed("cat /etc/machine-id")?, machine_id);
    Ok(life.power_off()?)
}
