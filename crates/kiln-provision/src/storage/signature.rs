//! What a device holds, by the marks that file systems and volumes leave at fixed places.
//!
//! This is asked before anything is made: what is known here is never overwritten unless the
//! configuration says so. It reads one stretch from the start and follows no pointers, so a hostile
//! device can lie about itself but do no more. Asking the image's `blkid` was dropped: an image need
//! not have it, and a decision to destroy data shall not hang on another program's output format.

/// Bytes from the start of a device that are looked at; the farthest mark is that of btrfs.
pub(crate) const LENGTH: usize = 0x1_1000;
/// Bytes at each of [`ends`] that are looked at: the fields of an array's superblock.
pub(crate) const END_LENGTH: usize = 64;

/// Marks of what is known by name alone: offset, mark, name. They are here so that they are not
/// overwritten.
const OTHERS: [(usize, &[u8], &str); 12] = [
    (3, b"NTFS    ", "ntfs"),
    (3, b"EXFAT   ", "exfat"),
    (3, b"-FVE-FS-", "BitLocker"),
    (32, b"NXSB", "apfs"),
    (1024, &[0x10, 0x20, 0xf5, 0xf2], "f2fs"),
    (1024, b"H+\0\x04", "hfsplus"),
    (1024 + 6, &[0x34, 0x34], "nilfs2"),
    (4096 + 24, &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca], "bcache"),
    (0x8000, b"JFS1", "jfs"),
    (0x1_0034, b"ReIsEr2Fs", "reiserfs"),
    (0x1_0034, b"ReIsEr3Fs", "reiserfs"),
    (0x1_0034, b"ReIsErFs", "reiserfs"),
];

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    /// Name as mount(8) and blkid(8) use it (`ext4`, `crypto_LUKS`, …).
    pub(crate) format: &'static str,
    /// Label; empty where there is none.
    pub(crate) label: String,
    /// UUID in text form, lower case; a volume number for vfat, four groups for an array; empty where
    /// there is none.
    pub(crate) uuid: String,
}

/// Reads the marks in the first [`LENGTH`] bytes of a device; fewer bytes hold fewer marks.
pub(crate) fn read(bytes: &[u8]) -> Option<Signature> {
    let at = |offset: usize, length: usize| bytes.get(offset..offset.checked_add(length)?);
    let is = |offset: usize, mark: &[u8]| at(offset, mark.len()) == Some(mark);
    let found = |format, label: Option<&[u8]>, uuid: String| {
        let label = label.map(text).unwrap_or_default();
        Some(Signature { format, label, uuid })
    };
    // A volume that other devices are made of comes first: a file system inside shows through.
    if is(0, b"LUKS\xba\xbe") {
        let label = if is(6, &[0, 2]) { at(24, 48) } else { None };
        return found("crypto_LUKS", label, at(168, 40).map(text).unwrap_or_default());
    }
    // The label is in one of the first four sectors (lvm2, lib/label/label.h).
    for start in [0, 512, 1024, 1536] {
        if is(start, b"LABELONE") && is(start + 24, b"LVM2 001") {
            return found("LVM2_member", None, String::new());
        }
    }
    // Version 1.2 lies 4 KiB in, 1.1 at the start (md(4)).
    for start in [4096, 0] {
        if let Some(member) = bytes.get(start..).and_then(member) {
            return Some(member);
        }
    }
    if is(0, b"XFSB") {
        return found("xfs", at(108, 12), uuid(at(32, 16)));
    }
    if is(0x1_0040, b"_BHRfS_M") {
        return found("btrfs", at(0x1_012b, 256), uuid(at(0x1_0020, 16)));
    }
    if is(4086, b"SWAPSPACE2") {
        return found("swap", at(1052, 16), uuid(at(1036, 16)));
    }
    if is(1024 + 0x38, &[0x53, 0xef]) {
        return found(extended(at(1024, 1024)), at(1024 + 0x78, 16), uuid(at(1024 + 0x68, 16)));
    }
    if is(1024, &[0xe2, 0xe1, 0xf5, 0xe0]) {
        return found("erofs", at(1024 + 64, 16), uuid(at(1024 + 48, 16)));
    }
    if is(0, b"hsqs") {
        return found("squashfs", None, String::new());
    }
    // The primary volume descriptor (ECMA-119, section 8.4).
    if is(0x8000, b"\x01CD001") {
        return found("iso9660", at(0x8028, 32), String::new());
    }
    if is(510, &[0x55, 0xaa]) {
        for (mark, kind, label, serial) in
            [(82, "FAT32   ", 71, 67), (54, "FAT16   ", 43, 39), (54, "FAT12   ", 43, 39)]
        {
            if is(mark, kind.as_bytes()) {
                return found(
                    "vfat",
                    at(label, 11).filter(|name| *name != b"NO NAME    "),
                    number(at(serial, 4)),
                );
            }
        }
    }
    if is(512, b"EFI PART") || is(4096, b"EFI PART") {
        return found("gpt", None, String::new());
    }
    for (offset, mark, name) in OTHERS {
        if is(offset, mark) {
            return found(name, None, String::new());
        }
    }
    // A table of the old kind: one of the four entries has a type (UEFI 2.10, table 5.1).
    let has_type = |entry: usize| at(446 + 16 * entry + 4, 1).is_some_and(|kind| kind != [0]);
    if is(510, &[0x55, 0xaa]) && (0..4).any(has_type) {
        return found("dos", None, String::new());
    }
    None
}

/// Where the superblock of an array may be near the end of a device of `length` bytes: version 1.0, and
/// version 0.90 (md(4)).
pub(crate) fn ends(length: u64) -> Vec<u64> {
    const BLOCK: u64 = 4096;
    const RESERVED: u64 = 64 << 10;
    let new = (length / 512).checked_sub(16).map(|sector| sector * 512 / BLOCK * BLOCK);
    let old = (length / RESERVED * RESERVED).checked_sub(RESERVED);
    new.into_iter().chain(old).collect()
}

/// Reads the mark at one of [`ends`].
pub(crate) fn read_end(bytes: &[u8]) -> Option<Signature> {
    member(bytes)
}

/// The superblock of an array's member (md(4); linux/raid/md_p.h: magic, version, `set_uuid` at 16,
/// `set_name` at 32). The old version has neither at these places.
fn member(bytes: &[u8]) -> Option<Signature> {
    if bytes.get(..4)? != [0xfc, 0x4e, 0x2b, 0xa9] {
        return None;
    }
    let (mut label, mut uuid) = (String::new(), String::new());
    if bytes.get(4..8) == Some(&[1, 0, 0, 0]) {
        label = text(bytes.get(32..64).unwrap_or_default());
        for (index, byte) in bytes.get(16..32).unwrap_or_default().iter().enumerate() {
            if matches!(index, 4 | 8 | 12) {
                uuid.push(':');
            }
            uuid.push_str(&format!("{byte:02x}"));
        }
    }
    Some(Signature { format: "linux_raid_member", label, uuid })
}

/// Which of its generations an extended file system is: a journal makes ext3, extents make ext4
/// (Documentation/filesystems/ext4/super.rst).
fn extended(superblock: Option<&[u8]>) -> &'static str {
    const JOURNAL: u8 = 0x04;
    const EXTENTS: u8 = 0x40;
    let feature =
        |offset: usize| superblock.and_then(|bytes| bytes.get(offset)).copied().unwrap_or(0);
    match (feature(0x60) & EXTENTS != 0, feature(0x5c) & JOURNAL != 0) {
        (true, _) => "ext4",
        (false, true) => "ext3",
        (false, false) => "ext2",
    }
}

/// A label: ends at the first zero byte, blanks at its end do not count.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).trim_end().to_owned()
}

/// Sixteen bytes in the order in which they are written; nothing for zeros.
fn uuid(bytes: Option<&[u8]>) -> String {
    let bytes = bytes.unwrap_or_default();
    if bytes.iter().all(|&byte| byte == 0) {
        return String::new();
    }
    let mut text = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The volume number of a FAT file system, as blkid(8) writes it.
fn number(bytes: Option<&[u8]>) -> String {
    match bytes {
        Some(&[a, b, c, d]) => format!("{d:02x}{c:02x}-{b:02x}{a:02x}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{LENGTH, ends, read, read_end};

    fn device(marks: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        for (offset, mark) in marks {
            bytes[*offset..*offset + mark.len()].copy_from_slice(mark);
        }
        bytes
    }

    #[test]
    fn each_mark_is_known() {
        let id: Vec<u8> = (1..17).collect();
        let id_text = "01020304-0506-0708-090a-0b0c0d0e0f10";
        type Case<'a> = (&'a [(usize, &'a [u8])], &'a str, &'a str, &'a str);
        let table: &[Case<'_>] = &[
            (
                &[(1080, &[0x53, 0xef]), (1120, &[0x40]), (1144, b"data"), (1128, &id)],
                "ext4",
                "data",
                id_text,
            ),
            (&[(1080, &[0x53, 0xef]), (1116, &[0x04])], "ext3", "", ""),
            (&[(1080, &[0x53, 0xef])], "ext2", "", ""),
            (&[(0, b"XFSB"), (108, b"logs"), (32, &id)], "xfs", "logs", id_text),
            (&[(0x1_0040, b"_BHRfS_M"), (0x1_012b, b"b"), (0x1_0020, &id)], "btrfs", "b", id_text),
            (&[(4086, b"SWAPSPACE2"), (1052, b"s"), (1036, &id)], "swap", "s", id_text),
            (
                &[
                    (510, &[0x55, 0xaa]),
                    (82, b"FAT32   "),
                    (71, b"ESP        "),
                    (67, &[1, 2, 3, 4]),
                ],
                "vfat",
                "ESP",
                "0403-0201",
            ),
            (
                &[(510, &[0x55, 0xaa]), (54, b"FAT16   "), (43, b"NO NAME    ")],
                "vfat",
                "",
                "0000-0000",
            ),
            (
                &[(0, b"LUKS\xba\xbe\0\x02"), (24, b"vault"), (168, b"u-u")],
                "crypto_LUKS",
                "vault",
                "u-u",
            ),
            (&[(512, b"LABELONE"), (536, b"LVM2 001")], "LVM2_member", "", ""),
            (&[(1536, b"LABELONE"), (1560, b"LVM2 001")], "LVM2_member", "", ""),
            (&[(4096, &[0xfc, 0x4e, 0x2b, 0xa9])], "linux_raid_member", "", ""),
            (
                &[(4096, &[0xfc, 0x4e, 0x2b, 0xa9, 1]), (4112, &id), (4128, b"any:data")],
                "linux_raid_member",
                "any:data",
                "01020304:05060708:090a0b0c:0d0e0f10",
            ),
            (&[(3, b"NTFS    "), (510, &[0x55, 0xaa])], "ntfs", "", ""),
            (&[(0x1_0034, b"ReIsEr3Fs")], "reiserfs", "", ""),
            (&[(510, &[0x55, 0xaa]), (450, &[0x83])], "dos", "", ""),
            (&[(1024, &[0xe2, 0xe1, 0xf5, 0xe0])], "erofs", "", ""),
            (&[(0, b"hsqs")], "squashfs", "", ""),
            (&[(0x8000, b"\x01CD001"), (0x8028, b"cidata   ")], "iso9660", "cidata", ""),
            (&[(510, &[0x55, 0xaa]), (512, b"EFI PART")], "gpt", "", ""),
        ];
        for (marks, format, label, uuid) in table {
            let found = read(&device(marks)).unwrap_or_else(|| panic!("{format} is not found"));
            assert_eq!(
                (found.format, found.label.as_str(), found.uuid.as_str()),
                (*format, *label, *uuid)
            );
        }
        assert_eq!(read(&device(&[])), None);
        assert_eq!(read(&device(&[(510, &[0x55, 0xaa])])), None, "a table without entries");
    }

    #[test]
    fn an_array_may_have_its_mark_at_the_end() {
        // Sizes and places as `mdadm --examine` shows them: 0.90 lies in the last whole 64 KiB.
        assert_eq!(ends(1 << 20), [(1 << 20) - 8192, (1 << 20) - 65536]);
        assert_eq!(ends((1 << 20) + 512), [(1 << 20) - 8192, (1 << 20) - 65536]);
        assert_eq!(ends(4096), Vec::<u64>::new());
        assert_eq!(read_end(&[0xfc, 0x4e, 0x2b, 0xa9]).unwrap().format, "linux_raid_member");
        assert_eq!(read_end(&[0; 64]), None);
    }

    #[test]
    fn a_short_device_is_no_fault() {
        for length in [0, 1, 511, 1023, 1100, 4096] {
            assert_eq!(read(&vec![0; length]), None);
        }
    }
}
