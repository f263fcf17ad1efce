//! Boot programs for trees that are built but never started.
//!
//! Kernels, stubs and loaders of a distribution are megabytes; what readers of such trees look at is
//! a few fields. Nothing that boots may be made of these.

/// The smallest x86-64 EFI program that a reader of PE files takes (PE format, "Optional Header"),
/// with the release of a kernel where bzImage has it.
#[must_use]
pub fn program(release: Option<&str>) -> Vec<u8> {
    let mut file = vec![0; 0x600];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0\x64\x86\x01\0");
    put(0x54, &240_u16.to_le_bytes());
    put(0x58, &0x20b_u16.to_le_bytes());
    put(0x58 + 32, &4096_u32.to_le_bytes());
    put(0x58 + 36, &512_u32.to_le_bytes());
    put(0x58 + 56, &8192_u32.to_le_bytes());
    put(0x58 + 60, &0x400_u32.to_le_bytes());
    put(0x58 + 68, &10_u16.to_le_bytes());
    put(0x58 + 108, &16_u32.to_le_bytes());
    put(0x148, b".text");
    put(0x148 + 8, &16_u32.to_le_bytes());
    put(0x148 + 12, &4096_u32.to_le_bytes());
    put(0x148 + 16, &512_u32.to_le_bytes());
    put(0x148 + 20, &0x400_u32.to_le_bytes());
    if let Some(release) = release {
        put(0x202, b"HdrS");
        put(0x20e, &0x100_u16.to_le_bytes());
        put(0x300, release.as_bytes());
    }
    file
}
