//! What is on a partition, as far as its first bytes tell: for people, who are about to lose it.
//!
//! Nothing is decided by this. A kind that is not known here is shown as data, and zeros as empty.

use std::fmt;

/// Bytes from a partition's start that are looked at: up to the superblock of Btrfs.
pub const LOOK: usize = 68 << 10;

/// Kind of ext2 to ext4, which have one signature.
pub(crate) const EXTENDED: &str = "ext";

/// A file system or what else was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// `ext4`, `LUKS`, `empty`, `data` …
    pub kind: &'static str,
    /// Its label.
    pub label: Option<String>,
}

impl fmt::Display for Contents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(label) => write!(formatter, "{} `{label}`", self.kind),
            None => formatter.write_str(self.kind),
        }
    }
}

/// A signature: kind, its offset and bytes, offset and length of the label (0: none).
type Signature = (&'static str, usize, &'static [u8], usize, usize);

/// From libblkid's tables and the formats' own documents. The longer a signature, the earlier.
const SIGNATURES: [Signature; 14] = [
    ("Btrfs", 0x1_0040, b"_BHRfS_M", 0x1_012b, 256),
    ("LVM", 536, b"LVM2 001", 0, 0),
    ("swap", 4086, b"SWAPSPACE2", 1052, 16),
    ("swap", 65_526, b"SWAPSPACE2", 1052, 16),
    ("LUKS", 0, b"LUKS\xba\xbe", 0, 0),
    ("FAT", 82, b"FAT32   ", 71, 11),
    ("FAT", 54, b"FAT16   ", 43, 11),
    ("FAT", 54, b"FAT12   ", 43, 11),
    ("NTFS", 3, b"NTFS    ", 0, 0),
    ("ISO 9660", 32_769, b"CD001", 32_808, 32),
    ("XFS", 0, b"XFSB", 108, 12),
    ("EROFS", 1024, b"\xe2\xe1\xf5\xe0", 1088, 16),
    ("RAID", 4096, b"\xfc\x4e\x2b\xa9", 0, 0),
    (EXTENDED, 1080, b"\x53\xef", 1144, 16),
];

/// Tells by the first [`LOOK`] bytes, or as many as there are.
#[must_use]
pub fn contents(bytes: &[u8]) -> Contents {
    let found = SIGNATURES.iter().find(|(_, at, signature, ..)| {
        bytes.get(*at..).is_some_and(|rest| rest.starts_with(signature))
    });
    let Some((kind, _, _, at, length)) = found else {
        let is_empty = bytes.iter().all(|byte| *byte == 0);
        return Contents { kind: if is_empty { "empty" } else { "data" }, label: None };
    };
    let label = bytes.get(*at..at + length).and_then(label);
    Contents { kind, label }
}

/// A label without its padding and without what a terminal would obey.
fn label(field: &[u8]) -> Option<String> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let text = String::from_utf8_lossy(field.get(..end)?);
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    let text = text.trim();
    (!text.is_empty() && text != "NO NAME").then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_named_with_its_label() {
        for (kind, at, signature, label_at, label_length) in SIGNATURES {
            let mut bytes = vec![0; LOOK];
            bytes[at..at + signature.len()].copy_from_slice(signature);
            if label_length > 0 {
                bytes[label_at..label_at + 5].copy_from_slice(b"da\x1bta");
            }
            let found = contents(&bytes);
            assert_eq!(found.kind, kind);
            assert_eq!(found.label.as_deref(), (label_length > 0).then_some("data"), "{kind}");
        }
        assert_eq!(contents(&[0; 512]).to_string(), "empty");
        assert_eq!(contents(&[7; 512]).to_string(), "data");
        assert_eq!(contents(&[]).kind, "empty");
        let named = Contents { kind: "ext", label: Some("home".into()) };
        assert_eq!(named.to_string(), "ext `home`");
    }
}
