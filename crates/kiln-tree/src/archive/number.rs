//! Numbers as tar headers write them: octal text, or base-256 where octal is too narrow, and decimal in extended records.
//!
//! Nothing is guessed: a digit out of place is an error, since two readers that disagree on a size see two different archives.

/// A header field: octal text with blanks around it (empty = 0), or GNU base-256 if the first bit is set.
pub(super) fn field(bytes: &[u8]) -> Option<i64> {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => base256(bytes),
        _ => octal(bytes),
    }
}

fn octal(bytes: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
    let digits = bytes.get(start..)?;
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    digits.get(..end)?.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// Two's complement, big-endian, in all bits but the first (GNU tar manual, "Extensions to the archive format").
fn base256(bytes: &[u8]) -> Option<i64> {
    let (first, rest) = bytes.split_first()?;
    // Bit 6 is the sign; extend it over the marker bit.
    let start =
        if first & 0x40 != 0 { i64::from(first | 0x80) - 256 } else { i64::from(first & 0x7f) };
    rest.iter().try_fold(start, |value, byte| value.checked_mul(256)?.checked_add(i64::from(*byte)))
}

/// A decimal number without sign.
pub(super) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// A time of an extended record: seconds with sign and fraction, as whole seconds downwards and nanoseconds upwards.
pub(super) fn time(bytes: &[u8]) -> Option<(i64, u32)> {
    let (negative, digits) = match bytes.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, bytes),
    };
    let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&digits[..dot], &digits[dot + 1..]),
        None => (digits, &b""[..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let mut nanoseconds = 0u32;
    for place in 0..9 {
        let digit = fraction.get(place).copied().unwrap_or(b'0');
        nanoseconds = nanoseconds * 10 + u32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    if fraction.iter().skip(9).any(|byte| !byte.is_ascii_digit()) {
        return None;
    }
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields() {
        let cases: [(&[u8], Option<i64>); 11] = [
            (b"0000644\0", Some(0o644)),
            (b"   755 \0", Some(0o755)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777777 ", Some(0o77_777_777_777)),
            (b"12x4567\0", None),
            (b"\x80\0\0\0\0\x20\0\0", Some(0x20_0000)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(0x2_0000_0000)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", None),
            (b"7777777777777777777777777", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(field(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    type Time = Option<(i64, u32)>;

    #[test]
    fn times() {
        let cases: [(&[u8], Time); 10] = [
            (b"1700000000.123456789", Some((1_700_000_000, 123_456_789))),
            (b"1700000000.5", Some((1_700_000_000, 500_000_000))),
            (b"12", Some((12, 0))),
            (b"12.", Some((12, 0))),
            (b"-1.5", Some((-2, 500_000_000))),
            (b"-3", Some((-3, 0))),
            (b"1.1234567891", Some((1, 123_456_789))),
            (b"1.12345678x", None),
            (b"", None),
            (b"1.1234567890x", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(time(bytes), expected, "{}", bytes.escape_ascii());
        }
    }
}
