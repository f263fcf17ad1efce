//! Sizes as people type and read them.
//!
//! Only powers of 1024 exist here (`KiB`, `MiB`, `GiB`, `TiB`, short `K`, `M`, `G`, `T`): disks and
//! slots are cut in them. `kB` and `GB` are refused, because half of all tools read them as 1000
//! and the other half as 1024.

/// Reads `512`, `64M`, `2GiB` as bytes.
///
/// # Errors
/// A sentence that says what is wrong with the text.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return Err(format!("`{unit}` is no unit of size; use K, M, G, T or KiB … TiB")),
    };
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` does not begin with a whole number"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is larger than 16 EiB"))
}

/// Bytes for people: one decimal and the largest unit that leaves at least 1.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*size);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::{format_size, parse_size};

    #[test]
    fn sizes_are_powers_of_1024() {
        let cases = [
            ("512", Ok(512)),
            ("64M", Ok(64 << 20)),
            ("2GiB", Ok(2 << 30)),
            ("1T", Ok(1 << 40)),
            ("2GB", Err("`GB` is no unit")),
            ("GiB", Err("whole number")),
            ("", Err("whole number")),
            ("-1", Err("no unit")),
            ("99999999999999T", Err("larger than")),
        ];
        for (text, expected) in cases {
            match (parse_size(text), expected) {
                (Ok(bytes), Ok(expected)) => assert_eq!(bytes, expected, "{text}"),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                (result, expected) => panic!("{text}: {result:?} is not {expected:?}"),
            }
        }
    }

    #[test]
    fn sizes_read_well() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (u64::MAX, "16777215.9 TiB")];
        for (bytes, expected) in cases {
            assert_eq!(format_size(bytes), expected);
        }
    }
}
