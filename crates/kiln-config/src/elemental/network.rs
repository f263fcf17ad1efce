//! What a step brings in from outside: name servers, git repositories, user data, container images.

use super::scope::{Scope, filled, path, plain, required_path, strings};
use super::step::{Actions, Rank, add, string};
use crate::action::{Action, Datasource, Dns, Git, GitAuth, UnpackImage};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, Spanned};
use crate::operation::Text;
use crate::suggest::nearest;

/// Sources of user data that yip knows.
const PROVIDERS: [&str; 14] = [
    "aws",
    "azure",
    "gcp",
    "hetzner",
    "openstack",
    "packet",
    "scaleway",
    "vultr",
    "digitalocean",
    "metaldata",
    "vmware",
    "cdrom",
    "config-drive",
    "file",
];

/// `dns`.
pub(super) fn dns(fields: &mut Fields<'_, '_>, scope: &Scope, actions: &mut Actions) {
    let Some((key, node)) = fields.take_with_key("dns") else { return };
    let Some(mut entry) = Fields::open(node, "`dns`", fields.out()) else { return };
    let nameservers = texts(&mut entry, "nameservers");
    let search = texts(&mut entry, "search");
    let options = texts(&mut entry, "options");
    let path = entry.take("path").and_then(|node| filled(node, "path", entry.out()));
    let path = path.and_then(|value| path_of(value, entry.out()));
    scope.finish(entry);
    if nameservers.is_empty() {
        let message = "`dns` names no server, nothing is written";
        fields.out().push(Diagnostic::warning("nothing-to-do", key.span, message));
        return;
    }
    // A lone dot is the root: yip's way to say that nothing is searched.
    let search = if search.iter().all(|one| one.written() == ".") { Vec::new() } else { search };
    let dns = Dns { nameservers, search, options, path: path.map(Text::Plain) };
    add(actions, Rank::Dns, key.span, Action::Dns(dns));
}

fn path_of(value: Spanned<String>, out: &mut Diagnostics) -> Option<String> {
    path(value, "path", out)
}

fn texts(fields: &mut Fields<'_, '_>, name: &'static str) -> Vec<Text> {
    let list = strings(fields, name);
    let mut all = Vec::new();
    for one in list {
        let span = one.span;
        let text = plain(one, fields.out());
        if text.contains(['\n', '\0']) {
            let message = format!("`{name}` may hold no line break");
            fields.out().push(Diagnostic::error("bad-value", span, message));
        } else {
            all.push(Text::Plain(text));
        }
    }
    all
}

/// `git`.
pub(super) fn git(fields: &mut Fields<'_, '_>, scope: &Scope, actions: &mut Actions) {
    let Some((key, node)) = fields.take_with_key("git") else { return };
    let Some(mut entry) = Fields::open(node, "a repository", fields.out()) else { return };
    let url = entry.require_text("url").map(|url| plain(url, entry.out()));
    let path = required_path(&mut entry, "path");
    let branch = string(&mut entry, "branch");
    let branch_only = entry.boolean("branch_only").is_some_and(|flag| flag.value);
    let auth = entry.take("auth");
    let auth = auth.and_then(|node| {
        let mut auth = Fields::open(node, "git's `auth`", entry.out())?;
        let insecure = auth.boolean("insecure");
        if let Some(flag) = insecure.as_ref().filter(|flag| flag.value) {
            let message = "`insecure` lets anybody on the network take the server's place";
            auth.out()
                .push(Diagnostic::warning("insecure", flag.span, message).hint("use `public_key`"));
        }
        let read = GitAuth {
            username: string(&mut auth, "username"),
            password: string(&mut auth, "password"),
            private_key: string(&mut auth, "private_key"),
            public_key: string(&mut auth, "public_key"),
            insecure: insecure.is_some_and(|flag| flag.value),
        };
        scope.finish(auth);
        Some(read)
    });
    scope.finish(entry);
    let (Some(url), Some(path)) = (url, path) else { return };
    let git = Git { url, path, branch, branch_only, auth: auth.unwrap_or_default() };
    add(actions, Rank::Git, key.span, Action::Git(git));
}

/// `datasource`.
pub(super) fn datasource(fields: &mut Fields<'_, '_>, scope: &Scope, actions: &mut Actions) {
    let Some((key, node)) = fields.take_with_key("datasource") else { return };
    let Some(mut entry) = Fields::open(node, "a datasource", fields.out()) else { return };
    let mut providers = Vec::new();
    for provider in strings(&mut entry, "providers") {
        let known = PROVIDERS.contains(&provider.value.as_str());
        if known {
            providers.push(provider.value);
        } else {
            let shown: String = provider.value.chars().take(40).collect();
            let message = format!("`{shown}` is no source of user data");
            let diagnostic = Diagnostic::error("bad-value", provider.span, message);
            entry.out().push(match nearest(&provider.value, PROVIDERS) {
                Some(name) => diagnostic.hint(format!("did you mean `{name}`?")),
                None => diagnostic.hint(format!("they are {}", PROVIDERS.join(", "))),
            });
        }
    }
    let path = string(&mut entry, "path");
    let userdata_name = string(&mut entry, "userdata_name");
    let bad_name =
        userdata_name.as_deref().is_some_and(|name| name.contains('/') || name.starts_with('.'));
    if bad_name {
        let message = "`userdata_name` is the name of a file, without its folder";
        entry.out().push(Diagnostic::error("bad-path", key.span, message));
    }
    scope.finish(entry);
    if providers.is_empty() {
        let message = "`datasource` names no source, nothing is fetched";
        fields.out().push(Diagnostic::warning("nothing-to-do", key.span, message));
        return;
    }
    let userdata_name = userdata_name.filter(|_| !bad_name);
    let datasource = Datasource { providers, path, userdata_name };
    add(actions, Rank::Datasource, key.span, Action::Datasource(datasource));
}

/// `unpack_images`.
pub(super) fn unpack_images(fields: &mut Fields<'_, '_>, scope: &Scope, actions: &mut Actions) {
    for node in fields.list("unpack_images") {
        let Some(mut entry) = Fields::open(node, "an image", fields.out()) else { continue };
        let source = entry.require_text("source").map(|source| plain(source, entry.out()));
        let target = required_path(&mut entry, "target");
        let platform = string(&mut entry, "platform");
        let span = entry.span();
        scope.finish(entry);
        let (Some(source), Some(target)) = (source, target) else { continue };
        let image =
            UnpackImage { source: Text::Plain(source), target: Text::Plain(target), platform };
        add(actions, Rank::UnpackImages, span, Action::UnpackImage(image));
    }
}
