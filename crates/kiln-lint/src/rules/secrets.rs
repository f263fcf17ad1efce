//! What must differ from machine to machine, or must not be in an image at all.
//!
//! Everybody who can read the image can read these, and every machine made of it has the same. Hashes
//! in `/etc/shadow` are not reported: a login in the image is a decision, a key left behind is not.

use crate::Error;
use crate::image::{Image, is_within, name};
use crate::rule::{Fault, Rule, Severity, Threshold};

/// Files that are read to see whether they are private keys: 27 bytes to 64 KiB. The marker alone is
/// longer than the lower bound; an RSA key of 16384 bits has 13 kB.
const KEY_SIZES: std::ops::RangeInclusive<u64> = 27..=64 << 10;
/// Places with published sample keys, which are no secrets.
const SAMPLE_FOLDERS: [&str; 2] = ["usr/share/doc", "usr/share/man"];
/// Folder names that hold the tests and examples of a library.
const SAMPLE_NAMES: [&[u8]; 4] = [b"test", b"tests", b"testdata", b"examples"];

/// Files of a home folder with credentials, with what they are.
const IN_HOMES: [(&str, &str); 8] = [
    (".netrc", "passwords for servers"),
    (".pgpass", "passwords for databases"),
    (".git-credentials", "passwords for repositories"),
    (".aws/credentials", "credentials for a cloud"),
    (".azure/accessTokens.json", "credentials for a cloud"),
    (".config/gcloud/application_default_credentials.json", "credentials for a cloud"),
    (".config/containers/auth.json", "credentials for registries"),
    (".docker/config.json", "credentials for registries"),
];
/// The same with places of their own. The random seed must be the machine's, because all machines
/// that credit the same seed draw the same numbers.
const AT_PATHS: [(&str, &str); 4] = [
    ("etc/kubernetes/admin.conf", "credentials for a cluster"),
    ("var/lib/systemd/credential.secret", "the key of the machine's credentials"),
    ("var/lib/systemd/random-seed", "a random seed that all machines would share"),
    ("etc/krb5.keytab", "the keys of a Kerberos host"),
];

pub(super) const SSH_HOST_KEYS: Rule = Rule {
    id: "ssh-host-keys",
    severity: Severity::Error,
    threshold: Threshold::Any,
    reason: "with host keys of the image all machines are the same to SSH, and whoever has the image \
             can pose as any of them",
    fix: "delete /etc/ssh/ssh_host_* at the end of the build; machines make their own at the first \
          boot",
    check: |image, _| {
        Ok(image
            .files("etc/ssh")
            .filter(|(path, _, content)| content.size > 0 && is_host_key(path))
            .map(|(path, ..)| Fault::at(&path, "every machine would have this SSH host key"))
            .collect())
    },
};

fn is_host_key(path: &[u8]) -> bool {
    is_within(path, "etc/ssh") && name(path).starts_with(b"ssh_host_") && path.ends_with(b"_key")
}

pub(super) const MACHINE_ID: Rule = Rule {
    id: "machine-id",
    severity: Severity::Error,
    threshold: Threshold::Any,
    reason: "machines with one machine-id collide in DHCP, in the journal and in every inventory",
    fix: "leave /etc/machine-id empty and delete /var/lib/dbus/machine-id at the end of the build",
    check: |image, _| {
        let mut faults = Vec::new();
        for path in ["etc/machine-id", "var/lib/dbus/machine-id"] {
            // A link to the machine's own is right; only a file is the image's.
            let is_file = image.tree.lookup(path.as_bytes()) == image.tree.resolve(path.as_bytes());
            let text = image.text(path)?;
            if is_file && !matches!(text.trim(), "" | "uninitialized") {
                faults.push(Fault::at(path.as_bytes(), "every machine would have this identity"));
            }
        }
        Ok(faults)
    },
};

pub(super) const BAKED_SECRETS: Rule = Rule {
    id: "baked-secrets",
    severity: Severity::Error,
    threshold: Threshold::Any,
    reason: "a private key or credential in an image is known to everyone who can pull it, and stays \
             in its layers when a later layer deletes it",
    fix: "take it out of the layer that adds it, replace it where it is valid, and give it to \
          machines as a credential",
    check: baked_secrets,
};

fn baked_secrets(image: &Image<'_>, _: u64) -> Result<Vec<Fault>, Error> {
    let mut faults = Vec::new();
    for (path, _, content) in image.files("") {
        if content.size == 0 || is_sample(&path) || is_host_key(&path) {
            continue;
        }
        let message = match known_place(&path) {
            Some(what) => Some(what),
            None if KEY_SIZES.contains(&content.size) => {
                is_private_key(&image.read(&path, content)?).then_some("a private key")
            }
            None => None,
        };
        if let Some(what) = message {
            faults.push(Fault::at(&path, format!("the image contains {what}")));
        }
    }
    Ok(faults)
}

fn is_sample(path: &[u8]) -> bool {
    SAMPLE_FOLDERS.iter().any(|folder| is_within(path, folder))
        || (is_within(path, "usr")
            && path.split(|byte| *byte == b'/').any(|part| SAMPLE_NAMES.contains(&part)))
}

/// What a file is by its place alone.
fn known_place(path: &[u8]) -> Option<&'static str> {
    if let Some((_, what)) = AT_PATHS.iter().find(|(place, _)| place.as_bytes() == path) {
        return Some(what);
    }
    let inside = in_home(path)?;
    if let Some(key) = inside.strip_prefix(b".ssh/id_") {
        return (!key.ends_with(b".pub")).then_some("a private SSH key");
    }
    IN_HOMES.iter().find(|(place, _)| place.as_bytes() == inside).map(|(_, what)| *what)
}

/// The part of a path behind `/root` or `/home/<name>`.
fn in_home(path: &[u8]) -> Option<&[u8]> {
    if let Some(inside) = path.strip_prefix(b"root/") {
        return Some(inside);
    }
    let rest = path.strip_prefix(b"home/")?;
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    rest.get(slash + 1..)
}

/// A PEM file (RFC 7468 §2) whose first label ends in `PRIVATE KEY`.
fn is_private_key(bytes: &[u8]) -> bool {
    let Some(rest) = bytes.strip_prefix(b"-----BEGIN ") else { return false };
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.trim_ascii_end().ends_with(b"PRIVATE KEY-----")
}

#[cfg(test)]
mod tests {
    use super::{is_private_key, is_sample, known_place};

    #[test]
    fn private_keys_are_told_by_their_first_line() {
        let cases: [(&[u8], bool); 6] = [
            (b"-----BEGIN PRIVATE KEY-----\nMC4CAQ\n", true),
            (b"-----BEGIN OPENSSH PRIVATE KEY-----\r\nb3Bl\r\n", true),
            (b"-----BEGIN EC PRIVATE KEY-----", true),
            (b"-----BEGIN CERTIFICATE-----\nPRIVATE KEY-----\n", false),
            (b"-----BEGIN PUBLIC KEY-----\n", false),
            (b"see -----BEGIN PRIVATE KEY-----\n", false),
        ];
        for (bytes, expected) in cases {
            assert_eq!(is_private_key(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn places_tell_secrets() {
        let cases: [(&[u8], bool); 7] = [
            (b"root/.ssh/id_ed25519", true),
            (b"home/kiln/.ssh/id_rsa", true),
            (b"root/.ssh/id_rsa.pub", false),
            (b"home/kiln/.netrc", true),
            (b"home/.netrc", false),
            (b"srv/root/.netrc", false),
            (b"var/lib/systemd/random-seed", true),
        ];
        for (path, expected) in cases {
            assert_eq!(known_place(path).is_some(), expected, "{}", path.escape_ascii());
        }
        assert!(is_sample(b"usr/lib/python3/test/key.pem"));
        assert!(!is_sample(b"srv/test/key.pem"));
    }
}
