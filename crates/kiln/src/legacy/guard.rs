//! What is looked at before a call is carried out, because documents make it at every boot.
//!
//! `elemental install /dev/sda` stands in files that run on the medium and, once installed, on the
//! disk itself. On the first it installs, on the second it must leave every byte alone. A machine that
//! cannot be read is never written: that is an error, and not a guess.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_host::machine::{Machine, Paths};
use kiln_host::{Error, execute};

use super::translation::{Guard, Translation};
use crate::render::Failure;

/// How long a disk that a document names may take to appear; slow controllers need about 20 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked for.
const PAUSE: Duration = Duration::from_millis(200);

/// What comes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is carried out.
    Go,
    /// There is nothing to do, and why.
    Nothing(String),
    /// This is carried out in its place.
    Instead(Box<Translation>),
}

/// What counts of a machine of Kiln's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Here {
    /// The disk that it runs from.
    disk: PathBuf,
    /// Whether this is the recovery mode.
    is_recovery: bool,
    /// Whether an installation brought the system, and not a medium that was written as it is.
    is_installed: bool,
    /// Whether there is a system that starts.
    has_system: bool,
}

impl Here {
    fn of(machine: &Machine) -> Self {
        Self {
            disk: real(Path::new(&machine.disk)),
            is_recovery: machine.booted.is_recovery,
            is_installed: machine.origin.is_some(),
            has_system: machine.entries.iter().any(kiln_host::machine::BootEntry::is_usable),
        }
    }
}

/// Looks at the machine and decides.
pub(super) fn look(guard: &Guard, paths: &Paths) -> Result<Decision, Failure> {
    let here = match execute::status(paths) {
        Ok(machine) => Some(Here::of(&machine)),
        Err(Error::NotKiln { .. }) if !paths.facts.exists() => None,
        Err(error) => return Err(error.into()),
    };
    let target = match guard {
        Guard::Install { target, .. } => {
            let node = paths.node(&target.to_string_lossy());
            wait_for(Path::new(&node), PATIENCE);
            real(Path::new(&node))
        }
        Guard::Deploy { .. } => PathBuf::new(),
    };
    decide(guard, &target, here.as_ref())
}

/// Waits for a disk that its driver may not have shown yet: documents ask for it by name as soon as there
/// is a network, and no unit of theirs waits for disks. That it is missing is said by the installation.
fn wait_for(node: &Path, patience: Duration) {
    let end = Instant::now() + patience;
    while !node.exists() && Instant::now() < end {
        std::thread::sleep(PAUSE);
    }
}

/// Where a name of a disk leads.
fn real(node: &Path) -> PathBuf {
    fs::canonicalize(node).unwrap_or_else(|_| node.to_owned())
}

/// Decides. `target` is where the name of the disk leads.
fn decide(guard: &Guard, target: &Path, here: Option<&Here>) -> Result<Decision, Failure> {
    let Some(here) = here else { return Ok(Decision::Go) };
    let disk = here.disk.display();
    Ok(match guard {
        Guard::Install { instead, force, .. } if target == here.disk => {
            if !here.is_recovery {
                Decision::Nothing(format!("nothing to do: this machine runs from {disk}"))
            } else if here.has_system && !force {
                Decision::Nothing(format!(
                    "nothing to do: {disk} has a system, and this is its recovery; `--force` \
                     writes one anew"
                ))
            } else {
                Decision::Instead(instead.clone())
            }
        }
        Guard::Install { target: named, force, .. } => {
            if here.is_installed && !here.is_recovery && !force {
                let named = named.to_string_lossy();
                Decision::Nothing(format!(
                    "nothing to do: this machine is installed on {disk}; `--force` erases {named}"
                ))
            } else {
                Decision::Go
            }
        }
        Guard::Deploy { force } => {
            if here.has_system && !force {
                return Err(Failure::new(
                    format!("{disk} has a system that starts"),
                    "`--force` writes one anew; to replace a running one, use `kiln upgrade`",
                ));
            }
            Decision::Go
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(words: &str) -> Option<Here> {
        (words != "other").then(|| Here {
            disk: "/dev/sda".into(),
            is_recovery: words.contains("recovery"),
            is_installed: words.contains("installed"),
            has_system: words.contains("system"),
        })
    }

    #[test]
    fn a_disk_that_comes_late_is_waited_for_and_one_that_never_comes_is_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let node = folder.path().join("sda");
        wait_for(&node, Duration::ZERO);
        let late = node.clone();
        let driver = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            fs::write(late, "").unwrap();
        });
        wait_for(&node, Duration::from_secs(600));
        assert!(node.exists());
        driver.join().unwrap();
    }

    #[test]
    fn a_call_at_every_boot_does_no_harm() {
        for (words, target, force, expected) in [
            ("other", "/dev/sda", false, "go"),
            ("live system", "/dev/sdb", false, "go"),
            ("live system", "/dev/sda", false, "runs from /dev/sda"),
            ("installed system", "/dev/sda", false, "runs from /dev/sda"),
            ("installed system", "/dev/sda", true, "runs from /dev/sda"),
            ("installed system", "/dev/sdb", false, "installed on /dev/sda"),
            ("installed system", "/dev/sdb", true, "go"),
            ("recovery", "/dev/sda", false, "instead"),
            ("installed recovery", "/dev/sda", false, "instead"),
            ("recovery system", "/dev/sda", false, "has a system"),
            ("recovery system", "/dev/sda", true, "instead"),
            ("installed recovery system", "/dev/sdb", false, "go"),
        ] {
            let instead = Box::new(Translation::default());
            let guard = Guard::Install { target: target.into(), force, instead };
            let found = match decide(&guard, Path::new(target), here(words).as_ref()) {
                Ok(Decision::Go) => "go".to_owned(),
                Ok(Decision::Nothing(why)) => why,
                Ok(Decision::Instead(_)) => "instead".to_owned(),
                Err(_) => panic!("{words}: an installation is never an error"),
            };
            assert!(found.contains(expected), "{words} {target} {force}: {found}");
        }
    }

    #[test]
    fn recovery_brings_a_system_once() {
        for (words, force, goes) in [
            ("other", false, true),
            ("recovery", false, true),
            ("recovery system", false, false),
            ("recovery system", true, true),
            ("installed system", false, false),
        ] {
            let found = decide(&Guard::Deploy { force }, Path::new(""), here(words).as_ref());
            assert_eq!(found.is_ok(), goes, "{words} {force}");
        }
    }
}
