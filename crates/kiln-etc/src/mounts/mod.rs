//! What of a machine can be written, and what of that stays: decided once per boot, carried out by the
//! first process.
//!
//! `kiln provision` knows the documents and writes the decision to [`PATH`]; the first process, which
//! knows no configuration, reads it and mounts. Here is what both share: the decision as a value that
//! is right by construction ([`Mounts::settle`]), its text ([`format`](mod@format)), and where the state
//! keeps what is written ([`place`]). A machine without the file has [`Mounts::default`].
//!
//! A settled value never lists a path twice or below one of its own kind, so an executor can mount the
//! lists in their order. Letting the executor sort out contradictions was dropped: then what a machine
//! does could not be told before it does it.

pub mod format;
mod path;
pub mod place;
mod volume;

use std::collections::{BTreeMap, BTreeSet};

pub use path::MountPath;
pub use volume::{Volume, state_folder};

/// Where the decision stands during a boot.
pub const PATH: &str = "/run/kiln/mounts";
/// Folders whose changes stay on a machine that asks for nothing else.
pub const DEFAULT: [&str; 7] = ["/etc", "/home", "/opt", "/root", "/srv", "/usr/local", "/var"];
/// Folders that are in memory if nothing else is asked for: an identity has to be shown in `/etc`, and
/// `/var` of a release is empty until the system fills it.
pub const NEEDED: [&str; 2] = ["/etc", "/var"];
/// Most paths and volumes, so that a hostile document cannot make a boot last; a kernel's own limit is
/// 100000 mounts (`fs.mount-max`).
pub const MAXIMUM: usize = 512;

/// How changes of a folder are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Changes alone, over the release's folder.
    #[default]
    Overlay,
    /// A copy of the release's folder, made once.
    Bind,
}

impl Mode {
    /// Its name in the text.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Bind => "bind",
        }
    }
}

/// A share of the memory in per cent, or a size with a unit, as tmpfs(5) takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemorySize(String);

impl MemorySize {
    /// Checks a size.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let number = text.trim_end_matches(['%', 'k', 'K', 'm', 'M', 'g', 'G']);
        let unit = text.get(number.len()..)?;
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let value = number.parse::<u64>().ok().filter(|value| digits && *value > 0)?;
        let fits = unit.len() < 2 && (unit != "%" || value <= 100);
        fits.then(|| Self(text.to_owned()))
    }

    /// The size as tmpfs(5) takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What was asked for, not yet a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Folders whose changes stay; of several wishes for one path the last counts.
    pub persistent: Vec<(MountPath, Mode)>,
    /// Folders whose changes are gone with the next boot.
    pub ephemeral: Vec<MountPath>,
    /// How much memory the latter may take.
    pub memory: Option<MemorySize>,
    /// Volumes; of several for one path the last counts.
    pub volumes: Vec<Volume>,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounts {
    persistent: BTreeMap<MountPath, Mode>,
    ephemeral: BTreeSet<MountPath>,
    memory: Option<MemorySize>,
    volumes: BTreeMap<MountPath, Volume>,
}

impl Default for Mounts {
    /// What holds on a machine that asks for nothing.
    fn default() -> Self {
        let paths = DEFAULT.iter().filter_map(|path| MountPath::new(path).ok());
        let persistent = paths.map(|path| (path, Mode::Overlay)).collect();
        Self::settle(Wishes { persistent, ..Wishes::default() }).0
    }
}

impl Mounts {
    /// Decides what holds where wishes overlap; sentences say what was left out and matters.
    ///
    /// - At one path a volume goes before what stays, and that before what is in memory.
    /// - What lies on a volume is where the volume is, and needs nothing else, unless the volume may be
    ///   missing.
    /// - A folder below one of its own kind is where that one is.
    /// - [`NEEDED`] folders are in memory if nobody asked for them.
    #[must_use]
    pub fn settle(wishes: Wishes) -> (Self, Vec<String>) {
        let mut said = Vec::new();
        let mut volumes = BTreeMap::new();
        for volume in wishes.volumes {
            volumes.insert(volume.path().clone(), volume);
        }
        let on_volume = |path: &MountPath| {
            let here = |(folder, volume): &(&MountPath, &Volume)| {
                path.is_in(folder.as_str()) && !volume.may_be_missing()
            };
            volumes.iter().find(here).map(|(folder, _)| folder.as_str())
        };
        let mut persistent: BTreeMap<MountPath, Mode> = wishes.persistent.into_iter().collect();
        persistent.retain(|path, _| on_volume(path).is_none());
        let mut ephemeral: BTreeSet<MountPath> = wishes.ephemeral.into_iter().collect();
        ephemeral.retain(|path| {
            let volume = on_volume(path);
            if let Some(volume) = volume {
                said.push(format!("`{path}` stays: it lies on the volume at `{volume}`"));
            }
            volume.is_none() && !persistent.contains_key(path)
        });
        for needed in NEEDED.iter().filter_map(|path| MountPath::new(path).ok()) {
            if on_volume(&needed).is_none() && !persistent.contains_key(&needed) {
                let is_new = ephemeral.insert(needed.clone());
                if is_new {
                    said.push(format!(
                        "`{needed}` is in memory: no system runs without writing there"
                    ));
                }
            }
        }
        let lists = (persistent.clone(), ephemeral.clone());
        let is_covered = |path: &MountPath, stays: bool| nearest(path, &lists) == Some(stays);
        persistent.retain(|path, _| !is_covered(path, true));
        ephemeral.retain(|path| !is_covered(path, false));
        for (total, what) in [(persistent.len(), "persist"), (volumes.len(), "are volumes")] {
            if total > MAXIMUM {
                said.push(format!("only the first {MAXIMUM} of {total} paths {what}"));
            }
        }
        let persistent = persistent.into_iter().take(MAXIMUM).collect();
        let ephemeral = ephemeral.into_iter().take(MAXIMUM).collect();
        let volumes = volumes.into_iter().take(MAXIMUM).collect();
        (Self { persistent, ephemeral, memory: wishes.memory, volumes }, said)
    }

    /// Folders whose changes stay, parents before children.
    pub fn persistent(&self) -> impl Iterator<Item = (&MountPath, Mode)> {
        self.persistent.iter().map(|(path, mode)| (path, *mode))
    }

    /// Folders whose changes are gone with the next boot, parents before children.
    pub fn ephemeral(&self) -> impl Iterator<Item = &MountPath> {
        self.ephemeral.iter()
    }

    /// How much memory the latter may take, if somebody said so.
    #[must_use]
    pub fn memory(&self) -> Option<&MemorySize> {
        self.memory.as_ref()
    }

    /// Volumes, parents before children. The first process does not mount them.
    pub fn volumes(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.values()
    }

    /// Whether changes of this very folder stay.
    #[must_use]
    pub fn persists(&self, path: &str) -> bool {
        self.persistent.keys().any(|kept| kept.as_str() == path)
    }
}

/// Whether what the nearest folder above `path` holds stays; `None` below no listed folder.
fn nearest(
    path: &MountPath,
    (persistent, ephemeral): &(BTreeMap<MountPath, Mode>, BTreeSet<MountPath>),
) -> Option<bool> {
    let above = |other: &MountPath| other != path && path.is_in(other.as_str());
    let stays = persistent.keys().filter(|other| above(other)).map(|other| (other, true));
    let goes = ephemeral.iter().filter(|other| above(other)).map(|other| (other, false));
    let nearest = stays.chain(goes).max_by_key(|(other, _)| other.as_str().len());
    nearest.map(|(_, stays)| stays)
}

#[cfg(test)]
mod tests {
    use super::{MAXIMUM, MemorySize, Mode, MountPath, Mounts, Volume, Wishes, format};

    fn settled(persistent: &[&str], ephemeral: &[&str], volumes: &[&str]) -> (String, Vec<String>) {
        let path = |text: &&str| MountPath::new(text).unwrap();
        let (mounts, said) = Mounts::settle(Wishes {
            persistent: persistent.iter().map(|text| (path(text), Mode::Overlay)).collect(),
            ephemeral: ephemeral.iter().map(path).collect(),
            memory: None,
            volumes: volumes
                .iter()
                .map(|text| Volume::new("LABEL=x", path(text), None, &[]).unwrap())
                .collect(),
        });
        let stays: Vec<&str> = mounts.persistent().map(|(path, _)| path.as_str()).collect();
        let goes: Vec<&str> = mounts.ephemeral().map(MountPath::as_str).collect();
        let volumes: Vec<&str> = mounts.volumes().map(|volume| volume.path().as_str()).collect();
        (format!("{} | {} | {}", stays.join(" "), goes.join(" "), volumes.join(" ")), said)
    }

    #[test]
    fn wishes_that_overlap_are_settled() {
        let none: &[&str] = &[];
        for (persistent, ephemeral, volumes, expected, said) in [
            (&["/etc", "/var"][..], none, none, "/etc /var |  | ", 0),
            (none, none, none, " | /etc /var | ", 2),
            // A child of its own kind is covered, one of the other is not, and theirs again not.
            (
                &["/etc", "/var/log", "/var", "/a-b", "/a", "/a/c/d"],
                &["/a/c"],
                none,
                "/a /a-b /a/c/d /etc /var | /a/c | ",
                0,
            ),
            (&["/etc/ssh", "/var"], &["/etc", "/etc/x"], none, "/etc/ssh /var | /etc | ", 0),
            (&["/etc", "/var"], &["/etc"], none, "/etc /var |  | ", 0),
            (
                &["/etc", "/var/log", "/var"],
                &["/var/cache"],
                &["/var", "/var/data"],
                "/etc |  | /var /var/data",
                1,
            ),
        ] {
            let (found, sentences) = settled(persistent, ephemeral, volumes);
            assert_eq!(found, expected, "{persistent:?} {ephemeral:?} {volumes:?}");
            assert_eq!(sentences.len(), said, "{sentences:?}");
        }
    }

    #[test]
    fn a_volume_that_may_be_missing_takes_no_place() {
        let var = MountPath::new("/var").unwrap();
        for (option, is_kept) in [("nofail", true), ("noauto", true), ("ro", false)] {
            let volume = Volume::new("LABEL=x", var.clone(), None, &[option]).unwrap();
            let (mounts, _) = Mounts::settle(Wishes {
                persistent: vec![(var.clone(), Mode::Overlay)],
                volumes: vec![volume],
                ..Wishes::default()
            });
            assert_eq!(mounts.persists("/var"), is_kept, "{option}");
        }
    }

    #[test]
    fn the_default_is_what_every_machine_had() {
        let text = "kiln.mounts.v1\npersistent overlay /etc\npersistent overlay /home\n\
            persistent overlay /opt\npersistent overlay /root\npersistent overlay /srv\n\
            persistent overlay /usr/local\npersistent overlay /var\n";
        assert_eq!(format::write(&Mounts::default()), text);
        assert!(Mounts::default().persists("/etc") && !Mounts::default().persists("/etc/ssh"));
    }

    #[test]
    fn too_many_are_cut() {
        let paths: Vec<String> = (0..MAXIMUM + 5).map(|number| format!("/x{number}")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let (found, said) = settled(&paths, &["/etc", "/var"], &[]);
        assert_eq!(found.split(' ').filter(|word| word.starts_with("/x")).count(), MAXIMUM);
        assert_eq!(said.len(), 1);
    }

    #[test]
    fn sizes_of_memory() {
        for (text, is_size) in [
            ("25%", true),
            ("100%", true),
            ("512m", true),
            ("1G", true),
            ("4096", true),
            ("101%", false),
            ("0%", false),
            ("%", false),
            ("", false),
            ("5mm", false),
            ("+5m", false),
            ("5m,mode=0777", false),
        ] {
            assert_eq!(MemorySize::new(text).is_some(), is_size, "{text}");
        }
    }
}
