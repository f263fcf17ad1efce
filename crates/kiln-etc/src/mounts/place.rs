//! Where the state keeps what is written, by the path of the running system.
//!
//! `/etc` and what the release brings itself have one upper half for each release, because the next one
//! brings something else; all the rest is the machine's and has one place whatever runs. `/var` has its
//! own folder with the same tree in it, however it is divided, so a change of the layout loses nothing.

use super::{Mode, MountPath, Mounts};

/// Where changes of a persistent path are, from the root of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// All of `/etc`: [`crate::upper`] makes it.
    Etc,
    /// The upper half of this name in the folder of the release: [`crate::upper`] makes that.
    Release(String),
    /// The upper half of an overlay.
    Upper(String),
    /// A folder with all that the path holds.
    Whole(String),
}

impl Place {
    /// The place of a path.
    #[must_use]
    pub fn of(path: &MountPath, mode: Mode) -> Self {
        if path.as_str() == "/etc" {
            return Self::Etc;
        }
        if path.is_of_release() {
            return Self::Release(path.name());
        }
        if path.is_in("/var") {
            return Self::Whole(path.relative().to_owned());
        }
        match mode {
            Mode::Overlay => Self::Upper(upper(path)),
            Mode::Bind => Self::Whole(whole(path)),
        }
    }
}

/// The upper half of a plain overlay.
#[must_use]
pub fn upper(path: &MountPath) -> String {
    format!("overlay/{}/upper", path.name())
}

/// The kernel's work folder for an overlay.
#[must_use]
pub fn work(path: &MountPath) -> String {
    format!("overlay/{}/work", path.name())
}

/// The copy of a folder that is bound over it.
#[must_use]
pub fn whole(path: &MountPath) -> String {
    format!("overlay/{}/bind", path.name())
}

/// Everything of the state that this layout uses beside the folders of `/etc` and `/var`: path of the
/// running system, place in the state where `*` stands for any release. An empty place is the whole state.
#[must_use]
pub fn all(mounts: &Mounts) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (path, _) in mounts.persistent() {
        let mut add = |place: String| all.push((path.as_str().to_owned(), place));
        match Place::of(path, Mode::Overlay) {
            Place::Release(name) => add(format!("usr/*/{name}")),
            // What it once was it stays, whatever the layout says today.
            Place::Upper(upper) => {
                add(upper);
                add(whole(path));
            }
            Place::Etc | Place::Whole(_) => {}
        }
    }
    for volume in mounts.volumes() {
        if let Some(folder) = volume.state_folder() {
            all.push((volume.path().as_str().to_owned(), folder.to_owned()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{Mode, MountPath, Mounts, Place, all};

    #[test]
    fn each_path_has_its_place() {
        for (path, mode, expected) in [
            ("/etc", Mode::Bind, Place::Etc),
            ("/etc/ssh", Mode::Overlay, Place::Upper("overlay/etc-ssh/upper".into())),
            ("/etc/ssh", Mode::Bind, Place::Whole("overlay/etc-ssh/bind".into())),
            ("/var", Mode::Overlay, Place::Whole("var".into())),
            ("/var/lib/app", Mode::Overlay, Place::Whole("var/lib/app".into())),
            ("/usr/libexec", Mode::Bind, Place::Release("usr-libexec".into())),
            ("/usr/local/bin", Mode::Bind, Place::Whole("overlay/usr-local-bin/bind".into())),
            ("/home", Mode::Overlay, Place::Upper("overlay/home/upper".into())),
        ] {
            assert_eq!(Place::of(&MountPath::new(path).unwrap(), mode), expected, "{path}");
        }
    }

    #[test]
    fn the_default_uses_the_places_of_before() {
        let uppers: Vec<String> =
            all(&Mounts::default()).into_iter().map(|(_, place)| place).collect();
        for place in ["home", "root", "srv", "opt", "usr-local"] {
            assert!(uppers.contains(&format!("overlay/{place}/upper")), "{place}");
        }
        assert_eq!(uppers.len(), 10);
    }
}
