//! Layout of GRUB's core image for BIOS.
//!
//! There is no document but the source of GRUB, whose files are named here; it is the same in 2.06
//! and 2.12. On a disk it is
//!
//! ```text
//! diskboot.img (one sector, loads the rest) | lzma_decompress.img | LZMA of the payload
//! ```
//!
//! and the payload is the kernel's sections as they lie in memory, then modules, configuration and
//! prefix, each behind a small header. A test compares it with what grub-mkimage makes.

/// Bytes of a disk sector, the only ones that diskboot.img and boot.img read.
pub(crate) const SECTOR: usize = 512;

/// Where the kernel is linked to, and moved to before it starts
/// (`include/grub/offsets.h`, `GRUB_KERNEL_I386_PC_LINK_ADDR`).
pub(crate) const LINK_ADDRESS: u32 = 0x9000;

/// Where the decompressor is loaded to (as above, `GRUB_BOOT_MACHINE_KERNEL_ADDR` and a sector):
/// what lies in between is all the room it has.
const DECOMPRESSOR_ADDRESS: u32 = 0x8200;
/// Most bytes of the decompressor.
pub(crate) const DECOMPRESSOR_LIMIT: usize = (LINK_ADDRESS - DECOMPRESSOR_ADDRESS) as usize;

/// End of the memory that the packed image may take: BIOS data of some machines begins behind it
/// (`util/mkimage.c`, "core image is too big").
pub(crate) const PACKED_END: u32 = 0x78000;
/// End of the memory that the kernel may take with its variables (as above).
pub(crate) const KERNEL_END: u32 = 0x68000;

/// Offsets in the decompressor (`include/grub/offsets.h`, `GRUB_DECOMPRESSOR_I386_PC_*`): sizes of
/// what it unpacks. The redundancy behind them stays zero, which means that there is no
/// Reed-Solomon code: it would guard against other programs that write where no partition is, and
/// ours has one.
pub(crate) const COMPRESSED_SIZE: usize = 0x08;
pub(crate) const UNCOMPRESSED_SIZE: usize = 0x0c;

/// What LZMA is made with (`util/mkimage.c`, `compress_kernel_lzma`); the decompressor knows no
/// other literal and position bits (`grub-core/boot/i386/pc/startup_raw.S`).
pub(crate) const LZMA_DICTIONARY: u32 = 1 << 16;
pub(crate) const LZMA_LITERAL_CONTEXT_BITS: u32 = 3;
pub(crate) const LZMA_LITERAL_POSITION_BITS: u32 = 0;
pub(crate) const LZMA_POSITION_BITS: u32 = 2;

/// `mimg` (`include/grub/kernel.h`, `GRUB_MODULE_MAGIC`).
pub(crate) const MODULE_MAGIC: u32 = 0x676d_696d;
/// Bytes of `struct grub_module_info32` and of `struct grub_module_header`.
pub(crate) const MODULE_INFO: usize = 12;
pub(crate) const MODULE_HEADER: usize = 8;
/// What a module's contents are padded to.
pub(crate) const MODULE_ALIGNMENT: usize = 4;
/// Types of modules (as above).
pub(crate) const TYPE_ELF: u32 = 0;
pub(crate) const TYPE_CONFIGURATION: u32 = 2;
pub(crate) const TYPE_PREFIX: u32 = 3;

/// Offsets in diskboot.img, whose last twelve bytes are the first entry of a list of sectors that
/// grows downwards (`include/grub/i386/pc/boot.h`, `struct grub_pc_bios_boot_blocklist`).
pub(crate) const LIST_START: usize = 0x1f4;
pub(crate) const LIST_LENGTH: usize = 0x1fc;
pub(crate) const LIST_SEGMENT: usize = 0x1fe;
/// The segment that diskboot.img comes with: the decompressor's place.
pub(crate) const SEGMENT: u16 = (DECOMPRESSOR_ADDRESS >> 4) as u16;

/// Offsets in boot.img (`include/grub/i386/pc/boot.h`): sector of the core image, drive, and the
/// jump over a workaround.
pub(crate) const KERNEL_SECTOR: usize = 0x5c;
pub(crate) const BOOT_DRIVE: usize = 0x64;
pub(crate) const DRIVE_CHECK: usize = 0x66;
/// The drive that the BIOS says.
pub(crate) const ANY_DRIVE: u8 = 0xff;
/// `jmp` over the check, as boot.img has it, and two `nop`, which let it run: it corrects a BIOS
/// that says a floppy's number for a disk.
pub(crate) const CHECK_SKIPPED: [u8; 2] = [0xeb, 0x05];
pub(crate) const CHECK_DONE: [u8; 2] = [0x90, 0x90];
/// End of every sector that a BIOS starts.
pub(crate) const BOOT_SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// Bytes of sector 0 in front of the disk's signature and the protective partition table (UEFI
/// 2.10, §5.2.1).
pub const BOOT_CODE: usize = 440;

/// Length of cdboot.img, the four sectors that a BIOS loads from a CD.
pub(crate) const CD_BOOT: usize = 2048;
/// The boot information table in it (mkisofs(8), "-boot-info-table"): place, reserved bytes
/// included.
pub(crate) const CD_TABLE: usize = 8;
pub(crate) const CD_TABLE_END: usize = 64;
/// Block of a CD in bytes, and the one with the primary volume descriptor (ECMA-119, §6.2.1).
pub(crate) const CD_BLOCK: u64 = 2048;
pub(crate) const CD_VOLUME_DESCRIPTOR: u32 = 16;

/// Most bytes of one of GRUB's files: the largest module has 300 kB.
pub(crate) const FILE_LIMIT: usize = 2 << 20;
/// Most modules of a core image: GRUB has about 280.
pub(crate) const MODULE_LIMIT: usize = 400;

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Puts bytes in their place; false if that is outside.
pub(crate) fn put(target: &mut [u8], at: usize, bytes: &[u8]) -> bool {
    let place = at.checked_add(bytes.len()).and_then(|end| target.get_mut(at..end));
    place.map(|place| place.copy_from_slice(bytes)).is_some()
}
