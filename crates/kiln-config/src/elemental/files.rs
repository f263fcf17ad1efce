//! Files, folders and downloads.
//!
//! Two habits of the forks are not taken over, because nobody relies on them and both hurt: a file
//! without `permissions` gets 0644 and not 0000, and parents that are missing get 0755 and not the mode
//! of the file. Contents that not everybody may read count as secrets and are never shown.

use super::encoding::decode;
use super::mode::{mode, owner};
use super::mount;
use super::scope::{Scope, check, required_path};
use super::step::{Actions, Rank, add};
use crate::action::{Action, Contents, Directory, File, Remote, Source};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, Spanned};
use crate::node::Node;
use crate::operation::Text;
use crate::source::Span;

/// Number of root, to whom the forks give every file that names nobody.
const ROOT: &str = "0";
/// Permission bits of all others: what they may read is no secret.
const OTHERS: u32 = 0o007;

/// `files`.
pub(super) fn files(fields: &mut Fields<'_, '_>, scope: &Scope, actions: &mut Actions) {
    for node in fields.list("files") {
        file(node, scope, fields.out(), actions);
    }
}

fn file(node: &Node, scope: &Scope, out: &mut Diagnostics, actions: &mut Actions) {
    let Some(mut fields) = Fields::open(node, "a file", out) else { return };
    let path = required_path(&mut fields, "path");
    let mode = mode(&mut fields, "permissions");
    let owner = owner(&mut fields, Some(ROOT));
    let content = fields.text("content");
    let encoding = fields.text("encoding");
    let contents = contents(content, encoding, mode, scope, fields.out());
    let span = fields.span();
    scope.finish(fields);
    let (Some(path), Some(contents)) = (path, contents) else { return };
    if let Source::Bytes(bytes) = &contents.source
        && let Some(actions_of_mount) = mount::in_file(&path, bytes, span, scope, out)
    {
        // The file is written all the same: commands of later steps may read it.
        actions.extend(actions_of_mount);
    }
    let file = File {
        path: Text::Plain(path),
        contents: Some(contents),
        append: Vec::new(),
        mode,
        owner,
        overwrite: true,
    };
    add(actions, Rank::Files, span, Action::File(file));
}

/// Contents of a file: decoded, and a template where they have holes.
pub(super) fn contents(
    content: Option<Spanned<String>>,
    encoding: Option<Spanned<String>>,
    mode: Option<u32>,
    scope: &Scope,
    out: &mut Diagnostics,
) -> Option<Contents> {
    let secret = mode.is_some_and(|mode| mode & OTHERS == 0);
    let Some(content) = content else {
        return Some(Contents { secret, ..Contents::bytes(Vec::new()) });
    };
    let named = encoding.as_ref().map_or("", |encoding| encoding.value.as_str());
    let place = encoding.as_ref().map_or(content.span, |encoding| encoding.span);
    let bytes = match decode(&content.value, named, scope, content.span) {
        Ok(bytes) => bytes,
        Err(mut fault) => {
            if fault.code == "unknown-encoding" {
                fault.span = Some(place);
            }
            out.push(fault);
            return None;
        }
    };
    // Filled in after decoding, as the forks do.
    let source = match String::from_utf8(bytes) {
        Ok(text) if text.contains("{{") => {
            check(&text, content.span, out);
            Source::Template(text)
        }
        Ok(text) => Source::Bytes(text.into_bytes()),
        Err(error) => Source::Bytes(error.into_bytes()),
    };
    Some(Contents { source, gzip: false, hash: None, secret })
}

/// `directories`.
pub(super) fn directories(fields: &mut Fields<'_, '_>, scope: &Scope, actions: &mut Actions) {
    for node in fields.list("directories") {
        let Some(mut entry) = Fields::open(node, "a folder", fields.out()) else { continue };
        let path = required_path(&mut entry, "path");
        let mode = mode(&mut entry, "permissions");
        // A folder that is there keeps its owner unless one is named.
        let owner = owner(&mut entry, None);
        let span = entry.span();
        scope.finish(entry);
        let Some(path) = path else { continue };
        let folder = Directory { path: Text::Plain(path), mode, owner, replace: false };
        add(actions, Rank::Directories, span, Action::Directory(folder));
    }
}

/// `downloads`.
pub(super) fn downloads(fields: &mut Fields<'_, '_>, scope: &Scope, actions: &mut Actions) {
    for node in fields.list("downloads") {
        let Some(mut entry) = Fields::open(node, "a download", fields.out()) else { continue };
        let path = required_path(&mut entry, "path");
        let url = entry.require_text("url").and_then(|url| address(url, entry.out()));
        let mode = mode(&mut entry, "permissions");
        let owner = owner(&mut entry, Some(ROOT));
        let timeout = timeout(&mut entry);
        let span = entry.span();
        scope.finish(entry);
        let (Some(path), Some(url)) = (path, url) else { continue };
        let Some(path) = target(path, &url, span, fields.out()) else { continue };
        let remote = Remote { url, timeout, ..Remote::default() };
        let secret = mode.is_some_and(|mode| mode & OTHERS == 0);
        let contents = Contents { source: Source::Remote(remote), gzip: false, hash: None, secret };
        let file = File {
            path: Text::Plain(path),
            contents: Some(contents),
            append: Vec::new(),
            mode,
            owner,
            overwrite: true,
        };
        add(actions, Rank::Downloads, span, Action::File(file));
    }
}

/// Seconds for a transfer; 0, and none at all, is without end.
fn timeout(fields: &mut Fields<'_, '_>) -> u64 {
    let Some(seconds) = fields.integer("timeout") else { return 0 };
    u64::try_from(seconds.value).unwrap_or_else(|_| {
        let message = "`timeout` is a number of seconds, and not below 0";
        fields.out().push(Diagnostic::error("bad-number", seconds.span, message));
        0
    })
}

/// An address from which a machine can fetch.
fn address(url: Spanned<String>, out: &mut Diagnostics) -> Option<String> {
    let rest = url.value.split_once("://");
    match rest {
        Some(("https", rest)) if !rest.is_empty() => {}
        Some(("http", rest)) if !rest.is_empty() => {
            let message = format!("`{}` is fetched without any protection", url.value);
            out.push(Diagnostic::warning("plain-http", url.span, message).hint("use https"));
        }
        _ => {
            let shown: String = url.value.chars().take(80).collect();
            let message = format!("`{shown}` is no address of https or http");
            out.push(Diagnostic::error("bad-url", url.span, message));
            return None;
        }
    }
    Some(url.value)
}

/// The file of a download: into a folder (a path that ends with `/`) by the last part of the address.
fn target(path: String, url: &str, span: Span, out: &mut Diagnostics) -> Option<String> {
    if !path.ends_with('/') {
        return Some(path);
    }
    let clean = url.split(['?', '#']).next().unwrap_or_default();
    let name = clean.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
    match name.map(|(_, rest)| rest.rsplit('/').next().unwrap_or_default()) {
        Some(name) if !matches!(name, "" | "." | "..") => Some(format!("{path}{name}")),
        _ => {
            let message = format!("`{url}` names no file to put into the folder `{path}`");
            out.push(Diagnostic::error("bad-path", span, message));
            None
        }
    }
}
