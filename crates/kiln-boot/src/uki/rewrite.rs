//! Another command line for a boot file that exists, and command lines that come beside one.
//!
//! What stands in front of the command line keeps its place, because the stub's code is not movable;
//! what stands behind it is data and moves. The result is what [`assemble`](super::assemble) would
//! have made of the same parts, to the byte, so taking a change back gives the old file again.
//!
//! Must never touch a signed file: the firmware would refuse what comes out. Writing into the padding
//! of the old section was dropped: it is up to 512 bytes, and full without a warning.

use super::format::{
    ADDON_LIMIT, CHARACTERISTICS, COFF_SECTIONS, DATA_READ_ONLY, EFI_APPLICATION, IMAGE_SIZE,
    INITIALISED_DATA, RAW_SIZE, SECTION_BYTES, u32_at,
};
use super::reader::{Uki, parse};
use super::writer::append;
use crate::Error;

/// The section of the command line.
const COMMAND_LINE: &str = ".cmdline";

/// Sections whose meaning depends on the bytes of the others: signatures of measurements.
const BINDING: [&str; 2] = [".pcrsig", ".pcrpkey"];

/// The same boot file with another command line; every other section keeps its bytes.
///
/// # Errors
/// [`Error::Pe`] for a signed file, one without a command line, or one whose sections behind it are
/// not plain data.
pub fn with_command_line(file: &[u8], command_line: &[u8]) -> Result<Vec<u8>, Error> {
    let parsed = parse(file)?;
    if parsed.section(COMMAND_LINE).is_none() {
        return Err(Error::Pe { reason: "it has no command line" });
    }
    with_sections(file, &[(COMMAND_LINE, command_line)])
}

/// The same boot file with other contents for the named sections, as far as it has them.
pub(super) fn with_sections(file: &[u8], contents: &[(&str, &[u8])]) -> Result<Vec<u8>, Error> {
    let refused = |reason| Error::Pe { reason };
    let parsed = parse(file)?;
    if parsed.signed {
        return Err(refused("it is signed, and a change would break the signature"));
    }
    if parsed.sections.iter().any(|section| BINDING.contains(&section.name.as_str())) {
        return Err(refused(
            "it carries signatures of its measurements, which a change would break",
        ));
    }
    let named = |name: &str| contents.iter().find(|(wanted, _)| *wanted == name);
    let at = parsed.sections.iter().position(|section| named(&section.name).is_some());
    let Some((at, (before, behind))) =
        at.and_then(|at| Some((at, parsed.sections.split_at_checked(at)?)))
    else {
        return Err(refused("it has none of the sections that would change"));
    };
    let Some(first) = behind.first() else {
        return Err(refused("it has none of the sections that would change"));
    };
    let is_behind =
        |offset: u32, address: u32| offset >= first.file_offset && address >= first.virtual_address;
    let is_in_order = before
        .iter()
        .all(|section| !is_behind(section.file_offset, u32::MAX) || section.data.is_empty())
        && before.iter().all(|section| section.virtual_address < first.virtual_address)
        && behind.iter().all(|section| is_behind(section.file_offset, section.virtual_address));
    if !is_in_order {
        return Err(refused("its sections are not in order"));
    }
    let base = base(file, &parsed, at)?;
    let additions: Vec<(&str, &[u8])> = behind
        .iter()
        .map(|section| {
            let name = section.name.as_str();
            (name, named(name).map_or(section.data, |(_, data)| *data))
        })
        .collect();
    append(&base, &parse(&base)?, &additions)
}

/// The file as it was before its sections from `at` on were appended.
fn base(file: &[u8], parsed: &Uki<'_>, at: usize) -> Result<Vec<u8>, Error> {
    let refused = |reason| Error::Pe { reason };
    let cut = || refused("it ends inside its headers");
    let layout = parsed.layout;
    let first = parsed.sections.get(at).ok_or_else(cut)?;
    let end = usize::try_from(first.file_offset).map_err(|_| cut())?;
    let mut base = file.get(..end).ok_or_else(cut)?.to_vec();
    let mut data = u32_at(&base, layout.optional + INITIALISED_DATA).ok_or_else(cut)?;
    for index in at..parsed.sections.len() {
        let start = layout.table + index * SECTION_BYTES;
        let header = base.get_mut(start..start + SECTION_BYTES).ok_or_else(cut)?;
        if u32_at(header, CHARACTERISTICS) != Some(DATA_READ_ONLY) {
            return Err(refused("a section behind its command line is no plain data"));
        }
        let length = u32_at(header, RAW_SIZE).ok_or_else(cut)?;
        data = data.checked_sub(length).ok_or(refused("its sums are wrong"))?;
        header.fill(0);
    }
    let count = u16::try_from(at).map_err(|_| cut())?;
    let mut put = |place: usize, value: &[u8]| {
        base.get_mut(place..place + value.len()).map(|bytes| bytes.copy_from_slice(value))
    };
    put(layout.coff + COFF_SECTIONS, &count.to_le_bytes()).ok_or_else(cut)?;
    put(layout.optional + INITIALISED_DATA, &data.to_le_bytes()).ok_or_else(cut)?;
    put(layout.optional + IMAGE_SIZE, &first.virtual_address.to_le_bytes()).ok_or_else(cut)?;
    Ok(base)
}

/// An addon: a small PE file whose command line systemd's stub puts behind that of the boot file
/// beside which it lies (systemd-stub(7), "ESP/…/foo.efi.extra.d/*.addon.efi"). `stub` is systemd's
/// own stub of addons.
///
/// # Errors
/// [`Error::Pe`] if `stub` is no such stub.
pub fn addon(stub: &[u8], command_line: &[u8]) -> Result<Vec<u8>, Error> {
    let refused = |reason| Err(Error::Pe { reason });
    let parsed = parse(stub)?;
    if parsed.subsystem != EFI_APPLICATION {
        return refused("the stub is no EFI application");
    }
    if parsed.section(COMMAND_LINE).is_some() || parsed.section(".linux").is_some() {
        return refused("the stub already carries a system");
    }
    let file = append(stub, &parsed, &[(COMMAND_LINE, command_line)])?;
    if file.len() > ADDON_LIMIT {
        return Err(Error::FormatLimit { what: "the addon" });
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::{addon, with_command_line};
    use crate::test_support::{kernel_file, stub_file};
    use crate::uki::format::CERTIFICATES;
    use crate::uki::{UkiSections, assemble, parse};

    fn boot_file(command_line: &[u8]) -> Vec<u8> {
        let kernel = kernel_file("6.12.1-test");
        let sections = UkiSections {
            os_release: b"ID=kiln\n",
            command_line,
            kernel_release: b"6.12.1-test",
            initrd: &[7; 5000],
            linux: &kernel,
        };
        assemble(&stub_file(0x8664), &sections).unwrap()
    }

    #[test]
    fn it_is_what_a_build_with_that_command_line_gives() {
        let old = boot_file(b"kiln.mode=system");
        // Shorter, as long, beyond the padding of the file, and beyond the page in memory.
        for length in [1, 16, 600, 2047, 5000] {
            let line = vec![b'x'; length];
            let new = with_command_line(&old, &line).unwrap();
            assert!(new == boot_file(&line), "{length}");
            assert!(with_command_line(&new, b"kiln.mode=system").unwrap() == old, "{length}");
        }
    }

    #[test]
    fn what_must_not_change_is_refused() {
        let good = boot_file(b"kiln.mode=system");
        let optional = parse(&good).unwrap().layout.optional;
        let mut signed = good.clone();
        signed[optional + CERTIFICATES + 4] = 8;
        let bytes = |old: &[u8], new: &[u8]| {
            let mut file = good.clone();
            let at = file.windows(old.len()).position(|window| window == old).unwrap();
            file[at..at + old.len()].copy_from_slice(new);
            file
        };
        let cases: [(Vec<u8>, &str); 4] = [
            (signed, "signed"),
            (bytes(b".cmdline", b".cmdlinX"), "no command line"),
            (bytes(b".uname\0\0", b".pcrsig\0"), "measurements"),
            (stub_file(0x8664), "no command line"),
        ];
        for (file, expected) in cases {
            let error = with_command_line(&file, b"x").unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn an_addon_holds_its_command_line_and_no_system() {
        let file = addon(&stub_file(0x8664), b"console=ttyS1").unwrap();
        let parsed = parse(&file).unwrap();
        assert_eq!(parsed.section(".cmdline"), Some(&b"console=ttyS1"[..]));
        assert_eq!(parsed.section(".sbat"), Some(&b"sbat,1,test"[..]));
        assert_eq!((parsed.section(".linux"), parsed.signed), (None, false));
        let error = addon(&file, b"x").unwrap_err().to_string();
        assert!(error.contains("already"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn damage_never_panics(at in 0_usize..700, bytes: [u8; 4]) {
            let mut file = boot_file(b"kiln.mode=system");
            file[at..at + 4].copy_from_slice(&bytes);
            if let Ok(new) = with_command_line(&file, b"quiet") {
                let parsed = parse(&new).unwrap();
                proptest::prop_assert_eq!(parsed.section(".cmdline"), Some(&b"quiet"[..]));
            }
        }
    }
}
