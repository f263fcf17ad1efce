//! Promise: a release whose systemd crashes restarts the machine instead of hanging it, and the old
//! release runs once its tries are used up.

use kiln_lab::releases::Piece;
use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Failure, Left, Life, Releases, WorkDirectory};

/// Ends the first process as a fault of its own would.
const CRASHES: Piece<'_> = Piece::Unit(
    "kiln-lab-crash.service",
    "multi-user.target.wants",
    "[Unit]\nAfter=basic.target\n[Service]\nExecStart=/bin/kill -SEGV 1\n",
);

#[test]
#[ignore = "3 boots: on the long list"]
fn a_release_whose_first_process_crashes_is_left_by_itself() -> Result<(), Failure> {
    let work = WorkDirectory::new("crashes")?;
    let releases = Releases::new(&work)?;
    releases.publish("crashes", &[CRASHES])?;
    let mut life = Life::new("crashes", &work)?;
    life.upgrade_and_restart(&releases, "crashes")?;
    // The crash ends in a panic or in systemd's own restart; either way the firmware starts again.
    life.machine()?.expect_any(&["BdsDxe: starting Boot", "Kernel panic"], BOOT * 2)?;
    life.say("the first try has ended");
    life.skip_the_other_tries()?;
    life.falls_back(&releases, &Left::first_upgrade("crashes", "start", &["health checks"]))?;
    Ok(life.power_off()?)
}
