//! Permission bits and owners, however they were written.
//!
//! The toolkit reads an unquoted number by Go's rules: `0600` and `0o600` are octal, `384` is decimal
//! and the same mode, `600` is decimal too and means 1130. The last is what its author never wants, so
//! it is carried out as the toolkit does and said. A quoted `"0600"`, which the toolkit cannot read, is
//! octal.

use super::password::is_account_name;
use super::scope::filled;
use crate::action::Owner;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, wrong_kind};
use crate::node::{Node, Value};

/// All permission bits of chmod(2): three digits, and set-user-ID, set-group-ID, sticky.
const ALL_BITS: u32 = 0o7777;

/// Permission bits under a key.
pub(super) fn mode(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<u32> {
    let node = fields.take(name)?;
    let out = fields.out();
    let Some(text) = node.text() else {
        out.push(wrong_kind(node, name, "a mode like `0644`"));
        return None;
    };
    let quoted = matches!(node.value, Value::Scalar { quoted: true, .. });
    let parsed = if quoted { octal(text) } else { number(text) };
    let Some(bits) = parsed.filter(|bits| *bits <= ALL_BITS) else {
        let shown: String = text.chars().take(40).collect();
        let message = format!("`{name}` has to be a mode like `0644`, and is `{shown}`");
        out.push(Diagnostic::error("bad-mode", node.span, message));
        return None;
    };
    if !quoted && suspicious(text) {
        let message = format!("`{text}` is a decimal number here and means the mode {bits:04o}");
        out.push(
            Diagnostic::warning("decimal-mode", node.span, message)
                .hint(format!("did you mean `0{text}`?")),
        );
    }
    Some(bits)
}

/// Permission bits in cloud-init's notation: octal with or without a leading zero, quoted or not.
pub(super) fn octal_mode(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<u32> {
    let node = fields.take(name)?;
    let bits = node.text().and_then(octal).filter(|bits| *bits <= ALL_BITS);
    if bits.is_none() {
        let message = format!("`{name}` has to be an octal mode like `0644`");
        fields.out().push(Diagnostic::error("bad-mode", node.span, message));
    }
    bits
}

fn octal(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| u32::from_str_radix(digits, 8).ok()).flatten()
}

/// Go's `strconv.ParseInt` with base 0, without signs.
fn number(text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = if let Some(digits) = lower.strip_prefix("0o") {
        (digits, 8)
    } else if let Some(digits) = lower.strip_prefix("0x") {
        (digits, 16)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (digits, 2)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (lower.as_str(), 8)
    } else {
        (lower.as_str(), 10)
    };
    digits
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric())
        .then(|| u32::from_str_radix(digits, radix).ok())
        .flatten()
}

/// Whether a decimal number looks like an octal mode whose zero was forgotten: as octal its owner may
/// what its group may, and its group what all others may. `420`, `436` and `448`, which really are
/// decimal modes, do not look like that; 511 is 0777 and does.
fn suspicious(text: &str) -> bool {
    let Some(special) = text.len().checked_sub(3) else { return false };
    if text.starts_with('0') || special > 1 || text == "511" {
        return false;
    }
    let Ok(bits) = u32::from_str_radix(text, 8) else { return false };
    let (user, group, others) = (bits >> 6 & 7, bits >> 3 & 7, bits & 7);
    user & group == group && group & others == others
}

/// `owner`, `group` and `ownerstring` of an entry; `default` stands for what was left out.
pub(super) fn owner(fields: &mut Fields<'_, '_>, default: Option<&str>) -> Owner {
    let default = default.map(str::to_owned);
    let mut owner = Owner {
        user: account(fields, "owner").or_else(|| default.clone()),
        group: account(fields, "group").or(default),
    };
    if let Some(node) = fields.take("ownerstring") {
        both(node, fields.out(), &mut owner);
    }
    owner
}

/// Owner and group in one string, `user:group` or `user`.
pub(super) fn both(node: &Node, out: &mut Diagnostics, owner: &mut Owner) {
    let Some(value) = filled(node, "owner", out) else { return };
    let (user, group) = match value.value.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (value.value.as_str(), None),
    };
    for (name, slot) in [(Some(user), &mut owner.user), (group, &mut owner.group)] {
        let Some(name) = name.filter(|name| !name.is_empty()) else { continue };
        if is_account_name(name) || is_number(name) {
            *slot = Some(name.to_owned());
        } else {
            let message = format!("`{name}` is neither a user's or group's name nor a number");
            out.push(Diagnostic::error("bad-name", value.span, message));
        }
    }
}

fn account(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<String> {
    let node = fields.take(name)?;
    let mut owner = Owner::default();
    both(node, fields.out(), &mut owner);
    owner.user
}

fn is_number(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit()) && name.parse::<u32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::mode;
    use crate::diagnostic::Diagnostics;
    use crate::fields::Fields;
    use crate::source::SourceId;
    use crate::yaml::document;

    #[test]
    fn modes_are_read_as_the_toolkit_reads_them() {
        for (text, expected, code) in [
            ("0600", Some(0o600), None),
            ("0o600", Some(0o600), None),
            ("384", Some(0o600), None),
            ("420", Some(0o644), None),
            ("448", Some(0o700), None),
            ("511", Some(0o777), None),
            ("0x180", Some(0o600), None),
            ("01777", Some(0o1777), None),
            ("0", Some(0), None),
            ("\"0600\"", Some(0o600), None),
            ("'600'", Some(0o600), None),
            ("600", Some(0o1130), Some("decimal-mode")),
            ("644", Some(0o1204), Some("decimal-mode")),
            ("755", Some(0o1363), Some("decimal-mode")),
            ("400", Some(0o620), Some("decimal-mode")),
            ("1777", Some(0o3361), Some("decimal-mode")),
            ("\"384\"", None, Some("bad-mode")),
            ("0689", None, Some("bad-mode")),
            ("-1", None, Some("bad-mode")),
            ("99999", None, Some("bad-mode")),
            ("99999999999999", None, Some("bad-mode")),
            ("rw-r--r--", None, Some("bad-mode")),
            ("[1]", None, Some("wrong-type")),
        ] {
            let node = document(SourceId(0), &format!("permissions: {text}\n")).unwrap();
            let mut out = Diagnostics::default();
            let mut fields = Fields::open(&node, "a file", &mut out).unwrap();
            assert_eq!(mode(&mut fields, "permissions"), expected, "{text}");
            assert_eq!(out.list().first().map(|one| one.code), code, "{text}");
        }
    }
}
