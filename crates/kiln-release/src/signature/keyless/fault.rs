//! What is wrong with a signature by a certificate: each rule that it can break has its own words.
//!
//! No error type of its own, as [`super::super::Reason`] is none: it is carried by it. Texts from
//! certificates and logs are somebody else's and are shortened where they are shown.

use std::fmt;

use crate::signature::printable::printable;

/// The rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The certificate, its chain or its log entry cannot be read.
    Malformed {
        /// Which of them.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// It is of a form that exists and that this Kiln does not verify.
    Unsupported {
        /// The form.
        what: String,
    },
    /// The certificate's key did not make the signature.
    Signature,
    /// It was not entered into a transparency log.
    NoEntry,
    /// The log has not signed when it saw the entry.
    NoTime,
    /// The log is not of the trust root.
    ForeignLog {
        /// Its identifier, hexadecimal.
        log: String,
    },
    /// The log's key was not trusted at that time.
    LogTime {
        /// Seconds since 1970.
        time: i64,
    },
    /// The log's signature of the entry does not hold.
    Promise,
    /// The tree's head is not signed by the log.
    Checkpoint {
        /// What is wrong with it.
        reason: String,
    },
    /// The entry is not in the log's tree.
    Inclusion,
    /// The entry is of something else.
    OtherEntry {
        /// What differs.
        what: &'static str,
    },
    /// No authority of the trust root issued the certificate.
    ForeignAuthority,
    /// The certificate was not valid when the log saw the signature.
    Expired {
        /// Seconds since 1970.
        time: i64,
    },
    /// The certificate breaks a rule of its chain.
    Chain {
        /// Which one.
        reason: String,
    },
    /// The certificate is not for signing code.
    Usage,
    /// The certificate was not entered into a certificate log of the trust root.
    CertificateLog {
        /// What is wrong.
        reason: &'static str,
    },
    /// Somebody signed it whom the policy does not list.
    OtherSigner {
        /// The certificate's subject.
        subject: String,
        /// Who identified the subject.
        issuer: String,
    },
}

impl Fault {
    /// How far the proof came; of several the farthest is told.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Malformed { .. } | Self::Unsupported { .. } | Self::NoEntry => 0,
            Self::ForeignLog { .. } | Self::ForeignAuthority => 1,
            Self::OtherSigner { .. } => 3,
            _ => 2,
        }
    }

    /// What to do next.
    pub(in crate::signature) fn hint(&self) -> &'static str {
        match self {
            Self::OtherSigner { .. } => {
                "sign it as one of the policy's `signers`, or list this one in the next release"
            }
            Self::ForeignLog { .. } | Self::ForeignAuthority | Self::LogTime { .. } => {
                "the trust root is of another or an older Sigstore: bring the current \
                 trusted_root.json with a release"
            }
            Self::NoEntry | Self::NoTime | Self::Unsupported { .. } => {
                "sign it with `cosign sign` and a log that promises inclusion (Rekor 1), or with a \
                 key"
            }
            _ => "sign it again with `cosign sign`",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { what, reason } => {
                write!(formatter, "its {what} is malformed: {}", printable(reason))
            }
            Self::Unsupported { what } => {
                write!(formatter, "it has {}, which is not supported", printable(what))
            }
            Self::Signature => formatter.write_str("the certificate's key did not make it"),
            Self::NoEntry => formatter.write_str("it has no entry of a transparency log"),
            Self::NoTime => formatter.write_str(
                "its log entry has no signed time, so nothing proves that its certificate was \
                 valid",
            ),
            Self::ForeignLog { log } => {
                write!(formatter, "the trust root does not have the log {} of it", printable(log))
            }
            Self::LogTime { time } => {
                write!(formatter, "its log was not trusted at the time of its entry, {time}")
            }
            Self::Promise => formatter.write_str("the log did not sign its entry"),
            Self::Checkpoint { reason } => {
                write!(formatter, "the checkpoint of its log entry is refused: {reason}")
            }
            Self::Inclusion => formatter.write_str("its entry is not in the log's tree"),
            Self::OtherEntry { what } => {
                write!(formatter, "its log entry is of another {what}")
            }
            Self::ForeignAuthority => formatter
                .write_str("its certificate is not by a certificate authority of the trust root"),
            Self::Expired { time } => {
                write!(formatter, "its certificate was not valid when the log saw it, at {time}")
            }
            Self::Chain { reason } => {
                write!(formatter, "its certificate is refused: {}", printable(reason))
            }
            Self::Usage => formatter.write_str("its certificate is not for signing code"),
            Self::CertificateLog { reason } => {
                write!(formatter, "nothing proves that its certificate was logged: {reason}")
            }
            Self::OtherSigner { subject, issuer } => write!(
                formatter,
                "it is signed by {} (identified by {}), whom the policy does not list",
                printable(subject),
                printable(issuer)
            ),
        }
    }
}
