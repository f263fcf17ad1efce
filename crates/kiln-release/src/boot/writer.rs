//! Takes a boot file apart.

use std::collections::BTreeMap;

use super::format::{BLOB, BLOB_MIN, HEADER, INLINE, MAGIC, NAME, ZEROS};
use super::reader::{Part, Recipe};
use crate::Error;
use crate::contents::sha256;

/// Blobs by their digest.
pub type Sections<'a> = BTreeMap<[u8; 32], &'a [u8]>;

/// The recipe of a boot file and the blobs that it names. Sections of a PE file become parts of
/// their own; anything else is one part.
///
/// # Errors
/// [`Error::Malformed`] for a file beyond the bounds of recipes.
pub fn split(file: &[u8]) -> Result<(Recipe, Sections<'_>), Error> {
    let mut sections: Vec<(usize, &[u8], [u8; NAME])> = Vec::new();
    if let Ok(uki) = kiln_boot::uki::parse(file) {
        for section in &uki.sections {
            let Ok(start) = usize::try_from(section.file_offset) else { continue };
            let mut name = [0; NAME];
            let length = section.name.len().min(NAME);
            name[..length].copy_from_slice(&section.name.as_bytes()[..length]);
            if !section.data.is_empty() {
                sections.push((start, section.data, name));
            }
        }
    }
    sections.sort_by_key(|(start, ..)| *start);
    let (mut parts, mut blobs, mut end) = (Vec::new(), Sections::new(), 0);
    for (start, data, name) in sections {
        // Sections that share bytes are read with what lies before them.
        if start < end {
            continue;
        }
        push(&mut parts, &mut blobs, file.get(end..start).unwrap_or_default(), [0; NAME]);
        push(&mut parts, &mut blobs, data, name);
        end = start + data.len();
    }
    push(&mut parts, &mut blobs, file.get(end..).unwrap_or_default(), [0; NAME]);
    let recipe = Recipe { digest: sha256(file), length: file.len() as u64, parts };
    Recipe::parse(&recipe.encode())?;
    Ok((recipe, blobs))
}

fn push<'a>(parts: &mut Vec<Part>, blobs: &mut Sections<'a>, bytes: &'a [u8], name: [u8; NAME]) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len() as u64;
    parts.push(if bytes.iter().all(|&byte| byte == 0) {
        Part::Zeros { length }
    } else if bytes.len() < BLOB_MIN {
        Part::Inline { name, bytes: bytes.to_vec() }
    } else {
        let digest = sha256(bytes);
        blobs.insert(digest, bytes);
        Part::Blob { name, length, digest }
    });
}

impl Recipe {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.parts.len() as u32).to_le_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.digest);
        debug_assert_eq!(bytes.len(), HEADER);
        for part in &self.parts {
            let (kind, name) = match part {
                Part::Inline { name, .. } => (INLINE, *name),
                Part::Zeros { .. } => (ZEROS, [0; NAME]),
                Part::Blob { name, .. } => (BLOB, *name),
            };
            bytes.push(kind);
            bytes.extend(name);
            bytes.extend(part.length().to_le_bytes());
            match part {
                Part::Inline { bytes: own, .. } => bytes.extend(own),
                Part::Zeros { .. } => {}
                Part::Blob { digest, .. } => bytes.extend(digest),
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::hex;

    /// A PE file with a stub's section, a short and a long one.
    pub(crate) fn boot_file(kernel: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 0x400];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(0x3c, &0x40_u32.to_le_bytes());
        put(0x40, b"PE\0\0");
        put(0x44, &0x8664_u16.to_le_bytes());
        put(0x46, &3_u16.to_le_bytes());
        put(0x54, &240_u16.to_le_bytes());
        put(0x58, &0x20b_u16.to_le_bytes());
        put(0x58 + 108, &16_u32.to_le_bytes());
        let mut offset = 0x400_u32;
        let stub = vec![0x90; 5000];
        let mut behind = Vec::new();
        for (index, (name, data)) in
            [(".text", &stub[..]), (".cmdline", b"a=b"), (".linux", kernel)].into_iter().enumerate()
        {
            let at = 0x58 + 240 + 40 * index;
            let padded = (data.len() as u32).next_multiple_of(512);
            put(at, name.as_bytes());
            put(at + 8, &(data.len() as u32).to_le_bytes());
            put(at + 16, &padded.to_le_bytes());
            put(at + 20, &offset.to_le_bytes());
            offset += padded;
            behind.extend_from_slice(data);
            behind.resize(behind.len().next_multiple_of(512), 0);
        }
        file.extend(behind);
        file
    }

    fn lookup(sections: &Sections<'_>) -> impl FnMut(&[u8; 32], u64) -> Result<Vec<u8>, Error> {
        let owned: BTreeMap<[u8; 32], Vec<u8>> =
            sections.iter().map(|(digest, bytes)| (*digest, bytes.to_vec())).collect();
        move |digest, _| Ok(owned[digest].clone())
    }

    #[test]
    fn sections_are_blobs_and_the_file_comes_back() {
        let file = boot_file(&vec![7; 9000]);
        let (recipe, sections) = split(&file).unwrap();
        assert_eq!(sections.len(), 2);
        assert_eq!(Recipe::parse(&recipe.encode()).unwrap(), recipe);
        assert_eq!(recipe.assemble(lookup(&sections)).unwrap(), file);
        assert_eq!(
            hex(&sha256(&recipe.encode())),
            "e99735d3c9f6aa4b164e9b85043333dd06b38dab526bf219f8fd73022c48ead4"
        );
        let (other, _) = split(&boot_file(&vec![8; 9000])).unwrap();
        let same = recipe.parts.iter().filter(|part| other.parts.contains(part)).count();
        assert_eq!(same, recipe.parts.len() - 1, "only the kernel is another");
    }

    #[test]
    fn other_files_and_wrong_blobs() {
        for file in [&b""[..], b"short", &[1; 10_000], &[0; 10_000]] {
            let (recipe, sections) = split(file).unwrap();
            assert_eq!(recipe.assemble(lookup(&sections)).unwrap(), file);
        }
        let (recipe, _) = split(&[1; 10_000]).unwrap();
        let error = recipe.assemble(|_, _| Ok(vec![2; 10_000])).unwrap_err();
        assert!(matches!(error, Error::Digest { .. }), "{error}");
    }

    #[test]
    fn recipes_that_do_not_add_up_are_refused() {
        let (recipe, _) = split(&boot_file(&[7; 9000])).unwrap();
        let good = recipe.encode();
        for length in 0..good.len() {
            assert!(Recipe::parse(&good[..length]).is_err(), "{length}");
        }
        for (at, byte) in [(0, 0), (8, 0xff), (11, 1), (12, 1), (HEADER, 9), (HEADER + 9, 0xff)] {
            let mut bad = good.clone();
            bad[at] ^= byte;
            assert!(byte == 0 || Recipe::parse(&bad).is_err(), "{at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn rubbish_never_panics(mut bytes: Vec<u8>) {
            let _ = Recipe::parse(&bytes);
            bytes.splice(0..0, *MAGIC);
            let _ = Recipe::parse(&bytes);
        }
    }
}
