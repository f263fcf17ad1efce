//! Checkpoints: a log's signed word on what its tree is (transparency-dev/formats log/README.md;
//! golang.org/x/mod/sumdb/note).
//!
//! A text of an origin, a size and a root, an empty line, and lines of signatures. Names and key hints
//! of signatures are not looked at: the key decides which of them is the log's.

use base64ct::{Base64, Encoding as _};

use crate::signature::public_key::PublicKey;

/// Longest checkpoint in bytes; real ones have less than 500, with witnesses some thousand.
const MAXIMUM_LENGTH: usize = 16 << 10;
/// Most signatures that are looked at.
const MAXIMUM_SIGNATURES: usize = 16;
/// Bytes of the hint before each signature.
const HINT: usize = 4;

/// What a log says of its tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Number of entries.
    pub(super) size: u64,
    /// The root's hash.
    pub(super) root: [u8; 32],
}

impl Checkpoint {
    /// Reads a checkpoint that the key signed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn prove(text: &str, key: &PublicKey) -> Result<Self, String> {
        if text.len() > MAXIMUM_LENGTH {
            return Err("it is too long".to_owned());
        }
        // The signed text has the end of its last line, and is the longest that an empty line ends.
        let (body, signatures) = text.rsplit_once("\n\n").ok_or("it has no signatures")?;
        let body = format!("{body}\n");
        let is_by_log = |line: &str| {
            let rest = line.strip_prefix("\u{2014} ")?;
            let (_, signature) = rest.rsplit_once(' ')?;
            let bytes = Base64::decode_vec(signature).ok()?;
            Some(key.verifies(body.as_bytes(), bytes.get(HINT..)?))
        };
        let mut lines = signatures.lines().take(MAXIMUM_SIGNATURES);
        if !lines.any(|line| is_by_log(line).unwrap_or_default()) {
            return Err("the log did not sign it".to_owned());
        }
        let mut lines = body.lines();
        let (Some(_origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err("it has no tree".to_owned());
        };
        let size = size.parse().map_err(|_| "its size is no number")?;
        let root = Base64::decode_vec(root).ok().and_then(|root| root.try_into().ok());
        Ok(Self { size, root: root.ok_or("its root is no SHA-256")? })
    }
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding as _};

    use super::Checkpoint;
    use crate::signature::PrivateKey;
    use crate::signature::test_support::{key, other_key};

    fn signed(body: &str, key: &PrivateKey) -> String {
        let signature = [&b"hint"[..], &key.sign(body.as_bytes()).unwrap()].concat();
        format!("{body}\n\u{2014} log.example {}\n", Base64::encode_string(&signature))
    }

    #[test]
    fn what_the_log_signed_is_read() {
        let root = Base64::encode_string(&[7; 32]);
        let body = format!("log.example - 1\n12\n{root}\nTimestamp: 1\n");
        let good = signed(&body, &key());
        let expected = Checkpoint { size: 12, root: [7; 32] };
        assert_eq!(Checkpoint::prove(&good, key().public()), Ok(expected));
        let witnessed = format!("{}\u{2014} witness AAAA\n", signed(&body, &key()));
        assert!(Checkpoint::prove(&witnessed, key().public()).is_ok());
        for (text, expected) in [
            (good.replace("12\n", "13\n"), "did not sign"),
            (signed(&body, &other_key()), "did not sign"),
            (good.replace("\u{2014} ", "- "), "did not sign"),
            (body.clone(), "no signatures"),
            (signed("log.example\n12\n", &key()), "no tree"),
            (signed(&format!("log.example\nmany\n{root}\n"), &key()), "no number"),
            (signed("log.example\n12\nAAAA\n", &key()), "no SHA-256"),
            ("x".repeat(20_000), "too long"),
            (String::new(), "no signatures"),
        ] {
            let refused = Checkpoint::prove(&text, key().public()).unwrap_err();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }
}
