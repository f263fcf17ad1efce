//! Which places a machine may take configuration from.
//!
//! Three things decide: whether the machine is sealed, whether it is configured already, and a list in the
//! image's own policy. What others can hand to a machine (a stick, a hypervisor, a cloud) counts only until
//! the first success: a stick that is plugged in a year later changes nothing. The list stands in the
//! `policy.json` of the verified root, which no machine can change; one in `/etc` is not read.

use serde::Deserialize;

use super::Place;
use crate::Root;

/// The policy of the root (docs/signing.md).
const FILE: &str = "/usr/lib/kiln/policy.json";
/// Longest policy in bytes; that of `kiln-host`, which reads the rest of it.
const FILE_BYTES: u64 = 256 << 10;

/// What a machine may take configuration from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether the machine starts only what is signed.
    pub sealed: bool,
    /// Whether a first configuration has succeeded.
    pub provisioned: bool,
    /// The only places that count beside the image; all where the image says nothing.
    pub allowed: Option<Vec<Place>>,
}

/// The key of the policy that is of interest here.
#[derive(Deserialize)]
struct File {
    configuration_sources: Option<Vec<Place>>,
}

impl Policy {
    /// The policy with the list of the image. A list that cannot be read allows nothing but the image:
    /// somebody wanted to forbid something.
    #[must_use]
    pub fn read(root: &Root, sealed: bool, provisioned: bool) -> Self {
        let allowed = match root.read(FILE, FILE_BYTES) {
            Ok(None) => None,
            Ok(Some(text)) => match serde_json::from_slice::<File>(&text) {
                Ok(file) => file.configuration_sources,
                Err(_) => Some(Vec::new()),
            },
            Err(_) => Some(Vec::new()),
        };
        Self { sealed, provisioned, allowed }
    }

    /// Why a place is not looked at; nothing where it is.
    #[must_use]
    pub fn refusal(&self, place: Place) -> Option<&'static str> {
        if place == Place::Image {
            return None;
        }
        if self.sealed {
            return Some("the machine is sealed: only its signed image configures it");
        }
        if self.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&place)) {
            return Some("the policy of the image does not allow it");
        }
        if self.provisioned && place.is_handed_over() {
            return Some("it counts only until the first configuration has succeeded");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;
    use crate::Root;
    use crate::sources::Place;

    fn refused(policy: &Policy) -> Vec<Place> {
        Place::ALL.into_iter().filter(|place| policy.refusal(*place).is_some()).collect()
    }

    #[test]
    fn what_a_machine_may_take_depends_on_seal_and_success() {
        let policy = |sealed, provisioned| Policy { sealed, provisioned, allowed: None };
        assert_eq!(refused(&policy(false, false)), []);
        assert_eq!(
            refused(&policy(false, true)),
            [Place::Hypervisor, Place::Smbios, Place::Credentials, Place::Volume, Place::Cloud]
        );
        assert_eq!(refused(&policy(true, false)), &Place::ALL[1..]);
        assert!(Place::ALL.is_sorted());
    }

    #[test]
    fn the_images_policy_forbids_places() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("usr/lib/kiln")).unwrap();
        let read = |text: Option<&str>| {
            if let Some(text) = text {
                std::fs::write(folder.path().join("usr/lib/kiln/policy.json"), text).unwrap();
            }
            Policy::read(&Root::open(folder.path()).unwrap(), false, false).allowed
        };
        assert_eq!(read(None), None);
        assert_eq!(read(Some(r#"{"format":"kiln.policy.v1"}"#)), None);
        let some = r#"{"format":"kiln.policy.v1","configuration_sources":["own-disk","volume"]}"#;
        assert_eq!(read(Some(some)), Some(vec![Place::OwnDisk, Place::Volume]));
        for bad in [r#"{"configuration_sources":["usb"]}"#, "{", r#"{"configuration_sources":7}"#] {
            assert_eq!(read(Some(bad)), Some(vec![]), "{bad}");
        }
        let policy = Policy { allowed: Some(vec![Place::OwnDisk]), ..Policy::default() };
        assert_eq!(refused(&policy).len(), Place::ALL.len() - 2);
    }
}
