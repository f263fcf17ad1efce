//! Access control lists as text, made the attributes that Linux keeps them in.
//!
//! GNU tar (`--acls`), star and bsdtar write `SCHILY.acl.access` and `SCHILY.acl.default`: entries `user:NAME:rw-`, joined by
//! commas or lines, with the number as a fourth field (star, bsdtar) or without one (GNU tar, which with `--xattrs` writes the
//! attribute as well). The attribute is that of Linux's `include/uapi/linux/posix_acl_xattr.h`, version 2.
//!
//! A name without a number is refused, except `root`. Asking the build machine for the number would make the image depend on it.
//! Looking into the image's own passwd was dropped as well: when a layer is read, the one below it, which has that file, is not.

use crate::archive::number;

/// `POSIX_ACL_XATTR_VERSION`.
const VERSION: u32 = 2;
/// `ACL_UNDEFINED_ID`: the entry's tag alone says whom it is about.
const NOBODY: u32 = u32::MAX;
/// Entries that one list may have: the attribute cannot be longer than 64 KiB (`XATTR_SIZE_MAX`).
const ENTRY_LIMIT: usize = (65_536 - 4) / 8;

/// Tags of `include/uapi/linux/posix_acl.h`, in the order that the kernel wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tag {
    UserObject = 0x01,
    User = 0x02,
    GroupObject = 0x04,
    Group = 0x08,
    Mask = 0x10,
    Other = 0x20,
}

/// A complete list: its entries in order, with owner, group and others, and a mask where one is needed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Acl(Vec<(Tag, u32, u16)>);

/// Reads a list; an empty one is none.
pub(super) fn parse(text: &[u8]) -> Result<Option<Acl>, &'static str> {
    let mut entries = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        // GNU tar adds `#effective:r--` where the mask takes something away.
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        for entry in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if entry.is_empty() {
                continue;
            }
            if entries.len() == ENTRY_LIMIT {
                return Err("its access control list is too long");
            }
            entries.push(parse_entry(entry)?);
        }
    }
    if entries.is_empty() {
        return Ok(None);
    }
    entries.sort_unstable();
    if entries.windows(2).any(|pair| pair[0].0 == pair[1].0 && pair[0].1 == pair[1].1) {
        return Err("its access control list has an entry twice");
    }
    let has = |tag| entries.iter().any(|entry| entry.0 == tag);
    if ![Tag::UserObject, Tag::GroupObject, Tag::Other].into_iter().all(has) {
        return Err("its access control list lacks owner, group or others");
    }
    if (has(Tag::User) || has(Tag::Group)) && !has(Tag::Mask) {
        return Err("its access control list lacks a mask");
    }
    Ok(Some(Acl(entries)))
}

fn parse_entry(entry: &[u8]) -> Result<(Tag, u32, u16), &'static str> {
    const MALFORMED: &str = "its access control list is malformed";
    let fields: Vec<&[u8]> = entry.split(|byte| *byte == b':').map(<[u8]>::trim_ascii).collect();
    let (tag, name, permissions, id) = match fields.as_slice() {
        // Solaris leaves the empty name out.
        [tag @ (b"mask" | b"m" | b"other" | b"o"), permissions] => {
            (tag, &b""[..], permissions, None)
        }
        [tag, name, permissions] => (tag, *name, permissions, None),
        [tag, name, permissions, id] => (tag, *name, permissions, Some(*id)),
        _ => return Err(MALFORMED),
    };
    let tag = match (*tag, name.is_empty()) {
        (b"user" | b"u", true) => Tag::UserObject,
        (b"user" | b"u", false) => Tag::User,
        (b"group" | b"g", true) => Tag::GroupObject,
        (b"group" | b"g", false) => Tag::Group,
        (b"mask" | b"m", true) => Tag::Mask,
        (b"other" | b"o", true) => Tag::Other,
        _ => return Err(MALFORMED),
    };
    let mut bits = 0;
    for letter in *permissions {
        bits |= match letter {
            b'r' => 4,
            b'w' => 2,
            b'x' => 1,
            b'-' => 0,
            _ => return Err(MALFORMED),
        };
    }
    let id = match (tag, id, name) {
        (Tag::User | Tag::Group, Some(id), _) => number::decimal(id).ok_or(MALFORMED)?,
        (Tag::User | Tag::Group, None, b"root") => 0,
        (Tag::User | Tag::Group, None, name) => number::decimal(name).ok_or(
            "its access control list names a user or group without a number (give tar --xattrs as well)",
        )?,
        _ => u64::from(NOBODY),
    };
    let id = u32::try_from(id).map_err(|_| MALFORMED)?;
    match tag {
        Tag::User | Tag::Group if id == NOBODY => Err(MALFORMED),
        _ => Ok((tag, id, bits)),
    }
}

impl Acl {
    /// Whether the list says no more than a mode does; the kernel keeps no attribute for such.
    pub(super) fn is_a_mode(&self) -> bool {
        self.0
            .iter()
            .all(|(tag, ..)| matches!(tag, Tag::UserObject | Tag::GroupObject | Tag::Other))
    }

    /// The nine permission bits that a file with this list shows: those of the mask for the group (acl(5)).
    pub(super) fn permissions(&self) -> u16 {
        let bits = |wanted| self.0.iter().find(|(tag, ..)| *tag == wanted).map(|(.., bits)| *bits);
        let group = bits(Tag::Mask).or_else(|| bits(Tag::GroupObject)).unwrap_or_default();
        bits(Tag::UserObject).unwrap_or_default() << 6
            | group << 3
            | bits(Tag::Other).unwrap_or_default()
    }

    /// The value of `system.posix_acl_access` or `system.posix_acl_default`.
    pub(super) fn attribute(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for (tag, id, bits) in &self.0 {
            bytes.extend((*tag as u16).to_le_bytes());
            bytes.extend(bits.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_spellings_mean_one_list() {
        // What setfacl(1) made the kernel store for `u:1000:r,g:50:rw` on a file of mode 0640.
        let expected = b"\x02\0\0\0\
            \x01\0\x06\0\xff\xff\xff\xff\
            \x02\0\x04\0\xe8\x03\0\0\
            \x04\0\x04\0\xff\xff\xff\xff\
            \x08\0\x06\0\x32\0\0\0\
            \x10\0\x06\0\xff\xff\xff\xff\
            \x20\0\0\0\xff\xff\xff\xff";
        for text in [
            "user::rw-,user:joe:r--:1000,group::r--,group:staff:rw-:50,mask::rw-,other::---",
            "user::rw-\nuser:1000:r--\ngroup::r--\t#effective:r--\ngroup:50:rw-\nmask::rw-\nother::---\n",
            "o:-,m:rw,g:50:rw-,g::r,u:1000:r,u::rw",
            " user::rw- , user:1000:r-- , group::r-- , group:50:rw-, mask:rw-, other:--- ",
        ] {
            let acl = parse(text.as_bytes()).unwrap().unwrap();
            assert_eq!(acl.attribute(), expected, "{text}");
            assert_eq!(acl.permissions(), 0o660);
            assert!(!acl.is_a_mode());
        }
        let plain = parse(b"user::rwx,group::r-x,other::r-x").unwrap().unwrap();
        assert!(plain.is_a_mode());
        assert_eq!(plain.permissions(), 0o755);
        let root = parse(b"u::rw,u:root:r,g::r,m::r,o::-").unwrap().unwrap();
        assert_eq!(root.0[1], (Tag::User, 0, 4));
        assert_eq!(parse(b" \n,# nothing\n"), Ok(None));
    }

    #[test]
    fn lists_that_mean_nothing_are_refused() {
        for (text, expected) in [
            ("user::rw-,group::r--", "lacks owner, group or others"),
            ("u::rw,u:1:r,g::r,o::r", "lacks a mask"),
            ("u::rw,u:1:r,u:1:w,g::r,m::r,o::r", "twice"),
            ("u::rw,u::r,g::r,o::r", "twice"),
            ("u::rw,u:joe:r,g::r,m::r,o::r", "without a number"),
            ("u::rw,g:staff:r,g::r,m::r,o::r", "without a number"),
            ("u::rw,u:4294967295:r,g::r,m::r,o::r", "malformed"),
            ("u::rw,u:joe:r:4294967296,g::r,m::r,o::r", "malformed"),
            ("u::rw,u:joe:r:x,g::r,m::r,o::r", "malformed"),
            ("u::rq,g::r,o::r", "malformed"),
            ("everybody::rw", "malformed"),
            ("u:rw", "malformed"),
            ("other:x:r", "malformed"),
        ] {
            let reason = parse(text.as_bytes()).unwrap_err();
            assert!(reason.contains(expected), "{text}: {reason}");
        }
        let long: String = (0..9000).map(|id| format!("u:{id}:r,")).collect();
        assert!(parse(long.as_bytes()).unwrap_err().contains("too long"));
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, text in "[ugmo:rwx0-9,#\n-]{0,60}") {
            let _ = parse(&bytes);
            if let Ok(Some(acl)) = parse(text.as_bytes()) {
                prop_assert_eq!(acl.attribute().len() % 8, 4);
                prop_assert!(acl.permissions() <= 0o777);
            }
        }
    }
}
