//! What was written reads back the same: any tree, deep and wide ones, files of many GiB.
#![expect(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::collections::BTreeMap;
use std::io;

use common::{MIB, bytes, full_medium, image_of, metadata};
use kiln_disk::{MemoryDevice, apply};
use kiln_iso::{
    Content, Customization, Document, EntryKind, Iso, Medium, NameKind, Partition, ReadAt, Regions,
    Tree, dump, plan, write,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_small_image_keeps_its_bytes() {
    let layout = plan(full_medium()).unwrap();
    let image = bytes(&layout);
    assert_eq!(hex(&image), GOLDEN, "{}", dump(&Iso::open(&metadata(&layout)).unwrap()).unwrap());
    // The same through a file, with holes.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let file = std::fs::File::create_new(&path).unwrap();
    write(&layout, &file).unwrap();
    assert_eq!(hex(&std::fs::read(&path).unwrap()), GOLDEN);
    let blocks = std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap());
    assert!(blocks * 512 < 4 * MIB, "{blocks} blocks for 1 MiB of content");
}

/// Of an image with everything in it. Changes only together with the form of the media.
const GOLDEN: &str = "a1d26e73321a5d316c162c88c690e332505e3e7b3f4e546bb3c5c84e19611828";

#[test]
fn boot_loaders_and_partitions_are_where_the_layout_says() {
    let layout = plan(full_medium()).unwrap();
    let image = bytes(&layout);
    let device = MemoryDevice::new(&image, 512).unwrap();
    let iso = Iso::open(&device).unwrap();
    assert_eq!(iso.volume().volume_id, "KILN_TEST");
    assert_eq!(iso.volume().modified, "2020091312264000");
    assert_eq!(iso.volume().length, layout.length);
    assert_eq!(iso.names(), NameKind::RockRidge);
    let [bios, uefi] = iso.boot_entries().unwrap()[..] else { panic!("two boot entries") };
    assert_eq!((bios.platform, bios.offset), (0, layout.core.unwrap().offset));
    // 34 MiB are more than 16 bits of sectors: all that follows.
    assert_eq!((uefi.platform, uefi.offset, uefi.sectors), (0xef, layout.esp.unwrap().offset, 0));
    let located = iso.table().unwrap();
    assert!(located.other_agrees);
    assert_eq!(located.table, layout.table);
    let sector = layout.core.unwrap().offset / 512;
    assert_eq!(image[0x1b0..0x1b8], (sector + 4).to_le_bytes());
    assert_eq!(image[..0x1b0], common::CODE[..0x1b0]);
    let root = iso.find("kiln/root.img").unwrap();
    assert_eq!(root.kind, EntryKind::File(vec![layout.root.unwrap()]));
    assert_eq!(iso.read(&root, 1 << 20).unwrap()[..4], [0, 1, 2, 3]);
    let link = iso.find("absolute").unwrap();
    assert_eq!(link.kind, EntryKind::Symlink(b"/boot/vmlinuz".to_vec()));
    let long = iso.find(&("deep/".repeat(12) + "end")).unwrap();
    assert_eq!(long.kind, EntryKind::Symlink(("x/".repeat(500) + "y").into_bytes()));
    assert_eq!(iso.find("bare").unwrap().permissions, 0o700);
    for none in ["none", "boot/vmlinuz/x", "boot/none/x"] {
        assert!(matches!(iso.find(none), Err(kiln_iso::Error::NoFile(_))), "{none}");
    }
}

#[test]
fn a_finished_image_is_customized_in_place_and_back() {
    let layout = plan(full_medium()).unwrap();
    let built = bytes(&layout);
    let mut device = MemoryDevice::new(&built, 512).unwrap();
    let regions = Regions::find(&Iso::open(&device).unwrap()).unwrap();
    assert_eq!((Some(regions.area), Some(regions.arguments)), (layout.area, layout.arguments));
    assert_eq!(regions.read(&device).unwrap(), Customization::default());
    let document = Document { name: "config.ign".into(), bytes: b"{}".to_vec() };
    let with = Customization { arguments: "kiln.test='1'".into(), documents: vec![document] };
    let writes = regions.customize(&with).unwrap();
    apply(&mut device, &writes).unwrap();
    assert_eq!(regions.read(&device).unwrap(), with);
    let mut changed = device.to_vec();
    for place in [regions.area, regions.arguments] {
        let place = place.offset as usize..place.end() as usize;
        assert!(changed[place.clone()] != built[place.clone()]);
        changed[place.clone()].copy_from_slice(&built[place]);
    }
    assert!(changed == built, "bytes outside of the two places changed");
    // The whole image is read as before, only the contents of two files differ.
    let before = MemoryDevice::new(&built, 512).unwrap();
    let entries = |device| Iso::open(device).unwrap().entries().unwrap();
    assert_eq!(entries(&before), entries(&device));
    apply(&mut device, &regions.reset()).unwrap();
    assert!(device.to_vec() == built, "reset does not give back the image");
    // A cut after any but the last write is seen, and both ways out work.
    for written in 1..writes.len() {
        let mut cut = MemoryDevice::new(&built, 512).unwrap();
        apply(&mut cut, &writes[..written]).unwrap();
        let error = regions.read(&cut).unwrap_err();
        assert!(matches!(error, kiln_iso::Error::Customization(_)) && error.hint().is_some());
        assert_eq!(Regions::find(&Iso::open(&cut).unwrap()).unwrap(), regions);
        apply(&mut cut, &writes).unwrap();
        assert_eq!(regions.read(&cut).unwrap(), with);
    }
}

#[test]
fn an_image_without_places_is_not_customized() {
    let device = image_of(Tree::new());
    let error = Regions::find(&Iso::open(&device).unwrap()).unwrap_err();
    assert!(matches!(error, kiln_iso::Error::NotCustomizable(_)));
    let mut tree = Tree::new();
    tree.file("kiln/customize.img", 0o644, Content::bytes(vec![0; 1 << 20])).unwrap();
    let device = image_of(tree);
    assert!(Regions::find(&Iso::open(&device).unwrap()).is_err());
}

/// Zeros without end.
struct Zeros;

impl ReadAt for Zeros {
    fn read_exact_at(&self, buffer: &mut [u8], _: u64) -> io::Result<()> {
        buffer.fill(0);
        Ok(())
    }
}

#[test]
fn files_and_roots_of_many_gib() {
    let mut tree = Tree::new();
    let length = (9 << 30) + 5;
    tree.file("large", 0o644, Content::reader(&Zeros, length)).unwrap();
    tree.file("root", 0o644, Content::partition(Partition::Root)).unwrap();
    tree.file("small", 0o644, Content::bytes(&b"behind"[..])).unwrap();
    let mut medium = Medium::new("LARGE", [2; 32], tree);
    medium.root = Some(Content::reader(&Zeros, 6 << 30));
    let layout = plan(medium).unwrap();
    let device = metadata(&layout);
    let iso = Iso::open(&device).unwrap();
    let large = iso.find("large").unwrap();
    let EntryKind::File(extents) = &large.kind else { panic!("{large:?}") };
    assert_eq!((large.length(), extents.len()), (length, 3));
    assert!(extents.windows(2).all(|pair| pair[0].end() == pair[1].offset));
    assert_eq!(layout.file("large").unwrap().length, length);
    let root = iso.find("root").unwrap();
    assert_eq!(root.length(), 6 << 30);
    assert_eq!(iso.find("small").unwrap().length(), 6);
    let mut end = [1; 5];
    iso.read_at(&large, length - 5, &mut end).unwrap();
    assert_eq!(end, [0; 5]);
    assert!(iso.read_at(&large, length - 4, &mut end).is_err());
    assert!(iso.read(&large, 1 << 30).is_err());
    assert_eq!(iso.table().unwrap().table.partitions[&3].length(512), 6 << 30);
}

#[test]
fn ten_thousand_files_and_a_hundred_levels() {
    let mut tree = Tree::new();
    for number in 0..10_000 {
        let path = format!("many/file with a long name, number {number}.conf");
        tree.file(path, 0o644, Content::bytes(&b""[..])).unwrap();
    }
    let deep = "d/".repeat(120) + "end";
    tree.file(&*deep, 0o644, Content::bytes(&b"deep"[..])).unwrap();
    let device = image_of(tree);
    let iso = Iso::open(&device).unwrap();
    assert_eq!(iso.entries().unwrap().len(), 10_000 + 1 + 120 + 1);
    assert_eq!(iso.read(&iso.find(&deep).unwrap(), 10).unwrap(), b"deep");
}

#[test]
fn an_overlay_that_changes_while_it_is_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    type Change = fn(&std::path::Path);
    let changes: [Change; 4] = [
        |path| std::fs::write(path, "longer than before").unwrap(),
        |path| std::fs::remove_file(path).unwrap(),
        |path| {
            std::fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        },
        |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        },
    ];
    for change in changes {
        std::fs::write(&path, "text").unwrap();
        let mut tree = Tree::new();
        tree.overlay(folder.path()).unwrap();
        let layout = plan(Medium::new("X", [0; 32], tree)).unwrap();
        change(&path);
        assert!(kiln_iso::stream(&layout, &mut io::sink()).is_err());
        let _ = std::fs::remove_file(&path);
    }
}

/// A path of a few short names, some of which mean one another in the other trees of names.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        "[a-cA-C]{1,2}(\\.[a-c])?".prop_map(String::into_bytes),
        "[a-z .;:*+-]{1,20}".prop_map(String::into_bytes),
        "\\PC{1,40}".prop_map(String::into_bytes),
        "x{200,255}".prop_map(String::into_bytes),
        prop::collection::vec(1_u8.., 1..30),
    ];
    prop::collection::vec(name.prop_map(clean), 1..5).prop_map(|names| names.join(&b'/'))
}

/// Makes a name of anything.
fn clean(name: Vec<u8>) -> Vec<u8> {
    let mut name: Vec<u8> =
        name.into_iter().map(|byte| if byte == b'/' { b'_' } else { byte }).take(255).collect();
    if matches!(&*name, b"." | b"..") {
        name.push(b'x');
    }
    name
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Directory(u32),
    File(u32, Vec<u8>),
    Symlink(Vec<u8>),
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        (0_u32..0o10000).prop_map(Node::Directory),
        (0_u32..0o10000, prop::collection::vec(any::<u8>(), 0..5000))
            .prop_map(|(mode, bytes)| Node::File(mode, bytes)),
        prop::collection::vec("[a-z]{1,300}|\\.", 1..20)
            .prop_map(|names| names.join("/"))
            .prop_map(|target| Node::Symlink(target.into_bytes())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_tree_reads_back(nodes in prop::collection::vec((path(), node()), 0..30)) {
        let mut tree = Tree::new();
        let mut expected: BTreeMap<Vec<u8>, Node> = BTreeMap::new();
        for (path, node) in nodes {
            let put = match &node {
                Node::Directory(mode) => tree.directory(&path, *mode),
                Node::File(mode, bytes) => tree.file(&path, *mode, Content::bytes(bytes.clone())),
                Node::Symlink(target) => tree.symlink(&path, target),
            };
            if put.is_err() {
                continue;
            }
            for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                let above = expected.entry(path[..at].to_vec()).or_insert(Node::Directory(0o755));
                if !matches!(above, Node::Directory(_)) {
                    *above = Node::Directory(0o755);
                }
            }
            expected.insert(path, node);
        }
        let device = image_of(tree);
        let iso = Iso::open(&device).unwrap();
        let mut found = BTreeMap::new();
        for entry in iso.entries().unwrap() {
            let node = match &entry.kind {
                EntryKind::Directory => Node::Directory(entry.permissions),
                EntryKind::File(_) => Node::File(entry.permissions, iso.read(&entry, 5000).unwrap()),
                EntryKind::Symlink(target) => Node::Symlink(target.clone()),
                EntryKind::Other => panic!("{entry:?}"),
            };
            found.insert(entry.path, node);
        }
        prop_assert_eq!(found, expected);
    }
}
