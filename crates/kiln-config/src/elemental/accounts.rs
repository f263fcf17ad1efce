//! Users and the keys with which they log in.
//!
//! Users of one step are made in the order of their names, not of the text, because the forks do so to
//! give the same numbers on each run. An account that is there only gets a new password. Addresses
//! behind `github:` and `gitlab:` are asked on the machine; here only their form is checked.

use std::collections::BTreeMap;

use super::password::{account_name, is_account_name, password};
use super::scope::{Scope, entries, number, plain, strings};
use super::step::{Actions, Rank, add};
use crate::action::{Action, AuthorizedKeys, User};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, Spanned, text, wrong_kind};
use crate::node::Node;
use crate::operation::Text;
use crate::source::Span;

/// File below `.ssh` that the forks write.
const KEY_FILE: &str = "authorized_keys";

/// `users`, a map from name to account.
pub(super) fn users(fields: &mut Fields<'_, '_>, scope: &Scope, actions: &mut Actions) {
    let sorted: BTreeMap<_, _> = entries(fields, "users")
        .into_iter()
        .map(|(key, node)| (key.text.as_str(), (key, node)))
        .collect();
    for (name, (key, node)) in sorted {
        let name = Spanned { value: name.to_owned(), span: key.span };
        let Some(name) = account_name(&name, fields.out()) else { continue };
        let Some(mut entry) = Fields::open(node, "a user", fields.out()) else { continue };
        if let Some(other) = entry.text("name").filter(|other| other.value != name) {
            let message = format!("the user is called `{name}` by its key, `name` changes nothing");
            entry.out().push(Diagnostic::warning("ignored-key", other.span, message));
        }
        let keys = strings(&mut entry, "ssh_authorized_keys");
        let user = user(&mut entry, name.clone());
        scope.finish(entry);
        add(actions, Rank::Users, key.span, Action::User(user));
        let span = keys.first().map_or(key.span, |first| first.span);
        add_keys(&name, span, keys, Rank::Users, fields.out(), actions);
    }
}

/// The keys of an account that both notations share.
pub(super) fn user(fields: &mut Fields<'_, '_>, name: String) -> User {
    let mut flag = |key| fields.boolean(key).is_some_and(|flag| flag.value);
    let no_create_home = flag("no_create_home");
    let no_user_group = flag("no_user_group");
    let system = flag("system");
    let no_log_init = flag("no_log_init");
    let lock = flag("lock_passwd");
    let secret = fields.text("passwd");
    let secret = secret.and_then(|value| password(value, &name, fields.out()));
    let uid = fields.text("uid").filter(|uid| !uid.value.is_empty());
    let uid = uid.and_then(|uid| number(&uid, "uid", "the number of a user", fields.out()));
    let primary_group = fields.text("primary_group").filter(|group| !group.value.is_empty());
    let primary_group = primary_group.and_then(|group| group_name(&group, fields.out()));
    User {
        name,
        password: secret,
        uid,
        gecos: field(fields, "gecos"),
        home: field(fields, "homedir").and_then(|home| absolute(home, "homedir", fields)),
        create_home: !no_create_home,
        primary_group,
        groups: groups(fields),
        no_user_group,
        no_log_init,
        shell: field(fields, "shell").and_then(|shell| absolute(shell, "shell", fields)),
        system,
        lock,
        keys: Vec::new(),
        absent: false,
        keep_existing: true,
    }
}

/// Groups as a list, or as one string with commas, which cloud-init allows.
fn groups(fields: &mut Fields<'_, '_>) -> Vec<String> {
    let Some(node) = fields.take("groups") else { return Vec::new() };
    let named: Vec<Spanned<String>> = match (node.list(), node.text()) {
        (Some(list), _) => {
            list.iter().filter_map(|one| text(one, "groups", fields.out())).collect()
        }
        (None, Some(all)) => all
            .split(',')
            .map(|one| Spanned { value: one.trim().to_owned(), span: node.span })
            .collect(),
        (None, None) => {
            fields.out().push(wrong_kind(node, "groups", "a list"));
            Vec::new()
        }
    };
    let filled = named.iter().filter(|group| !group.value.is_empty());
    filled.filter_map(|group| group_name(group, fields.out())).collect()
}

fn group_name(group: &Spanned<String>, out: &mut Diagnostics) -> Option<String> {
    let number = group.value.parse::<u32>().is_ok();
    if number { Some(group.value.clone()) } else { account_name(group, out) }
}

/// A field of a line of `/etc/passwd`.
fn field(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<String> {
    let node = fields.take(name)?;
    let value = super::scope::filled(node, name, fields.out())?;
    let text = plain(value, fields.out());
    if text.contains([':', '\n', '\0']) {
        let message = format!("`{name}` may hold neither a colon nor a line break");
        fields.out().push(Diagnostic::error("bad-value", node.span, message));
        return None;
    }
    Some(text)
}

fn absolute(path: String, name: &'static str, fields: &mut Fields<'_, '_>) -> Option<String> {
    let span = fields.present().iter().find(|(key, _)| key.text == name)?.1.span;
    super::scope::path(Spanned { value: path, span }, name, fields.out())
}

/// `authorized_keys`, a map from user to keys.
pub(super) fn authorized_keys(fields: &mut Fields<'_, '_>, actions: &mut Actions) {
    for (key, node) in entries(fields, "authorized_keys") {
        let name = Spanned { value: key.text.clone(), span: key.span };
        let Some(name) = account_name(&name, fields.out()) else { continue };
        let keys = key_list(node, fields.out());
        add_keys(&name, key.span, keys, Rank::AuthorizedKeys, fields.out(), actions);
    }
}

fn key_list(node: &Node, out: &mut Diagnostics) -> Vec<Spanned<String>> {
    if node.is_null() {
        return Vec::new();
    }
    let Some(list) = node.list() else {
        out.push(wrong_kind(node, "authorized_keys", "a list of keys"));
        return Vec::new();
    };
    list.iter().filter_map(|one| super::scope::filled(one, "a key", out)).collect()
}

/// Lets keys log in as `user`; those in an impossible form are errors and left out.
pub(super) fn add_keys(
    user: &str,
    span: Span,
    keys: Vec<Spanned<String>>,
    rank: Rank,
    out: &mut Diagnostics,
    actions: &mut Actions,
) {
    let keys: Vec<Text> =
        keys.into_iter().filter_map(|key| log_in_key(key, out)).map(Text::Plain).collect();
    if !keys.is_empty() {
        let keys =
            AuthorizedKeys { user: Text::Plain(user.to_owned()), keys, file: KEY_FILE.to_owned() };
        add(actions, rank, span, Action::AuthorizedKeys(keys));
    }
}

/// Whether a key is fetched from somewhere.
pub(super) fn is_remote(key: &str) -> bool {
    ["github:", "gitlab:", "https://", "http://"].iter().any(|start| key.starts_with(start))
}

fn log_in_key(key: Spanned<String>, out: &mut Diagnostics) -> Option<String> {
    let span = key.span;
    let text = plain(key, out).trim().to_owned();
    if let Some(name) = text.strip_prefix("github:").or_else(|| text.strip_prefix("gitlab:")) {
        if is_account_name(name)
            || name.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty()
        {
            return Some(text);
        }
        let message = format!("`{text}` names nobody whose keys could be fetched");
        out.push(Diagnostic::error("bad-key", span, message));
        return None;
    }
    if text.starts_with("http://") {
        let message = format!("`{text}` lets whoever sits on the network log in");
        out.push(Diagnostic::error("bad-key", span, message).hint("use https"));
        return None;
    }
    if is_remote(&text) {
        return Some(text);
    }
    // sshd(8): options, if any, then the type, then base64.
    let typed = text.split(' ').any(|word| {
        ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"].iter().any(|kind| word.starts_with(kind))
    });
    if !typed || text.contains('\n') {
        let shown: String = text.chars().take(40).collect();
        let message = format!("`{shown}` is no key in the form of sshd's authorized_keys");
        out.push(
            Diagnostic::error("bad-key", span, message)
                .hint("a line of a `.pub` file, `github:NAME`, `gitlab:NAME` or an https address"),
        );
        return None;
    }
    Some(text)
}
