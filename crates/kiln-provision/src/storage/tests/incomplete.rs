//! A later boot at which a disk is missing.

use std::fs;

use kiln_config::Action;

use super::{done, raid, system};
use crate::storage::kit::Bench;

#[test]
fn an_array_that_waits_for_a_missing_member_is_started_as_it_is() {
    let bench = Bench::new();
    done(&bench, &[raid("data", &["/dev/vdb", "/dev/vdc"])]);
    bench.log();
    fs::remove_file(bench.path("dev/md/data")).unwrap();
    fs::remove_file(bench.path("dev/vdc")).unwrap();
    // udev has put the one that is there into an array that does not run.
    bench.world.borrow_mut().below.insert("md127".into(), "vdb".into());
    bench.with(|disks| disks.reopen()).unwrap();
    assert_eq!(bench.log(), ["mdadm --run /dev/md127"]);
    // Where that does not help, it is assembled from what is there.
    fs::remove_file(bench.path("dev/md/data")).unwrap();
    bench.world.borrow_mut().bad = Some("--run /dev/md127".into());
    bench.with(|disks| disks.reopen()).unwrap();
    let log = bench.log();
    assert!(log[1].starts_with("mdadm --assemble --run "), "{log:?}");
    assert!(bench.world.borrow().said.iter().any(|line| line.contains("broken")));
}

#[test]
fn an_array_that_only_optional_file_systems_lie_on_may_be_missing() {
    let optional = |option: &str| {
        let mut wanted = system("/dev/md/data", "ext4", "/srv/a", false);
        wanted.mount_options = vec![option.into()];
        [raid("data", &["/dev/vdb", "/dev/vdc"]), Action::Filesystem(wanted)]
    };
    for (option, is_fatal) in [("nofail", false), ("noatime", true)] {
        let bench = Bench::new();
        done(&bench, &optional(option));
        fs::remove_file(bench.path("dev/md/data")).unwrap();
        bench.world.borrow_mut().bad = Some("--assemble".into());
        assert_eq!(bench.with(|disks| disks.reopen()).is_err(), is_fatal, "{option}");
    }
}

#[test]
fn programs_are_told_whether_udev_answers_them() {
    for (runs, expected) in [(false, "DM_DISABLE_UDEV"), (true, "SYSTEMD_IGNORE_CHROOT")] {
        let bench = Bench::new();
        if runs {
            fs::create_dir_all(bench.path("run/udev")).unwrap();
            fs::write(bench.path("run/udev/control"), "").unwrap();
            fs::write(bench.path("usr/sbin/udevadm"), "").unwrap();
        }
        done(&bench, &[raid("data", &["/dev/vdb", "/dev/vdc"])]);
        let world = bench.world.borrow();
        assert_eq!(world.variables.iter().collect::<Vec<_>>(), [expected]);
    }
}
