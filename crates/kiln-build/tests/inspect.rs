//! A tiny disk made by this workspace's own writers is described truly, raw and as qcow2, whole and
//! damaged.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use kiln_boot::uki::{UkiSections, assemble};
use kiln_build::inspect::{Contents, DiskFacts, inspect, to_text};
use kiln_disk::fat::{FatFile, format_filesystem};
use kiln_disk::{Guid, layout};
use kiln_erofs::{Codec, Encoder, EncoderOptions, ImageOptions, ValidatedTree, write_image};
use kiln_media::{Content, Disk, DiskPlan, Piece, Qcow2Options, write_qcow2, write_raw};
use kiln_tree::{ContentStore as _, Kind, Metadata, Node, Tree};
use kiln_verity::RootArgument;

const BOOT_PATH: &str = "EFI/Linux/kiln-00000001+3-0.efi";
const OS_RELEASE: &[u8] = b"ID=tiny\nVERSION_ID=7\nPRETTY_NAME=\"Tiny 7\"\n";

fn file(path: &Path) -> File {
    File::options().create(true).truncate(true).read(true).write(true).open(path).unwrap()
}

/// The smallest file that passes for a stub and for a kernel: headers and one section.
fn program() -> Vec<u8> {
    let mut bytes = vec![0; 0x600];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664_u16.to_le_bytes());
    put(0x46, &1_u16.to_le_bytes());
    put(0x54, &240_u16.to_le_bytes());
    put(0x58, &0x20b_u16.to_le_bytes());
    for (at, value) in [(32, 4096_u32), (36, 512), (56, 0x2000), (60, 0x400), (68, 10), (108, 16)] {
        put(0x58 + at, &value.to_le_bytes());
    }
    put(0x148, b".text");
    for (at, value) in [(8, 4_u32), (12, 0x1000), (16, 512), (20, 0x400)] {
        put(0x148 + at, &value.to_le_bytes());
    }
    bytes
}

/// Writes an image with its hash tree.
fn root_image(path: &Path) -> RootArgument {
    let spool = tempfile::tempfile().unwrap();
    let mut encoder =
        Encoder::new(EncoderOptions { codec: Codec::Lz4, threads: 1, spool }).unwrap();
    let mut tree = Tree::new();
    // Noise does not pack; a hash tree needs two data blocks.
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..50_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    for (name, bytes) in [
        ("usr/lib/os-release", OS_RELEASE),
        ("usr/lib/big/a", &noise[..]),
        ("usr/share/b", &[8; 9000][..]),
    ] {
        let folder = name.rsplit_once('/').unwrap().0;
        tree.ensure_directory(folder.as_bytes(), &Metadata::directory()).unwrap();
        let content = encoder.store(bytes.len() as u64, &mut &*bytes).unwrap();
        let node = Node { kind: Kind::File(content), metadata: Metadata::file() };
        let id = tree.insert(name.as_bytes(), node).unwrap();
        if name.ends_with("/a") {
            tree.link(b"usr/lib/big/again", id).unwrap();
        }
    }
    let out = file(path);
    let options = ImageOptions { uuid: [0x4b; 16], build_time: 0 };
    let facts = write_image(&ValidatedTree::new(&tree).unwrap(), &encoder, &out, options).unwrap();
    let (data_blocks, salt) = (facts.length / 4096, [9; 32]);
    let hashes = kiln_verity::build(&out, data_blocks, &salt, 1).unwrap();
    out.write_all_at(&hashes.bytes, facts.length).unwrap();
    RootArgument { root: hashes.root, data_blocks, salt }
}

/// Writes root, boot file and disk into a folder and returns what the boot file names.
fn make(folder: &Path, sector_size: u32) -> RootArgument {
    let root_path = folder.join("tiny.root");
    let argument = root_image(&root_path);
    let command_line = format!("kiln.root={argument} kiln.mode=system panic=10");
    let kernel = program();
    let sections = UkiSections {
        os_release: b"ID=kiln\nPRETTY_NAME=\"Tiny 7\"\n",
        command_line: command_line.as_bytes(),
        kernel_release: b"6.1.0",
        initrd: b"initrd",
        linux: &kernel,
    };
    let boot_file = assemble(&program(), &sections).unwrap();
    std::fs::write(folder.join("tiny.efi"), &boot_file).unwrap();
    let root = File::open(&root_path).unwrap();
    let length = root.metadata().unwrap().len();
    let table = layout::built_image(
        length,
        &layout::BuildOptions {
            sector_size,
            esp_length: 512 << 20,
            slot_length: Some(16 << 20),
            disk_guid: Guid([1; 16]),
            esp_guid: Guid([2; 16]),
            root_a_guid: Guid([3; 16]),
        },
    )
    .unwrap();
    let esp = table.partitions[&layout::ESP.number].length(sector_size);
    let files = [FatFile { path: BOOT_PATH, bytes: &boot_file }];
    let chunks = format_filesystem(esp, sector_size, 5, b"KILN-ESP   ", &files).unwrap();
    let pieces = chunks.into_iter().map(|(offset, bytes)| Piece::Bytes { offset, bytes }).collect();
    let contents = vec![
        Content { partition: layout::ESP.number, pieces },
        Content {
            partition: layout::ROOT_A.number,
            pieces: vec![Piece::File { offset: 0, from: 0, file: &root, length }],
        },
    ];
    let raw = file(&folder.join("tiny.raw"));
    write_raw(&raw, &DiskPlan { table, contents }).unwrap();
    for (name, compression) in [("tiny.qcow2", None), ("small.qcow2", Some(6))] {
        let options = Qcow2Options { virtual_length: Some(4 << 30), compression, threads: 1 };
        write_qcow2(&Disk::of_file(&raw).unwrap(), &file(&folder.join(name)), &options).unwrap();
    }
    argument
}

fn disk(path: &Path) -> DiskFacts {
    match inspect(path, 2).unwrap().contents {
        Contents::Disk(disk) => *disk,
        other => panic!("{other:?} is no disk"),
    }
}

#[test]
fn a_disk_is_described_with_either_sector_size_and_in_every_container() {
    for sector_size in [512, 4096] {
        let folder = tempfile::tempdir().unwrap();
        let argument = make(folder.path(), sector_size);
        let facts = disk(&folder.path().join("tiny.raw"));
        assert_eq!(
            (facts.sector_size, facts.table, facts.tables_agree),
            (sector_size, "primary", true)
        );
        let kinds: Vec<_> =
            facts.partitions.iter().map(|found| (found.number, found.kind)).collect();
        assert_eq!(kinds, [(2, "esp"), (3, "root")]);
        assert_eq!((facts.partitions[0].start, facts.partitions[1].length), (1 << 20, 16 << 20));
        let esp = facts.esp.as_ref().unwrap();
        assert_eq!((&*esp.label, &*esp.files[0].path), ("KILN-ESP", BOOT_PATH));
        let boot_file = esp.boot_files[0].facts.as_ref().unwrap();
        assert_eq!(boot_file.kernel.as_deref(), Some("6.1.0"));
        assert_eq!(boot_file.mode.as_deref(), Some("system"));
        assert_eq!(boot_file.root.as_ref().unwrap().hash, argument.root.to_string());
        let slot = &facts.slots[0];
        assert_eq!((slot.named_by.len(), slot.named_by[0].top_block_agrees), (1, true));
        let root = slot.root.as_ref().unwrap();
        assert_eq!(root.release.title.as_deref(), Some("Tiny 7"));
        assert_eq!((&*root.erofs.codec, root.erofs.files), ("lz4", 3));
        assert_eq!(root.erofs.content_length, 59_000 + OS_RELEASE.len() as u64);
        let largest: Vec<_> =
            root.largest_directories.iter().map(|found| (&*found.path, found.length)).collect();
        let (all, library) = (root.erofs.content_length, 50_000 + OS_RELEASE.len() as u64);
        assert_eq!(largest, [("/usr", all), ("/usr/lib", library)]);
        for name in ["tiny.qcow2", "small.qcow2"] {
            assert_eq!(disk(&folder.path().join(name)), facts, "{name}");
        }
    }
}

#[test]
fn root_image_and_boot_file_are_described_alone() {
    let folder = tempfile::tempdir().unwrap();
    let argument = make(folder.path(), 512);
    let report = inspect(&folder.path().join("tiny.root"), 1).unwrap();
    let Contents::Root(root) = &report.contents else { panic!("{report:?}") };
    assert_eq!((root.verity.data_blocks, root.verity.fits), (argument.data_blocks, true));
    assert_eq!(root.verity.hash_offset + root.verity.hash_length, report.file.length);
    assert_eq!(root.largest_directories.len(), 1);
    let report = inspect(&folder.path().join("tiny.efi"), 1).unwrap();
    let Contents::BootFile(boot_file) = &report.contents else { panic!("{report:?}") };
    assert!(boot_file.sections.iter().any(|found| found.name == ".initrd" && found.length == 6));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["format"], "kiln.inspect.v1");
    assert_eq!(json["boot_file"]["root"]["data_blocks"], argument.data_blocks);
}

#[test]
fn damage_is_told_and_hides_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let argument = make(folder.path(), 512);
    let path = folder.path().join("tiny.raw");
    let start = disk(&path).partitions[1].start;
    let raw = File::options().write(true).open(&path).unwrap();
    raw.write_all_at(b"x", start + argument.hash_offset() + 40).unwrap();
    assert_eq!(disk(&path).slots[0].named_by.len(), 1);
    assert!(!disk(&path).slots[0].named_by[0].top_block_agrees);
    assert!(to_text(&inspect(&path, 1).unwrap()).contains("does NOT agree"));
    // The superblock, then the ESP's boot sector, then the primary table.
    raw.write_all_at(&[0xff; 16], start + 1040).unwrap();
    assert!(disk(&path).slots[0].problem.is_some());
    raw.write_all_at(&[0; 512], 1 << 20).unwrap();
    assert!(disk(&path).esp.unwrap().problem.is_some());
    raw.write_all_at(&[0; 512], 512).unwrap();
    assert_eq!((disk(&path).table, disk(&path).tables_agree), ("backup", false));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    #[test]
    fn a_changed_root_or_boot_file_never_panics(at: u32, bytes: [u8; 6]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.root");
        root_image(&path);
        let whole = [std::fs::read(&path).unwrap(), program()];
        for mut changed in whole {
            let at = at as usize % (changed.len() - bytes.len());
            changed[at..at + bytes.len()].copy_from_slice(&bytes);
            std::fs::write(&path, changed).unwrap();
            if let Ok(report) = inspect(&path, 3) {
                proptest::prop_assert!(to_text(&report).ends_with('\n'));
            }
        }
    }
}
