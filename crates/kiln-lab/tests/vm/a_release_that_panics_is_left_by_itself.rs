//! Promise: a release whose kernel panics before anything of Kiln runs in user space is tried three
//! times and then left without anybody's help, and people are told how far it came.

use kiln_lab::releases::{Piece, UNITS};
use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Failure, Life, Releases, WorkDirectory};

/// A unit that panics long before there is a login.
const PANIC: &str = "\
[Unit]
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo c > /proc/sysrq-trigger'
";

#[test]
#[ignore = "five boots: on the long list"]
fn a_release_that_panics_is_left_by_itself() -> Result<(), Failure> {
    let work = WorkDirectory::new("panics")?;
    let releases = Releases::new(&work)?;
    let unit = format!("{UNITS}/panic.service");
    let link = format!("{UNITS}/sysinit.target.wants/panic.service");
    let pieces = [Piece::File(&unit, PANIC), Piece::Link(&link, "../panic.service")];
    releases.publish("panics", &pieces)?;
    let mut life = Life::new("panics", &work)?;
    life.power_on()?;
    life.settle()?;
    life.complete(&releases.call("panics", ""))?;
    life.machine()?.send("sudo -n systemctl reboot\n")?;
    for left in [2, 1, 0] {
        life.machine()?.expect("Kernel panic", BOOT)?;
        let expected = format!("kiln-00000002+{left}-{}.efi", 3 - left);
        assert_eq!(life.boot_files()?, ["kiln-00000001.efi", expected.as_str()]);
        life.say("panicked");
    }
    life.settle()?;

    assert_eq!(life.release()?, None);
    let status = life.status()?;
    assert_eq!(status["booted"]["generation"], 1, "{status:#}");
    let failed = &status["last_failure"];
    assert_eq!(failed["generation"], 2, "{status:#}");
    assert_eq!(failed["failure"]["stage"], "start", "{status:#}");
    let reason = failed["failure"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("health checks"), "{status:#}");
    assert!(life.succeed("cat /run/motd.d/50-kiln")?.contains("Generation 2"));
    Ok(life.power_off()?)
}
