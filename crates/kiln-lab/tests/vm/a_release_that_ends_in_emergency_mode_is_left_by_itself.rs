//! Promise: a release that ends in systemd's emergency mode does not wait for a person there: it is
//! tried three times and then left without anybody's help, and people read which unit failed.
//!
//! On the long list, because the way there differs from that of a failed health check in one unit only.

use kiln_lab::falls_back::TRIES;
use kiln_lab::releases::Piece;
use kiln_lab::{Failure, Left, Life, Releases, WorkDirectory};

/// A unit without which the system cannot go on, and that fails.
const FAILS: Piece<'_> = Piece::Unit(
    "furnace.service",
    "local-fs.target.requires",
    "[Unit]\nDefaultDependencies=no\nBefore=local-fs.target\n\
     [Service]\nType=oneshot\nExecStart=/bin/false\n",
);

#[test]
#[ignore = "5 boots: on the long list"]
fn a_release_that_ends_in_emergency_mode_is_left_by_itself() -> Result<(), Failure> {
    let work = WorkDirectory::new("emergency")?;
    let releases = Releases::new(&work)?;
    releases.publish("emergency", &[FAILS])?;
    let mut life = Life::new("emergency", &work)?;
    life.upgrade_and_restart(&releases, "emergency")?;
    life.starts_again(TRIES)?;
    let left = Left::first_upgrade("emergency", "emergency", &["furnace.service"]);
    life.falls_back(&releases, &left)?;
    Ok(life.power_off()?)
}
