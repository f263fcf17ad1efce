//! Changing a finished image in place: configuration and kernel arguments, and back.
//!
//! An image that was planned as customizable has two files of fixed length. The *area*
//! (`/kiln/customize.img`, 1 MiB) holds kernel arguments and documents under a checksum; it is what
//! the system reads. The *arguments* (`/boot/grub/custom.cfg`, 16 KiB) are the same kernel arguments
//! as a text for GRUB, padded with comment lines; a medium's `grub.cfg` does `source` it and puts
//! `$kiln_arguments` at the end of its `linux` line. No other byte of the image changes, and
//! [`Regions::reset`] gives back the image as it was built.
//!
//! Order of writes: contents of the area, its header (the commit), the text. A cut between leaves a
//! state that [`Regions::read`] refuses: whoever asked for a configuration must not get a machine without.
//!
//! The area: magic `KILNCUST`, version and number of documents (32 bits), lengths of arguments and
//! of everything behind the header (64 bits), SHA-256 of everything behind the header, SHA-256 of
//! the header so far; all little-endian; from byte 512 the arguments, then each document as length
//! of its name (16 bits), length (32 bits), name, bytes; then zeros. A cpio archive was dropped: it
//! has no checksum, and modes and links that would have to be refused again.

use kiln_disk::{BlockDevice, Write};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::format::{Place, take};
use crate::reader::{EntryKind, Iso};

/// Path of the area.
pub const AREA_PATH: &str = "/kiln/customize.img";
/// Bytes of the area.
pub const AREA_LENGTH: usize = 1 << 20;
/// Path of the text for GRUB.
pub const ARGUMENTS_PATH: &str = "/boot/grub/custom.cfg";
/// Bytes of the text: room for the longest arguments with every character escaped.
pub const ARGUMENTS_LENGTH: usize = 16 << 10;
/// Longest kernel arguments in bytes: the kernel's command line on x86 has 2048 with its end, and
/// arguments of the medium itself stand in front.
pub const MAXIMUM_ARGUMENTS: usize = 1024;
/// Most documents.
pub const MAXIMUM_DOCUMENTS: usize = 64;

const MAGIC: &[u8; 8] = b"KILNCUST";
const VERSION: u32 = 1;
/// Bytes of the header, one sector of a disk: it is written whole or not at all.
const HEADER: usize = 512;
/// Offsets in the header.
const DOCUMENTS: usize = 12;
const ARGUMENTS: usize = 16;
const REST: usize = 24;
const REST_DIGEST: usize = 32;
const OWN_DIGEST: usize = 64;
/// Bytes in front of a document's name.
const DOCUMENT_HEAD: usize = 6;
/// Bytes of a comment line of the text, with its end.
const LINE: usize = 64;

/// What an image is customized with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Customization {
    /// Kernel arguments in one line; may be empty.
    pub arguments: String,
    /// Documents, sorted by their names.
    pub documents: Vec<Document>,
}

/// A configuration document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// A file name of letters, digits, `.`, `_`, `-`, at most 255, none of them a dot in front.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Where an image can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regions {
    /// The area.
    pub area: Place,
    /// The text for GRUB.
    pub arguments: Place,
}

impl Regions {
    /// Finds them in an image. What they hold does not matter, so a damaged one can be written anew.
    ///
    /// # Errors
    /// [`Error::NotCustomizable`], and as [`Iso::find`].
    pub fn find(iso: &Iso<'_>) -> Result<Self, Error> {
        let find = |path, length: usize| {
            let entry = match iso.find(path) {
                Err(Error::NoFile(_)) => {
                    return Err(Error::NotCustomizable("it has no place for that"));
                }
                other => other?,
            };
            match &entry.kind {
                EntryKind::File(extents) => match extents[..] {
                    [place] if place.length == length as u64 => Ok((entry, place)),
                    _ => Err(Error::NotCustomizable("its place for that has another length")),
                },
                _ => Err(Error::NotCustomizable("its place for that is no file")),
            }
        };
        let (entry, area) = find(AREA_PATH, AREA_LENGTH)?;
        let mut magic = [0; MAGIC.len()];
        iso.read_at(&entry, 0, &mut magic)?;
        if magic != *MAGIC {
            return Err(Error::NotCustomizable("its place for that is of another kind"));
        }
        let (_, arguments) = find(ARGUMENTS_PATH, ARGUMENTS_LENGTH)?;
        Ok(Self { area, arguments })
    }

    /// The writes that customize an image, instead of what it was customized with before.
    ///
    /// # Errors
    /// [`Error::Field`], [`Error::Path`], [`Error::TooMany`], [`Error::TooLong`].
    pub fn customize(&self, with: &Customization) -> Result<Vec<Write<'static>>, Error> {
        Ok(self.writes(&encode(with)?, &with.arguments))
    }

    fn writes(&self, area: &[u8], arguments: &str) -> Vec<Write<'static>> {
        let text = arguments_text(arguments, area);
        let (header, rest) = area.split_at(HEADER);
        let write =
            |offset: u64, bytes: &[u8]| Write { offset, bytes: bytes.to_vec().into(), flush: true };
        vec![
            write(self.area.offset + HEADER as u64, rest),
            // The commit.
            write(self.area.offset, header),
            write(self.arguments.offset, text.as_bytes()),
        ]
    }

    /// The writes that make an image what it was when it was built.
    pub fn reset(&self) -> Vec<Write<'static>> {
        self.writes(&empty_area(), "")
    }

    /// What an image is customized with; empty if it is as it was built.
    ///
    /// # Errors
    /// [`Error::Customization`] if it was not wholly written, [`Error::Read`].
    pub fn read(&self, device: &dyn BlockDevice) -> Result<Customization, Error> {
        let fetch = |place: Place, length: usize| {
            let mut bytes = vec![0; length];
            let (offset, wanted) = (place.offset, length as u64);
            device.read_at(offset, &mut bytes).map_err(|source| Error::Read {
                offset,
                length: wanted,
                source,
            })?;
            Ok::<_, Error>(bytes)
        };
        let area = fetch(self.area, AREA_LENGTH)?;
        let customization = parse(&area)?;
        let text = fetch(self.arguments, ARGUMENTS_LENGTH)?;
        if arguments_text(&customization.arguments, &area).as_bytes() != text {
            return Err(Error::Customization("the loader's text does not belong to it"));
        }
        Ok(customization)
    }
}

/// The area of an image as it is built.
pub(crate) fn empty_area() -> Vec<u8> {
    finish(&Customization::default(), Vec::new())
}

/// The text of an image as it is built.
pub(crate) fn empty_arguments() -> Vec<u8> {
    arguments_text("", &empty_area()).into_bytes()
}

/// The bytes of an area.
///
/// # Errors
/// As [`Regions::customize`].
pub fn encode(with: &Customization) -> Result<Vec<u8>, Error> {
    check_arguments(&with.arguments)?;
    if with.documents.len() > MAXIMUM_DOCUMENTS {
        return Err(Error::TooMany { what: "documents", limit: MAXIMUM_DOCUMENTS as u64 });
    }
    let mut rest = with.arguments.clone().into_bytes();
    let mut previous = "";
    for document in &with.documents {
        let refuse = |reason| Err(Error::Path { path: document.name.clone(), reason });
        if !is_name(&document.name) {
            return refuse("a document's name has letters, digits, dots, underscores and hyphens");
        }
        if *document.name <= *previous {
            return refuse("documents must be sorted by their names, each once");
        }
        previous = &document.name;
        let length = u32::try_from(document.bytes.len()).unwrap_or(u32::MAX);
        // At most 255.
        rest.extend((document.name.len() as u16).to_le_bytes());
        rest.extend(length.to_le_bytes());
        rest.extend(document.name.as_bytes());
        rest.extend(&document.bytes);
    }
    let (length, limit) = (rest.len() as u64, (AREA_LENGTH - HEADER) as u64);
    if length > limit {
        return Err(Error::TooLong { what: "the customization".into(), length, limit });
    }
    Ok(finish(with, rest))
}

fn finish(with: &Customization, mut rest: Vec<u8>) -> Vec<u8> {
    let used = rest.len() as u64;
    rest.resize(AREA_LENGTH - HEADER, 0);
    let mut header = Vec::with_capacity(AREA_LENGTH);
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    // At most MAXIMUM_DOCUMENTS.
    header.extend((with.documents.len() as u32).to_le_bytes());
    header.extend((with.arguments.len() as u64).to_le_bytes());
    header.extend(used.to_le_bytes());
    header.extend(Sha256::digest(&rest));
    header.extend(Sha256::digest(&header));
    header.resize(HEADER, 0);
    header.extend(rest);
    header
}

/// Reads an area.
///
/// # Errors
/// [`Error::Customization`].
pub fn parse(area: &[u8]) -> Result<Customization, Error> {
    let refuse = Error::Customization;
    if area.len() != AREA_LENGTH || !area.starts_with(MAGIC) {
        return Err(refuse("it is no such area"));
    }
    let (header, rest) = area.split_at(HEADER);
    let digest = |bytes: &[u8]| <[u8; 32]>::from(Sha256::digest(bytes));
    let covered = header.get(..OWN_DIGEST).unwrap_or_default();
    if digest(covered) != take::<32>(header, OWN_DIGEST) {
        return Err(refuse("its header is not what was written"));
    }
    if header.iter().skip(OWN_DIGEST + 32).any(|byte| *byte != 0) {
        return Err(refuse("its header is longer than what was written"));
    }
    if take(header, MAGIC.len()) != VERSION.to_le_bytes() {
        return Err(refuse("it is of a later version"));
    }
    if digest(rest) != take::<32>(header, REST_DIGEST) {
        return Err(refuse("its contents are not what was written"));
    }
    let long = |at| usize::try_from(u64::from_le_bytes(take(header, at))).unwrap_or(usize::MAX);
    let used = rest.get(..long(REST)).ok_or(refuse("it is longer than its place"))?;
    let (arguments, mut used) =
        used.split_at_checked(long(ARGUMENTS)).ok_or(refuse("its arguments are cut off"))?;
    let arguments = String::from_utf8(arguments.to_vec()).ok();
    let arguments = arguments
        .filter(|text| check_arguments(text).is_ok())
        .ok_or(refuse("its arguments are no kernel arguments"))?;
    let count = u32::from_le_bytes(take(header, DOCUMENTS)) as usize;
    let mut documents: Vec<Document> = Vec::new();
    while !used.is_empty() {
        let (head, behind) =
            used.split_at_checked(DOCUMENT_HEAD).ok_or(refuse("a document is cut off"))?;
        let name = usize::from(u16::from_le_bytes(take(head, 0)));
        let length = u32::from_le_bytes(take(head, 2)) as usize;
        let (name, behind) =
            behind.split_at_checked(name).ok_or(refuse("a document is cut off"))?;
        let (bytes, behind) =
            behind.split_at_checked(length).ok_or(refuse("a document is cut off"))?;
        let name = String::from_utf8(name.to_vec()).ok().filter(|name| is_name(name));
        let name = name.ok_or(refuse("a document has a bad name"))?;
        if documents.last().is_some_and(|last| last.name >= name) {
            return Err(refuse("documents are not sorted"));
        }
        documents.push(Document { name, bytes: bytes.to_vec() });
        if documents.len() > count.min(MAXIMUM_DOCUMENTS) {
            return Err(refuse("it has more documents than it says"));
        }
        used = behind;
    }
    if documents.len() != count {
        return Err(refuse("it has fewer documents than it says"));
    }
    Ok(Customization { arguments, documents })
}

fn check_arguments(arguments: &str) -> Result<(), Error> {
    let refuse = |reason| {
        let value = arguments.chars().take(100).collect();
        Err(Error::Field { field: "kernel arguments", value, reason })
    };
    if arguments.len() > MAXIMUM_ARGUMENTS {
        return refuse("they have more than 1024 bytes");
    }
    if !arguments.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return refuse("they have a character that is not printable ASCII");
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=255).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

/// The text for GRUB, with the digest of the area that it belongs to.
fn arguments_text(arguments: &str, area: &[u8]) -> String {
    let digest: String = take::<32>(area, OWN_DIGEST).iter().map(|b| format!("{b:02x}")).collect();
    // Between single quotes GRUB changes nothing; one of them is written outside.
    let quoted = arguments.replace('\'', r"'\''");
    let mut text = format!(
        "# Kernel arguments of this medium. Change them with `kiln iso customize`.\n\
         # {digest}\n\
         set kiln_arguments='{quoted}'\n\
         export kiln_arguments\n"
    );
    // Comment lines up to the end, the first one shorter.
    while text.len() < ARGUMENTS_LENGTH {
        // An empty line would do as well, but all that follow shall look the same.
        let line = match LINE - text.len() % LINE {
            1 => LINE + 1,
            rest => rest,
        };
        text.push_str(&"#".repeat(line - 1));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> Customization {
        let document =
            |name: &str, bytes: &[u8]| Document { name: name.into(), bytes: bytes.into() };
        Customization {
            arguments: "console=ttyS0 it='s'".into(),
            documents: vec![document("config.ign", b"{}"), document("user-data", &[7; 3000])],
        }
    }

    #[test]
    fn areas_keep_their_form() {
        for (with, golden) in [
            (
                Customization::default(),
                "3227bfe15849bf7aa1bf13c540afdbbaf58ca0b0229e7f6dba7b9de51984eacf",
            ),
            (example(), "a07993b1c473fc5971cdb0655d0fb84ebf9ac733912be6749b2615bf3881cb63"),
        ] {
            let area = encode(&with).unwrap();
            assert_eq!(area.len(), AREA_LENGTH);
            assert_eq!(parse(&area).unwrap(), with);
            let text = arguments_text(&with.arguments, &area);
            assert_eq!(text.len(), ARGUMENTS_LENGTH);
            assert!(text.lines().all(|line| line.starts_with('#')
                || line.starts_with("set kiln_arguments='")
                || line == "export kiln_arguments"));
            let both = Sha256::new().chain_update(&area).chain_update(&text).finalize();
            let digest: String = both.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, golden);
        }
        let area = encode(&example()).unwrap();
        assert!(arguments_text("it='s'", &area).contains(r"set kiln_arguments='it='\''s'\'''"));
        let longest = "'".repeat(MAXIMUM_ARGUMENTS);
        assert_eq!(arguments_text(&longest, &area).len(), ARGUMENTS_LENGTH);
    }

    #[test]
    fn bad_customizations_are_refused() {
        let with = |name: &str| {
            let document = Document { name: name.into(), bytes: Vec::new() };
            encode(&Customization { arguments: String::new(), documents: vec![document] })
        };
        for name in ["", ".x", "a/b", "a b", "ä", &"n".repeat(256)] {
            assert!(with(name).is_err(), "{name:?}");
        }
        for arguments in ["a\nb", "ä", &"x".repeat(1025)] {
            let with = Customization { arguments: arguments.into(), documents: Vec::new() };
            assert!(encode(&with).is_err(), "{arguments:?}");
        }
        let mut unsorted = example();
        unsorted.documents.reverse();
        assert!(encode(&unsorted).is_err());
        let mut long = example();
        long.documents[0].bytes = vec![0; AREA_LENGTH];
        assert!(matches!(encode(&long), Err(Error::TooLong { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_changed_byte_is_seen(at in 0..AREA_LENGTH, bit in 0..8_u8) {
            let mut area = encode(&example()).unwrap();
            area[at] ^= 1_u8 << bit;
            prop_assert!(parse(&area).is_err());
        }
    }
}
