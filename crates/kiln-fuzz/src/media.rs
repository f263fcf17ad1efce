//! Files of disks as others make them: qcow2, VMDK, VHD, OVA, and what is compressed as a whole.

use std::fs::File;
use std::io::Read;

use kiln_disk::BlockDevice;
use kiln_media::gce::GceReader;
use kiln_media::qcow2::Qcow2Device;
use kiln_media::vhd::VhdDevice;
use kiln_media::vmdk::VmdkDevice;
use kiln_media::{ova, recognise, zst};

use crate::sparse::SparseDisk;
use crate::{memory, repair};

/// Bytes read from the start of a disk.
const READ_BYTES: u64 = 256 << 10;
/// Bytes read from one that can only be read from its start.
const STREAM_BYTES: u64 = 8 << 20;
/// Longest VHD in bytes that is made of an input.
const VHD_BYTES: u64 = 64 << 20;
/// Bytes of a VHD's footer.
const FOOTER: usize = 512;

/// Opens a qcow2 image and reads it in one piece and in many: both must be the same.
pub fn qcow2(data: &[u8]) -> bool {
    sparse_file(data)
        .is_some_and(|file| Qcow2Device::open(file).is_ok_and(|disk| reads_alike(&disk)))
}

/// The same with a streamOptimized VMDK.
pub fn vmdk(data: &[u8]) -> bool {
    sparse_file(data)
        .is_some_and(|file| VmdkDevice::open(file).is_ok_and(|disk| reads_alike(&disk)))
}

/// The same with an OVA.
pub fn ova(data: &[u8]) -> bool {
    sparse_file(data).is_some_and(|file| ova::open_ova(file).is_ok_and(|disk| reads_alike(&disk)))
}

/// The same with a fixed VHD. The input is the footer, whose checksum is made right, and then the
/// start of the disk.
pub fn vhd(data: &[u8]) -> bool {
    let Some((footer, contents)) = data.split_first_chunk::<FOOTER>() else { return false };
    let mut footer = *footer;
    repair::vhd_footer(&mut footer);
    // "Current size" of the footer.
    let length = footer[48..56].iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    let length = length.min(VHD_BYTES);
    let file = memory::file();
    let most = contents.len().min(length as usize);
    memory::write(&file, 0, &contents[..most]);
    memory::write(&file, length, &footer);
    let Ok(device) = VhdDevice::open(file) else { return false };
    assert_eq!(device.length(), length);
    reads_alike(&device)
}

/// Unpacks what Compute Engine takes, with small and with large buffers: both must be the same.
pub fn gce(data: &[u8]) -> bool {
    let open = || GceReader::open(memory::file_of(data));
    let (Ok(small), Ok(large)) = (open(), open()) else { return false };
    assert!(recognise(&memory::file_of(data)).is_ok_and(|format| format.is_some()));
    streams_alike(small, large)
}

/// The same with a raw disk in Zstandard frames.
pub fn raw_zst(data: &[u8]) -> bool {
    let open = || zst::open_zst(memory::file_of(data));
    let (Ok(small), Ok(large)) = (open(), open()) else { return false };
    streams_alike(small, large)
}

/// The file of an input in the form of [`SparseDisk`].
fn sparse_file(data: &[u8]) -> Option<File> {
    let disk = SparseDisk::parse(data)?;
    let file = memory::file();
    file.set_len(disk.length()).ok()?;
    for (offset, bytes) in disk.pieces() {
        let length = (disk.length() - offset).min(bytes.len() as u64) as usize;
        memory::write(&file, offset, &bytes[..length]);
    }
    assert!(recognise(&file).is_ok(), "a file in memory cannot be read");
    Some(file)
}

/// Reads a disk in one piece and in many.
fn reads_alike(device: &dyn BlockDevice) -> bool {
    let length = device.length().min(READ_BYTES) as usize;
    let mut whole = vec![0; length];
    let read = device.read_at(0, &mut whole);
    let mut pieces = vec![0; length];
    let mut outcome = Ok(());
    for (number, piece) in pieces.chunks_mut(3000).enumerate() {
        outcome = outcome.and(device.read_at(number as u64 * 3000, piece));
    }
    assert_eq!(read.is_ok(), outcome.is_ok(), "{read:?} against {outcome:?}");
    assert!(read.is_err() || whole == pieces, "two readings differ");
    let mut end = [0; 512];
    let _ = device.read_at(device.length().saturating_sub(512), &mut end);
    assert!(device.read_at(device.length(), &mut end).is_err(), "a read beyond the end");
    read.is_ok()
}

/// Reads a stream with buffers of two lengths.
fn streams_alike(small: impl Read, large: impl Read) -> bool {
    let mut small = std::io::BufReader::with_capacity(700, small.take(STREAM_BYTES));
    let (mut one, mut other) = (Vec::new(), Vec::new());
    let (first, second) =
        (std::io::copy(&mut small, &mut one), large.take(STREAM_BYTES).read_to_end(&mut other));
    assert_eq!(first.is_ok(), second.is_ok(), "{first:?} against {second:?}");
    assert!(first.is_err() || one == other, "two readings differ");
    first.is_ok()
}
