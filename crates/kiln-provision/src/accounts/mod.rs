//! Users, groups and their keys.
//!
//! Decisions are made on the text of the account files (`user`, `group`, `entity`), and this module reads
//! and writes them: all files are read, changed together, and written one after the other by rename,
//! under the lock that the shadow tools take (lckpwdf(3)). `useradd` of the image was dropped: images
//! without it would have no users, and its defaults differ between distributions.

mod entity;
mod group;
mod home;
mod keys;
mod password;
mod user;

use kiln_etc::accounts::{AccountFile, Accounts, Editor, FILE_MAXIMUM, Malformed};

use crate::{Error, Owner, Root, Surroundings};

/// The lock of lckpwdf(3).
const LOCK: &str = "/etc/.pwd.lock";
/// Mode of account files that everybody reads, and of those with hashes.
const OPEN_MODE: u32 = 0o644;
const CLOSED_MODE: u32 = 0o600;
/// Numbers of people; above lie nobody and dynamic users.
const PERSON_IDS: std::ops::RangeInclusive<u32> = 1000..=59_999;
/// Numbers that `useradd --system` gives away, from the top.
const SYSTEM_IDS: std::ops::RangeInclusive<u32> = 100..=999;

/// Numbers of names, in a root.
#[derive(Debug)]
pub(crate) struct Names(Editor);

impl Names {
    pub(crate) fn read(root: &Root) -> Result<Self, Error> {
        load(root).map(Self)
    }

    /// The number of a user: a name that is known, else a decimal number.
    pub(crate) fn user(&self, name: &str) -> Result<u32, Error> {
        self.number(AccountFile::Passwd, name, "there is no such user")
    }

    /// The number of a group.
    pub(crate) fn group(&self, name: &str) -> Result<u32, Error> {
        self.number(AccountFile::Group, name, "there is no such group")
    }

    fn number(&self, file: AccountFile, name: &str, reason: &str) -> Result<u32, Error> {
        let known = self.0.number(file, name, 2);
        known.or_else(|| decimal(name)).ok_or_else(|| refused(name, reason))
    }
}

/// A number that may be one of a user or group; the greatest means "none" to chown(2).
fn decimal(text: &str) -> Option<u32> {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_decimal && *number != u32::MAX)
}

/// The account files of a root.
fn load(root: &Root) -> Result<Editor, Error> {
    let mut accounts = Accounts::default();
    for file in AccountFile::ALL {
        accounts.set(file, root.read(&path(file), FILE_MAXIMUM)?);
    }
    Ok(Editor::new(accounts))
}

fn path(file: AccountFile) -> String {
    format!("/etc/{}", file.name())
}

impl Surroundings<'_> {
    /// Reads the account files, lets them be changed, and writes what changed.
    fn edit<T>(
        &mut self,
        change: impl FnOnce(&mut Self, &mut Editor) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let lock = if self.is_running { Some(self.root.lock(LOCK)?) } else { None };
        let mut editor = load(&self.root)?;
        let outcome = change(self, &mut editor)?;
        for (file, text) in editor.finish() {
            self.store(file, &text)?;
        }
        drop(lock);
        Ok(outcome)
    }

    fn store(&mut self, file: AccountFile, text: &[u8]) -> Result<(), Error> {
        let path = path(file);
        let there = self.root.target(&path)?;
        let is_closed = matches!(file, AccountFile::Shadow | AccountFile::Gshadow);
        let mode = if is_closed { CLOSED_MODE } else { OPEN_MODE };
        let (mode, owner) =
            there.map_or((mode, Owner::default()), |status| (status.mode, status.owner));
        self.root.write(&path, text, mode, owner)
    }

    /// Whether the root has an account file at all; gshadow, subuid and subgid need not be there.
    fn has(&self, file: AccountFile) -> Result<bool, Error> {
        Ok(self.root.target(&path(file))?.is_some())
    }
}

/// Refuses names that would be an option, a path or another field somewhere.
fn check_name(name: &str) -> Result<(), Error> {
    /// Longest login name that utmp(5) and useradd(8) accept.
    const LONGEST: usize = 32;
    let is_good = !name.is_empty()
        && name.len() <= LONGEST
        && !name.starts_with(['-', '+', '.'])
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.$".contains(&byte))
        && decimal(name).is_none();
    if is_good {
        return Ok(());
    }
    Err(refused(name, "names have at most 32 letters, digits, `_`, `-`, `.`, and are no number"))
}

fn refused(name: &str, reason: impl Into<String>) -> Error {
    let name = name.chars().filter(|letter| !letter.is_control()).take(64).collect();
    Error::Account { name, reason: reason.into() }
}

/// The adapter for `map_err` on entries.
fn malformed(name: &str) -> impl FnOnce(Malformed) -> Error {
    move |error| refused(name, error.to_string())
}

/// The members of a list that is joined by commas.
fn members(list: &str) -> Vec<String> {
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Puts a user into a group, or takes it out; both files, as far as the group is in them.
fn set_member(editor: &mut Editor, group: &str, user: &str, is_member: bool) -> Result<(), Error> {
    for file in [AccountFile::Group, AccountFile::Gshadow] {
        let Some(mut fields) = editor.get(file, group) else { continue };
        let Some(list) = fields.get_mut(3) else { continue };
        let mut all = members(list);
        let was_member = all.iter().any(|name| name == user);
        if was_member == is_member {
            continue;
        }
        all.retain(|name| name != user);
        all.extend(is_member.then(|| user.to_owned()));
        *list = all.join(",");
        editor.put(file, &fields).map_err(malformed(group))?;
    }
    Ok(())
}

/// Fields of an entry.
fn fields<const COUNT: usize>(fields: [&str; COUNT]) -> Vec<String> {
    fields.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::{check_name, decimal};

    #[test]
    fn names_that_mean_something_else_are_refused() {
        let long = "a".repeat(33);
        for (name, expected) in [
            ("joe", true),
            ("_chrony", true),
            ("Joe.Doe-2", true),
            ("", false),
            ("-r", false),
            ("+", false),
            ("..", false),
            ("a/b", false),
            ("a:b", false),
            ("a\nb", false),
            ("1000", false),
            (long.as_str(), false),
        ] {
            assert_eq!(check_name(name).is_ok(), expected, "{name}");
        }
    }

    #[test]
    fn numbers_are_plain_decimals() {
        for (text, expected) in
            [("0", Some(0)), ("65534", Some(65534)), ("+1", None), ("4294967295", None), ("", None)]
        {
            assert_eq!(decimal(text), expected, "{text}");
        }
    }
}
