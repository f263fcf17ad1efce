//! A document to the tree: JSON or YAML, each version with its own keys.
//!
//! Reads and never judges: what a value may be is the matter of [`super::validate`], so configs that
//! come from a translator are judged by the same rules. Whatever is wrong is reported and left out, and
//! reading goes on, so one run finds all faults.

mod map;
mod storage;

use self::map::{Map, string};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Spanned;
use crate::ignition::config::{
    Config, Dropin, Group, Header, Ignition, KernelArguments, Passwd, Proxy, Resource, Systemd,
    Timeouts, Unit, User, Version,
};
use crate::node::Node;
use crate::source::{SourceId, Sources};

/// Reads one of the `sources`: JSON where it begins with `{`, YAML otherwise.
///
/// Gives nothing, and an error, where the text is neither or its version is none of 3.0.0–3.6.0.
pub fn text(sources: &Sources, id: SourceId, out: &mut Diagnostics) -> Option<Config> {
    let text = sources.get(id).map(|source| source.text.as_str()).unwrap_or_default();
    node(&parse(id, text, out)?, out)
}

/// The tree of a text, in either notation.
pub(super) fn parse(id: SourceId, text: &str, out: &mut Diagnostics) -> Option<Node> {
    let is_json = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).starts_with('{');
    let read = if is_json { crate::json::document } else { crate::yaml::document };
    match read(id, text) {
        Ok(node) => Some(node),
        Err(fault) => {
            out.push(fault);
            None
        }
    }
}

/// Reads a document of spec 3.0.0–3.6.0.
///
/// Gives nothing, and an error, where it is empty or its version is none of these.
pub fn node(node: &Node, out: &mut Diagnostics) -> Option<Config> {
    if node.is_null() {
        out.push(
            Diagnostic::error("empty-config", node.span, "the config is empty")
                .hint("the least is `{\"ignition\": {\"version\": \"3.4.0\"}}`"),
        );
        return None;
    }
    let version = version(node, out)?;
    let mut map = Map::open(node, "an Ignition config", version.value, out)?;
    let config = Config {
        span: node.span,
        ignition: map.map("ignition", "`ignition`", ignition).unwrap_or_default(),
        kernel_arguments: if map.since("kernelArguments", Version::V3_3) {
            map.map("kernelArguments", "`kernelArguments`", kernel_arguments).unwrap_or_default()
        } else {
            KernelArguments::default()
        },
        passwd: map.map("passwd", "`passwd`", passwd).unwrap_or_default(),
        storage: map.map("storage", "`storage`", storage::storage).unwrap_or_default(),
        systemd: map.map("systemd", "`systemd`", systemd).unwrap_or_default(),
        version,
    };
    map.finish();
    Some(config)
}

/// `ignition.version`; only exact names count, because that is how Ignition reads them.
fn version(root: &Node, out: &mut Diagnostics) -> Option<Spanned<Version>> {
    let missing = || {
        Diagnostic::error("missing-version", root.span, "the config has no `ignition.version`")
            .hint("write one of 3.0.0 to 3.6.0")
    };
    if root.map().is_none() {
        let message = format!("an Ignition config has to be a map, and is {}", root.kind());
        out.push(Diagnostic::error("wrong-type", root.span, message));
        return None;
    }
    let Some(node) = root.get("ignition").and_then(|ignition| ignition.get("version")) else {
        out.push(missing());
        return None;
    };
    if node.is_null() {
        out.push(missing());
        return None;
    }
    let name = string(node, "version", out)?;
    let known = Version::named(&name.value);
    if known.is_none() {
        let message =
            format!("`{}` is no version of the Ignition spec that Kiln reads", name.value);
        let hint = if name.value.ends_with("-experimental") {
            "experimental versions change; write a final one, 3.0.0 to 3.6.0"
        } else {
            "write one of 3.0.0 to 3.6.0"
        };
        out.push(Diagnostic::error("unknown-version", name.span, message).hint(hint));
    }
    Some(Spanned { value: known?, span: name.span })
}

fn ignition(map: &mut Map<'_, '_>) -> Ignition {
    map.known("version");
    let (merge, replace) = map
        .map("config", "`config`", |map| {
            let merge = map.maps("merge", "a config to merge", reference);
            (merge, map.map("replace", "`replace`", reference))
        })
        .unwrap_or_default();
    let timeouts = map.map("timeouts", "`timeouts`", |map| Timeouts {
        http_response_headers: map.integer("httpResponseHeaders"),
        http_total: map.integer("httpTotal"),
    });
    let authorities = map.map("security", "`security`", |map| {
        map.map("tls", "`tls`", |map| {
            map.maps("certificateAuthorities", "a certificate authority", reference)
        })
    });
    let proxy = map.since("proxy", Version::V3_1).then(|| {
        map.map("proxy", "`proxy`", |map| Proxy {
            http_proxy: map.text("httpProxy"),
            https_proxy: map.text("httpsProxy"),
            no_proxy: map.texts("noProxy"),
        })
    });
    Ignition {
        merge,
        replace,
        timeouts: timeouts.unwrap_or_default(),
        certificate_authorities: authorities.flatten().unwrap_or_default(),
        proxy: proxy.flatten().unwrap_or_default(),
    }
}

/// A resource as other configs and certificates name it, which before 3.1.0 had fewer keys than contents.
fn reference(map: &mut Map<'_, '_>) -> Resource {
    let has_compression = map.since("compression", Version::V3_1);
    read_resource(map, has_compression)
}

/// A resource that is the contents of a file.
fn resource(map: &mut Map<'_, '_>) -> Resource {
    read_resource(map, true)
}

fn read_resource(map: &mut Map<'_, '_>, has_compression: bool) -> Resource {
    let has_headers = map.since("httpHeaders", Version::V3_1);
    Resource {
        span: map.span(),
        source: map.text("source"),
        compression: if has_compression { map.text("compression") } else { None },
        http_headers: if has_headers {
            map.maps("httpHeaders", "a header", |map| Header {
                span: map.span(),
                name: map.required("name"),
                value: map.text("value"),
            })
        } else {
            Vec::new()
        },
        hash: map.map("verification", "`verification`", |map| map.text("hash")).flatten(),
    }
}

fn kernel_arguments(map: &mut Map<'_, '_>) -> KernelArguments {
    KernelArguments {
        should_exist: map.texts("shouldExist"),
        should_not_exist: map.texts("shouldNotExist"),
    }
}

fn passwd(map: &mut Map<'_, '_>) -> Passwd {
    Passwd {
        users: map.maps("users", "a user", user),
        groups: map.maps("groups", "a group", group),
    }
}

fn user(map: &mut Map<'_, '_>) -> User {
    let has_should_exist = map.since("shouldExist", Version::V3_2);
    User {
        span: map.span(),
        name: map.required("name"),
        password_hash: map.text("passwordHash"),
        ssh_authorized_keys: map.texts("sshAuthorizedKeys"),
        uid: map.integer("uid"),
        gecos: map.text("gecos"),
        home_dir: map.text("homeDir"),
        no_create_home: map.boolean("noCreateHome"),
        primary_group: map.text("primaryGroup"),
        groups: map.texts("groups"),
        no_user_group: map.boolean("noUserGroup"),
        no_log_init: map.boolean("noLogInit"),
        shell: map.text("shell"),
        should_exist: if has_should_exist { map.boolean("shouldExist") } else { None },
        system: map.boolean("system"),
    }
}

fn group(map: &mut Map<'_, '_>) -> Group {
    let has_should_exist = map.since("shouldExist", Version::V3_2);
    Group {
        span: map.span(),
        name: map.required("name"),
        gid: map.integer("gid"),
        password_hash: map.text("passwordHash"),
        should_exist: if has_should_exist { map.boolean("shouldExist") } else { None },
        system: map.boolean("system"),
    }
}

fn systemd(map: &mut Map<'_, '_>) -> Systemd {
    let units = map.maps("units", "a unit", |map| Unit {
        span: map.span(),
        name: map.required("name"),
        enabled: map.boolean("enabled"),
        mask: map.boolean("mask"),
        contents: map.text("contents"),
        dropins: map.maps("dropins", "a drop-in", |map| Dropin {
            span: map.span(),
            name: map.required("name"),
            contents: map.text("contents"),
        }),
    });
    Systemd { units }
}
