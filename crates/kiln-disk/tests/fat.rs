//! fsck.fat finds nothing to complain about and mtools reads back what was put in.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use kiln_disk::fat::{Fat, FatFile, format_filesystem};
use kiln_disk::{Error, FileDevice};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

const MIB: u64 = 1 << 20;
const LABEL: &[u8; 11] = b"KILN-ESP   ";

fn write(path: &Path, length: u64, sector_size: u32, files: &[FatFile<'_>]) -> FileDevice {
    File::create(path).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    file.set_len(length).unwrap();
    let mut end = 0;
    for (offset, bytes) in
        format_filesystem(length, sector_size, 0x1234_abcd, LABEL, files).unwrap()
    {
        assert!(offset >= end, "pieces overlap at {offset}");
        end = offset + bytes.len() as u64;
        file.write_all_at(&bytes, offset).unwrap();
    }
    FileDevice::new(file, sector_size).unwrap()
}

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .env("MTOOLS_SKIP_CHECK", "1")
        .output()
        .unwrap_or_else(|error| panic!("{program} must be installed: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    output.stdout
}

#[test]
fn fsck_and_mtools_accept_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let kernel: Vec<u8> = (0..5_000_001_u32).map(|index| ((index * 7) >> 3) as u8).collect();
    let many: Vec<String> = (0..300)
        .map(|index| format!("many/a file with a long name, number {index}.conf"))
        .collect();
    let mut files = vec![
        FatFile { path: "EFI/BOOT/BOOTX64.EFI", bytes: b"loader" },
        FatFile { path: "EFI/Linux/kiln-00000001+3-0.efi", bytes: &kernel },
        FatFile { path: "EFI/Linux/kiln-00000000.efi", bytes: &kernel[..4096] },
        FatFile { path: "loader/loader.conf", bytes: b"timeout 0\n" },
        FatFile { path: "loader/größe.txt", bytes: b"" },
        FatFile { path: "empty/", bytes: b"" },
    ];
    files.extend(many.iter().map(|path| FatFile { path, bytes: path.as_bytes() }));
    let cases = [
        (40 * MIB, 512),
        (100 * MIB + 513, 512),
        (1024 * MIB, 512),
        (300 * MIB, 4096),
        (1024 * MIB, 4096),
    ];
    for (length, sector_size) in cases {
        let path = folder.path().join(format!("{length}-{sector_size}"));
        let device = write(&path, length, sector_size, &files);
        let name = path.to_str().unwrap();
        let report = String::from_utf8(run("fsck.fat", &["-n", "-v", name])).unwrap();
        // 305 files, 6 directories, and the label, which fsck.fat counts as well.
        assert!(report.contains("312 files"), "{report}");
        assert!(!report.contains("differ") && !report.contains("wrong"), "{report}");

        let fat = Fat::open(&device, 0, length).unwrap();
        assert_eq!((fat.volume_id(), fat.label()), (0x1234_abcd, *LABEL));
        let listed = fat.list().unwrap();
        assert_eq!(listed.iter().filter(|entry| !entry.directory).count(), files.len() - 1);
        for file in files.iter().filter(|file| !file.path.ends_with('/')) {
            assert_eq!(fat.read(file.path, u32::MAX).unwrap(), file.bytes, "{}", file.path);
        }
        assert!(matches!(fat.read("EFI/nothing", 1), Err(Error::NoFile(_))));
        assert!(matches!(fat.read("EFI/BOOT", 1), Err(Error::NoFile(_))));
        assert!(fat.read("efi/linux/KILN-00000001+3-0.EFI", 5_000_000).is_err());

        // mtools reads any sector size from the boot sector.
        for file in files.iter().take(4).chain(files.iter().skip(7).step_by(77)) {
            let read = run("mcopy", &["-i", name, &format!("::{}", file.path), "-"]);
            assert!(read == file.bytes, "{} with sectors of {sector_size}", file.path);
        }
        let text = String::from_utf8_lossy(&run("mdir", &["-i", name, "::EFI/Linux"])).into_owned();
        assert!(text.contains("KILN-0~1 EFI") && text.contains("kiln-00000001+3-0.efi"), "{text}");
        assert!(text.contains("1980-01-01"), "{text}");
        let used = std::os::unix::fs::MetadataExt::blocks(&device.file().metadata().unwrap()) * 512;
        assert!(used < 12 * MIB, "{used} bytes on disk for {length}");
    }
}

#[test]
fn no_name_crosses_a_sector() {
    let paths: Vec<String> =
        (0..100).map(|index| format!("EFI/Linux/kiln-{index:08}+3-0.efi")).collect();
    let files: Vec<FatFile<'_>> = paths.iter().map(|path| FatFile { path, bytes: b"" }).collect();
    let chunks = format_filesystem(64 * MIB, 512, 0, LABEL, &files).unwrap();
    let sectors = chunks.iter().find(|(_, bytes)| bytes.len() > 64 && bytes[64] == 0x42).unwrap();
    for sector in sectors.1.chunks(512) {
        // A sector never starts in the middle of a name.
        assert!(sector[0] == 0x42 || sector[0] == b'.', "{:?}", &sector[..32]);
    }
}

#[test]
fn impossible_requests_are_refused() {
    let file = |path| FatFile { path, bytes: b"x" };
    let cases: [(&str, &[FatFile<'_>]); 8] = [
        ("twice", &[file("a"), file("A")]),
        ("absolute", &[file("/a")]),
        ("parent", &[file("../a")]),
        ("empty name", &[file("a//b")]),
        ("file as parent", &[file("a"), file("a/b")]),
        ("directory over file", &[file("a"), FatFile { path: "a/", bytes: b"" }]),
        ("file over directory", &[file("a/b"), file("a")]),
        ("full directory path", &[FatFile { path: "a/", bytes: b"x" }]),
    ];
    for (name, files) in cases {
        let result = format_filesystem(64 * MIB, 512, 0, LABEL, files);
        assert!(matches!(result, Err(Error::FatPath { .. })), "{name}: {result:?}");
    }
    let large = vec![0; 40 << 20];
    let files = [FatFile { path: "large", bytes: &large }];
    let result = format_filesystem(40 * MIB, 512, 0, LABEL, &files);
    assert!(matches!(result, Err(Error::FatFull { .. })), "{result:?}");
    assert!(matches!(
        format_filesystem(16 * MIB, 512, 0, LABEL, &[]),
        Err(Error::FatLength { .. })
    ));
}

#[test]
fn the_same_files_in_any_order_give_these_bytes_for_ever() {
    let mut files = vec![
        FatFile { path: "EFI/BOOT/BOOTX64.EFI", bytes: b"loader" },
        FatFile { path: "EFI/Linux/kiln-00000001+3-0.efi", bytes: &[1; 3000] },
        FatFile { path: "loader/loader.conf", bytes: b"timeout 0\n" },
    ];
    let digest = |files: &[FatFile<'_>], sector_size| {
        let mut hasher = Sha256::new();
        for (offset, bytes) in format_filesystem(512 * MIB, sector_size, 7, LABEL, files).unwrap() {
            hasher.update(offset.to_le_bytes());
            hasher.update(&bytes);
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let first = digest(&files, 512);
    assert_eq!(first, "892030fed3634cefa00b5d4eab94d13333634cc5747ef454212e2618597fbd11");
    assert_eq!(
        digest(&files, 4096),
        "ad74f86e238cc299e3248279fe5f7564522f33e7f96c7658f330d3e5e6836f8e"
    );
    files.reverse();
    assert_eq!(digest(&files, 512), first);
}
