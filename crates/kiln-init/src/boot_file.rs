//! The kernel command line inside a boot file.
//!
//! Boot files are told apart by the root that they start, not by their names alone, before one of
//! them is marked as bad. `kiln_boot::uki` reads boot files in full; it is not linked here, because
//! it comes with the builder's half, and one section is all that is asked for.
//!
//! Format: Microsoft PE Format, "COFF File Header" and "Section Table"; UAPI specification "Unified
//! Kernel Image" for the section's name.

use crate::cmdline::CommandLine;
use kiln_verity::RootArgument;

/// Byte of the DOS header that holds the offset of the PE signature.
const SIGNATURE_OFFSET: usize = 0x3c;
/// Length in bytes of a section header.
const SECTION_HEADER: usize = 40;
/// Most sections that are looked at; the format allows 96 in an image.
const SECTIONS_MAXIMUM: usize = 96;
/// Longest command line, in bytes; the kernels of all architectures take less.
const LINE_MAXIMUM: usize = 64 << 10;

/// The root that a boot file starts; `None` for a file that no build wrote.
#[must_use]
pub fn root(file: &[u8]) -> Option<RootArgument> {
    let line = std::str::from_utf8(command_line(file)?).ok()?;
    Some(CommandLine::parse(line.trim_end_matches('\0')).ok()?.root)
}

/// The content of the first section `.cmdline`.
fn command_line(file: &[u8]) -> Option<&[u8]> {
    let signature = word(file, SIGNATURE_OFFSET)?;
    if file.get(signature..signature.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let sections = half(file, signature.checked_add(6)?)?.min(SECTIONS_MAXIMUM);
    let optional = half(file, signature.checked_add(20)?)?;
    let table = file.get(signature.checked_add(24)?.checked_add(optional)?..)?;
    let headers = table.chunks_exact(SECTION_HEADER).take(sections);
    let header = headers.into_iter().find(|header| header.starts_with(b".cmdline"))?;
    let length = word(header, 8)?.min(word(header, 16)?).min(LINE_MAXIMUM);
    let start = word(header, 20)?;
    file.get(start..start.checked_add(length)?)
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(usize::from(u16::from_le_bytes(bytes.try_into().ok()?)))
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

/// A boot file of nothing but a command line.
#[cfg(test)]
pub(crate) fn with_command_line(line: &str) -> Vec<u8> {
    let start: u32 = 0x200;
    let mut file = vec![0; start as usize];
    file[..2].copy_from_slice(b"MZ");
    file[SIGNATURE_OFFSET] = 0x40;
    file[0x40..0x44].copy_from_slice(b"PE\0\0");
    file[0x46] = 2;
    file[0x54] = 0x10;
    for (index, name) in [b".osrel\0\0", b".cmdline"].into_iter().enumerate() {
        let at = 0x68 + index * SECTION_HEADER;
        file[at..at + 8].copy_from_slice(name);
        let length = line.len() as u32;
        file[at + 8..at + 12].copy_from_slice(&length.to_le_bytes());
        file[at + 16..at + 20].copy_from_slice(&length.next_multiple_of(512).to_le_bytes());
        file[at + 20..at + 24].copy_from_slice(&start.to_le_bytes());
    }
    file.extend_from_slice(line.as_bytes());
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_root_of_a_boot_file_is_read_and_damage_is_not() {
        let argument = format!("{}:100:{}", "ab".repeat(32), "01".repeat(32));
        let file = with_command_line(&format!("kiln.root={argument} quiet\0"));
        assert_eq!(root(&file), Some(argument.parse().unwrap()));
        assert_eq!(root(&with_command_line("quiet")), None);
        for length in 0..file.len() - 1 {
            assert_eq!(root(&file[..length]), None, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(at in 0_usize..0x240, byte in any::<u8>()) {
            let mut file = with_command_line(&"x".repeat(100));
            file[at] = byte;
            prop_assert_eq!(root(&file), None);
        }
    }
}
