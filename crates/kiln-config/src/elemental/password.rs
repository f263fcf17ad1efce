//! Passwords and names of accounts.
//!
//! The forks write `passwd` into the shadow file as it stands. A text that is no hash would lock its
//! user out there; here it is taken for the password itself, with a warning, because whoever can read
//! the file knows it.

use super::scope::plain;
use crate::action::Password;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Spanned;

/// Longest name of a user or a group: useradd(8)'s limit, the width of utmp's field.
const LONGEST_NAME: usize = 32;

/// Whether an account may be called that: useradd(8)'s letters, and capitals and dots as in existing
/// directories. Anything else would break the lines of `/etc/passwd`.
pub(super) fn is_account_name(name: &str) -> bool {
    let ordinary = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let (body, _) = name.strip_suffix('$').map_or((name, false), |body| (body, true));
    !body.is_empty()
        && name.len() <= LONGEST_NAME
        && body.bytes().all(ordinary)
        && !body.starts_with(['-', '.'])
        && !body.bytes().all(|byte| byte.is_ascii_digit())
}

/// The name of an account, or an error.
pub(super) fn account_name(value: &Spanned<String>, out: &mut Diagnostics) -> Option<String> {
    if is_account_name(&value.value) {
        return Some(value.value.clone());
    }
    let shown: String = value.value.chars().take(40).collect();
    let message = format!("`{shown}` cannot be the name of a user or a group");
    out.push(
        Diagnostic::error("bad-name", value.span, message)
            .hint("letters, digits, `_`, `-` and `.`, at most 32, and not digits only"),
    );
    None
}

/// Whether a text is what crypt(5) writes, or a mark that no password fits.
fn is_hash(text: &str) -> bool {
    let modular = text.strip_prefix('$').is_some_and(|rest| {
        let mut parts = rest.split('$');
        let id = parts.next().unwrap_or_default();
        let known =
            matches!(id, "1" | "2" | "2a" | "2b" | "2x" | "2y" | "5" | "6" | "7" | "md5" | "sha1")
                || matches!(id, "y" | "gy" | "sm3" | "3");
        known && parts.any(|part| part.len() >= 16)
    });
    modular || matches!(text, "*" | "!" | "!!" | "x") || text.strip_prefix('!').is_some_and(is_hash)
}

/// The password of `user`; nothing where it is empty.
pub(super) fn password(
    value: Spanned<String>,
    user: &str,
    out: &mut Diagnostics,
) -> Option<Password> {
    let span = value.span;
    let text = plain(value, out);
    if text.is_empty() {
        return None;
    }
    if text.contains(['\n', '\0']) || (is_hash(&text) && text.contains(':')) {
        let message = format!("the password of `{user}` holds a character that it cannot");
        out.push(Diagnostic::error("bad-password", span, message));
        return None;
    }
    if is_hash(&text) {
        return Some(Password::Hash(text));
    }
    out.push(
        Diagnostic::warning(
            "plain-password",
            span,
            format!("the password of `{user}` stands here for everyone to read"),
        )
        .hint("put a hash here, as `openssl passwd -6` makes it; it is hashed before it is stored"),
    );
    Some(Password::Plain(text))
}

#[cfg(test)]
mod tests {
    use super::{is_account_name, is_hash};

    #[test]
    fn hashes_are_told_from_passwords() {
        for (text, expected) in [
            ("$6$salt$0123456789abcdef0123456789abcdef", true),
            ("$1$xyz$RdLyKTL32WEvK3lg8CXID0", true),
            ("$y$j9T$abc$0123456789abcdef0123456789", true),
            ("$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe", true),
            ("!", true),
            ("*", true),
            ("!$6$salt$0123456789abcdef0123456789abcdef", true),
            ("joe", false),
            ("$6$", false),
            ("$ecret$word$with-dollars-inside", false),
            ("!important", false),
            ("", false),
        ] {
            assert_eq!(is_hash(text), expected, "{text}");
        }
    }

    #[test]
    fn names_that_would_break_account_files_are_refused() {
        for (name, expected) in [
            ("joe", true),
            ("joe.smith", true),
            ("_chrony", true),
            ("host$", true),
            ("a:b", false),
            ("a b", false),
            ("a\nroot::0:0", false),
            ("../x", false),
            ("-x", false),
            ("1000", false),
            ("", false),
            ("$", false),
            ("ä", false),
        ] {
            assert_eq!(is_account_name(name), expected, "{name}");
        }
        assert!(!is_account_name(&"a".repeat(33)));
    }
}
