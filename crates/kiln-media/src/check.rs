//! Reading a medium back and comparing it with the disk that it was made from.
//!
//! By this crate's own readers, from the file as the system has it. This finds what went wrong on
//! the way to the disk and mistakes of a writer; mistakes that writer and reader share are found by
//! the tests, which ask other programs.

use crate::gce::GceReader;
use crate::ova::open_ova;
use crate::qcow2::Qcow2Device;
use crate::sparse::is_zero;
use crate::vhd::VhdDevice;
use crate::vmdk::VmdkDevice;
use crate::zst::open_zst;
use crate::{Disk, Error};
use kiln_disk::{BlockDevice, FileDevice};
use std::fs::File;
use std::io::{self, Read};

/// Bytes that are compared at a time.
const COMPARED: usize = 1 << 20;

/// The formats of disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// The disk as it is.
    Raw,
    /// The same in Zstandard frames.
    RawZst,
    /// QEMU's.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// The same as a virtual machine.
    Ova,
    /// Azure's.
    Vhd,
    /// Compute Engine's.
    Gce,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Raw, Self::RawZst, Self::Qcow2, Self::Vmdk, Self::Ova, Self::Vhd, Self::Gce];

    /// What a file of the format is called behind its name.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::RawZst => "raw.zst",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Ova => "ova",
            Self::Vhd => "vhd",
            Self::Gce => "gce.tar.gz",
        }
    }
}

/// Reads `file`, a medium of the format, and compares each of its bytes with the disk; behind the
/// end of the disk it must hold zeros. The read position of the file is moved.
///
/// # Errors
/// [`Error::Differs`], and those of the format's reader.
pub fn check(disk: &Disk<'_>, format: Format, file: &File) -> Result<(), Error> {
    let failed = |source| Error::Read { offset: 0, source };
    let file = file.try_clone().map_err(failed)?;
    let name = format.ending();
    let device =
        |device: &dyn BlockDevice| compare(disk, name, &mut DeviceReader { device, position: 0 });
    match format {
        Format::Raw => device(&FileDevice::new(file, 512).map_err(failed)?),
        Format::RawZst => compare(disk, name, &mut open_zst(file)?),
        Format::Qcow2 => device(&Qcow2Device::open(file)?),
        Format::Vmdk => device(&VmdkDevice::open(file)?),
        Format::Ova => device(&open_ova(file)?),
        Format::Vhd => device(&VhdDevice::open(file)?),
        Format::Gce => compare(disk, name, &mut GceReader::open(file)?),
    }
}

fn compare(disk: &Disk<'_>, format: &'static str, reader: &mut dyn Read) -> Result<(), Error> {
    let (mut found, mut expected) = (vec![0; COMPARED], vec![0; COMPARED]);
    let mut offset = 0;
    loop {
        let length = fill(reader, &mut found).map_err(|source| Error::Read { offset, source })?;
        let (found, expected) = (&found[..length], &mut expected[..length]);
        let end = offset + length as u64;
        let is_hole = disk.next_data(offset).is_none_or(|data| data.start >= end);
        if !is_hole {
            disk.read_at(offset, expected)?;
        }
        let is_equal = if is_hole { is_zero(found) } else { found == &*expected };
        if !is_equal {
            if is_hole {
                expected.fill(0);
            }
            let equal = found.iter().zip(&*expected).take_while(|(one, other)| one == other);
            return Err(Error::Differs { format, offset: offset + equal.count() as u64 });
        }
        offset = end;
        if length < COMPARED {
            break;
        }
    }
    if offset < disk.length() { Err(Error::Differs { format, offset }) } else { Ok(()) }
}

/// Fills the buffer as far as there is something.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A device from its start to its end.
struct DeviceReader<'a> {
    device: &'a dyn BlockDevice,
    position: u64,
}

impl Read for DeviceReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.device.length().saturating_sub(self.position);
        let length = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        if let Some(part) = buffer.get_mut(..length) {
            self.device.read_at(self.position, part)?;
        }
        self.position += length as u64;
        Ok(length)
    }
}
