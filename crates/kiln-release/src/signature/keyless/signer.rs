//! Whom a policy lets sign: the subject of a certificate and who identified it.
//!
//! Both are asked for, always: a subject without its issuer is a name that any identity provider of
//! the trust root may give away. A pattern is matched from the first to the last character. Regular
//! expressions were dropped: their dot and their missing anchors have let strangers pass elsewhere.

/// Longest subject, pattern or issuer in bytes: URLs are shorter, and matching stays cheap.
pub(super) const MAXIMUM_NAME: usize = 2048;

/// Most stars of a pattern.
const MAXIMUM_STARS: usize = 16;

/// Somebody who may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedSigner {
    subject: String,
    issuer: String,
}

impl AllowedSigner {
    /// One whose certificate has this subject (an e-mail address or a URL), identified by this
    /// issuer.
    ///
    /// In the subject `*` stands for any characters but `/` and `@`, also for none, and `**` for any
    /// characters at all. Every other character is itself, and so is every one of the issuer.
    ///
    /// # Errors
    /// What is wrong with it: empty, too long, only stars.
    pub fn new(subject: &str, issuer: &str) -> Result<Self, String> {
        for (name, text) in [("subject", subject), ("issuer", issuer)] {
            if text.is_empty() || text.len() > MAXIMUM_NAME {
                return Err(format!("the {name} of a signer is empty or too long"));
            }
        }
        if subject.bytes().all(|byte| byte == b'*') {
            return Err("the subject of a signer is only stars, and would be everybody".to_owned());
        }
        if subject.bytes().filter(|byte| *byte == b'*').count() > MAXIMUM_STARS {
            return Err(format!("the subject of a signer has more than {MAXIMUM_STARS} stars"));
        }
        if issuer.contains('*') {
            return Err(
                "the issuer of a signer has a star, and issuers have no patterns".to_owned()
            );
        }
        Ok(Self { subject: subject.to_owned(), issuer: issuer.to_owned() })
    }

    /// Whether it is this subject of this issuer.
    #[must_use]
    pub fn is(&self, subject: &str, issuer: &str) -> bool {
        subject.len() <= MAXIMUM_NAME && self.issuer == issuer && matches(&self.subject, subject)
    }
}

/// Whether a text fits a pattern as [`AllowedSigner::new`] has it. Takes the set of all lengths of
/// the text that the pattern's beginning fits, and extends it piece by piece: no backtracking.
fn matches(pattern: &str, text: &str) -> bool {
    let text = text.as_bytes();
    let mut fits = vec![false; text.len() + 1];
    if let Some(first) = fits.first_mut() {
        *first = true;
    }
    let mut rest = pattern.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let (is_star, crosses, tail) = match (byte, tail.strip_prefix(b"*")) {
            (b'*', Some(tail)) => (true, true, tail),
            (b'*', None) => (true, false, tail),
            _ => (false, false, tail),
        };
        let mut before = false;
        for (length, fit) in fits.iter_mut().enumerate() {
            let last = length.checked_sub(1).and_then(|at| text.get(at)).copied();
            let now = if is_star {
                let may_extend = last.is_some_and(|last| crosses || !matches!(last, b'/' | b'@'));
                *fit || (before && may_extend)
            } else {
                before && last == Some(byte)
            };
            // A star extends what it has extended; a character only what was before it.
            before = if is_star { now } else { *fit };
            *fit = now;
        }
        rest = tail;
    }
    fits.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::AllowedSigner;

    #[test]
    fn patterns_are_whole_and_stay_in_their_part() {
        let flow = "https://git.example/edge/os/.github/workflows/build.yml@refs/heads/main";
        for (pattern, subject, expected) in [
            (flow, flow, true),
            (flow, &flow[..flow.len() - 1], false),
            (flow, &format!("{flow}x"), false),
            ("https://git.example/edge/*", flow, false),
            ("https://git.example/edge/**", flow, true),
            ("https://git.example/edge/*/.github/workflows/*@refs/heads/main", flow, true),
            ("https://git.example/*/.github/workflows/build.yml@refs/heads/main", flow, false),
            ("https://git.example/**@refs/tags/*", flow, false),
            ("**@refs/heads/main", flow, true),
            ("**.yml**", flow, true),
            ("*@example.com", "me@example.com", true),
            ("*@example.com", "@example.com", true),
            ("*@example.com", "me@example.com.org", false),
            ("*@example.com", "me@example.org/@example.com", false),
            ("*@example.com", "me@examplexcom", false),
            ("a*b*c", "abbbc", true),
            ("a*b*c", "abbb", false),
            ("a***c", "a/@c", true),
            ("me@example.com", "ME@example.com", false),
            ("a*", "", false),
            ("ü*", "üx", true),
        ] {
            let signer = AllowedSigner::new(pattern, "https://issuer.example").unwrap();
            assert_eq!(
                signer.is(subject, "https://issuer.example"),
                expected,
                "{pattern} {subject}"
            );
            assert!(!signer.is(subject, "https://issuer.example/"), "issuers are exact");
        }
        let everybody = AllowedSigner::new("a**", "i").unwrap();
        assert!(!everybody.is(&"a".repeat(5000), "i"), "longer than any name");
    }

    #[test]
    fn signers_that_are_nobody_or_everybody_are_refused() {
        let long = "x".repeat(3000);
        for (subject, issuer, expected) in [
            ("", "i", "empty"),
            ("s", "", "empty"),
            (&*long, "i", "too long"),
            ("*", "i", "only stars"),
            ("****", "i", "only stars"),
            ("s", "https://*", "issuers have no patterns"),
            ("a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*", "i", "more than 16"),
        ] {
            let refused = AllowedSigner::new(subject, issuer).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
