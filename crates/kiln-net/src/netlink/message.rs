//! Messages of netlink (linux/netlink.h): a header, fixed fields, and attributes padded to 4 bytes.
//! Numbers are in the machine's order of bytes; those of the network inside attributes are not.

/// Bytes of a message's header.
const HEADER_BYTES: usize = 16;
/// Bytes of an attribute's header.
const ATTRIBUTE_BYTES: usize = 4;
/// Everything begins at a multiple of this.
const ALIGNMENT: usize = 4;
/// The bits of an attribute's kind that are a number; the two above are flags (`NLA_TYPE_MASK`).
const KIND_MASK: u16 = 0x3fff;
/// Set on an attribute that holds attributes (`NLA_F_NESTED`).
const NESTED: u16 = 0x8000;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `NLM_F_ACK`: answer also if all is well.
pub const ACKNOWLEDGE: u16 = 4;
/// `NLM_F_DUMP`: answer with everything there is.
pub const DUMP: u16 = 0x300;
/// `NLM_F_EXCL`: fail if it exists.
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`: make it.
pub const CREATE: u16 = 0x400;

/// `NLMSG_ERROR`: a failure, or with the number 0 an acknowledgement.
pub const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub const DONE: u16 = 3;

/// A message that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A message of this kind with these fixed fields.
    #[must_use]
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | REQUEST).to_ne_bytes());
        // The number of the message is given when it is sent; the sender's is the kernel's to fill.
        bytes.extend([0; 8]);
        bytes.extend(fixed);
        Self { bytes }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        // Values are addresses, numbers and names of links: far below the 64 KiB of the field.
        let length = u16::try_from(ATTRIBUTE_BYTES + value.len()).unwrap_or(u16::MAX);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        self
    }

    /// Adds an attribute if there is a value for it.
    #[must_use]
    pub fn with_some(self, kind: u16, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.with(kind, value),
            None => self,
        }
    }

    /// Adds an attribute that holds the attributes of `inner`, whose own header is not used.
    #[must_use]
    pub fn with_nested(self, kind: u16, inner: &Self) -> Self {
        let value = inner.bytes.get(HEADER_BYTES..).unwrap_or_default().to_vec();
        self.with(kind | NESTED, &value)
    }

    /// The bytes to send, with this number.
    #[must_use]
    pub fn finish(mut self, number: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).to_ne_bytes();
        for (place, value) in [(0, length), (8, number.to_ne_bytes())] {
            if let Some(field) = self.bytes.get_mut(place..place + 4) {
                field.copy_from_slice(&value);
            }
        }
        self.bytes
    }
}

/// A message that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its kind.
    pub kind: u16,
    /// The number of the request that it answers.
    pub number: u32,
    /// Fixed fields and attributes.
    pub body: &'a [u8],
}

/// The messages in a packet; the first malformed one ends them.
pub fn messages(mut packet: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(long(packet, 0)?).ok()?;
        let message = packet.get(..length)?;
        let body = message.get(HEADER_BYTES..)?;
        let (kind, number) = (short(message, 4)?, long(message, 8)?);
        packet = packet.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(Message { kind, number, body })
    })
}

/// The attributes in `bytes`, each with its kind; the first malformed one ends them.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(short(bytes, 0)?);
        let kind = short(bytes, 2)? & KIND_MASK;
        let value = bytes.get(..length)?.get(ATTRIBUTE_BYTES..)?;
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Two bytes in the machine's order.
pub(crate) fn short(bytes: &[u8], place: usize) -> Option<u16> {
    let two = bytes.get(place..place.checked_add(2)?)?;
    <[u8; 2]>::try_from(two).ok().map(u16::from_ne_bytes)
}

/// Four bytes in the machine's order.
pub(crate) fn long(bytes: &[u8], place: usize) -> Option<u32> {
    let four = bytes.get(place..place.checked_add(4)?)?;
    <[u8; 4]>::try_from(four).ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Request::new(0, 0, &[]).with(1, b"vlan\0").with(2, &[7]);
        let one = Request::new(16, ACKNOWLEDGE, &[9; 5]).with(3, b"eth0\0").with_nested(18, &inner);
        let bytes = [one.finish(41), Request::new(18, DUMP, &[]).finish(42)].concat();
        let read: Vec<_> = messages(&bytes).collect();
        assert_eq!(
            read.iter().map(|one| (one.kind, one.number)).collect::<Vec<_>>(),
            [(16, 41), (18, 42)]
        );
        assert_eq!(read[0].body[..5], [9; 5]);
        let list: Vec<_> = attributes(&read[0].body[8..]).collect();
        assert_eq!(list[0], (3, &b"eth0\0"[..]));
        assert_eq!(list[1].0, 18);
        let nested: Vec<_> = attributes(list[1].1).collect();
        assert_eq!(nested, [(1, &b"vlan\0"[..]), (2, &[7][..])]);
        assert_eq!(short(&bytes, 6), Some(ACKNOWLEDGE | 1));
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                prop_assert!(attributes(message.body).count() <= bytes.len());
            }
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
