//! A TCP port of the host that leads to a port of the guest.
//!
//! Always bound to the loopback address: a fresh system with a demo password must not be reachable
//! from the network by a default. Other addresses are left out until somebody needs them.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// `HOST:GUEST`, both TCP ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The port on the host's loopback address.
    pub host: u16,
    /// The port in the guest.
    pub guest: u16,
}

impl FromStr for Forward {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || Error::Forward { text: text.to_owned() };
        let (host, guest) = text.split_once(':').ok_or_else(refuse)?;
        let port = |digits: &str| match digits.parse::<u16>() {
            // `parse` also takes a sign, which nobody means here.
            Ok(port) if port != 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
            _ => Err(refuse()),
        };
        Ok(Self { host: port(host)?, guest: port(guest)? })
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_ports_and_a_colon() {
        assert_eq!("2222:22".parse::<Forward>().unwrap(), Forward { host: 2222, guest: 22 });
        for wrong in ["", "22", ":", "2222:", ":22", "0:22", "1:65536", "+1:22", "1:2:3", "a:b"] {
            let error = wrong.parse::<Forward>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{wrong}`")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_prints_what_it_read(text in ".{0,12}") {
            if let Ok(forward) = text.parse::<Forward>() {
                prop_assert_eq!(forward.to_string().parse::<Forward>().unwrap(), forward);
            }
        }
    }
}
