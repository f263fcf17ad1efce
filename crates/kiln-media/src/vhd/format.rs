//! Numbers of the format (Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer
//! Format" and the appendix "CHS Calculation"). Everything on disk is big-endian.

/// Bytes of the footer, the last sector of the file.
pub(super) const FOOTER_LENGTH: usize = 512;
/// First bytes of the footer.
pub(super) const COOKIE: [u8; 8] = *b"conectix";
/// Features: no bit of meaning, and the one that is always set.
pub(super) const FEATURES: u32 = 2;
/// Version 1.0 of the format.
pub(super) const VERSION: u32 = 0x0001_0000;
/// "Data offset" of a fixed disk: it has no further header.
pub(super) const NO_HEADER: u64 = u64::MAX;
/// Seconds since 2000-01-01 when the disk was made: always the first, since output must not depend
/// on the clock.
pub(super) const TIME_STAMP: u32 = 0;
/// "Creator application": Hyper-V's. Readers take the length from the geometry unless they know the
/// creator as one that writes the true length beside it, and the geometry is often a little less.
pub(super) const CREATOR: [u8; 4] = *b"win ";
/// "Creator version" of that application, 10.0.
pub(super) const CREATOR_VERSION: u32 = 0x000a_0000;
/// "Creator host OS": Windows, the same reason.
pub(super) const CREATOR_HOST: [u8; 4] = *b"Wi2k";
/// "Disk type" of a fixed disk.
pub(super) const FIXED: u32 = 2;

/// What Azure wants the length of a disk to be a multiple of, in bytes.
pub const ALIGNMENT: u64 = 1 << 20;
/// Longest disk in bytes: 2040 GiB, Hyper-V's limit for VHD.
pub const MAXIMUM_LENGTH: u64 = 2040 << 30;

/// Offsets in bytes of the footer's fields.
pub(super) mod footer {
    pub(in crate::vhd) const FEATURES: usize = 8;
    pub(in crate::vhd) const VERSION: usize = 12;
    pub(in crate::vhd) const DATA_OFFSET: usize = 16;
    pub(in crate::vhd) const TIME_STAMP: usize = 24;
    pub(in crate::vhd) const CREATOR: usize = 28;
    pub(in crate::vhd) const CREATOR_VERSION: usize = 32;
    pub(in crate::vhd) const CREATOR_HOST: usize = 36;
    pub(in crate::vhd) const ORIGINAL_SIZE: usize = 40;
    pub(in crate::vhd) const CURRENT_SIZE: usize = 48;
    pub(in crate::vhd) const GEOMETRY: usize = 56;
    pub(in crate::vhd) const DISK_TYPE: usize = 60;
    pub(in crate::vhd) const CHECKSUM: usize = 64;
    pub(in crate::vhd) const IDENTIFIER: usize = 68;
}

/// One's complement of the sum of all bytes, the checksum's own taken as zeros.
pub(super) fn checksum(bytes: &[u8; FOOTER_LENGTH]) -> u32 {
    let own = footer::CHECKSUM..footer::CHECKSUM + 4;
    let others = bytes.iter().enumerate().filter(|(index, _)| !own.contains(index));
    // 512 bytes cannot overflow.
    !others.map(|(_, byte)| u32::from(*byte)).sum::<u32>()
}

/// Cylinders, heads and sectors for a disk of so many bytes.
pub(super) fn geometry(length: u64) -> (u16, u8, u8) {
    const MOST_SECTORS: u64 = 65535 * 16 * 255;
    let sectors = (length / 512).min(MOST_SECTORS);
    let (per_track, heads, tracks);
    if sectors >= 65535 * 16 * 63 {
        (per_track, heads, tracks) = (255, 16, sectors / 255);
    } else {
        let tracks_of_17 = sectors / 17;
        let heads_of_17 = tracks_of_17.div_ceil(1024).max(4);
        let is_too_small = tracks_of_17 >= heads_of_17 * 1024 || heads_of_17 > 16;
        if !is_too_small {
            (per_track, heads, tracks) = (17, heads_of_17, tracks_of_17);
        } else if sectors / 31 < 16 * 1024 {
            (per_track, heads, tracks) = (31, 16, sectors / 31);
        } else {
            (per_track, heads, tracks) = (63, 16, sectors / 63);
        }
    }
    // At most 65535, 16 and 255, by the bound above.
    ((tracks / heads) as u16, heads as u8, per_track as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_geometry_is_that_of_the_specification() {
        let cases = [
            (0, (0, 4, 17)),
            (1 << 20, (30, 4, 17)),
            (100 << 20, (1003, 12, 17)),
            (133 << 20, (1001, 16, 17)),
            (137 << 20, (565, 16, 31)),
            (1 << 30, (2080, 16, 63)),
            (16 << 30, (33288, 16, 63)),
            (127 << 30, (65278, 16, 255)),
            (2040 << 30, (65535, 16, 255)),
        ];
        for (length, expected) in cases {
            assert_eq!(geometry(length), expected, "{length}");
        }
    }
}
