//! A network link: its name, its hardware address, and the facts that decide whether it is used.

use std::fmt;
use std::str::FromStr;

/// Longest name of a link in bytes: `IFNAMSIZ` (linux/if.h) without the closing NUL.
const NAME_MAXIMUM: usize = 15;

/// A hardware address of Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl FromStr for Mac {
    type Err = ();

    /// Reads six pairs of hexadecimal digits, all separated by `:` or all by `-`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0_u8; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().ok_or(())?;
            if part.len() != 2 || !part.bytes().all(|letter| letter.is_ascii_hexdigit()) {
                return Err(());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        if parts.next().is_some() { Err(()) } else { Ok(Self(bytes)) }
    }
}

/// Whether the kernel takes this as the name of a link (`dev_valid_name`, net/core/dev.c).
#[must_use]
pub fn is_link_name(text: &str) -> bool {
    (1..=NAME_MAXIMUM).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':')
}

/// One link as the kernel describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it, above 0.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Other names, which udevd gives.
    pub other_names: Vec<String>,
    /// Its hardware address, where it is one of Ethernet.
    pub mac: Option<Mac>,
    /// Whether it is an Ethernet link (`ARPHRD_ETHER`), which DHCP here is made for.
    pub is_ethernet: bool,
    /// Whether it leads back to the machine itself.
    pub is_loopback: bool,
    /// Whether it is switched on.
    pub is_up: bool,
    /// Whether the wire has something at its other end, and the driver is ready to send.
    pub has_carrier: bool,
    /// The kind of a link that software makes (`vlan`, `bridge`, `veth`, …); none for hardware.
    pub kind: Option<String>,
    /// Whether another link (a bridge, a bond) owns it.
    pub is_enslaved: bool,
    /// Largest packet in bytes.
    pub mtu: u32,
}

impl Link {
    /// Whether it is a wire of this machine, to be used without being named: hardware, or the end of
    /// a container's wire (`veth`).
    #[must_use]
    pub fn is_wire(&self) -> bool {
        self.is_ethernet
            && !self.is_loopback
            && !self.is_enslaved
            && self.kind.as_deref().is_none_or(|kind| kind == "veth")
    }

    /// Whether it goes by this name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.other_names.iter().any(|other| other == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_strictly() {
        for (text, expected) in [
            ("52:54:00:ab:cd:ef", true),
            ("52-54-00-AB-CD-EF", true),
            ("52:54:00:ab:cd", false),
            ("52:54:00:ab:cd:ef:01", false),
            ("52:54:00-ab:cd:ef", false),
            ("5:54:00:ab:cd:ef", false),
            ("+2:54:00:ab:cd:ef", false),
            ("", false),
        ] {
            let read = text.parse::<Mac>();
            assert_eq!(read.is_ok(), expected, "{text}");
            if let Ok(mac) = read {
                assert_eq!(mac.to_string(), "52:54:00:ab:cd:ef");
            }
        }
    }

    #[test]
    fn names_are_those_that_the_kernel_takes() {
        for (text, expected) in [
            ("eth0", true),
            ("enp1s0f0.100", true),
            ("exactly15bytes_", true),
            ("sixteen_bytes_16", false),
            ("", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("a b", false),
            ("eth0:1", false),
            ("ä", false),
        ] {
            assert_eq!(is_link_name(text), expected, "{text}");
        }
    }

    #[test]
    fn only_wires_are_used_without_a_name() {
        let wire = Link { is_ethernet: true, ..Link::default() };
        assert!(wire.is_wire());
        assert!(Link { kind: Some("veth".into()), ..wire.clone() }.is_wire());
        for other in [
            Link { kind: Some("bridge".into()), ..wire.clone() },
            Link { is_loopback: true, ..wire.clone() },
            Link { is_enslaved: true, ..wire.clone() },
            Link { is_ethernet: false, ..wire },
        ] {
            assert!(!other.is_wire(), "{other:?}");
        }
    }
}
