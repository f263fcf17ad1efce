//! Promise: a health check that never ends is ended by its time limit and counts as failed: the
//! machine restarts, and people read which check it was.

use std::time::Duration;

use kiln_lab::releases::Piece;
use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Failure, Left, Life, Releases, WorkDirectory};

/// A check that says something and never ends; its file name is the check's.
const CHECK: Piece<'_> = Piece::Program(
    "usr/lib/kiln/health.d/50-furnace",
    "#!/bin/sh\necho waiting for the furnace\nexec sleep infinity\n",
);

/// What one check may take.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
#[ignore = "3 boots: on the long list"]
fn a_health_check_that_hangs_fails_its_release() -> Result<(), Failure> {
    let work = WorkDirectory::new("slow-check")?;
    let releases = Releases::new(&work)?;
    releases.publish("slow", &[CHECK])?;
    let mut life = Life::new("slow-check", &work)?;
    life.upgrade_and_restart(&releases, "slow")?;
    // The first try: up, judged, and down again.
    life.machine()?.expect("login: ", BOOT)?;
    life.machine()?.expect("BdsDxe: starting Boot", LIMIT + BOOT)?;
    life.say("the check was ended");
    life.skip_the_other_tries()?;
    life.falls_back(&releases, &Left::first_upgrade("slow", "health", &["50-furnace"]))?;
    Ok(life.power_off()?)
}
