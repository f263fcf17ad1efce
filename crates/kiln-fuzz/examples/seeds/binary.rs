//! Seeds of binary formats.

use std::error::Error;
use std::fs::File;
use std::io::{Read, Seek, Write};

use kiln_disk::layout::{self, BuildOptions, CompleteOptions};
use kiln_disk::{BlockDevice, Guid, apply, fat, gpt};
use kiln_erofs::{Codec, Encoder, EncoderOptions, ImageOptions, ValidatedTree, write_image};
use kiln_fuzz::SparseDisk;
use kiln_tree::{LayerMerge, Limits};
use tar::{EntryType, Header};

/// Target, file name and bytes.
pub(crate) type Seed = (&'static str, &'static str, Vec<u8>);

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

pub(crate) fn seeds() -> Outcome<Vec<Seed>> {
    let (lower, upper) = (lower_layer()?, upper_layer()?);
    let mut seeds = vec![
        ("layer_merge", "files-and-links", lower.clone()),
        ("layer_merge", "whiteouts", upper.clone()),
        ("layer_merge", "two-layers", two_layers(&upper, &lower)),
        ("layer_merge", "long-names", long_names()?),
        ("layer_merge", "sparse", sparse_member()?),
    ];
    for (codec, erofs, root) in [
        (Codec::None, "plain", "plain"),
        (Codec::Lz4, "lz4", "lz4"),
        (Codec::Lz4hc { level: 3 }, "lz4hc", "lz4hc"),
        (Codec::Zstd { level: 1 }, "zstd", "zstd"),
    ] {
        seeds.push(("erofs_image", erofs, image(&lower, codec)?));
        let choice = match codec {
            Codec::None => 0,
            Codec::Lz4 => 1,
            Codec::Lz4hc { .. } => 2,
            Codec::Zstd { .. } => 3,
        };
        seeds.push(("root_image", root, [&[choice], &lower[..]].concat()));
    }
    seeds.push(("root_image", "long-names", [&[1], &long_names()?[..]].concat()));
    seeds.extend(tables()?);
    seeds.extend(fats()?);
    seeds.extend(programs()?);
    seeds.extend(archives(&lower)?);
    Ok(seeds)
}

fn header(kind: EntryType, size: usize, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_mtime(1_600_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn add(tar: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut header = header(EntryType::Regular, bytes.len(), 0o644);
    tar.append_data(&mut header, path, bytes)
}

fn link(
    tar: &mut tar::Builder<Vec<u8>>,
    kind: EntryType,
    path: &str,
    target: &str,
) -> std::io::Result<()> {
    tar.append_link(&mut header(kind, 0, 0o777), path, target)
}

fn folder(tar: &mut tar::Builder<Vec<u8>>, path: &str) -> std::io::Result<()> {
    tar.append_data(&mut header(EntryType::Directory, 0, 0o755), path, &[][..])
}

/// Text that packs, of a length.
pub(crate) fn text(length: usize) -> Vec<u8> {
    (0..length).map(|index| b"kiln makes images\n"[index * 7 / 5 % 18]).collect()
}

fn lower_layer() -> Outcome<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for path in ["etc/", "usr/", "usr/bin/", "dev/"] {
        folder(&mut tar, path)?;
    }
    add(&mut tar, "etc/os-release", b"ID=kiln\nNAME=\"Kiln\"\n")?;
    add(&mut tar, "usr/bin/large", &text(9000))?;
    add(&mut tar, "empty", b"")?;
    link(&mut tar, EntryType::Symlink, "bin", "usr/bin")?;
    link(&mut tar, EntryType::Link, "usr/bin/second", "usr/bin/large")?;
    let mut device = header(EntryType::Char, 0, 0o666);
    device.set_device_major(1)?;
    device.set_device_minor(3)?;
    tar.append_data(&mut device, "dev/null", &[][..])?;
    tar.append_data(&mut header(EntryType::Fifo, 0, 0o600), "dev/pipe", &[][..])?;
    let pax = [("SCHILY.xattr.user.note", &b"value"[..]), ("mtime", b"1600000000.5")];
    tar.append_pax_extensions(pax)?;
    add(&mut tar, "etc/noted", b"with an attribute")?;
    Ok(tar.into_inner()?)
}

fn upper_layer() -> Outcome<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "etc/.wh.os-release", b"")?;
    add(&mut tar, "usr/.wh..wh..opq", b"")?;
    add(&mut tar, "usr/new", b"new")?;
    link(&mut tar, EntryType::Link, "kept", "etc/noted")?;
    add(&mut tar, ".wh.bin", b"")?;
    Ok(tar.into_inner()?)
}

fn two_layers(upper: &[u8], lower: &[u8]) -> Vec<u8> {
    let mut separator = vec![0; 512];
    separator[..15].copy_from_slice(b"kiln next layer");
    [upper, &separator, lower].concat()
}

fn long_names() -> Outcome<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let long = format!("{}/{}", "folder".repeat(20), "name".repeat(30));
    add(&mut tar, &long, b"content")?;
    link(&mut tar, EntryType::Symlink, "link", &"target/".repeat(40))?;
    let pax = [("path", &b"pax/\xc3\xa4/name"[..]), ("uid", b"70000"), ("size", b"4")];
    tar.append_pax_extensions(pax)?;
    add(&mut tar, "short", b"four")?;
    Ok(tar.into_inner()?)
}

/// A sparse file as GNU tar writes it with `--sparse --format=pax` (version 1.0).
fn sparse_member() -> Outcome<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let pax = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"holes"),
        ("GNU.sparse.realsize", b"100000"),
    ];
    tar.append_pax_extensions(pax)?;
    let mut bytes = b"2\n50000\n6\n100000\n0\n".to_vec();
    bytes.resize(512, 0);
    bytes.extend(b"middle");
    add(&mut tar, "GNUSparseFile.0/holes", &bytes)?;
    Ok(tar.into_inner()?)
}

fn image(layer: &[u8], codec: Codec) -> Outcome<Vec<u8>> {
    let options = EncoderOptions { codec, threads: 1, spool: tempfile::tempfile()? };
    let mut encoder = Encoder::new(options)?;
    let mut merge = LayerMerge::new(&mut encoder, Limits::default());
    merge.layer("seed", &mut || Ok(Box::new(layer) as Box<dyn Read>))?;
    let tree = merge.finish()?;
    let out = tempfile::tempfile()?;
    let options = ImageOptions { uuid: [7; 16], build_time: 1_600_000_000 };
    write_image(&ValidatedTree::new(&tree)?, &encoder, &out, options)?;
    content(out)
}

pub(crate) fn content(mut file: File) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn encoded(disk: &SparseDisk) -> Outcome<Vec<u8>> {
    disk.encode().ok_or_else(|| "the disk is too long for a seed".into())
}

fn tables() -> Outcome<Vec<Seed>> {
    let guid = |number| Guid::from_random([number; 16]);
    let mut seeds = Vec::new();
    for (sector_size, built, complete) in
        [(512, "built-512", "complete-512"), (4096, "built-4096", "complete-4096")]
    {
        let options = BuildOptions {
            sector_size,
            esp_length: 64 << 20,
            slot_length: Some(64 << 20),
            disk_guid: guid(1),
            esp_guid: guid(2),
            root_a_guid: guid(3),
        };
        let table = layout::built_image(32 << 20, &options)?;
        let length = table.disk_sectors * u64::from(sector_size);
        let mut disk = SparseDisk::empty(sector_size, length);
        apply(&mut disk, &gpt::create(&table)?)?;
        seeds.push(("gpt", built, encoded(&disk)?));

        let options = CompleteOptions {
            recovery: true,
            disk_guid: guid(4),
            esp_guid: guid(5),
            root_a_guid: guid(6),
            root_b_guid: guid(7),
            state_guid: guid(8),
            recovery_guid: guid(9),
        };
        let length = 8 << 30;
        let full = layout::complete(&table, length, 32 << 20, &options)?;
        let mut disk = SparseDisk::empty(sector_size, length);
        apply(&mut disk, &gpt::create(&full)?)?;
        seeds.push(("gpt", complete, encoded(&disk)?));
        if sector_size == 512 {
            disk.write_at(512, &[0; 512])?;
            seeds.push(("gpt", "only-the-backup", encoded(&disk)?));
        }
    }
    Ok(seeds)
}

fn fats() -> Outcome<Vec<Seed>> {
    let long = format!("EFI/{}.txt", "a long name ".repeat(8));
    let large = text(3000);
    let files = [
        fat::FatFile { path: "EFI/Linux/kiln-00000001+3-0.efi", bytes: &large },
        fat::FatFile { path: "EFI/BOOT/BOOTX64.EFI", bytes: b"MZ" },
        fat::FatFile { path: &long, bytes: b"long" },
        fat::FatFile { path: "empty/", bytes: b"" },
    ];
    let mut seeds = Vec::new();
    for (name, sector_size, length, files) in [
        ("files", 512, 34 << 20, &files[..]),
        ("empty", 512, 34 << 20, &[]),
        ("large-sectors", 4096, 260 << 20, &files[..2]),
    ] {
        let mut disk = SparseDisk::empty(sector_size, length);
        for (offset, bytes) in
            fat::format_filesystem(length, sector_size, 7, b"KILN       ", files)?
        {
            disk.write_at(offset, &bytes)?;
        }
        seeds.push(("fat", name, encoded(&disk)?));
    }
    Ok(seeds)
}

/// A PE32+ program with these sections (Microsoft, "PE Format").
fn program(machine: u16, sections: &[(&str, &[u8])]) -> Outcome<Vec<u8>> {
    let mut file = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &[0x40]);
    put(0x40, b"PE\0\0");
    put(0x44, &machine.to_le_bytes());
    put(0x46, &u16::try_from(sections.len())?.to_le_bytes());
    put(0x54, &240_u16.to_le_bytes());
    let optional = 0x58;
    put(optional, &0x20b_u16.to_le_bytes());
    put(optional + 32, &4096_u32.to_le_bytes());
    put(optional + 36, &512_u32.to_le_bytes());
    put(optional + 56, &(4096 * (1 + u32::try_from(sections.len())?)).to_le_bytes());
    put(optional + 60, &0x400_u32.to_le_bytes());
    put(optional + 68, &10_u16.to_le_bytes());
    put(optional + 108, &16_u32.to_le_bytes());
    for (index, (name, bytes)) in sections.iter().enumerate() {
        let (at, number) = (optional + 240 + 40 * index, u32::try_from(index)?);
        put(at, name.as_bytes());
        put(at + 8, &u32::try_from(bytes.len())?.to_le_bytes());
        put(at + 12, &((number + 1) * 4096).to_le_bytes());
        put(at + 16, &512_u32.to_le_bytes());
        put(at + 20, &(0x400 + number * 512).to_le_bytes());
    }
    for (_, bytes) in sections {
        file.extend_from_slice(bytes);
        file.resize(file.len().next_multiple_of(512), 0);
    }
    Ok(file)
}

/// A relocatable 64-bit ELF file with a `.modinfo` section.
fn module(records: &[&str]) -> Vec<u8> {
    let names = b"\0.modinfo\0";
    let information = records.join("\0");
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file.extend_from_slice(names);
    file.extend_from_slice(information.as_bytes());
    let table = file.len() as u64;
    file[0x28..0x30].copy_from_slice(&table.to_le_bytes());
    file[0x3a] = 64;
    file[0x3c] = 2;
    for (name, at, length) in [(0_u32, 64, names.len()), (1, 64 + names.len(), information.len())] {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[0x18..0x20].copy_from_slice(&(at as u64).to_le_bytes());
        header[0x20..0x28].copy_from_slice(&(length as u64).to_le_bytes());
        file.extend_from_slice(&header);
    }
    file
}

fn programs() -> Outcome<Vec<Seed>> {
    let stub = program(0x8664, &[(".text", b"code"), (".sbat", b"sbat,1,test")])?;
    let mut kernel = program(0x8664, &[(".text", b"kernel")])?;
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    kernel[0x300..0x30e].copy_from_slice(b"6.1.0 (builder");
    let sections = kiln_boot::uki::UkiSections {
        os_release: b"ID=kiln\nNAME=\"Kiln\"\n",
        command_line: b"quiet kiln.mode=system",
        kernel_release: b"6.1.0",
        initrd: b"initramfs",
        linux: &kernel,
    };
    let whole = kiln_boot::uki::assemble(&stub, &sections)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&kernel)?;
    let plain = module(&["alias=virtio:d*v*", "depends=virtio,virtio_ring", "name=virtio_blk"]);
    Ok(vec![
        ("uki", "stub", stub),
        ("uki", "stub-arm64", program(0xaa64, &[(".text", b"code")])?),
        ("uki", "whole", whole),
        ("kernel_image", "plain", kernel.clone()),
        ("kernel_image", "gzip", gzip.finish()?),
        ("kernel_image", "zstd", zstd::bulk::compress(&kernel, 3)?),
        ("module_file", "virtio", plain),
        ("module_file", "without-records", module(&[])),
    ])
}

fn archives(layer: &[u8]) -> Outcome<Vec<Seed>> {
    let mut seeds = Vec::new();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("archive");
    use kiln_registry::layout::{LayerCompression, WriteOptions, write_oci_archive};
    for (name, compression) in
        [("oci-gzip", LayerCompression::Gzip(6)), ("oci-zstd", LayerCompression::Zstd(3))]
    {
        let platform = kiln_registry::Platform::linux("amd64");
        let options = WriteOptions { platform, compression, ..WriteOptions::default() };
        let mut reader = layer;
        write_oci_archive(&path, &mut [&mut reader], &options)?;
        seeds.push(("image_archive", name, std::fs::read(&path)?));
    }
    let small = {
        let mut tar = tar::Builder::new(Vec::new());
        add(&mut tar, "file", b"content")?;
        tar.into_inner()?
    };
    let digest = kiln_registry::Digest::of(&small);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#
    );
    let manifest =
        br#"[{"Config":"config.json","RepoTags":["system:1"],"Layers":["one/layer.tar"]}]"#;
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "manifest.json", manifest)?;
    add(&mut tar, "config.json", config.as_bytes())?;
    add(&mut tar, "two/layer.tar", &small)?;
    link(&mut tar, EntryType::Symlink, "one/layer.tar", "../two/layer.tar")?;
    seeds.push(("image_archive", "docker", tar.into_inner()?));
    Ok(seeds)
}
