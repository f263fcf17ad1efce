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
        Self::of_text(&text).map_err(|Misspelt { value, .. }| Error::Setting { path, value })
    }

    /// The mode that the content of [`PATH`] names: for this boot, and for a build that wants to know
    /// whether the boot will take it.
    ///
    /// # Errors
    /// What stands there instead of a mode.
    pub fn of_text(text: &[u8]) -> Result<Self, Misspelt> {
        let text = if text.len() as u64 > MAXIMUM { &[] } else { text };
        let text = String::from_utf8_lossy(text);
        if let Some(mode) = Self::parse(text.trim()) {
            return Ok(mode);
        }
        let mut lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty());
        let first = lines.next().unwrap_or((1, ""));
        // A second line is one too many, even if it is a mode.
        let is_mode = Self::parse(first.1).is_some();
        let (line, value) = if is_mode { lines.next().unwrap_or(first) } else { first };
        Err(Misspelt { line, value: value.to_owned() })
    }
}

/// What stands where a mode should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misspelt {
    /// The line, from 1.
    pub line: usize,
    /// What is in it; nothing if the file is empty or too long to be a word.
    pub value: String,
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

    #[test]
    fn what_is_no_mode_is_named_with_its_line() {
        let long = "\n".repeat(100);
        for (text, line, value) in [
            ("ephemral\n", 1, "ephemral"),
            ("# how\nephemeral\n", 1, "# how"),
            ("\n\n  keep it \n", 3, "keep it"),
            ("persistent\n\nephemeral\n", 3, "ephemeral"),
            ("", 1, ""),
            (&long, 1, ""),
        ] {
            let expected = Misspelt { line, value: value.to_owned() };
            assert_eq!(EtcMode::of_text(text.as_bytes()), Err(expected), "{text:?}");
        }
        assert_eq!(EtcMode::of_text(b"\n ephemeral \r\n"), Ok(EtcMode::Ephemeral));
        assert!(EtcMode::of_text(b"\xffephemeral").is_err());
    }
}
