//! Two configs to one: the child wins (Ignition's `config.merge`).
//!
//! Values that only one of the two has stay; of those that both have the child's is taken. Lists are
//! merged by the key of their members: those of the parent first, each with what the child says about
//! it, then the child's own. Every value keeps its place, so the merged tree is its own transcript: a
//! fault in it shows the line of the document from which it came. What is surprising about these rules
//! (a child that changes `source` keeps the parent's compression, hash and headers) is carried out as
//! Ignition does, and said as a warning that names both lines.

mod keyed;
mod storage;

use std::collections::HashSet;

use self::keyed::{keyed, texts};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Spanned;
use crate::ignition::config::{
    Config, Group, Header, Ignition, KernelArguments, Passwd, Proxy, Resource, Systemd, Timeouts,
    Unit, User, Version,
};
use crate::ignition::url;

/// Merges `child` into `parent`. The result has the newer version of the two; what a version means
/// differently (special bits of modes) is settled before.
#[must_use]
pub fn merge(parent: Config, child: Config, out: &mut Diagnostics) -> Config {
    let version = match child.version.value.cmp(&parent.version.value) {
        std::cmp::Ordering::Less => parent.version.clone(),
        _ => child.version.clone(),
    };
    let (parent, child) = (raised(parent, version.value), raised(child, version.value));
    Config {
        span: child.span,
        ignition: ignition(parent.ignition, child.ignition, out),
        kernel_arguments: kernel_arguments(parent.kernel_arguments, child.kernel_arguments),
        passwd: passwd(parent.passwd, child.passwd),
        storage: storage::storage(parent.storage, child.storage, out),
        systemd: systemd(parent.systemd, child.systemd),
        version,
    }
}

/// The same config in the words of a newer version.
fn raised(mut config: Config, version: Version) -> Config {
    let has_bits = crate::ignition::validate::has_special_bits;
    if has_bits(version) && !has_bits(config.version.value) {
        let files = config.storage.files.iter_mut().map(|file| &mut file.mode);
        let directories = config.storage.directories.iter_mut().map(|folder| &mut folder.mode);
        for mode in files.chain(directories).flatten() {
            mode.value &= !0o7000;
        }
    }
    config
}

fn ignition(parent: Ignition, child: Ignition, out: &mut Diagnostics) -> Ignition {
    Ignition {
        merge: keyed(parent.merge, child.merge, source, |p, c| resource(p, c, out)),
        replace: both(parent.replace, child.replace, |p, c| resource(p, c, out)),
        timeouts: Timeouts {
            http_response_headers: child
                .timeouts
                .http_response_headers
                .or(parent.timeouts.http_response_headers),
            http_total: child.timeouts.http_total.or(parent.timeouts.http_total),
        },
        certificate_authorities: keyed(
            parent.certificate_authorities,
            child.certificate_authorities,
            source,
            |p, c| resource(p, c, out),
        ),
        proxy: Proxy {
            http_proxy: child.proxy.http_proxy.or(parent.proxy.http_proxy),
            https_proxy: child.proxy.https_proxy.or(parent.proxy.https_proxy),
            no_proxy: texts(parent.proxy.no_proxy, child.proxy.no_proxy),
        },
    }
}

fn source(resource: &Resource) -> Option<String> {
    resource.source.as_ref().map(|source| source.value.clone())
}

/// Where both have it, they are merged.
fn both<T>(parent: Option<T>, child: Option<T>, merge: impl FnOnce(T, T) -> T) -> Option<T> {
    match (parent, child) {
        (Some(parent), Some(child)) => Some(merge(parent, child)),
        (parent, child) => child.or(parent),
    }
}

/// Merges two resources field by field, and warns about what a new source inherits.
fn resource(parent: Resource, child: Resource, out: &mut Diagnostics) -> Resource {
    if let (Some(old), Some(new)) = (&parent.source, &child.source)
        && old.value != new.value
    {
        inherited(&parent, &child, new, out);
    }
    let mut http_headers = parent.http_headers;
    let mut removed = HashSet::new();
    for header in &child.http_headers {
        if header.value.is_none() {
            let before = http_headers.len();
            http_headers.retain(|one| one.name.value != header.name.value);
            if http_headers.len() < before {
                removed.insert(header.name.value.clone());
            }
        }
    }
    // What has removed something is spent; what has not may still remove it from a config above.
    let own: Vec<Header> = child
        .http_headers
        .into_iter()
        .filter(|header| header.value.is_some() || !removed.contains(&header.name.value))
        .collect();
    let name = |header: &Header| Some(header.name.value.clone());
    Resource {
        span: child.span,
        source: child.source.or(parent.source),
        compression: child.compression.or(parent.compression),
        http_headers: keyed(http_headers, own, name, |_, child| child),
        hash: child.hash.or(parent.hash),
    }
}

fn inherited(parent: &Resource, child: &Resource, new: &Spanned<String>, out: &mut Diagnostics) {
    let mut warn = |code, message: &str, at: &Spanned<String>, hint: &str| {
        out.push(
            Diagnostic::warning(code, new.span, message).label(at.span, "it is here").hint(hint),
        );
    };
    if let (Some(old), None) = (&parent.compression, &child.compression)
        && !old.value.is_empty()
    {
        let message = "the new source is unpacked with the compression of the config above";
        warn(
            "compression-inherited",
            message,
            old,
            "write `\"compression\": \"\"` beside `source`",
        );
    }
    if let (Some(old), None) = (&parent.hash, &child.hash) {
        let message = "the new source is verified with the hash of the config above";
        warn("hash-inherited", message, old, "write the hash of the new contents beside `source`");
    }
    let names = |resource: &Resource| -> HashSet<String> {
        resource.http_headers.iter().map(|header| header.name.value.clone()).collect()
    };
    let host = |resource: &Resource| {
        let source = resource.source.as_ref()?;
        url::host(&source.value).map(|(host, _)| host.to_owned())
    };
    let own = names(child);
    if let Some(old) = parent.http_headers.iter().find(|header| !own.contains(&header.name.value))
        && host(parent) != host(child)
    {
        let message = "the headers of the config above are sent to another host";
        let hint = "name the header without `value` to remove it";
        warn("headers-inherited", message, &old.name, hint);
    }
}

/// Both lists share one space: an argument of the child leaves the parent's other list.
fn kernel_arguments(parent: KernelArguments, child: KernelArguments) -> KernelArguments {
    let values = |list: &[Spanned<String>]| -> HashSet<String> {
        list.iter().map(|argument| argument.value.clone()).collect()
    };
    let (exist, absent) = (values(&child.should_exist), values(&child.should_not_exist));
    let without = |list: Vec<Spanned<String>>, other: &HashSet<String>, own: &HashSet<String>| {
        let stays = |value: &String| own.contains(value) || !other.contains(value);
        list.into_iter().filter(|argument| stays(&argument.value)).collect()
    };
    KernelArguments {
        should_exist: texts(without(parent.should_exist, &absent, &exist), child.should_exist),
        should_not_exist: texts(
            without(parent.should_not_exist, &exist, &absent),
            child.should_not_exist,
        ),
    }
}

fn passwd(parent: Passwd, child: Passwd) -> Passwd {
    let user_name = |user: &User| Some(user.name.value.clone());
    let group_name = |group: &Group| Some(group.name.value.clone());
    Passwd {
        users: keyed(parent.users, child.users, user_name, |parent, child| User {
            span: child.span,
            name: child.name,
            password_hash: child.password_hash.or(parent.password_hash),
            ssh_authorized_keys: texts(parent.ssh_authorized_keys, child.ssh_authorized_keys),
            uid: child.uid.or(parent.uid),
            gecos: child.gecos.or(parent.gecos),
            home_dir: child.home_dir.or(parent.home_dir),
            no_create_home: child.no_create_home.or(parent.no_create_home),
            primary_group: child.primary_group.or(parent.primary_group),
            groups: texts(parent.groups, child.groups),
            no_user_group: child.no_user_group.or(parent.no_user_group),
            no_log_init: child.no_log_init.or(parent.no_log_init),
            shell: child.shell.or(parent.shell),
            should_exist: child.should_exist.or(parent.should_exist),
            system: child.system.or(parent.system),
        }),
        groups: keyed(parent.groups, child.groups, group_name, |parent, child| Group {
            span: child.span,
            name: child.name,
            gid: child.gid.or(parent.gid),
            password_hash: child.password_hash.or(parent.password_hash),
            should_exist: child.should_exist.or(parent.should_exist),
            system: child.system.or(parent.system),
        }),
    }
}

fn systemd(parent: Systemd, child: Systemd) -> Systemd {
    let name = |unit: &Unit| Some(unit.name.value.clone());
    let units = keyed(parent.units, child.units, name, |parent, child| Unit {
        span: child.span,
        name: child.name,
        enabled: child.enabled.or(parent.enabled),
        mask: child.mask.or(parent.mask),
        contents: child.contents.or(parent.contents),
        dropins: keyed(
            parent.dropins,
            child.dropins,
            |dropin| Some(dropin.name.value.clone()),
            |parent, mut child| {
                child.contents = child.contents.or(parent.contents);
                child
            },
        ),
    });
    Systemd { units }
}
