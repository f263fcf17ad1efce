//! What stands in the YAML itself or in files beside it: `inline`, `local`, `contents_local`,
//! `ssh_authorized_keys_local`.
//!
//! A machine has no folder of files beside its configuration, so whatever is local is refused there
//! by name; on a laptop the caller may give one. Names of files are checked here, before anything
//! is opened: none may lead out of that folder.

use base64ct::Encoding as _;

use super::convert::Context;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{Fields, Spanned};
use crate::ignition::translate::tree::{Map, list, text};
use crate::node::Node;

/// A `data:` URL of bytes.
pub(super) fn data_url(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "data:,".to_owned();
    }
    format!("data:;base64,{}", base64ct::Base64::encode_string(bytes))
}

/// A path inside the folder of files: relative, and nowhere upwards.
pub(super) fn inside(path: &str) -> bool {
    !path.starts_with('/') && !path.contains('\0') && path.split('/').all(|part| part != "..")
}

/// The bytes of a file that a key names; nothing, and an error, where it cannot be had.
fn local(
    key: &'static str,
    path: &Spanned<String>,
    context: Context<'_>,
    out: &mut Diagnostics,
) -> Option<Vec<u8>> {
    let Some(files) = context.files else {
        out.push(no_files(key, path));
        return None;
    };
    if !inside(&path.value) {
        let message = format!("`{}` leads out of the folder of local files", path.value);
        out.push(Diagnostic::error("path-escape", path.span, message));
        return None;
    }
    match files.read(&path.value) {
        Ok(bytes) => Some(bytes),
        Err(fault) => {
            let message = format!("`{}` cannot be read: {fault}", path.value);
            out.push(Diagnostic::error("local-file", path.span, message));
            None
        }
    }
}

/// Local files where there is no folder of them.
pub(super) fn no_files(key: &'static str, path: &Spanned<String>) -> Diagnostic {
    let message = format!("`{key}` is refused: there is no folder of local files here");
    Diagnostic::error("local-file", path.span, message)
        .hint("write the contents into the config, or turn it into Ignition's JSON before")
}

/// `inline` and `local` beside `source`: one of the three.
pub(super) fn resource(fields: &mut Fields<'_, '_>, map: &mut Map, context: Context<'_>) {
    let inline = fields.text("inline");
    let path = fields.text("local");
    let source = map.get("source").map(|node| node.span);
    let mut places: Vec<_> = [source, inline.as_ref().map(|text| text.span)].into();
    places.push(path.as_ref().map(|text| text.span));
    let places: Vec<_> = places.into_iter().flatten().collect();
    if let [first, second, ..] = places.as_slice() {
        let message = "contents come from one of `source`, `inline` and `local`";
        fields.out().push(
            Diagnostic::error("several-sources", *second, message)
                .label(*first, "the first is here")
                .hint("remove all but one"),
        );
        return;
    }
    if let Some(inline) = inline {
        map.put("source", text(inline.span, data_url(inline.value.as_bytes())));
        no_compression(map, inline.span);
    } else if let Some(path) = path
        && let Some(bytes) = local("local", &path, context, fields.out())
    {
        map.put("source", text(path.span, data_url(&bytes)));
        no_compression(map, path.span);
    }
}

/// Says that contents are not compressed: merged over a parent that is, silence would keep the
/// parent's word.
fn no_compression(map: &mut Map, span: crate::source::Span) {
    if map.get("compression").is_none() {
        map.put("compression", text(span, ""));
    }
}

/// `contents_local` of units and drop-ins.
pub(super) fn contents(fields: &mut Fields<'_, '_>, map: &mut Map, context: Context<'_>) {
    let Some(path) = fields.text("contents_local") else { return };
    if let Some(first) = map.get("contents") {
        let message = "`contents` and `contents_local` contradict each other";
        let span = first.span;
        fields.out().push(
            Diagnostic::error("several-sources", path.span, message)
                .label(span, "`contents` is here")
                .hint("remove one of the two"),
        );
        return;
    }
    let Some(bytes) = local("contents_local", &path, context, fields.out()) else { return };
    map.put_some("contents", utf8(&path, bytes, fields.out()));
}

/// `ssh_authorized_keys_local`: a key in each line.
pub(super) fn user(fields: &mut Fields<'_, '_>, map: &mut Map, context: Context<'_>) {
    let paths = fields.texts("ssh_authorized_keys_local");
    let Some(first) = paths.first() else { return };
    let mut keys: Vec<Node> = Vec::new();
    for path in &paths {
        let bytes = local("ssh_authorized_keys_local", path, context, fields.out());
        let file = bytes.and_then(|bytes| utf8(path, bytes, fields.out()));
        let lines = file.as_ref().and_then(Node::text).unwrap_or_default().lines();
        let lines = lines.map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty());
        keys.extend(lines.map(|line| text(path.span, line)));
    }
    map.extend_list("sshAuthorizedKeys", list(first.span, keys));
}

fn utf8(path: &Spanned<String>, bytes: Vec<u8>, out: &mut Diagnostics) -> Option<Node> {
    match String::from_utf8(bytes) {
        Ok(contents) => Some(text(path.span, contents)),
        Err(_) => {
            let message = format!("`{}` is no text", path.value);
            out.push(Diagnostic::error("local-file", path.span, message));
            None
        }
    }
}
