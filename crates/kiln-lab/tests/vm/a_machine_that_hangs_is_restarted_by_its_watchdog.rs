//! Promise: a release under which the whole machine hangs is ended by the hardware watchdog, again and
//! again until its tries are used up, and then the old one runs without anybody's help.
//!
//! The hang is a program of the highest real-time priority on the one processor, with all that the
//! kernel keeps for others taken away: nothing else runs any more, systemd included.

use kiln_lab::releases::{Piece, UNITS};
use kiln_lab::{Failure, Life, Releases, WorkDirectory};

/// Takes the processor for ever. The kernel's reserve for ordinary programs is in two places.
const HANG: &str = "#!/bin/sh\n\
    mount -t debugfs none /sys/kernel/debug 2>/dev/null\n\
    echo 0 > /sys/kernel/debug/sched/fair_server/cpu0/runtime\n\
    echo -1 > /proc/sys/kernel/sched_rt_runtime_us\n\
    echo 'the lab hangs this machine' > /dev/kmsg\n\
    exec chrt --fifo 99 sh -c 'while :; do :; done'\n";

const UNIT: &str = "[Unit]\nAfter=sysinit.target\n[Service]\nExecStart=/usr/lib/kiln-lab-hang\n";

#[test]
#[ignore = "five boots: on the long list"]
fn a_machine_that_hangs_is_restarted_by_its_watchdog() -> Result<(), Failure> {
    let work = WorkDirectory::new("hangs")?;
    let releases = Releases::new(&work)?;
    let unit = format!("{UNITS}/kiln-lab-hang.service");
    let link = format!("{UNITS}/basic.target.wants/kiln-lab-hang.service");
    releases.publish(
        "hangs",
        &[
            Piece::Program("usr/lib/kiln-lab-hang", HANG),
            Piece::File(&unit, UNIT),
            Piece::Link(&link, "../kiln-lab-hang.service"),
        ],
    )?;
    let mut life = Life::new("hangs", &work)?;
    life.add_device("i6300esb");
    life.power_on()?;
    life.settle()?;
    life.succeed("test -c /dev/watchdog0")?;
    life.complete(&releases.call("hangs", ""))?;
    // Three tries, each ended by the watchdog, and what ran before.
    life.restart_by("sudo -n systemctl reboot")?;
    life.starts_again(3)?;
    life.settle()?;

    assert_eq!(life.release()?, None);
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi", "kiln-00000002+0-3.efi"]);
    let status = life.status()?;
    assert_eq!(status["booted"]["generation"], 1, "{status:#}");
    assert_eq!(status["last_failure"]["generation"], 2, "{status:#}");
    let refused = life.run(&releases.call("hangs", ""))?;
    assert_eq!(refused.status, 1, "{}", refused.text);
    Ok(life.power_off()?)
}
