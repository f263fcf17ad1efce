//! Everything that can keep a machine off its network.
//!
//! One enum for the whole crate. Failures of single links are no variants of their own: with several
//! links one is enough, so what happened on each travels as text inside [`Error::NoAddress`], which
//! is what somebody in front of a console wants to read side by side.

use std::io;
use std::time::Duration;

/// A network that does not come up, or does not go away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A word of the kernel command line is malformed.
    #[error("`{argument}` on the kernel command line is not understood: {reason}")]
    Argument {
        /// The whole word.
        argument: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A word of the kernel command line asks for what Kiln cannot do.
    #[error("`{argument}` on the kernel command line is not supported: {reason}")]
    Unsupported {
        /// The whole word.
        argument: String,
        /// What it asks for.
        reason: &'static str,
    },
    /// The kernel command line forbids the network (`ip=off`).
    #[error("the network is wanted, but `{argument}` on the kernel command line forbids it")]
    SwitchedOff {
        /// The word that forbids it.
        argument: String,
    },
    /// The wanted link did not appear.
    #[error("no network link {wanted} appeared within {} s; there are {found}", waited.as_secs())]
    NoLink {
        /// What was looked for.
        wanted: String,
        /// The links that are there.
        found: String,
        /// How long was waited.
        waited: Duration,
    },
    /// Links are there, and none has a wire with something at its other end.
    #[error("no carrier on {links} within {} s", waited.as_secs())]
    NoCarrier {
        /// The links that were tried.
        links: String,
        /// How long was waited.
        waited: Duration,
    },
    /// No link got an address.
    #[error("no network after {} s: {tried}", waited.as_secs())]
    NoAddress {
        /// Each link with what happened on it.
        tried: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The kernel refused a change of links, addresses or routes.
    #[error("cannot {action}")]
    Kernel {
        /// What was to be done, with the name of the link.
        action: String,
        /// The refusal.
        source: io::Error,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: String,
        /// The refusal.
        source: io::Error,
    },
    /// A system call failed.
    #[error(transparent)]
    System(#[from] kiln_sys::Error),
}

impl Error {
    /// What to do next, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Argument { .. } => {
                "the forms of ip=, vlan=, rd.route= and their kin are those of dracut.cmdline(7)"
                    .into()
            }
            Self::Unsupported { .. } => {
                "give one plain link or a VLAN for the time before the system starts; the system's \
                 own network is set up later by its own files"
                    .into()
            }
            Self::SwitchedOff { .. } => {
                "remove it, or keep configuration on the machine instead of fetching it".into()
            }
            Self::NoLink { .. } => "check the name, and that the image brings the driver".into(),
            Self::NoCarrier { .. } => {
                "check the cable and the switch port; rd.net.timeout.carrier=SECONDS waits longer"
                    .into()
            }
            Self::NoAddress { .. } => "check the DHCP server, or give a fixed address: \
                 ip=192.0.2.10::192.0.2.1:255.255.255.0::eth0:none:192.0.2.53"
                .into(),
            Self::Kernel { source, .. } => return hint_of(source),
            Self::File { .. } => return None,
            Self::System(error) => return error.hint(),
        })
    }
}

/// What the kernel's refusal usually means.
fn hint_of(source: &io::Error) -> Option<String> {
    use rustix::io::Errno;
    let hint = match Errno::from_io_error(source)? {
        Errno::OPNOTSUPP | Errno::AFNOSUPPORT => {
            "the kernel lacks what this needs: add its module (af_packet, 8021q) to the image"
        }
        Errno::PERM | Errno::ACCESS => "run this as root",
        Errno::EXIST => "something else has set this up already",
        _ => return None,
    };
    Some(hint.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn errors_name_what_failed_and_what_to_do() {
        let refused =
            Error::Kernel { action: "add VLAN `eth0.5`".into(), source: Errno::OPNOTSUPP.into() };
        let missing = Error::NoLink {
            wanted: "`eth7`".into(),
            found: "`eth0`".into(),
            waited: Duration::from_secs(10),
        };
        assert_eq!(refused.to_string(), "cannot add VLAN `eth0.5`");
        assert!(refused.hint().is_some_and(|hint| hint.contains("8021q")));
        assert_eq!(
            missing.to_string(),
            "no network link `eth7` appeared within 10 s; there are `eth0`"
        );
    }
}
