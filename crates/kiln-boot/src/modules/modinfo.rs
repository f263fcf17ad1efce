//! What a module file says about itself: the strings in its `.modinfo` section.
//!
//! Only 64-bit little-endian ELF is read, which both architectures that Kiln builds for use
//! (System V ABI, "ELF-64 Object File Format" 1.5: file header §3, section headers §5). The
//! `object` crate was dropped: four fields are needed, and this reader is total by construction.

/// Offset of the section table in the file header, and of its entry count and name index.
const SECTION_TABLE_AT: usize = 0x28;
const SECTION_ENTRY_SIZE_AT: usize = 0x3a;
const SECTION_COUNT_AT: usize = 0x3c;
const SECTION_NAMES_AT: usize = 0x3e;

/// Size of one section header.
const SECTION_HEADER_BYTES: usize = 64;

/// Values of `key` in a module's `.modinfo`, in order; empty if the file is no such ELF file.
#[must_use]
pub fn values<'a>(module: &'a [u8], key: &str) -> Vec<&'a str> {
    let Some(section) = section(module, b".modinfo") else { return Vec::new() };
    section
        .split(|&byte| byte == 0)
        .filter_map(|record| std::str::from_utf8(record).ok()?.split_once('='))
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value)
        .collect()
}

/// The bytes of a section by name.
fn section<'a>(file: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64_at(file, SECTION_TABLE_AT)?).ok()?;
    if usize::from(u16_at(file, SECTION_ENTRY_SIZE_AT)?) != SECTION_HEADER_BYTES {
        return None;
    }
    let header = |index: u16| -> Option<&'a [u8]> {
        let start = table.checked_add(usize::from(index).checked_mul(SECTION_HEADER_BYTES)?)?;
        file.get(start..start.checked_add(SECTION_HEADER_BYTES)?)
    };
    let contents = |header: &[u8]| -> Option<&'a [u8]> {
        let start = usize::try_from(u64_at(header, 0x18)?).ok()?;
        let size = usize::try_from(u64_at(header, 0x20)?).ok()?;
        file.get(start..start.checked_add(size)?)
    };
    let names = contents(header(u16_at(file, SECTION_NAMES_AT)?)?)?;
    (0..u16_at(file, SECTION_COUNT_AT)?).filter_map(header).find_map(|header| {
        let start = usize::try_from(u32_at(header, 0)?).ok()?;
        let name = names.get(start..)?.split(|&byte| byte == 0).next()?;
        if name == wanted { contents(header) } else { None }
    })
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::module_file;

    #[test]
    fn values_are_found_in_order() {
        let file = module_file(&["firmware=a.bin", "license=GPL", "firmware=b/c.bin"]);
        assert_eq!(values(&file, "firmware"), ["a.bin", "b/c.bin"]);
        assert_eq!(values(&file, "license"), ["GPL"]);
        assert_eq!(values(&file, "alias"), [""; 0]);
        assert_eq!(values(b"\x7fELF", "license"), [""; 0]);
    }

    proptest::proptest! {
        #[test]
        fn damage_never_panics(at in 0_usize..400, byte: u8, cut in 0_usize..400) {
            let mut file = module_file(&["firmware=a.bin"]);
            let length = file.len();
            file[at % length] = byte;
            file.truncate(cut.max(1));
            proptest::prop_assert!(values(&file, "firmware").len() <= 1);
        }
    }
}
