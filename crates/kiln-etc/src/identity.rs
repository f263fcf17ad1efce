//! Who this machine is: machine-id, host name and host keys, kept outside of every release.
//!
//! They are ordinary files of `/etc` for every program, because programs replace them by renaming,
//! which neither a mount nor a link survives. So they are kept by copying: into the state whenever they
//! change, and into `/etc` at every boot. The `/etc` that ran last is right where the two differ, so
//! a change that came right before a power cut is kept as well.
//!
//! The machine-id is written before systemd starts, so systemd never sees a "first boot" of its own and
//! never resets which units the image has enabled. Formats: machine-id(5), hostname(5), sshd(8).

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::file;
use crate::file::{is_missing, read_small, replace};

/// Hexadecimal digits of a machine-id.
const MACHINE_ID_DIGITS: usize = 32;
/// `HOST_NAME_MAX` of Linux, in bytes.
const HOST_NAME_MAXIMUM: usize = 64;
/// Largest file of an identity that is kept, in bytes; an RSA key of 16384 bits has 13 KiB.
const FILE_MAXIMUM: u64 = 64 << 10;
/// Most host keys with their certificates that are kept, so that no folder fills the state.
const KEYS_MAXIMUM: usize = 64;

/// The identity in the content of a machine-id file; `None` for an empty, `uninitialized` or damaged
/// one.
#[must_use]
pub fn parse(text: &str) -> Option<&str> {
    let text = text.trim_end_matches('\n');
    let valid = text.len() == MACHINE_ID_DIGITS
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        && text.bytes().any(|byte| byte != b'0');
    valid.then_some(text)
}

/// A new identity from random bytes, marked as a random UUID like systemd's own (RFC 9562,
/// version 4).
#[must_use]
pub fn from_random(bytes: [u8; 16]) -> String {
    let mut number = u128::from_be_bytes(bytes);
    number = number & !(0xf << 76) | 0x4 << 76;
    number = number & !(0x3 << 62) | 0x2 << 62;
    format!("{number:032x}")
}

/// The host name in the content of a hostname file.
fn host_name(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let name = lines.find(|line| !line.is_empty())?;
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    (name.len() <= HOST_NAME_MAXIMUM && name.bytes().all(is_letter)).then_some(name)
}

/// Whether a file name in `/etc/ssh` is that of a host key, its public half or its certificate.
fn is_host_key(name: &str) -> bool {
    let Some((kind, rest)) =
        name.strip_prefix("ssh_host_").and_then(|rest| rest.split_once("_key"))
    else {
        return false;
    };
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    kind.bytes().all(is_letter) && ["", ".pub", "-cert.pub"].contains(&rest)
}

/// Whether a host key's file is whole: a power cut may leave an empty one.
fn is_whole_key(name: &str, bytes: &[u8]) -> bool {
    if name.ends_with(".pub") {
        return bytes.ends_with(b"\n");
    }
    let text = String::from_utf8_lossy(bytes);
    text.starts_with("-----BEGIN ")
        && text.trim_end().ends_with("-----")
        && text.contains("-----END ")
}

/// A file of the identity.
struct Item {
    /// Its path below `/etc` and below the folder of the identity.
    path: String,
    /// Its mode.
    mode: u32,
    /// Its content, in the form in which it is kept.
    bytes: Vec<u8>,
}

/// What of the identity is in a folder.
fn items(folder: &Path) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    let read = |path: &str| read_small(&folder.join(path), FILE_MAXIMUM);
    if let Some(bytes) = read("machine-id")?
        && let Some(id) = parse(&String::from_utf8_lossy(&bytes))
    {
        items.push(Item { path: "machine-id".into(), mode: 0o444, bytes: line(id) });
    }
    if let Some(bytes) = read("hostname")?
        && let Some(name) = host_name(&bytes)
    {
        items.push(Item { path: "hostname".into(), mode: 0o644, bytes: line(name) });
    }
    for name in host_keys(&folder.join("ssh"))? {
        let path = format!("ssh/{name}");
        if let Some(bytes) = read(&path)?.filter(|bytes| is_whole_key(&name, bytes)) {
            let mode = if name.ends_with(".pub") { 0o644 } else { 0o600 };
            items.push(Item { path, mode, bytes });
        }
    }
    Ok(items)
}

fn line(text: &str) -> Vec<u8> {
    format!("{text}\n").into_bytes()
}

/// Names of host keys in a folder, sorted.
fn host_keys(folder: &Path) -> Result<Vec<String>, Error> {
    let is_folder = folder.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    if !is_folder {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(file("read", folder))? {
        let entry = entry.map_err(file("read", folder))?;
        names.extend(entry.file_name().into_string().ok().filter(|name| is_host_key(name)));
    }
    names.sort_unstable();
    names.truncate(KEYS_MAXIMUM);
    Ok(names)
}

/// Takes over what `etc` says; gives the names of what was new. What only repeats the release's own
/// `lower` is not the machine's, unless it takes back what was kept before.
///
/// # Errors
/// [`Error::File`]; each file has its old or its new content.
pub fn keep(etc: &Path, lower: Option<&Path>, identity: &Path) -> Result<Vec<String>, Error> {
    let mut kept = Vec::new();
    for Item { path, mode, bytes } in items(etc)? {
        let to = identity.join(&path);
        let old = read_small(&to, FILE_MAXIMUM)?;
        if old.as_deref() == Some(&bytes[..]) {
            continue;
        }
        let release = match lower {
            Some(lower) if old.is_none() => items(lower)?,
            _ => Vec::new(),
        };
        if release.iter().any(|item| item.path == path && item.bytes == bytes) {
            continue;
        }
        if let Some(folder) = to.parent() {
            make_private(folder)?;
        }
        replace(&to, &bytes, mode)?;
        kept.push(path);
    }
    Ok(kept)
}

/// The folder of the identity: root's alone, since it holds private keys.
fn make_private(folder: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder).map_err(file("create", folder))
}

/// Makes sure that there is a machine-id; `random` is asked for a new one.
///
/// # Errors
/// [`Error::File`], or what `random` says.
pub fn establish(
    identity: &Path,
    random: impl FnOnce() -> Result<[u8; 16], Error>,
) -> Result<(), Error> {
    let path = identity.join("machine-id");
    let text = read_small(&path, FILE_MAXIMUM)?.unwrap_or_default();
    if parse(&String::from_utf8_lossy(&text)).is_some() {
        return Ok(());
    }
    make_private(identity)?;
    replace(&path, &line(&from_random(random()?)), 0o444)
}

/// Gives `/etc` the machine's identity, where it has another or none.
///
/// # Errors
/// [`Error::File`].
pub fn present(identity: &Path, etc: &Path) -> Result<(), Error> {
    let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    for Item { path, mode, bytes } in items(identity)? {
        let to: PathBuf = etc.join(&path);
        // A release without ssh has no folder for keys; they wait in the state.
        if !to.parent().is_some_and(is_folder) {
            continue;
        }
        let has = match fs::symlink_metadata(&to) {
            Ok(metadata) => {
                metadata.is_file() && read_small(&to, FILE_MAXIMUM)? == Some(bytes.clone())
            }
            Err(error) if is_missing(&error) => false,
            Err(source) => return Err(file("look at", &to)(source)),
        };
        if !has {
            replace(&to, &bytes, mode)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    const KEY: &str =
        "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n";

    #[test]
    fn only_a_real_identity_counts() {
        let good = "0123456789abcdef0123456789abcdef";
        let cases = [
            (format!("{good}\n"), Some(good)),
            (good.to_owned(), Some(good)),
            (String::new(), None),
            ("uninitialized\n".to_owned(), None),
            ("0".repeat(32), None),
            ("A".repeat(32), None),
            (format!("{good}0"), None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(&text), expected, "{text:?}");
        }
        let made = from_random([0xff; 16]);
        assert_eq!(made, "ffffffffffff4fffbfffffffffffffff");
        assert_eq!(from_random([0; 16]), "00000000000040008000000000000000");
        assert!(parse(&made).is_some());
    }

    #[test]
    fn names_and_keys_are_checked() {
        let long = "a".repeat(65);
        for (text, expected) in [
            ("edge-7.example.com\n", Some("edge-7.example.com")),
            ("# a remark\n\n edge \n", Some("edge")),
            ("", None),
            ("a b\n", None),
            ("\u{e4}\n", None),
            (&long, None),
        ] {
            assert_eq!(host_name(text.as_bytes()), expected, "{text:?}");
        }
        for (name, expected) in [
            ("ssh_host_ed25519_key", true),
            ("ssh_host_rsa_key.pub", true),
            ("ssh_host_ecdsa_key-cert.pub", true),
            ("ssh_host_rsa_key.bak", false),
            ("ssh_host_../x_key", false),
            ("sshd_config", false),
        ] {
            assert_eq!(is_host_key(name), expected, "{name}");
        }
        for (name, text, expected) in [
            ("k", KEY, true),
            ("k", "", false),
            ("k", &KEY[..50], false),
            ("k.pub", "ssh-rsa AAAA\n", true),
            ("k.pub", "ssh-rsa AA", false),
        ] {
            assert_eq!(is_whole_key(name, text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn what_the_machine_says_is_kept_and_shown_everywhere() {
        let base = tempfile::tempdir().unwrap();
        let at = |path: &str| base.path().join(path);
        for folder in ["old/ssh", "lower/ssh", "new/ssh", "bare"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        let identity = at("state/identity");
        let random = || Ok([7; 16]);
        establish(&identity, random).unwrap();
        establish(&identity, || panic!("there is one")).unwrap();
        present(&identity, &at("old")).unwrap();
        let id = fs::read_to_string(at("old/machine-id")).unwrap();
        assert!(parse(&id).is_some());

        // The release's own name is not the machine's.
        fs::write(at("old/hostname"), "image\n").unwrap();
        fs::write(at("lower/hostname"), "image\n").unwrap();
        assert!(keep(&at("old"), Some(&at("lower")), &identity).unwrap().is_empty());
        fs::write(at("old/hostname"), "edge\n").unwrap();
        fs::write(at("old/ssh/ssh_host_rsa_key"), KEY).unwrap();
        fs::write(at("old/ssh/ssh_host_dsa_key"), "").unwrap();
        let kept = keep(&at("old"), Some(&at("lower")), &identity).unwrap();
        assert_eq!(kept, ["hostname", "ssh/ssh_host_rsa_key"]);
        assert!(keep(&at("old"), Some(&at("lower")), &identity).unwrap().is_empty());

        symlink("/nowhere", at("new/hostname")).unwrap();
        fs::write(at("new/machine-id"), "uninitialized\n").unwrap();
        for etc in ["new", "bare", "new"] {
            present(&identity, &at(etc)).unwrap();
            assert_eq!(fs::read_to_string(at(etc).join("machine-id")).unwrap(), id);
            assert_eq!(fs::read_to_string(at(etc).join("hostname")).unwrap(), "edge\n");
        }
        let key = fs::metadata(at("new/ssh/ssh_host_rsa_key")).unwrap();
        assert_eq!(key.mode() & 0o777, 0o600);
        assert!(!at("bare/ssh").exists());

        // Back to the release's name: that is a change, too.
        fs::write(at("new/hostname"), "image\n").unwrap();
        assert_eq!(keep(&at("new"), Some(&at("lower")), &identity).unwrap(), ["hostname"]);
    }
}
