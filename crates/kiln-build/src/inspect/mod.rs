//! Looking into finished files: what a disk, a root image or a boot file is and holds.
//!
//! The kind of a file is found in its bytes, never in its name. A file that is of no known kind is
//! an error; damage inside a disk is a line of the report, because the rest of a broken disk is
//! what its owner wants to see. Nothing is written, mounted or executed, and every size that is
//! read is bounded before it is believed.
//!
//! Reading `release.json` beside the file was dropped: the report must say what the machine gets.

mod boot_file;
mod disk;
mod iso;
mod root;
mod text;
mod view;

pub use boot_file::{BootFileFacts, RootNamed, SectionFacts};
pub use disk::{DiskFacts, EspBootFile, EspFacts, EspFile, NamedBy, PartitionFacts, SlotFacts};
pub use iso::{IsoBootEntry, IsoCustomization, IsoFacts, IsoFile};
pub use root::{DirectoryFacts, ErofsFacts, ReleaseFacts, RootFacts, VerityFacts};
pub use text::to_text;

use std::fs::File;
use std::path::Path;

use kiln_disk::{BlockDevice, FileDevice};
use kiln_erofs::format::{MAGIC as EROFS_MAGIC, SUPER_OFFSET};
use kiln_iso::format::{FIRST_DESCRIPTOR, SECTOR_BYTES, descriptor};
use kiln_media::qcow2::Qcow2Device;
use kiln_media::vhd::VhdDevice;
use kiln_media::vmdk::VmdkDevice;
use kiln_media::{Format, ova, recognise};
use serde::Serialize;

use crate::Error;
use view::View;

/// Name and version of the JSON form. Keys are only ever added to it.
pub const FORMAT: &str = "kiln.inspect.v1";

/// Largest directories that are shown unless told otherwise.
pub const DIRECTORIES: usize = 10;

/// Byte offset of the first volume descriptor of an ISO image.
const ISO_DESCRIPTOR: u64 = FIRST_DESCRIPTOR * SECTOR_BYTES;

/// Largest boot file in bytes that is read: twenty times what Kiln makes.
const MAXIMUM_BOOT_FILE: u32 = 256 << 20;

/// What a file is. All lengths and offsets are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: &'static str,
    /// The file itself.
    pub file: FileFacts,
    /// What it holds; in JSON the key is `iso`, `disk`, `root` or `boot_file`.
    #[serde(flatten)]
    pub contents: Contents,
}

/// The outside of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileFacts {
    /// Length of the file.
    pub length: u64,
    /// What a disk is packed as, as `kiln build --format` names it; nothing for a raw one.
    pub medium: Option<&'static str>,
    /// The header, if it is a qcow2 image.
    pub qcow2: Option<Qcow2Facts>,
}

/// The header of a qcow2 image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Qcow2Facts {
    /// 2 or 3.
    pub version: u32,
    /// Length of a cluster.
    pub cluster_length: u64,
    /// Length of the disk that a guest sees.
    pub virtual_length: u64,
    /// Number of snapshots inside.
    pub snapshots: u32,
}

/// The inside of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Contents {
    /// An ISO 9660 image, which may be a disk as well.
    Iso(Box<IsoFacts>),
    /// A disk with a partition table.
    Disk(Box<DiskFacts>),
    /// An EROFS image, with or without its hash tree.
    Root(Box<RootFacts>),
    /// A boot file, or another EFI program.
    BootFile(Box<BootFileFacts>),
}

/// Looks into the file at `path` and names the `directories` largest directories of each root.
///
/// # Errors
/// [`Error::Read`] if it cannot be opened, [`Error::Inspect`] if it is of no known kind or damaged.
pub fn inspect(path: &Path, directories: usize) -> Result<Report, Error> {
    let refuse = |reason: String| Error::Inspect { path: path.to_owned(), reason };
    let open = || File::open(path).map_err(|source| Error::read(path, source));
    let file = open()?;
    let is_directory = file.metadata().map_err(|source| Error::read(path, source))?.is_dir();
    if is_directory {
        return Err(refuse("it is a directory".to_owned()));
    }
    let format = recognise(&file).map_err(|source| Error::read(path, source))?;
    let raw = FileDevice::new(file, 512).map_err(|source| Error::read(path, source))?;
    let length = raw.length();
    let damaged = |error: kiln_media::Error| refuse(error.to_string());
    let mut qcow2 = None;
    let device: Box<dyn BlockDevice> = match format {
        None | Some(Format::Raw) => Box::new(raw),
        Some(Format::Qcow2) => {
            let device = Qcow2Device::open(open()?).map_err(damaged)?;
            let header = device.header();
            qcow2 = Some(Qcow2Facts {
                version: header.version,
                cluster_length: header.cluster,
                virtual_length: header.length,
                snapshots: header.snapshots,
            });
            Box::new(device)
        }
        Some(Format::Vmdk) => Box::new(VmdkDevice::open(open()?).map_err(damaged)?),
        Some(Format::Ova) => Box::new(ova::open_ova(open()?).map_err(damaged)?),
        Some(Format::Vhd) => Box::new(VhdDevice::open(open()?).map_err(damaged)?),
        Some(Format::RawZst | Format::Gce) => {
            return Err(refuse("it is compressed as a whole; unpack it first".to_owned()));
        }
    };
    let contents = inspect_device(device.as_ref(), directories).map_err(refuse)?;
    let medium = format.map(Format::ending);
    Ok(Report { format: FORMAT, file: FileFacts { length, medium, qcow2 }, contents })
}

/// Looks into the bytes of a disk, a root or a boot file; the error is a reason.
fn inspect_device(device: &dyn BlockDevice, directories: usize) -> Result<Contents, String> {
    let view = View::whole(device);
    let starts_with = |offset: u64, expected: &[u8]| {
        let mut found = vec![0; expected.len()];
        device.read_at(offset, &mut found).is_ok() && found == expected
    };
    if starts_with(SUPER_OFFSET as u64, &EROFS_MAGIC.to_le_bytes()) {
        let facts = root::facts(view, directories).map_err(|error| chain(&error))?;
        return Ok(Contents::Root(Box::new(facts)));
    }
    // In front of the disk, which a hybrid image is as well.
    if starts_with(ISO_DESCRIPTOR + 1, descriptor::IDENTIFIER) {
        return iso::facts(view, directories).map(|facts| Contents::Iso(Box::new(facts)));
    }
    if starts_with(0, b"MZ") {
        if device.length() > u64::from(MAXIMUM_BOOT_FILE) {
            return Err("it is too large for a boot file".to_owned());
        }
        // At most MAXIMUM_BOOT_FILE.
        let mut bytes = vec![0; device.length() as usize];
        device.read_at(0, &mut bytes).map_err(|error| error.to_string())?;
        let facts = boot_file::facts(&bytes).map_err(|error| chain(&error))?;
        return Ok(Contents::BootFile(Box::new(facts)));
    }
    disk::facts(device, directories).map(|facts| Contents::Disk(Box::new(facts)))
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_disk::MemoryDevice;
    use proptest::prelude::*;

    fn try_bytes(bytes: Vec<u8>) -> Result<Contents, String> {
        inspect_device(&MemoryDevice::new(&bytes, 512).unwrap(), 3)
    }

    #[test]
    fn files_of_no_known_kind_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        for bytes in [&b""[..], b"MZ", b"QFI\xfb", b"QFI\xfb\0\0\0\x03", &[0; 5000]] {
            std::fs::write(&path, bytes).unwrap();
            let error = inspect(&path, 1).unwrap_err();
            assert!(matches!(error, Error::Inspect { .. }), "{error}");
            assert!(error.to_string().contains("notes.txt") && error.hint().is_some(), "{error}");
        }
        assert!(matches!(inspect(folder.path(), 1), Err(Error::Inspect { .. })));
        assert!(matches!(inspect(&folder.path().join("none"), 1), Err(Error::Read { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_of_any_kind_give_an_answer(
            kind in 0..4_u8,
            mut bytes in prop::collection::vec(any::<u8>(), 0..9000),
        ) {
            let (at, magic): (usize, &[u8]) = match kind {
                0 => (0, b"MZ"),
                1 => (SUPER_OFFSET, &EROFS_MAGIC.to_le_bytes()),
                2 => (512, b"EFI PART"),
                _ => (0, b""),
            };
            if let Some(place) = bytes.get_mut(at..at + magic.len()) {
                place.copy_from_slice(magic);
            }
            // Random bytes have no valid checksum, so none of these is a disk or a root.
            prop_assert!(!matches!(try_bytes(bytes), Ok(Contents::Disk(_) | Contents::Root(_))));
        }
    }
}
