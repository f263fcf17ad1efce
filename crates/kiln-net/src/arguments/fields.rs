//! Fields of a word, separated by colons, where brackets keep the colons of an IPv6 address; and the
//! addresses, masks and networks in them.

use std::net::{IpAddr, Ipv4Addr};

/// The fields of a word, without brackets. A missing field reads as an empty one.
#[derive(Debug)]
pub(super) struct Fields(Vec<String>);

impl Fields {
    /// Splits; `None` for brackets that do not match or stand in the middle of a field.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mut fields, mut field) = (Vec::new(), String::new());
        let (mut is_inside, mut is_closed) = (false, false);
        for letter in text.chars() {
            match letter {
                '[' if !is_inside && field.is_empty() && !is_closed => is_inside = true,
                ']' if is_inside => (is_inside, is_closed) = (false, true),
                '[' | ']' => return None,
                ':' if !is_inside => {
                    fields.push(std::mem::take(&mut field));
                    is_closed = false;
                }
                // Bits of the network may stand behind the bracket.
                letter if is_closed && letter != '/' && !letter.is_ascii_digit() => return None,
                letter => field.push(letter),
            }
        }
        fields.push(field);
        (!is_inside).then_some(Self(fields))
    }

    pub(super) fn get(&self, index: usize) -> &str {
        self.0.get(index).map_or("", String::as_str)
    }

    /// The fields from this one on.
    pub(super) fn from(&self, index: usize) -> &[String] {
        self.0.get(index..).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// An address, also in brackets.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inner.unwrap_or(text).parse().ok()
}

/// Bits of a network: a number, or a mask in dots.
pub(super) fn parse_prefix(text: &str, is_ipv4: bool) -> Option<u8> {
    let most = if is_ipv4 { 32 } else { 128 };
    if !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|bits| *bits <= most);
    }
    is_ipv4.then(|| text.parse().ok().and_then(prefix_of_mask)).flatten()
}

/// Bits of a mask; `None` if its ones do not stand together at the front.
pub(crate) fn prefix_of_mask(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let ones = bits.leading_ones();
    (bits.count_ones() == ones).then(|| u8::try_from(ones).unwrap_or(32))
}

/// `ADDRESS/BITS`.
pub(super) fn parse_network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let address = parse_address(address)?;
    Some((address, parse_prefix(bits, address.is_ipv4())?))
}

/// Bits of the network of an address whose mask nobody gives: by class, as the kernel does
/// (`inet_abc_len`, net/ipv4/devinet.c), and 64 for IPv6.
pub(crate) fn usual_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V6(_) => 64,
        IpAddr::V4(address) => match address.octets() {
            [0..=127, ..] => 8,
            [128..=191, ..] => 16,
            _ => 24,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_numbers_or_dots() {
        for (text, is_ipv4, expected) in [
            ("24", true, Some(24)),
            ("255.255.255.0", true, Some(24)),
            ("0.0.0.0", true, Some(0)),
            ("255.255.255.255", true, Some(32)),
            ("255.0.255.0", true, None),
            ("33", true, None),
            ("", true, None),
            ("+8", true, None),
            ("64", false, Some(64)),
            ("128", false, Some(128)),
            ("129", false, None),
            ("255.255.255.0", false, None),
        ] {
            assert_eq!(parse_prefix(text, is_ipv4), expected, "{text}");
        }
    }

    #[test]
    fn brackets_keep_colons() {
        for (text, expected) in [
            ("a:b", Some(&["a", "b"][..])),
            ("[2001:db8::1]:x", Some(&["2001:db8::1", "x"])),
            ("[2001:db8::]/32:x", Some(&["2001:db8::/32", "x"])),
            ("[2001:db8::/32]", Some(&["2001:db8::/32"])),
            ("::", Some(&["", "", ""])),
            ("[a", None),
            ("a]", None),
            ("a[b]", None),
            ("[a]b", None),
            ("[a][b]", None),
        ] {
            let fields = Fields::parse(text).map(|fields| fields.0);
            assert_eq!(fields.as_deref(), expected.map(|list| list.map_to()).as_deref(), "{text}");
        }
    }

    trait MapTo {
        fn map_to(&self) -> Vec<String>;
    }

    impl MapTo for [&str] {
        fn map_to(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }
}
