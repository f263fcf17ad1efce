//! One 512-byte header block, its fields as numbers and names.
//!
//! Pure: bytes in, values out; what to do with a kind of entry is the reader's business.

use crate::archive::number;
use crate::archive::sparse::Extent;

/// Bytes of a tar block (POSIX.1-2024 pax, "ustar Interchange Format").
pub(super) const BLOCK: usize = 512;

/// A header whose checksum holds.
#[derive(Debug)]
pub(super) struct HeaderBlock<'a>(&'a tar::Header);

impl<'a> HeaderBlock<'a> {
    pub(super) fn new(block: &'a [u8; BLOCK]) -> Result<HeaderBlock<'a>, &'static str> {
        // Old writers summed signed bytes; both sums are accepted, as every reader does. The field itself counts as blanks.
        let (mut unsigned, mut signed) = (8 * 32i64, 8 * 32i64);
        for byte in block[..148].iter().chain(&block[156..]) {
            unsigned += i64::from(*byte);
            signed += i64::from(byte.cast_signed());
        }
        match number::field(&block[148..156]) {
            Some(sum) if sum == unsigned || sum == signed => {
                Ok(HeaderBlock(tar::Header::from_byte_slice(block)))
            }
            _ => Err("the header checksum is wrong"),
        }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0.as_old().linkflag[0]
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = until_zero(&self.0.as_old().name);
        match self.0.as_ustar().map(|ustar| until_zero(&ustar.prefix)) {
            Some(prefix) if !prefix.is_empty() => [prefix, b"/", name].concat(),
            _ => name.to_vec(),
        }
    }

    pub(super) fn link_name(&self) -> Vec<u8> {
        until_zero(&self.0.as_old().linkname).to_vec()
    }

    pub(super) fn size(&self) -> Result<u64, &'static str> {
        unsigned(&self.0.as_old().size).ok_or("the size field is not a number")
    }

    pub(super) fn mode(&self) -> Result<u16, &'static str> {
        let mode = number::field(&self.0.as_old().mode).ok_or("the mode field is not a number")?;
        // Old tar puts the file type above the permission bits; the type flag already says it.
        Ok((mode & 0o7777) as u16)
    }

    pub(super) fn uid(&self) -> Result<u64, &'static str> {
        unsigned(&self.0.as_old().uid).ok_or("the uid field is not a number")
    }

    pub(super) fn gid(&self) -> Result<u64, &'static str> {
        unsigned(&self.0.as_old().gid).ok_or("the gid field is not a number")
    }

    pub(super) fn mtime(&self) -> Result<i64, &'static str> {
        number::field(&self.0.as_old().mtime).ok_or("the mtime field is not a number")
    }

    pub(super) fn device(&self) -> Result<(u32, u32), &'static str> {
        let (major, minor) = match (self.0.as_ustar(), self.0.as_gnu()) {
            (Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
            (None, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
            (None, None) => return Err("a device node has no device numbers"),
        };
        let number = |bytes: &[u8; 8]| {
            number::field(bytes)
                .and_then(|number| u32::try_from(number).ok())
                .ok_or("a device number does not fit 32 bits")
        };
        Ok((number(major)?, number(minor)?))
    }

    /// Real size, first extents and whether more follow, of the old GNU sparse format.
    pub(super) fn gnu_sparse(&self) -> Result<(u64, Vec<Extent>, bool), &'static str> {
        let gnu = self.0.as_gnu().ok_or("a sparse entry has no GNU header")?;
        let real = unsigned(&gnu.realsize).ok_or("the sparse size is not a number")?;
        Ok((real, extents(&gnu.sparse)?, gnu.isextended[0] != 0))
    }
}

/// Extents of a further header of the old GNU sparse format, and whether one more follows.
pub(super) fn gnu_sparse_extension(
    block: &[u8; BLOCK],
) -> Result<(Vec<Extent>, bool), &'static str> {
    let mut extension = tar::GnuExtSparseHeader::new();
    extension.as_mut_bytes().copy_from_slice(block);
    Ok((extents(extension.sparse())?, extension.isextended[0] != 0))
}

fn extents(headers: &[tar::GnuSparseHeader]) -> Result<Vec<Extent>, &'static str> {
    headers
        .iter()
        .take_while(|header| header.offset[0] != 0 && header.numbytes[0] != 0)
        .map(|header| {
            let offset = unsigned(&header.offset);
            let length = unsigned(&header.numbytes);
            offset.zip(length).map(|(offset, length)| Extent { offset, length })
        })
        .collect::<Option<_>>()
        .ok_or("the sparse map is malformed")
}

fn unsigned(field: &[u8]) -> Option<u64> {
    number::field(field).and_then(|number| u64::try_from(number).ok())
}

pub(super) fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_breaks_the_checksum() {
        let mut header = tar::Header::new_ustar();
        header.set_path("usr/bin/true").unwrap();
        header.set_mode(0o104_755);
        header.set_size(7);
        header.set_cksum();
        let mut block = *header.as_bytes();
        let read = HeaderBlock::new(&block).unwrap();
        assert_eq!(read.name(), b"usr/bin/true");
        assert_eq!((read.mode(), read.size()), (Ok(0o4755), Ok(7)));
        block[0] ^= 1;
        assert!(HeaderBlock::new(&block).is_err());
    }

    #[test]
    fn a_prefix_goes_in_front_of_the_name() {
        let mut header = tar::Header::new_ustar();
        let path = format!("{}/{}", "p".repeat(120), "n".repeat(90));
        header.set_path(&path).unwrap();
        header.set_cksum();
        assert_eq!(HeaderBlock::new(header.as_bytes()).unwrap().name(), path.as_bytes());
    }
}
