//! Promise: a release whose health checks fail is tried three times and then left without anybody's
//! help; people read which check it was and what it said, and the release does not come again unless
//! somebody insists.

use kiln_lab::releases::Piece;
use kiln_lab::{Failure, Life, Releases, WorkDirectory};

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
    life.power_on()?;
    life.settle()?;
    life.complete(&releases.call("unhealthy", ""))?;
    // Three tries, and what ran before.
    life.restart_by("sudo -n systemctl reboot")?;
    life.starts_again(3)?;
    life.settle()?;

    assert_eq!(life.release()?, None);
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi", "kiln-00000002+0-3.efi"]);
    let status = life.status()?;
    assert_eq!(status["booted"]["generation"], 1, "{status:#}");
    assert_eq!(status["pending_reboot"], false, "{status:#}");
    let failed = &status["last_failure"];
    assert_eq!(failed["generation"], 2, "{status:#}");
    assert_eq!(failed["version"], "unhealthy", "{status:#}");
    assert_eq!(failed["state"], "failed", "{status:#}");
    assert_eq!(failed["failure"]["stage"], "health", "{status:#}");
    for said in [
        failed["failure"]["reason"].as_str().unwrap_or_default().to_owned(),
        life.succeed("kiln history")?,
        life.succeed("sudo -n kiln status")?,
        life.succeed("cat /run/motd.d/50-kiln")?,
    ] {
        let names_it = said.contains("50-furnace") && said.contains("the furnace is cold");
        assert!(names_it, "it does not say what failed: {said}");
    }

    // Nobody has to fear that it comes again by itself.
    let refused = life.run(&releases.call("unhealthy", ""))?;
    assert_eq!(refused.status, 1, "{}", refused.text);
    assert!(refused.text.contains("failed here as generation 2"), "{}", refused.text);
    assert!(refused.text.contains("--force"), "{}", refused.text);
    life.complete(&releases.call("unhealthy", "--force --stage"))?;
    assert_eq!(life.status()?["staged"]["generation"], 3);
    Ok(life.power_off()?)
}
