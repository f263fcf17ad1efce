//! Keys that may log in.
//!
//! The folder belongs to its user, who may have put links there: nothing below the home folder is
//! followed, or root would read or write another's file for the user.

use kiln_config::action::{AuthorizedKeys, Remote};
use kiln_etc::accounts::AccountFile::Passwd;

use super::{load, refused};
use crate::{Error, Kind, Owner, Surroundings};

/// Modes that sshd asks for (sshd(8), StrictModes).
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Largest list of keys, in bytes; the largest keys have some ten thousand.
const LIST_BYTES: u64 = 1 << 20;
/// Seconds for one address; a login must not hang on a foreign server.
const PATIENCE: u64 = 30;

impl Surroundings<'_> {
    pub(crate) fn authorized_keys(&mut self, wanted: &AuthorizedKeys) -> Result<(), Error> {
        let user = self.text(&wanted.user)?;
        let keys: Result<Vec<String>, Error> =
            wanted.keys.iter().map(|key| self.text(key)).collect();
        self.add_keys(&user, &keys?, &wanted.file)
    }

    /// Adds keys to a user's file below `.ssh`. Those that can be had are added, whatever the others'
    /// servers say.
    pub(super) fn add_keys(
        &mut self,
        user: &str,
        keys: &[String],
        file: &str,
    ) -> Result<(), Error> {
        let editor = load(&self.root)?;
        let entry =
            editor.get(Passwd, user).ok_or_else(|| refused(user, "there is no such user"))?;
        let home = entry.get(5).filter(|home| home.starts_with('/'));
        let home = home.ok_or_else(|| refused(user, "it has no home folder"))?.clone();
        let number = |field| editor.number(Passwd, user, field).unwrap_or_default();
        let owner = Owner { user: number(2), group: number(3) };
        let mut lines = Vec::new();
        let mut fault = None;
        for key in keys {
            match self.lines_of(key) {
                Ok(new) => lines.extend(new),
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        if !lines.is_empty() {
            self.write_keys(&home, file, owner, lines)?;
        }
        fault.map_or(Ok(()), Err)
    }

    fn write_keys(
        &mut self,
        home: &str,
        file: &str,
        owner: Owner,
        lines: Vec<String>,
    ) -> Result<(), Error> {
        let path = format!("{}/.ssh/{file}", home.trim_end_matches('/'));
        let mut folder = home.trim_end_matches('/').to_owned();
        let mut below: Vec<&str> = format_elements(file);
        below.insert(0, ".ssh");
        below.pop();
        for element in below {
            folder = format!("{folder}/{element}");
            match self.root.status(&folder)? {
                Some(status) if status.kind == Kind::Folder => {}
                Some(status) => {
                    return Err(Error::Exists { path: folder, found: status.kind.words() });
                }
                None => self.root.directory(&folder, FOLDER_MODE, owner)?,
            }
        }
        let old = match self.root.status(&path)? {
            Some(status) if status.kind == Kind::File => {
                self.root.text(&path, LIST_BYTES)?.unwrap_or_default()
            }
            Some(status) => return Err(Error::Exists { path, found: status.kind.words() }),
            None => String::new(),
        };
        let text = merged(&old, &lines);
        self.root.write(&path, text.as_bytes(), FILE_MODE, owner)
    }

    /// The keys that an entry stands for.
    fn lines_of(&mut self, key: &str) -> Result<Vec<String>, Error> {
        let Some(url) = address_of(key)? else { return Ok(vec![key.trim().to_owned()]) };
        let remote = Remote { url, timeout: PATIENCE, ..Remote::default() };
        let bytes = self.fetch.get(&remote, LIST_BYTES)?;
        let origin = crate::fetch::address(&remote.url);
        let refused = |reason: &str| Error::Contents { origin, reason: reason.into() };
        let Ok(text) = String::from_utf8(bytes) else { return Err(refused("they are no text")) };
        let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        if lines.iter().any(|line| line.starts_with('<')) {
            return Err(refused("they are a web page and no keys"));
        }
        Ok(lines)
    }
}

/// The elements of a file's name below `.ssh`.
fn format_elements(file: &str) -> Vec<&str> {
    file.split('/').filter(|element| !element.is_empty()).collect()
}

/// The address behind `github:NAME`, `gitlab:NAME` or an address; nothing for a key itself.
fn address_of(key: &str) -> Result<Option<String>, Error> {
    let key = key.trim();
    if key.starts_with("https://") || key.starts_with("http://") {
        return Ok(Some(key.to_owned()));
    }
    for (prefix, host) in [("github:", "github.com"), ("gitlab:", "gitlab.com")] {
        let Some(name) = key.strip_prefix(prefix) else { continue };
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !is_name {
            return Err(refused(key, "it names no user whose keys could be fetched"));
        }
        return Ok(Some(format!("https://{host}/{name}.keys")));
    }
    Ok(None)
}

/// The old text with the keys that it lacks.
fn merged(old: &str, keys: &[String]) -> String {
    let mut text = old.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let mut known: std::collections::BTreeSet<&str> = old.lines().map(str::trim).collect();
    for key in keys.iter().flat_map(|key| key.lines()).map(str::trim) {
        if !key.is_empty() && !key.starts_with('#') && known.insert(key) {
            text.push_str(key);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{address_of, merged};

    #[test]
    fn keys_are_added_once() {
        for (old, keys, expected) in [
            ("", vec!["ssh-ed25519 A a", "ssh-ed25519 A a"], "ssh-ed25519 A a\n"),
            (
                "# mine\nssh-rsa X",
                vec!["ssh-rsa X", "ssh-rsa Y", ""],
                "# mine\nssh-rsa X\nssh-rsa Y\n",
            ),
            ("", vec!["ssh-rsa X\nssh-rsa Y\n# note"], "ssh-rsa X\nssh-rsa Y\n"),
        ] {
            let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
            assert_eq!(merged(old, &keys), expected);
        }
    }

    #[test]
    fn short_forms_become_addresses() {
        for (key, expected) in [
            ("github:joe", Some("https://github.com/joe.keys")),
            ("gitlab:a.b-c", Some("https://gitlab.com/a.b-c.keys")),
            ("https://keys.example.com/joe", Some("https://keys.example.com/joe")),
            ("ssh-ed25519 AAAA joe@github:x", None),
        ] {
            assert_eq!(address_of(key).unwrap().as_deref(), expected, "{key}");
        }
        assert!(address_of("github:../x").is_err());
        assert!(address_of("github:").is_err());
    }
}
