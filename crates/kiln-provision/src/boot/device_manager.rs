//! The image's udev while disks or the network are needed before the system runs.
//!
//! It loads drivers and makes the names below `/dev/disk` that documents use. It is ended before the
//! system starts, whose own begins with an empty table of processes but keeps what this one has found out.

use std::path::{Path, PathBuf};

use crate::{Error, Invocation, Programs};

/// Places of the daemon inside the root, in the order of preference.
const DAEMONS: [&str; 3] =
    ["/usr/lib/systemd/systemd-udevd", "/lib/systemd/systemd-udevd", "/usr/sbin/udevd"];
/// What is asked of it first: all drivers, then all devices, then an end of the queue.
const ROUNDS: [&[&str]; 3] = [
    &["trigger", "--type=subsystems", "--action=add"],
    &["trigger", "--type=devices", "--action=add"],
    &["settle", "--timeout=60"],
];

/// udevadm does nothing in a root that is not that of the first process, unless it is told that this is
/// meant (systemd, docs/ENVIRONMENT.md).
const ENVIRONMENT: (&str, &str) = ("SYSTEMD_IGNORE_CHROOT", "1");

/// udev of the image.
pub(super) struct DeviceManager {
    root: PathBuf,
    runs: bool,
}

impl DeviceManager {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, runs: false }
    }

    /// Starts it and waits until it has seen every device. An image without udev has all drivers loaded
    /// or built in, and no names but the kernel's.
    pub(super) fn want(
        &mut self,
        programs: &mut dyn Programs,
        say: &dyn Fn(&str),
    ) -> Result<(), Error> {
        if self.runs {
            return Ok(());
        }
        let is_there = |path: &&&str| self.root.join(path.trim_start_matches('/')).exists();
        let Some(daemon) = DAEMONS.iter().find(is_there) else {
            say("the image has no udev: only the kernel's own names of devices are known");
            return Ok(());
        };
        self.call(programs, daemon, &["--daemon"], say)?;
        self.runs = true;
        for round in ROUNDS {
            self.call(programs, "udevadm", round, say)?;
        }
        Ok(())
    }

    /// Ends it.
    pub(super) fn leave(&mut self, programs: &mut dyn Programs, say: &dyn Fn(&str)) {
        if !self.runs {
            return;
        }
        self.runs = false;
        if let Err(error) = self.call(programs, "udevadm", &["control", "--exit"], say) {
            say(&error.sentence());
        }
    }

    fn call(
        &self,
        programs: &mut dyn Programs,
        program: &str,
        arguments: &[&str],
        say: &dyn Fn(&str),
    ) -> Result<(), Error> {
        let environment = [(ENVIRONMENT.0.to_owned(), ENVIRONMENT.1.to_owned())];
        let finished = programs.run(&Invocation {
            program,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: &environment,
            root: Path::new(&self.root),
        })?;
        // A device that takes too long is missed where it is needed, by its name.
        if let Some(fault) = finished.fault {
            say(&format!("{program} {}: {fault}", arguments.join(" ")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::DeviceManager;
    use crate::{Error, Finished, Invocation, Programs};

    #[derive(Default)]
    struct Recorded(Vec<String>);

    impl Programs for Recorded {
        fn run(&mut self, invocation: &Invocation<'_>) -> Result<Finished, Error> {
            assert_eq!(invocation.environment, [("SYSTEMD_IGNORE_CHROOT".into(), "1".into())]);
            self.0.push(format!("{} {}", invocation.program, invocation.arguments.join(" ")));
            Ok(Finished::default())
        }
    }

    #[test]
    fn it_runs_once_where_the_image_has_it_and_is_ended() {
        let root = tempfile::tempdir().unwrap();
        let (mut programs, said) = (Recorded::default(), Cell::new(0));
        let say = |_: &str| said.set(said.get() + 1);
        let mut manager = DeviceManager::new(root.path().into());
        manager.want(&mut programs, &say).unwrap();
        manager.leave(&mut programs, &say);
        assert!(programs.0.is_empty() && said.get() == 1, "{:?}", programs.0);

        let folder = root.path().join("usr/lib/systemd");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("systemd-udevd"), "").unwrap();
        let say = |line: &str| panic!("{line}");
        for _ in 0..2 {
            manager.want(&mut programs, &say).unwrap();
        }
        for _ in 0..2 {
            manager.leave(&mut programs, &say);
        }
        let expected = [
            "/usr/lib/systemd/systemd-udevd --daemon",
            "udevadm trigger --type=subsystems --action=add",
            "udevadm trigger --type=devices --action=add",
            "udevadm settle --timeout=60",
            "udevadm control --exit",
        ];
        assert_eq!(programs.0, expected);
    }
}
