//! `policy.json`, in the root and in `/etc/kiln`, and how the two become one.
//!
//! Unknown keys are refused: one that this Kiln does not understand could be the one that forbids.

use kiln_release::signature::AllowedSigner;
use serde::{Deserialize, Serialize};

/// The value of `format`.
pub const FORMAT: &str = "kiln.policy.v1";

/// Longest policy in bytes: some thousand identities.
pub const MAXIMUM_LENGTH: u64 = 256 << 10;

/// Most identities of a policy.
const MAXIMUM_IDENTITIES: usize = 256;

/// Most signers of a policy.
const MAXIMUM_SIGNERS: usize = 256;

/// What happens to an image without a good signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signatures {
    /// It is taken, and shown as unverified.
    Optional,
    /// It is refused.
    #[default]
    Required,
}

/// Somebody whose certificate may sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedSigner {
    /// The certificate's subject, with the stars that [`AllowedSigner::new`] knows.
    pub subject: String,
    /// Who identified the subject.
    pub issuer: String,
}

/// Which signatures by certificates count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyless {
    /// Name of the trust root, a file beside the policy.
    pub trust_root: String,
    /// Who may sign.
    pub signers: Vec<ListedSigner>,
}

impl Keyless {
    /// The signers as they are compared.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn allowed(&self) -> Result<Vec<AllowedSigner>, String> {
        let allowed = |one: &ListedSigner| AllowedSigner::new(&one.subject, &one.issuer);
        self.signers.iter().map(allowed).collect()
    }

    fn check(&self) -> Result<(), String> {
        if !self.trust_root.ends_with(".json") || self.trust_root.contains('/') {
            return Err("`trust_root` is not the name of a .json file beside the policy".to_owned());
        }
        if self.signers.is_empty() || self.signers.len() > MAXIMUM_SIGNERS {
            return Err(format!("`signers` has not between 1 and {MAXIMUM_SIGNERS} members"));
        }
        self.allowed().map(drop)
    }
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Always [`FORMAT`].
    pub format: String,
    /// What happens to an image without a good signature.
    #[serde(default)]
    pub signatures: Signatures,
    /// Repositories in or under which an image must be signed; any if the list is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<String>,
    /// The repository that holds signatures, if not the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Which signatures by certificates count beside those by keys; none if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyless: Option<Keyless>,
    /// Whether `--no-verify` is allowed.
    #[serde(default)]
    pub allow_no_verify: bool,
    /// The only places of configuration that count beside the image (`kiln_provision::sources`, which reads
    /// them); all where it is absent. Only the root's own file decides that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_sources: Option<Vec<String>>,
    /// Whether keys and a policy in `/etc/kiln` count. Only the root's own file decides that.
    #[serde(default)]
    pub allow_additions: bool,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        if text.len() as u64 > MAXIMUM_LENGTH {
            return Err("it is too long".to_owned());
        }
        let file: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if file.format != FORMAT {
            return Err(format!("its format is not {FORMAT}"));
        }
        if file.identities.len() > MAXIMUM_IDENTITIES {
            return Err("it has too many identities".to_owned());
        }
        if file.identities.iter().any(|identity| identity.trim_end_matches('/').is_empty()) {
            return Err("an identity is empty".to_owned());
        }
        file.keyless.as_ref().map_or(Ok(()), Keyless::check)?;
        Ok(file)
    }

    /// What counts for a root without a policy. One that brings keys wants them used; one without
    /// says nothing, so the machine may.
    #[must_use]
    pub fn of_root_without(has_keys: bool) -> Self {
        Self {
            format: FORMAT.to_owned(),
            signatures: if has_keys { Signatures::Required } else { Signatures::Optional },
            identities: Vec::new(),
            repository: None,
            keyless: None,
            allow_no_verify: !has_keys,
            configuration_sources: None,
            allow_additions: !has_keys,
        }
    }

    /// Adds the machine's own file, which can forbid more and never allow more. `brings_keys` says
    /// whether the machine has keys of its own. Whom it trusts is added where keys are, and not here.
    #[must_use]
    pub fn join(mut self, machine: Option<Self>, brings_keys: bool) -> Self {
        if !self.allow_additions {
            return self;
        }
        let machine = machine.unwrap_or_else(|| Self::of_root_without(brings_keys));
        self.signatures = self.signatures.max(machine.signatures);
        self.allow_no_verify &= machine.allow_no_verify;
        if self.identities.is_empty() {
            self.identities = machine.identities;
        }
        self.repository = self.repository.or(machine.repository);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{File, Signatures};

    fn file(text: &str) -> File {
        File::parse(format!("{{\"format\":\"kiln.policy.v1\"{text}}}").as_bytes()).unwrap()
    }

    #[test]
    fn silence_forbids() {
        let file = file("");
        assert_eq!(file.signatures, Signatures::Required);
        assert!(!file.allow_no_verify && !file.allow_additions && file.identities.is_empty());
        assert_eq!(file.configuration_sources, None);
    }

    #[test]
    fn only_the_root_lists_places_of_configuration() {
        let root = file(r#","allow_additions":true,"configuration_sources":["own-disk"]"#);
        let machine = file(r#","configuration_sources":["volume"]"#);
        let joined = root.join(Some(machine), false);
        assert_eq!(joined.configuration_sources, Some(vec!["own-disk".to_owned()]));
    }

    fn keyless(trust_root: &str, subject: &str, issuer: &str) -> String {
        let signer = format!("{{\"subject\":\"{subject}\",\"issuer\":\"{issuer}\"}}");
        format!(
            "{{\"format\":\"kiln.policy.v1\",\"keyless\":{{\"trust_root\":\"{trust_root}\",\
             \"signers\":[{signer}]}}}}"
        )
    }

    #[test]
    fn other_files_are_refused() {
        let good = File::parse(keyless("root.json", "*@example.com", "b").as_bytes()).unwrap();
        assert_eq!(good.keyless.map(|keyless| keyless.signers.len()), Some(1));
        let long = format!("{{\"format\":\"kiln.policy.v1\"}}{}", " ".repeat(300_000));
        for (text, expected) in [
            ("", "EOF"),
            ("{}", "missing field `format`"),
            (r#"{"format":"kiln.policy.v2"}"#, "its format is not"),
            (r#"{"format":"kiln.policy.v1","signature":"optional"}"#, "unknown field"),
            (r#"{"format":"kiln.policy.v1","signatures":"maybe"}"#, "unknown variant"),
            (r#"{"format":"kiln.policy.v1","identities":["/"]}"#, "an identity is empty"),
            (&long, "too long"),
            (&keyless("../root.json", "a", "b"), "`trust_root`"),
            (&keyless("root.pem", "a", "b"), "`trust_root`"),
            (&keyless("root.json", "", "b"), "subject of a signer"),
            (&keyless("root.json", "**", "b"), "only stars"),
            (&keyless("root.json", "a", "b").replace("issuer", "issuers"), "unknown field"),
            (
                r#"{"format":"kiln.policy.v1","keyless":{"trust_root":"a.json","signers":[]}}"#,
                "between 1",
            ),
        ] {
            let refused = File::parse(text.as_bytes()).unwrap_err();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }

    #[test]
    fn a_machine_forbids_more_and_never_allows_more() {
        let open = r#","signatures":"optional","allow_no_verify":true,"allow_additions":true"#;
        let (open, closed) = (file(open), file(""));
        let strict = file(r#","identities":["registry.example"]"#);
        let lax = file(r#","signatures":"optional","allow_no_verify":true"#);
        let additions = file(r#","allow_additions":true"#);
        for (root, machine, keys, signatures, no_verify, identities) in [
            // The root says that nothing is added.
            (&closed, Some(&lax), true, Signatures::Required, false, 0),
            (&closed, Some(&strict), false, Signatures::Required, false, 0),
            // It lets the machine add, which cannot loosen.
            (&additions, Some(&lax), true, Signatures::Required, false, 0),
            (&additions, Some(&strict), true, Signatures::Required, false, 1),
            // Keys of the machine without a policy are to be used.
            (&open, None, true, Signatures::Required, false, 0),
            (&open, None, false, Signatures::Optional, true, 0),
            (&open, Some(&lax), true, Signatures::Optional, true, 0),
            (&open, Some(&strict), true, Signatures::Required, false, 1),
        ] {
            let joined = root.clone().join(machine.cloned(), keys);
            let found = (joined.signatures, joined.allow_no_verify, joined.identities.len());
            assert_eq!(found, (signatures, no_verify, identities), "{root:?} {machine:?} {keys}");
        }
    }

    #[test]
    fn a_root_without_a_policy_means_its_keys() {
        let with = File::of_root_without(true);
        assert_eq!((with.signatures, with.allow_additions), (Signatures::Required, false));
        let without = File::of_root_without(false);
        assert_eq!((without.signatures, without.allow_additions), (Signatures::Optional, true));
    }
}
