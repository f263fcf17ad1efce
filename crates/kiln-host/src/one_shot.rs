//! What the loader starts next time only: a variable of the firmware, which systemd-boot reads and
//! removes (boot loader interface, `LoaderEntryOneShot`).
//!
//! Used for recovery, which must be chosen without changing what the machine starts afterwards. A
//! `default` in the loader's configuration was dropped: it stays, and a machine that cannot get through
//! recovery would start it for ever.
//!
//! The kernel protects variables that it does not know with the immutable flag.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use kiln_boot::one_shot::{LOADER, NAME, recovery};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::Error;
use crate::machine::{Machine, Paths};

/// Lets the next boot, and no other, start recovery.
///
/// # Errors
/// [`Error::Refused`] if there is no usable recovery or no loader that would hear of it, and
/// [`Error::File`].
pub fn start_recovery(paths: &Paths, machine: &Machine) -> Result<(), Error> {
    let refuse = |reason: &str, hint: &str| {
        Err(Error::Refused { reason: reason.to_owned(), hint: hint.to_owned() })
    };
    if !machine.recovery.as_ref().is_some_and(|recovery| recovery.is_usable) {
        return refuse(
            "recovery holds nothing that starts",
            "`kiln upgrade --recovery` fills it with the running release",
        );
    }
    if !paths.variables.join(LOADER).exists() {
        return refuse(
            "no boot loader says that it hears of it",
            "restart and choose recovery in the boot menu (hold the space bar)",
        );
    }
    cancel(paths)?;
    let path = one_shot(paths);
    // One write is one variable.
    File::create(&path)
        .and_then(|mut file| file.write_all(&recovery()))
        .map_err(|source| Error::file("write", &path, source))
}

/// Forgets what was chosen for the next boot; whether anything was.
///
/// # Errors
/// [`Error::File`].
pub fn cancel(paths: &Paths) -> Result<bool, Error> {
    let path = one_shot(paths);
    match remove(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::file("remove", &path, source)),
    }
}

/// Whether the next boot starts recovery because somebody chose it.
#[must_use]
pub fn is_recovery_next(paths: &Paths) -> bool {
    // Firmware may keep other attributes than were asked for.
    let found = fs::read(one_shot(paths)).ok();
    found.as_deref().and_then(|bytes| bytes.get(4..)) == recovery().get(4..)
}

fn remove(path: &Path) -> std::io::Result<()> {
    let file = File::open(path)?;
    // Other file systems have no such flags, and need none to be taken away.
    if let Ok(flags) = ioctl_getflags(&file)
        && flags.contains(IFlags::IMMUTABLE)
    {
        ioctl_setflags(&file, flags - IFlags::IMMUTABLE)?;
    }
    fs::remove_file(path)
}

fn one_shot(paths: &Paths) -> PathBuf {
    paths.variables.join(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::RecoverySlot;
    use crate::plan::test_support::machine;

    #[test]
    fn recovery_is_chosen_once_and_can_be_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::below(folder.path());
        fs::create_dir_all(&paths.variables).unwrap();
        let mut machine = machine();
        assert!(start_recovery(&paths, &machine).is_err(), "there is no recovery");
        let mut recovery = RecoverySlot {
            length: 1,
            root: None,
            is_usable: true,
            is_signed: false,
            release: None,
        };
        machine.recovery = Some(recovery.clone());
        assert!(start_recovery(&paths, &machine).is_err(), "there is no loader");
        fs::write(paths.variables.join(LOADER), b"x").unwrap();

        for _ in 0..2 {
            start_recovery(&paths, &machine).unwrap();
            assert!(is_recovery_next(&paths));
        }
        assert_eq!(fs::read(one_shot(&paths)).unwrap(), super::recovery());
        assert!(cancel(&paths).unwrap() && !cancel(&paths).unwrap());
        assert!(!is_recovery_next(&paths));

        recovery.is_usable = false;
        machine.recovery = Some(recovery);
        assert!(start_recovery(&paths, &machine).is_err(), "its slot is damaged");
    }
}
