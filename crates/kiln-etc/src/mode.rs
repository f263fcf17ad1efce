//! Whether changes of `/etc` are kept.
//!
//! The kernel command line decides (`kiln.etc=`), else the verified root: both are signed on a sealed
//! machine. A file in `/etc` or in the state cannot decide it, because what an intruder may write must
//! not say whether what he wrote stays.

use std::path::Path;

use crate::Error;
use crate::file::read_small;

/// Where the verified root says which mode it wants, below the root; one word.
pub const PATH: &str = "usr/lib/kiln/etc-mode";
/// Longest such file, in bytes: the word and a line feed, with room for blanks.
const MAXIMUM: u64 = 64;

/// Where changes of `/etc` go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EtcMode {
    /// Into the state: they are there until the release is gone.
    #[default]
    Persistent,
    /// Into memory: every boot begins with the release's own `/etc` and the machine's identity.
    Ephemeral,
}

impl EtcMode {
    /// The mode with this name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "persistent" => Some(Self::Persistent),
            "ephemeral" => Some(Self::Ephemeral),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Persistent => "persistent",
            Self::Ephemeral => "ephemeral",
        }
    }

    /// The mode of this boot: `argument` of the kernel command line, else what the verified root says.
    ///
    /// # Errors
    /// [`Error::Setting`] for a word that is neither: a misspelt `ephemeral` must not keep changes.
    pub fn choose(argument: Option<Self>, root: &Path) -> Result<Self, Error> {
        if let Some(mode) = argument {
            return Ok(mode);
        }
        let path = root.join(PATH);
        if path.symlink_metadata().is_err() {
            return Ok(Self::default());
        }
        let text = read_small(&path, MAXIMUM)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let value = text.trim().to_owned();
        Self::parse(&value).ok_or(Error::Setting { path, value })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_command_line_decides_then_the_root() {
        use EtcMode::{Ephemeral, Persistent};
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(PATH);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert_eq!(EtcMode::choose(None, root.path()).unwrap(), Persistent);
        let long = "ephemeral".repeat(100);
        for (text, expected) in [
            ("ephemeral\n", Some(Ephemeral)),
            (" persistent", Some(Persistent)),
            ("ephemral\n", None),
            ("", None),
            (&long, None),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(EtcMode::choose(None, root.path()).ok(), expected, "{text:.20}");
            assert_eq!(EtcMode::choose(Some(Persistent), root.path()).unwrap(), Persistent);
        }
        for mode in [Ephemeral, Persistent] {
            assert_eq!(EtcMode::parse(mode.name()), Some(mode));
        }
    }
}
