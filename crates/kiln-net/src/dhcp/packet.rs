//! Messages of DHCP (RFC 2131, section 2): written by a client, read from whoever answers.
//!
//! Whoever is on the wire can answer, so reading is total: a message is one of the three kinds that
//! a server sends, for this exchange and this link, or it is none.

use std::net::Ipv4Addr;

use super::options::{Options, number};
use crate::link::Mac;

/// Bytes before the options: the fixed fields and the magic cookie.
const FIXED_BYTES: usize = 240;
/// Marks options of this form (RFC 2132, section 2).
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Smallest message that relays and old servers take (RFC 1542, section 2.1).
const SMALLEST: usize = 300;
/// Largest message that is asked for, in bytes: an Ethernet packet with its headers of IP and UDP.
const LARGEST: u16 = 1500;
/// Set in the field of flags to be answered by broadcast.
const BROADCAST: u16 = 0x8000;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const ETHERNET: u8 = 1;
/// What a server may send, in order of preference of nobody (RFC 2132, section 9.8).
const WANTED: [u8; 8] = [
    // RFC 3442: before the routers.
    number::ROUTES,
    number::MASK,
    number::ROUTERS,
    number::DNS,
    number::HOST_NAME,
    number::DOMAIN,
    number::MTU,
    number::SEARCH,
];

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Who has an address for me?
    Discover,
    /// I take this one, of that server.
    Request {
        /// The address that was offered.
        address: Ipv4Addr,
        /// The server that offered it.
        server: Ipv4Addr,
    },
    /// I need it no more.
    Release {
        /// The address that is given back.
        address: Ipv4Addr,
        /// The server that leased it.
        server: Ipv4Addr,
    },
}

/// The rest of what a message of a client holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Number of the exchange.
    pub exchange: u32,
    /// The link's hardware address.
    pub mac: Mac,
    /// Seconds since the first question.
    pub seconds: u16,
    /// Whether the answer must come by broadcast.
    pub broadcast: bool,
    /// The machine's name, told to the server.
    pub hostname: Option<&'a str>,
}

/// The message of a client.
#[must_use]
pub fn write(question: Question, envelope: &Envelope<'_>) -> Vec<u8> {
    let (kind, own) = match question {
        Question::Discover => (1, Ipv4Addr::UNSPECIFIED),
        Question::Request { .. } => (3, Ipv4Addr::UNSPECIFIED),
        Question::Release { address, .. } => (7, address),
    };
    let mut message = vec![REQUEST, ETHERNET, 6, 0];
    message.extend(envelope.exchange.to_be_bytes());
    message.extend(envelope.seconds.to_be_bytes());
    message.extend(if envelope.broadcast { BROADCAST } else { 0 }.to_be_bytes());
    message.extend(own.octets());
    // The addresses of this machine, of the next server and of a relay are the server's to fill.
    message.extend([0; 12]);
    message.extend(envelope.mac.0);
    // The rest of the hardware address, the server's name and a file's name.
    message.extend([0; 10 + 64 + 128]);
    message.extend(COOKIE);
    let mut add = |code: u8, value: &[u8]| {
        // Every value here is far below 255 bytes; a longer one would be left out, not cut.
        if let Ok(length) = u8::try_from(value.len()) {
            message.extend([code, length]);
            message.extend(value);
        }
    };
    add(number::KIND, &[kind]);
    let [a, b, c, d, e, f] = envelope.mac.0;
    add(number::CLIENT, &[ETHERNET, a, b, c, d, e, f]);
    if let Question::Request { address, .. } = question {
        add(number::REQUESTED, &address.octets());
    }
    if let Question::Request { server, .. } | Question::Release { server, .. } = question {
        add(number::SERVER, &server.octets());
    }
    if !matches!(question, Question::Release { .. }) {
        add(number::WANTED, &WANTED);
        add(number::LARGEST, &LARGEST.to_be_bytes());
        add(number::CLASS, b"kiln");
        if let Some(name) = envelope.hostname {
            add(number::HOST_NAME, name.as_bytes());
        }
    }
    message.push(number::END);
    message.resize(message.len().max(SMALLEST), number::PAD);
    message
}

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This address could be yours.
    Offer,
    /// It is yours.
    Acknowledge,
    /// It is not.
    Refuse,
}

/// The message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub kind: Kind,
    /// Number of the exchange.
    pub exchange: u32,
    /// The link that it is for.
    pub mac: Mac,
    /// The address that it is about.
    pub address: Ipv4Addr,
    /// Everything else.
    pub options: Options,
}

/// Reads a message; `None` for everything that no server sends to a client.
#[must_use]
pub fn read(message: &[u8]) -> Option<Answer> {
    let (fixed, rest) = message.split_at_checked(FIXED_BYTES)?;
    let long = |place: usize| <[u8; 4]>::try_from(fixed.get(place..place + 4)?).ok();
    if !fixed.starts_with(&[REPLY, ETHERNET, 6]) || long(236)? != COOKIE {
        return None;
    }
    let mut options = Options::default();
    options.read(rest)?;
    // The fields of names may hold options, the file's before the server's (RFC 2131, section 4.1).
    let lent = options.byte(number::OVERLOAD).unwrap_or(0);
    if lent & 1 != 0 {
        options.read(fixed.get(108..236)?)?;
    }
    if lent & 2 != 0 {
        options.read(fixed.get(44..108)?)?;
    }
    let kind = match options.byte(number::KIND)? {
        2 => Kind::Offer,
        5 => Kind::Acknowledge,
        6 => Kind::Refuse,
        _ => return None,
    };
    Some(Answer {
        kind,
        exchange: u32::from_be_bytes(long(4)?),
        mac: Mac(<[u8; 6]>::try_from(fixed.get(28..34)?).ok()?),
        address: long(16)?.into(),
        options,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    /// The answer of a server to `question`, with these options.
    pub(crate) fn answer(question: &[u8], kind: u8, address: [u8; 4], options: &[u8]) -> Vec<u8> {
        let mut message = question[..FIXED_BYTES].to_vec();
        message[0] = REPLY;
        message[16..20].copy_from_slice(&address);
        message.extend([number::KIND, 1, kind]);
        message.extend(options);
        message.push(number::END);
        message
    }

    fn discover() -> Vec<u8> {
        let envelope = Envelope {
            exchange: 0x0102_0304,
            mac: MAC,
            seconds: 3,
            broadcast: true,
            hostname: Some("edge"),
        };
        write(Question::Discover, &envelope)
    }

    #[test]
    fn the_first_message_of_a_client_is_these_bytes() {
        let message = discover();
        assert_eq!(message.len(), SMALLEST);
        assert_eq!(message[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 3, 0x80, 0]);
        assert_eq!(message[12..28], [0; 16]);
        assert_eq!(message[28..34], MAC.0);
        assert_eq!(message[34..236], [0; 202]);
        assert!(message[236..].starts_with(
            b"\x63\x82\x53\x63\x35\x01\x01\x3d\x07\x01\x52\x54\x00\x12\x34\x56\
              \x37\x08\x79\x01\x03\x06\x0c\x0f\x1a\x77\x39\x02\x05\xdc\x3c\x04kiln\x0c\x04edge\xff"
        ));
        assert_eq!(message[279..], [0; 21]);
    }

    #[test]
    fn requests_name_server_and_address_and_releases_come_from_it() {
        let envelope =
            Envelope { exchange: 1, mac: MAC, seconds: 0, broadcast: false, hostname: None };
        let (address, server) = ([192, 0, 2, 9].into(), [192, 0, 2, 1].into());
        let request = write(Question::Request { address, server }, &envelope);
        let mut options = Options::default();
        options.read(&request[FIXED_BYTES..]).unwrap();
        assert_eq!(request[10..16], [0; 6]);
        assert_eq!(options.byte(number::KIND), Some(3));
        assert_eq!(options.address(number::REQUESTED), Some(address));
        assert_eq!(options.address(number::SERVER), Some(server));
        let release = write(Question::Release { address, server }, &envelope);
        let mut options = Options::default();
        options.read(&release[FIXED_BYTES..]).unwrap();
        assert_eq!(release[12..16], [192, 0, 2, 9]);
        assert_eq!(options.byte(number::KIND), Some(7));
        assert_eq!(options.get(number::REQUESTED), None);
        assert_eq!(options.get(number::WANTED), None);
    }

    #[test]
    fn only_answers_of_servers_are_read() {
        let good = answer(&discover(), 2, [192, 0, 2, 9], &[54, 4, 192, 0, 2, 1]);
        let read_again = read(&good).unwrap();
        assert_eq!((read_again.kind, read_again.exchange), (Kind::Offer, 0x0102_0304));
        assert_eq!((read_again.mac, read_again.address), (MAC, [192, 0, 2, 9].into()));
        assert_eq!(read_again.options.address(54), Some([192, 0, 2, 1].into()));
        let changed = |place: usize, value: u8| {
            let mut message = good.clone();
            message[place] = value;
            message
        };
        for (bad, why) in [
            (changed(0, 1), "a question"),
            (changed(1, 6), "other hardware"),
            (changed(2, 16), "a longer hardware address"),
            (changed(236, 0), "no cookie"),
            (changed(242, 1), "a question by its kind"),
            (changed(242, 9), "an unknown kind"),
            (changed(241, 200), "a length out of the message"),
            (good[..239].to_vec(), "cut in the fixed fields"),
            (good[..241].to_vec(), "cut in an option"),
            (good[..240].to_vec(), "no kind"),
        ] {
            assert_eq!(read(&bad), None, "{why}");
        }
    }

    #[test]
    fn lent_fields_hold_options() {
        let mut message = answer(&discover(), 5, [192, 0, 2, 9], &[52, 1, 3]);
        message[108..115].copy_from_slice(&[12, 2, b'a', b'b', 255, 12, 1]);
        message[44..49].copy_from_slice(&[12, 1, b'c', 255, 9]);
        assert_eq!(read(&message).unwrap().options.text(12), Some("abc"));
        message[45] = 200;
        assert_eq!(read(&message), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(
            place in 0_usize..300, bytes in prop::collection::vec(any::<u8>(), 0..80), cut in 0_usize..400
        ) {
            let mut message = answer(&discover(), 5, [192, 0, 2, 9], &[0; 60]);
            for (offset, byte) in bytes.iter().enumerate() {
                if let Some(old) = message.get_mut(place + offset) {
                    *old = *byte;
                }
            }
            message.truncate(cut);
            if let Some(answer) = read(&message) {
                let _ = (answer.options.routes(), answer.options.search(), answer.options.text(56));
            }
        }
    }
}
