//! GRUB's kernel: an ELF file whose sections are laid out as in memory (`util/grub-mkimagexx.c`).
//!
//! For BIOS it is linked to its address, so nothing is relocated. What needs no bytes, `.bss`,
//! comes last and is not stored; only its end matters.
//!
//! Format source: System V ABI, "Object Files", with the Intel386 supplement.

use super::format::{KERNEL_END, LINK_ADDRESS, u16_at, u32_at};
use crate::Error;

/// ELF, 32 bits, little-endian (`e_ident`).
const IDENTIFICATION: &[u8] = b"\x7fELF\x01\x01\x01";
/// Offset of the machine, and the Intel 386.
const MACHINE: usize = 18;
const INTEL_386: u16 = 3;
/// Offsets of place, entry length and number of section headers.
const SECTIONS_AT: usize = 32;
const SECTION_LENGTH: usize = 46;
const SECTION_COUNT: usize = 48;
/// Offsets in a section header.
const TYPE: usize = 4;
const FLAGS: usize = 8;
const ADDRESS: usize = 12;
const OFFSET: usize = 16;
const SIZE: usize = 20;
/// Bytes of a section header.
const SECTION_HEADER: usize = 40;
/// `SHT_PROGBITS`, `SHT_NOBITS`, `SHF_ALLOC`.
const PROGRAM_BITS: u32 = 1;
const NO_BITS: u32 = 8;
const ALLOCATED: u32 = 2;

/// The kernel as it lies in memory from [`LINK_ADDRESS`] on, without what needs no bytes.
pub(super) fn sections(file: &[u8], path: &str) -> Result<Vec<u8>, Error> {
    lay_out(file).map_err(|reason| Error::Damaged { path: path.to_owned(), reason })
}

fn lay_out(file: &[u8]) -> Result<Vec<u8>, &'static str> {
    let cut = "it ends inside its headers";
    if !file.starts_with(IDENTIFICATION) || u16_at(file, MACHINE) != Some(INTEL_386) {
        return Err("it is no ELF file for the Intel 386");
    }
    let table = u32_at(file, SECTIONS_AT).ok_or(cut)? as usize;
    let length = usize::from(u16_at(file, SECTION_LENGTH).ok_or(cut)?);
    let count = usize::from(u16_at(file, SECTION_COUNT).ok_or(cut)?);
    if length < SECTION_HEADER {
        return Err("its section headers are too short");
    }
    let mut memory: Vec<u8> = Vec::new();
    let mut starts = false;
    for index in 0..count {
        let start = table.checked_add(index * length).ok_or(cut)?;
        let header = start.checked_add(length).and_then(|end| file.get(start..end)).ok_or(cut)?;
        let number = |at| u32_at(header, at).ok_or(cut);
        let kind = number(TYPE)?;
        if number(FLAGS)? & ALLOCATED == 0 || ![PROGRAM_BITS, NO_BITS].contains(&kind) {
            continue;
        }
        let (address, size) = (number(ADDRESS)?, number(SIZE)?);
        let from = address.checked_sub(LINK_ADDRESS).ok_or("a section lies below its address")?;
        let end = address.checked_add(size).filter(|end| *end <= KERNEL_END);
        end.ok_or("it passes the memory that there is for it")?;
        if kind == NO_BITS {
            continue;
        }
        let (from, size) = (from as usize, size as usize);
        let offset = number(OFFSET)? as usize;
        let bytes = offset.checked_add(size).and_then(|end| file.get(offset..end));
        let bytes = bytes.ok_or("a section lies outside of the file")?;
        starts |= from == 0 && size > 0;
        if memory.len() < from + size {
            memory.resize(from + size, 0);
        }
        // Bounded by the line above.
        if let Some(place) = memory.get_mut(from..from + size) {
            place.copy_from_slice(bytes);
        }
    }
    if starts { Ok(memory) } else { Err("nothing lies at its start") }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A kernel of two sections: eight bytes at the start, four behind a gap, and memory without
    /// bytes.
    pub(in crate::core) fn kernel_file() -> Vec<u8> {
        let mut file = vec![0; 52];
        file[..7].copy_from_slice(IDENTIFICATION);
        file[MACHINE] = 3;
        file[SECTION_LENGTH] = 40;
        file[SECTION_COUNT] = 4;
        file.extend(b"text1234data");
        file[SECTIONS_AT..SECTIONS_AT + 4].copy_from_slice(&64_u32.to_le_bytes());
        let sections: [[u32; 5]; 4] = [
            [0, 0, 0, 0, 0],
            [PROGRAM_BITS, 6, LINK_ADDRESS, 52, 8],
            [PROGRAM_BITS, 3, LINK_ADDRESS + 12, 60, 4],
            [NO_BITS, 3, LINK_ADDRESS + 32, 64, 4096],
        ];
        for section in sections {
            let mut header = [0; SECTION_HEADER];
            for (index, number) in section.iter().enumerate() {
                header[TYPE + index * 4..TYPE + index * 4 + 4]
                    .copy_from_slice(&number.to_le_bytes());
            }
            file.extend(header);
        }
        file
    }

    #[test]
    fn sections_lie_at_their_addresses() {
        assert_eq!(lay_out(&kernel_file()).unwrap(), b"text1234\0\0\0\0data");
    }

    #[test]
    fn every_cut_and_bad_number_is_an_error() {
        let file = kernel_file();
        for length in 0..file.len() {
            assert!(lay_out(&file[..length]).is_err(), "{length}");
        }
        // Address below the link address, size beyond the file and beyond memory.
        let header = 64 + 40;
        for (at, number) in [
            (header + ADDRESS, 0),
            (header + ADDRESS, LINK_ADDRESS + 1),
            (header + SIZE, 0),
            (header + SIZE, 4096),
            (header + SIZE, u32::MAX),
            (header + OFFSET, u32::MAX),
            (header + 80 + SIZE, KERNEL_END),
        ] {
            let mut file = file.clone();
            file[at..at + 4].copy_from_slice(&number.to_le_bytes());
            assert!(lay_out(&file).is_err(), "{at} {number}");
        }
    }

    proptest::proptest! {
        #[test]
        fn damage_never_panics(at in 0_usize..220, bytes: [u8; 4]) {
            let mut file = kernel_file();
            file[at..at + 4].copy_from_slice(&bytes);
            if let Ok(memory) = lay_out(&file) {
                proptest::prop_assert!(memory.len() <= KERNEL_END as usize);
            }
        }
    }
}
