//! Encoded contents: base64, gzip, and both.
//!
//! Decoded while reading, so that `kiln explain` shows the file and a broken one is found on a laptop.
//! All contents of a document share one budget: a megabyte of gzip can stand for a gigabyte, and no
//! machine has to try. Decoding on the machine was dropped, since the fault would come too late.

use std::io::Read as _;

use base64ct::{Base64, Base64Unpadded, Encoding as _};
use flate2::read::MultiGzDecoder;

use super::scope::Scope;
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::suggest::nearest;

/// Bytes that all encoded contents of one document may come to. Four times the largest document: text
/// shrinks to a quarter and grows by a third in base64. What is larger belongs behind a URL.
const MAXIMUM_DECODED: usize = 64 << 20;
/// First bytes of a gzip member (RFC 1952 §2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Spellings: name, whether base64, whether gzip. `text/plain` is cloud-init's name for neither.
const ENCODINGS: [(&str, bool, bool); 10] = [
    ("", false, false),
    ("text/plain", false, false),
    ("b64", true, false),
    ("base64", true, false),
    ("gz", false, true),
    ("gzip", false, true),
    ("gz+base64", true, true),
    ("gzip+base64", true, true),
    ("gz+b64", true, true),
    ("gzip+b64", true, true),
];

/// The bytes of a text in one of the encodings.
///
/// # Errors
/// An unknown encoding, broken contents, or too many bytes.
pub(super) fn decode(
    text: &str,
    encoding: &str,
    scope: &Scope,
    span: Span,
) -> Result<Vec<u8>, Diagnostic> {
    let Some((_, base64, gzip)) = ENCODINGS.iter().find(|(name, _, _)| *name == encoding) else {
        let shown: String = encoding.chars().take(40).collect();
        let message = format!("no encoding is called `{shown}`");
        let diagnostic = Diagnostic::error("unknown-encoding", span, message);
        return Err(match nearest(encoding, ENCODINGS.iter().skip(2).map(|row| row.0)) {
            Some(name) => diagnostic.hint(format!("did you mean `{name}`?")),
            None => diagnostic.hint("it is `b64`, `gz` or `gz+b64`"),
        });
    };
    let bad = |message: &str| Diagnostic::error("bad-contents", span, message);
    let bytes = match (base64, gzip) {
        (false, false) => return Ok(text.as_bytes().to_vec()),
        (true, _) => unbase64(text).ok_or_else(|| bad("the contents are not base64"))?,
        (false, true) => compressed(text).ok_or_else(|| {
            bad("the contents are not gzip").hint("YAML cannot hold such bytes: use `gz+b64`")
        })?,
    };
    let left = MAXIMUM_DECODED.saturating_sub(scope.decoded.get());
    let bytes = if *gzip {
        let mut plain = Vec::new();
        MultiGzDecoder::new(bytes.as_slice())
            .take(left as u64 + 1)
            .read_to_end(&mut plain)
            .map_err(|error| bad(&format!("the contents are not gzip: {error}")))?;
        plain
    } else {
        bytes
    };
    if bytes.len() > left {
        // Nothing is left for others either: they would be tried one after the other.
        scope.decoded.set(MAXIMUM_DECODED);
        let message = format!("encoded contents come to more than {MAXIMUM_DECODED} bytes");
        return Err(Diagnostic::error("contents-too-large", span, message)
            .hint("put the contents behind a URL and use `downloads`"));
    }
    scope.decoded.set(scope.decoded.get().saturating_add(bytes.len()));
    Ok(bytes)
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let packed: String =
        text.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    Base64::decode_vec(&packed).or_else(|_| Base64Unpadded::decode_vec(&packed)).ok()
}

/// Compressed bytes that stand in the text themselves: as base64, which YAML's `!!binary` announces, or
/// as escapes, each character one byte.
fn compressed(text: &str) -> Option<Vec<u8>> {
    let bytes: Option<Vec<u8>> =
        text.chars().map(|one| u8::try_from(u32::from(one)).ok()).collect();
    let begins = |bytes: &Vec<u8>| bytes.starts_with(&GZIP_MAGIC);
    bytes.filter(begins).or_else(|| unbase64(text).filter(begins))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use base64ct::{Base64, Encoding as _};
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::{MAXIMUM_DECODED, decode};
    use crate::elemental::Fork;
    use crate::elemental::scope::Scope;
    use crate::source::{SourceId, Span};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn run(text: &str, encoding: &str, scope: &Scope) -> Result<Vec<u8>, &'static str> {
        decode(text, encoding, scope, Span::new(SourceId(0), 0, 1)).map_err(|fault| fault.code)
    }

    #[test]
    fn every_spelling_gives_the_same_bytes() {
        let plain = b"hello \xff\n".to_vec();
        let base64 = Base64::encode_string(&plain);
        let both = Base64::encode_string(&gzip(&plain));
        let escaped: String = gzip(&plain).iter().map(|byte| char::from(*byte)).collect();
        let wrapped = format!("{}\n  {}\n", &both[..9], &both[9..]);
        for (text, encoding) in [
            (&base64, "b64"),
            (&base64, "base64"),
            (&both, "gz+b64"),
            (&both, "gz+base64"),
            (&both, "gzip+b64"),
            (&both, "gzip+base64"),
            (&wrapped, "gz+b64"),
            (&both, "gz"),
            (&escaped, "gzip"),
        ] {
            let scope = Scope::new(Fork::Toolkit);
            assert_eq!(run(text, encoding, &scope), Ok(plain.clone()), "{encoding}");
        }
        let scope = Scope::new(Fork::Toolkit);
        assert_eq!(run("as it is", "", &scope), Ok(b"as it is".to_vec()));
    }

    #[test]
    fn broken_contents_and_bombs_are_refused() {
        let bomb = Base64::encode_string(&gzip(&vec![0; MAXIMUM_DECODED + 1]));
        let cut = Base64::encode_string(&gzip(b"hello")[..12]);
        for (text, encoding, expected) in [
            ("%%%", "b64", "bad-contents"),
            ("aGVsbG8=", "gz+b64", "bad-contents"),
            ("hello", "gz", "bad-contents"),
            ("hello", "rot13", "unknown-encoding"),
            (&cut, "gz+b64", "bad-contents"),
            (&bomb, "gz+b64", "contents-too-large"),
        ] {
            let scope = Scope::new(Fork::Toolkit);
            assert_eq!(run(text, encoding, &scope), Err(expected), "{encoding}");
        }
        // The budget is the document's: several files share it.
        let half = Base64::encode_string(&gzip(&vec![0; MAXIMUM_DECODED / 2 + 1]));
        let scope = Scope::new(Fork::Toolkit);
        assert!(run(&half, "gz+b64", &scope).is_ok());
        assert_eq!(run(&half, "gz+b64", &scope), Err("contents-too-large"));
        assert_eq!(run("aGVsbG8=", "b64", &scope), Err("contents-too-large"));
    }
}
