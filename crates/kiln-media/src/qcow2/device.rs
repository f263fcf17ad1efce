//! A qcow2 image as a read-only disk, so that what is inside can be looked at like a raw one.
//!
//! Total on any file: every table entry is read where it is needed and checked against the file's
//! length by reading it, so nothing large is believed or held. Differences to other files,
//! encryption, external data, extended entries and other compression than zlib are refused:
//! `qemu-img convert` exists. The image is never written, not even to mark it as open.

use super::format::{COMPRESSED, COMPRESSED_SECTOR, HEADER_LENGTH, MAGIC, MAXIMUM_LENGTH, header};
use super::reader::{Qcow2Header, read_header};
use crate::Error;
use flate2::{Decompress, FlushDecompress};
use kiln_disk::BlockDevice;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bits 9 to 55 of an entry: where in the file a table or a cluster starts (`qcow2.rst`, "Cluster
/// mapping").
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// Bit 0 of a standard entry in version 3: reads as zeros whatever the offset says.
const ZERO: u64 = 1;
/// The one incompatible feature that reading may ignore (bit 0): reference counts may be wrong.
const DIRTY: u64 = 1;
/// Sector size in bytes that the format counts in.
const SECTOR_SIZE: u32 = 512;

/// An open image.
#[derive(Debug)]
pub struct Qcow2Device {
    file: File,
    header: Qcow2Header,
    cluster_bits: u32,
    mapping_offset: u64,
    mapping_entries: u64,
    /// The compressed cluster that was read last, by its number; readers come back to it.
    unpacked: RefCell<Option<(u64, Vec<u8>)>>,
}

impl Qcow2Device {
    /// Whether these first bytes of a file are those of a qcow2 image.
    #[must_use]
    pub fn recognises(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Opens an image for reading.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Header`] for what is no image or needs a feature that is not
    /// read here.
    pub fn open(file: File) -> Result<Self, Error> {
        let read = |source| Error::Read { offset: 0, source };
        let length = file.metadata().map_err(read)?.len().min(u64::from(HEADER_LENGTH));
        // At most 104 bytes; a version 2 header may be all there is.
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, 0).map_err(read)?;
        let header = read_header(&bytes)?;
        let refuse = |reason| Err(Error::Header(reason));
        if header.has_backing_file {
            return refuse("it is only the difference to another file");
        }
        if header.encrypted {
            return refuse("it is encrypted");
        }
        if header.incompatible_features & !DIRTY != 0 {
            return refuse("it needs a feature that is not supported");
        }
        if header.length > MAXIMUM_LENGTH {
            return refuse("the disk is too long");
        }
        let field = |at: usize, length: usize| {
            let bytes = bytes.get(at..at + length).ok_or(Error::Header("too short"))?;
            Ok::<_, Error>(bytes.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)))
        };
        let mapping_offset = field(header::MAPPING_OFFSET, 8)?;
        let mapping_entries = field(header::MAPPING_ENTRIES, 4)?;
        let cluster_bits = header.cluster.trailing_zeros();
        let unpacked = RefCell::new(None);
        Ok(Self { file, header, cluster_bits, mapping_offset, mapping_entries, unpacked })
    }

    /// What the header says.
    #[must_use]
    pub fn header(&self) -> &Qcow2Header {
        &self.header
    }

    /// The entry of a cluster in its second-level table, 0 if there is none.
    fn entry(&self, cluster: u64) -> io::Result<u64> {
        // Tables of the second level fill one cluster with entries of 8 bytes.
        let table_bits = self.cluster_bits - 3;
        let index = cluster >> table_bits;
        if index >= self.mapping_entries {
            return Err(damaged("the first-level table is too short"));
        }
        let table = self.number(self.mapping_offset, index)? & OFFSET_MASK;
        if table == 0 {
            return Ok(0);
        }
        self.number(table, cluster & ((1 << table_bits) - 1))
    }

    /// One entry of a table.
    fn number(&self, table: u64, index: u64) -> io::Result<u64> {
        let offset = index.checked_mul(8).and_then(|index| table.checked_add(index));
        let mut bytes = [0; 8];
        self.file
            .read_exact_at(&mut bytes, offset.ok_or_else(|| damaged("a table lies outside"))?)?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// Fills `buffer` from inside one cluster.
    fn read_cluster(&self, cluster: u64, within: u64, buffer: &mut [u8]) -> io::Result<()> {
        let entry = self.entry(cluster)?;
        if entry & COMPRESSED != 0 {
            return self.read_compressed(cluster, entry, within, buffer);
        }
        let offset = entry & OFFSET_MASK;
        if offset == 0 || (self.header.version > 2 && entry & ZERO != 0) {
            buffer.fill(0);
            return Ok(());
        }
        self.file.read_exact_at(buffer, offset + within)
    }

    fn read_compressed(
        &self,
        cluster: u64,
        entry: u64,
        within: u64,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let mut unpacked = self.unpacked.borrow_mut();
        if unpacked.as_ref().is_none_or(|(number, _)| *number != cluster) {
            *unpacked = Some((cluster, self.unpack(entry)?));
        }
        // A cluster is at most 2 MiB.
        let within = within as usize;
        let bytes = unpacked.as_ref().and_then(|(_, bytes)| bytes.get(within..));
        let bytes = bytes.and_then(|bytes| bytes.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or_else(|| damaged("a compressed cluster is short"))?);
        Ok(())
    }

    /// The contents of a compressed cluster, exactly as long as a cluster.
    fn unpack(&self, entry: u64) -> io::Result<Vec<u8>> {
        let shift = 62 - (self.cluster_bits - 8);
        let offset = entry & ((1 << shift) - 1);
        let sectors = (entry & !(3 << 62)) >> shift;
        let length = (sectors + 1) * COMPRESSED_SECTOR - offset % COMPRESSED_SECTOR;
        // The last sector may reach over the end of the file.
        let there = self.file.metadata()?.len().saturating_sub(offset).min(length);
        // At most two clusters, by the width of the field.
        let mut packed = vec![0; there as usize];
        self.file.read_exact_at(&mut packed, offset)?;
        let mut bytes = vec![0; self.header.cluster as usize];
        let mut state = Decompress::new(false);
        state
            .decompress(&packed, &mut bytes, FlushDecompress::Finish)
            .map_err(|_| damaged("a compressed cluster does not unpack"))?;
        if state.total_out() != self.header.cluster {
            return Err(damaged("a compressed cluster is short"));
        }
        Ok(bytes)
    }
}

impl BlockDevice for Qcow2Device {
    fn sector_size(&self) -> u32 {
        SECTOR_SIZE
    }

    fn length(&self) -> u64 {
        self.header.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.header.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut offset, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let within = offset & (self.header.cluster - 1);
            let length = (self.header.cluster - within).min(rest.len() as u64);
            let (part, behind) = rest.split_at_mut(length as usize);
            self.read_cluster(offset >> self.cluster_bits, within, part)?;
            offset += length;
            rest = behind;
        }
        Ok(())
    }

    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn damaged(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Disk;
    use crate::qcow2::{CLUSTER, Qcow2Options, write_qcow2};
    use proptest::prelude::*;

    /// Text that packs, a hole, noise that does not pack, and an incomplete last cluster.
    fn disk() -> Vec<u8> {
        let mut state = 1_u64;
        let noise = (0..CLUSTER).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            (state >> 56) as u8
        });
        let mut bytes: Vec<u8> = (0..CLUSTER + 9).map(|index| (index / 9 % 61) as u8).collect();
        bytes.resize(5 * CLUSTER as usize, 0);
        bytes.extend(noise);
        bytes.extend([7; 1024]);
        bytes
    }

    fn image(compression: Option<u32>) -> File {
        let (raw, out) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        raw.write_all_at(&disk(), 0).unwrap();
        let options = Qcow2Options { virtual_length: Some(1 << 30), compression, threads: 1 };
        write_qcow2(&Disk::of_file(&raw).unwrap(), &out, &options).unwrap();
        out
    }

    #[test]
    fn the_disk_is_read_back_from_plain_and_compressed_clusters() {
        for compression in [None, Some(6)] {
            let device = Qcow2Device::open(image(compression)).unwrap();
            assert_eq!((device.length(), device.header().cluster), (1 << 30, CLUSTER));
            let mut bytes = vec![1; disk().len() + 5000];
            device.read_at(0, &mut bytes).unwrap();
            let (found, behind) = bytes.split_at(disk().len());
            assert!(found == disk() && behind.iter().all(|byte| *byte == 0), "{compression:?}");
            let mut some = [0; 700];
            device.read_at(CLUSTER - 300, &mut some).unwrap();
            assert_eq!(some[..], disk()[CLUSTER as usize - 300..][..700]);
            assert!(device.read_at((1 << 30) - 699, &mut some).is_err());
        }
    }

    #[test]
    fn what_cannot_be_read_truly_is_refused() {
        let cases: [(usize, u8, &str); 4] = [
            (header::BACKING_OFFSET + 7, 1, "difference"),
            (header::ENCRYPTION + 3, 1, "encrypted"),
            (header::INCOMPATIBLE + 7, 0x8, "feature"),
            (header::LENGTH, 1, "too long"),
        ];
        for (at, value, expected) in cases {
            let file = image(None);
            file.write_all_at(&[value], at as u64).unwrap();
            let error = Qcow2Device::open(file).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damage_is_an_error_or_other_contents(
            compressed: bool, place in 0_u64..3, near in 0_u64..128, bytes: [u8; 8],
        ) {
            let file = image(compressed.then_some(6));
            // The header, and the tables at the end of the file, where the writer puts them.
            let length = file.metadata().unwrap().len();
            let start = if place == 0 { 0 } else { length - (place + 2) * CLUSTER };
            file.write_all_at(&bytes, start + near).unwrap();
            if let Ok(device) = Qcow2Device::open(file) {
                let mut buffer = vec![0; 3 * CLUSTER as usize];
                for offset in [0, CLUSTER, 4 * CLUSTER] {
                    let read = device.read_at(offset, &mut buffer);
                    prop_assert!(read.is_err() || device.length() >= offset + 3 * CLUSTER);
                }
            }
        }
    }
}
