//! Reading an OVA: its files, their digests, and the disk.
//!
//! Total on any file. Every file but the manifest must be in the manifest with the right SHA-256, so
//! what this accepts is whole. The description is not interpreted beyond the name of its disk.

use super::format::{DESCRIPTION, DISK, LONGEST_TEXT, MANIFEST, MOST_FILES};
use crate::Error;
use crate::tape::{BLOCK, REGULAR, read_header};
use crate::vmdk::VmdkDevice;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes that are hashed at a time.
const HASHED: u64 = 1 << 20;

/// A file in the package and where its contents are.
struct Member {
    name: String,
    place: Range<u64>,
}

/// Checks the package and opens its disk.
///
/// # Errors
/// [`Error::Read`], and [`Error::Damaged`] for what is no package of one disk.
pub fn open_ova(file: File) -> Result<VmdkDevice, Error> {
    let refuse = |reason| Err(Error::Damaged { format: "OVA", reason });
    let members = members(&file)?;
    let [description, manifest, disk] = members.as_slice() else {
        return refuse("it does not hold three files");
    };
    for (member, ending) in [(description, DESCRIPTION), (manifest, MANIFEST), (disk, DISK)] {
        if !member.name.ends_with(ending) {
            return refuse("description, manifest and disk do not stand in this order");
        }
    }
    let text = text(&file, description)?;
    if !text.contains(&format!("ovf:href=\"{}\"", disk.name)) {
        return refuse("its description names another disk");
    }
    let digests = self::text(&file, manifest)?;
    for member in [description, disk] {
        let digest: String =
            hash(&file, &member.place)?.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!("SHA256({})= {digest}", member.name);
        if !digests.lines().any(|found| found == line) {
            return refuse("a file does not have the digest of the manifest");
        }
    }
    let place = disk.place.clone();
    VmdkDevice::open_part(file, place)
}

/// The files of the package in their order.
fn members(file: &File) -> Result<Vec<Member>, Error> {
    let refuse = |reason| Err(Error::Damaged { format: "OVA", reason });
    let length = file.metadata().map_err(|source| Error::Read { offset: 0, source })?.len();
    let mut members = Vec::new();
    let mut offset = 0_u64;
    loop {
        let mut bytes = [0; BLOCK];
        file.read_exact_at(&mut bytes, offset).map_err(|source| Error::Read { offset, source })?;
        let header = match read_header(&bytes) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(members),
            Err(reason) => return refuse(reason),
        };
        let start = offset + BLOCK as u64;
        let end = start.checked_add(header.size).filter(|end| *end <= length);
        let Some(end) = end else { return refuse("it is cut short") };
        if header.kind != REGULAR || members.len() >= MOST_FILES {
            return refuse("it holds something else than a few files");
        }
        members.push(Member { name: header.name, place: start..end });
        // Not beyond the file's length and a block.
        offset = end.next_multiple_of(BLOCK as u64);
    }
}

fn text(file: &File, member: &Member) -> Result<String, Error> {
    let length = member.place.end - member.place.start;
    if length > LONGEST_TEXT {
        return Err(Error::Damaged { format: "OVA", reason: "a text is too long" });
    }
    let mut bytes = vec![0; length as usize];
    let offset = member.place.start;
    file.read_exact_at(&mut bytes, offset).map_err(|source| Error::Read { offset, source })?;
    String::from_utf8(bytes)
        .map_err(|_| Error::Damaged { format: "OVA", reason: "a text is not UTF-8" })
}

fn hash(file: &File, place: &Range<u64>) -> Result<[u8; 32], Error> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; HASHED as usize];
    let mut offset = place.start;
    while offset < place.end {
        let part = &mut buffer[..HASHED.min(place.end - offset) as usize];
        file.read_exact_at(part, offset).map_err(|source| Error::Read { offset, source })?;
        hasher.update(&*part);
        offset += part.len() as u64;
    }
    Ok(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Appliance, Disk, VmdkOptions, write_ova, write_vmdk};
    use kiln_disk::BlockDevice;
    use proptest::prelude::*;

    fn ova() -> File {
        let [raw, disk, out] = [(); 3].map(|()| tempfile::tempfile().unwrap());
        raw.set_len(1 << 20).unwrap();
        raw.write_all_at(b"kiln", 70_000).unwrap();
        let options = VmdkOptions { virtual_length: None, level: 6, threads: 1, content: 7 };
        let facts = write_vmdk(&Disk::of_file(&raw).unwrap(), &disk, &options).unwrap();
        let appliance =
            Appliance { name: "edge/13", title: "Edge", version: "13", is_x86: true, disk: facts };
        let length = write_ova(&disk, &out, &appliance).unwrap();
        assert_eq!(length, out.metadata().unwrap().len());
        out
    }

    #[test]
    fn the_disk_inside_is_read_back() {
        let names: Vec<_> = members(&ova()).unwrap().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["edge13.ovf", "edge13.mf", "edge13.vmdk"]);
        let device = open_ova(ova()).unwrap();
        let mut found = [1; 6];
        device.read_at(69_999, &mut found).unwrap();
        assert_eq!((found, device.length()), (*b"\0kiln\0", 1 << 20));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn every_change_of_contents_is_told(place in 0_usize..20_000, byte in 1_u8..) {
            let file = ova();
            let whole = members(&file).unwrap();
            let length = file.metadata().unwrap().len();
            let place = place as u64 % length;
            let mut old = [0];
            file.read_exact_at(&mut old, place).unwrap();
            file.write_all_at(&[old[0] ^ byte], place).unwrap();
            let is_content = whole.iter().any(|member| member.place.contains(&place));
            let outcome = open_ova(file);
            prop_assert!(!is_content || outcome.is_err(), "byte {place} was changed unseen");
        }
    }
}
