//! Whether the boot loader on the ESP is replaced by the one that the running release brings.
//!
//! A loader starts every revision, so nothing falls back from a bad one: it is touched as seldom as can
//! be. Only what has proved itself brings one, only a newer one is taken, and where signatures count only
//! one that is signed by the same people as the one that the firmware starts today. Going back to an older
//! release leaves it: a loader starts what is older than itself.
//!
//! shim and the systemd-boot behind it are one set. The second is judged by what the shim in front of it
//! starts today, and shim itself only if its newer version starts what the second will be by then: so
//! at every moment between two writes there is a pair that starts.

use std::cmp::Ordering;
use std::fmt;

use kiln_boot::entry::compare_versions;
use kiln_boot::loader_set::beside;
use kiln_boot::shim::Shim;

use crate::loader::{Loader, LoaderKind};
use crate::machine::{LoaderFile, Machine};

/// What the running release brings, and who is asked for signatures.
#[derive(Debug, Clone, Copy)]
pub struct LoaderOffer<'a> {
    /// The loaders of the verified root, at most one of each kind for each processor.
    pub loaders: &'a [Loader],
    /// Bytes of what is laid beside shim to enrol keys; 0 without.
    pub key_manager: u64,
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
    /// It is none that Kiln knows.
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
    /// The new one is signed by others than the one that starts this machine, and no shim here would
    /// start it.
    OtherSigner(String),
    /// The new shim does not start what would be behind it.
    SecondStage(String),
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
            Self::Foreign => formatter.write_str("it is neither systemd-boot nor shim"),
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
            Self::SecondStage(version) => {
                write!(formatter, "{version} of the release would not start the loader behind it")
            }
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
    let mut plans: Vec<LoaderPlan> = Vec::new();
    for file in &machine.loaders {
        let verdict = match judge(machine, offer, file, &plans, &mut available) {
            Ok((from, to)) => LoaderVerdict::Replace { from, to },
            Err(kept) => LoaderVerdict::Keep(kept),
        };
        plans.push(LoaderPlan { path: file.path.clone(), verdict });
    }
    plans
}

/// Both versions if a loader is to be replaced; takes the room that this costs.
fn judge(
    machine: &Machine,
    offer: &LoaderOffer<'_>,
    file: &LoaderFile,
    plans: &[LoaderPlan],
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
    let brought = offer.like(here).ok_or(LoaderKept::NotBrought)?;
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
    // What shim starts has to please shim, whoever signed the one before.
    let starts = |shim: &Shim| shim.vouches_for(&brought.certificates);
    let is_started =
        here.shares_a_certificate(brought) || shim_before(machine, file).is_some_and(starts);
    if (is_enforced || here.is_signed) && !is_started {
        return Err(LoaderKept::OtherSigner(version()));
    }
    let mut lengths = vec![here.length, brought.length];
    if let (LoaderKind::Shim(old), LoaderKind::Shim(new)) = (&here.kind, &brought.kind) {
        let second = second_stage(machine, offer, plans, &beside(&file.path, &old.second_stage));
        let is_started = second.is_some_and(|second| new.vouches_for(&second.certificates));
        if !is_started || !old.second_stage.eq_ignore_ascii_case(&new.second_stage) {
            return Err(LoaderKept::SecondStage(version()));
        }
        // The old key manager has about the new one's length.
        lengths.extend([offer.key_manager; 2]);
    }
    // The old one beside, then the new one while the old still has its place.
    let cluster = machine.system_partition.cluster.max(1);
    let whole = |length: u64| length.div_ceil(cluster).saturating_mul(cluster);
    let sum = |sum: u64, length: u64| sum.saturating_add(whole(length));
    // One more for a folder that has to grow by the old one's name.
    let needed = lengths.into_iter().fold(cluster, sum);
    if needed > *available {
        return Err(LoaderKept::NoRoom { needed, available: *available });
    }
    *available -= needed;
    Ok((here.version.clone(), version()))
}

impl LoaderOffer<'_> {
    /// The loader of the same kind for the same processor.
    fn like(&self, here: &Loader) -> Option<&Loader> {
        let fits = |brought: &&Loader| {
            brought.architecture == here.architecture && brought.kind.name() == here.kind.name()
        };
        self.loaders.iter().find(fits)
    }
}

/// The shim that starts a file.
fn shim_before<'a>(machine: &'a Machine, file: &LoaderFile) -> Option<&'a Shim> {
    machine.loaders.iter().find_map(|other| match &other.loader.as_ref()?.kind {
        LoaderKind::Shim(shim) => {
            let second = beside(&other.path, &shim.second_stage);
            second.eq_ignore_ascii_case(&file.path).then_some(shim)
        }
        LoaderKind::SystemdBoot => None,
    })
}

/// What a shim finds to start when everything before it is done; `None` if that is older than what
/// the release has, because a newer shim may refuse what is old, or no systemd-boot.
fn second_stage<'a>(
    machine: &'a Machine,
    offer: &'a LoaderOffer<'_>,
    plans: &[LoaderPlan],
    path: &str,
) -> Option<&'a Loader> {
    let is_it = |found: &str| found.eq_ignore_ascii_case(path);
    let here = machine.loaders.iter().find(|file| is_it(&file.path))?.loader.as_ref()?;
    match &plans.iter().find(|plan| is_it(&plan.path))?.verdict {
        LoaderVerdict::Replace { .. } => offer.like(here),
        LoaderVerdict::Keep(LoaderKept::Current(_) | LoaderKept::Newer { .. }) => Some(here),
        LoaderVerdict::Keep(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::{test_certificate, test_loader, test_shim};
    use crate::plan::test_support::machine;

    fn file(path: &str, loader: Option<Loader>) -> LoaderFile {
        LoaderFile { path: path.into(), length: 0x600, loader }
    }

    fn offer<'a>(loaders: &'a [Loader], secure_boot: Option<bool>) -> LoaderOffer<'a> {
        LoaderOffer { loaders, key_manager: 0, is_overlaid: false, secure_boot }
    }

    /// Generation 2 runs, blessed; the firmware's fallback path has this loader.
    fn with(loader: Option<Loader>) -> Machine {
        let mut machine = machine();
        machine.loaders = vec![file("EFI/BOOT/BOOTX64.EFI", loader)];
        machine
    }

    fn verdict(machine: &Machine, brought: &[Loader], secure_boot: Option<bool>) -> LoaderVerdict {
        let offered = offer(brought, secure_boot);
        loaders(machine, &offered).remove(0).verdict
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
        let offered = LoaderOffer { is_overlaid: true, ..offer(&brought, None) };
        let plan = loaders(&machine, &offered).remove(0);
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
        let offered = offer(&brought, None);
        for (free, expected) in [(6 * 4096, 2), (6 * 4096 - 1, 1), (0, 0)] {
            machine.system_partition.free = free;
            let plans = loaders(&machine, &offered);
            assert_eq!(plans.len(), 3);
            let replaced =
                plans.iter().filter(|plan| plan.verdict == replace("252", "257")).count();
            assert_eq!(replaced, expected, "{free}");
            assert_eq!(plans[2].verdict, LoaderVerdict::Keep(LoaderKept::Foreign));
        }
    }
    const SECOND: &str = "EFI/BOOT/grubx64.efi";

    /// A machine whose firmware starts this shim, and that this loader.
    fn behind_shim(second: Loader, shim: Loader) -> Machine {
        let mut machine = with(Some(shim));
        machine.loaders.insert(0, file(SECOND, Some(second)));
        machine
    }

    fn boot(version: &str, issuer: &str) -> Loader {
        let mut loader = test_loader(version, &[]);
        // Another leaf for each version, as distributions have.
        loader.certificates = vec![test_certificate(version, issuer)];
        loader.is_signed = true;
        loader
    }

    /// shim with the name of who signed it, and whom it believes.
    fn shim(version: &str, publisher: &str, authority: &str) -> Loader {
        let mut loader = Loader::read(&test_shim(version, "\\grubx64.efi", authority)).unwrap();
        loader.certificates = vec![test_certificate(publisher, "Root")];
        loader.is_signed = true;
        loader
    }

    #[test]
    fn shim_and_what_it_starts_are_one_set() {
        let kept = LoaderVerdict::Keep;
        let newer = || replace("252", "257");
        let stays = |version: &str| kept(LoaderKept::Current(version.into()));
        let other = |version: &str| kept(LoaderKept::OtherSigner(version.into()));
        let second = |version: &str| kept(LoaderKept::SecondStage(version.into()));
        let ours = |version: &str| boot(version, "Ours");
        let market = |version: &str| shim(version, "Market", "Ours");
        let cases = [
            // Both newer, and signed anew by the same authority.
            (
                "both",
                [ours("252"), market("15.8")],
                [ours("257"), market("16.1")],
                [newer(), replace("15.8", "16.1")],
            ),
            (
                "loader",
                [ours("252"), market("16.1")],
                [ours("257"), market("16.1")],
                [newer(), stays("16.1")],
            ),
            (
                "shim",
                [ours("257"), market("15.8")],
                [ours("257"), market("16.1")],
                [stays("257"), replace("15.8", "16.1")],
            ),
            (
                "a loader that is newer stays in front of a newer shim",
                [ours("262"), market("15.8")],
                [ours("257"), market("16.1")],
                [
                    kept(LoaderKept::Newer { here: "262".into(), brought: "257".into() }),
                    replace("15.8", "16.1"),
                ],
            ),
            (
                "another distribution's set is no set for this machine",
                [ours("252"), market("15.8")],
                [boot("257", "Theirs"), shim("16.1", "Market", "Theirs")],
                [other("257"), second("16.1")],
            ),
            (
                "firmware believes another publisher",
                [ours("252"), market("15.8")],
                [ours("257"), shim("16.1", "Nobody", "Ours")],
                [newer(), other("16.1")],
            ),
            (
                "the new shim believes others",
                [ours("252"), market("15.8")],
                [ours("257"), shim("16.1", "Market", "Theirs")],
                [newer(), second("16.1")],
            ),
        ];
        for (name, [second, first], brought, expected) in cases {
            for secure_boot in [Some(true), Some(false), None] {
                let machine = behind_shim(second.clone(), first.clone());
                let plans = loaders(&machine, &offer(&brought, secure_boot));
                let paths: Vec<&str> = plans.iter().map(|plan| plan.path.as_str()).collect();
                assert_eq!(paths, [SECOND, "EFI/BOOT/BOOTX64.EFI"], "{name}");
                let found: Vec<LoaderVerdict> =
                    plans.into_iter().map(|plan| plan.verdict).collect();
                assert_eq!(found, expected, "{name} {secure_boot:?}");
            }
        }
    }

    #[test]
    fn shim_waits_for_what_it_starts() {
        let both = [boot("257", "Ours"), shim("16.1", "Market", "Ours")];
        let machine = behind_shim(boot("252", "Ours"), shim("15.8", "Market", "Ours"));
        let shims = |machine: &Machine, offered: &LoaderOffer<'_>| {
            loaders(machine, offered).pop().unwrap().verdict
        };
        let waits = LoaderVerdict::Keep(LoaderKept::SecondStage("16.1".into()));
        // The release brings a shim alone, or what is behind it here is gone or is not systemd-boot.
        assert_eq!(shims(&machine, &offer(&both[1..], None)), waits);
        let mut foreign = machine.clone();
        foreign.loaders[0].loader = None;
        assert_eq!(shims(&foreign, &offer(&both, None)), waits);
        let mut gone = machine.clone();
        gone.loaders.remove(0);
        assert_eq!(shims(&gone, &offer(&both, None)), waits);
        // A new one that looks for another name.
        let mut renamed = both.clone();
        renamed[1] = Loader::read(&test_shim("16.1", "\\grub.efi", "Ours")).unwrap();
        renamed[1].certificates = machine.loaders[1].loader.as_ref().unwrap().certificates.clone();
        renamed[1].is_signed = true;
        assert_eq!(shims(&machine, &offer(&renamed, None)), waits);
        // A machine without shim gets none.
        let alone = with(Some(boot("252", "Ours")));
        let mut same = both.clone();
        same[0].certificates = alone.loaders[0].loader.as_ref().unwrap().certificates.clone();
        assert_eq!(loaders(&alone, &offer(&same, None)).remove(0).verdict, replace("252", "257"));
    }

    #[test]
    fn shim_needs_room_for_its_key_manager() {
        let both = [boot("257", "Ours"), shim("16.1", "Market", "Ours")];
        let mut machine = behind_shim(boot("257", "Ours"), shim("15.8", "Market", "Ours"));
        let offered = LoaderOffer { key_manager: 4097, ..offer(&both, None) };
        for (free, is_replaced) in [(7 * 4096, true), (7 * 4096 - 1, false)] {
            machine.system_partition.free = free;
            let found = loaders(&machine, &offered).pop().unwrap().verdict;
            assert_eq!(found == replace("15.8", "16.1"), is_replaced, "{found:?}");
        }
    }
}
