//! A disk of a machine: its file, format, bus and sector size.
//!
//! The format is told by the file's first bytes and given to QEMU explicitly. QEMU's own guessing
//! must never be used: a guest could write a qcow2 header into its raw disk and name any file of
//! the host as backing file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::machine::escape;

/// First four bytes of a qcow2 file: `QFI` and 0xfb (QEMU docs/interop/qcow2.txt, header).
const QCOW2_MAGIC: [u8; 4] = [b'Q', b'F', b'I', 0xfb];

/// Disks are kept to whole sectors of the larger of the two sizes, so that one file serves both.
const LARGEST_SECTOR: u64 = 4096;

/// How a disk is laid out in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// Byte for byte.
    Raw,
    /// QEMU's sparse, growing format.
    Qcow2,
}

impl DiskFormat {
    /// Tells the format by the first bytes of `path`; what has no known magic is raw.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn probe(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
        let mut magic = [0; QCOW2_MAGIC.len()];
        match File::open(path).map_err(failed)?.read_exact(&mut magic) {
            Ok(()) => Ok(Self::of(magic)),
            Err(short) if short.kind() == io::ErrorKind::UnexpectedEof => Ok(Self::Raw),
            Err(source) => Err(failed(source)),
        }
    }

    fn of(magic: [u8; 4]) -> Self {
        if magic == QCOW2_MAGIC { Self::Qcow2 } else { Self::Raw }
    }
}

impl fmt::Display for DiskFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        })
    }
}

/// The bus a guest finds its disk on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiskInterface {
    /// virtio-blk: `/dev/vda`.
    #[default]
    VirtioBlk,
    /// NVMe: `/dev/nvme0n1`.
    Nvme,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    path: PathBuf,
    format: DiskFormat,
    interface: DiskInterface,
    sector_size: u32,
    ephemeral: bool,
    unsafe_cache: bool,
    read_only: bool,
    log: Option<PathBuf>,
}

impl Disk {
    /// A disk of known format, on virtio, with 512-byte sectors.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, format: DiskFormat) -> Self {
        Self {
            path: path.into(),
            format,
            interface: DiskInterface::default(),
            sector_size: 512,
            ephemeral: false,
            unsafe_cache: false,
            read_only: false,
            log: None,
        }
    }

    /// A disk whose format is told by its first bytes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn probe(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let format = DiskFormat::probe(&path)?;
        Ok(Self::new(path, format))
    }

    /// The file's format.
    #[must_use]
    pub fn format(&self) -> DiskFormat {
        self.format
    }

    /// Puts the disk on another bus.
    #[must_use]
    pub fn interface(mut self, interface: DiskInterface) -> Self {
        self.interface = interface;
        self
    }

    /// Sets the size in bytes of a sector as the guest sees it.
    ///
    /// # Errors
    /// When it is neither 512 nor 4096.
    pub fn sector_size(mut self, sector_size: u32) -> Result<Self, Error> {
        if !matches!(sector_size, 512 | 4096) {
            return Err(Error::SectorSize { sector_size });
        }
        self.sector_size = sector_size;
        Ok(self)
    }

    /// Lets the guest write into a temporary overlay that vanishes with the machine.
    #[must_use]
    pub fn ephemeral(mut self, ephemeral: bool) -> Self {
        self.ephemeral = ephemeral;
        self
    }

    /// Ignores the guest's flushes: right for tests on throw-away disks, where it saves seconds, and
    /// wrong for a disk that somebody wants to keep if the host loses power.
    #[must_use]
    pub fn unsafe_cache(mut self, unsafe_cache: bool) -> Self {
        self.unsafe_cache = unsafe_cache;
        self
    }

    /// Refuses the guest's writes.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Keeps a record of all writes, flushes and discards in this file, which must exist; what is in
    /// it is overwritten. The guest's flushes are recorded and go no further, so the disk itself is
    /// as safe as with [`unsafe_cache`](Disk::unsafe_cache).
    #[must_use]
    pub fn record_writes(mut self, log: impl Into<PathBuf>) -> Self {
        self.log = Some(log.into());
        self
    }

    /// The arguments for the disk with this number.
    pub(crate) fn arguments(&self, number: usize) -> Vec<String> {
        let mut drive = match &self.log {
            None => format!(
                "if=none,id=disk{number},format={},file={},discard=unmap,cache={}",
                self.format,
                escape(&self.path),
                if self.unsafe_cache || self.ephemeral { "unsafe" } else { "writeback" }
            ),
            // Flushes must reach the recorder and may end there: hence the caching of each node.
            Some(log) => format!(
                "if=none,id=disk{number},driver=blklogwrites,cache=writeback,discard=unmap,\
                 file.driver={},file.cache.no-flush=on,file.file.driver=file,file.file.filename={},\
                 log.driver=raw,log.cache.no-flush=on,log.file.driver=file,log.file.filename={}",
                self.format,
                escape(&self.path),
                escape(log),
            ),
        };
        if self.ephemeral {
            drive.push_str(",snapshot=on");
        }
        if self.read_only {
            drive.push_str(",readonly=on");
        }
        let sectors = format!("logical_block_size={0},physical_block_size={0}", self.sector_size);
        let device = match self.interface {
            DiskInterface::VirtioBlk => {
                format!("virtio-blk-pci,drive=disk{number},bootindex={},{sectors}", number + 1)
            }
            DiskInterface::Nvme => format!(
                "nvme,drive=disk{number},serial=disk{number},bootindex={},{sectors}",
                number + 1
            ),
        };
        vec!["-drive".into(), drive, "-device".into(), device]
    }
}

/// Makes a raw disk `length` bytes long without writing any of them, and returns the sentence that
/// tells the user so, or nothing when the disk has that length already.
///
/// The partition table is left alone: the system in it takes the new room at its next boot.
///
/// # Errors
/// When the disk is not raw, is longer than that, or cannot be changed.
pub fn grow_to(path: &Path, length: u64) -> Result<Option<String>, Error> {
    let format = DiskFormat::probe(path)?;
    if format != DiskFormat::Raw {
        return Err(Error::CannotGrow { path: path.to_owned(), format });
    }
    if !length.is_multiple_of(LARGEST_SECTOR) {
        return Err(Error::OddLength { wanted: length });
    }
    let failed = |source| Error::File { action: "grow", path: path.to_owned(), source };
    let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
    let current = file.metadata().map_err(failed)?.len();
    if current > length {
        return Err(Error::WouldShrink { path: path.to_owned(), current, wanted: length });
    }
    if current == length {
        return Ok(None);
    }
    file.set_len(length).map_err(failed)?;
    Ok(Some(format!(
        "{} grown from {} to {} MiB (sparse); the system takes the room at its next boot",
        path.display(),
        current >> 20,
        length >> 20
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_format() {
        let folder = tempfile::tempdir().unwrap();
        for (bytes, expected) in [
            (&b"QFI\xfb\0\0\0\x03"[..], DiskFormat::Qcow2),
            (b"QFI\xfa\0\0\0\x03", DiskFormat::Raw),
            (b"QFI", DiskFormat::Raw),
            (b"", DiskFormat::Raw),
        ] {
            let path = folder.path().join("disk");
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(DiskFormat::probe(&path).unwrap(), expected, "{bytes:?}");
        }
        let missing = folder.path().join("missing");
        assert!(DiskFormat::probe(&missing).unwrap_err().to_string().contains("missing"));
    }

    #[test]
    fn growing_is_sparse_told_and_never_backwards() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        std::fs::write(&path, vec![1; 8192]).unwrap();

        const GROWN: u64 = 8 << 20;
        let sentence = grow_to(&path, GROWN).unwrap().unwrap();
        assert!(sentence.contains("to 8 MiB"), "{sentence}");
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), GROWN);
        assert!(metadata.blocks() < 2048, "growing allocated {} blocks", metadata.blocks());
        assert_eq!(&std::fs::read(&path).unwrap()[..8193], &[&[1; 8192][..], &[0]].concat()[..]);

        assert_eq!(grow_to(&path, GROWN).unwrap(), None);
        assert!(matches!(grow_to(&path, 4096), Err(Error::WouldShrink { .. })));
        assert!(matches!(grow_to(&path, (GROWN) + 1), Err(Error::OddLength { .. })));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), GROWN);

        std::fs::write(&path, b"QFI\xfb").unwrap();
        assert!(matches!(grow_to(&path, GROWN), Err(Error::CannotGrow { .. })));
    }

    #[test]
    fn a_disk_is_a_drive_and_a_device() {
        let raw = Disk::new("/d/a,b.raw", DiskFormat::Raw);
        for (disk, expected) in [
            (
                raw.clone(),
                "-drive if=none,id=disk0,format=raw,file=/d/a,,b.raw,discard=unmap,cache=writeback \
                 -device virtio-blk-pci,drive=disk0,bootindex=1,\
                 logical_block_size=512,physical_block_size=512",
            ),
            (
                raw.clone().ephemeral(true).sector_size(4096).unwrap(),
                "-drive if=none,id=disk0,format=raw,file=/d/a,,b.raw,discard=unmap,cache=unsafe,\
                 snapshot=on \
                 -device virtio-blk-pci,drive=disk0,bootindex=1,\
                 logical_block_size=4096,physical_block_size=4096",
            ),
            (
                raw.clone().record_writes("/l"),
                "-drive if=none,id=disk0,driver=blklogwrites,cache=writeback,discard=unmap,\
                 file.driver=raw,file.cache.no-flush=on,file.file.driver=file,\
                 file.file.filename=/d/a,,b.raw,log.driver=raw,log.cache.no-flush=on,\
                 log.file.driver=file,log.file.filename=/l \
                 -device virtio-blk-pci,drive=disk0,bootindex=1,\
                 logical_block_size=512,physical_block_size=512",
            ),
            (
                Disk::new("/d/x", DiskFormat::Qcow2).interface(DiskInterface::Nvme).read_only(true),
                "-drive if=none,id=disk0,format=qcow2,file=/d/x,discard=unmap,cache=writeback,\
                 readonly=on \
                 -device nvme,drive=disk0,serial=disk0,bootindex=1,\
                 logical_block_size=512,physical_block_size=512",
            ),
        ] {
            assert_eq!(disk.arguments(0).join(" "), expected);
        }
        assert!(matches!(raw.sector_size(520), Err(Error::SectorSize { sector_size: 520 })));
    }
}
