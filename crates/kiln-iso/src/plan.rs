//! Where everything lies on a medium: a pure function from what is wanted to byte offsets.
//!
//! From the front: 32 KiB for a disk's eyes (boot code, partition table), volume descriptors, boot
//! catalog, path tables, directories, files; then, each at a whole MiB, the ESP and the root image;
//! at the end one MiB with the backup table, which is also what drives read ahead of the last file.
//! Both partitions lie inside the volume, so that they exist on a CD as well, where nobody looks for
//! partitions: firmware finds the ESP through the boot catalog, and the partition table can be read
//! from a CD as from any bytes, with sectors of 512 bytes.
//!
//! hadris-iso was dropped: it does not let the caller place the root image, does not patch GRUB's
//! boot code, knows no place that stays writable, and adds partitions of its own to the table.

use kiln_disk::gpt::{self, Gpt};

use crate::boot::{BOOT_CODE, boot_catalog, place_boot_code, place_core};
use crate::customize::{self, AREA_LENGTH, AREA_PATH, ARGUMENTS_LENGTH, ARGUMENTS_PATH};
use crate::error::Error;
use crate::format::{FIRST_DESCRIPTOR, Moment, Place, SECTOR, SECTOR_BYTES};
use crate::medium::Medium;
use crate::tree::{Content, Partition, Source, Tree, names};
use crate::writer::descriptors::{self, Texts, VolumePlaces};
use crate::writer::directories::{Kind, NameTree};
use crate::writer::flat::Flat;

/// Partitions start at multiples of so many bytes, as on installed disks.
pub const ALIGNMENT: u64 = layout_alignment();
/// Places that are rewritten start at multiples of so many bytes, which every disk writes whole.
const REWRITTEN: u64 = 4096;
/// Bytes of the system area (ECMA-119, 6.2.1).
const SYSTEM_AREA: usize = FIRST_DESCRIPTOR as usize * SECTOR;
/// Offset of the second partition record of the first sector.
const SECOND_RECORD: usize = 446 + 16;
/// A partition of no type that is active: BIOSes exist that start a stick only if one is. The one of
/// the partition table must not be, because firmware exists that then does not believe the table.
const ACTIVE: [u8; 16] = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

const fn layout_alignment() -> u64 {
    kiln_disk::layout::ALIGNMENT
}

/// A run of bytes on the medium.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) place: Place,
    pub(crate) what: What<'a>,
}

/// What a run of bytes is.
#[derive(Debug)]
pub(crate) enum What<'a> {
    /// Made by the planner.
    Bytes(Vec<u8>),
    /// Content of a file or partition of this name.
    Content(String, Content<'a>),
}

/// A medium whose every byte has its place; [`crate::write`] carries it out.
#[derive(Debug)]
pub struct Layout<'a> {
    /// Length of the medium in bytes: whole MiB.
    pub length: u64,
    /// GRUB's core for a BIOS.
    pub core: Option<Place>,
    /// The EFI system partition.
    pub esp: Option<Place>,
    /// The root image with its hash tree. It is also partition 3 of [`Layout::table`].
    pub root: Option<Place>,
    /// The area for configuration, see [`crate::customize`].
    pub area: Option<Place>,
    /// The text for GRUB, see [`crate::customize`].
    pub arguments: Option<Place>,
    /// The partition table.
    pub table: Gpt,
    /// All files by their paths, in the order in which they lie on the medium.
    pub files: Vec<(String, Place)>,
    /// In ascending order and apart from each other; everything else is zeros.
    pub(crate) pieces: Vec<Piece<'a>>,
}

impl Layout<'_> {
    /// What the planner itself made, by byte offset: all but the contents of files and partitions.
    pub fn metadata(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.pieces.iter().filter_map(|piece| match &piece.what {
            What::Bytes(bytes) => Some((piece.place.offset, &**bytes)),
            What::Content(..) => None,
        })
    }

    /// Where the file with this path is.
    pub fn file(&self, path: &str) -> Option<Place> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let mut files = self.files.iter();
        files.find(|(name, _)| name.strip_prefix('/') == Some(path)).map(|(_, place)| *place)
    }
}

/// Lays a medium out. Reads nothing and writes nothing.
///
/// # Errors
/// [`Error::Field`], [`Error::Path`], [`Error::TooMany`], [`Error::TooLong`], [`Error::BootImage`],
/// [`Error::NoPartition`].
pub fn plan(mut medium: Medium<'_>) -> Result<Layout<'_>, Error> {
    medium.check()?;
    let moment = Moment::from_seconds(medium.time)?;
    add_own_files(&mut medium)?;
    let texts = Texts::of(&medium);
    let Medium { seed, tree, bios, esp, root, .. } = medium;
    let mut flat = Flat::new(tree.root)?;

    // Lengths of everything in front of the files do not depend on places, so places follow.
    share_partitions(&mut flat, esp.as_ref(), root.as_ref())?;
    let has_catalog = bios.is_some() || esp.is_some();
    let mut cursor = Cursor((FIRST_DESCRIPTOR + 3 + u64::from(has_catalog)) * SECTOR_BYTES);
    let catalog = has_catalog.then(|| cursor.take(SECTOR_BYTES));
    let mut trees = [NameTree::new(&flat, Kind::Primary), NameTree::new(&flat, Kind::Joliet)];
    let mut tables = Vec::new();
    for tree in &trees {
        let length = tree.path_table(&flat, false).len() as u64;
        tables.push([cursor.take(length), cursor.take(length)]);
    }
    let mut areas = Vec::new();
    for tree in &mut trees {
        let start = cursor.0;
        let end = tree.lay_out(&flat, start);
        cursor.take(end - start);
        let (_, area) = tree.render(&flat, 0, moment.short());
        areas.push((start, cursor.take(area.len() as u64)));
    }
    let mut core_place = None;
    for file in &mut flat.files {
        if let Source::Partition(_) = file.content.source {
            continue;
        }
        if [AREA_PATH, ARGUMENTS_PATH].contains(&&*file.path) {
            cursor.align(REWRITTEN);
        }
        file.place = cursor.take(file.content.length);
        if bios.as_ref().is_some_and(|bios| same_path(bios.path, &file.path)) {
            core_place = Some(file.place);
        }
    }
    let mut place_partition = |content: &Option<Content<'_>>| {
        content.as_ref().map(|content| {
            cursor.align(ALIGNMENT);
            cursor.take(content.length)
        })
    };
    let (esp_place, root_place) = (place_partition(&esp), place_partition(&root));
    cursor.align(ALIGNMENT);
    let length = cursor.0.saturating_add(ALIGNMENT);
    check_length(length)?;
    for file in &mut flat.files {
        let place = match file.content.source {
            Source::Partition(Partition::Esp) => esp_place,
            Source::Partition(Partition::Root) => root_place,
            _ => None,
        };
        file.place = place.unwrap_or(file.place);
    }

    // Now everything has its place: make the bytes.
    let sector = |place: Place| (place.offset / SECTOR_BYTES) as u32;
    let mut pieces = Vec::new();
    let mut push = |offset: u64, bytes: Vec<u8>| {
        let place = Place { offset, length: bytes.len() as u64 };
        pieces.push(Piece { place, what: What::Bytes(bytes) });
    };
    let table = Medium::table(&seed, length, esp_place, root_place)?;
    let mut system_area = vec![0; SYSTEM_AREA];
    for write in gpt::create(&table).map_err(Error::Table)? {
        let end =
            usize::try_from(write.offset).ok().and_then(|at| at.checked_add(write.bytes.len()));
        match end.and_then(|end| system_area.get_mut(end - write.bytes.len()..end)) {
            Some(place) => place.copy_from_slice(&write.bytes),
            None => push(write.offset, write.bytes.into_owned()),
        }
    }
    if let (Some(bios), Some(place)) = (&bios, core_place) {
        if let Some(code) = bios.boot_code {
            system_area[..BOOT_CODE].copy_from_slice(&place_boot_code(code, sector(place))?);
            system_area[SECOND_RECORD..SECOND_RECORD + 16].copy_from_slice(&ACTIVE);
        }
        push(place.offset, place_core(bios.core, sector(place))?);
    }
    push(0, system_area);
    let mut list = Vec::new();
    for (number, (tree, tables)) in trees.iter().zip(&tables).enumerate() {
        let [path_table_little, path_table_big] = *tables;
        let root = tree.root();
        let places = VolumePlaces { length, path_table_little, path_table_big, root };
        list.push(descriptors::volume(&texts, &places, moment, number > 0));
        push(path_table_little.offset, tree.path_table(&flat, false));
        push(path_table_big.offset, tree.path_table(&flat, true));
    }
    if let Some(catalog) = catalog {
        // Firmware looks for it behind the primary descriptor and nowhere else.
        list.insert(1, descriptors::boot_record(catalog));
        let esp = esp_place.map(|place| (sector(place), place.length));
        push(catalog.offset, boot_catalog(core_place.map(sector), esp));
    }
    list.push(descriptors::terminator());
    push(FIRST_DESCRIPTOR * SECTOR_BYTES, list.concat());
    for (tree, (start, area)) in trees.iter().zip(&areas) {
        let (directories, continued) = tree.render(&flat, sector(*area), moment.short());
        push(*start, directories);
        push(area.offset, continued);
    }
    let mut layout = Layout {
        length,
        core: core_place,
        esp: esp_place,
        root: root_place,
        area: None,
        arguments: None,
        table,
        files: flat.files.iter().map(|file| (file.path.clone(), file.place)).collect(),
        pieces,
    };
    layout.area = layout.file(AREA_PATH).filter(|_| medium.customizable);
    layout.arguments = layout.file(ARGUMENTS_PATH).filter(|_| medium.customizable);
    for file in flat.files {
        let patched = core_place == Some(file.place) && file.place.length > 0;
        if !patched && !matches!(file.content.source, Source::Partition(_)) {
            let what = What::Content(file.path, file.content);
            layout.pieces.push(Piece { place: file.place, what });
        }
    }
    for (partition, content, place) in
        [(Partition::Esp, esp, esp_place), (Partition::Root, root, root_place)]
    {
        if let (Some(content), Some(place)) = (content, place) {
            let what = What::Content(partition.name().to_owned(), content);
            layout.pieces.push(Piece { place, what });
        }
    }
    layout.pieces.retain(|piece| piece.place.length > 0);
    layout.pieces.sort_by_key(|piece| piece.place.offset);
    Ok(layout)
}

/// Puts the core and the places for customization into the tree. They win over files of these
/// names, but such names are refused, because somebody would miss what they put there.
fn add_own_files(medium: &mut Medium<'_>) -> Result<(), Error> {
    let reserved = |tree: &Tree<'_>, path: &str| match tree.contains(path) {
        true => {
            Err(Error::Path { path: path.to_owned(), reason: "the medium itself needs this name" })
        }
        false => Ok(()),
    };
    if let Some(bios) = &medium.bios {
        crate::boot::check_core(bios.core)?;
        reserved(&medium.tree, bios.path)?;
        // Its bytes follow when its place is known; until then they are those as given.
        medium.tree.file(bios.path, 0o644, Content::bytes(bios.core))?;
    }
    if medium.customizable {
        for (path, bytes, length) in [
            (AREA_PATH, customize::empty_area(), AREA_LENGTH),
            (ARGUMENTS_PATH, customize::empty_arguments(), ARGUMENTS_LENGTH),
        ] {
            reserved(&medium.tree, path)?;
            debug_assert_eq!(bytes.len(), length);
            medium.tree.file(path, 0o644, Content::bytes(bytes))?;
        }
    }
    Ok(())
}

/// Gives files that stand for partitions the partitions' lengths.
fn share_partitions(
    flat: &mut Flat<'_>,
    esp: Option<&Content<'_>>,
    root: Option<&Content<'_>>,
) -> Result<(), Error> {
    for (partition, content) in [(Partition::Esp, esp), (Partition::Root, root)] {
        if let Some(Content { source: Source::Partition(_), .. }) = content {
            let path = partition.name().to_owned();
            return Err(Error::NoPartition { path, partition: partition.name() });
        }
    }
    for file in &mut flat.files {
        let Source::Partition(partition) = file.content.source else { continue };
        let content = match partition {
            Partition::Esp => esp,
            Partition::Root => root,
        };
        let content = content.ok_or_else(|| Error::NoPartition {
            path: file.path.clone(),
            partition: partition.name(),
        })?;
        file.place.length = content.length;
    }
    // Before anything is made that grows with it: a long file has many records.
    let contents = flat.files.iter().map(|file| file.content.length);
    let partitions = [esp, root].into_iter().flatten().map(|content| content.length);
    check_length(contents.chain(partitions).fold(0, u64::saturating_add))
}

/// Whether all sectors of a medium of so many bytes have 32 bits.
fn check_length(length: u64) -> Result<(), Error> {
    let limit = u64::from(u32::MAX) * SECTOR_BYTES;
    if length > limit {
        return Err(Error::TooLong { what: "the medium".into(), length, limit });
    }
    Ok(())
}

fn same_path(left: &str, right: &str) -> bool {
    names(left.as_bytes()).ok() == names(right.as_bytes()).ok()
}

/// Goes over the medium from its front to its end, in whole sectors.
struct Cursor(u64);

impl Cursor {
    fn take(&mut self, length: u64) -> Place {
        let place = Place { offset: self.0, length };
        self.0 = self.0.saturating_add(length.div_ceil(SECTOR_BYTES).saturating_mul(SECTOR_BYTES));
        place
    }

    fn align(&mut self, alignment: u64) {
        self.0 = self.0.div_ceil(alignment).saturating_mul(alignment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A medium with everything, as small as it can be.
    fn medium<'a>() -> Medium<'a> {
        let mut tree = Tree::new();
        tree.file("boot/kernel", 0o644, Content::bytes(vec![1; 5000])).unwrap();
        tree.file("root.img", 0o644, Content::partition(Partition::Root)).unwrap();
        let mut medium = Medium::new("TEST", [1; 32], tree);
        medium.bios = Some(BIOS);
        medium.esp = Some(Content::bytes(vec![2; 40_000]));
        medium.root = Some(Content::bytes(vec![3; 8192]));
        medium.customizable = true;
        medium
    }

    const BIOS: crate::BiosBoot<'static> =
        crate::BiosBoot { path: "boot/core.img", core: &[9; 6000], boot_code: Some(&[8; 512]) };

    #[test]
    fn everything_has_a_place_of_its_own() {
        let layout = plan(medium()).unwrap();
        let ends = layout.pieces.windows(2).all(|pair| pair[0].place.end() <= pair[1].place.offset);
        assert!(ends, "{:?}", layout.pieces.iter().map(|piece| piece.place).collect::<Vec<_>>());
        assert!(layout.pieces.last().unwrap().place.end() == layout.length);
        for place in [layout.esp.unwrap(), layout.root.unwrap()] {
            assert_eq!(place.offset % ALIGNMENT, 0);
        }
        assert_eq!(layout.file("root.img"), layout.root);
        assert_eq!(layout.file("/boot/core.img"), layout.core);
        for place in [layout.area.unwrap(), layout.arguments.unwrap()] {
            assert_eq!((place.offset % REWRITTEN, place.length % REWRITTEN), (0, 0));
        }
        let root = &layout.table.partitions[&3];
        assert_eq!(root.offset(512), layout.root.unwrap().offset);
        assert_eq!(root.length(512), 8192);
    }

    #[test]
    fn impossible_media_are_refused() {
        type Change = fn(&mut Medium<'_>);
        type Expected = fn(&Error) -> bool;
        let cases: [(&str, Change, Expected); 8] = [
            ("label", |m| m.volume_id.clear(), |e| matches!(e, Error::Field { .. })),
            ("time", |m| m.time = u64::MAX, |e| matches!(e, Error::Field { .. })),
            ("no root", |m| m.root = None, |e| matches!(e, Error::NoPartition { .. })),
            (
                "reserved",
                |m| m.tree.file(AREA_PATH, 0o644, Content::bytes(vec![0])).unwrap(),
                |e| matches!(e, Error::Path { .. }),
            ),
            (
                "core's name",
                |m| m.tree.file("/boot/core.img", 0o644, Content::bytes(vec![0])).unwrap(),
                |e| matches!(e, Error::Path { .. }),
            ),
            (
                "too large",
                |m| m.root = Some(Content::path("none", u64::MAX)),
                |e| matches!(e, Error::TooLong { .. }),
            ),
            (
                "core",
                |m| m.bios.as_mut().unwrap().core = &[],
                |e| matches!(e, Error::BootImage { .. }),
            ),
            (
                "code",
                |m| m.bios.as_mut().unwrap().boot_code = Some(&[0; 100]),
                |e| matches!(e, Error::BootImage { .. }),
            ),
        ];
        for (name, change, expected) in cases {
            let mut medium = medium();
            change(&mut medium);
            let error = plan(medium).unwrap_err();
            assert!(expected(&error), "{name}: {error}");
        }
    }
}
