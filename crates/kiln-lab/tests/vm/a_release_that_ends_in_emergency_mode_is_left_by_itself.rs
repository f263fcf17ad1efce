//! Promise: a release that ends in systemd's emergency mode does not wait for a person there: it is
//! tried three times and then left without anybody's help, and people read which unit failed.
//!
//! On the long list, because the way there differs from that of a failed health check in one unit only.

use kiln_lab::releases::{Piece, UNITS};
use kiln_lab::{Failure, Life, Releases, WorkDirectory};

/// A unit without which the system cannot go on, and that fails.
const FAILS: &str = "\
[Unit]
DefaultDependencies=no
Before=local-fs.target

[Service]
Type=oneshot
ExecStart=/bin/false
";

#[test]
#[ignore = "five boots: on the long list"]
fn a_release_that_ends_in_emergency_mode_is_left_by_itself() -> Result<(), Failure> {
    let work = WorkDirectory::new("emergency")?;
    let releases = Releases::new(&work)?;
    let unit = format!("{UNITS}/furnace.service");
    let link = format!("{UNITS}/local-fs.target.requires/furnace.service");
    let pieces = [Piece::File(&unit, FAILS), Piece::Link(&link, "../furnace.service")];
    releases.publish("emergency", &pieces)?;
    let mut life = Life::new("emergency", &work)?;
    life.power_on()?;
    life.settle()?;
    life.complete(&releases.call("emergency", ""))?;
    // Three tries, and what ran before.
    life.restart_by("sudo -n systemctl reboot")?;
    life.starts_again(3)?;
    life.settle()?;

    assert_eq!(life.release()?, None);
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi", "kiln-00000002+0-3.efi"]);
    let status = life.status()?;
    assert_eq!(status["booted"]["generation"], 1, "{status:#}");
    let failed = &status["last_failure"];
    assert_eq!(failed["generation"], 2, "{status:#}");
    assert_eq!(failed["failure"]["stage"], "emergency", "{status:#}");
    let reason = failed["failure"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("furnace.service"), "{status:#}");
    assert!(life.succeed("cat /run/motd.d/50-kiln")?.contains("furnace.service"));
    Ok(life.power_off()?)
}
