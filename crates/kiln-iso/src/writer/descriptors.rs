//! Volume descriptors (ECMA-119, chapter 8; Joliet; El Torito 1.0, figure 7).

use super::directories::root_record;
use crate::format::{Moment, Place, SECTOR, SECTOR_BYTES, both16, both32, descriptor};
use crate::medium::Medium;

/// Texts of a volume.
#[derive(Debug)]
pub(crate) struct Texts {
    system: String,
    volume: String,
    publisher: String,
    application: String,
}

impl Texts {
    pub(crate) fn of(medium: &Medium<'_>) -> Self {
        Self {
            system: medium.system_id.clone(),
            volume: medium.volume_id.clone(),
            publisher: medium.publisher.clone(),
            application: medium.application_id.clone(),
        }
    }
}

/// Where the parts of a volume are.
#[derive(Debug)]
pub(crate) struct VolumePlaces {
    /// Length of the volume in bytes, whole sectors.
    pub(crate) length: u64,
    /// The path table with numbers little-endian.
    pub(crate) path_table_little: Place,
    /// The one with numbers big-endian.
    pub(crate) path_table_big: Place,
    /// The root directory.
    pub(crate) root: Place,
}

/// A primary or, with `joliet`, a supplementary volume descriptor.
pub(crate) fn volume(
    texts: &Texts,
    places: &VolumePlaces,
    moment: Moment,
    joliet: bool,
) -> Vec<u8> {
    let kind = if joliet { descriptor::SUPPLEMENTARY } else { descriptor::PRIMARY };
    let mut bytes = start(kind);
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    // The planner makes sure that all sectors have 32 bits.
    let sector = |place: Place| (place.offset / SECTOR_BYTES) as u32;
    let text = |text: &str, length| if joliet { wide(text, length) } else { narrow(text, length) };
    put(descriptor::SYSTEM_ID, &text(&texts.system, 32));
    put(descriptor::VOLUME_ID, &text(&texts.volume, 32));
    put(descriptor::SPACE, &both32((places.length / SECTOR_BYTES) as u32));
    if joliet {
        put(descriptor::ESCAPES, descriptor::JOLIET_ESCAPE);
    }
    put(descriptor::SET_SIZE, &both16(1));
    put(descriptor::SEQUENCE, &both16(1));
    put(descriptor::BLOCK_SIZE, &both16(SECTOR as u16));
    put(descriptor::PATH_TABLE_LENGTH, &both32(places.path_table_little.length as u32));
    put(descriptor::PATH_TABLE_LITTLE, &sector(places.path_table_little).to_le_bytes());
    put(descriptor::PATH_TABLE_BIG, &sector(places.path_table_big).to_be_bytes());
    put(descriptor::ROOT, &root_record(places.root, moment.short()));
    put(descriptor::SET_ID, &text(&texts.volume, 128));
    put(descriptor::PUBLISHER, &text(&texts.publisher, 128));
    put(descriptor::PREPARER, &text("KILN", 128));
    put(descriptor::APPLICATION, &text(&texts.application, 128));
    for file in 0..3 {
        put(descriptor::FILES + file * 37, &text("", 37));
    }
    let never = *b"0000000000000000\0";
    for (at, time) in [
        (descriptor::CREATED, moment.long()),
        (descriptor::MODIFIED, moment.long()),
        (descriptor::EXPIRES, never),
        (descriptor::EFFECTIVE, never),
    ] {
        put(at, &time);
    }
    put(descriptor::STRUCTURE, &[1]);
    bytes
}

/// Says where the boot catalog is.
pub(crate) fn boot_record(catalog: Place) -> Vec<u8> {
    let mut bytes = start(descriptor::BOOT_RECORD);
    let at = descriptor::IDENTIFIER.len() + 1;
    bytes[at..at + descriptor::EL_TORITO.len()].copy_from_slice(descriptor::EL_TORITO);
    let sector = (catalog.offset / SECTOR_BYTES) as u32;
    bytes[descriptor::CATALOG..descriptor::CATALOG + 4].copy_from_slice(&sector.to_le_bytes());
    bytes
}

/// Ends the list.
pub(crate) fn terminator() -> Vec<u8> {
    start(descriptor::TERMINATOR)
}

fn start(kind: u8) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(descriptor::IDENTIFIER);
    bytes.resize(SECTOR, 0);
    bytes
}

/// ASCII, padded with spaces. The texts were checked to fit.
fn narrow(text: &str, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = text.bytes().take(length).collect();
    bytes.resize(length, b' ');
    bytes
}

/// UTF-16 big-endian, padded with spaces: half as many characters.
fn wide(text: &str, length: usize) -> Vec<u8> {
    let units = text.encode_utf16().chain(std::iter::repeat(u16::from(b' ')));
    let mut bytes: Vec<u8> = units.take(length / 2).flat_map(u16::to_be_bytes).collect();
    bytes.resize(length, 0);
    bytes
}
