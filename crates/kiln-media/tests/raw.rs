//! A raw disk holds what the plan says, where the table says, and occupies no more than that.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use kiln_disk::fat::{Fat, FatFile, format_filesystem};
use kiln_disk::layout::{BuildOptions, ESP, ROOT_A, built_image};
use kiln_disk::{FileDevice, Gpt, Guid, gpt};
use kiln_media::{Content, DiskPlan, Error, Piece, write_raw};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

const MIB: u64 = 1 << 20;

fn table(sector_size: u32, esp_length: u64) -> Gpt {
    let options = BuildOptions {
        sector_size,
        esp_length,
        slot_length: Some(100 * MIB),
        disk_guid: Guid([1; 16]),
        esp_guid: Guid([2; 16]),
        root_a_guid: Guid([3; 16]),
    };
    built_image(10 * MIB, &options).unwrap()
}

#[test]
fn a_planned_disk_is_what_independent_tools_read() {
    let folder = tempfile::tempdir().unwrap();
    let image: Vec<u8> = (0..9 * MIB).map(|index| (index / 5 % 253) as u8).collect();
    let mut source = tempfile::tempfile().unwrap();
    source.write_all(b"skipped").unwrap();
    source.write_all(&image).unwrap();
    for (sector_size, esp_length) in [(512, 40 * MIB), (4096, 300 * MIB)] {
        let path = folder.path().join(sector_size.to_string());
        let out = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
        // Whatever was in the file before must not shine through.
        out.write_all_at(&[0xff; 4096], 30 * MIB).unwrap();
        let files = [FatFile { path: "EFI/Linux/kiln-00000001.efi", bytes: &image[..3_000_000] }];
        let esp = format_filesystem(esp_length, sector_size, 1, b"KILN       ", &files).unwrap();
        let tree = vec![9; 8192];
        let table = table(sector_size, esp_length);
        let plan = DiskPlan {
            table: table.clone(),
            contents: vec![
                Content {
                    partition: ESP.number,
                    pieces: esp
                        .into_iter()
                        .map(|(offset, bytes)| Piece::Bytes { offset, bytes })
                        .collect(),
                },
                Content {
                    partition: ROOT_A.number,
                    pieces: vec![
                        Piece::File { offset: 0, file: &source, from: 7, length: 9 * MIB },
                        Piece::Bytes { offset: 9 * MIB, bytes: tree.as_slice().into() },
                    ],
                },
            ],
        };
        let length = write_raw(&out, &plan).unwrap();
        let metadata = out.metadata().unwrap();
        assert_eq!((metadata.len(), length), (102 * MIB + esp_length, length));
        assert!(metadata.blocks() * 512 < 15 * MIB, "not sparse: {}", metadata.blocks() * 512);

        let device = FileDevice::new(out, sector_size).unwrap();
        assert_eq!(gpt::read(&device).unwrap().table, table);
        let fat = Fat::open(&device, MIB, esp_length).unwrap();
        assert!(fat.read(files[0].path, u32::MAX).unwrap() == files[0].bytes);
        let mut slot = vec![0; 9 * MIB as usize + 8192 + 4096];
        device.file().read_exact_at(&mut slot, MIB + esp_length).unwrap();
        let expected = [image.as_slice(), &tree, &[0; 4096]].concat();
        assert!(slot == expected);

        let name = format!("{}@@1M", path.display());
        let output = Command::new("mcopy")
            .args(["-i", &name, "::EFI/Linux/kiln-00000001.efi", "-"])
            .output()
            .expect("mcopy must be installed");
        assert!(output.stdout == files[0].bytes, "{:?}", output.stderr);
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let source = tempfile::tempfile().unwrap();
    source.set_len(100).unwrap();
    type Case<'a> = (u32, Piece<'a>, fn(&Error) -> bool);
    let cases: [Case<'_>; 4] = [
        (5, Piece::Bytes { offset: 0, bytes: vec![1].into() }, |e| {
            matches!(e, Error::NoPartition(5))
        }),
        (3, Piece::Bytes { offset: 100 * MIB, bytes: vec![1].into() }, |e| {
            matches!(e, Error::TooLarge { partition: 3, .. })
        }),
        (3, Piece::File { offset: u64::MAX, file: &source, from: 0, length: 9 }, |e| {
            matches!(e, Error::TooLarge { .. })
        }),
        (3, Piece::File { offset: 0, file: &source, from: 90, length: 11 }, |e| {
            matches!(e, Error::ShortContent { partition: 3, missing: 1 })
        }),
    ];
    for (partition, piece, expected) in cases {
        let out = tempfile::tempfile().unwrap();
        out.write_all_at(b"before", 0).unwrap();
        let contents = vec![Content { partition, pieces: vec![piece] }];
        let plan = DiskPlan { table: table(512, 40 * MIB), contents };
        let error = write_raw(&out, &plan).unwrap_err();
        assert!(expected(&error), "{error:?}");
        if !matches!(error, Error::ShortContent { .. }) {
            assert_eq!(out.metadata().unwrap().len(), 6);
        }
    }
}
