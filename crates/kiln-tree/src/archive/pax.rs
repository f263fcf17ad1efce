//! Extended records: `LENGTH KEY=VALUE\n` (POSIX.1-2024 pax, "pax Extended Header").
//!
//! Records are cut by their length and never by newlines, for values may be binary (file capabilities, ACLs). Unknown keys are
//! ignored as the standard asks; known keys with nonsense in them are errors. Attributes have several spellings (`SCHILY.xattr`,
//! `LIBARCHIVE.xattr`, `SCHILY.acl`, `RHT.security.selinux`); where one archive uses two, the one that needs no decoding wins.

use crate::archive::acl::{self, Acl};
use crate::archive::number;
use crate::archive::sparse::{Extent, SparseRecords};
use crate::metadata::XattrMap;

/// The attributes that hold access control lists.
pub(super) const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
pub(super) const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// Known records of one extended header.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: XattrMap,
    /// Access control list as text, unless the attribute itself is there as well.
    pub(super) access_acl: Option<Acl>,
    /// The list that new files in a directory get.
    pub(super) default_acl: Option<Acl>,
    pub(super) sparse: SparseRecords,
}

/// Access control lists as text.
#[derive(Default)]
struct TextLists<'a> {
    access: Option<&'a [u8]>,
    default: Option<&'a [u8]>,
}

/// Parses all records; the error says what is wrong with them.
pub(super) fn parse(mut bytes: &[u8]) -> Result<Pax, &'static str> {
    let mut pax = Pax::default();
    let mut encoded_xattrs = XattrMap::new();
    let mut lists = TextLists::default();
    while !bytes.is_empty() {
        let (key, value, rest) = record(bytes).ok_or("an extended record is malformed")?;
        match key {
            b"SCHILY.acl.access" => lists.access = Some(value),
            b"SCHILY.acl.default" => lists.default = Some(value),
            _ => apply(&mut pax, &mut encoded_xattrs, key, value)?,
        }
        bytes = rest;
    }
    // Two spellings of one attribute may be there; the plain one needs no decoding and wins.
    for (name, value) in encoded_xattrs {
        pax.xattrs.entry(name).or_insert(value);
    }
    // The text may name users by names only; beside the attribute itself, that does not matter.
    let list = |name, text: Option<&[u8]>| match text {
        Some(text) if !pax.xattrs.contains_key(name) => acl::parse(text),
        _ => Ok(None),
    };
    (pax.access_acl, pax.default_acl) =
        (list(ACCESS_ACL, lists.access)?, list(DEFAULT_ACL, lists.default)?);
    Ok(pax)
}

/// Key, value and what follows the first record.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number::decimal(&bytes[..space])?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], rest))
}

fn apply(
    pax: &mut Pax,
    encoded_xattrs: &mut XattrMap,
    key: &[u8],
    value: &[u8],
) -> Result<(), &'static str> {
    let unsigned = |reason| number::decimal(value).ok_or(reason);
    match key {
        b"path" => pax.path = Some(value.to_vec()),
        b"linkpath" => pax.link = Some(value.to_vec()),
        b"size" => pax.size = Some(unsigned("the size record is not a number")?),
        b"uid" => pax.uid = Some(unsigned("the uid record is not a number")?),
        b"gid" => pax.gid = Some(unsigned("the gid record is not a number")?),
        b"mtime" => {
            pax.mtime = Some(number::time(value).ok_or("the mtime record is not a time")?);
        }
        b"GNU.sparse.major" => pax.sparse.major = Some(unsigned("the sparse version is wrong")?),
        b"GNU.sparse.minor" => pax.sparse.minor = Some(unsigned("the sparse version is wrong")?),
        b"GNU.sparse.name" => pax.sparse.name = Some(value.to_vec()),
        b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
            pax.sparse.real_size = Some(unsigned("the sparse size is not a number")?);
        }
        // Format 0.0 repeats a pair of records for each extent; POSIX forbids repeating, GNU tar did it nevertheless.
        b"GNU.sparse.offset" => {
            pax.sparse.open_offset = Some(unsigned("a sparse offset is not a number")?);
        }
        b"GNU.sparse.numbytes" => {
            let length = unsigned("a sparse length is not a number")?;
            let offset =
                pax.sparse.open_offset.take().ok_or("a sparse length has no offset before it")?;
            pax.sparse.map.get_or_insert_default().push(Extent { offset, length });
        }
        b"GNU.sparse.map" => {
            pax.sparse.map = Some(list(value).ok_or("the sparse map is malformed")?)
        }
        // GNU tar with `--selinux`: the label without the zero byte that the kernel keeps.
        b"RHT.security.selinux" if !value.is_empty() => {
            let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
            encoded_xattrs.insert(b"security.selinux".to_vec(), [&value[..end], b"\0"].concat());
        }
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                pax.xattrs.insert(xattr_name(name.to_vec())?, value.to_vec());
            } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                let name = percent_decoded(name).ok_or("an attribute name is malformed")?;
                let value = base64_decoded(value).ok_or("an attribute value is not base64")?;
                encoded_xattrs.insert(xattr_name(name)?, value);
            }
        }
    }
    Ok(())
}

fn xattr_name(name: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    // Linux XATTR_NAME_MAX.
    if name.is_empty() || name.len() > 255 || name.contains(&0) {
        return Err("an extended attribute has no valid name");
    }
    Ok(name)
}

/// `offset,length,offset,length…` of format 0.1.
fn list(value: &[u8]) -> Option<Vec<Extent>> {
    if value.is_empty() {
        return Some(Vec::new());
    }
    let numbers: Vec<u64> =
        value.split(|byte| *byte == b',').map(number::decimal).collect::<Option<_>>()?;
    if !numbers.len().is_multiple_of(2) {
        return None;
    }
    Some(numbers.chunks_exact(2).map(|pair| Extent { offset: pair[0], length: pair[1] }).collect())
}

fn percent_decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let high = digit(after.first()?)?;
            let low = digit(after.get(1)?)?;
            decoded.push(u8::try_from(high * 16 + low).ok()?);
            rest = &after[2..];
        } else {
            decoded.push(*first);
            rest = after;
        }
    }
    Some(decoded)
}

/// RFC 4648 section 4, with or without padding (libarchive writes none).
fn base64_decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let end = bytes.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let mut decoded = Vec::with_capacity(end / 4 * 3 + 2);
    for group in bytes[..end].chunks(4) {
        let mut value = 0u32;
        for place in 0..4 {
            let sextet = match group.get(place).copied().unwrap_or(b'A') {
                letter @ b'A'..=b'Z' => letter - b'A',
                letter @ b'a'..=b'z' => letter - b'a' + 26,
                digit @ b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            value = value << 6 | u32::from(sextet);
        }
        let whole = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        decoded.extend_from_slice(&value.to_be_bytes()[1..=whole]);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with its own length in front.
    fn made(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length = body + length.to_string().len();
        }
        let mut record = format!("{length} {key}=").into_bytes();
        record.extend_from_slice(value);
        record.push(b'\n');
        record
    }

    #[test]
    fn binary_values_keep_their_newlines() {
        let capability = b"\x01\0\0\x02\n\n=\n\0\0";
        let mut bytes = made("SCHILY.xattr.security.capability", capability);
        bytes.extend(made("size", b"8589934592"));
        bytes.extend(made("LIBARCHIVE.xattr.user.a%20b", b"AQID"));
        bytes.extend(made("LIBARCHIVE.xattr.security.capability", b"AAAA"));
        bytes.extend(made("comment", b"anything"));
        let pax = parse(&bytes).unwrap();
        assert_eq!(pax.size, Some(8 << 30));
        assert_eq!(pax.xattrs[&b"security.capability"[..]], capability);
        assert_eq!(pax.xattrs[&b"user.a b"[..]], [1, 2, 3]);
        assert_eq!(pax.xattrs.len(), 2);
    }

    #[test]
    fn malformed_records_are_errors() {
        let cases: Vec<Vec<u8>> = vec![
            b"5 a=b".to_vec(),
            b"99 path=x\n".to_vec(),
            b"3 =\n".to_vec(),
            b"0 path=x\n".to_vec(),
            b"8 pathx\n\n".to_vec(),
            b"99999999999999999999999 a=b\n".to_vec(),
            made("size", b"-1"),
            made("mtime", b"now"),
            made("SCHILY.xattr.", b"x"),
            made("GNU.sparse.map", b"1,2,3"),
            made("GNU.sparse.numbytes", b"3"),
            made("LIBARCHIVE.xattr.user.%4", b"AA"),
            made("LIBARCHIVE.xattr.user.x", b"A"),
        ];
        for bytes in cases {
            assert!(parse(&bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn base64_of_every_length() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"", b""),
            (b"Zg", b"f"),
            (b"Zm8=", b"fo"),
            (b"Zm9v", b"foo"),
            (b"Zm9vYg==", b"foob"),
            (b"//79", b"\xff\xfe\xfd"),
        ];
        for (text, expected) in cases {
            assert_eq!(base64_decoded(text).as_deref(), Some(expected));
        }
    }
}
