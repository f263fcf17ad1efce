//! Home folders: made from `/etc/skel`.

use crate::conditions::SETTINGS_BYTES;
use crate::{Error, Kind, Owner, Root, Surroundings};

/// What a new home folder gets a copy of.
const SKELETON: &str = "/etc/skel";
/// Settings of the shadow tools (login.defs(5)).
const LOGIN: &str = "/etc/login.defs";
/// Mode of a new home folder where `HOME_MODE` does not say another: its owner's alone.
const HOME_MODE: u32 = 0o700;
/// Deepest nesting and most entries of a skeleton.
const DEPTH: u32 = 16;
/// Largest file of a skeleton, in bytes.
const SKELETON_BYTES: u64 = 16 << 20;

/// A home folder that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) path: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Surroundings<'_> {
    /// Makes a home folder. One that is there gets the owner and keeps all else.
    pub(super) fn make_home(&mut self, home: &Home) -> Result<(), Error> {
        let owner = Owner { user: home.uid, group: home.gid };
        if let Some(status) = self.root.status(&home.path)? {
            if status.kind != Kind::Folder {
                let found = status.kind.words();
                return Err(Error::Exists { path: home.path.clone(), found });
            }
            return self.root.directory(&home.path, status.mode, owner);
        }
        let settings = self.root.text(LOGIN, SETTINGS_BYTES)?.unwrap_or_default();
        self.root.directory(&home.path, home_mode(&settings), owner)?;
        copy(&mut self.root, SKELETON, &home.path, owner, DEPTH)
    }
}

/// `HOME_MODE` of login.defs(5), in octal.
fn home_mode(settings: &str) -> u32 {
    let value = settings.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "HOME_MODE")?;
        words.next()
    });
    value
        .and_then(|text| u32::from_str_radix(text, 8).ok())
        .filter(|mode| *mode <= 0o7777)
        .unwrap_or(HOME_MODE)
}

fn copy(root: &mut Root, from: &str, to: &str, owner: Owner, depth: u32) -> Result<(), Error> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Error::Path { path: from.to_owned(), reason: "it is nested too deeply" });
    };
    for name in root.list(from)? {
        let (from, to) = (format!("{from}/{name}"), format!("{to}/{name}"));
        let Some(status) = root.status(&from)? else { continue };
        match status.kind {
            Kind::Folder => {
                root.directory(&to, status.mode, owner)?;
                copy(root, &from, &to, owner, depth)?;
            }
            Kind::File => {
                let bytes = root.read(&from, SKELETON_BYTES)?.unwrap_or_default();
                root.write(&to, &bytes, status.mode, owner)?;
            }
            Kind::Link => {
                if let Some(target) = root.link_target(&from)? {
                    root.symlink(&to, &target, owner)?;
                }
            }
            Kind::Other => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::home_mode;

    #[test]
    fn the_mode_is_that_of_login_defs() {
        for (settings, expected) in [
            ("", 0o700),
            ("UMASK 022\nHOME_MODE\t0755\n", 0o755),
            ("#HOME_MODE 0755\n", 0o700),
            ("HOME_MODE x\n", 0o700),
            ("HOME_MODE 77777\n", 0o700),
        ] {
            assert_eq!(home_mode(settings), expected, "{settings}");
        }
    }
}
