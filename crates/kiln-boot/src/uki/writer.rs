//! Writer of UKIs: a stub and what it shall start become one PE file.
//!
//! The kernel's section is as long in memory as in the file. Some tools make it as long as the
//! kernel needs to run in place, for the handover protocol of kernels before 5.8; none of those can
//! read our roots, and firmware would have to find tens of megabytes in one piece for nothing.

use super::format::{
    CERTIFICATES, CHARACTERISTICS, CHECKSUM, COFF_SECTIONS, DATA_READ_ONLY, EFI_APPLICATION,
    FILE_LIMIT, HEADERS_SIZE, IMAGE_SIZE, INITIALISED_DATA, RAW_OFFSET, RAW_SIZE, SECTION_BYTES,
    SECTION_LIMIT, VIRTUAL_ADDRESS, VIRTUAL_SIZE, align, u32_at,
};
use super::reader::{Layout, Uki, parse};
use crate::Error;

/// Largest padding unit of sections in a file, in bytes ("PE Format", optional header,
/// FileAlignment). A stub that claims more would make a file of gigabytes out of nothing.
const LARGEST_FILE_ALIGNMENT: u32 = 64 << 10;

/// What a UKI adds to its stub.
#[derive(Clone, Copy, Debug)]
pub struct UkiSections<'a> {
    /// `.osrel`: text for the boot menu, see [`crate::os_release::boot_file_text`].
    pub os_release: &'a [u8],
    /// `.cmdline`: kernel command line, without NUL or line feed.
    pub command_line: &'a [u8],
    /// `.uname`: release of the kernel.
    pub kernel_release: &'a [u8],
    /// `.initrd`: the initramfs as the kernel unpacks it.
    pub initrd: &'a [u8],
    /// `.linux`: the kernel, itself an EFI program.
    pub linux: &'a [u8],
}

impl<'a> UkiSections<'a> {
    /// Names and contents in the order in which they are appended: the two large ones last.
    fn list(&self) -> [(&'static str, &'a [u8]); 5] {
        [
            (".osrel", self.os_release),
            (".cmdline", self.command_line),
            (".uname", self.kernel_release),
            (".initrd", self.initrd),
            (".linux", self.linux),
        ]
    }
}

/// Appends the sections to a stub. A signature of the stub is dropped: it would not hold.
///
/// # Errors
/// A stub or kernel that is no EFI program, that are for different machines, that already carries
/// one of the sections, or has no room for their headers.
pub fn assemble(stub: &[u8], sections: &UkiSections<'_>) -> Result<Vec<u8>, Error> {
    let parsed = parse(stub)?;
    check(&parsed, sections)?;
    append(stub, &parsed, &sections.list())
}

/// `stub`, which `parsed` describes, with further sections behind its own.
pub(super) fn append(
    stub: &[u8],
    parsed: &Uki<'_>,
    additions: &[(&str, &[u8])],
) -> Result<Vec<u8>, Error> {
    let refused = |reason| Error::Pe { reason };
    let layout = parsed.layout;
    // What lies behind the last section is a signature or padding; both end here.
    let content_end = parsed
        .sections
        .iter()
        .filter_map(|section| {
            usize::try_from(section.file_offset).ok()?.checked_add(section.data.len())
        })
        .max()
        .unwrap_or(0);
    let mut file = stub.get(..content_end).unwrap_or(stub).to_vec();
    make_room(&mut file, parsed, additions.len())?;

    let too_large = || Error::FormatLimit { what: "the boot file" };
    let mut address = parsed
        .sections
        .iter()
        .map(|section| section.virtual_address.checked_add(section.virtual_size))
        .try_fold(layout.image_size, |highest, end| end.map(|end| highest.max(end)))
        .ok_or_else(too_large)?;
    let mut added_data = 0_u32;
    for (index, (name, data)) in additions.iter().enumerate() {
        let size = u32::try_from(data.len()).map_err(|_| too_large())?;
        let padded = align(size, layout.file_alignment).ok_or_else(too_large)?;
        let offset = u32::try_from(file.len())
            .ok()
            .and_then(|end| align(end, layout.file_alignment))
            .ok_or_else(too_large)?;
        address = align(address, layout.section_alignment).ok_or_else(too_large)?;

        let mut header = [0; SECTION_BYTES];
        header[..name.len()].copy_from_slice(name.as_bytes());
        put(&mut header, VIRTUAL_SIZE, size);
        put(&mut header, VIRTUAL_ADDRESS, address);
        put(&mut header, RAW_SIZE, padded);
        put(&mut header, RAW_OFFSET, offset);
        put(&mut header, CHARACTERISTICS, DATA_READ_ONLY);
        let at = layout.table + (parsed.sections.len() + index) * SECTION_BYTES;
        file.get_mut(at..at + SECTION_BYTES)
            .ok_or(refused("it has no room for more section headers"))?
            .copy_from_slice(&header);

        let end = usize::try_from(offset).map_err(|_| too_large())?;
        file.resize(end, 0);
        file.extend_from_slice(data);
        file.resize(file.len() + usize::try_from(padded - size).map_err(|_| too_large())?, 0);
        if file.len() > FILE_LIMIT {
            return Err(too_large());
        }
        address = address.checked_add(size).ok_or_else(too_large)?;
        added_data = added_data.checked_add(padded).ok_or_else(too_large)?;
    }
    let image_size = align(address, layout.section_alignment).ok_or_else(too_large)?;
    finish(&mut file, parsed, additions.len(), image_size, added_data)?;
    Ok(file)
}

/// Refuses a stub that would give a file which no firmware starts.
fn check(stub: &Uki<'_>, sections: &UkiSections<'_>) -> Result<(), Error> {
    let refused = |reason| Err(Error::Pe { reason });
    let Some(architecture) = stub.architecture else {
        return refused("the stub is for neither x86-64 nor arm64");
    };
    if stub.subsystem != EFI_APPLICATION {
        return refused("the stub is no EFI application");
    }
    let Layout { section_alignment, file_alignment, .. } = stub.layout;
    if !section_alignment.is_power_of_two() || !file_alignment.is_power_of_two() {
        return refused("the stub's alignments are no powers of two");
    }
    if file_alignment > LARGEST_FILE_ALIGNMENT {
        return refused("the stub's file alignment is above 64 KiB");
    }
    let names = sections.list().map(|(name, _)| name);
    if stub.sections.iter().any(|section| names.contains(&section.name.as_str())) {
        return refused("the stub already carries a system");
    }
    match parse(sections.linux)?.architecture {
        Some(kernel) if kernel == architecture => Ok(()),
        Some(kernel) => {
            Err(Error::Architecture { stub: architecture.name(), kernel: kernel.name() })
        }
        None => refused("the kernel is for neither x86-64 nor arm64"),
    }
}

/// Makes sure that the section table can grow, up to the first byte that belongs to a section.
fn make_room(file: &mut [u8], stub: &Uki<'_>, additions: usize) -> Result<(), Error> {
    let refused = Error::Pe { reason: "the stub has no room for more section headers" };
    let sections = stub.sections.len() + additions;
    let end = stub.layout.table + sections * SECTION_BYTES;
    let first = stub
        .sections
        .iter()
        .filter(|section| !section.data.is_empty())
        .flat_map(|section| [section.file_offset, section.virtual_address])
        .min()
        .and_then(|first| usize::try_from(first).ok())
        .unwrap_or(0);
    if sections > usize::from(SECTION_LIMIT) || end > first {
        return Err(refused);
    }
    let end = u32::try_from(end).ok().and_then(|end| align(end, stub.layout.file_alignment));
    match end {
        Some(end) if end > stub.layout.headers_size => {
            put_checked(file, stub.layout.optional + HEADERS_SIZE, end)
        }
        Some(_) => Ok(()),
        None => Err(refused),
    }
}

/// Brings the headers' sums up to date.
fn finish(
    file: &mut [u8],
    stub: &Uki<'_>,
    additions: usize,
    image_size: u32,
    added_data: u32,
) -> Result<(), Error> {
    let cut = || Error::Pe { reason: "it ends inside its headers" };
    let Layout { coff, optional, certificate_slot, .. } = stub.layout;
    let count = u16::try_from(stub.sections.len() + additions).map_err(|_| cut())?;
    file.get_mut(coff + COFF_SECTIONS..coff + COFF_SECTIONS + 2)
        .ok_or_else(cut)?
        .copy_from_slice(&count.to_le_bytes());
    let data = u32_at(file, optional + INITIALISED_DATA).ok_or_else(cut)?;
    let data = data.checked_add(added_data).ok_or(Error::FormatLimit { what: "the boot file" })?;
    put_checked(file, optional + INITIALISED_DATA, data)?;
    put_checked(file, optional + IMAGE_SIZE, image_size)?;
    if certificate_slot {
        put_checked(file, optional + CERTIFICATES, 0)?;
        put_checked(file, optional + CERTIFICATES + 4, 0)?;
    }
    put_checked(file, optional + CHECKSUM, 0)?;
    let sum = checksum(file);
    put_checked(file, optional + CHECKSUM, sum)
}

/// The checksum of the optional header, whose field must be zero: 16-bit words added with carry,
/// plus the file's length.
fn checksum(file: &[u8]) -> u32 {
    let mut sum = 0_u64;
    for word in file.chunks(2) {
        let low = word.first().copied().unwrap_or(0);
        let high = word.get(1).copied().unwrap_or(0);
        sum += u64::from(u16::from_le_bytes([low, high]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Both summands are far below 2^31: the file is at most 2 GiB.
    u32::try_from(sum + file.len() as u64).unwrap_or(u32::MAX)
}

fn put(header: &mut [u8; SECTION_BYTES], at: usize, value: u32) {
    header[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_checked(file: &mut [u8], at: usize, value: u32) -> Result<(), Error> {
    file.get_mut(at..at + 4)
        .ok_or(Error::Pe { reason: "it ends inside its headers" })?
        .copy_from_slice(&value.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{kernel_file, sha256, stub_file};
    use crate::uki::format::FILE_ALIGNMENT;

    fn example<'a>(linux: &'a [u8], initrd: &'a [u8]) -> UkiSections<'a> {
        UkiSections {
            os_release: b"ID=kiln\n",
            command_line: b"kiln.mode=system",
            kernel_release: b"6.12.1-test",
            initrd,
            linux,
        }
    }

    #[test]
    fn the_bytes_are_frozen() {
        let kernel = kernel_file("6.12.1-test");
        let uki = assemble(&stub_file(0x8664), &example(&kernel, b"initrd")).unwrap();
        assert_eq!(
            sha256(&uki),
            "54c66ee1ffe5c061eb36a2473bd75e0b9ef64f3ff38e972c939220f01866d14a"
        );
    }

    #[test]
    fn sections_are_read_back_and_do_not_overlap() {
        let kernel = kernel_file("6.12.1-test");
        let initrd = vec![7; 5000];
        let uki = assemble(&stub_file(0x8664), &example(&kernel, &initrd)).unwrap();
        let parsed = parse(&uki).unwrap();
        let names: Vec<&str> =
            parsed.sections.iter().map(|section| section.name.as_str()).collect();
        assert_eq!(names, [".text", ".sbat", ".osrel", ".cmdline", ".uname", ".initrd", ".linux"]);
        assert_eq!(parsed.section(".initrd"), Some(&initrd[..]));
        assert_eq!(parsed.section(".linux"), Some(&kernel[..]));
        assert_eq!(parsed.section(".sbat"), Some(&b"sbat,1,test"[..]));
        for pair in parsed.sections.windows(2) {
            assert!(pair[1].virtual_address >= pair[0].virtual_address + pair[0].virtual_size);
            assert!(pair[1].virtual_address.is_multiple_of(4096));
            assert!(pair[1].file_offset.is_multiple_of(512));
        }
        let last = &parsed.sections[6];
        let end = last.virtual_address + last.virtual_size;
        assert_eq!(parsed.layout.image_size, end.next_multiple_of(4096));
    }

    #[test]
    fn unfit_stubs_are_refused() {
        let kernel = kernel_file("6.12.1-test");
        let sections = example(&kernel, b"initrd");
        let twice = assemble(&stub_file(0x8664), &sections).unwrap();
        let error = assemble(&twice, &sections).unwrap_err().to_string();
        assert_eq!(error, "not a usable PE file: the stub already carries a system");
        let error = assemble(&stub_file(0xaa64), &sections).unwrap_err().to_string();
        assert_eq!(error, "the systemd stub is for arm64, the kernel for amd64");
        let error = assemble(&stub_file(0x14c), &sections).unwrap_err().to_string();
        assert!(error.contains("neither x86-64 nor arm64"));
        assert!(assemble(&stub_file(0x8664), &example(b"ELF", b"")).is_err());
        let mut wide = stub_file(0x8664);
        // The optional header begins at 0x58.
        wide[0x58 + FILE_ALIGNMENT..][..4].copy_from_slice(&(32_u32 << 20).to_le_bytes());
        let error = assemble(&wide, &sections).unwrap_err().to_string();
        assert!(error.contains("above 64 KiB"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_stub_never_panics(at in 0_usize..600, bytes: [u8; 4]) {
            let mut stub = stub_file(0x8664);
            stub[at..at + 4].copy_from_slice(&bytes);
            let kernel = kernel_file("6.12.1-test");
            if let Ok(uki) = assemble(&stub, &example(&kernel, b"initrd")) {
                let parsed = parse(&uki).unwrap();
                proptest::prop_assert_eq!(parsed.section(".linux"), Some(&kernel[..]));
            }
        }
    }
}
