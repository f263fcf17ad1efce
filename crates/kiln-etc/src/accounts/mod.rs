//! The account files of a system, merged entry by entry.
//!
//! A machine's `passwd` and a new release's both change: the one by `useradd`, the other by a package
//! that brings a service user. Taking either file whole loses the other's accounts, so the files are
//! merged three ways, with the release that the machine's copy came from as the common ancestor. All six
//! files are merged together, because a user is one thing in up to five of them.
//!
//! The merge must never give one id to two names that did not share it before, never bring back what
//! was deleted or unlocked by a person, and never fail: it runs before anybody could log in to repair
//! it. Merging lines as text was dropped: it finds conflicts where two users were appended, which is
//! the ordinary case.
//!
//! Formats: passwd(5), shadow(5), group(5), gshadow(5), subuid(5), subgid(5).

mod assemble;
mod edit;
mod entry;
mod fate;
mod ids;
mod mask;
mod merge;
mod subordinate;
mod table;

pub use edit::{Editor, Malformed};
pub use mask::mask;
pub use merge::{Merged, merge};

/// Largest account file that is read, in bytes; a directory of a million users is elsewhere.
pub const FILE_MAXIMUM: u64 = 16 << 20;

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccountFile {
    /// `/etc/passwd`.
    Passwd,
    /// `/etc/group`.
    Group,
    /// `/etc/shadow`.
    Shadow,
    /// `/etc/gshadow`.
    Gshadow,
    /// `/etc/subuid`.
    Subuid,
    /// `/etc/subgid`.
    Subgid,
}

impl AccountFile {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Passwd, Self::Group, Self::Shadow, Self::Gshadow, Self::Subuid, Self::Subgid];

    /// Its name in `/etc`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Passwd => "passwd",
            Self::Group => "group",
            Self::Shadow => "shadow",
            Self::Gshadow => "gshadow",
            Self::Subuid => "subuid",
            Self::Subgid => "subgid",
        }
    }

    /// Fields of an entry.
    fn fields(self) -> usize {
        match self {
            Self::Passwd => 7,
            Self::Shadow => 9,
            Self::Group | Self::Gshadow => 4,
            Self::Subuid | Self::Subgid => 3,
        }
    }

    /// Which fields are numbers.
    fn numbers(self) -> &'static [usize] {
        match self {
            Self::Passwd => &[2, 3],
            Self::Group => &[2],
            Self::Subuid | Self::Subgid => &[1, 2],
            Self::Shadow | Self::Gshadow => &[],
        }
    }
}

/// The contents of the files; `None` where there is no such file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    files: [Option<Vec<u8>>; 6],
}

impl Accounts {
    /// The content of a file.
    #[must_use]
    pub fn get(&self, file: AccountFile) -> Option<&[u8]> {
        self.files.get(file as usize)?.as_deref()
    }

    /// Replaces the content of a file.
    pub fn set(&mut self, file: AccountFile, content: Option<Vec<u8>>) {
        if let Some(place) = self.files.get_mut(file as usize) {
            *place = content;
        }
    }
}
