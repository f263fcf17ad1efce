//! Reading headers. Total on any bytes.

use super::format::{BLOCK, MAGIC_GNU, MAGIC_POSIX, checksum, field};

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) name: String,
    /// Bytes that follow, without what they are filled up with.
    pub(crate) size: u64,
    pub(crate) kind: u8,
}

/// Reads a header; nothing for the zeros of an archive's end.
pub(crate) fn read_header(bytes: &[u8; BLOCK]) -> Result<Option<Header>, &'static str> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    if ![MAGIC_POSIX, MAGIC_GNU].iter().any(|magic| bytes[field::MAGIC] == *magic) {
        return Err("no tar header where one must be");
    }
    if number(&bytes[field::CHECKSUM]) != Some(u64::from(checksum(bytes))) {
        return Err("a tar header has a wrong checksum");
    }
    let name = &bytes[field::NAME];
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let name = name.get(..length).and_then(|name| std::str::from_utf8(name).ok());
    let (Some(name), Some(size)) = (name, number(&bytes[field::SIZE])) else {
        return Err("a tar header has an impossible name or size");
    };
    Ok(Some(Header { name: name.to_owned(), size, kind: bytes[field::KIND] }))
}

/// A number in either form; none if it is none or is too large.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    if let Some((first, rest)) = bytes.split_first()
        && first & 0x80 != 0
    {
        let high = u64::from(first & 0x7f);
        return rest.iter().try_fold(high, |value, byte| {
            value.checked_mul(256).map(|value| value | u64::from(*byte))
        });
    }
    let is_filler = |byte: &u8| matches!(byte, 0 | b' ');
    let mut digits = bytes.iter().skip_while(|byte| is_filler(byte)).peekable();
    let mut value = 0_u64;
    while let Some(digit) = digits.next_if(|byte| (b'0'..=b'7').contains(*byte)) {
        value = value.checked_mul(8)?.checked_add(u64::from(digit - b'0'))?;
    }
    digits.all(is_filler).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::super::{MAGIC_GNU, REGULAR, put_number, render};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_read_back_and_damage_is_told() {
        for size in [0, 1, 0o77_777_777_777, 1 << 33, u64::MAX] {
            let header = render("disk.raw", size, REGULAR, MAGIC_GNU);
            let expected = Header { name: "disk.raw".into(), size, kind: REGULAR };
            assert_eq!(read_header(&header), Ok(Some(expected)));
            for place in [0, 130, 150, 156, 260] {
                let mut damaged = header;
                damaged[place] ^= 1;
                assert!(read_header(&damaged).is_err(), "{place}");
            }
        }
        assert_eq!(read_header(&[0; 512]), Ok(None));
    }

    proptest! {
        #[test]
        fn numbers_of_any_length_survive(value: u64, width in 8_usize..24) {
            let mut bytes = vec![0; width];
            put_number(&mut bytes, value);
            prop_assert!(width < 9 || number(&bytes) == Some(value));
        }

        #[test]
        fn any_bytes_are_a_number_or_none(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let _ = number(&bytes);
        }
    }
}
