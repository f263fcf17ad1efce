//! What a config may say: every rule of the spec that can be decided from the document alone.
//!
//! The same rules hold for a document, for one that was translated and for one that was merged, so they
//! work on the tree and know the notation no more. Each fault names its place, and both places where two
//! entries contradict each other. What Kiln itself does not carry out is no fault of the document and is
//! said by [`super::lower`].

mod disks;
mod entries;
mod resource;
mod systemd;
mod volumes;

use std::collections::HashMap;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Spanned;
use crate::ignition::config::{Config, Passwd, Proxy, Timeouts, Version};
use crate::ignition::url;
use crate::source::Span;

/// Checks a config; what is wrong goes to `out`.
pub fn validate(config: &Config, out: &mut Diagnostics) {
    let version = config.version.value;
    let ignition = &config.ignition;
    for (what, list) in [
        ("config.merge", &ignition.merge),
        ("certificateAuthorities", &ignition.certificate_authorities),
    ] {
        let sources = list.iter().filter_map(|resource| resource.source.as_ref());
        unique(what, sources.map(|source| (source.value.as_str(), source.span)), out);
        for resource in list {
            resource::check(resource, true, version, out);
        }
    }
    for authority in &ignition.certificate_authorities {
        resource::check_authority(authority, out);
    }
    if let Some(replace) = &ignition.replace {
        resource::check(replace, false, version, out);
    }
    timeouts(&ignition.timeouts, out);
    proxy(&ignition.proxy, out);
    let arguments = &config.kernel_arguments;
    let arguments = arguments.should_exist.iter().chain(&arguments.should_not_exist);
    unique("kernelArguments", words(arguments), out);
    passwd(&config.passwd, out);
    disks::check(&config.storage, version, out);
    volumes::check(&config.storage, version, out);
    entries::check(config, out);
    systemd::check(&config.systemd, out);
}

/// Texts with their places, for [`unique`].
fn words<'config>(
    list: impl IntoIterator<Item = &'config Spanned<String>>,
) -> impl Iterator<Item = (&'config str, Span)> {
    list.into_iter().map(|word| (word.value.as_str(), word.span))
}

/// Says which keys of a list stand there twice. Empty ones are missing, which is said elsewhere.
fn unique<Key: std::fmt::Display + Eq + std::hash::Hash + Copy>(
    what: &str,
    keys: impl IntoIterator<Item = (Key, Span)>,
    out: &mut Diagnostics,
) {
    let mut seen: HashMap<Key, Span> = HashMap::new();
    for (key, span) in keys {
        let Some(first) = seen.get(&key).copied() else {
            seen.insert(key, span);
            continue;
        };
        let name = key.to_string();
        if name.is_empty() {
            continue;
        }
        let message = format!("`{}` stands twice in `{what}`", url::shown_word(&name));
        out.push(
            Diagnostic::error("duplicate-entry", span, message)
                .label(first, "the first is here")
                .hint("remove one of the two, or make one entry of them"),
        );
    }
}

/// Says that a text that has to be there is not; its span is then that of the whole map.
fn present(value: &Spanned<String>, name: &str, what: &str, out: &mut Diagnostics) -> bool {
    if value.value.is_empty() {
        out.push(Diagnostic::error("missing-key", value.span, format!("{what} needs `{name}`")));
    }
    !value.value.is_empty()
}

/// Checks a path that has to be absolute and clean: no `.`, no `..`, no `//`, no slash at its end.
fn path(value: &Spanned<String>, name: &str, out: &mut Diagnostics) -> bool {
    // Bytes of a path and of one name in it: Linux's PATH_MAX without its NUL, and NAME_MAX.
    const LONGEST: usize = 4095;
    const LONGEST_NAME: usize = 255;
    let text = value.value.as_str();
    let mut fault = |code, message: String| {
        out.push(Diagnostic::error(code, value.span, message));
        false
    };
    if text.is_empty() {
        return fault("missing-key", format!("`{name}` is empty"));
    }
    if text.contains('\0') {
        return fault("bad-path", format!("`{name}` has a NUL, which no path can have"));
    }
    let Some(inner) = text.strip_prefix('/') else {
        return fault("relative-path", format!("`{text}` has to be an absolute path"));
    };
    if text.len() > LONGEST || inner.split('/').any(|part| part.len() > LONGEST_NAME) {
        let message = format!("`{name}` is longer than a path can be");
        return fault("bad-path", message);
    }
    if !inner.is_empty() && inner.split('/').any(|part| matches!(part, "" | "." | "..")) {
        let message =
            format!("`{text}` is not clean: it has `.`, `..`, `//` or a slash at its end");
        return fault("dirty-path", message);
    }
    true
}

/// Checks a number that has to fit into `0..=maximum`.
fn range(value: Option<&Spanned<i64>>, name: &str, maximum: i64, out: &mut Diagnostics) {
    if let Some(number) = value
        && !(0..=maximum).contains(&number.value)
    {
        let message = format!("`{name}` has to be from 0 to {maximum}, and is {}", number.value);
        out.push(Diagnostic::error("out-of-range", number.span, message));
    }
}

fn timeouts(timeouts: &Timeouts, out: &mut Diagnostics) {
    /// Seconds: a year; more is a slip of units.
    const LONGEST: i64 = 365 * 24 * 60 * 60;
    range(timeouts.http_response_headers.as_ref(), "httpResponseHeaders", LONGEST, out);
    range(timeouts.http_total.as_ref(), "httpTotal", LONGEST, out);
}

fn proxy(proxy: &Proxy, out: &mut Diagnostics) {
    unique("noProxy", words(&proxy.no_proxy), out);
    for (name, value) in [("httpProxy", &proxy.http_proxy), ("httpsProxy", &proxy.https_proxy)] {
        let Some(value) = value.as_ref().filter(|value| !value.value.is_empty()) else { continue };
        match url::check_http(&value.value) {
            Err(fault) => {
                out.push(Diagnostic::error(fault.code, value.span, fault.message));
            }
            Ok(url::Scheme::Http) if name == "httpsProxy" => {
                let message = "`httpsProxy` is reached without encryption";
                out.push(
                    Diagnostic::warning("plain-proxy", value.span, message)
                        .hint("write an `https` URL"),
                );
            }
            Ok(_) => {}
        }
    }
}

fn passwd(passwd: &Passwd, out: &mut Diagnostics) {
    /// The largest number that is no "nobody at all" (-1) in 32 bits.
    const LARGEST: i64 = u32::MAX as i64 - 1;
    unique("passwd.users", words(passwd.users.iter().map(|user| &user.name)), out);
    unique("passwd.groups", words(passwd.groups.iter().map(|group| &group.name)), out);
    for user in &passwd.users {
        account_name(&user.name, "a user", out);
        unique("groups", words(&user.groups), out);
        unique("sshAuthorizedKeys", words(&user.ssh_authorized_keys), out);
        range(user.uid.as_ref(), "uid", LARGEST, out);
        for key in &user.ssh_authorized_keys {
            if key.value.trim().contains(['\n', '\0']) {
                let message = "an entry of `sshAuthorizedKeys` has to be one line";
                out.push(Diagnostic::error("bad-key", key.span, message));
            }
        }
        for (name, value) in [
            ("gecos", &user.gecos),
            ("homeDir", &user.home_dir),
            ("shell", &user.shell),
            ("passwordHash", &user.password_hash),
        ] {
            field(name, value.as_ref(), out);
        }
    }
    for group in &passwd.groups {
        account_name(&group.name, "a group", out);
        range(group.gid.as_ref(), "gid", LARGEST, out);
        field("passwordHash", group.password_hash.as_ref(), out);
    }
}

/// A name becomes the first field of a line, so what would end the field or the line is refused.
fn account_name(name: &Spanned<String>, what: &str, out: &mut Diagnostics) {
    if !present(name, "name", what, out) {
        return;
    }
    let is_bad =
        |letter: char| letter.is_control() || letter.is_whitespace() || ":,/".contains(letter);
    if name.value.starts_with('-') || name.value.chars().any(is_bad) {
        let message = format!("`{}` cannot be the name of {what}", url::shown_word(&name.value));
        out.push(Diagnostic::error("bad-name", name.span, message));
    }
}

fn field(name: &str, value: Option<&Spanned<String>>, out: &mut Diagnostics) {
    if let Some(value) = value.filter(|value| value.value.contains([':', '\n', '\0'])) {
        let message =
            format!("`{name}` has a colon or a line break, which would break the account file");
        out.push(Diagnostic::error("bad-field", value.span, message));
    }
}

/// Whether a version reads the bits for setuid, setgid and sticky.
pub(super) fn has_special_bits(version: Version) -> bool {
    version >= Version::V3_6
}
