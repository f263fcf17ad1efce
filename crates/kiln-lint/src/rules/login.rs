//! Whether anybody could log in, and whether everybody could.

use crate::Error;
use crate::image::Image;
use crate::rule::{Fault, Rule, Severity, Threshold};

/// Shells that only say goodbye.
const NO_SHELLS: [&str; 2] = ["nologin", "false"];
/// Length of a crypt(5) hash of the oldest kind (descrypt), the only one without a marker.
const DES_HASH_LENGTH: usize = 13;

pub(super) const NO_LOGIN: Rule = Rule {
    id: "no-login",
    severity: Severity::Warning,
    threshold: Threshold::Any,
    reason: "no account has a password or an SSH key, and Kiln sets none: nobody could look at a \
             machine that misbehaves",
    fix: "build with --user NAME and --ssh-key FILE or --password-file FILE, or add an account to \
          the image",
    check: no_login,
};

pub(super) const EMPTY_PASSWORD: Rule = Rule {
    id: "empty-password",
    severity: Severity::Error,
    threshold: Threshold::Any,
    reason: "an account whose password field is empty lets anyone in who reaches a console, and over \
             the network where a service permits empty passwords",
    fix: "lock it with passwd -l NAME in the image, or give it a key or a hash with --user",
    check: empty_password,
};

/// Every account without a password, by the file that says so (shadow(5), passwd(5)).
///
/// The shell does not matter: `su`, file servers and web logins ask the same field. A line without a
/// second field is damaged and not open, as libc passes it over.
fn empty_password(image: &Image<'_>, _: u64) -> Result<Vec<Fault>, Error> {
    let mut faults = Vec::new();
    for path in ["etc/passwd", "etc/shadow"] {
        for line in image.text(path)?.lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(password)) = (fields.next(), fields.next()) else { continue };
            if !name.is_empty() && password.is_empty() {
                let name = name.escape_debug();
                let message = format!("the account `{name}` needs no password");
                faults.push(Fault::at(path.as_bytes(), message));
            }
        }
    }
    Ok(faults)
}

fn no_login(image: &Image<'_>, _: u64) -> Result<Vec<Fault>, Error> {
    let passwd = image.text("etc/passwd")?;
    let shadow = image.text("etc/shadow")?;
    let mut accounts = 0_usize;
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, password, _, _, _, home, shell] = fields[..] else { continue };
        let program = shell.rsplit('/').next().unwrap_or_default();
        if NO_SHELLS.contains(&program) {
            continue;
        }
        accounts += 1;
        let hash = match password {
            "x" => second_field(&shadow, name).unwrap_or("*"),
            hash => hash,
        };
        if accepts_password(hash) || has_keys(image, name, home) {
            return Ok(Vec::new());
        }
    }
    let message = match accounts {
        0 => "no account has a shell".to_owned(),
        1 => "the one account with a shell has neither password nor SSH key".to_owned(),
        _ => format!("none of {accounts} accounts with a shell has a password or an SSH key"),
    };
    Ok(vec![Fault::of_image(message)])
}

fn second_field<'a>(shadow: &'a str, name: &str) -> Option<&'a str> {
    shadow.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split(':').next())
}

/// Whether some password, or none at all, opens the account (shadow(5), crypt(5)).
fn accepts_password(hash: &str) -> bool {
    hash.is_empty()
        || hash.starts_with(['$', '_'])
        || (hash.len() == DES_HASH_LENGTH && !hash.starts_with(['!', '*']))
}

fn has_keys(image: &Image<'_>, name: &str, home: &str) -> bool {
    let home = home.trim_matches('/');
    [format!("{home}/.ssh/authorized_keys"), format!("etc/ssh/authorized_keys.d/{name}")]
        .iter()
        .any(|path| image.file(path.as_bytes()).is_some_and(|content| content.size > 0))
}

#[cfg(test)]
mod tests {
    use super::{accepts_password, second_field};

    #[test]
    fn locked_and_absent_passwords_open_nothing() {
        let cases = [
            ("$6$salt$hash", true),
            ("$y$j9T$salt$hash", true),
            ("_J9..rasmBYk8r9AiWNc", true),
            ("rqXexS6ZhobKA", true),
            ("", true),
            ("*", false),
            ("!", false),
            ("!!", false),
            ("!$6$salt$hash", false),
            ("*LK*abcdefghi", false),
        ];
        for (hash, expected) in cases {
            assert_eq!(accepts_password(hash), expected, "{hash}");
        }
    }

    #[test]
    fn names_are_whole_fields() {
        assert_eq!(second_field("rooty:a:\nroot:b:1", "root"), Some("b"));
        assert_eq!(second_field("rooty:a:", "root"), None);
    }
}
