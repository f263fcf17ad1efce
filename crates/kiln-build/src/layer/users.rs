//! Logins that a build was asked to add.
//!
//! The account goes into the root's own `/etc`, so it falls back with the release. A plain password
//! becomes a SHA-512 crypt hash whose salt is derived from name and password: a random one would
//! make two equal builds differ, and the root hash with them.

use super::Editor;
use super::edit::{owned, root};
use crate::password::hash_password;
use crate::{Error, User};

/// The lowest uid and gid for people (login.defs of all large distributions).
const FIRST_UID: u32 = 1000;
/// One behind the highest uid for people; above lie nobody and dynamic users.
const END_UID: u32 = 60_000;
/// Groups that let a person become root, by distribution.
const ADMINISTRATOR_GROUPS: [&str; 2] = ["sudo", "wheel"];
/// Longest login name that utmp and useradd accept.
const LOGIN_NAME_MAX: usize = 32;

/// Adds one login; one that exists gets the password and keys.
pub(super) fn add_user(editor: &mut Editor<'_>, user: &User) -> Result<(), Error> {
    let error = |reason: &str| Error::User { name: user.name.clone(), reason: reason.into() };
    check_name(&user.name).map_err(error)?;
    let (passwd, passwd_metadata) =
        editor.read(b"etc/passwd")?.ok_or_else(|| error("the image has no /etc/passwd"))?;
    let passwd = String::from_utf8_lossy(&passwd).into_owned();
    let account = match find(&passwd, &user.name) {
        Some(line) => {
            Account::parse(line).ok_or_else(|| error("its line in /etc/passwd is bad"))?
        }
        None => {
            let uid = free_uid(&passwd).ok_or_else(|| error("no uid is free"))?;
            let home = format!("home/{}", user.name);
            let shell = if editor.exists(b"bin/bash") { "/bin/bash" } else { "/bin/sh" };
            let line = format!("{0}:x:{uid}:{uid}::/{home}:{shell}", user.name);
            let text = with_line(&passwd, &user.name, &line);
            editor.owned_file(b"etc/passwd", passwd_metadata, text.as_bytes())?;
            add_to_groups(editor, user, uid)?;
            Account { uid, gid: uid, home }
        }
    };
    set_password(editor, user)?;
    let home = account.home.as_bytes().to_vec();
    if !editor.exists(&home) {
        let id = editor.directory(&home, 0o700)?;
        editor.tree.node_mut(id).metadata = owned(0o700, account.uid, account.gid);
    }
    if !user.ssh_keys.is_empty() {
        let folder = [home.as_slice(), b"/.ssh"].concat();
        let id = editor.directory(&folder, 0o700)?;
        editor.tree.node_mut(id).metadata = owned(0o700, account.uid, account.gid);
        let mut keys = user.ssh_keys.join("\n");
        keys.push('\n');
        let path = [folder.as_slice(), b"/authorized_keys"].concat();
        editor.owned_file(&path, owned(0o600, account.uid, account.gid), keys.as_bytes())?;
    }
    Ok(())
}

/// The parts of a passwd line that matter here.
struct Account {
    uid: u32,
    gid: u32,
    /// Without the leading slash.
    home: String,
}

impl Account {
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, uid, gid, _, home, _] = fields[..] else { return None };
        let home = home.trim_start_matches('/').to_owned();
        Some(Self { uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let mut bytes = name.bytes();
    let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let goes_on_well = bytes
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte));
    if !starts_well || !goes_on_well {
        return Err("login names hold only a-z, 0-9, `_` and `-`, and begin with a letter or `_`");
    }
    if name.len() > LOGIN_NAME_MAX {
        return Err("login names have at most 32 characters");
    }
    Ok(())
}

/// The line of a colon-separated file whose first field is `name`.
fn find<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find(|line| line.split(':').next() == Some(name))
}

/// `text` with the line of `name` replaced, or added at the end.
fn with_line(text: &str, name: &str, line: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    match lines.iter().position(|old| old.split(':').next() == Some(name)) {
        Some(position) => lines[position] = line,
        None => lines.push(line),
    }
    lines.join("\n") + "\n"
}

fn free_uid(passwd: &str) -> Option<u32> {
    let taken: Vec<u32> =
        passwd.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect();
    (FIRST_UID..END_UID).find(|uid| !taken.contains(uid))
}

fn add_to_groups(editor: &mut Editor<'_>, user: &User, gid: u32) -> Result<(), Error> {
    let (text, metadata) = editor.read(b"etc/group")?.unwrap_or_else(|| (Vec::new(), root(0o644)));
    let mut text = String::from_utf8_lossy(&text).into_owned();
    text = with_line(&text, &user.name, &format!("{}:x:{gid}:", user.name));
    for group in ADMINISTRATOR_GROUPS {
        if let Some(line) = find(&text, group) {
            let comma = if line.ends_with(':') { "" } else { "," };
            let line = format!("{line}{comma}{}", user.name);
            text = with_line(&text, group, &line);
        }
    }
    editor.owned_file(b"etc/group", metadata, text.as_bytes())
}

fn set_password(editor: &mut Editor<'_>, user: &User) -> Result<(), Error> {
    let hash = match &user.password {
        Some(password) => hash_password(&user.name, password)
            .map_err(|reason| Error::User { name: user.name.clone(), reason })?,
        // A locked password: keys still work.
        None => "*".to_owned(),
    };
    let (text, metadata) = editor.read(b"etc/shadow")?.unwrap_or_else(|| (Vec::new(), root(0o600)));
    let text = String::from_utf8_lossy(&text).into_owned();
    // Day 1: a change date of 0 would demand a new password at the first login (shadow(5)).
    let text = with_line(&text, &user.name, &format!("{}:{hash}:1:0:99999:7:::", user.name));
    editor.owned_file(b"etc/shadow", metadata, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::{check_name, free_uid, with_line};

    #[test]
    fn login_names_are_checked() {
        for good in ["kiln", "_apt", "a-b0"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(33);
        for bad in ["", "0a", "a:b", "a\nb", "../x", "Ab", &long] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_are_replaced_or_added() {
        assert_eq!(with_line("a:1\nb:2\n", "a", "a:9"), "a:9\nb:2\n");
        assert_eq!(with_line("ab:1", "a", "a:9"), "ab:1\na:9\n");
    }

    #[test]
    fn the_first_free_uid_is_taken() {
        assert_eq!(free_uid("root:x:0:0:::\na:x:1000:1:::\nb:x:1002:1:::\n"), Some(1001));
    }
}
