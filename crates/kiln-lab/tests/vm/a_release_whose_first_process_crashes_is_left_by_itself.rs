//! Promise: a release whose systemd crashes restarts the machine instead of hanging it, and the old
//! release runs once its tries are used up.

use kiln_lab::releases::{Piece, UNITS};
use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Failure, Life, Releases, WorkDirectory};

/// Ends the first process as a fault of its own would.
const UNIT: &str = "[Unit]\nAfter=basic.target\n[Service]\nExecStart=/bin/kill -SEGV 1\n";

#[test]
#[ignore = "three boots: on the long list"]
fn a_release_whose_first_process_crashes_is_left_by_itself() -> Result<(), Failure> {
    let work = WorkDirectory::new("crashes")?;
    let releases = Releases::new(&work)?;
    let unit = format!("{UNITS}/kiln-lab-crash.service");
    let link = format!("{UNITS}/multi-user.target.wants/kiln-lab-crash.service");
    releases.publish(
        "crashes",
        &[Piece::File(&unit, UNIT), Piece::Link(&link, "../kiln-lab-crash.service")],
    )?;
    let mut life = Life::new("crashes", &work)?;
    life.power_on()?;
    life.settle()?;
    life.complete(&releases.call("crashes", ""))?;
    life.restart_by("sudo -n systemctl reboot")?;
    // The crash ends in a panic or in systemd's own restart; either way the firmware starts again.
    life.machine()?.expect_any(&["BdsDxe: starting Boot", "Kernel panic"], BOOT * 2)?;
    life.say("the first try has ended");
    life.cut_power()?;
    let name = life.boot_files()?.into_iter().find(|name| name.starts_with("kiln-00000002+"));
    life.rename_boot_file(&name.unwrap_or_default(), "kiln-00000002+0-3.efi")?;

    life.power_on()?;
    life.settle()?;
    assert_eq!(life.release()?, None);
    let status = life.status()?;
    assert_eq!(status["booted"]["generation"], 1, "{status:#}");
    assert_eq!(status["last_failure"]["generation"], 2, "{status:#}");
    Ok(life.power_off()?)
}
