//! Device-mapper: one read-only dm-verity device by plain ioctls.
//!
//! The buffer is built as bytes, not as a C structure with a tail, so that its stated length and its
//! real length are the same number. Format: linux/dm-ioctl.h, interface version 4;
//! Documentation/admin-guide/device-mapper/verity.rst for the table line. libdevmapper was dropped:
//! three calls are all that is needed, and it wants udev to make its nodes; devtmpfs does.

use crate::Error;
use crate::error::failed;
use crate::ioctl;
use std::fs::File;

/// The control node; devtmpfs makes it when dm-mod is loaded.
const CONTROL: &str = "/dev/mapper/control";
/// `sizeof(struct dm_ioctl)`, which every request number carries too.
const HEADER: usize = 312;
/// `sizeof(struct dm_target_spec)`.
const TARGET: usize = 40;
/// `DM_DEV_CREATE`, `DM_DEV_REMOVE`, `DM_DEV_SUSPEND`, `DM_TABLE_LOAD`: `_IOWR(0xfd, nr, struct dm_ioctl)`.
const DEVICE_CREATE: u32 = request(3);
const DEVICE_REMOVE: u32 = request(4);
/// Resumes too: without the suspend flag, loads the new table and lets input and output run.
const DEVICE_SUSPEND: u32 = request(6);
const TABLE_LOAD: u32 = request(9);
/// `DM_READONLY_FLAG`.
const READ_ONLY: u32 = 1;
/// `DM_NAME_LEN` less the closing NUL.
const NAME_MAXIMUM: usize = 127;

const fn request(number: u32) -> u32 {
    (3 << 30) | ((HEADER as u32) << 16) | (0xfd << 8) | number
}

/// A mapped device that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Its name with device-mapper.
    pub name: String,
    /// Its minor number.
    pub minor: u32,
}

impl Mapped {
    /// The node that devtmpfs gives it.
    #[must_use]
    pub fn node(&self) -> String {
        format!("/dev/dm-{}", self.minor)
    }
}

/// What dm-verity needs to know, for one device with data and tree behind each other.
#[derive(Clone, Debug)]
pub struct VerityTable<'text> {
    /// `major:minor` or path of the device.
    pub device: &'text str,
    /// Number of 4096-byte data blocks; the tree starts at this block.
    pub data_blocks: u64,
    /// Root hash, hexadecimal.
    pub root: &'text str,
    /// Salt, hexadecimal.
    pub salt: &'text str,
}

impl VerityTable<'_> {
    /// The table line: hash type 1, 4096-byte blocks, SHA-256. No option: a damaged block is an
    /// input/output error for whoever reads it, not a stop of the whole machine.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { device, data_blocks, root, salt } = self;
        format!("1 {device} {device} 4096 4096 {data_blocks} {data_blocks} sha256 {root} {salt}")
    }

    /// Length in 512-byte sectors.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.data_blocks.saturating_mul(8)
    }
}

/// Makes the verity device `name`; it is ready when this returns.
///
/// # Errors
/// The kernel's answer; a half-made device is removed again.
pub fn create_verity(name: &str, table: &VerityTable<'_>) -> Result<Mapped, Error> {
    let control = open_control()?;
    let mut buffer = header(name, 0, 0)?;
    call(&control, DEVICE_CREATE, &mut buffer, "DM_DEV_CREATE", name)?;
    let minor = minor_of(&buffer);
    let made = load(&control, name, table);
    if let Err(error) = made {
        // The first failure is the one worth telling; a leftover empty device harms nothing.
        let _ = remove(name);
        return Err(error);
    }
    Ok(Mapped { name: name.to_owned(), minor })
}

fn load(control: &File, name: &str, table: &VerityTable<'_>) -> Result<(), Error> {
    let target = target(table.sectors(), "verity", &table.line());
    let mut buffer = header(name, READ_ONLY, target.len())?;
    buffer.extend_from_slice(&target);
    call(control, TABLE_LOAD, &mut buffer, "DM_TABLE_LOAD", name)?;
    let mut buffer = header(name, 0, 0)?;
    call(control, DEVICE_SUSPEND, &mut buffer, "DM_DEV_SUSPEND", name)
}

/// Removes a mapped device that is not in use.
///
/// # Errors
/// The kernel's answer.
pub fn remove(name: &str) -> Result<(), Error> {
    let mut buffer = header(name, 0, 0)?;
    call(&open_control()?, DEVICE_REMOVE, &mut buffer, "DM_DEV_REMOVE", name)
}

fn open_control() -> Result<File, Error> {
    File::options().read(true).write(true).open(CONTROL).map_err(failed("open", CONTROL))
}

/// A `struct dm_ioctl` for `name` that announces `tail` more bytes; the tail starts behind it.
fn header(name: &str, flags: u32, tail: usize) -> Result<Vec<u8>, Error> {
    if name.is_empty() || name.len() > NAME_MAXIMUM || name.contains(['\0', '/']) {
        return Err(Error::Text { call: "device-mapper", subject: name.to_owned() });
    }
    let mut bytes = Vec::with_capacity(HEADER + tail);
    for version in [4_u32, 0, 0] {
        bytes.extend_from_slice(&version.to_ne_bytes());
    }
    let target_count = u32::from(tail > 0);
    let length = (HEADER + tail) as u32;
    // data_size, data_start, target_count, open_count, flags, event_nr, padding.
    for field in [length, HEADER as u32, target_count, 0, flags, 0, 0] {
        bytes.extend_from_slice(&field.to_ne_bytes());
    }
    bytes.extend_from_slice(&0_u64.to_ne_bytes());
    bytes.extend_from_slice(name.as_bytes());
    bytes.resize(HEADER, 0);
    Ok(bytes)
}

/// A `struct dm_target_spec` with its parameters, padded to 8 bytes.
fn target(sectors: u64, kind: &str, parameters: &str) -> Vec<u8> {
    let length = (TARGET + parameters.len() + 1).next_multiple_of(8);
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&0_u64.to_ne_bytes());
    bytes.extend_from_slice(&sectors.to_ne_bytes());
    bytes.extend_from_slice(&0_i32.to_ne_bytes());
    bytes.extend_from_slice(&(length as u32).to_ne_bytes());
    bytes.extend_from_slice(kind.as_bytes());
    bytes.resize(TARGET, 0);
    bytes.extend_from_slice(parameters.as_bytes());
    bytes.resize(length, 0);
    bytes
}

/// The minor number from `dm_ioctl.dev`, in the kernel's huge encoding (linux/kdev_t.h).
fn minor_of(buffer: &[u8]) -> u32 {
    let device = match buffer.get(40..48) {
        Some(bytes) => bytes.iter().rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte)),
        None => 0,
    };
    let device = if cfg!(target_endian = "big") { device.swap_bytes() } else { device };
    ((device & 0xff) | ((device >> 12) & 0xf_ff00)) as u32
}

fn call(
    control: &File,
    request: u32,
    buffer: &mut [u8],
    name: &'static str,
    subject: &str,
) -> Result<(), Error> {
    // SAFETY: all device-mapper requests take the buffer's length from `data_size`, which `header`
    // sets to the header plus exactly the tail that its callers append.
    unsafe { ioctl::with_buffer(control, request, buffer) }.map(drop).map_err(failed(name, subject))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: VerityTable<'_> =
        VerityTable { device: "254:3", data_blocks: 1000, root: "aa", salt: "bb" };

    #[test]
    fn the_table_line_puts_the_tree_behind_the_data() {
        assert_eq!(TABLE.line(), "1 254:3 254:3 4096 4096 1000 1000 sha256 aa bb");
        assert_eq!(TABLE.sectors(), 8000);
    }

    #[test]
    fn requests_are_those_of_the_kernel_header() {
        assert_eq!(DEVICE_CREATE, 0xc138_fd03);
        assert_eq!(TABLE_LOAD, 0xc138_fd09);
    }

    #[test]
    fn the_stated_length_is_the_real_one() {
        let tail = target(TABLE.sectors(), "verity", &TABLE.line());
        assert_eq!(tail.len() % 8, 0);
        assert_eq!(u32::from_ne_bytes(tail[20..24].try_into().unwrap()) as usize, tail.len());
        assert_eq!(&tail[24..31], b"verity\0");
        let mut buffer = header("kiln-root", READ_ONLY, tail.len()).unwrap();
        buffer.extend_from_slice(&tail);
        assert_eq!(u32::from_ne_bytes(buffer[12..16].try_into().unwrap()) as usize, buffer.len());
        assert_eq!(&buffer[48..58], b"kiln-root\0");
        assert_eq!(tail.last(), Some(&0));
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        for name in ["", "a/b", "a\0b", &"x".repeat(128)] {
            assert!(header(name, 0, 0).is_err(), "{name:?}");
        }
        assert!(header(&"x".repeat(127), 0, 0).is_ok());
    }

    #[test]
    fn minors_above_255_are_split_in_the_device_number() {
        for (device, minor) in [(0xfd00_u64, 0), (0xfd05, 5), (0x10_fd05, 0x105)] {
            let mut buffer = vec![0; HEADER];
            buffer[40..48].copy_from_slice(&device.to_ne_bytes());
            assert_eq!(minor_of(&buffer), minor);
        }
    }
}
