//! What the tests of machines in files share.

/// The smallest program that passes for a stub and for a kernel: headers and one section.
pub(crate) fn program() -> Vec<u8> {
    let mut bytes = vec![0; 0x600];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0\x64\x86\x01\0");
    put(0x54, &240_u16.to_le_bytes());
    put(0x58, &0x20b_u16.to_le_bytes());
    for (at, value) in [(32, 4096_u32), (36, 512), (56, 0x2000), (60, 0x400), (68, 10), (108, 16)] {
        put(0x58 + at, &value.to_le_bytes());
    }
    put(0x148, b".text");
    for (at, value) in [(8, 16_u32), (12, 0x1000), (16, 512), (20, 0x400)] {
        put(0x148 + at, &value.to_le_bytes());
    }
    bytes
}
