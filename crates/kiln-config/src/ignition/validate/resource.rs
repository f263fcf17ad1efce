//! Resources: URL, compression, headers, hash, and the contents where they are inline.
//!
//! Inline contents are decoded, unpacked and verified here, so that a wrong hash is a line of the
//! document and not a machine that stops.

use super::{unique, words};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::ignition::config::{Resource, Version};
use crate::ignition::data::{self, Hash};
use crate::ignition::url::{self, Scheme};

/// Checks one resource; `needs_source` where it is worth nothing without one.
pub(super) fn check(
    resource: &Resource,
    needs_source: bool,
    version: Version,
    out: &mut Diagnostics,
) {
    let before = out.errors();
    let scheme = match &resource.source {
        Some(source) => {
            if needs_source && source.value.is_empty() {
                let message = "`source` is empty, and there is nothing to fetch";
                out.push(Diagnostic::error("missing-source", source.span, message));
            }
            url::check(&source.value, version).unwrap_or_else(|fault| {
                out.push(Diagnostic::error(fault.code, source.span, fault.message));
                None
            })
        }
        None => {
            if needs_source {
                let message = "a resource needs `source` here";
                out.push(Diagnostic::error("missing-source", resource.span, message));
            }
            None
        }
    };
    compression(resource, scheme, out);
    hash(resource, version, out);
    headers(resource, scheme, out);
    if let Some(source) = &resource.source {
        if scheme.is_some_and(Scheme::is_store) {
            let message = format!("`{}` is fetched without credentials", url::shown(&source.value));
            out.push(
                Diagnostic::warning("anonymous-access", source.span, message)
                    .hint("make the object public, or use an https URL that is signed"),
            );
        }
        // A hash or compression that is wrong in itself has been reported, and would be a second time.
        if out.errors() == before
            && let Err(fault) = data::inline(resource)
        {
            let span = match (fault.code, &resource.hash) {
                ("hash-mismatch", Some(hash)) => hash.span,
                _ => source.span,
            };
            out.push(Diagnostic::error(fault.code, span, fault.message));
        }
    }
}

/// Says where an inline certificate is none.
pub(super) fn check_authority(resource: &Resource, out: &mut Diagnostics) {
    let (Some(source), Ok(Some(bytes))) = (&resource.source, data::inline(resource)) else {
        return;
    };
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    if !source.value.is_empty() && !bytes.windows(BEGIN.len()).any(|window| window == BEGIN) {
        let message = "the certificate authority holds no certificate in PEM";
        out.push(Diagnostic::warning("no-certificate", source.span, message));
    }
}

fn compression(resource: &Resource, scheme: Option<Scheme>, out: &mut Diagnostics) {
    let Some(compression) = &resource.compression else { return };
    match compression.value.as_str() {
        "" => {}
        "gzip" => {
            if matches!(scheme, Some(Scheme::S3 | Scheme::Arn)) {
                let message = "compressed contents cannot be fetched from S3";
                out.push(Diagnostic::error("compression-scheme", compression.span, message));
            }
        }
        other => {
            let message =
                format!("`{}` is no compression; there is `gzip`", url::shown_word(other));
            out.push(Diagnostic::error("bad-compression", compression.span, message));
        }
    }
}

fn hash(resource: &Resource, version: Version, out: &mut Diagnostics) {
    let Some(hash) = &resource.hash else { return };
    match Hash::parse(&hash.value) {
        Err(message) => out.push(Diagnostic::error("bad-hash", hash.span, message)),
        Ok(Hash::Sha256(_)) if version < Version::V3_1 => {
            let message = "the hash function sha256 does not exist in version 3.0.0";
            out.push(
                Diagnostic::error("bad-hash", hash.span, message)
                    .hint("write `3.1.0` as `ignition.version`, or use sha512"),
            );
        }
        Ok(_) => {}
    }
    if resource.source.is_none() {
        let message = "a hash needs a `source` that it is the hash of";
        out.push(Diagnostic::error("hash-without-source", hash.span, message));
    }
}

fn headers(resource: &Resource, scheme: Option<Scheme>, out: &mut Diagnostics) {
    let headers = &resource.http_headers;
    unique("httpHeaders", words(headers.iter().map(|header| &header.name)), out);
    for header in headers {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if header.name.value.is_empty() {
            let message = "a header needs `name`";
            out.push(Diagnostic::error("bad-header", header.name.span, message));
        } else if !header.name.value.bytes().all(is_token) {
            let message = "the name of a header has characters that no header has";
            out.push(Diagnostic::error("bad-header", header.name.span, message));
        }
        let Some(value) = &header.value else { continue };
        if value.value.is_empty() {
            let message = format!("the header `{}` has an empty value", header.name.value);
            out.push(
                Diagnostic::error("bad-header", value.span, message)
                    .hint("leave `value` out to remove the header of the config above"),
            );
        } else if value.value.contains(['\r', '\n', '\0']) {
            let message =
                format!("the value of the header `{}` is not one line", header.name.value);
            out.push(Diagnostic::error("bad-header", value.span, message));
        }
    }
    if let Some(first) = headers.first()
        && scheme.is_some_and(|scheme| !matches!(scheme, Scheme::Http | Scheme::Https))
    {
        let message = "headers can only be sent with http and https";
        out.push(Diagnostic::error("header-scheme", first.span, message));
    }
}
