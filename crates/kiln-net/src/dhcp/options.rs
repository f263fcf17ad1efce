//! Options of DHCP as bytes: split into numbers and values, with what RFC 3396 says about values in
//! pieces and RFC 2132 about fields that are lent to options.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Numbers of options (RFC 2132, and where said another).
pub mod number {
    /// Nothing, one byte.
    pub const PAD: u8 = 0;
    /// Mask of the network.
    pub const MASK: u8 = 1;
    /// Routers.
    pub const ROUTERS: u8 = 3;
    /// Name servers.
    pub const DNS: u8 = 6;
    /// The machine's name.
    pub const HOST_NAME: u8 = 12;
    /// The domain.
    pub const DOMAIN: u8 = 15;
    /// Largest packet of the link.
    pub const MTU: u8 = 26;
    /// The address that is asked for.
    pub const REQUESTED: u8 = 50;
    /// Seconds of the lease.
    pub const LEASE: u8 = 51;
    /// Which fields hold options, too.
    pub const OVERLOAD: u8 = 52;
    /// The kind of the message.
    pub const KIND: u8 = 53;
    /// The server.
    pub const SERVER: u8 = 54;
    /// The numbers that are wanted.
    pub const WANTED: u8 = 55;
    /// Why something is refused, in words.
    pub const MESSAGE: u8 = 56;
    /// Largest message that is understood.
    pub const LARGEST: u8 = 57;
    /// What kind of program asks.
    pub const CLASS: u8 = 60;
    /// Who asks.
    pub const CLIENT: u8 = 61;
    /// Search domains (RFC 3397).
    pub const SEARCH: u8 = 119;
    /// Routes (RFC 3442).
    pub const ROUTES: u8 = 121;
    /// The end.
    pub const END: u8 = 255;
}

/// Addresses taken from one option.
const ADDRESSES_MAXIMUM: usize = 8;
/// Routes taken from one option.
const ROUTES_MAXIMUM: usize = 64;
/// Names taken from one option.
const NAMES_MAXIMUM: usize = 6;
/// Longest name in bytes (RFC 1035, section 2.3.4).
const NAME_MAXIMUM: usize = 253;
/// Pointers followed in one name: as many as a name can have labels.
const POINTERS_MAXIMUM: usize = 127;

/// A route: a network, its bits, and the router; 0.0.0.0 for a network on the wire.
pub type Route = (Ipv4Addr, u8, Ipv4Addr);

/// Values by number; pieces of one number are joined (RFC 3396, section 5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    /// Adds the options of one field. `None` if a length leads out of it.
    ///
    /// A field that ends without its end mark is taken as it is: so do all clients.
    pub fn read(&mut self, mut field: &[u8]) -> Option<()> {
        loop {
            let Some((&code, rest)) = field.split_first() else { return Some(()) };
            match code {
                number::END => return Some(()),
                number::PAD => field = rest,
                code => {
                    let (&length, rest) = rest.split_first()?;
                    let value = rest.get(..usize::from(length))?;
                    self.0.entry(code).or_default().extend_from_slice(value);
                    field = rest.get(usize::from(length)..)?;
                }
            }
        }
    }

    /// The value of an option.
    #[must_use]
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }

    /// A value of one byte.
    #[must_use]
    pub fn byte(&self, code: u8) -> Option<u8> {
        <[u8; 1]>::try_from(self.get(code)?).ok().map(|[byte]| byte)
    }

    /// A value of two bytes.
    #[must_use]
    pub fn short(&self, code: u8) -> Option<u16> {
        <[u8; 2]>::try_from(self.get(code)?).ok().map(u16::from_be_bytes)
    }

    /// A value of four bytes.
    #[must_use]
    pub fn long(&self, code: u8) -> Option<u32> {
        <[u8; 4]>::try_from(self.get(code)?).ok().map(u32::from_be_bytes)
    }

    /// A value that is one address.
    #[must_use]
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.long(code).map(Ipv4Addr::from)
    }

    /// A value that is a list of addresses; bytes that make no whole one are left out.
    #[must_use]
    pub fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        let (whole, _) = self.get(code).unwrap_or_default().as_chunks::<4>();
        whole.iter().take(ADDRESSES_MAXIMUM).map(|bytes| Ipv4Addr::from(*bytes)).collect()
    }

    /// A value that is text; what is no UTF-8 is no text. Closing NULs are cut off, since some
    /// servers send them (RFC 2132, section 2).
    #[must_use]
    pub fn text(&self, code: u8) -> Option<&str> {
        let text = std::str::from_utf8(self.get(code)?).ok()?.trim_end_matches('\0');
        (!text.is_empty()).then_some(text)
    }

    /// Classless routes (RFC 3442): bits, as many bytes of the network as these need, router.
    /// `None` if there are none or they are malformed: a part of a routing table is worse than none.
    #[must_use]
    pub fn routes(&self) -> Option<Vec<Route>> {
        let mut rest = self.get(number::ROUTES)?;
        let mut routes = Vec::new();
        while let Some((&bits, behind)) = rest.split_first() {
            if bits > 32 || routes.len() >= ROUTES_MAXIMUM {
                return None;
            }
            let bytes = usize::from(bits.div_ceil(8));
            let mut network = [0_u8; 4];
            network.get_mut(..bytes)?.copy_from_slice(behind.get(..bytes)?);
            let behind = behind.get(bytes..)?;
            let router = <[u8; 4]>::try_from(behind.get(..4)?).ok()?;
            rest = behind.get(4..)?;
            // Bits of the machine in the network are cleared, as section 3 wants.
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            let network = Ipv4Addr::from(u32::from_be_bytes(network) & mask);
            routes.push((network, bits, Ipv4Addr::from(router)));
        }
        (!routes.is_empty()).then_some(routes)
    }

    /// Search domains (RFC 3397), in the compressed form of RFC 1035, section 4.1.4.
    #[must_use]
    pub fn search(&self) -> Vec<String> {
        let Some(whole) = self.get(number::SEARCH) else { return Vec::new() };
        let (mut names, mut place) = (Vec::new(), 0);
        while place < whole.len() && names.len() < NAMES_MAXIMUM {
            let Some((name, next)) = read_name(whole, place) else { break };
            names.push(name);
            place = next;
        }
        names
    }
}

/// The name at `place`, and where the next begins. Pointers lead backwards only, so that they end.
pub(crate) fn read_name(whole: &[u8], mut place: usize) -> Option<(String, usize)> {
    let (mut name, mut next) = (String::new(), None);
    for _ in 0..POINTERS_MAXIMUM {
        let length = *whole.get(place)?;
        match length {
            0 => return Some((name, next.unwrap_or(place.checked_add(1)?))),
            1..=63 => {
                let label = whole.get(place.checked_add(1)?..)?.get(..usize::from(length))?;
                let label = std::str::from_utf8(label).ok()?;
                if name.len() + label.len() > NAME_MAXIMUM || label.contains('.') {
                    return None;
                }
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(label);
                place = place.checked_add(1)?.checked_add(usize::from(length))?;
            }
            192.. => {
                let low = *whole.get(place.checked_add(1)?)?;
                let target = usize::from(length & 0x3f) << 8 | usize::from(low);
                if target >= place {
                    return None;
                }
                next = next.or(place.checked_add(2));
                place = target;
            }
            64..192 => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(field: &[u8]) -> Option<Options> {
        let mut options = Options::default();
        options.read(field).map(|()| options)
    }

    #[test]
    fn pieces_are_joined_and_lengths_hold() {
        let read = options(&[0, 12, 2, b'a', b'b', 0, 12, 1, b'c', 255, 9, 9]).unwrap();
        assert_eq!(read.text(12), Some("abc"));
        assert_eq!(read.get(9), None);
        for field in [&[12][..], &[12, 1], &[12, 200, 1], &[12, 1, b'a', 3]] {
            assert_eq!(options(field), None, "{field:?}");
        }
        assert_eq!(options(&[26, 3, 1, 2, 3]).unwrap().short(26), None);
        assert_eq!(
            options(&[6, 5, 192, 0, 2, 1, 9]).unwrap().addresses(6),
            [Ipv4Addr::new(192, 0, 2, 1)]
        );
        assert_eq!(options(&[12, 3, 0xff, 0xfe, 0]).unwrap().text(12), None);
        assert_eq!(options(&[12, 3, b'x', 0, 0]).unwrap().text(12), Some("x"));
    }

    #[test]
    fn routes_take_as_many_bytes_as_their_bits_need() {
        let address = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let cases: [(&[u8], Option<Vec<Route>>); 8] = [
            (&[0, 192, 0, 2, 1], Some(vec![(address("0.0.0.0"), 0, address("192.0.2.1"))])),
            (
                &[24, 10, 1, 2, 192, 0, 2, 1, 17, 10, 2, 255, 0, 0, 0, 0],
                Some(vec![
                    (address("10.1.2.0"), 24, address("192.0.2.1")),
                    (address("10.2.128.0"), 17, address("0.0.0.0")),
                ]),
            ),
            (
                &[32, 192, 0, 2, 9, 192, 0, 2, 1],
                Some(vec![(address("192.0.2.9"), 32, address("192.0.2.1"))]),
            ),
            (&[33, 1, 2, 3, 4, 5, 6, 7, 8, 9], None),
            (&[24, 10, 1, 2, 192, 0, 2], None),
            (&[24, 10, 1], None),
            (&[0, 192, 0, 2, 1, 7], None),
            (&[], None),
        ];
        for (value, expected) in cases {
            let mut field = vec![number::ROUTES, u8::try_from(value.len()).unwrap()];
            field.extend(value);
            assert_eq!(options(&field).unwrap().routes(), expected, "{value:?}");
        }
    }

    #[test]
    fn search_domains_are_unpacked_and_loops_end() {
        let search = |value: &[u8]| {
            let mut field = vec![number::SEARCH, u8::try_from(value.len()).unwrap()];
            field.extend(value);
            options(&field).unwrap().search()
        };
        assert_eq!(search(b"\x01a\x03com\x00\x01b\xc0\x02"), ["a.com", "b.com"]);
        for value in
            [&b"\xc0\x00"[..], b"\x01a\xc0\x00", b"\x01a\xc0\x02", b"\x05a", b"\x40a\0", b"\x01a"]
        {
            assert_eq!(search(value), [""; 0], "{value:?}");
        }
    }
}
