//! Promise: a release that starts and never gets as far as to be judged is ended by the deadline that
//! was armed before its own first program ran; the reason is kept, and the old release runs once the
//! tries are used up.

use std::time::Duration;

use kiln_lab::releases::{Piece, UNITS};
use kiln_lab::{Failure, Life, Releases, WorkDirectory};

/// The deadline in seconds: longer than a good boot takes on a busy computer.
const DEADLINE: u64 = 240;

/// A unit that the goal of the boot waits for, for ever.
const UNIT: &str = "[Unit]\nBefore=multi-user.target\n\
    [Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sleep infinity\n";

#[test]
#[ignore = "three boots and a long wait: on the long list"]
fn a_boot_that_never_ends_is_ended_by_its_deadline() -> Result<(), Failure> {
    let work = WorkDirectory::new("deadline")?;
    let releases = Releases::new(&work)?;
    let unit = format!("{UNITS}/kiln-lab-wait.service");
    let link = format!("{UNITS}/multi-user.target.requires/kiln-lab-wait.service");
    releases.publish(
        "waits",
        &[Piece::File(&unit, UNIT), Piece::Link(&link, "../kiln-lab-wait.service")],
    )?;
    let argument = format!("kiln.deadline={DEADLINE}");
    let mut life = Life::built("deadline", &work, &["--karg", &argument])?;
    life.power_on()?;
    life.settle()?;
    assert!(life.succeed("cat /proc/cmdline")?.contains(&argument));
    life.complete(&releases.call("waits", ""))?;
    life.restart_by("sudo -n systemctl reboot")?;
    let told = format!("deadline: the system was not blessed within {DEADLINE} s");
    life.machine()?.expect(&told, Duration::from_secs(DEADLINE))?;
    life.say("the deadline has passed");
    life.starts_again(1)?;
    life.cut_power()?;
    // It counted itself once for each start; the tries that are left would all end alike.
    let name = life.boot_files()?.into_iter().find(|name| name.starts_with("kiln-00000002+"));
    let name = name.unwrap_or_default();
    assert!(["kiln-00000002+2-1.efi", "kiln-00000002+1-2.efi"].contains(&name.as_str()), "{name}");
    life.rename_boot_file(&name, "kiln-00000002+0-3.efi")?;

    life.power_on()?;
    life.settle()?;
    assert_eq!(life.release()?, None);
    let status = life.status()?;
    let failed = &status["last_failure"];
    assert_eq!(failed["generation"], 2, "{status:#}");
    let reason = failed["failure"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("deadline"), "{status:#}");
    Ok(life.power_off()?)
}
