//! Questions to a block device, and telling the kernel about partitions one by one.
//!
//! Partitions are added and resized with BLKPG instead of re-reading the whole table (BLKRRPART):
//! the kernel refuses to re-read while one partition is in use, and the root always is.

use crate::Error;
use crate::error::failed;
use crate::ioctl;
use std::fs::File;

/// `BLKSSZGET`, linux/fs.h: logical sector size in bytes.
const GET_SECTOR_SIZE: u32 = 0x1268;
/// `BLKGETSIZE64`, linux/fs.h: length in bytes.
const GET_LENGTH: u32 = 0x8008_1272;
/// `BLKRRPART`, linux/fs.h: read the partition table again.
const READ_TABLE_AGAIN: u32 = 0x125f;
/// `BLKFLSBUF`, linux/fs.h: write back and drop the device's page cache.
const DROP_CACHE: u32 = 0x1261;
/// `BLKPG`, linux/blkpg.h.
const CHANGE_PARTITION: u32 = 0x1269;
/// `BLKPG_ADD_PARTITION`, `BLKPG_DEL_PARTITION`, `BLKPG_RESIZE_PARTITION`, linux/blkpg.h.
const ADD: libc::c_int = 1;
const DELETE: libc::c_int = 2;
const RESIZE: libc::c_int = 3;

/// `struct blkpg_partition`, linux/blkpg.h.
#[repr(C)]
struct PartitionArgument {
    /// Byte offset on the disk.
    start: libc::c_longlong,
    /// Length in bytes.
    length: libc::c_longlong,
    number: libc::c_int,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// `struct blkpg_ioctl_arg`, linux/blkpg.h.
#[repr(C)]
struct ChangeArgument {
    operation: libc::c_int,
    flags: libc::c_int,
    data_length: libc::c_int,
    data: *mut PartitionArgument,
}

/// A partition as the kernel is told about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Partition number, from 1.
    pub number: u32,
    /// Byte offset on the disk, a multiple of the sector size.
    pub offset: u64,
    /// Length in bytes, a multiple of the sector size.
    pub length: u64,
}

/// Logical sector size in bytes of an open block device.
///
/// # Errors
/// The kernel's answer; `subject` names the device in it.
pub fn sector_size(device: &File, subject: &str) -> Result<u32, Error> {
    let mut size: libc::c_int = 0;
    // SAFETY: BLKSSZGET writes one int.
    unsafe { ioctl::with_value(device, GET_SECTOR_SIZE, &mut size) }
        .map_err(failed("BLKSSZGET", subject))?;
    Ok(size.unsigned_abs())
}

/// Length in bytes of an open block device.
///
/// # Errors
/// The kernel's answer; `subject` names the device in it.
pub fn length(device: &File, subject: &str) -> Result<u64, Error> {
    let mut length = 0_u64;
    // SAFETY: BLKGETSIZE64 writes one 64-bit number.
    unsafe { ioctl::with_value(device, GET_LENGTH, &mut length) }
        .map_err(failed("BLKGETSIZE64", subject))?;
    Ok(length)
}

/// Makes the kernel read the partition table again. Refused (`EBUSY`) while a partition is in use.
///
/// # Errors
/// The kernel's answer; `subject` names the device in it.
pub fn read_table_again(disk: &File, subject: &str) -> Result<(), Error> {
    // SAFETY: BLKRRPART takes no argument.
    unsafe { ioctl::with_number(disk, READ_TABLE_AGAIN, 0) }
        .map(drop)
        .map_err(failed("BLKRRPART", subject))
}

/// Writes back and drops what the page cache holds of the device, so that the next reads come from
/// the medium.
///
/// # Errors
/// The kernel's answer; `subject` names the device in it.
pub fn drop_cache(device: &File, subject: &str) -> Result<(), Error> {
    // SAFETY: BLKFLSBUF takes no argument.
    unsafe { ioctl::with_number(device, DROP_CACHE, 0) }
        .map(drop)
        .map_err(failed("BLKFLSBUF", subject))
}

/// Tells the kernel of a partition that it does not know yet; its node appears in devtmpfs.
///
/// # Errors
/// The kernel's answer; `subject` names the disk in it.
pub fn add_partition(disk: &File, extent: Extent, subject: &str) -> Result<(), Error> {
    change(disk, ADD, extent).map_err(failed("BLKPG_ADD_PARTITION", subject))
}

/// Tells the kernel that a partition has another length now; works while it is in use.
///
/// # Errors
/// The kernel's answer; `subject` names the disk in it.
pub fn resize_partition(disk: &File, extent: Extent, subject: &str) -> Result<(), Error> {
    change(disk, RESIZE, extent).map_err(failed("BLKPG_RESIZE_PARTITION", subject))
}

/// Makes the kernel forget a partition that is not in use.
///
/// # Errors
/// The kernel's answer; `subject` names the disk in it.
pub fn remove_partition(disk: &File, number: u32, subject: &str) -> Result<(), Error> {
    change(disk, DELETE, Extent { number, offset: 0, length: 0 })
        .map_err(failed("BLKPG_DEL_PARTITION", subject))
}

fn change(disk: &File, operation: libc::c_int, extent: Extent) -> std::io::Result<()> {
    let out_of_range = |_| std::io::Error::from_raw_os_error(libc::EOVERFLOW);
    let mut partition = PartitionArgument {
        start: extent.offset.try_into().map_err(out_of_range)?,
        length: extent.length.try_into().map_err(out_of_range)?,
        number: extent.number.try_into().map_err(out_of_range)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let mut argument = ChangeArgument {
        operation,
        flags: 0,
        data_length: size_of::<PartitionArgument>() as libc::c_int,
        data: &raw mut partition,
    };
    // SAFETY: BLKPG reads one blkpg_ioctl_arg and the blkpg_partition behind its pointer, which
    // lives until the end of this function; both have the C layout of linux/blkpg.h.
    unsafe { ioctl::with_value(disk, CHANGE_PARTITION, &mut argument) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_the_layout_of_the_kernel_header() {
        assert_eq!(size_of::<PartitionArgument>(), 152);
        assert_eq!(std::mem::offset_of!(PartitionArgument, number), 16);
        #[cfg(target_pointer_width = "64")]
        assert_eq!(size_of::<ChangeArgument>(), 24);
    }

    #[test]
    fn a_plain_file_is_no_block_device() {
        let file = tempfile::tempfile().unwrap();
        let error = sector_size(&file, "a file").unwrap_err();
        assert_eq!(error.number(), Some(libc::ENOTTY), "{error}");
        let extent = Extent { number: 1, offset: u64::MAX, length: 1 };
        let error = add_partition(&file, extent, "a file").unwrap_err();
        assert_eq!(error.number(), Some(libc::EOVERFLOW), "{error}");
    }
}
