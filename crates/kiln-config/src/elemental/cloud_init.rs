//! cloud-init's common keys in a document that begins with `#cloud-config`.
//!
//! They become steps in front of those under `stages`, at the moments at which the forks run them: the
//! host name in `initramfs`, everything else in `boot`, at each boot. Unlike in the forks `runcmd` is a
//! step of its own behind users and files, as cloud-init's users expect, and every key that is not
//! carried out is named; the forks pass over them in silence.

use super::Fork;
use super::accounts::{add_keys, is_remote, user};
use super::files::contents;
use super::keys::KEYS;
use super::mode::{both, octal_mode};
use super::password::{account_name, password};
use super::scope::{Scope, filled, plain, required_path, strings, template};
use super::step::{Actions, Rank, Step, add, hostname, refused, string};
use crate::action::{Action, Command, Contents, File, Owner, User};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, Spanned, text, wrong_kind};
use crate::node::Node;
use crate::operation::{Moment, Stage, Text};
use crate::source::Span;
use crate::storage::Layout;

/// Place of the keys in [`KEYS`].
const PLACE: &str = "a cloud-config";
/// cloud-init's keys that are carried out, for the hint to who forgot the header.
const CARRIED_OUT: [&str; 10] = [
    "bootcmd",
    "chpasswd",
    "growpart",
    "hostname",
    "milpa_files",
    "ntp",
    "runcmd",
    "ssh_authorized_keys",
    "users",
    "write_files",
];
/// Permission bits of a file that names none.
const FILE_MODE: u32 = 0o644;
/// Permission bits of sudo's rules: visudo(8) complains about any other.
const RULE_MODE: u32 = 0o440;

/// Says of a document without the header that its keys are cloud-init's.
pub(super) fn without_header(fields: &mut Fields<'_, '_>) {
    for name in CARRIED_OUT {
        if let Some((key, _)) = fields.entry(name) {
            let message = format!("`{name}` is cloud-init's and ignored without its header");
            fields.out().push(
                Diagnostic::warning("no-header", key.span, message)
                    .hint("begin the file with the line `#cloud-config`, or use `stages`"),
            );
        }
    }
}

/// Reads the keys.
pub(super) fn read(fields: &mut Fields<'_, '_>, scope: &Scope, steps: &mut Vec<(Stage, Step)>) {
    let mut put = |stage: Stage, name: &str, actions: Actions| {
        if !actions.is_empty() {
            steps.push((stage, Step::named(name, actions)));
        }
    };
    let boot = Stage::main(Moment::Boot);
    let mut name = Actions::new();
    hostname(fields, &mut name);
    put(Stage::main(Moment::Initramfs), "hostname", name);

    let mut early = Actions::new();
    commands(fields, "bootcmd", &mut early);
    put(Stage::named("boot.before"), "bootcmd", early);

    let mut main = Actions::new();
    let mut late = Actions::new();
    let mut remote = Actions::new();
    for name in ["write_files", "milpa_files"] {
        for node in fields.list(name) {
            file(node, scope, fields.out(), &mut main, &mut late);
        }
    }
    users(fields, scope, &mut main, &mut remote);
    passwords(fields, scope, &mut main);
    time(fields, scope, &mut main);
    commands(fields, "runcmd", &mut late);
    put(boot.clone(), "cloud-init", main);
    put(boot.clone(), "runcmd", late);
    put(Stage::main(Moment::Network), "ssh keys", remote);
    for layout in growpart(fields, scope) {
        put(boot.clone(), "growpart", vec![layout]);
    }
    refused(fields, &["packages"]);
    ignored(fields);
}

/// Names each key that is known and not carried out.
fn ignored(fields: &mut Fields<'_, '_>) {
    for row in KEYS {
        if row.place != PLACE || row.support != super::Support::Ignored {
            continue;
        }
        if let Some((key, _)) = fields.entry(row.key) {
            let message = format!("cloud-init's `{}` is not carried out", row.key);
            fields
                .out()
                .push(Diagnostic::warning("cloud-init-key", key.span, message).hint(row.remark));
        }
    }
}

/// Commands: strings for the shell, or lists of arguments that no shell may touch.
fn commands(fields: &mut Fields<'_, '_>, name: &'static str, actions: &mut Actions) {
    for node in fields.list(name) {
        let script = match node.list() {
            None => filled(node, name, fields.out()),
            Some(arguments) => {
                let words: Option<Vec<String>> = arguments
                    .iter()
                    .map(|one| text(one, name, fields.out()).map(|one| quoted(&one.value)))
                    .collect();
                let value = words.map(|words| words.join(" ")).filter(|value| !value.is_empty());
                value.map(|value| Spanned { value, span: node.span })
            }
        };
        let Some(script) = script else { continue };
        let script = template(script, fields.out());
        add(actions, Rank::Commands, node.span, Action::Command(Command { script }));
    }
}

/// One argument for `sh`.
fn quoted(word: &str) -> String {
    let harmless = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'=' | b':')
    };
    if !word.is_empty() && word.bytes().all(harmless) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn file(node: &Node, scope: &Scope, out: &mut Diagnostics, main: &mut Actions, late: &mut Actions) {
    let Some(mut fields) = Fields::open(node, "a cloud-init file", out) else { return };
    let path = required_path(&mut fields, "path");
    let mode = octal_mode(&mut fields, "permissions").unwrap_or(FILE_MODE);
    let mut owner = Owner { user: Some("0".into()), group: Some("0".into()) };
    if let Some(node) = fields.take("owner") {
        both(node, fields.out(), &mut owner);
    }
    let content = fields.text("content");
    let encoding = fields.text("encoding");
    let append = fields.boolean("append").is_some_and(|flag| flag.value);
    let defer = fields.boolean("defer").is_some_and(|flag| flag.value);
    let contents = contents(content, encoding, Some(mode), scope, fields.out());
    let span = fields.span();
    scope.finish(fields);
    let (Some(path), Some(contents)) = (path, contents) else { return };
    let (contents, append) =
        if append { (None, vec![contents]) } else { (Some(contents), Vec::new()) };
    let path = Text::Plain(path);
    let file = File { path, contents, append, mode: Some(mode), owner, overwrite: true };
    let actions = if defer { late } else { main };
    add(actions, Rank::Files, span, Action::File(file));
}

/// `users` and `ssh_authorized_keys`: the latter go to every user, or to root where there is none.
fn users(fields: &mut Fields<'_, '_>, scope: &Scope, main: &mut Actions, remote: &mut Actions) {
    let shared = strings(fields, "ssh_authorized_keys");
    let mut any = false;
    for node in fields.list("users") {
        if let Some(name) = node.text() {
            let message =
                format!("`{name}` stands for a user of the distribution, which no image here has");
            fields.out().push(
                Diagnostic::warning("cloud-init-key", node.span, message)
                    .hint("describe the user with `name`"),
            );
            continue;
        }
        any |= one_user(node, &shared, scope, fields.out(), main, remote).is_some();
    }
    if !any && !shared.is_empty() {
        give(scope, "root", shared, fields.out(), main, remote);
    }
}

fn one_user(
    node: &Node,
    shared: &[Spanned<String>],
    scope: &Scope,
    out: &mut Diagnostics,
    main: &mut Actions,
    remote: &mut Actions,
) -> Option<()> {
    let mut fields = Fields::open(node, "a cloud-init user", out)?;
    let span = fields.span();
    let name = fields.require_text("name").and_then(|name| account_name(&name, fields.out()));
    let shown = name.clone().unwrap_or_default();
    let mut keys = strings(&mut fields, "ssh_authorized_keys");
    keys.extend(imported(&mut fields));
    let mut account = user(&mut fields, shown.clone());
    for key in ["hashed_passwd", "plain_text_passwd"] {
        if let Some(value) = fields.text(key) {
            account.password = password(value, &shown, fields.out()).or(account.password);
        }
    }
    let rules = rules(&mut fields);
    for key in ["inactive", "expiredate", "selinux_user", "doas", "gid", "snapuser"] {
        if let Some((found, _)) = fields.take_with_key(key) {
            let message = format!("`{key}` of a user is not carried out");
            fields.out().push(Diagnostic::warning("cloud-init-key", found.span, message));
        }
    }
    scope.finish(fields);
    let name = name?;
    add(main, Rank::Users, span, Action::User(account));
    if !rules.is_empty() {
        add(main, Rank::Users, span, Action::File(rule_file(&name, &rules)));
    }
    keys.extend_from_slice(shared);
    give(scope, &name, keys, out, main, remote);
    Some(())
}

/// Lets keys log in: yip fetches those from elsewhere once the network is up, the toolkit at once.
fn give(
    scope: &Scope,
    user: &str,
    keys: Vec<Spanned<String>>,
    out: &mut Diagnostics,
    main: &mut Actions,
    remote: &mut Actions,
) {
    let Some(span) = keys.first().map(|key| key.span) else { return };
    let (far, near): (Vec<_>, Vec<_>) =
        keys.into_iter().partition(|key| scope.fork == Fork::Yip && is_remote(key.value.trim()));
    add_keys(user, span, near, Rank::AuthorizedKeys, out, main);
    add_keys(user, span, far, Rank::AuthorizedKeys, out, remote);
}

/// `ssh_import_id`: `gh:NAME` is GitHub's; Launchpad's are not fetched.
fn imported(fields: &mut Fields<'_, '_>) -> Vec<Spanned<String>> {
    let mut keys = Vec::new();
    for id in strings(fields, "ssh_import_id") {
        match id.value.strip_prefix("gh:") {
            Some(name) => keys.push(Spanned { value: format!("github:{name}"), span: id.span }),
            None => {
                let message = format!("keys of `{}` are not fetched", id.value);
                fields.out().push(
                    Diagnostic::warning("cloud-init-key", id.span, message)
                        .hint("`gh:NAME` is fetched from GitHub"),
                );
            }
        }
    }
    keys
}

/// `sudo`: rules as a string or a list; `false` and nothing are none.
fn rules(fields: &mut Fields<'_, '_>) -> Vec<String> {
    let Some(node) = fields.take("sudo") else { return Vec::new() };
    if node.boolean() == Some(false) {
        return Vec::new();
    }
    let single = std::slice::from_ref(node);
    let mut rules = Vec::new();
    for one in node.list().unwrap_or(single) {
        let Some(rule) = filled(one, "sudo", fields.out()) else { continue };
        let span = rule.span;
        let rule = plain(rule, fields.out());
        if rule.contains(['\n', '\0']) || one.boolean().is_some() {
            let message = "`sudo` has to be a rule like `ALL=(ALL) NOPASSWD:ALL`";
            fields.out().push(Diagnostic::error("bad-value", span, message));
        } else {
            rules.push(rule);
        }
    }
    rules
}

fn rule_file(name: &str, rules: &[String]) -> File {
    let lines: String = rules.iter().map(|rule| format!("{name} {rule}\n")).collect();
    // sudo passes over files whose name holds a dot.
    let path = format!("/etc/sudoers.d/90-kiln-{}", name.replace('.', "_"));
    File {
        path: Text::Plain(path),
        contents: Some(Contents::bytes(lines.into_bytes())),
        append: Vec::new(),
        mode: Some(RULE_MODE),
        owner: Owner { user: Some("0".into()), group: Some("0".into()) },
        overwrite: true,
    }
}

/// `chpasswd`: passwords for users by name.
fn passwords(fields: &mut Fields<'_, '_>, scope: &Scope, actions: &mut Actions) {
    let Some(node) = fields.take("chpasswd") else { return };
    let Some(mut entry) = Fields::open(node, "`chpasswd`", fields.out()) else { return };
    if let Some(expire) = entry.boolean("expire").filter(|expire| expire.value) {
        let message = "`expire` is not carried out, the passwords stay valid";
        entry.out().push(Diagnostic::warning("cloud-init-key", expire.span, message));
    }
    let mut pairs: Vec<(Spanned<String>, Spanned<String>)> = Vec::new();
    if let Some(node) = entry.take("list") {
        let lines: Vec<(Span, &str)> = match (node.list(), node.text()) {
            (Some(list), _) => {
                list.iter().filter_map(|one| Some((one.span, one.text()?))).collect()
            }
            (None, Some(text)) => text.lines().map(|line| (node.span, line)).collect(),
            (None, None) => {
                entry.out().push(wrong_kind(node, "list", "a list of `NAME:PASSWORD`"));
                Vec::new()
            }
        };
        for (span, line) in lines.into_iter().filter(|(_, line)| !line.trim().is_empty()) {
            match line.trim().split_once(':') {
                Some((name, secret)) => pairs.push((
                    Spanned { value: name.to_owned(), span },
                    Spanned { value: secret.to_owned(), span },
                )),
                // The line may be a password: it is not shown.
                None => entry.out().push(Diagnostic::error(
                    "bad-value",
                    span,
                    "`list` holds a line that is not `NAME:PASSWORD`",
                )),
            }
        }
    }
    for node in entry.list("users") {
        let Some(mut one) = Fields::open(node, "a password", entry.out()) else { continue };
        let name = one.require_text("name");
        let kind = one.text("type");
        let secret = one.text("password");
        scope.finish(one);
        let random = kind.as_ref().is_some_and(|kind| kind.value.eq_ignore_ascii_case("random"));
        let span = node.span;
        let secret = if random { Some(Spanned { value: "RANDOM".into(), span }) } else { secret };
        pairs.extend(name.zip(secret));
    }
    scope.finish(entry);
    for (name, secret) in pairs {
        let span = name.span;
        let Some(name) = account_name(&name, fields.out()) else { continue };
        if matches!(secret.value.as_str(), "R" | "RANDOM") {
            let message = format!("`{name}` gets no random password: nobody would ever see it");
            fields.out().push(Diagnostic::warning("cloud-init-key", secret.span, message));
            continue;
        }
        let secret = password(secret, &name, fields.out());
        let user = User {
            name,
            password: secret,
            create_home: true,
            keep_existing: true,
            ..User::default()
        };
        add(actions, Rank::Users, span, Action::User(user));
    }
}

/// `ntp`, carried out by systemd-timesyncd.
fn time(fields: &mut Fields<'_, '_>, scope: &Scope, actions: &mut Actions) {
    let Some((key, node)) = fields.take_with_key("ntp") else { return };
    let Some(mut entry) = Fields::open(node, "`ntp`", fields.out()) else { return };
    let enabled = entry.boolean("enabled").is_none_or(|flag| flag.value);
    let mut servers: Vec<String> = Vec::new();
    for name in ["servers", "pools"] {
        for server in strings(&mut entry, name) {
            let span = server.span;
            let server = plain(server, entry.out());
            if server.contains(char::is_whitespace) {
                let message = format!("`{name}` holds names of servers, one in each place");
                entry.out().push(Diagnostic::error("bad-value", span, message));
            } else {
                servers.push(server);
            }
        }
    }
    if let Some(client) = string(&mut entry, "ntp_client")
        && !matches!(client.as_str(), "auto" | "systemd-timesyncd")
    {
        let message = format!("`{client}` is not set up, systemd-timesyncd gets the servers");
        entry.out().push(
            Diagnostic::warning("cloud-init-key", key.span, message)
                .hint("write its configuration with `write_files`"),
        );
    }
    if let Some((key, _)) = entry.take_with_key("config") {
        let message = "`config` of `ntp` is not carried out";
        entry.out().push(Diagnostic::warning("cloud-init-key", key.span, message));
    }
    scope.finish(entry);
    if enabled && !servers.is_empty() {
        let settings = [("NTP".to_owned(), Text::Plain(servers.join(" ")))].into();
        add(actions, Rank::Timesyncd, key.span, Action::Timesyncd(settings));
    }
}

/// `growpart`: the last partition of each disk grows.
fn growpart(fields: &mut Fields<'_, '_>, scope: &Scope) -> Actions {
    let mut actions = Actions::new();
    let Some(node) = fields.take("growpart") else { return actions };
    let Some(mut entry) = Fields::open(node, "`growpart`", fields.out()) else { return actions };
    let off = entry.text("mode").is_some_and(|mode| matches!(mode.value.as_str(), "off" | "false"));
    entry.boolean("ignore_growroot_disabled");
    for device in strings(&mut entry, "devices") {
        let span = device.span;
        if !device.value.starts_with("/dev/") {
            let message =
                format!("`{}` needs no request: the state partition grows by itself", device.value);
            entry.out().push(Diagnostic::note("ignored-key", span, message));
            continue;
        }
        let Some(path) = super::scope::path(device, "devices", entry.out()) else { continue };
        let layout = Layout {
            path: Some(Text::Plain(path)),
            expand: Some(0),
            add_first: scope.fork == Fork::Yip,
            ..Layout::default()
        };
        if !off {
            add(&mut actions, Rank::Layout, span, Action::Layout(layout));
        }
    }
    scope.finish(entry);
    actions
}
