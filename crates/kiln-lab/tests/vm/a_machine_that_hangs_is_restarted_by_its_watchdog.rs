//! Promise: a release under which the whole machine hangs is ended by the hardware watchdog, again and
//! again until its tries are used up, and then the old one runs without anybody's help.
//!
//! The hang is a program of the highest real-time priority on the one processor, with all that the
//! kernel keeps for others taken away: nothing else runs any more, systemd included.

use kiln_lab::falls_back::TRIES;
use kiln_lab::releases::Piece;
use kiln_lab::{Failure, Left, Life, Releases, WorkDirectory};

/// Takes the processor for ever. The kernel's reserve for ordinary programs is in two places.
const HANG: Piece<'_> = Piece::Program(
    "usr/lib/kiln-lab-hang",
    "#!/bin/sh\n\
     mount -t debugfs none /sys/kernel/debug 2>/dev/null\n\
     echo 0 > /sys/kernel/debug/sched/fair_server/cpu0/runtime\n\
     echo -1 > /proc/sys/kernel/sched_rt_runtime_us\n\
     echo 'the lab hangs this machine' > /dev/kmsg\n\
     exec chrt --fifo 99 sh -c 'while :; do :; done'\n",
);

const UNIT: Piece<'_> = Piece::Unit(
    "kiln-lab-hang.service",
    "basic.target.wants",
    "[Unit]\nAfter=sysinit.target\n[Service]\nExecStart=/usr/lib/kiln-lab-hang\n",
);

#[test]
#[ignore = "5 boots: on the long list"]
fn a_machine_that_hangs_is_restarted_by_its_watchdog() -> Result<(), Failure> {
    let work = WorkDirectory::new("hangs")?;
    let releases = Releases::new(&work)?;
    releases.publish("hangs", &[HANG, UNIT])?;
    let mut life = Life::new("hangs", &work)?;
    life.add_device("i6300esb");
    life.upgrade_and_restart(&releases, "hangs")?;
    // Each try is ended by the watchdog.
    life.starts_again(TRIES)?;
    life.falls_back(&releases, &Left::first_upgrade("hangs", "start", &["health checks"]))?;
    life.succeed("test -c /dev/watchdog0")?;
    Ok(life.power_off()?)
}
