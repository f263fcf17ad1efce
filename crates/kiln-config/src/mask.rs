//! What must not be shown: passwords and their hashes, tokens, private keys, values of header lines.
//!
//! One place for all that is printed, logged or sent: plans are masked before they are shown, and lines of
//! documents before they are quoted. Structured secrets are known by their field. In text (commands,
//! units, lines) a word such as `token=` gives them away; that is a net with holes, so it is
//! never the only protection. Showing lengths or first letters was dropped: both help who guesses.

use crate::action::{Action, Contents, Password, Source};
use crate::operation::Text;

/// What stands in place of a secret.
pub const HIDDEN: &str = "<hidden>";

/// Ends of names whose values are secrets.
const NAMES: [&str; 8] =
    ["password", "passwd", "password_hash", "passwordhash", "token", "secret", "psk", "passphrase"];

/// An action without its secrets.
#[must_use]
pub fn masked(action: &Action) -> Action {
    let mut action = action.clone();
    match &mut action {
        Action::File(file) => {
            file.contents.iter_mut().chain(&mut file.append).for_each(contents);
        }
        Action::Luks(luks) => {
            if let Some(key) = &mut luks.key {
                key.secret = true;
                contents(key);
            }
            luks.options.iter_mut().chain(&mut luks.open_options).for_each(line_in_place);
        }
        Action::User(user) => {
            if let Some(Password::Hash(text) | Password::Plain(text)) = &mut user.password {
                hide(text);
            }
        }
        Action::Group(group) => {
            if let Some(hash) = &mut group.password_hash {
                hide(hash);
            }
        }
        Action::Entity(entity) => text(&mut entity.entity),
        Action::Command(command) => text(&mut command.script),
        Action::Unit(unit) => {
            unit.contents.iter_mut().for_each(text);
            unit.dropins.iter_mut().for_each(|(_, body)| text(body));
        }
        Action::Environment(environment) => values(&mut environment.variables),
        Action::SystemdFirstboot(options) => values(options),
        Action::Git(git) => {
            for secret in [&mut git.auth.password, &mut git.auth.private_key].into_iter().flatten()
            {
                hide(secret);
            }
            url(&mut git.url);
        }
        Action::AuthorizedKeys(keys) => {
            for key in &mut keys.keys {
                if let Text::Plain(key) = key {
                    url(key);
                }
            }
        }
        Action::KernelArguments(arguments) => {
            let all = arguments.should_exist.iter_mut().chain(&mut arguments.should_not_exist);
            all.for_each(line_in_place);
        }
        Action::Report(address) => {
            // A token in the query is what lets a machine report.
            if let Some((before, _)) = address.split_once('?') {
                *address = format!("{before}?{HIDDEN}");
            }
            url(address);
        }
        _ => {}
    }
    action
}

fn hide(secret: &mut String) {
    HIDDEN.clone_into(secret);
}

fn line_in_place(text: &mut String) {
    *text = line(text);
}

fn contents(contents: &mut Contents) {
    if contents.secret {
        contents.gzip = false;
        // The digest of a short secret is as good as the secret.
        contents.hash = None;
    }
    match &mut contents.source {
        Source::Remote(remote) => {
            remote.headers.iter_mut().for_each(|(_, value)| hide(value));
            url(&mut remote.url);
            remote.proxy.iter_mut().for_each(url);
        }
        source if contents.secret => *source = Source::Bytes(HIDDEN.into()),
        Source::Bytes(_) | Source::Template(_) => {}
    }
}

fn text(text: &mut Text) {
    match text {
        Text::Plain(text) | Text::Template(text) => line_in_place(text),
    }
}

fn values(variables: &mut std::collections::BTreeMap<String, Text>) {
    for (name, value) in variables {
        if is_secret(name) {
            *value = Text::from(HIDDEN);
        } else {
            text(value);
        }
    }
}

/// The address that contents are fetched from, as it may be shown.
#[must_use]
pub fn address(contents: &Contents) -> Option<String> {
    match &contents.source {
        Source::Remote(remote) => {
            let mut shown = remote.url.clone();
            url(&mut shown);
            Some(shown)
        }
        Source::Bytes(_) | Source::Template(_) => None,
    }
}

/// The password of a URL (RFC 3986 §3.2.1).
fn url(url: &mut String) {
    let Some((scheme, rest)) = url.split_once("://") else { return };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((login, host)) = authority.rsplit_once('@') else { return };
    let tail = rest.get(authority.len()..).unwrap_or_default();
    let user = login.split(':').next().unwrap_or_default();
    *url = format!("{scheme}://{user}:{HIDDEN}@{host}{tail}");
}

fn is_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase().replace('-', "_");
    NAMES.iter().any(|end| lower.ends_with(end) || lower.ends_with(&format!("{end}_hashed")))
}

/// Text in which each value behind a name of a secret is stars, letter for letter, so that columns stay.
///
/// A value stands behind `name=`, `name: ` or `--name `; it ends with its quote or before white space.
#[must_use]
pub fn line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = next_secret(rest) {
        shown.push_str(before);
        let value = value_of(after);
        shown.extend(value.chars().map(|_| '*'));
        rest = after.get(value.len()..).unwrap_or_default();
    }
    shown + rest
}

/// Splits in front of the next value that is a secret.
fn next_secret(text: &str) -> Option<(&str, &str)> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let divides = |(_, letter): &(usize, char)| matches!(letter, '=' | ':' | ' ');
    for (at, divider) in text.char_indices().filter(divides) {
        let (before, after) = text.split_at_checked(at)?;
        let before = before.strip_suffix('"').or(before.strip_suffix('\'')).unwrap_or(before);
        let start = before.rfind(|letter| !is_name(letter)).map_or(0, |end| {
            end + before.get(end..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
        });
        let name = before.get(start..).unwrap_or_default();
        if !is_secret(name) || (divider == ' ' && !name.starts_with("--")) {
            continue;
        }
        let value = after.get(1..)?.trim_start_matches(' ');
        // A bare key, a block scalar or a map begins no value here.
        if value.is_empty() || value.starts_with(['\n', '|', '>', '{', '[']) {
            continue;
        }
        return text.split_at_checked(text.len() - value.len());
    }
    None
}

/// The value at the start of a text, quotes included.
fn value_of(text: &str) -> &str {
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\''));
    let end = match quote {
        Some(quote) => text.get(1..).and_then(|rest| rest.find(quote)).map(|end| end + 2),
        None => text.find(|letter: char| letter.is_whitespace() || ",}]".contains(letter)),
    };
    text.get(..end.unwrap_or(text.len())).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{line, masked};
    use crate::action::{Action, Command, Contents, File, Owner, Remote, Source};

    #[test]
    fn values_of_secrets_become_stars_and_columns_stay() {
        for (text, expected) in [
            ("passwd: \"joe\"", "passwd: *****"),
            ("{\"passwordHash\": \"$6$a\", \"b\": 1}", "{\"passwordHash\": ******, \"b\": 1}"),
            ("k3s agent --token abc --server x", "k3s agent --token *** --server x"),
            ("K3S_TOKEN=a b", "K3S_TOKEN=* b"),
            ("ü token=ä; MY_SECRET='a b'", "ü token=** MY_SECRET=*****"),
            ("passwd -l root", "passwd -l root"),
            ("token:\n  file: /x", "token:\n  file: /x"),
            ("token: {file: /x}", "token: {file: /x}"),
            ("nothing here", "nothing here"),
            ("token=", "token="),
        ] {
            assert_eq!(line(text), expected);
            assert_eq!(line(text).chars().count(), text.chars().count());
        }
    }

    #[test]
    fn an_action_is_shown_without_its_secrets() {
        let remote = Remote {
            url: "https://u:hunter2@example.com/x".into(),
            headers: vec![("Authorization".into(), "hunter2".into())],
            ..Remote::default()
        };
        let of = |source, secret| {
            Action::File(File {
                path: "/a".into(),
                contents: Some(Contents { source, gzip: false, hash: None, secret }),
                append: Vec::new(),
                mode: None,
                owner: Owner::default(),
                overwrite: true,
            })
        };
        for action in [
            of(Source::Bytes(b"hunter2".into()), true),
            of(Source::Template("hunter2".into()), true),
            of(Source::Remote(remote), false),
            Action::Command(Command { script: "login --password hunter2".into() }),
            Action::Report("https://u:hunter2@example.com/x".into()),
            Action::Report("https://example.com/x?key=hunter2".into()),
        ] {
            let shown = serde_json::to_string(&masked(&action)).unwrap();
            assert!(!shown.contains("hunter2"), "{shown}");
            let bytes = serde_json::to_string(&"hunter2".as_bytes()).unwrap();
            assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
        }
        let open = of(Source::Bytes(b"hello".into()), false);
        assert_eq!(masked(&open), open);
    }
}
