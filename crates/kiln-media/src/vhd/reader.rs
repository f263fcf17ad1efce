//! Reading a fixed VHD: its footer, and the disk in front of it.
//!
//! Total on any file. Dynamic and differencing disks are refused: `qemu-img convert` exists.

use super::format::{COOKIE, FIXED, FOOTER_LENGTH, MAXIMUM_LENGTH, VERSION, checksum, footer};
use crate::Error;
use kiln_disk::BlockDevice;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What a footer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VhdFooter {
    /// Length in bytes of the disk that a guest sees.
    pub length: u64,
    /// Cylinders, heads and sectors of a track.
    pub geometry: (u16, u8, u8),
    /// Seconds since 2000-01-01.
    pub time_stamp: u32,
    /// The disk's identifier.
    pub identifier: [u8; 16],
}

/// Reads the footer of a fixed disk.
///
/// # Errors
/// [`Error::Damaged`].
pub fn read_footer(bytes: &[u8; 512]) -> Result<VhdFooter, Error> {
    let refuse = |reason| Err(Error::Damaged { format: "VHD", reason });
    let word = |at: usize| {
        let field = bytes.get(at..at + 4).and_then(|field| field.try_into().ok());
        field.map_or(0, u32::from_be_bytes)
    };
    let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
    if !bytes.starts_with(&COOKIE) {
        return refuse("no footer");
    }
    if word(footer::CHECKSUM) != checksum(bytes) {
        return refuse("the footer's checksum is wrong");
    }
    if word(footer::VERSION) != VERSION {
        return refuse("unknown version");
    }
    if word(footer::DISK_TYPE) != FIXED {
        return refuse("it is not of the fixed type");
    }
    let length = long(footer::CURRENT_SIZE);
    if length > MAXIMUM_LENGTH || !length.is_multiple_of(512) {
        return refuse("impossible length");
    }
    let [high, low, heads, sectors] = word(footer::GEOMETRY).to_be_bytes();
    let mut identifier = [0; 16];
    for (target, byte) in identifier.iter_mut().zip(bytes.iter().skip(footer::IDENTIFIER)) {
        *target = *byte;
    }
    Ok(VhdFooter {
        length,
        geometry: (u16::from_be_bytes([high, low]), heads, sectors),
        time_stamp: word(footer::TIME_STAMP),
        identifier,
    })
}

/// An open VHD as a read-only disk.
#[derive(Debug)]
pub struct VhdDevice {
    file: File,
    footer: VhdFooter,
}

impl VhdDevice {
    /// Opens a fixed VHD for reading.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Damaged`] for what is none.
    pub fn open(file: File) -> Result<Self, Error> {
        let read = |offset| move |source| Error::Read { offset, source };
        let whole = file.metadata().map_err(read(0))?.len();
        let Some(place) = whole.checked_sub(FOOTER_LENGTH as u64) else {
            return Err(Error::Damaged { format: "VHD", reason: "too short" });
        };
        let mut bytes = [0; FOOTER_LENGTH];
        file.read_exact_at(&mut bytes, place).map_err(read(place))?;
        let footer = read_footer(&bytes)?;
        if footer.length != place {
            return Err(Error::Damaged { format: "VHD", reason: "the file has another length" });
        }
        Ok(Self { file, footer })
    }

    /// What the footer says.
    #[must_use]
    pub fn footer(&self) -> &VhdFooter {
        &self.footer
    }
}

impl BlockDevice for VhdDevice {
    fn sector_size(&self) -> u32 {
        512
    }

    fn length(&self) -> u64 {
        self.footer.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.footer.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Disk;
    use crate::vhd::{VhdOptions, write_vhd};
    use proptest::prelude::*;

    fn vhd() -> File {
        let (raw, out) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        raw.set_len((3 << 20) + 512).unwrap();
        raw.write_all_at(b"end", 3 << 20).unwrap();
        write_vhd(&Disk::of_file(&raw).unwrap(), &out, &VhdOptions { identifier: [7; 16] })
            .unwrap();
        out
    }

    #[test]
    fn the_disk_is_read_back_and_ends_before_the_footer() {
        let device = VhdDevice::open(vhd()).unwrap();
        assert_eq!((device.length(), device.footer().identifier), (4 << 20, [7; 16]));
        let mut found = [1; 512];
        device.read_at(3 << 20, &mut found).unwrap();
        assert_eq!(found[..4], *b"end\0");
        assert!(device.read_at((4 << 20) - 511, &mut found).is_err());
    }

    #[test]
    fn what_is_no_fixed_disk_is_refused() {
        let cut = vhd();
        cut.set_len(4 << 20).unwrap();
        let short = tempfile::tempfile().unwrap();
        short.set_len(99).unwrap();
        let (longer, footer) = (vhd(), {
            let mut bytes = [0; 512];
            vhd().read_exact_at(&mut bytes, 4 << 20).unwrap();
            bytes
        });
        longer.write_all_at(&footer, (4 << 20) + 512).unwrap();
        for (file, expected) in
            [(cut, "no footer"), (short, "too short"), (longer, "another length")]
        {
            let error = VhdDevice::open(file).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let mut dynamic = footer;
        dynamic[footer::DISK_TYPE + 3] = 3;
        assert!(read_footer(&dynamic).unwrap_err().to_string().contains("checksum"));
        let sum = checksum(&dynamic).to_be_bytes();
        dynamic[footer::CHECKSUM..footer::CHECKSUM + 4].copy_from_slice(&sum);
        assert!(read_footer(&dynamic).unwrap_err().to_string().contains("fixed"));
    }

    proptest! {
        #[test]
        fn any_sector_is_refused_or_read(
            bytes in prop::collection::vec(any::<u8>(), 512), is_summed: bool, version: bool,
        ) {
            let mut sector: [u8; 512] = bytes.try_into().unwrap();
            sector[..8].copy_from_slice(&COOKIE);
            if version {
                sector[footer::VERSION..footer::VERSION + 4].copy_from_slice(&VERSION.to_be_bytes());
                sector[footer::DISK_TYPE..footer::DISK_TYPE + 4]
                    .copy_from_slice(&FIXED.to_be_bytes());
            }
            if is_summed {
                let sum = checksum(&sector).to_be_bytes();
                sector[footer::CHECKSUM..footer::CHECKSUM + 4].copy_from_slice(&sum);
            }
            if let Ok(footer) = read_footer(&sector) {
                prop_assert!(is_summed && footer.length <= MAXIMUM_LENGTH);
            }
        }
    }
}
