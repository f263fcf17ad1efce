//! Promise: a release that starts and never gets as far as to be judged is ended by the deadline that
//! was armed before its own first program ran; the reason is kept, and the old release runs once the
//! tries are used up.

use std::time::Duration;

use kiln_lab::releases::Piece;
use kiln_lab::{Failure, Left, Life, Releases, WorkDirectory};

/// The deadline in seconds: longer than a good boot takes on a busy computer.
const DEADLINE: u64 = 240;

/// A unit that the goal of the boot waits for, for ever.
const WAITS: Piece<'_> = Piece::Unit(
    "kiln-lab-wait.service",
    "multi-user.target.requires",
    "[Unit]\nBefore=multi-user.target\n\
     [Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sleep infinity\n",
);

#[test]
#[ignore = "3 boots: on the long list"]
fn a_boot_that_never_ends_is_ended_by_its_deadline() -> Result<(), Failure> {
    let work = WorkDirectory::new("deadline")?;
    let releases = Releases::new(&work)?;
    releases.publish("waits", &[WAITS])?;
    let argument = format!("kiln.deadline={DEADLINE}");
    let mut life = Life::built("deadline", &work, &["--karg", &argument])?;
    life.upgrade_and_restart(&releases, "waits")?;
    let told = format!("deadline: the system was not blessed within {DEADLINE} s");
    life.machine()?.expect(&told, Duration::from_secs(DEADLINE))?;
    life.say("the deadline has passed");
    life.starts_again(1)?;
    life.skip_the_other_tries()?;
    let said = ["not blessed within"];
    life.falls_back(&releases, &Left::first_upgrade("waits", "deadline", &said))?;
    assert!(life.succeed("cat /proc/cmdline")?.contains(&argument));
    Ok(life.power_off()?)
}
