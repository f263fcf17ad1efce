//! `kubernetes:`: a node of k3s or rke2 whose programs the image brings.
//!
//! Nothing is fetched or installed: the image holds the distribution and its units; this section writes
//! what they read. Configuration goes into `config.yaml.d`, which both read in the order of names on top of
//! `config.yaml`, so an image's own settings stay. The token is in a file or a systemd credential; one
//! that stands in the document works and is warned about. Calling the install script of the
//! distribution was dropped: it wants the network and a writable `/usr`.

use crate::action::{Action, Contents, Link, Owner, Unit};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, Spanned, wrong_kind};
use crate::node::{Key, Node, Value};
use crate::operation::Text;
use crate::provision::contents::{ContentsShape, take_contents};
use crate::provision::document::{Lowering, enabled, is_line, section};
use crate::provision::records::{choice, choices};
use crate::provision::shape::{Path, Shape, Word, by_name, check_path, described, object, take};
use crate::provision::tree::Tree;
use crate::source::Span;

/// What differs between the two distributions (their documentation of files and of air-gap installs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Distribution {
    /// Name of the folders below `/etc/rancher` and `/var/lib/rancher`.
    name: &'static str,
    server_unit: &'static str,
    agent_unit: &'static str,
    /// Variable that names the token's file.
    token_variable: &'static str,
}

const DISTRIBUTIONS: [(&str, Distribution); 2] = [
    (
        "k3s",
        Distribution {
            name: "k3s",
            server_unit: "k3s.service",
            agent_unit: "k3s-agent.service",
            token_variable: "K3S_TOKEN_FILE",
        },
    ),
    (
        "rke2",
        Distribution {
            name: "rke2",
            server_unit: "rke2-server.service",
            agent_unit: "rke2-agent.service",
            token_variable: "RKE2_TOKEN_FILE",
        },
    ),
];

const ROLES: [(&str, Role); 2] = [("server", Role::Server), ("agent", Role::Agent)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Agent,
}

/// Where the token is.
enum Token {
    File(String),
    Credential(String),
    Inline(String),
}

/// Reads the section.
pub(super) fn read(origin: Span, node: &Node, into: &mut Lowering, out: &mut Diagnostics) {
    let Some(mut fields) = Fields::open(node, "kubernetes", out).map(Fields::strict) else {
        return;
    };
    let distribution = fields
        .require("distribution")
        .and_then(|node| choice(node, "distribution", &DISTRIBUTIONS, fields.out()));
    let role = fields.require("role").and_then(|node| choice(node, "role", &ROLES, fields.out()));
    let server = fields.text("server").filter(|server| is_server(server, fields.out()));
    let token = fields.take("token").and_then(|node| read_token(node, fields.out()));
    let unit = take::<Word>(&mut fields, "unit");
    let config = tree(&mut fields, "config");
    let registries = tree(&mut fields, "registries");
    let images = section(&mut fields, "images");
    let manifests = section(&mut fields, "manifests");
    let distribution = distribution.unwrap_or(DISTRIBUTIONS[0].1);
    let role = role.unwrap_or(Role::Server);
    check(&mut fields, role, server.is_some(), token.is_some(), manifests, config);

    let folder = format!("/etc/rancher/{}", distribution.name);
    let mut entries = Vec::new();
    if let Some(server) = &server {
        entries.push(("server".to_owned(), Tree::text(&server.value)));
    }
    let name = unit.unwrap_or_else(|| match role {
        Role::Server => distribution.server_unit.to_owned(),
        Role::Agent => distribution.agent_unit.to_owned(),
    });
    let mut unit: Unit = enabled(&name);
    match token {
        Some(Token::File(path)) => entries.push(("token-file".to_owned(), Tree::text(path))),
        Some(Token::Inline(token)) => {
            let path = format!("{folder}/provision-token");
            entries.push(("token-file".to_owned(), Tree::text(&path)));
            let contents = Contents { secret: true, ..Contents::bytes(format!("{token}\n")) };
            into.file(origin, path, contents, 0o600);
        }
        Some(Token::Credential(name)) => {
            // systemd.exec(5): without a path the credential is one of the system's own.
            let text = format!(
                "[Service]\nLoadCredential={name}\nEnvironment={}=%d/{name}\n",
                distribution.token_variable
            );
            unit.dropins.push(("10-provision-token.conf".to_owned(), Text::Plain(text)));
        }
        None => {}
    }
    if !entries.is_empty() {
        let text = Tree::Map(entries).yaml();
        let path = format!("{folder}/config.yaml.d/10-provision.yaml");
        into.file(origin, path, Contents::bytes(text), 0o600);
    }
    for (part, name) in
        [(config, "config.yaml.d/50-provision.yaml"), (registries, "registries.yaml")]
    {
        let Some((key, node)) = part else { continue };
        // Both may hold passwords.
        let contents = Contents { secret: true, ..Contents::bytes(Tree::from(node).yaml()) };
        into.file(key.span, format!("{folder}/{name}"), contents, 0o600);
    }
    let state = format!("/var/lib/rancher/{}", distribution.name);
    place_all(images, &format!("{state}/agent/images"), into, fields.out());
    place_all(manifests, &format!("{state}/server/manifests"), into, fields.out());
    into.first_boot(origin, Action::Unit(unit));
    fields.finish();
}

/// A part that is handed through as it was written.
fn tree<'node>(fields: &mut Fields<'node, '_>, key: &'static str) -> Option<&'node (Key, Node)> {
    let entry = fields.entry(key).filter(|(_, node)| !node.is_null())?;
    if entry.1.map().is_none() {
        fields.out().push(wrong_kind(&entry.1, key, "a map"));
        return None;
    }
    Some(entry)
}

fn is_server(server: &Spanned<String>, out: &mut Diagnostics) -> bool {
    let url = &server.value;
    let is_address = url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
    if is_address && !url.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return true;
    }
    let message = format!("`server` is no https address: `{url:.80}`");
    let hint = "write it as `https://192.0.2.7:6443` (k3s) or `https://192.0.2.7:9345` (rke2)";
    out.push(Diagnostic::error("url", server.span, message).hint(hint));
    false
}

fn read_token(node: &Node, out: &mut Diagnostics) -> Option<Token> {
    if let Value::Scalar { text, .. } = &node.value {
        inline(node.span, out);
        return Some(Token::Inline(text.clone()));
    }
    let mut fields = Fields::open(node, "a token", out)?.strict();
    let before = fields.out().errors();
    let file = take::<Path>(&mut fields, "file").map(Token::File);
    let credential = fields.text("credential").and_then(|name| {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !name.value.is_empty() && name.value.bytes().all(is_name) {
            return Some(Token::Credential(name.value));
        }
        let message = format!("`{:.80}` is no name of a credential", name.value);
        fields.out().push(Diagnostic::error("credential", name.span, message));
        None
    });
    if file.is_some() == credential.is_some() && fields.out().errors() == before {
        let span = fields.span();
        let message = "a token has exactly one of `file` and `credential`";
        fields.out().push(Diagnostic::error("contradiction", span, message));
    }
    fields.finish();
    file.or(credential)
}

fn inline(span: Span, out: &mut Diagnostics) {
    let message =
        "this token stands here in clear, and whoever reads the document can join the cluster";
    let hint = "write `token: {file: PATH}` or `token: {credential: NAME}`";
    out.push(Diagnostic::warning("inline-token", span, message).hint(hint));
}

fn check(
    fields: &mut Fields<'_, '_>,
    role: Role,
    has_server: bool,
    has_token: bool,
    manifests: &[(Key, Node)],
    config: Option<&(Key, Node)>,
) {
    let in_config = |key: &str| {
        config.is_some_and(|(_, node)| node.get(key).is_some_and(|node| !node.is_null()))
    };
    if let Some(token) = config.and_then(|(_, node)| node.get("token")) {
        inline(token.span, fields.out());
    }
    let joins = has_server || in_config("server");
    let knows_token = has_token || in_config("token") || in_config("token-file");
    let span = fields.span();
    if role == Role::Agent && !joins {
        let fault = Diagnostic::error("missing-key", span, "an agent needs `server`");
        fields.out().push(fault.hint("name the server that it joins"));
    }
    if (role == Role::Agent || joins) && !knows_token {
        let fault = Diagnostic::error("missing-key", span, "a node that joins needs `token`");
        fields.out().push(fault.hint("write `token: {file: PATH}` or `token: {credential: NAME}`"));
    }
    if role == Role::Agent
        && let Some((key, _)) = manifests.first()
    {
        let message = "an agent applies no manifests";
        let fault = Diagnostic::error("contradiction", key.span, message);
        fields.out().push(fault.hint("move `manifests` to a server"));
    }
}

/// Files that the distribution looks for in a folder: contents, or a link to what the image brings.
fn place_all(entries: &[(Key, Node)], folder: &str, into: &mut Lowering, out: &mut Diagnostics) {
    for (name, node) in entries {
        if name.text.contains('/')
            || name.text.starts_with('.')
            || !is_line(&[&name.text], node, "images", out)
        {
            let message = format!("`{:.80}` is no name of a file", name.text);
            out.push(Diagnostic::error("file-name", name.span, message));
            continue;
        }
        let path = format!("{folder}/{}", name.text);
        let Some(mut fields) = Fields::open(node, "a file of the cluster", out).map(Fields::strict)
        else {
            continue;
        };
        if let Some(from) = fields.take("from") {
            let target = Word::read(from, "from", fields.out());
            fields.finish();
            if let Some(target) = target.filter(|target| check_path(target, from, "from", out)) {
                let owner = Owner::default();
                let link = Link { path, target, hard: false, owner, overwrite: true };
                into.first_boot(name.span, Action::Link(link));
            }
            continue;
        }
        let before = fields.out().errors();
        let contents = take_contents(&mut fields);
        if contents.is_none() && fields.out().errors() == before {
            let span = fields.span();
            let message = "needs one of `from`, `text`, `base64`, `template` and `url`";
            fields.out().push(Diagnostic::error(
                "missing-key",
                span,
                format!("`{}` {message}", name.text),
            ));
        }
        fields.finish();
        if let Some(contents) = contents {
            into.file(name.span, path, contents, 0o600);
        }
    }
}

/// The schema of the section.
pub(super) fn schema() -> Tree {
    let anything = || Tree::map([("type", Tree::text("object"))]);
    let token = object(
        vec![
            ("file".to_owned(), described(Path::schema(), "A file of the machine.", None)),
            ("credential".to_owned(), described(Word::schema(), "A credential of systemd.", None)),
        ],
        Vec::new(),
    );
    let token = Tree::map([("oneOf", Tree::List(vec![Word::schema(), token]))]);
    let placed = || {
        let mut entries = ContentsShape::schema().entries();
        for (key, value) in &mut entries {
            if let ("properties", Tree::Map(properties)) = (key.as_str(), value) {
                let help = "A file of the image to which a link is made, instead of contents.";
                properties.insert(0, ("from".to_owned(), described(Path::schema(), help, None)));
            }
        }
        by_name(Tree::Map(entries))
    };
    let keys = [
        ("distribution", choices(&DISTRIBUTIONS), "Which one the image brings."),
        ("role", choices(&ROLES), "What this node is."),
        ("server", Word::schema(), "The server that it joins."),
        ("token", token, "The secret of the cluster; never written here if it can be helped."),
        ("unit", Word::schema(), "The unit that starts it, where the image calls it otherwise."),
        ("config", anything(), "Further configuration, into config.yaml.d/50-provision.yaml."),
        ("registries", anything(), "Mirrors and logins of registries, into registries.yaml."),
        ("images", placed(), "Archives of images for a site without network, by file name."),
        ("manifests", placed(), "Manifests that a server applies, by file name."),
    ];
    let keys = keys.map(|(key, schema, help)| (key.to_owned(), described(schema, help, None)));
    object(keys.into(), vec![Tree::text("distribution"), Tree::text("role")])
}
