//! Layout of PE files as far as Kiln needs it. Offsets from Microsoft's "PE Format": "MS-DOS Stub",
//! "COFF File Header", "Optional Header (Image Only)", "Section Table (Section Headers)".

/// Where the DOS header keeps the offset of the PE signature.
pub(crate) const PE_OFFSET_AT: usize = 0x3c;
/// Signature in front of the COFF header.
pub(crate) const PE_SIGNATURE: &[u8] = b"PE\0\0";
/// Size of the COFF header.
pub(crate) const COFF_BYTES: usize = 20;
/// Offsets in the COFF header.
pub(crate) const COFF_SECTIONS: usize = 2;
pub(crate) const COFF_OPTIONAL_SIZE: usize = 16;

/// Optional header magic of PE32+, the only form on 64-bit machines.
pub(crate) const PE32_PLUS: u16 = 0x20b;
/// Offsets in the optional header.
pub(crate) const INITIALISED_DATA: usize = 8;
pub(crate) const SECTION_ALIGNMENT: usize = 32;
pub(crate) const FILE_ALIGNMENT: usize = 36;
pub(crate) const IMAGE_SIZE: usize = 56;
pub(crate) const HEADERS_SIZE: usize = 60;
pub(crate) const CHECKSUM: usize = 64;
pub(crate) const SUBSYSTEM: usize = 68;
pub(crate) const DIRECTORY_COUNT: usize = 108;
/// Entry of the certificate table among the data directories: index 4, eight bytes each.
pub(crate) const CERTIFICATES: usize = 112 + 4 * 8;
/// Least size of an optional header that reaches the data directories.
pub(crate) const OPTIONAL_BYTES: usize = 112;

/// Size of a section header and offsets in it.
pub(crate) const SECTION_BYTES: usize = 40;
pub(crate) const SECTION_NAME_BYTES: usize = 8;
pub(crate) const VIRTUAL_SIZE: usize = 8;
pub(crate) const VIRTUAL_ADDRESS: usize = 12;
pub(crate) const RAW_SIZE: usize = 16;
pub(crate) const RAW_OFFSET: usize = 20;
pub(crate) const CHARACTERISTICS: usize = 36;

/// IMAGE_SCN_CNT_INITIALIZED_DATA and IMAGE_SCN_MEM_READ.
pub(crate) const DATA_READ_ONLY: u32 = 0x4000_0040;

/// Subsystem of EFI applications.
pub(crate) const EFI_APPLICATION: u16 = 10;

/// Most sections that a reader accepts: the limit of Windows' loader; a UKI has about 12.
pub(crate) const SECTION_LIMIT: u16 = 96;

/// Most bytes of a PE file: offsets are 32 bits wide, and firmware rarely reads 2 GiB.
pub(crate) const FILE_LIMIT: usize = 2 << 30;

/// Most bytes of an addon: systemd's stub of them has a few kB, a command line at most two.
pub const ADDON_LIMIT: usize = 1 << 20;

/// Processor architectures that Kiln builds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64, machine 0x8664.
    X86_64,
    /// 64-bit Arm, machine 0xaa64.
    Aarch64,
}

impl Architecture {
    /// From the machine field of a COFF header.
    #[must_use]
    pub fn from_machine(machine: u16) -> Option<Self> {
        match machine {
            0x8664 => Some(Self::X86_64),
            0xaa64 => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// The short name in file names of UEFI (UEFI specification §3.5.1.1, in lower case).
    #[must_use]
    pub fn efi_suffix(self) -> &'static str {
        match self {
            Self::X86_64 => "x64",
            Self::Aarch64 => "aa64",
        }
    }

    /// The name that people and OCI use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }
}

/// Rounds up to a power of two, none on overflow.
pub(crate) fn align(value: u32, alignment: u32) -> Option<u32> {
    let mask = alignment.checked_sub(1)?;
    Some(value.checked_add(mask)? & !mask)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
