//! Seeds of disks as others make them.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use kiln_disk::BlockDevice;
use kiln_fuzz::SparseDisk;
use kiln_media::{
    Appliance, Disk, GceOptions, Qcow2Options, VhdOptions, VmdkOptions, ZstOptions, write_gce,
    write_ova, write_qcow2, write_vhd, write_vmdk, write_zst,
};

use crate::binary::{Outcome, Seed, content, encoded, text};

/// Bytes of the disks.
const LENGTH: u64 = 1 << 20;

pub(crate) fn seeds() -> Outcome<Vec<Seed>> {
    let raw = raw(70_000, LENGTH)?;
    let disk = Disk::of_file(&raw)?;
    let mut seeds = Vec::new();
    for (name, compression) in [("plain", None), ("packed", Some(6))] {
        let out = tempfile::tempfile()?;
        let options = Qcow2Options { virtual_length: None, compression, threads: 1 };
        write_qcow2(&disk, &out, &options)?;
        seeds.push(("qcow2", name, sparse(out)?));
    }
    for (vmdk, ova, virtual_length) in
        [("one-table", "whole", None), ("two-tables", "longer", Some(40 << 20))]
    {
        let (stream, package) = streams(virtual_length)?;
        seeds.push(("vmdk", vmdk, stream));
        seeds.push(("ova", ova, package));
    }

    let out = tempfile::tempfile()?;
    write_vhd(&disk, &out, &VhdOptions { identifier: [7; 16] })?;
    let mut footer = vec![0; 512];
    out.read_exact_at(&mut footer, LENGTH)?;
    seeds.push(("vhd", "footer", footer.clone()));
    seeds.push(("vhd", "contents", [footer, text(3000)].concat()));

    let scattered = tempfile::tempfile()?;
    scattered.set_len(30 << 20)?;
    for mark in 0..30 {
        scattered.write_all_at(b"kiln", mark << 20)?;
    }
    for (archive, frames, file) in [("few", "one", &raw), ("scattered", "eight", &scattered)] {
        let disk = Disk::of_file(file)?;
        let out = tempfile::tempfile()?;
        write_gce(&disk, &out, &GceOptions { level: 9, threads: 1 })?;
        seeds.push(("gce", archive, content(out)?));
        let out = tempfile::tempfile()?;
        write_zst(&disk, &out, &ZstOptions { level: 9, threads: 1 })?;
        seeds.push(("raw_zst", frames, content(out)?));
    }
    Ok(seeds)
}

fn raw(used: usize, length: u64) -> Outcome<File> {
    let mut raw = tempfile::tempfile()?;
    raw.write_all(&text(used))?;
    raw.set_len(length)?;
    Ok(raw)
}

/// A VMDK and an OVA. Inputs of these targets are whole KiB long, and a stream is read from its end:
/// so contents are tried until one has such a length. Behind the end of an OVA there may be zeros.
fn streams(virtual_length: Option<u64>) -> Outcome<(Vec<u8>, Vec<u8>)> {
    let (mut stream, mut package) = (None, None);
    for used in (1000..200_000).step_by(4000) {
        let (raw, out, whole) = (raw(used, LENGTH)?, tempfile::tempfile()?, tempfile::tempfile()?);
        let options = VmdkOptions { virtual_length, level: 6, threads: 1, content: 7 };
        let facts = write_vmdk(&Disk::of_file(&raw)?, &out, &options)?;
        let appliance =
            Appliance { name: "edge", title: "Edge", version: "13", is_x86: true, disk: facts };
        write_ova(&out, &whole, &appliance)?;
        if stream.is_none() && facts.length.is_multiple_of(1024) {
            stream = Some(sparse(out)?);
        }
        if package.is_none() {
            package = Some(sparse(whole)?);
        }
        if let (Some(stream), Some(package)) = (&stream, &package) {
            return Ok((stream.clone(), package.clone()));
        }
    }
    Err("no contents give a stream of whole KiB".into())
}

fn sparse(file: File) -> Outcome<Vec<u8>> {
    let bytes = content(file)?;
    let length = (bytes.len() as u64).next_multiple_of(1024);
    let mut disk = SparseDisk::empty(512, length);
    disk.write_at(0, &bytes)?;
    encoded(&disk)
}
