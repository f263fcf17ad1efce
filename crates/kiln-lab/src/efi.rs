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

/// Bytes of headers in front of the first section of [`image`], and its section alignment.
const HEADERS: usize = 0x400;
const PAGE: usize = 0x1000;

/// An x86-64 EFI application of these sections, the first of which is its code and begins with its
/// entry point. It is complete enough for firmware to start it (PE format, "Optional Header").
#[must_use]
pub fn image(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; HEADERS];
    let mut address = PAGE;
    let mut headers = Vec::new();
    for (name, data) in sections {
        let offset = file.len();
        file.extend_from_slice(data);
        file.resize(file.len().next_multiple_of(512), 0);
        let mut header = [0; 40];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let flags = if headers.is_empty() { 0x6000_0020 } else { 0x4000_0040_usize };
        let numbers = [data.len(), address, file.len() - offset, offset];
        for (field, number) in numbers.into_iter().enumerate() {
            let at = 8 + field * 4;
            header[at..at + 4].copy_from_slice(&(number as u32).to_le_bytes());
        }
        header[36..].copy_from_slice(&(flags as u32).to_le_bytes());
        headers.extend(header);
        address += data.len().next_multiple_of(PAGE).max(PAGE);
    }
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0\x64\x86");
    put(0x46, &(sections.len() as u16).to_le_bytes());
    put(0x54, &240_u16.to_le_bytes());
    // Executable, large addresses; relocations are not stripped, there are none.
    put(0x56, &0x22_u16.to_le_bytes());
    put(0x58, &0x20b_u16.to_le_bytes());
    let words = [(16, PAGE), (20, PAGE), (32, PAGE), (36, 512), (56, address), (60, HEADERS)];
    for (at, number) in words.into_iter().chain([(68, 10), (108, 16)]) {
        put(0x58 + at, &(number as u32).to_le_bytes());
    }
    put(0x148, &headers);
    file
}
