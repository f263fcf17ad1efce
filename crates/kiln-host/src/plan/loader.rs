//! Whether the boot loader on the ESP is replaced by the one that the running release brings.
//!
//! A loader starts every revision, so nothing falls back from a bad one: it is touched as seldom as can
//! be. Only what has proved itself brings one, only a newer one is taken, and where signatures count only
//! one that is signed by the same people as the one that the firmware starts today. Going back to an older
//! release leaves it: a loader starts what is older than itself.

use std::cmp::Ordering;
use std::fmt;

use kiln_boot::entry::compare_versions;

use crate::loader::Loader;
use crate::machine::{LoaderFile, Machine};

/// What the running release brings, and who is asked for signatures.
#[derive(Debug, Clone, Copy)]
pub struct LoaderOffer<'a> {
    /// The loaders of the verified root, at most one for each processor.
    pub loaders: &'a [Loader],
    /// Whether an overlay hides what the root hash proves.
    pub is_overlaid: bool,
    /// Whether the firmware starts only what is signed, as [`crate::secure_boot`] says it.
    pub secure_boot: Option<bool>,
}

/// What becomes of one loader on the ESP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderPlan {
    /// Its path on the ESP.
    pub path: String,
    /// What becomes of it.
    pub verdict: LoaderVerdict,
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoaderVerdict {
    /// It is replaced, and the old one kept beside it.
    Replace {
        /// Its version.
        from: String,
        /// The version of the new one.
        to: String,
    },
    /// It stays.
    Keep(LoaderKept),
}

/// Why a loader stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoaderKept {
    /// The running release has not proved itself, or is recovery's.
    NotProved,
    /// A debug overlay hides the release's own files.
    Overlaid,
    /// It is none that Kiln knows, such as shim.
    Foreign,
    /// The release brings none for this processor.
    NotBrought,
    /// It has this version already.
    Current(String),
    /// It is newer.
    Newer {
        /// Its version.
        here: String,
        /// The version that the release brings.
        brought: String,
    },
    /// The new one is not signed, and here only what is signed is trusted.
    Unsigned(String),
    /// The new one is signed by others than the one that starts this machine.
    OtherSigner(String),
    /// The ESP has no room for it and the old one.
    NoRoom {
        /// Bytes that both need.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
}

impl fmt::Display for LoaderKept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotProved => formatter.write_str("no release that has proved itself runs"),
            Self::Overlaid => formatter.write_str("a debug overlay hides the release's own files"),
            Self::Foreign => formatter.write_str("it is not systemd-boot"),
            Self::NotBrought => formatter.write_str("the release brings none"),
            Self::Current(version) => write!(formatter, "it is {version} already"),
            Self::Newer { here, brought } => {
                write!(formatter, "it is {here}, newer than {brought} of the release")
            }
            Self::Unsigned(version) => {
                write!(formatter, "{version} of the release is not signed, which it must be here")
            }
            Self::OtherSigner(version) => write!(
                formatter,
                "{version} of the release is signed by others than the one that starts this machine"
            ),
            Self::NoRoom { needed, available } => write!(
                formatter,
                "the ESP needs {needed} bytes for the new one and the old, {available} are free"
            ),
        }
    }
}

/// Judges every loader on the ESP, in the order in which they are to be replaced.
#[must_use]
pub fn loaders(machine: &Machine, offer: &LoaderOffer<'_>) -> Vec<LoaderPlan> {
    let mut available = machine.system_partition.free;
    let judge = |file: &LoaderFile| {
        let verdict = match judge(machine, offer, file, &mut available) {
            Ok((from, to)) => LoaderVerdict::Replace { from, to },
            Err(kept) => LoaderVerdict::Keep(kept),
        };
        LoaderPlan { path: file.path.clone(), verdict }
    };
    machine.loaders.iter().map(judge).collect()
}

/// Both versions if a loader is to be replaced; takes the room that this costs.
fn judge(
    machine: &Machine,
    offer: &LoaderOffer<'_>,
    file: &LoaderFile,
    available: &mut u64,
) -> Result<(String, String), LoaderKept> {
    let is_proved = machine.booted_entry().is_some_and(|entry| entry.name.counter.is_none());
    // Recovery's copy in place of a damaged slot is the same root, proved by the same hash.
    if machine.booted.is_recovery || !is_proved {
        return Err(LoaderKept::NotProved);
    }
    if offer.is_overlaid {
        return Err(LoaderKept::Overlaid);
    }
    let here = file.loader.as_ref().ok_or(LoaderKept::Foreign)?;
    let fits = |brought: &&Loader| brought.architecture == here.architecture;
    let brought = offer.loaders.iter().find(fits).ok_or(LoaderKept::NotBrought)?;
    let version = || brought.version.clone();
    match compare_versions(&here.version, &brought.version) {
        Ordering::Equal => return Err(LoaderKept::Current(version())),
        Ordering::Greater => {
            return Err(LoaderKept::Newer { here: here.version.clone(), brought: version() });
        }
        Ordering::Less => {}
    }
    let is_enforced = offer.secure_boot == Some(true);
    if (is_enforced || here.is_signed || machine.is_sealed() == Some(true)) && !brought.is_signed {
        return Err(LoaderKept::Unsigned(version()));
    }
    if (is_enforced || here.is_signed) && !here.shares_a_certificate(brought) {
        return Err(LoaderKept::OtherSigner(version()));
    }
    // The old one beside, then the new one while the old still has its place.
    let cluster = machine.system_partition.cluster.max(1);
    let whole = |length: u64| length.div_ceil(cluster).saturating_mul(cluster);
    // One more for a folder that has to grow by the old one's name.
    let needed = whole(here.length).saturating_add(whole(brought.length)).saturating_add(cluster);
    if needed > *available {
        return Err(LoaderKept::NoRoom { needed, available: *available });
    }
    *available -= needed;
    Ok((here.version.clone(), version()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::test_loader;
    use crate::plan::test_support::machine;

    fn file(path: &str, loader: Option<Loader>) -> LoaderFile {
        LoaderFile { path: path.into(), length: 0x600, loader }
    }

    /// Generation 2 runs, blessed; the firmware's fallback path has this loader.
    fn with(loader: Option<Loader>) -> Machine {
        let mut machine = machine();
        machine.loaders = vec![file("EFI/BOOT/BOOTX64.EFI", loader)];
        machine
    }

    fn verdict(machine: &Machine, brought: &[Loader], secure_boot: Option<bool>) -> LoaderVerdict {
        let offer = LoaderOffer { loaders: brought, is_overlaid: false, secure_boot };
        loaders(machine, &offer).remove(0).verdict
    }

    fn replace(from: &str, to: &str) -> LoaderVerdict {
        LoaderVerdict::Replace { from: from.into(), to: to.into() }
    }

    #[test]
    fn only_a_newer_one_is_taken() {
        let old = |version: &str| test_loader(version, &[]);
        for (here, brought, is_newer) in [
            ("252.39-1~deb12u2", "257.13-1~deb13u1", true),
            ("257.9-1~deb13u1", "257.13-1~deb13u1", true),
            ("257.13-1~deb13u1", "257.13-1~deb13u2", true),
            ("257.13-1~deb13u1", "257.13-1", true),
            ("257~rc1", "257", true),
            ("257", "257.1", true),
            ("99", "257", true),
            ("257.13-1", "257.13-1", false),
            ("257.13-1", "257.13-1~deb13u1", false),
            ("262.1-1", "257.13-1", false),
            ("257", "257~rc1", false),
        ] {
            let found = verdict(&with(Some(old(here))), &[old(brought)], None);
            let expected = match (is_newer, here == brought) {
                (true, _) => replace(here, brought),
                (false, true) => LoaderVerdict::Keep(LoaderKept::Current(here.into())),
                (false, false) => LoaderVerdict::Keep(LoaderKept::Newer {
                    here: here.into(),
                    brought: brought.into(),
                }),
            };
            assert_eq!(found, expected, "{here} {brought}");
        }
    }

    #[test]
    fn only_what_has_proved_itself_brings_one() {
        type Edit = fn(&mut Machine);
        let cases: [(Edit, LoaderKept); 6] = [
            (
                |machine| machine.entries[0].name = "kiln-00000002+2-1.efi".parse().unwrap(),
                LoaderKept::NotProved,
            ),
            (|machine| machine.booted.generation = None, LoaderKept::NotProved),
            (|machine| machine.booted.is_recovery = true, LoaderKept::NotProved),
            (|machine| machine.loaders[0].loader = None, LoaderKept::Foreign),
            (
                |machine| {
                    let loader = machine.loaders[0].loader.as_mut().unwrap();
                    loader.architecture = kiln_boot::uki::format::Architecture::Aarch64;
                },
                LoaderKept::NotBrought,
            ),
            (
                |machine| machine.system_partition.free = 3 * 4096 - 1,
                LoaderKept::NoRoom { needed: 3 * 4096, available: 3 * 4096 - 1 },
            ),
        ];
        let brought = [test_loader("257", &[])];
        for (change, expected) in cases {
            let mut machine = with(Some(test_loader("252", &[])));
            change(&mut machine);
            let found = verdict(&machine, &brought, None);
            assert_eq!(found, LoaderVerdict::Keep(expected.clone()), "{expected}");
        }
        let machine = with(Some(test_loader("252", &[])));
        assert_eq!(verdict(&machine, &[], None), LoaderVerdict::Keep(LoaderKept::NotBrought));
        let offer = LoaderOffer { loaders: &brought, is_overlaid: true, secure_boot: None };
        let plan = loaders(&machine, &offer).remove(0);
        assert_eq!(plan.verdict, LoaderVerdict::Keep(LoaderKept::Overlaid));
    }

    #[test]
    fn where_signatures_count_only_the_same_people_may_bring_one() {
        let (ours, others): (&[&[u8]], &[&[u8]]) = (&[b"ours"], &[b"others"]);
        let unsigned = LoaderVerdict::Keep(LoaderKept::Unsigned("257".into()));
        let other = LoaderVerdict::Keep(LoaderKept::OtherSigner("257".into()));
        let new = replace("252", "257");
        for (here, brought, secure_boot, sealed, expected) in [
            (&[][..], &[][..], None, false, &new),
            (&[], &[], Some(false), false, &new),
            (&[], &[], Some(true), false, &unsigned),
            (&[], &[], Some(false), true, &unsigned),
            (ours, &[], Some(false), false, &unsigned),
            (ours, others, Some(false), false, &other),
            (ours, others, Some(true), true, &other),
            (&[], ours, Some(true), false, &other),
            (&[], ours, Some(false), true, &new),
            (ours, ours, Some(true), true, &new),
            (&[], ours, None, false, &new),
        ] {
            let mut machine = with(Some(test_loader("252", here)));
            machine.entries[0].is_signed = sealed;
            let found = verdict(&machine, &[test_loader("257", brought)], secure_boot);
            assert_eq!(&found, expected, "{secure_boot:?} {sealed}");
        }
    }

    #[test]
    fn room_is_counted_for_all_of_them() {
        let mut machine = with(Some(test_loader("252", &[])));
        machine
            .loaders
            .push(file("EFI/systemd/systemd-bootx64.efi", machine.loaders[0].loader.clone()));
        machine.loaders.push(file("EFI/BOOT/BOOTAA64.EFI", None));
        let brought = [test_loader("257", &[])];
        let offer = LoaderOffer { loaders: &brought, is_overlaid: false, secure_boot: None };
        for (free, expected) in [(6 * 4096, 2), (6 * 4096 - 1, 1), (0, 0)] {
            machine.system_partition.free = free;
            let plans = loaders(&machine, &offer);
            assert_eq!(plans.len(), 3);
            let replaced =
                plans.iter().filter(|plan| plan.verdict == replace("252", "257")).count();
            assert_eq!(replaced, expected, "{free}");
            assert_eq!(plans[2].verdict, LoaderVerdict::Keep(LoaderKept::Foreign));
        }
    }
}
