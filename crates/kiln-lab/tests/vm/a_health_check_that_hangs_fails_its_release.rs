//! Promise: a health check that never ends is ended by its time limit and counts as failed: the
//! machine restarts, and people read which check it was.

use std::time::Duration;

use kiln_lab::releases::Piece;
use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Failure, Life, Releases, WorkDirectory};

/// A check that says something and never ends; its file name is the check's.
const CHECK: Piece<'_> = Piece::Program(
    "usr/lib/kiln/health.d/50-furnace",
    "#!/bin/sh\necho waiting for the furnace\nexec sleep infinity\n",
);

/// What one check may take.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
#[ignore = "three boots and a long wait: on the long list"]
fn a_health_check_that_hangs_fails_its_release() -> Result<(), Failure> {
    let work = WorkDirectory::new("slow-check")?;
    let releases = Releases::new(&work)?;
    releases.publish("slow", &[CHECK])?;
    let mut life = Life::new("slow-check", &work)?;
    life.power_on()?;
    life.settle()?;
    life.complete(&releases.call("slow", ""))?;
    life.restart_by("sudo -n systemctl reboot")?;
    // The first try: up, judged, and down again.
    life.machine()?.expect("login: ", BOOT)?;
    life.machine()?.expect("BdsDxe: starting Boot", LIMIT + BOOT)?;
    life.say("the check was ended");
    life.cut_power()?;
    let name = life.boot_files()?.into_iter().find(|name| name.starts_with("kiln-00000002+"));
    let name = name.unwrap_or_default();
    life.rename_boot_file(&name, "kiln-00000002+0-3.efi")?;

    life.power_on()?;
    life.settle()?;
    assert_eq!(life.release()?, None);
    let status = life.status()?;
    let failed = &status["last_failure"];
    assert_eq!(failed["generation"], 2, "{status:#}");
    assert_eq!(failed["failure"]["stage"], "health", "{status:#}");
    let reason = failed["failure"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("50-furnace"), "{status:#}");
    Ok(life.power_off()?)
}
