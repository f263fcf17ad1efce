//! Promise: a release whose health checks fail is tried three times and then left without anybody's
//! help; people read which check it was and what it said, and the release does not come again unless
//! somebody insists.

use kiln_lab::falls_back::TRIES;
use kiln_lab::releases::Piece;
use kiln_lab::{Failure, Left, Life, Releases, WorkDirectory};

/// A check that always fails; its file name is the check's.
const CHECK: Piece<'_> = Piece::Program(
    "usr/lib/kiln/health.d/50-furnace",
    "#!/bin/sh\necho the furnace is cold\nexit 3\n",
);

#[test]
fn a_release_that_fails_its_health_checks_is_left_by_itself() -> Result<(), Failure> {
    let work = WorkDirectory::new("unhealthy")?;
    let releases = Releases::new(&work)?;
    releases.publish("unhealthy", &[CHECK])?;
    let mut life = Life::new("unhealthy", &work)?;
    life.upgrade_and_restart(&releases, "unhealthy")?;
    life.starts_again(TRIES)?;
    let reason = ["50-furnace", "the furnace is cold"];
    life.falls_back(&releases, &Left::first_upgrade("unhealthy", "health", &reason))?;

    life.complete(&releases.call("unhealthy", "--force --stage"))?;
    assert_eq!(life.status()?["staged"]["generation"], 3);
    Ok(life.power_off()?)
}
