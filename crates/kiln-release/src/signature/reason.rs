//! Why a signature does not count: each case is one sentence and one next step.
//!
//! Not an error type of its own: it is carried by [`crate::Error::Signature`], so that callers match
//! on it without the crate having two error enums.

use std::fmt;

use kiln_registry::Digest;

use super::keyless::Fault;
use super::printable::printable;

/// What is wrong, told of something with a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// There is no signature.
    Missing {
        /// Where it was looked for.
        place: String,
    },
    /// There are signatures, and none is by a trusted key.
    Foreign {
        /// How many.
        signatures: usize,
    },
    /// A trusted key signed something else.
    OtherDigest {
        /// What it signed.
        signed: String,
    },
    /// A trusted key signed it under a name that the policy does not list.
    OtherIdentity {
        /// That name; none if the signature says none.
        signed_as: Option<String>,
    },
    /// The only signatures are by certificates, and there is nothing to verify those with.
    Keyless,
    /// The signature is by a certificate, and breaks a rule.
    Certificate(Fault),
    /// What stands there as a signature is none.
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// The container image is signed, the release beside it is not.
    ReleaseUnsigned {
        /// The image.
        image: Digest,
        /// What is wrong with the release's own signature.
        reason: Box<Reason>,
    },
    /// The release is signed, the image that it belongs to is not.
    ImageUnsigned {
        /// The release.
        release: Digest,
        /// What is wrong with the image's own signature.
        reason: Box<Reason>,
    },
    /// It is not in a registry, and only registries hold signatures.
    Local,
}

impl Reason {
    /// How telling it is; of several signatures the most telling one is reported.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Missing { .. } | Self::Local => 0,
            Self::Malformed { .. } => 1,
            Self::Keyless => 2,
            Self::Foreign { .. } => 3,
            Self::Certificate(_) => 4,
            Self::OtherIdentity { .. } => 5,
            Self::OtherDigest { .. } => 6,
            Self::ReleaseUnsigned { .. } | Self::ImageUnsigned { .. } => 7,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "sign it with `kiln sign REF --key FILE`",
            Self::Foreign { .. } => {
                "sign it with a key that the machine trusts, or build an image with that key in \
                 /usr/lib/kiln/keys"
            }
            Self::OtherDigest { .. } => {
                "the signature was moved or the image replaced: sign what the reference names now"
            }
            Self::OtherIdentity { .. } => {
                "sign it in the repository that the policy lists, or add its name to `identities`"
            }
            Self::Keyless => {
                "sign it with a key (`kiln sign REF --key FILE`), or let the policy name a trust \
                 root and `signers`"
            }
            Self::Certificate(fault) => fault.hint(),
            Self::Malformed { .. } => "sign it again",
            Self::ReleaseUnsigned { .. } | Self::ImageUnsigned { .. } => {
                "`kiln sign REF --key FILE` signs the image and its release; `kiln push --sign-key \
                 FILE` does so at once"
            }
            Self::Local => "name it in a registry, where its signature is",
        }
    }
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        Self::Certificate(fault)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { place } => write!(formatter, "{place} has no signature of it"),
            Self::Foreign { signatures: 1 } => {
                formatter.write_str("its signature is not by a trusted key")
            }
            Self::Foreign { signatures } => {
                write!(formatter, "none of its {signatures} signatures is by a trusted key")
            }
            Self::OtherDigest { signed } => {
                write!(formatter, "its signature is of another digest, {}", printable(signed))
            }
            Self::OtherIdentity { signed_as: Some(name) } => {
                write!(formatter, "it is signed as {}, which is not allowed", printable(name))
            }
            Self::OtherIdentity { signed_as: None } => {
                formatter.write_str("its signature names no repository, and the policy lists some")
            }
            Self::Keyless => formatter.write_str(
                "its signature is keyless (by a certificate), and there is no trust root to verify \
                 it with",
            ),
            Self::Certificate(fault) => {
                write!(formatter, "its keyless signature does not count: {fault}")
            }
            Self::Malformed { reason } => write!(formatter, "its signature is malformed: {reason}"),
            Self::ReleaseUnsigned { image, reason } => write!(
                formatter,
                "the signature of the image {image} does not cover the release beside it: {reason}"
            ),
            Self::ImageUnsigned { release, reason } => write!(
                formatter,
                "the signature of the release {release} does not cover its image: {reason}"
            ),
            Self::Local => formatter.write_str("only images in registries have signatures"),
        }
    }
}
