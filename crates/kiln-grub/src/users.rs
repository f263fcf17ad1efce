//! Who may change what is started: GRUB's users and their passwords ([`crate::USERS_PATH`]).
//!
//! With users, editing an entry and GRUB's command line need a password; with [`Protection::Menu`]
//! the menu opens only with one, too. Starting what would be started anyway never does, or the
//! machine would wait for a person. Who can write the ESP can change all of this: it protects the
//! keyboard, not the disk.
//!
//! A password is kept as GRUB's own text of a PBKDF2 hash with SHA-512 (GRUB manual, "Invoking
//! grub-mkpasswd-pbkdf2"): `grub.pbkdf2.sha512.<iterations>.<salt>.<hash>`, both in hexadecimal.

use std::fmt::Write as _;
use std::num::NonZeroU32;

use ring::pbkdf2;

use crate::Error;

/// Iterations that [`password`] should be called with: what grub-mkpasswd-pbkdf2 takes. GRUB
/// computes them with one slow processor and no cache of its own, about a second on an old one.
pub const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(9_999);

/// Most iterations that a ready-made text may have: a minute of an old processor.
const ITERATIONS_MAXIMUM: u32 = 1_000_000;

/// Bytes of a salt: what grub-mkpasswd-pbkdf2 takes.
pub const SALT_LENGTH: usize = 64;

/// Bytes of a hash: one block of SHA-512.
const HASH_LENGTH: usize = 64;

/// Most bytes of a password: GRUB's line for it (GRUB, `GRUB_AUTH_MAX_PASSLEN`, with its end).
const PASSWORD_MAXIMUM: usize = 1023;

/// How a password text begins.
const PREFIX: &str = "grub.pbkdf2.sha512.";

/// Most characters of a name.
const NAME_MAXIMUM: usize = 32;

/// What needs a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Editing entries and the command line; the menu is open.
    Editing,
    /// The menu, too.
    Menu,
}

/// Somebody who may do everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User<'a> {
    /// Letters, digits, `-`, `_` and `.`.
    pub name: &'a str,
    /// What [`password`] makes, or grub-mkpasswd-pbkdf2.
    pub password: &'a str,
}

/// GRUB's text of a password. The salt should be [`SALT_LENGTH`] random bytes.
///
/// # Errors
/// [`Error::Text`] for a password that nobody could type: empty, too long, or with control
/// characters.
pub fn password(
    plain: &str,
    salt: &[u8; SALT_LENGTH],
    iterations: NonZeroU32,
) -> Result<String, Error> {
    if plain.is_empty() || plain.len() > PASSWORD_MAXIMUM || plain.chars().any(char::is_control) {
        let reason = "it is empty, longer than 1023 bytes or has control characters";
        return Err(Error::Text { what: "a password of the menu".to_owned(), reason });
    }
    let mut hash = [0; HASH_LENGTH];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, salt, plain.as_bytes(), &mut hash);
    Ok(format!("{PREFIX}{iterations}.{}.{}", hexadecimal(salt), hexadecimal(&hash)))
}

/// The file of users.
///
/// # Errors
/// [`Error::Text`] for no user at all, a name that is none, one that is there twice, or a password
/// that is no text of [`password`].
pub fn users(users: &[User<'_>], protection: Protection) -> Result<String, Error> {
    let refused = |name: &str, reason| {
        Err(Error::Text { what: format!("user `{name}` of the menu"), reason })
    };
    if users.is_empty() {
        return refused("", "without users nobody could open it");
    }
    let mut lines = String::new();
    for (index, user) in users.iter().enumerate() {
        if !is_name(user.name) {
            return refused(user.name, "a name has letters, digits, `-`, `_` and `.`");
        }
        if users.iter().take(index).any(|other| other.name == user.name) {
            return refused(user.name, "it is there twice");
        }
        if !is_password(user.password) {
            return refused(user.name, "the password is not what grub-mkpasswd-pbkdf2 makes");
        }
        let _ = writeln!(lines, "password_pbkdf2 {} {}", user.name, user.password);
    }
    let names: Vec<&str> = users.iter().map(|user| user.name).collect();
    let locked = if protection == Protection::Menu { "yes" } else { "no" };
    Ok(format!("set superusers=\"{}\"\n{lines}set locked={locked}\n", names.join(",")))
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_MAXIMUM).contains(&name.len()) && name.bytes().all(is_plain)
}

fn is_password(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(PREFIX) else { return false };
    let parts: Vec<&str> = rest.split('.').collect();
    let is_bytes = |text: &str| {
        let plausible = (2..=2 * 128).contains(&text.len()) && text.len().is_multiple_of(2);
        plausible && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match parts[..] {
        [iterations, salt, hash] => {
            let is_number = iterations.bytes().all(|byte| byte.is_ascii_digit());
            let iterations = iterations.parse().unwrap_or(0);
            is_number
                && (1..=ITERATIONS_MAXIMUM).contains(&iterations)
                && is_bytes(salt)
                && is_bytes(hash)
        }
        _ => false,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_what_grub_computes() {
        let text = password("correct horse", &[0xa5; SALT_LENGTH], ITERATIONS).unwrap();
        assert!(text.starts_with("grub.pbkdf2.sha512.10000.A5A5"), "{text}");
        assert!(is_password(&text));
        assert_eq!(
            text.rsplit('.').next().unwrap(),
            "FF32B4867F4841CE71116F80F477110A1EF244A77EA5FF323F75F8CE8F73B6AF93CC0825BF008FAE8EE2FBBE615218976F72D6D0E9CE74A1970A41845D35673E"
        );
        for bad in ["", "a\nb", &"a".repeat(1024)] {
            assert!(password(bad, &[0; SALT_LENGTH], ITERATIONS).is_err());
        }
    }

    #[test]
    fn users_become_a_script() {
        let hash = "grub.pbkdf2.sha512.10000.AB.CD";
        let list = [User { name: "root", password: hash }, User { name: "ops", password: hash }];
        assert_eq!(
            users(&list, Protection::Menu).unwrap(),
            format!(
                "set superusers=\"root,ops\"\npassword_pbkdf2 root {hash}\n\
                 password_pbkdf2 ops {hash}\nset locked=yes\n"
            )
        );
        assert!(users(&list[..1], Protection::Editing).unwrap().ends_with("set locked=no\n"));
    }

    #[test]
    fn nothing_else_gets_into_the_script() {
        let good = "grub.pbkdf2.sha512.10000.AB.CD";
        for (name, password) in [
            ("", good),
            ("a b", good),
            ("a;reboot", good),
            ("a\"", good),
            ("root", "secret"),
            ("root", "grub.pbkdf2.sha512.10000.AB.CD; reboot"),
            ("root", "grub.pbkdf2.sha512.10000.AB.CD.EF"),
            ("root", "grub.pbkdf2.sha512.10000.AB"),
            ("root", "grub.pbkdf2.sha512.0.AB.CD"),
            ("root", "grub.pbkdf2.sha512.+1.AB.CD"),
            ("root", "grub.pbkdf2.sha512.99999999.AB.CD"),
            ("root", "grub.pbkdf2.sha512.10000.ABC.CD"),
            ("root", "grub.pbkdf2.sha512.10000..CD"),
            ("root", "grub.pbkdf2.sha256.10000.AB.CD"),
        ] {
            let refused = users(&[User { name, password }], Protection::Menu);
            assert!(refused.is_err(), "{name} {password}");
        }
        let one = User { name: "root", password: good };
        assert!(users(&[], Protection::Menu).is_err());
        assert!(users(&[one.clone(), one], Protection::Menu).is_err());
    }
}
