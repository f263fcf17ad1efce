//! Names and places of the members of a tar, so that blobs are read where they lie.
//!
//! Image archives are tars of a few plain files. Only what such archives use is understood: ustar
//! and GNU headers (POSIX.1-2017 pax § ustar Interchange Format), GNU long names (`L`, `K`) and pax
//! `path`, `linkpath` and `size`. The `tar` crate was not used here because it allocates whatever a
//! pax header claims; layers, which need the full format, are read elsewhere. Sparse members are
//! refused: their bytes are not contiguous.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blob::{Blob, open_regular};
use crate::media_type::Compression;
use crate::{Digest, Error};

/// Size of headers, and what members are padded to, in bytes.
const BLOCK: u64 = 512;
/// Largest long name or pax header, in bytes; Linux paths end at 4096.
const EXTENSION_BYTES: u64 = 64 << 10;
/// Links followed from one name; `docker save` uses one.
const LINKS_FOLLOWED: usize = 8;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Member {
    /// A regular file.
    File {
        /// First byte in the archive.
        offset: u64,
        /// Length in bytes.
        length: u64,
    },
    /// A symbolic link, relative to its own folder.
    Symlink(String),
    /// A hard link, relative to the archive.
    Hardlink(String),
}

/// The members of one archive by normalised name.
#[derive(Debug)]
pub(crate) struct TarIndex {
    file: Arc<std::fs::File>,
    pub(crate) path: PathBuf,
    members: BTreeMap<String, Member>,
}

impl TarIndex {
    /// Walks the headers of the archive at `path`; at most `limit` members.
    pub(crate) fn open(path: &Path, limit: usize) -> Result<Self, Error> {
        let file = open_regular(path)?;
        let length = file.metadata().map_err(Error::io("read the size of", path))?.len();
        let mut magic = [0; 6];
        if length >= magic.len() as u64 {
            file.read_exact_at(&mut magic, 0).map_err(Error::io("read", path))?;
        }
        let format = match Compression::detect(&magic) {
            Compression::Gzip => Some("gzip"),
            Compression::Zstd => Some("zstd"),
            Compression::None if magic == *b"\xfd7zXZ\0" => Some("xz"),
            Compression::None => None,
        };
        if let Some(format) = format {
            return Err(Error::CompressedArchive { path: path.to_owned(), format });
        }
        let mut walk =
            Walk { read_at: |buffer: &mut [u8], at| file.read_exact_at(buffer, at), length };
        let members = walk.members(path, limit)?;
        Ok(Self { file: Arc::new(file), path: path.to_owned(), members })
    }

    /// The file of that name, through links. Missing names and loops are `None`.
    pub(crate) fn get(&self, name: &str) -> Option<Blob> {
        let mut name = normalise(name)?;
        for _ in 0..LINKS_FOLLOWED {
            match self.members.get(&name)? {
                Member::File { offset, length } => {
                    return Some(Blob::new(Arc::clone(&self.file), &self.path, *offset, *length));
                }
                Member::Symlink(target) => {
                    let folder = name.rfind('/').map_or("", |slash| &name[..slash]);
                    name = normalise(&format!("{folder}/{target}"))?;
                }
                Member::Hardlink(target) => name = normalise(target)?,
            }
        }
        None
    }

    /// The blob of an OCI layout inside the archive.
    pub(crate) fn blob(&self, digest: Digest) -> Result<Blob, Error> {
        self.get(&format!("blobs/sha256/{}", digest.hex()))
            .ok_or_else(|| Error::BlobMissing { digest, location: self.path.display().to_string() })
    }
}

/// Drops `.` and empty parts, resolves `..`; `None` where that would leave the archive.
fn normalise(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The walk over headers, apart from the file it reads, so that tests can feed it bytes.
struct Walk<R> {
    read_at: R,
    length: u64,
}

/// Names and size that extension headers give to the next member.
#[derive(Debug, Default)]
struct Extension {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl<R: FnMut(&mut [u8], u64) -> std::io::Result<()>> Walk<R> {
    fn members(&mut self, path: &Path, limit: usize) -> Result<BTreeMap<String, Member>, Error> {
        let mut members = BTreeMap::new();
        let mut extension = Extension::default();
        let mut position = 0;
        // Counted by header, so that endless extension headers end too.
        let mut headers = 0_usize;
        loop {
            let damaged =
                |reason| Error::Archive { path: path.to_owned(), offset: position, reason };
            // GNU tar reads a missing end marker as the end; a cut header is damage.
            if position == self.length {
                return Ok(members);
            }
            if self.length - position < BLOCK {
                return Err(damaged("the file ends within a header"));
            }
            let mut header = [0; BLOCK as usize];
            (self.read_at)(&mut header, position).map_err(Error::io("read", path))?;
            if header == [0; BLOCK as usize] {
                return Ok(members);
            }
            headers += 1;
            if headers > limit {
                return Err(Error::TooLarge {
                    location: format!("archive {}", path.display()),
                    actual: headers as u64,
                    limit: limit as u64,
                    unit: "members",
                });
            }
            let header = Header(&header);
            if !header.checksum_is_right() {
                return Err(damaged("the header checksum is wrong"));
            }
            let kind = header.kind();
            let is_extension = matches!(kind, b'L' | b'K' | b'x' | b'g');
            let in_header = header.size().ok_or_else(|| damaged("the size is not a number"))?;
            let size = match extension.size {
                Some(size) if !is_extension => size,
                _ => in_header,
            };
            // Links and folders may carry a size for information only.
            let stored = if matches!(kind, b'1'..=b'6') { 0 } else { size };
            let data = position + BLOCK;
            let end = data
                .checked_add(stored)
                .filter(|end| *end <= self.length)
                .ok_or_else(|| damaged("the member is longer than the file"))?;
            // The last member may lack its padding.
            let next = end.next_multiple_of(BLOCK).min(self.length);
            if is_extension {
                if size > EXTENSION_BYTES {
                    return Err(damaged("an extension header is larger than 64 KiB"));
                }
                let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
                (self.read_at)(&mut bytes, data).map_err(Error::io("read", path))?;
                match kind {
                    b'L' => extension.name = Some(text(&bytes)),
                    b'K' => extension.link = Some(text(&bytes)),
                    b'x' => parse_pax(&bytes, &mut extension)
                        .ok_or_else(|| damaged("a pax header is malformed"))?,
                    _ => {}
                }
                position = next;
                continue;
            }
            let Extension { name, link, .. } = std::mem::take(&mut extension);
            let name = name.unwrap_or_else(|| header.name());
            let member = match kind {
                b'0' | 0 | b'7' => Some(Member::File { offset: data, length: size }),
                b'1' => Some(Member::Hardlink(link.unwrap_or_else(|| header.link()))),
                b'2' => Some(Member::Symlink(link.unwrap_or_else(|| header.link()))),
                b'S' => return Err(damaged("sparse members are not supported")),
                _ => None,
            };
            if let (Some(member), Some(name)) = (member, normalise(&name)) {
                // Like any tar reader: the last member of a name counts.
                members.insert(name, member);
            }
            position = next;
        }
    }
}

/// Accessors over one header block (ustar field offsets).
struct Header<'a>(&'a [u8; BLOCK as usize]);

impl Header<'_> {
    fn kind(&self) -> u8 {
        self.0[156]
    }

    fn name(&self) -> String {
        let name = text(&self.0[..100]);
        // GNU headers reuse the prefix field for other things.
        let prefix =
            if &self.0[257..263] == b"ustar\0" { text(&self.0[345..500]) } else { String::new() };
        if prefix.is_empty() { name } else { format!("{prefix}/{name}") }
    }

    fn link(&self) -> String {
        text(&self.0[157..257])
    }

    fn size(&self) -> Option<u64> {
        number(&self.0[124..136])
    }

    fn checksum_is_right(&self) -> bool {
        let sum: u64 = self
            .0
            .iter()
            .enumerate()
            .map(
                |(at, byte)| {
                    if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) }
                },
            )
            .sum();
        number(&self.0[148..156]) == Some(sum)
    }
}

/// An octal field, or GNU's big-endian form with the high bit set.
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, rest @ ..] = field {
        // Beyond 63 bits there are no sizes; negative ones begin with 0xff and are no octal.
        let value = rest.iter().try_fold(0_u64, |value, byte| {
            value.checked_mul(256).map(|value| value | u64::from(*byte))
        });
        return value.filter(|value| i64::try_from(*value).is_ok());
    }
    let digits = field.split(|byte| matches!(byte, 0 | b' ')).find(|digits| !digits.is_empty());
    let digits = digits.unwrap_or(b"0");
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// Up to the first zero byte. Names of image archives are ASCII; others just find no reader.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// Records are `<decimal length> <key>=<value>\n`, the length counting all of it.
fn parse_pax(mut bytes: &[u8], extension: &mut Extension) -> Option<()> {
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
        bytes = &bytes[length..];
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let value = &record[equals + 1..];
        match &record[..equals] {
            b"path" => extension.name = Some(text(value)),
            b"linkpath" => extension.link = Some(text(value)),
            b"size" => extension.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
            _ => {}
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn walk(bytes: &[u8], limit: usize) -> Result<BTreeMap<String, Member>, Error> {
        let read_at = |buffer: &mut [u8], at: u64| {
            let start = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
            Ok(())
        };
        Walk { read_at, length: bytes.len() as u64 }.members(Path::new("x.tar"), limit)
    }

    fn archive(names: &[&str]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            builder.append_data(&mut header, name, &b"abc"[..]).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn finds_members_by_normalised_and_long_names() {
        let long = "d/".repeat(80) + "file";
        let bytes = archive(&["./a/b", &long]);
        let members = walk(&bytes, 10).unwrap();
        for name in ["a/b", &long] {
            let Some(Member::File { offset, length: 3 }) = members.get(name) else {
                panic!("{name} is not in {members:?}");
            };
            let start = usize::try_from(*offset).unwrap();
            assert_eq!(&bytes[start..start + 3], b"abc");
        }
    }

    #[test]
    fn pax_gives_names_and_sizes() {
        let mut extension = Extension::default();
        assert!(parse_pax(b"9 path=a\n12 size=123\n", &mut extension).is_some());
        assert_eq!((extension.name.as_deref(), extension.size), (Some("a"), Some(123)));
        for bad in [&b"0 path=a\n"[..], b"99 path=a\n", b"9 path=a", b"x", b"9 path:a\n", b"2 \n"] {
            assert!(parse_pax(bad, &mut Extension::default()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_are_octal_or_binary() {
        for (field, expected) in [
            (&b"0000017\0"[..], Some(15)),
            (b"     17 ", Some(15)),
            (b"\0\0\0\0", Some(0)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xff\xff\xff\xff", None),
            (b"0000018\0", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }

    #[test]
    fn damage_is_named() {
        let whole = archive(&["a", "b"]);
        let mut flipped = whole.clone();
        flipped[0] ^= 1;
        let cases: [(&[u8], &str); 3] = [
            (&flipped, "checksum"),
            (&whole[..1200], "ends within a header"),
            (&whole[..514], "longer than the file"),
        ];
        for (bytes, reason) in cases {
            let message = walk(bytes, 10).unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        }
        assert!(matches!(walk(&whole, 1), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn names_never_leave_the_archive() {
        assert_eq!(normalise("a/./b//../c"), Some("a/c".into()));
        assert_eq!(normalise("../a"), None);
        assert_eq!(normalise("/a"), Some("a".into()));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _ = walk(&bytes, 100);
            let _ = parse_pax(&bytes, &mut Extension::default());
        }

        #[test]
        fn never_panics_on_mutations(at in 0_usize..512, value: u8, fix: bool) {
            let mut bytes = archive(&["a", "b"]);
            bytes[at] = value;
            if fix {
                bytes[148..156].fill(b' ');
                let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
                bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
            let _ = walk(&bytes, 100);
        }
    }
}
