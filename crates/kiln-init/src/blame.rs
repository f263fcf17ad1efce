//! Whose fault a failed boot is, and what becomes of its boot file: pure decisions.
//!
//! Marking a boot file as bad makes the loader start another one next time, also when this one was
//! blessed long ago and its slot has rotted since. That helps only against what another release may
//! do better. What is wrong with the machine stays wrong in every release, and marking for it would
//! use up one good release after the other; so each kind of error is decided by name, and a new kind
//! does not compile before somebody has decided.

use crate::Error;
use crate::own;
use kiln_boot::entry::{EntryName, FOLDER};

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// What was booted: another release may well start.
    Entry,
    /// The machine or its data: no other release would do better.
    Machine,
    /// What somebody asked this machine to be: no release would do better, and this one did not fail.
    Configuration,
}

/// What becomes of a boot file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays: the loader has counted this boot.
    Keep,
    /// It is marked as bad, so that the loader starts another one.
    Bad,
    /// It is what it was before this boot: the boot did not count.
    GiveBack,
}

impl Blame {
    /// What it means for the boot file.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Entry => Verdict::Bad,
            Self::Machine => Verdict::Keep,
            Self::Configuration => Verdict::GiveBack,
        }
    }
}

/// Kernel answers that speak of the machine whatever was being done: its storage is full or was
/// turned read-only after an error (errno(3): `ENOMEM`, `ENOSPC`, `EROFS`, `EDQUOT`).
const MACHINE_ERRORS: [i32; 4] = [12, 28, 30, 122];
/// Beginnings of paths that are the machine's and not the release's.
const MACHINE_PATHS: [&str; 3] = ["/sysroot/state", "/state", "/dev/"];

/// Decides over an error.
#[must_use]
pub fn blame(error: &Error) -> Blame {
    match error {
        Error::CommandLine(_)
        | Error::Manifest(_)
        | Error::NoRoot { .. }
        | Error::Image(_)
        | Error::NoProgress { .. }
        | Error::Internal(_) => Blame::Entry,
        Error::Configuration { .. } => Blame::Configuration,
        Error::NoBootDisk { .. }
        | Error::TwoBootDisks { .. }
        | Error::Disk { .. }
        | Error::Table { .. }
        | Error::State { .. }
        | Error::Program { .. } => Blame::Machine,
        Error::File { path, source, .. } => by_subject(path, source.raw_os_error()),
        Error::System(kiln_sys::Error::Call { subject, source, .. }) => {
            by_subject(subject, source.raw_os_error())
        }
        // A newer release may know the newer state; what another root says may be right.
        Error::System(_)
        | Error::Etc(kiln_etc::Error::Newer { .. } | kiln_etc::Error::Setting { .. }) => {
            Blame::Entry
        }
        Error::Etc(kiln_etc::Error::File { path, source, .. }) => {
            by_subject(&path.to_string_lossy(), source.raw_os_error())
        }
        Error::Etc(kiln_etc::Error::System(kiln_sys::Error::Call { subject, source, .. })) => {
            by_subject(subject, source.raw_os_error())
        }
        Error::Etc(_) => Blame::Machine,
    }
}

fn by_subject(subject: &str, number: Option<i32>) -> Blame {
    let of_machine = MACHINE_PATHS.iter().any(|path| subject.starts_with(path))
        || number.is_some_and(|number| MACHINE_ERRORS.contains(&number));
    if of_machine { Blame::Machine } else { Blame::Entry }
}

/// Whether a path names a boot file directly in the folder that loaders list.
#[must_use]
pub fn is_listed(path: &str) -> bool {
    let Some((folder, name)) = path.rsplit_once('/') else { return false };
    folder.eq_ignore_ascii_case(FOLDER) && name.to_ascii_lowercase().ends_with(".efi")
}

fn name_of(path: &str) -> Option<EntryName> {
    path.rsplit('/').next()?.parse().ok()
}

/// The name that takes `own` out of the loader's choice; `None` if it has to stay as it is, because
/// nothing else could be started or because it is bad already. `files` are paths on the ESP.
///
/// A machine with one release must go on trying it: a marked entry would still be started, being the
/// only one, but nothing could tell any more that it is good.
#[must_use]
pub fn bad_name(files: &[String], own: &str) -> Option<String> {
    let name = name_of(own)?;
    let usable = |path: &&String| match name_of(path) {
        Some(other) => other.generation != name.generation && !other.is_bad(),
        None => is_recovery(path) && own::counter(path) != Some(0),
    };
    let another = files.iter().filter(|path| is_listed(path)).any(|path| usable(&path));
    (another && !name.is_bad()).then(|| name.bad().path())
}

/// The name that a boot file gets by a verdict; `None` if it keeps its own.
#[must_use]
pub fn new_name(files: &[String], own: &str, verdict: Verdict) -> Option<String> {
    match verdict {
        Verdict::Keep => None,
        Verdict::Bad => bad_name(files, own),
        Verdict::GiveBack => {
            let name = name_of(own)?;
            let back = name.given_back();
            (back != name).then(|| back.path())
        }
    }
}

fn is_recovery(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.to_ascii_lowercase().starts_with("kiln-recovery")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn failed_etc(path: &str, number: i32) -> kiln_etc::Error {
        let source = io::Error::from_raw_os_error(number);
        kiln_etc::Error::File { action: "read", path: path.into(), source }
    }

    fn failed_file(path: &str, number: i32) -> Error {
        let source = io::Error::from_raw_os_error(number);
        Error::File { action: "read", path: path.into(), source }
    }

    fn failed_call(subject: &str, number: i32) -> Error {
        let source = io::Error::from_raw_os_error(number);
        kiln_sys::Error::Call { call: "exec", subject: subject.into(), source }.into()
    }

    #[test]
    fn what_another_release_cannot_cure_is_the_machines() {
        let text = String::new;
        let root = Error::NoRoot { disk: text(), root: text(), tried: text() };
        let state = Error::State { device: text(), reason: text() };
        let two = Error::TwoBootDisks { first: text(), second: text() };
        let table = Error::Table { disk: text(), source: io::Error::from_raw_os_error(5) };
        let disk = Error::Disk { disk: text(), source: kiln_disk::Error::SectorSize(1) };
        let cases = [
            (root, Blame::Entry),
            (Error::Image("a first process".into()), Blame::Entry),
            (Error::Internal("x.rs:1".into()), Blame::Entry),
            (Error::CommandLine(text()), Blame::Entry),
            (Error::NoProgress { minutes: 10 }, Blame::Entry),
            (state, Blame::Machine),
            (two, Blame::Machine),
            (table, Blame::Machine),
            (disk, Blame::Machine),
            (Error::NoBootDisk { seconds: 30, seen: text() }, Blame::Machine),
            (Error::Program { program: text(), outcome: text() }, Blame::Machine),
            (failed_file("/sysroot/etc", 2), Blame::Entry),
            (failed_file("/sysroot/usr/lib/kiln/modules/6.12/list", 5), Blame::Entry),
            (failed_file("/sysroot/state/identity/machine-id", 5), Blame::Machine),
            (failed_file("/sysroot/etc/machine-id", 28), Blame::Machine),
            (failed_file("/dev/vda", 5), Blame::Machine),
            (Error::Etc(kiln_etc::Error::Newer { found: 3, known: 2 }), Blame::Entry),
            (
                Error::Etc(kiln_etc::Error::Format { path: "/state/kiln/format".into() }),
                Blame::Machine,
            ),
            (Error::Etc(failed_etc("/sysroot/state/etc/0123", 28)), Blame::Machine),
            (Error::Etc(failed_etc("/sysroot/etc/passwd", 5)), Blame::Entry),
            (failed_call("/usr/lib/systemd/systemd", 5), Blame::Entry),
            (failed_call("/sysroot/etc", 19), Blame::Entry),
            (failed_call("/dev/vda", 5), Blame::Machine),
        ];
        for (error, expected) in cases {
            assert_eq!(blame(&error), expected, "{error:?}");
        }
    }

    #[test]
    fn only_with_another_entry_the_own_one_is_marked() {
        let blessed = "EFI/Linux/kiln-00000002.efi";
        let counted = "EFI/Linux/kiln-00000002+2-1.efi";
        let bad = "EFI/Linux/kiln-00000002+0-3.efi";
        let older = "EFI/Linux/kiln-00000001.efi";
        let cases: [(&str, &[&str], bool); 12] = [
            (blessed, &[blessed, older], true),
            (counted, &[counted, older], true),
            (counted, &[counted, "efi/linux/KILN-00000001.EFI"], true),
            (blessed, &[blessed, "EFI/Linux/kiln-recovery.efi"], true),
            (counted, &[counted, "EFI/Linux/kiln-00000003+3-0.efi"], true),
            (blessed, &[blessed], false),
            (blessed, &[blessed, "EFI/Linux/kiln-00000001+0-3.efi"], false),
            (blessed, &[blessed, "EFI/Linux/kiln-recovery+0-3.efi"], false),
            (blessed, &[blessed, counted], false),
            (blessed, &[blessed, "EFI/kiln/kiln-00000003.efi", "EFI/Linux/x.efi"], false),
            (bad, &[bad, older], false),
            ("EFI/BOOT/BOOTX64.EFI", &[older], false),
        ];
        for (own, files, marked) in cases {
            let files: Vec<String> = files.iter().map(|&file| file.to_owned()).collect();
            let expected = marked.then(|| bad.to_owned());
            assert_eq!(bad_name(&files, own), expected, "{own} among {files:?}");
        }
    }
}
