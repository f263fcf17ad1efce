//! Addresses and paths of documents, as the kernel command line names them.
//!
//! Which words of the line are such is for `kiln_config::elemental` to say; here is what holds for any
//! of them: what is fetched at all. An address counts only with https or with a hash: who can answer
//! for a plain address could otherwise own the machine.

/// One address or path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The address or path without its hash.
    pub target: String,
    /// `sha256-<hex>` or `sha512-<hex>`, given behind `#`.
    pub hash: Option<String>,
}

impl Setup {
    /// Reads an address or path with an optional hash behind `#`.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        match value.rsplit_once('#') {
            Some((target, hash)) if hash.starts_with("sha256-") || hash.starts_with("sha512-") => {
                Self { target: target.to_owned(), hash: Some(hash.to_owned()) }
            }
            _ => Self { target: value.to_owned(), hash: None },
        }
    }

    /// Whether it is an address and not a path.
    #[must_use]
    pub fn is_address(&self) -> bool {
        self.target.contains("://")
    }

    /// Why it is not fetched; nothing where it is.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        let safe = self.target.starts_with("https://") || self.hash.is_some() || !self.is_address();
        (!safe)
            .then_some("only https addresses, or others with `#sha256-…` behind them, are fetched")
    }
}

#[cfg(test)]
mod tests {
    use super::Setup;

    #[test]
    fn addresses_are_judged() {
        for (value, target, hash, fetched) in [
            ("https://c/d", "https://c/d", false, true),
            ("tftp://e/f#sha256-00", "tftp://e/f", true, true),
            ("http://g/h", "http://g/h", false, false),
            ("http://g/h#top", "http://g/h#top", false, false),
            ("/run/iso#a", "/run/iso#a", false, true),
        ] {
            let setup = Setup::parse(value);
            let found = (setup.target.as_str(), setup.hash.is_some(), setup.refusal().is_none());
            assert_eq!(found, (target, hash, fetched));
        }
    }
}
