//! Promise: recovery that was chosen brings a release from a registry into the slot that nobody needs;
//! the system fills recovery with a release of its own choice; and recovery gives the state up.

use kiln_lab::{Failure, Life, Releases, WorkDirectory};

/// Waits for what a boot does after it proved itself.
const FILLED: &str = "for n in $(seq 150); do sudo -n kiln status --json | grep -q kiln-recovery.efi \
                      && exit 0; sleep 2; done; sudo -n journalctl -b -u kiln-settle; exit 1";

#[test]
#[ignore = "5 boots: on the long list"]
fn recovery_takes_a_release_from_the_registry() -> Result<(), Failure> {
    let work = WorkDirectory::new("recovery-registry")?;
    let releases = Releases::new(&work)?;
    releases.publish("14", &[])?;
    releases.publish("15", &[])?;
    let mut life = Life::new("recovery-registry", &work)?;
    life.fill_recovery();
    life.power_on()?;
    life.settle()?;
    life.complete(&format!("( {FILLED} )"))?;
    life.succeed("echo kept | sudo -n tee /etc/kiln-lab-marker")?;
    let machine_id = life.succeed("cat /etc/machine-id")?;

    // By choice: everything is whole, and slot A must stay what the machine can go back to.
    life.restart_by("sudo -n kiln recovery next --reboot")?;
    life.login()?;
    let status = life.status()?;
    assert_eq!(status["mode"], "recovery", "{status:#}");
    assert_eq!(status["last_failure"], serde_json::Value::Null, "{status:#}");
    let refused = life.run(&releases.call("15", "--recovery"))?;
    assert_eq!(refused.status, 1, "{}", refused.text);
    assert!(refused.text.contains("recovery itself runs"), "{}", refused.text);
    life.complete(&releases.call("14", ""))?;
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi", "kiln-00000002+3-0.efi"]);
    life.restart_by("sudo -n systemctl reboot")?;
    life.settle()?;
    assert_eq!(life.release()?.as_deref().map(str::trim), Some("14"));
    let status = life.status()?;
    assert_eq!(status["mode"], "system", "{status:#}");
    assert_eq!(status["booted"]["slot"], "b", "{status:#}");
    assert_eq!(status["previous"]["generation"], 1, "{status:#}");
    assert_eq!(life.succeed("cat /etc/kiln-lab-marker")?.trim(), "kept");

    // The system goes on as it is; only recovery becomes another.
    life.complete(&releases.call("15", "--recovery"))?;
    let status = life.status()?;
    assert_eq!(status["recovery"]["version"], "15", "{status:#}");
    assert_eq!(status["pending_reboot"], false, "{status:#}");
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi", "kiln-00000002.efi"]);
    life.restart_by("sudo -n kiln recovery next --reboot")?;
    life.login()?;
    assert_eq!(life.release()?.as_deref().map(str::trim), Some("15"));
    let status = life.status()?;
    assert_eq!(status["booted"]["slot"], "recovery", "{status:#}");
    assert_eq!(status["booted"]["version"], "15", "{status:#}");
    assert_eq!(life.succeed("cat /etc/kiln-lab-marker")?.trim(), "kept");

    // Recovery has the state mounted, and gives it up all the same.
    life.restart_by("sudo -n kiln reset --wipe-state --yes --reboot")?;
    life.settle()?;
    assert_eq!(life.release()?.as_deref().map(str::trim), Some("14"));
    life.succeed("test ! -e /etc/kiln-lab-marker")?;
    assert_ne!(life.succeed("cat /etc/machine-id")?, machine_id);
    let status = life.status()?;
    assert_eq!(status["booted"]["generation"], 2, "{status:#}");
    assert_eq!(status["recovery"]["version"], "15", "{status:#}");
    Ok(life.power_off()?)
}
