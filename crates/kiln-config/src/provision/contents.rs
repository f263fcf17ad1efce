//! Bytes and where they come from: `text`, `base64`, `template` or `url`, exactly one of them.
//!
//! The keys stand beside those of the file itself, because `text:` right below a path is what most
//! documents consist of. A map `contents:` around them was dropped: it is one level more for nothing.

use base64ct::{Base64, Encoding as _};

use crate::action::{Contents, File, Owner, Remote, Source};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::node::Node;
use crate::provision::shape::{
    Flag, Many, Maybe, Mode, Number, PathHoles, Record, Shape, Word, described, object, record,
    take,
};
use crate::provision::tree::Tree;

/// The keys of which one says where the bytes come from.
const SOURCES: [&str; 4] = ["text", "base64", "template", "url"];
/// Schemes that the executor can fetch.
const SCHEMES: [&str; 7] = ["https", "http", "tftp", "oci", "s3", "gs", "arn"];

record! {
    /// A header line of a request.
    HeaderShape: Header, "a header";
    needs {
        "name" name: Word, "Name of the header.";
        "value" value: Word, "Value; never shown.";
    }
    takes {}
}

/// A header line of a request.
#[derive(PartialEq)]
pub(crate) struct Header {
    name: String,
    value: String,
}

/// Contents as a map of their own.
pub(crate) struct ContentsShape;

impl Shape for ContentsShape {
    type Value = Contents;

    fn read(node: &Node, _key: &'static str, out: &mut Diagnostics) -> Option<Contents> {
        let mut fields = Fields::open(node, "contents", out)?.strict();
        let contents = take_contents(&mut fields);
        if contents.is_none() && !fields.out().has_errors() {
            let message = "contents need one of `text`, `base64`, `template` and `url`";
            let span = fields.span();
            fields.out().push(Diagnostic::error("missing-key", span, message));
        }
        fields.finish();
        contents
    }

    fn write(value: &Contents) -> Tree {
        Tree::Map(write_contents(value))
    }

    fn schema() -> Tree {
        object(properties(), Vec::new())
    }
}

/// Takes the keys of contents out of a map that has others, too.
pub(crate) fn take_contents(fields: &mut Fields<'_, '_>) -> Option<Contents> {
    let mut source = None;
    let mut first = None;
    for key in SOURCES {
        let Some((name, node)) = fields.take_with_key(key) else { continue };
        if let Some((earlier, span)) = first {
            let message = format!("`{earlier}` and `{key}` exclude each other");
            fields.out().push(
                Diagnostic::error("contradiction", name.span, message)
                    .label(span, "the other is here")
                    .hint("keep the one that holds the contents"),
            );
            continue;
        }
        first = Some((key, name.span));
        source = read_source(key, node, fields.out());
    }
    let request = take_request(fields);
    if let Some(Source::Remote(remote)) = &mut source {
        let url = std::mem::take(&mut remote.url);
        *remote = Remote { url, ..request };
    } else if first.is_some() && request != Remote::default() {
        let span = fields.span();
        let message =
            "`timeout`, `headerTimeout`, `proxy`, `authorities` and `headers` belong to `url`";
        fields.out().push(Diagnostic::error("contradiction", span, message));
    }
    let gzip = take::<Flag>(fields, "gzip").unwrap_or(false);
    let hash = fields.text("hash").and_then(|hash| {
        if is_hash(&hash.value) {
            return Some(hash.value);
        }
        let message = format!("`hash` is none: `{}`", hash.value);
        let hint = "write `sha256-` and 64 or `sha512-` and 128 lower-case hexadecimal digits";
        fields.out().push(Diagnostic::error("hash", hash.span, message).hint(hint));
        None
    });
    let secret = take::<Flag>(fields, "secret").unwrap_or(false);
    Some(Contents { source: source?, gzip, hash, secret })
}

/// How something is fetched; all but the address.
fn take_request(fields: &mut Fields<'_, '_>) -> Remote {
    let pair = |header: Header| (header.name, header.value);
    let headers = take::<Many<HeaderShape>>(fields, "headers").unwrap_or_default();
    Remote {
        url: String::new(),
        headers: headers.into_iter().map(pair).collect(),
        timeout: take::<Number<u64>>(fields, "timeout").unwrap_or(0),
        header_timeout: take::<Number<u64>>(fields, "headerTimeout").unwrap_or(0),
        proxy: take::<Word>(fields, "proxy"),
        authorities: take::<Many<Word>>(fields, "authorities").unwrap_or_default(),
    }
}

fn read_source(key: &'static str, node: &Node, out: &mut Diagnostics) -> Option<Source> {
    let text = Word::read(node, key, out)?;
    match key {
        "text" => Some(Source::Bytes(text.into_bytes())),
        "template" => Some(Source::Template(text)),
        "url" => {
            let scheme = text.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
            if SCHEMES.contains(&scheme) && !text.contains(char::is_whitespace) {
                return Some(Source::Remote(Remote { url: text, ..Remote::default() }));
            }
            let message = format!("`url` is none that can be fetched: `{text}`");
            let hint = format!("begin it with one of {}", SCHEMES.join(", "));
            out.push(Diagnostic::error("url", node.span, message).hint(hint));
            None
        }
        _ => {
            // Long ones are written over several lines.
            let packed: String = text.split_whitespace().collect();
            let bytes = Base64::decode_vec(&packed).ok();
            if bytes.is_none() {
                let message = format!("`{key}` is no base64 with padding (RFC 4648 §4)");
                out.push(Diagnostic::error("base64", node.span, message));
            }
            bytes.map(Source::Bytes)
        }
    }
}

/// Digits of a digest by its name.
fn is_hash(hash: &str) -> bool {
    let digits = match hash.split_once('-') {
        Some(("sha256", digits)) if digits.len() == 64 => digits,
        Some(("sha512", digits)) if digits.len() == 128 => digits,
        _ => return false,
    };
    digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// The keys of contents.
pub(crate) fn write_contents(contents: &Contents) -> Vec<(String, Tree)> {
    let mut entries = Vec::new();
    let mut put = |key: &str, value| entries.push((key.to_owned(), value));
    match &contents.source {
        Source::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => put("text", Tree::text(text)),
            Err(_) => put("base64", Tree::text(Base64::encode_string(bytes))),
        },
        Source::Template(text) => put("template", Tree::text(text)),
        Source::Remote(remote) => {
            put("url", Tree::text(&remote.url));
            for (key, seconds) in
                [("timeout", remote.timeout), ("headerTimeout", remote.header_timeout)]
            {
                if seconds != 0 {
                    put(key, Tree::Number(seconds));
                }
            }
            if let Some(proxy) = &remote.proxy {
                put("proxy", Tree::text(proxy));
            }
            if !remote.authorities.is_empty() {
                put("authorities", Many::<Word>::write(&remote.authorities));
            }
            if !remote.headers.is_empty() {
                let header = |(name, value): &(String, String)| {
                    HeaderShape::write(&Header { name: name.clone(), value: value.clone() })
                };
                put("headers", Tree::List(remote.headers.iter().map(header).collect()));
            }
        }
    }
    if contents.gzip {
        put("gzip", Tree::Flag(true));
    }
    if let Some(hash) = &contents.hash {
        put("hash", Tree::text(hash));
    }
    if contents.secret {
        put("secret", Tree::Flag(true));
    }
    entries
}

/// The keys of contents in a schema.
fn properties() -> Vec<(String, Tree)> {
    let off = || Some(Tree::Flag(false));
    [
        ("text", Word::schema(), "The contents as text.", None),
        ("base64", Word::schema(), "The contents in base64, with padding.", None),
        ("template", Word::schema(), "The contents with holes that the machine fills.", None),
        ("url", Word::schema(), "Where the contents are fetched from.", None),
        (
            "timeout",
            Number::<u64>::schema(),
            "Seconds for the whole transfer; 0 is without end.",
            Some(Tree::Number(0)),
        ),
        (
            "headerTimeout",
            Number::<u64>::schema(),
            "Seconds until the answer begins; 0 is without end.",
            Some(Tree::Number(0)),
        ),
        ("proxy", Word::schema(), "URL of the proxy that is asked.", None),
        (
            "authorities",
            Many::<Word>::schema(),
            "Certificates (PEM) that are trusted beside those of the image.",
            None,
        ),
        ("headers", Many::<HeaderShape>::schema(), "Header lines to send.", None),
        ("gzip", Flag::schema(), "Whether the contents are compressed with gzip.", off()),
        (
            "hash",
            Word::schema(),
            "What the contents must be once decompressed: sha256-HEX or sha512-HEX.",
            None,
        ),
        ("secret", Flag::schema(), "Never shown by `kiln explain`.", off()),
    ]
    .map(|(key, schema, help, default)| (key.to_owned(), described(schema, help, default)))
    .into()
}

/// Keys of an owner, taken out of a map that has others, too.
pub(crate) fn take_owner(fields: &mut Fields<'_, '_>) -> Owner {
    let user = fields.text("user").map(|text| text.value);
    let group = fields.text("group").map(|text| text.value);
    Owner { user, group }
}

/// The keys of an owner.
pub(crate) fn write_owner(owner: &Owner) -> Vec<(String, Tree)> {
    let keys = [("user", &owner.user), ("group", &owner.group)];
    keys.into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), Tree::text(value.as_ref()?))))
        .collect()
}

/// The keys of an owner in a schema.
pub(crate) fn owner_properties() -> Vec<(String, Tree)> {
    ["user", "group"]
        .map(|key| {
            let help = format!("Name or number of the {key}; without it `root`, or who it is.");
            (key.to_owned(), described(Word::schema(), &help, None))
        })
        .into()
}

/// A file.
pub(crate) struct FileShape;

impl Record for FileShape {
    const WHAT: &'static str = "a file";
    const NAME: &'static str = "path";

    fn read_named(node: &Node, mut name: Option<Node>, out: &mut Diagnostics) -> Option<File> {
        let mut fields = Fields::open(node, Self::WHAT, out)?.strict();
        let path = crate::provision::shape::need::<PathHoles>(&mut fields, "path", &mut name);
        let contents = take_contents(&mut fields);
        let append = take::<Many<ContentsShape>>(&mut fields, "append").unwrap_or_default();
        let mode = take::<Maybe<Mode>>(&mut fields, "mode").flatten();
        let owner = take_owner(&mut fields);
        let overwrite = take::<Flag>(&mut fields, "overwrite").unwrap_or(true);
        fields.finish();
        Some(File { path: path?, contents, append, mode, owner, overwrite })
    }
}

impl Shape for FileShape {
    type Value = File;

    fn read(node: &Node, _key: &'static str, out: &mut Diagnostics) -> Option<File> {
        Self::read_named(node, None, out)
    }

    fn write(file: &File) -> Tree {
        let mut entries = vec![("path".to_owned(), PathHoles::write(&file.path))];
        entries.extend(file.contents.iter().flat_map(write_contents));
        if !file.append.is_empty() {
            entries.push(("append".to_owned(), Many::<ContentsShape>::write(&file.append)));
        }
        entries.extend(file.mode.map(|mode| ("mode".to_owned(), Mode::write(&mode))));
        entries.extend(write_owner(&file.owner));
        if !file.overwrite {
            entries.push(("overwrite".to_owned(), Tree::Flag(false)));
        }
        Tree::Map(entries)
    }

    fn schema() -> Tree {
        let path = described(PathHoles::schema(), "Where.", None);
        let append = "What is put behind it.";
        let mode = "Permission bits in octal notation; without it 0644.";
        let overwrite =
            "Whether a file that is there gives way; without, one that is there is an error.";
        let mut keys = vec![("path".to_owned(), path)];
        keys.extend(properties());
        keys.push(("append".into(), described(Many::<ContentsShape>::schema(), append, None)));
        keys.push(("mode".into(), described(Mode::schema(), mode, None)));
        keys.extend(owner_properties());
        keys.push((
            "overwrite".into(),
            described(Flag::schema(), overwrite, Some(Tree::Flag(true))),
        ));
        object(keys, vec![Tree::text("path")])
    }
}
