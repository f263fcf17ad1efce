//! Every format holds the disk that was planned, by this crate's readers and by programs that do not
//! know of them; equal disks give equal files, with any number of threads.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use kiln_media::gce::GceReader;
use kiln_media::vmdk::GRAIN;
use kiln_media::{
    Appliance, Disk, Error, Format, GceOptions, Qcow2Options, VhdOptions, VmdkOptions, ZstOptions,
    check, write_gce, write_ova, write_qcow2, write_vhd, write_vmdk, write_zst,
};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: u64 = 1 << 20;
/// Not a whole number of MiB, and long enough for several tables of each format.
const LENGTH: u64 = 150 * MIB + 1536;

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} must be installed: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text} {output:?}");
    text
}

fn open(path: &Path) -> File {
    File::options().create(true).truncate(true).read(true).write(true).open(path).unwrap()
}

/// Text that compresses, noise that does not, zeros that are written, and holes.
fn raw_disk(path: &Path, is_filled: bool) -> File {
    let file = open(path);
    file.set_len(LENGTH).unwrap();
    let text: Vec<u8> = (0..3 * MIB + 777).map(|index| (index / 9 % 61) as u8 + b'0').collect();
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..9 * MIB + 5)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            (state >> 56) as u8
        })
        .collect();
    file.write_all_at(b"start", 0).unwrap();
    file.write_all_at(&text, MIB + 100).unwrap();
    file.write_all_at(&noise, 10 * MIB + 4000).unwrap();
    file.write_all_at(&text[..99_999], 130 * MIB - 50_000).unwrap();
    file.write_all_at(b"end", LENGTH - 3).unwrap();
    if is_filled {
        file.write_all_at(&vec![0; 30 * MIB as usize], 40 * MIB).unwrap();
    }
    file
}

/// Writes one format and returns its file.
fn write(disk: &Disk<'_>, format: Format, folder: &Path, threads: usize) -> PathBuf {
    let path = folder.join(format!("disk.{}", format.ending()));
    let out = open(&path);
    let vmdk = VmdkOptions { virtual_length: Some(1 << 30), level: 6, threads, content: 7 };
    match format {
        Format::Raw => unreachable!("the source of the others"),
        Format::RawZst => {
            write_zst(disk, &out, &ZstOptions { level: 3, threads }).unwrap();
        }
        Format::Qcow2 => {
            let options =
                Qcow2Options { virtual_length: Some(1 << 30), compression: Some(6), threads };
            write_qcow2(disk, &out, &options).unwrap();
        }
        Format::Vmdk => {
            write_vmdk(disk, &out, &vmdk).unwrap();
        }
        Format::Ova => {
            let inner = tempfile::tempfile().unwrap();
            let facts = write_vmdk(disk, &inner, &vmdk).unwrap();
            let appliance = Appliance {
                name: "edge",
                title: "Edge 13",
                version: "13",
                is_x86: true,
                disk: facts,
            };
            write_ova(&inner, &out, &appliance).unwrap();
        }
        Format::Vhd => {
            write_vhd(disk, &out, &VhdOptions { identifier: [7; 16] }).unwrap();
        }
        Format::Gce => {
            write_gce(disk, &out, &GceOptions { level: 6, threads }).unwrap();
        }
    }
    path
}

const OTHERS: [Format; 6] =
    [Format::RawZst, Format::Qcow2, Format::Vmdk, Format::Ova, Format::Vhd, Format::Gce];

/// SHA-256 of what [`write`] makes of [`raw_disk`], in the order of [`OTHERS`].
const GOLDEN: [&str; 6] = [
    "7336a7db9db731851b86deba5a759619f24e0ddb92fc3d3a4cd487d00260b066",
    "cb5d16a41c78b741257c2fbb5b58873a3b5e4c0c5c2b4cf702211355db26e053",
    "faa23b50c8eb3832fe4ccad3938a49c267822dffb619f6cc8cc90cda8012c33c",
    "6245357010aa82696c485bdf9c1fb67a4e23f6e90d24afabc35cf5278cc57a22",
    "b59004b298b355ec1e8b1d29de9f20408f201f2031c71562ee684c98dc57241a",
    "09108e7ba54dba4db0c74589f187cd8d8e2ac1738f72851af488229e4b9cb89a",
];

fn digest(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn threads_and_holes_do_not_show_and_bytes_never_change() {
    let folder = tempfile::tempdir().unwrap();
    let sparse = raw_disk(&folder.path().join("sparse"), false);
    let filled = raw_disk(&folder.path().join("filled"), true);
    for (raw, threads) in [(&sparse, 1), (&sparse, 5), (&filled, 2)] {
        let disk = Disk::of_file(raw).unwrap();
        let found = OTHERS.map(|format| digest(&write(&disk, format, folder.path(), threads)));
        assert_eq!(found, GOLDEN, "{threads} threads");
    }
}

#[test]
fn each_format_is_read_back_and_a_difference_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let raw_path = folder.path().join("raw");
    let raw = raw_disk(&raw_path, false);
    let disk = Disk::of_file(&raw).unwrap();
    for format in OTHERS {
        let path = write(&disk, format, folder.path(), 2);
        let file = File::options().read(true).write(true).open(&path).unwrap();
        check(&disk, format, &file).unwrap();
    }
    check(&disk, Format::Raw, &raw).unwrap();
    // One byte of the disk is another one: in contents, in a hole, and at the end.
    for place in [MIB + 200, 80 * MIB + 3, LENGTH - 1] {
        let other_path = folder.path().join("other");
        std::fs::copy(&raw_path, &other_path).unwrap();
        let other = File::options().read(true).write(true).open(&other_path).unwrap();
        other.write_all_at(b"#", place).unwrap();
        let planned = Disk::of_file(&other).unwrap();
        for format in OTHERS {
            let file = File::open(folder.path().join(format!("disk.{}", format.ending()))).unwrap();
            let error = check(&planned, format, &file).unwrap_err();
            let is_told = matches!(error, Error::Differs { offset, .. } if offset == place);
            assert!(is_told, "{format:?}: {error:?} is not about {place}");
        }
    }
}

#[test]
fn qemu_reads_the_same_disk() {
    let folder = tempfile::tempdir().unwrap();
    let raw_path = folder.path().join("raw");
    let raw = raw_disk(&raw_path, false);
    let disk = Disk::of_file(&raw).unwrap();
    for (format, driver, length) in [
        (Format::Qcow2, "qcow2", 1 << 30),
        (Format::Vmdk, "vmdk", 1 << 30),
        (Format::Vhd, "vpc", 151 * MIB),
    ] {
        let path = write(&disk, format, folder.path(), 2);
        let name = path.to_str().unwrap();
        let info = run("qemu-img", &["info", "-f", driver, name]);
        assert!(info.contains(&format!("({length} bytes)")), "{info}");
        // Not strict: what is behind the end of the raw disk is zeros.
        let raw_name = raw_path.to_str().unwrap();
        let report = run("qemu-img", &["compare", "-f", "raw", "-F", driver, raw_name, name]);
        assert!(report.contains("Images are identical"), "{report}");
        if driver != "vpc" {
            run("qemu-img", &["check", "-f", driver, name]);
        }
        let back = folder.path().join("back");
        run("qemu-img", &["convert", "-f", driver, "-O", "raw", name, back.to_str().unwrap()]);
        let back = File::open(&back).unwrap();
        assert_eq!(back.metadata().unwrap().len(), length, "{driver}");
        check(&disk, Format::Raw, &back).unwrap();
    }
    let vmdk = folder.path().join("disk.vmdk");
    let info = run("qemu-img", &["info", vmdk.to_str().unwrap()]);
    assert!(info.contains("create type: streamOptimized"), "{info}");
}

#[test]
fn tar_zstd_and_sha256sum_read_the_same_disk() {
    let folder = tempfile::tempdir().unwrap();
    let raw_path = folder.path().join("raw");
    let raw = raw_disk(&raw_path, false);
    let disk = Disk::of_file(&raw).unwrap();
    for format in [Format::Gce, Format::Ova, Format::RawZst] {
        write(&disk, format, folder.path(), 2);
    }
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();

    run("gzip", &["--test", &at("disk.gce.tar.gz")]);
    let listing = run("tar", &["--list", "--verbose", "-f", &at("disk.gce.tar.gz")]);
    assert_eq!(listing.lines().count(), 1, "{listing}");
    assert!(listing.contains("1073741824") && listing.ends_with("disk.raw\n"), "{listing}");
    run("tar", &["--extract", "--directory", &at(""), "-f", &at("disk.gce.tar.gz")]);
    check(&disk, Format::Raw, &File::open(at("disk.raw")).unwrap()).unwrap();
    let reader = GceReader::open(File::open(at("disk.gce.tar.gz")).unwrap()).unwrap();
    assert_eq!(reader.length(), 1 << 30);
    // GNU tar's own sparse archive is read, too.
    let own = ["--format=oldgnu", "--sparse", "-C", &at(""), "-czf", &at("own.tar.gz"), "disk.raw"];
    run("tar", &own);
    check(&disk, Format::Gce, &File::open(at("own.tar.gz")).unwrap()).unwrap();

    run("zstd", &["--decompress", "--quiet", &at("disk.raw.zst"), "-o", &at("unpacked")]);
    let unpacked = File::open(at("unpacked")).unwrap();
    assert_eq!(unpacked.metadata().unwrap().len(), LENGTH);
    check(&disk, Format::Raw, &unpacked).unwrap();
    // And one frame over all, as `zstd` makes it.
    run("zstd", &["--quiet", &at("raw"), "-o", &at("own.zst")]);
    check(&disk, Format::RawZst, &File::open(at("own.zst")).unwrap()).unwrap();

    let listing = run("tar", &["--list", "-f", &at("disk.ova")]);
    assert_eq!(listing, "edge.ovf\nedge.mf\nedge.vmdk\n");
    run("tar", &["--extract", "--directory", &at(""), "-f", &at("disk.ova")]);
    let sums = std::fs::read_to_string(at("edge.mf")).unwrap();
    let sums = sums.replace("SHA256(", "SHA256 (").replace(")= ", ") = ");
    std::fs::write(at("edge.sums"), sums).unwrap();
    let script = "cd \"$1\" && sha256sum --check --strict edge.sums";
    let report = run("sh", &["-c", script, "sh", &at("")]);
    assert_eq!(report, "edge.ovf: OK\nedge.vmdk: OK\n");
    let parse = "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])";
    run("python3", &["-c", parse, &at("edge.ovf")]);
    let (raw_name, vmdk) = (at("raw"), at("edge.vmdk"));
    run("qemu-img", &["compare", "-q", "-f", "raw", "-F", "vmdk", &raw_name, &vmdk]);
}

#[test]
fn qemu_s_own_stream_is_read_and_impossible_options_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let raw_path = folder.path().join("raw");
    let raw = raw_disk(&raw_path, false);
    let disk = Disk::of_file(&raw).unwrap();
    let theirs = folder.path().join("theirs.vmdk");
    let names = [&raw_path, &theirs].map(|path| path.to_str().unwrap());
    let options = ["convert", "-O", "vmdk", "-o", "subformat=streamOptimized"];
    run("qemu-img", &[&options[..], &names].concat());
    check(&disk, Format::Vmdk, &File::open(&theirs).unwrap()).unwrap();
    let fixed = folder.path().join("theirs.vhd");
    let names = [&raw_path, &fixed].map(|path| path.to_str().unwrap());
    let options = ["convert", "-O", "vpc", "-o", "subformat=fixed,force_size"];
    run("qemu-img", &[&options[..], &names].concat());
    check(&disk, Format::Vhd, &File::open(&fixed).unwrap()).unwrap();

    let out = tempfile::tempfile().unwrap();
    for level in [0, 10] {
        let options = VmdkOptions { virtual_length: None, level, threads: 1, content: 1 };
        assert!(matches!(write_vmdk(&disk, &out, &options), Err(Error::Level(_))));
        let options = GceOptions { level, threads: 1 };
        assert!(matches!(write_gce(&disk, &out, &options), Err(Error::Level(_))));
        let options = ZstOptions { level: level as i32 * 2, threads: 1 };
        assert!(matches!(write_zst(&disk, &out, &options), Err(Error::Level(_))));
    }
    let options = VmdkOptions { virtual_length: Some(3 << 40), level: 1, threads: 1, content: 1 };
    assert!(matches!(write_vmdk(&disk, &out, &options), Err(Error::TooLong { .. })));
    // Lengths are rounded up to what the format has.
    let options = VmdkOptions { virtual_length: None, level: 1, threads: 1, content: 1 };
    let facts = write_vmdk(&disk, &out, &options).unwrap();
    assert_eq!(facts.virtual_length, LENGTH.next_multiple_of(GRAIN));
}
