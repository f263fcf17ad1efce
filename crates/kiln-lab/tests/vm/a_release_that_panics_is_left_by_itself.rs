//! Promise: a release whose kernel panics before anything of Kiln runs in user space is tried three
//! times and then left without anybody's help, and people are told how far it came.

use kiln_lab::releases::Piece;
use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Failure, Left, Life, Releases, WorkDirectory};

/// A unit that panics long before there is a login.
const PANICS: Piece<'_> = Piece::Unit(
    "panic.service",
    "sysinit.target.wants",
    "[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n\
     [Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo c > /proc/sysrq-trigger'\n",
);

#[test]
#[ignore = "5 boots: on the long list"]
fn a_release_that_panics_is_left_by_itself() -> Result<(), Failure> {
    let work = WorkDirectory::new("panics")?;
    let releases = Releases::new(&work)?;
    releases.publish("panics", &[PANICS])?;
    let mut life = Life::new("panics", &work)?;
    life.upgrade_and_restart(&releases, "panics")?;
    for left in [2, 1, 0] {
        life.machine()?.expect("Kernel panic", BOOT)?;
        let expected = format!("kiln-00000002+{left}-{}.efi", 3 - left);
        assert_eq!(life.boot_files()?, ["kiln-00000001.efi", expected.as_str()]);
        life.say("panicked");
    }
    life.falls_back(&releases, &Left::first_upgrade("panics", "start", &["health checks"]))?;
    Ok(life.power_off()?)
}
