//! qemu-img finds no error in an image and reads back the disk it was made from.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use kiln_media::qcow2::{MAXIMUM_LENGTH, read_header};
use kiln_media::{Disk, Error, Qcow2Options, write_qcow2};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

const MIB: u64 = 1 << 20;

fn qemu_img(arguments: &[&str]) -> String {
    let output =
        Command::new("qemu-img").args(arguments).output().expect("qemu-img must be installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text} {output:?}");
    text
}

/// Text that compresses, noise that does not, zeros that are written, and holes.
fn raw_disk(path: &Path, length: u64) -> File {
    let file = File::options().create_new(true).read(true).write(true).open(path).unwrap();
    file.set_len(length).unwrap();
    let text: Vec<u8> = (0..3 * MIB + 777).map(|index| (index / 9 % 61) as u8 + b'0').collect();
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..MIB + 5)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            (state >> 56) as u8
        })
        .collect();
    file.write_all_at(b"start", 0).unwrap();
    file.write_all_at(&text, MIB + 100).unwrap();
    file.write_all_at(&noise, 10 * MIB + 4000).unwrap();
    file.write_all_at(&vec![0; 2 * MIB as usize], 20 * MIB).unwrap();
    file.write_all_at(&text[..99_999], 700 * MIB - 50_000).unwrap();
    file.write_all_at(b"end", length - 3).unwrap();
    file
}

fn digest(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn qemu_reads_back_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    // The last cluster is incomplete; two tables of the second level are needed.
    let length = 900 * MIB + 1536;
    let raw_path = folder.path().join("raw");
    let raw = raw_disk(&raw_path, length);
    let raw_name = raw_path.to_str().unwrap();
    for (compression, virtual_length) in
        [(None, None), (Some(1), None), (Some(6), Some(20 << 30)), (None, Some(MAXIMUM_LENGTH))]
    {
        let path = folder.path().join(format!("{compression:?}-{virtual_length:?}"));
        let out = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
        let options = Qcow2Options { virtual_length, compression, threads: 2 };
        let facts = write_qcow2(&Disk::of_file(&raw).unwrap(), &out, &options).unwrap();
        let name = path.to_str().unwrap();
        let report = qemu_img(&["check", "-f", "qcow2", name]);
        assert!(report.contains("No errors were found"), "{report}");
        let report = qemu_img(&["compare", "-f", "raw", "-F", "qcow2", raw_name, name]);
        assert!(report.contains("Images are identical"), "{report}");
        assert_eq!(facts.virtual_length, virtual_length.unwrap_or(length));
        assert_eq!(facts.length, out.metadata().unwrap().len());
        let most = if compression.is_some() { 2 * MIB } else { 6 * MIB };
        assert!(facts.length < most, "{facts:?}");
        assert!(facts.clusters < 80, "{facts:?}");

        let mut first = [0; 104];
        out.read_exact_at(&mut first, 0).unwrap();
        let header = read_header(&first).unwrap();
        assert_eq!((header.version, header.length), (3, facts.virtual_length));

        if virtual_length.is_none() {
            let back = folder.path().join("back");
            qemu_img(&["convert", "-O", "raw", name, back.to_str().unwrap()]);
            let same = Command::new("cmp").arg(&raw_path).arg(&back).status().unwrap();
            assert!(same.success());
        }
    }
}

#[test]
fn threads_and_holes_do_not_show() {
    let folder = tempfile::tempdir().unwrap();
    let sparse = raw_disk(&folder.path().join("sparse"), 800 * MIB);
    let filled = raw_disk(&folder.path().join("filled"), 800 * MIB);
    // The same content with fewer holes.
    filled.write_all_at(&vec![0; 40 * MIB as usize], 100 * MIB + 1000).unwrap();
    let mut seen = Vec::new();
    for (raw, threads) in [(&sparse, 1), (&sparse, 7), (&filled, 3)] {
        let path = folder.path().join(format!("out-{}", seen.len()));
        let out = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
        let options = Qcow2Options { virtual_length: None, compression: Some(6), threads };
        write_qcow2(&Disk::of_file(raw).unwrap(), &out, &options).unwrap();
        seen.push(digest(&path));
    }
    assert!(seen.iter().all(|digest| *digest == seen[0]), "{seen:?}");
    assert_eq!(seen[0], "aef280d9a0efa0c1a5de745a49da24a32748c5fe80a1f3207f7acb70fd48504a");
    let path = folder.path().join("plain");
    let out = File::create(&path).unwrap();
    let options = Qcow2Options { virtual_length: None, compression: None, threads: 1 };
    write_qcow2(&Disk::of_file(&sparse).unwrap(), &out, &options).unwrap();
    assert_eq!(digest(&path), "13e914f30eb45d3fcad1ac578d4bcdd9b0a90d3b4e298a7c272b7557498a7d85");
}

#[test]
fn impossible_options_are_refused() {
    let raw = tempfile::tempfile().unwrap();
    raw.set_len(MIB).unwrap();
    let good = Qcow2Options { virtual_length: None, compression: None, threads: 1 };
    for virtual_length in [0, MIB - 512, MIB + 1, MAXIMUM_LENGTH + 512] {
        let options = Qcow2Options { virtual_length: Some(virtual_length), ..good };
        let out = tempfile::tempfile().unwrap();
        let error = write_qcow2(&Disk::of_file(&raw).unwrap(), &out, &options).unwrap_err();
        assert!(matches!(error, Error::VirtualLength { .. }), "{virtual_length}: {error:?}");
    }
    for level in [0, 10] {
        let options = Qcow2Options { compression: Some(level), ..good };
        let error =
            write_qcow2(&Disk::of_file(&raw).unwrap(), &tempfile::tempfile().unwrap(), &options)
                .unwrap_err();
        assert!(matches!(error, Error::Level(_)), "{error:?}");
    }
    // An empty disk is still an image.
    let facts =
        write_qcow2(&Disk::of_file(&raw).unwrap(), &tempfile::tempfile().unwrap(), &good).unwrap();
    assert_eq!(facts.clusters, 0);
}
