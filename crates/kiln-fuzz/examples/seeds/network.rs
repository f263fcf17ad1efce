//! Seeds of what comes from a network: answers of a DHCP server.

use kiln_net::Mac;
use kiln_net::dhcp::packet::{Envelope, Question, write};

use crate::binary::Seed;

/// Bytes before the options.
const FIXED_BYTES: usize = 240;

pub(crate) fn seeds() -> Vec<Seed> {
    let plain = [
        &b"\x35\x01\x02\x36\x04\xc0\0\x02\x01\x01\x04\xff\xff\xff\0\x03\x04\xc0\0\x02\x01"[..],
        b"\x06\x08\xc0\0\x02\x35\xc0\0\x02\x36\x33\x04\0\0\x0e\x10\x0f\x0bexample.com\x0c\x04edge",
        b"\x1a\x02\x05\x78\xff",
    ];
    let cloud = [
        &b"\x35\x01\x02\x36\x04\xa9\xfe\xa9\xfe\x01\x04\xff\xff\xff\xff"[..],
        b"\x79\x0e\x20\x0a\0\0\x01\0\0\0\0\0\x0a\0\0\x01\x33\x04\xff\xff\xff\xff\xff",
    ];
    let search = [
        &b"\x35\x01\x02\x36\x04\xc0\0\x02\x01\x77\x0a\x01a\x03com\0\x01b\xc0"[..],
        b"\x77\x01\x02\x34\x01\x03\xff",
    ];
    let refusal = [&b"\x35\x01\x06\x36\x04\xc0\0\x02\x01\x38\x07no more\xff"[..]];
    let named = [("offer", plain.concat()), ("cloud", cloud.concat())];
    let others = [("search-in-pieces", search.concat()), ("refusal", refusal.concat())];
    let answers = named.into_iter().chain(others);
    let answers = answers.map(|(name, options)| ("dhcp", name, answer(&options)));
    answers.chain([("dhcp", "version-6", answer6())]).collect()
}

/// A reply of DHCPv6 with an address, a name server and a search domain.
fn answer6() -> Vec<u8> {
    [
        &b"\x07\x01\x02\x03\0\x01\0\x0a\0\x03\0\x01\x52\x54\0\x12\x34\x56"[..],
        b"\0\x02\0\x0a\0\x03\0\x01\x02\0\0\0\0\x01\0\x03\0\x28\0\x12\x34\x56\0\0\0\0\0\0\0\0",
        b"\0\x05\0\x18\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\x3c\0\0\0\x78",
        b"\0\x17\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x53\0\x18\0\x07\x01a\x03com\0",
    ]
    .concat()
}

fn answer(options: &[u8]) -> Vec<u8> {
    let envelope = Envelope {
        exchange: 0x0102_0304,
        mac: Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
        seconds: 1,
        broadcast: false,
        hostname: None,
    };
    let mut message = write(Question::Discover, &envelope);
    message.truncate(FIXED_BYTES);
    // A reply, with the address that it gives.
    message[0] = 2;
    message[16..20].copy_from_slice(&[192, 0, 2, 9]);
    message.extend(options);
    message
}
