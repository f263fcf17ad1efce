//! Policy, keys and trust roots as they lie on the machine.
//!
//! A trust root is read from the folder of the policy that names it and from nowhere else: one in
//! `/etc` must not stand in for one of the root. Looking it up by name in both was dropped for that.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use kiln_registry::{Options, Reference};
use kiln_release::signature::{
    KeylessTrust, MAXIMUM_KEY, MAXIMUM_TRUST_ROOT, PublicKey, Trust, TrustRoot, Verifier,
};

use super::format::{File, MAXIMUM_LENGTH, Signatures};
use crate::Error;
use crate::machine::Paths;

/// Most keys of one folder.
const MAXIMUM_KEYS: usize = 64;

/// The policy of a machine, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What counts, of root and machine together.
    pub rules: File,
    /// Keys that are trusted, those of the root first, each with the file that it is from.
    pub keys: Vec<(PathBuf, PublicKey)>,
    /// Whose certificates are trusted, those of the root first, each with the file of the trust root.
    pub keyless: Vec<(PathBuf, KeylessTrust)>,
}

/// Reads the policy.
///
/// # Errors
/// [`Error::Policy`] for a policy or key that cannot be used, wherever it lies, unless the root's
/// policy lets nothing be added and it is not the root's.
pub fn read(paths: &Paths) -> Result<Policy, Error> {
    let root_keys = read_keys(&paths.root_policy)?;
    let root = read_file(&paths.root_policy)?;
    let root_keyless = read_keyless(&paths.root_policy, root.as_ref())?;
    let root = root.unwrap_or_else(|| File::of_root_without(!root_keys.is_empty()));
    if !root.allow_additions {
        return Ok(Policy { rules: root, keys: root_keys, keyless: root_keyless });
    }
    let machine_keys = read_keys(&paths.machine_policy)?;
    let machine = read_file(&paths.machine_policy)?;
    let machine_keyless = read_keyless(&paths.machine_policy, machine.as_ref())?;
    let rules = root.join(machine, !machine_keys.is_empty());
    Ok(Policy {
        rules,
        keys: [root_keys, machine_keys].concat(),
        keyless: [root_keyless, machine_keyless].concat(),
    })
}

impl Policy {
    /// What asks registries for this machine; `skip` is the wish not to verify.
    ///
    /// # Errors
    /// [`Error::Refused`] for a wish that the policy does not allow, and for a policy that nothing
    /// could satisfy.
    pub fn verifier(
        &self,
        skip: bool,
        place: Option<Reference>,
        registry: &Options,
    ) -> Result<Verifier, Error> {
        if skip && !self.rules.allow_no_verify {
            return Err(Error::Refused {
                reason: "the policy of this machine does not allow --no-verify".to_owned(),
                hint: "sign the image with a key that the machine trusts; only a release whose \
                       policy.json has `allow_no_verify` permits it"
                    .to_owned(),
            });
        }
        let is_required = self.rules.signatures == Signatures::Required && !skip;
        if is_required && self.keys.is_empty() && self.keyless.is_empty() {
            return Err(Error::Refused {
                reason: "the policy requires signatures and there is no key to verify them with"
                    .to_owned(),
                hint: "a key belongs into /usr/lib/kiln/keys of the image, as NAME.pub; without \
                       keys the policy's `keyless` names a trust root and signers"
                    .to_owned(),
            });
        }
        let place = match &self.rules.repository {
            Some(name) => Some(name.parse().map_err(|error| Error::Policy {
                path: PathBuf::from("policy.json"),
                reason: format!("`repository`: {error}"),
            })?),
            None => place,
        };
        let trust = if skip {
            Trust::default()
        } else {
            let keys = self.keys.iter().map(|(_, key)| key.clone()).collect();
            let keyless = self.keyless.iter().map(|(_, trust)| trust.clone()).collect();
            Trust { keys, keyless, identities: self.rules.identities.clone() }
        };
        Ok(Verifier::new(trust, is_required, place, registry))
    }
}

/// The policy of a folder, if it has one.
fn read_file(folder: &Path) -> Result<Option<File>, Error> {
    let path = folder.join("policy.json");
    let Some(text) = bounded(&path, MAXIMUM_LENGTH)? else { return Ok(None) };
    File::parse(&text).map(Some).map_err(|reason| Error::Policy { path, reason })
}

/// Whose certificates the policy of a folder trusts.
fn read_keyless(folder: &Path, file: Option<&File>) -> Result<Vec<(PathBuf, KeylessTrust)>, Error> {
    let Some(keyless) = file.and_then(|file| file.keyless.as_ref()) else { return Ok(Vec::new()) };
    let path = folder.join(&keyless.trust_root);
    let refused = |reason| Error::Policy { path: path.clone(), reason };
    let text = bounded(&path, MAXIMUM_TRUST_ROOT)?;
    let text = text.ok_or_else(|| refused("the policy names it and it is not there".to_owned()))?;
    let root = TrustRoot::parse(&text).map_err(refused)?;
    let signers = keyless.allowed().map_err(refused)?;
    Ok(vec![(path, KeylessTrust { root, signers })])
}

/// The keys of a folder, by file name.
fn read_keys(folder: &Path) -> Result<Vec<(PathBuf, PublicKey)>, Error> {
    let folder = folder.join("keys");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("read", &folder, error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::file("read", &folder, error))?.path();
        if path.extension().is_some_and(|extension| extension == "pub") {
            paths.push(path);
        }
    }
    if paths.len() > MAXIMUM_KEYS {
        let reason = format!("it has more than {MAXIMUM_KEYS} keys");
        return Err(Error::Policy { path: folder, reason });
    }
    paths.sort();
    let key = |path: PathBuf| {
        let text = bounded(&path, MAXIMUM_KEY)?.unwrap_or_default();
        let name = path.display().to_string();
        Ok((path, PublicKey::from_pem(&name, &text)?))
    };
    paths.into_iter().map(key).collect()
}

/// A file that has at most so many bytes and one more, which whoever parses it refuses; nothing if
/// there is none.
fn bounded(path: &Path, most: u64) -> Result<Option<Vec<u8>>, Error> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("open", path, error)),
    };
    let mut text = Vec::new();
    file.take(most + 1).read_to_end(&mut text).map_err(|error| Error::file("read", path, error))?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use kiln_registry::Options;

    use super::{Policy, read};
    use crate::machine::Paths;
    use crate::policy::Signatures;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE6Isg2pef7EVsMRVr0al5LtI/a2zc\n\
        F/E3fUs4i8wwJz0z1obux9kry+benzO48aIgARIcx7WVuNSAeyuBeekUtQ==\n\
        -----END PUBLIC KEY-----\n";

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> Result<Policy, String> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).unwrap();
            fs::write(path, text).unwrap();
        }
        read(&Paths::below(root.path())).map_err(|error| {
            assert!(error.hint().is_some());
            error.to_string()
        })
    }

    const ROOT_KEY: (&str, &str) = ("usr/lib/kiln/keys/a.pub", KEY);
    const OWN_KEY: (&str, &str) = ("etc/kiln/keys/b.pub", KEY);

    #[test]
    fn keys_mean_that_signatures_are_required() {
        let open = r#"{"format":"kiln.policy.v1","allow_additions":true}"#;
        let lax = r#"{"format":"kiln.policy.v1","signatures":"optional","allow_no_verify":true}"#;
        let root = |text| ("usr/lib/kiln/policy.json", text);
        let own = |text| ("etc/kiln/policy.json", text);
        for (files, signatures, keys) in [
            (&[][..], Signatures::Optional, 0),
            (&[ROOT_KEY], Signatures::Required, 1),
            (&[OWN_KEY], Signatures::Required, 1),
            // What the root does not allow does not count.
            (&[ROOT_KEY, OWN_KEY, own(lax)], Signatures::Required, 1),
            (&[ROOT_KEY, OWN_KEY, own("{")], Signatures::Required, 1),
            (&[ROOT_KEY, OWN_KEY, own(lax), root(open)], Signatures::Required, 2),
            (&[ROOT_KEY, root(lax)], Signatures::Optional, 1),
            (&[OWN_KEY, own(lax)], Signatures::Optional, 1),
            (&[("usr/lib/kiln/keys/readme.txt", "x")], Signatures::Optional, 0),
        ] {
            let policy = machine(files).unwrap();
            assert_eq!(
                (policy.rules.signatures, policy.keys.len()),
                (signatures, keys),
                "{files:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        for (files, expected) in [
            (&[("usr/lib/kiln/policy.json", "{")][..], "usr/lib/kiln/policy.json"),
            (&[("etc/kiln/policy.json", "{}")], "etc/kiln/policy.json"),
            (&[("usr/lib/kiln/keys/a.pub", "none")], "usr/lib/kiln/keys/a.pub"),
            (&[("etc/kiln/keys/a.pub", "")], "etc/kiln/keys/a.pub"),
        ] {
            let refused = machine(files).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    /// A trust root of an authority and a log, whose private keys nobody has.
    const TRUST_ROOT: &str = include_str!("test_trust_root.json");

    #[test]
    fn a_trust_root_lies_beside_the_policy_that_names_it() {
        let text = r#"{"format":"kiln.policy.v1","allow_additions":true,"keyless":{"trust_root":
            "root.json","signers":[{"subject":"me@example.com","issuer":"https://i.example"}]}}"#;
        let root = ("usr/lib/kiln/policy.json", text);
        let own = ("etc/kiln/policy.json", text);
        let (roots, owns) =
            (("usr/lib/kiln/root.json", TRUST_ROOT), ("etc/kiln/root.json", TRUST_ROOT));
        let registry = Options::default();
        for (files, expected) in [
            (&[root, roots][..], Some(1)),
            (&[own, owns], Some(1)),
            (&[root, roots, own, owns], Some(2)),
            // Named and not there, or only in the other folder.
            (&[root], None),
            (&[root, owns], None),
            (&[own, roots], None),
            (&[root, ("usr/lib/kiln/root.json", "{}")], None),
        ] {
            match (machine(files), expected) {
                (Ok(policy), Some(count)) => {
                    assert_eq!(policy.keyless.len(), count, "{files:?}");
                    assert!(policy.verifier(false, None, &registry).unwrap().is_required());
                }
                (Err(refused), None) => assert!(refused.contains("root.json"), "{refused}"),
                (found, expected) => panic!("{files:?}: {found:?} {expected:?}"),
            }
        }
        let closed = text.replace("true", "false");
        let only_root = machine(&[("usr/lib/kiln/policy.json", closed.as_str()), roots, own, owns]);
        assert_eq!(only_root.unwrap().keyless.len(), 1, "nothing is added");
    }

    #[test]
    fn not_to_verify_has_to_be_allowed() {
        let registry = Options::default();
        let required = machine(&[ROOT_KEY]).unwrap();
        assert!(required.verifier(false, None, &registry).unwrap().is_required());
        let refused = required.verifier(true, None, &registry).unwrap_err();
        assert!(refused.to_string().contains("--no-verify"), "{refused}");
        let text = r#"{"format":"kiln.policy.v1","allow_no_verify":true}"#;
        let allowed = machine(&[ROOT_KEY, ("usr/lib/kiln/policy.json", text)]).unwrap();
        assert!(allowed.verifier(false, None, &registry).unwrap().is_required());
        assert!(!allowed.verifier(true, None, &registry).unwrap().is_required());
        let keyless = machine(&[("usr/lib/kiln/policy.json", text)]).unwrap();
        assert!(keyless.verifier(false, None, &registry).is_err(), "nothing could satisfy it");
        let place = text.replace('}', r#","repository":"NO NAME"}"#);
        let broken = machine(&[ROOT_KEY, ("usr/lib/kiln/policy.json", &place)]).unwrap();
        assert!(broken.verifier(false, None, &registry).is_err());
    }
}
