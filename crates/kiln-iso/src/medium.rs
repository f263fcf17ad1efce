//! What a medium shall be: names, time, tree, boot loaders and partitions.
//!
//! Nothing in here depends on the clock or on chance: the caller gives one time for everything and
//! one digest that all identifiers are derived from.
//!
//! Partitions have names of their own and not those of an installed disk. A stick must never look
//! like a disk whose first boot has yet to grow it: with these names [`kiln_disk::layout`] refuses
//! it as somebody else's.

use kiln_disk::gpt::Gpt;
use kiln_disk::{Guid, PartitionEntry, layout};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::format::{DISK_SECTOR, Place};
use crate::tree::{Content, Tree};

/// Name of the ESP in the partition table.
pub const ESP_NAME: &str = "kiln-medium-esp";
/// Name of the root image's partition.
pub const ROOT_NAME: &str = "kiln-medium-root";
/// Numbers of the two, as on an installed disk.
pub const ESP_NUMBER: u32 = layout::ESP.number;
/// See [`ESP_NUMBER`].
pub const ROOT_NUMBER: u32 = layout::ROOT_A.number;
/// Sectors of 512 bytes in front of everything that a partition may have: the system area.
const SYSTEM_AREA: u64 = 64;

/// How a BIOS starts the medium: GRUB's core for CDs, and the code that finds it on a stick.
#[derive(Debug)]
pub struct BiosBoot<'a> {
    /// Where the core is shown as a file.
    pub path: &'a str,
    /// What `grub-mkimage -O i386-pc-eltorito` makes.
    pub core: &'a [u8],
    /// GRUB's `boot_hybrid.img`; without it a BIOS starts the medium only as a CD.
    pub boot_code: Option<&'a [u8]>,
}

/// A medium to be laid out by [`crate::plan`].
#[derive(Debug)]
pub struct Medium<'a> {
    /// Label: 1 to 32 letters, digits, `_`, `-`, `.`.
    pub volume_id: String,
    /// For which system: at most 32 printable ASCII characters.
    pub system_id: String,
    /// What is on it: at most 128 printable ASCII characters.
    pub application_id: String,
    /// Who made it: at most 128 printable ASCII characters.
    pub publisher: String,
    /// The one time of all files and of the volume, in seconds since 1970.
    pub time: u64,
    /// What the identifiers of disk and partitions are derived from, such as the root hash.
    pub seed: [u8; 32],
    /// Directories, files and links.
    pub tree: Tree<'a>,
    /// For a BIOS.
    pub bios: Option<BiosBoot<'a>>,
    /// The EFI system partition, which is also the boot image for UEFI on a CD.
    pub esp: Option<Content<'a>>,
    /// The root image with its hash tree.
    pub root: Option<Content<'a>>,
    /// Whether the finished image can be customized in place, see [`crate::customize`].
    pub customizable: bool,
}

impl<'a> Medium<'a> {
    /// A medium of this label that holds `tree` and starts nothing yet.
    pub fn new(volume_id: impl Into<String>, seed: [u8; 32], tree: Tree<'a>) -> Self {
        Self {
            volume_id: volume_id.into(),
            system_id: "LINUX".into(),
            application_id: "KILN".into(),
            publisher: String::new(),
            time: 0,
            seed,
            tree,
            bios: None,
            esp: None,
            root: None,
            customizable: false,
        }
    }

    /// Whether the texts fit their fields.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |field, value: &str, reason| {
            Err(Error::Field { field, value: value.chars().take(200).collect(), reason })
        };
        let label = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if self.volume_id.is_empty() || self.volume_id.len() > 32 {
            return refuse("volume id", &self.volume_id, "it has not 1 to 32 characters");
        }
        if !self.volume_id.bytes().all(label) {
            return refuse("volume id", &self.volume_id, "it has a character that is not allowed");
        }
        for (field, value, limit) in [
            ("system id", &self.system_id, 32),
            ("application id", &self.application_id, 128),
            ("publisher", &self.publisher, 128),
        ] {
            if value.len() > limit {
                return refuse(field, value, "it is too long");
            }
            if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
                return refuse(field, value, "it has a character that is not printable ASCII");
            }
        }
        Ok(())
    }

    /// The partition table of a medium of `length` bytes. Everything in front of the first partition
    /// is declared unusable, so that no tool puts a partition over the files of the CD.
    pub(crate) fn table(
        seed: &[u8; 32],
        length: u64,
        esp: Option<Place>,
        root: Option<Place>,
    ) -> Result<Gpt, Error> {
        // The identity of the table's format: 512 bytes, as sticks have.
        let mut table = Gpt::empty(DISK_SECTOR as u32, length, identifier(seed, "iso disk"))
            .map_err(Error::Table)?;
        let first = [esp, root].into_iter().flatten().map(|place| place.offset / DISK_SECTOR).min();
        table.first_usable = first.unwrap_or(table.last_usable).max(SYSTEM_AREA);
        for (role, number, name, place) in [
            (layout::ESP, ESP_NUMBER, ESP_NAME, esp),
            (layout::ROOT_A, ROOT_NUMBER, ROOT_NAME, root),
        ] {
            let Some(place) = place else { continue };
            let entry = PartitionEntry {
                type_guid: role.type_guid,
                guid: identifier(seed, name),
                first_lba: place.offset / DISK_SECTOR,
                last_lba: (place.end().div_ceil(DISK_SECTOR)).saturating_sub(1),
                attributes: 0,
                name: name.to_owned(),
            };
            table.partitions.insert(number, entry);
        }
        table.check().map_err(Error::Table)?;
        Ok(table)
    }
}

/// A version 8 GUID (RFC 9562): the digest of purpose and seed.
fn identifier(seed: &[u8; 32], purpose: &str) -> Guid {
    let hash = Sha256::new()
        .chain_update(b"kiln identifier\0")
        .chain_update(purpose)
        .chain_update(b"\0")
        .chain_update(seed)
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    // The version is in the high byte of a field that is stored little-endian.
    bytes[7] = bytes[7] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Guid(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_their_fields() {
        for (label, good) in [
            ("COS_LIVE", true),
            ("cOS-0.1", true),
            ("", false),
            ("a b", false),
            ("ä", false),
            ("x\n", false),
            ("123456789012345678901234567890123", false),
        ] {
            assert_eq!(Medium::new(label, [0; 32], Tree::new()).check().is_ok(), good, "{label:?}");
        }
        let mut medium = Medium::new("X", [0; 32], Tree::new());
        medium.publisher = "p".repeat(129);
        assert!(medium.check().is_err());
        medium.publisher = "tab\t".into();
        assert!(medium.check().is_err());
    }

    #[test]
    fn a_stick_is_not_an_installed_disk() {
        let place = |mib: u64, length: u64| Some(Place { offset: mib << 20, length: length << 20 });
        let table = Medium::table(&[3; 32], 100 << 20, place(2, 40), place(42, 50)).unwrap();
        assert_eq!(table.first_usable, 4096);
        assert!(layout::stage(&table).is_err());
        let text = table.disk_guid.to_string();
        assert_eq!(&text[14..15], "8");
        assert!(Medium::table(&[3; 32], 100 << 20, place(2, 40), place(41, 50)).is_err());
        assert!(Medium::table(&[3; 32], 4 << 20, None, None).unwrap().partitions.is_empty());
    }
}
