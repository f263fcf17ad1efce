//! Reader of PE files: headers and sections, borrowed from the bytes. Total: any input gives a
//! value or an error.

use super::format::{
    Architecture, CERTIFICATES, COFF_BYTES, COFF_OPTIONAL_SIZE, COFF_SECTIONS, DIRECTORY_COUNT,
    FILE_ALIGNMENT, FILE_LIMIT, HEADERS_SIZE, IMAGE_SIZE, OPTIONAL_BYTES, PE_OFFSET_AT,
    PE_SIGNATURE, PE32_PLUS, RAW_OFFSET, RAW_SIZE, SECTION_ALIGNMENT, SECTION_BYTES, SECTION_LIMIT,
    SECTION_NAME_BYTES, SUBSYSTEM, VIRTUAL_ADDRESS, VIRTUAL_SIZE, u16_at, u32_at,
};
use crate::Error;

/// A PE file, which a UKI, the stub, a boot loader and a kernel all are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uki<'a> {
    /// Machine it runs on, none if it is not one that Kiln builds for.
    pub architecture: Option<Architecture>,
    /// Subsystem; 10 is an EFI application.
    pub subsystem: u16,
    /// Sections in file order.
    pub sections: Vec<Section<'a>>,
    /// Whether a certificate table is attached (Secure Boot signature).
    pub signed: bool,
    pub(crate) layout: Layout,
}

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// Name, up to eight bytes, with its leading dot.
    pub name: String,
    /// Address in memory, relative to the image.
    pub virtual_address: u32,
    /// Size in memory in bytes.
    pub virtual_size: u32,
    /// Offset in the file in bytes.
    pub file_offset: u32,
    /// Bytes of the file, without the padding behind them.
    pub data: &'a [u8],
}

/// Numbers of the headers that a writer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Offset of the COFF header.
    pub(crate) coff: usize,
    /// Offset of the optional header.
    pub(crate) optional: usize,
    /// Offset of the section table.
    pub(crate) table: usize,
    pub(crate) section_alignment: u32,
    pub(crate) file_alignment: u32,
    pub(crate) image_size: u32,
    pub(crate) headers_size: u32,
    /// Whether the optional header has a slot for the certificate table.
    pub(crate) certificate_slot: bool,
}

impl<'a> Uki<'a> {
    /// The bytes of the first section of this name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        self.sections.iter().find(|section| section.name == name).map(|section| section.data)
    }
}

/// Reads a PE32+ file.
///
/// # Errors
/// [`Error::Pe`] names the first thing that is out of place.
pub fn parse(file: &[u8]) -> Result<Uki<'_>, Error> {
    let broken = |reason| Error::Pe { reason };
    let cut = || broken("it ends inside its headers");
    if file.len() > FILE_LIMIT {
        return Err(Error::FormatLimit { what: "the PE file" });
    }
    if !file.starts_with(b"MZ") {
        return Err(broken("it does not start with `MZ`"));
    }
    let pe = usize::try_from(u32_at(file, PE_OFFSET_AT).ok_or_else(cut)?).map_err(|_| cut())?;
    let coff = pe.checked_add(PE_SIGNATURE.len()).ok_or_else(cut)?;
    if file.get(pe..coff) != Some(PE_SIGNATURE) {
        return Err(broken("it has no PE signature"));
    }
    let machine = u16_at(file, coff).ok_or_else(cut)?;
    let count = u16_at(file, coff + COFF_SECTIONS).ok_or_else(cut)?;
    let optional_bytes = usize::from(u16_at(file, coff + COFF_OPTIONAL_SIZE).ok_or_else(cut)?);
    let optional = coff + COFF_BYTES;
    let header = file.get(optional..optional + optional_bytes).ok_or_else(cut)?;
    if u16_at(header, 0) != Some(PE32_PLUS) || header.len() < OPTIONAL_BYTES {
        return Err(broken("it is not of the 64-bit form (PE32+)"));
    }
    if count > SECTION_LIMIT {
        return Err(broken("it has too many sections"));
    }
    let number = |at| u32_at(header, at).ok_or_else(cut);
    let directories = number(DIRECTORY_COUNT)?;
    let certificate_slot = directories > 4 && header.len() >= CERTIFICATES + 8;
    let signed = certificate_slot && number(CERTIFICATES + 4)? != 0;
    let layout = Layout {
        coff,
        optional,
        table: optional + optional_bytes,
        section_alignment: number(SECTION_ALIGNMENT)?,
        file_alignment: number(FILE_ALIGNMENT)?,
        image_size: number(IMAGE_SIZE)?,
        headers_size: number(HEADERS_SIZE)?,
        certificate_slot,
    };
    let mut sections = Vec::new();
    for index in 0..usize::from(count) {
        let start = layout.table + index * SECTION_BYTES;
        let header = file.get(start..start + SECTION_BYTES).ok_or_else(cut)?;
        sections.push(section(file, header)?);
    }
    let subsystem = u16_at(header, SUBSYSTEM).ok_or_else(cut)?;
    Ok(Uki {
        architecture: Architecture::from_machine(machine),
        subsystem,
        sections,
        signed,
        layout,
    })
}

fn section<'a>(file: &'a [u8], header: &[u8]) -> Result<Section<'a>, Error> {
    let outside = || Error::Pe { reason: "a section lies outside of the file" };
    let number = |at| u32_at(header, at).ok_or_else(outside);
    let (virtual_size, file_offset) = (number(VIRTUAL_SIZE)?, number(RAW_OFFSET)?);
    let raw_size = number(RAW_SIZE)?;
    let raw = match raw_size {
        // Uninitialised data has no bytes, wherever its offset points.
        0 => &[][..],
        size => {
            let start = usize::try_from(file_offset).map_err(|_| outside())?;
            let size = usize::try_from(size).map_err(|_| outside())?;
            let end = start.checked_add(size).ok_or_else(outside)?;
            file.get(start..end).ok_or_else(outside)?
        }
    };
    let used = usize::try_from(virtual_size).map_err(|_| outside())?.min(raw.len());
    let name = header.get(..SECTION_NAME_BYTES).ok_or_else(outside)?;
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    Ok(Section {
        name: String::from_utf8_lossy(&name[..end]).into_owned(),
        virtual_address: number(VIRTUAL_ADDRESS)?,
        virtual_size,
        file_offset,
        data: &raw[..used],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::stub_file;

    #[test]
    fn a_stub_is_read() {
        let file = stub_file(0x8664);
        let stub = parse(&file).unwrap();
        assert_eq!(stub.architecture, Some(Architecture::X86_64));
        assert_eq!(stub.subsystem, 10);
        assert!(!stub.signed);
        assert_eq!(stub.section(".sbat"), Some(&b"sbat,1,test"[..]));
        assert_eq!(stub.section(".linux"), None);
    }

    #[test]
    fn every_cut_is_an_error() {
        let file = stub_file(0xaa64);
        let end = parse(&file).unwrap().sections.iter().map(|section| section.file_offset).max();
        for length in 0..usize::try_from(end.unwrap()).unwrap() {
            assert!(parse(&file[..length]).is_err(), "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn damage_never_panics(at in 0_usize..600, bytes: [u8; 4]) {
            let mut file = stub_file(0x8664);
            file[at..at + 4].copy_from_slice(&bytes);
            if let Ok(uki) = parse(&file) {
                proptest::prop_assert!(uki.sections.iter().all(|section| section.data.len() <= file.len()));
            }
        }

        #[test]
        fn rubbish_never_panics(mut file in proptest::collection::vec(proptest::num::u8::ANY, 0..256)) {
            proptest::prop_assert!(parse(&file).is_err());
            file.splice(0..0, *b"MZ");
            proptest::prop_assert!(parse(&file).is_err());
        }
    }
}
