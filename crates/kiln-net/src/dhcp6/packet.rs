//! Messages of DHCPv6 (RFC 8415, section 8) and the options that matter here (section 21, and RFC 3646
//! for names): written by a client, read from whoever answers.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::dhcp::options::read_name;
use crate::link::Mac;

/// Numbers of options.
mod number {
    pub(super) const CLIENT: u16 = 1;
    pub(super) const SERVER: u16 = 2;
    pub(super) const ADDRESSES: u16 = 3;
    pub(super) const ADDRESS: u16 = 5;
    pub(super) const WANTED: u16 = 6;
    pub(super) const ELAPSED: u16 = 8;
    pub(super) const STATUS: u16 = 13;
    pub(super) const DNS: u16 = 23;
    pub(super) const SEARCH: u16 = 24;
}

/// Longest name of a server in bytes (section 11.1): 2 of its kind and 128 more.
const SERVER_MAXIMUM: usize = 130;
/// Name servers or domains taken from one answer.
const NAMES_MAXIMUM: usize = 8;
/// A lifetime without end (section 7.7).
const FOR_EVER: u32 = u32::MAX;
/// Kind of a client's name that is made of its hardware address (section 11.4), and Ethernet.
const BY_HARDWARE: [u8; 4] = [0, 3, 0, 1];

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question<'a> {
    /// Who has an address for me?
    Solicit,
    /// I take this one, of that server.
    Request {
        /// The address that was offered.
        address: Ipv6Addr,
        /// The server's name.
        server: &'a [u8],
    },
    /// I need it no more.
    Release {
        /// The address that is given back.
        address: Ipv6Addr,
        /// The server's name.
        server: &'a [u8],
    },
}

/// The message of a client; the exchange's number has 24 bits.
#[must_use]
pub fn write(question: Question<'_>, exchange: u32, mac: Mac, elapsed: Duration) -> Vec<u8> {
    let kind = match question {
        Question::Solicit => 1,
        Question::Request { .. } => 3,
        Question::Release { .. } => 8,
    };
    let [_, number @ ..] = exchange.to_be_bytes();
    let mut message = vec![kind];
    message.extend(number);
    let mut add = |code: u16, value: &[u8]| {
        // Values are far below 64 KiB; a longer one would be left out, not cut.
        if let Ok(length) = u16::try_from(value.len()) {
            message.extend(code.to_be_bytes());
            message.extend(length.to_be_bytes());
            message.extend(value);
        }
    };
    add(number::CLIENT, &[&BY_HARDWARE[..], &mac.0].concat());
    let mut addresses = [&identity(mac)[..], &[0; 8]].concat();
    if let Question::Request { address, server } | Question::Release { address, server } = question
    {
        add(number::SERVER, server);
        addresses.extend(number::ADDRESS.to_be_bytes());
        addresses.extend(24_u16.to_be_bytes());
        addresses.extend(address.octets());
        addresses.extend([0; 8]);
    }
    add(number::ADDRESSES, &addresses);
    if !matches!(question, Question::Release { .. }) {
        add(number::WANTED, &[number::DNS.to_be_bytes(), number::SEARCH.to_be_bytes()].concat());
    }
    // In hundredths of a second (section 21.9).
    let elapsed = u16::try_from(elapsed.as_millis() / 10).unwrap_or(u16::MAX);
    add(number::ELAPSED, &elapsed.to_be_bytes());
    message
}

/// The number of this client's one set of addresses (`IAID`): the end of its hardware address.
fn identity(mac: Mac) -> [u8; 4] {
    let [_, _, rest @ ..] = mac.0;
    rest
}

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This address could be yours.
    Advertise,
    /// It is yours, or the answer to something else.
    Reply,
}

/// The message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub kind: Kind,
    /// Number of the exchange.
    pub exchange: u32,
    /// The server's name.
    pub server: Vec<u8>,
    /// The address, if it gives one.
    pub address: Option<Ipv6Addr>,
    /// For how long; none for ever.
    pub lifetime: Option<Duration>,
    /// Name servers.
    pub dns: Vec<Ipv6Addr>,
    /// Search domains.
    pub search: Vec<String>,
}

/// Reads a message for the client with this hardware address; `None` for all others, and for those
/// that say no (section 21.13).
#[must_use]
pub fn read(message: &[u8], mac: Mac) -> Option<Answer> {
    let (&[kind, a, b, c], rest) = message.split_first_chunk::<4>()?;
    let kind = match kind {
        2 => Kind::Advertise,
        7 => Kind::Reply,
        _ => return None,
    };
    let mut answer = Answer {
        kind,
        exchange: u32::from_be_bytes([0, a, b, c]),
        server: Vec::new(),
        address: None,
        lifetime: None,
        dns: Vec::new(),
        search: Vec::new(),
    };
    let mut is_for_client = false;
    for option in options(rest) {
        let (code, value) = option?;
        match code {
            number::CLIENT => is_for_client = value.strip_prefix(&BY_HARDWARE) == Some(&mac.0),
            number::SERVER => answer.server = value.to_vec(),
            number::STATUS if !is_success(value) => return None,
            number::ADDRESSES if value.starts_with(&identity(mac)) => {
                take_address(value.get(12..)?, &mut answer)?;
            }
            number::DNS => {
                let (servers, _) = value.as_chunks::<16>();
                answer.dns = servers.iter().take(NAMES_MAXIMUM).map(|one| (*one).into()).collect();
            }
            number::SEARCH => answer.search = names(value),
            _ => {}
        }
    }
    let is_named = (1..=SERVER_MAXIMUM).contains(&answer.server.len());
    (is_for_client && is_named).then_some(answer)
}

/// The first address in a set that lives; `None` if the set says no.
fn take_address(set: &[u8], answer: &mut Answer) -> Option<()> {
    for option in options(set) {
        let (code, value) = option?;
        match code {
            number::STATUS if !is_success(value) => return None,
            number::ADDRESS if answer.address.is_none() => {
                let (octets, rest) = value.split_first_chunk::<16>()?;
                let valid = u32::from_be_bytes(<[u8; 4]>::try_from(rest.get(4..8)?).ok()?);
                let address = Ipv6Addr::from(*octets);
                if is_usable(address) && valid > 0 {
                    answer.address = Some(address);
                    answer.lifetime =
                        (valid != FOR_EVER).then(|| Duration::from_secs(valid.into()));
                }
            }
            _ => {}
        }
    }
    Some(())
}

/// Whether a machine can be given this address.
#[must_use]
pub fn is_usable(address: Ipv6Addr) -> bool {
    !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && !address.is_unicast_link_local()
        && address.to_ipv4_mapped().is_none()
}

fn is_success(status: &[u8]) -> bool {
    status.starts_with(&[0, 0])
}

/// Search domains: names one behind the other (RFC 3646, section 4).
fn names(value: &[u8]) -> Vec<String> {
    let (mut names, mut place) = (Vec::new(), 0);
    while names.len() < NAMES_MAXIMUM {
        let Some((name, next)) = read_name(value, place) else { break };
        names.push(name);
        place = next;
    }
    names
}

/// The options in `bytes`; `None` once a length leads out of them.
fn options(mut bytes: &[u8]) -> impl Iterator<Item = Option<(u16, &[u8])>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let (option, rest) = option(bytes).map_or((None, &[][..]), |(one, rest)| (Some(one), rest));
        bytes = rest;
        Some(option)
    })
}

type Rest<'a> = ((u16, &'a [u8]), &'a [u8]);

fn option(bytes: &[u8]) -> Option<Rest<'_>> {
    let (&[a, b, c, d], rest) = bytes.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([c, d])))?;
    Some(((u16::from_be_bytes([a, b]), value), rest))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    pub(crate) const SERVER: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1];

    pub(crate) fn address() -> Ipv6Addr {
        "2001:db8::9".parse().unwrap()
    }

    /// The answer of a server to `question` that gives this address and more options.
    pub(crate) fn answer(question: &[u8], kind: u8, address: Ipv6Addr, more: &[u8]) -> Vec<u8> {
        let mut message = vec![kind];
        // The exchange and the client's name, its first option.
        message.extend(&question[1..18]);
        message.extend([0, 2, 0, 10]);
        message.extend(SERVER);
        message.extend([0, 3, 0, 40, 0, 0x12, 0x34, 0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 24]);
        message.extend(address.octets());
        message.extend([0, 0, 0, 60, 0, 0, 0, 120]);
        message.extend(more);
        message
    }

    #[test]
    fn questions_are_these_bytes() {
        assert_eq!(
            write(Question::Solicit, 0xff01_0203, MAC, Duration::from_millis(1230)),
            *b"\x01\x01\x02\x03\0\x01\0\x0a\0\x03\0\x01\x52\x54\0\x12\x34\x56\
               \0\x03\0\x0c\0\x12\x34\x56\0\0\0\0\0\0\0\0\0\x06\0\x04\0\x17\0\x18\0\x08\0\x02\0\x7b"
        );
        let release = Question::Release { address: address(), server: SERVER };
        let message = write(release, 1, MAC, Duration::ZERO);
        assert_eq!(message[0], 8);
        assert!(message.windows(16).any(|part| part == address().octets()));
        assert!(message.windows(10).any(|part| part == SERVER));
    }

    #[test]
    fn answers_give_an_address_names_or_nothing() {
        let question = write(Question::Solicit, 7, MAC, Duration::ZERO);
        let mut more = vec![0, 23, 0, 16];
        more.extend("2001:db8::53".parse::<Ipv6Addr>().unwrap().octets());
        more.extend(b"\0\x18\0\x07\x01a\x03com\0");
        let good = read(&answer(&question, 2, address(), &more), MAC).unwrap();
        assert_eq!((good.kind, good.exchange, good.address), (Kind::Advertise, 7, Some(address())));
        assert_eq!(good.lifetime, Some(Duration::from_secs(120)));
        assert_eq!((good.dns.len(), &*good.search), (1, &["a.com".to_owned()][..]));
        for (message, why) in [
            (answer(&question, 1, address(), &[]), "a question"),
            (answer(&question, 2, address(), &[0, 13, 0, 2, 0, 2]), "no addresses"),
            (answer(&question, 2, address(), &[0, 23, 0, 200]), "a length out of it"),
            (answer(&question, 2, address(), &[0, 23, 0]), "a cut option"),
            (answer(&question, 2, address(), &[])[..18].to_vec(), "no server"),
        ] {
            assert_eq!(read(&message, MAC), None, "{why}");
        }
        assert_eq!(read(&answer(&question, 2, address(), &[]), Mac([2; 6])), None);
        for impossible in ["::", "::1", "ff02::1", "fe80::1", "::ffff:192.0.2.1"] {
            let message = answer(&question, 2, impossible.parse().unwrap(), &[]);
            assert_eq!(read(&message, MAC).unwrap().address, None, "{impossible}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(
            place in 0_usize..100, bytes in prop::collection::vec(any::<u8>(), 0..60), cut in 0_usize..140
        ) {
            let question = write(Question::Solicit, 7, MAC, Duration::ZERO);
            let mut message = answer(&question, 7, address(), &[0, 24, 0, 3, 1, b'a', 0]);
            for (offset, byte) in bytes.iter().enumerate() {
                if let Some(old) = message.get_mut(place + offset) {
                    *old = *byte;
                }
            }
            message.truncate(cut);
            if let Some(answer) = read(&message, MAC) {
                prop_assert!(answer.address.is_none_or(is_usable));
            }
        }
    }
}
