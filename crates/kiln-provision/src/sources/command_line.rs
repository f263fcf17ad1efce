//! Addresses and paths of documents, as the kernel command line names them.
//!
//! Which words of the line are steps of cloud-configs is for `kiln_config::elemental` to say; here is what
//! names documents for the first boot, and what holds for any address: whether it is fetched at all. An address
//! counts only if it proves who answers, or with a hash: who can answer for a plain address could otherwise
//! own the machine.

use kiln_config::ignition::url;

/// Words that name a document for the first boot: Kiln's own, and Ignition's (its docs, "Supported platforms",
/// kernel command line).
const DOCUMENTS: [&str; 2] = ["ignition.config.url", "kiln.config"];
/// The word that says on which platform the machine runs (Ignition).
const PLATFORM: &str = "ignition.platform.id";
/// The word that names who is told of success and failure.
const REPORT: &str = "kiln.report";

/// What a kernel command line says of configuration, beside steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Documents that a first boot must not go on without.
    pub documents: Vec<Setup>,
    /// The platform, which names a cloud.
    pub platform: Option<String>,
    /// Who is told of success and failure.
    pub report: Option<String>,
}

impl Named {
    /// Reads a kernel command line; of words that can only stand once the last one counts.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let mut named = Self::default();
        for (key, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
            let value = value.trim_matches('"');
            if value.is_empty() {
                continue;
            }
            if DOCUMENTS.contains(&key) {
                named.documents.push(Setup::parse(value));
            } else if key == PLATFORM {
                named.platform = Some(value.to_owned());
            } else if key == REPORT {
                named.report = Some(value.to_owned());
            }
        }
        named
    }
}

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
        !self.target.starts_with('/') && url::scheme(&self.target).is_some()
    }

    /// Why it is not fetched; nothing where it is.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        // What is in a registry or a store of a cloud comes by https, too.
        let is_proved = match url::scheme(&self.target).as_deref() {
            Some("http" | "tftp") => self.hash.is_some(),
            _ => true,
        };
        (!is_proved)
            .then_some("only https addresses, or others with `#sha256-…` behind them, are fetched")
    }
}

#[cfg(test)]
mod tests {
    use super::{Named, Setup};

    #[test]
    fn addresses_are_judged() {
        for (value, target, hash, fetched) in [
            ("https://c/d", "https://c/d", false, true),
            ("tftp://e/f#sha256-00", "tftp://e/f", true, true),
            ("tftp://e/f", "tftp://e/f", false, false),
            ("HTTP://g/h", "HTTP://g/h", false, false),
            ("http://g/h#top", "http://g/h#top", false, false),
            ("oci://g/h:1", "oci://g/h:1", false, true),
            ("arn:aws:s3:::b/k", "arn:aws:s3:::b/k", false, true),
            ("/run/iso#a", "/run/iso#a", false, true),
        ] {
            let setup = Setup::parse(value);
            let found = (setup.target.as_str(), setup.hash.is_some(), setup.refusal().is_none());
            assert_eq!(found, (target, hash, fetched));
            assert_eq!(setup.is_address(), !value.starts_with('/'), "{value}");
        }
    }

    #[test]
    fn words_of_the_line_are_read() {
        let named = Named::parse(
            "quiet kiln.config=/x.yaml ignition.config.url=\"https://a/b?c=d\" kiln.report= \
             ignition.platform.id=metal ignition.platform.id=packet kiln.report=https://r",
        );
        let targets: Vec<_> = named.documents.iter().map(|one| one.target.as_str()).collect();
        assert_eq!(targets, ["/x.yaml", "https://a/b?c=d"]);
        assert_eq!(named.platform.as_deref(), Some("packet"));
        assert_eq!(named.report.as_deref(), Some("https://r"));
        assert_eq!(Named::parse("kiln.config quiet"), Named::default());
    }
}
