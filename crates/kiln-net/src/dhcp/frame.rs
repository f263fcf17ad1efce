//! The headers of IPv4 and UDP around a message of DHCP (RFC 791, RFC 768).
//!
//! The sum of a received UDP packet is not checked: where server and client are on one machine, or
//! one is a guest of the other, it is still unfinished when it arrives here, since hardware is to
//! finish it, and clients that check it find no server there. The sum of Ethernet and that of the IP header stay.

use std::net::Ipv4Addr;

/// Port of a client (RFC 2131, section 4.1).
const CLIENT_PORT: u16 = 68;
/// Port of a server.
const SERVER_PORT: u16 = 67;
/// Bytes of an IPv4 header without options.
const IP_BYTES: usize = 20;
/// Bytes of a UDP header.
const UDP_BYTES: usize = 8;
/// Number of UDP in an IPv4 header.
const UDP: u8 = 17;
/// Hops of a sent packet; 64 is the recommended value (RFC 1700).
const HOPS: u8 = 64;
/// Bits of the fragment field that say "this is a part": more follow, or the place is not 0.
const FRAGMENT: u16 = 0x3fff;

/// The packet that carries `message` from a client; `None` if it is longer than a packet can be.
#[must_use]
pub fn write(from: Ipv4Addr, to: Ipv4Addr, message: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(UDP_BYTES + message.len()).ok()?;
    let length = u16::try_from(IP_BYTES + UDP_BYTES + message.len()).ok()?;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    // No number, no parts.
    packet.extend([0; 4]);
    packet.extend([HOPS, UDP, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = checksum(&packet, 0);
    packet.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
    let mut udp = Vec::with_capacity(UDP_BYTES + message.len());
    udp.extend(CLIENT_PORT.to_be_bytes());
    udp.extend(SERVER_PORT.to_be_bytes());
    udp.extend(udp_length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(message);
    let pseudo = [&from.octets()[..], &to.octets(), &[0, UDP], &udp_length.to_be_bytes()].concat();
    // A sum of 0 would say that there is none (RFC 768).
    let sum = match checksum(&udp, unfinished(&pseudo)) {
        0 => u16::MAX,
        sum => sum,
    };
    udp.get_mut(6..8)?.copy_from_slice(&sum.to_be_bytes());
    packet.extend(udp);
    Some(packet)
}

/// The message to a client in a received packet, and who sent it; `None` for all other packets.
#[must_use]
pub fn read(packet: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    let (&first, _) = packet.split_first()?;
    let header_length = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header_length < IP_BYTES {
        return None;
    }
    let header = packet.get(..header_length)?;
    let short = |bytes: &[u8], place: usize| {
        bytes.get(place..place + 2).and_then(|two| <[u8; 2]>::try_from(two).ok())
    };
    let length = usize::from(u16::from_be_bytes(short(header, 2)?));
    let fragment = u16::from_be_bytes(short(header, 6)?) & FRAGMENT;
    if checksum(header, 0) != 0 || fragment != 0 || header.get(9) != Some(&UDP) {
        return None;
    }
    let from = <[u8; 4]>::try_from(header.get(12..16)?).ok()?;
    // Behind the packet there may be bytes that fill the frame up.
    let udp = packet.get(header_length..length)?;
    let udp_length = usize::from(u16::from_be_bytes(short(udp, 4)?));
    let is_to_client = u16::from_be_bytes(short(udp, 0)?) == SERVER_PORT
        && u16::from_be_bytes(short(udp, 2)?) == CLIENT_PORT;
    let message = udp.get(UDP_BYTES..udp_length)?;
    is_to_client.then_some((from.into(), message))
}

/// The Internet's sum (RFC 1071) of `bytes`, added to an unfinished one.
fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start + unfinished(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// The sum of 16-bit words, not yet folded: at most 32768 words of a packet, which 32 bits hold.
fn unfinished(bytes: &[u8]) -> u32 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let sum = pairs.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum::<u32>();
    sum + rest.first().map_or(0, |byte| u32::from(*byte) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet as a server sends it.
    fn from_server(message: &[u8]) -> Vec<u8> {
        let mut packet =
            write([192, 0, 2, 1].into(), [255, 255, 255, 255].into(), message).unwrap();
        packet[20..24].copy_from_slice(&[0, 67, 0, 68]);
        packet
    }

    /// RFC 1071, section 3, has this example; the header is one of a well-known capture.
    #[test]
    fn sums_are_those_of_the_documents() {
        assert_eq!(!checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0), 0xddf2);
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(checksum(&header, 0), 0);
    }

    #[test]
    fn what_a_client_sends_has_valid_sums() {
        let packet = write([0; 4].into(), [255; 4].into(), b"odd").unwrap();
        assert_eq!(checksum(&packet[..20], 0), 0);
        let pseudo = [0, 0, 0, 0, 255, 255, 255, 255, 0, 17, 0, 11];
        assert_eq!(checksum(&packet[20..], unfinished(&pseudo)), 0);
        assert_eq!(packet[20..26], [0, 68, 0, 67, 0, 11]);
        assert_eq!(write([0; 4].into(), [255; 4].into(), &[0; 65_536]), None);
    }

    #[test]
    fn only_whole_packets_to_the_clients_port_are_read() {
        let good = from_server(b"hello");
        assert_eq!(read(&good), Some(([192, 0, 2, 1].into(), &b"hello"[..])));
        let padded = [&good[..], &[0; 20]].concat();
        assert_eq!(read(&padded), Some(([192, 0, 2, 1].into(), &b"hello"[..])));
        let fixed = |places: &[(usize, u8)]| {
            let mut packet = good.clone();
            for (place, value) in places {
                packet[*place] = *value;
            }
            packet[10..12].fill(0);
            let length = usize::from(packet[0] & 15).max(5) * 4;
            let sum = checksum(&packet[..length.min(packet.len())], 0);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            packet
        };
        assert!(read(&fixed(&[])).is_some());
        for (packet, why) in [
            (good[..30].to_vec(), "cut"),
            (Vec::new(), "empty"),
            (fixed(&[(0, 0x65)]), "version 6"),
            (fixed(&[(0, 0x44)]), "a header too short"),
            (fixed(&[(0, 0x4f)]), "a header longer than the packet"),
            (fixed(&[(9, 6)]), "TCP"),
            (fixed(&[(6, 0x20)]), "the first part"),
            (fixed(&[(7, 1)]), "a later part"),
            (fixed(&[(3, 19)]), "a length below the header's"),
            (fixed(&[(3, 200)]), "a length above the packet's"),
            (fixed(&[(21, 68)]), "another client"),
            (fixed(&[(23, 69)]), "another port"),
            (fixed(&[(25, 7)]), "a UDP length below its header's"),
            (fixed(&[(25, 200)]), "a UDP length above the packet's"),
            ([&good[..10], &[0, 0], &good[12..]].concat(), "a wrong sum"),
        ] {
            assert_eq!(read(&packet), None, "{why}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_packet_or_none(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&bytes);
        }

        #[test]
        fn messages_survive(message in prop::collection::vec(any::<u8>(), 0..600)) {
            let packet = from_server(&message);
            prop_assert_eq!(read(&packet).map(|(_, read)| read), Some(&message[..]));
        }
    }
}
