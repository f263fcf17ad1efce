//! The on-disk format: constants and structures, each with its place in the kernel's
//! `fs/erofs/erofs_fs.h` (Linux 6.12; all little-endian).
//!
//! Only what we write or read stands here. Structures are encoded field by field into byte arrays
//! and never by casting memory, so neither alignment nor the host's byte order can leak in.
//! Parsing here takes bytes and returns values; whether the values make sense together is the
//! reader's business.

use crate::Error;
use crate::checksum::crc32c;

/// File system block in bytes (`blkszbits` = 12); the only size that all kernels ≥ 6.1 mount.
pub const BLOCK: usize = 4096;
/// log2 of [`BLOCK`].
pub const BLOCK_BITS: u8 = 12;
/// Byte offset of the superblock (`EROFS_SUPER_OFFSET`).
pub const SUPER_OFFSET: usize = 1024;
/// Size of the superblock without extension slots (`struct erofs_super_block`).
pub const SUPER_SIZE: usize = 128;
/// `EROFS_SUPER_MAGIC_V1` of `include/uapi/linux/magic.h`.
pub const MAGIC: u32 = 0xE0F5_E1E2;
/// Node numbers count 32-byte slots (`EROFS_ISLOTBITS` = 5).
pub const SLOT: usize = 32;

/// `EROFS_FEATURE_COMPAT_SB_CHKSUM`.
pub const COMPAT_CHECKSUM: u32 = 0x1;
/// `EROFS_FEATURE_COMPAT_MTIME`.
pub const COMPAT_MTIME: u32 = 0x2;
/// `EROFS_FEATURE_INCOMPAT_ZERO_PADDING`: compressed data ends with its last block.
pub const INCOMPAT_ZERO_PADDING: u32 = 0x1;
/// `EROFS_FEATURE_INCOMPAT_COMPR_CFGS` and `…_BIG_PCLUSTER`, one bit.
pub const INCOMPAT_BIG_PCLUSTER: u32 = 0x2;
/// `EROFS_FEATURE_INCOMPAT_ZTAILPACKING`.
pub const INCOMPAT_ZTAILPACKING: u32 = 0x10;
/// Every incompatible feature that the reader knows.
pub const INCOMPAT_KNOWN: u32 =
    INCOMPAT_ZERO_PADDING | INCOMPAT_BIG_PCLUSTER | INCOMPAT_ZTAILPACKING;

/// `EROFS_INODE_FLAT_PLAIN`.
pub const LAYOUT_FLAT_PLAIN: u8 = 0;
/// `EROFS_INODE_COMPRESSED_FULL`.
pub const LAYOUT_COMPRESSED_FULL: u8 = 1;
/// `EROFS_INODE_FLAT_INLINE`.
pub const LAYOUT_FLAT_INLINE: u8 = 2;
/// `EROFS_INODE_COMPRESSED_COMPACT`.
pub const LAYOUT_COMPRESSED_COMPACT: u8 = 3;

/// `struct erofs_inode_compact`.
pub const INODE_COMPACT: usize = 32;
/// `struct erofs_inode_extended`.
pub const INODE_EXTENDED: usize = 64;
/// `struct erofs_xattr_ibody_header`.
pub const XATTR_HEADER: usize = 12;
/// `struct erofs_xattr_entry`, before name and value.
pub const XATTR_ENTRY: usize = 4;
/// `struct erofs_dirent`.
pub const DIRENT: usize = 12;
/// `EROFS_NAME_LEN`.
pub const NAME_MAX: usize = 255;
/// Longest symbolic link: Linux' PATH_MAX without the terminating NUL.
pub const SYMLINK_MAX: usize = 4095;

/// `struct z_erofs_map_header`.
pub const MAP_HEADER: usize = 8;
/// `Z_EROFS_ADVISE_COMPACTED_2B`.
pub const ADVISE_COMPACTED_2B: u16 = 0x01;
/// `Z_EROFS_ADVISE_BIG_PCLUSTER_1`.
pub const ADVISE_BIG_PCLUSTER_1: u16 = 0x02;
/// `Z_EROFS_ADVISE_BIG_PCLUSTER_2`; compact indexes need both or none.
pub const ADVISE_BIG_PCLUSTER_2: u16 = 0x04;
/// `Z_EROFS_ADVISE_INLINE_PCLUSTER`.
pub const ADVISE_INLINE_PCLUSTER: u16 = 0x08;
/// `Z_EROFS_ADVISE_INTERLACED_PCLUSTER`.
pub const ADVISE_INTERLACED_PCLUSTER: u16 = 0x10;
/// `Z_EROFS_LCLUSTER_TYPE_PLAIN`.
pub const CLUSTER_PLAIN: u8 = 0;
/// `Z_EROFS_LCLUSTER_TYPE_HEAD1`.
pub const CLUSTER_HEAD1: u8 = 1;
/// `Z_EROFS_LCLUSTER_TYPE_NONHEAD`.
pub const CLUSTER_NONHEAD: u8 = 2;
/// `Z_EROFS_LCLUSTER_TYPE_HEAD2`.
pub const CLUSTER_HEAD2: u8 = 3;
/// `Z_EROFS_LI_D0_CBLKCNT`: the value is a block count and not a distance.
pub const CBLKCNT: u16 = 1 << 11;
/// `Z_EROFS_PCLUSTER_MAX_SIZE` in blocks.
pub const PCLUSTER_MAX_BLOCKS: u32 = 256;
/// `Z_EROFS_PCLUSTER_MAX_DSIZE` in bytes: most that one physical cluster may decode to.
pub const PCLUSTER_MAX_DECODED: u64 = 12 * 1024 * 1024;

/// `Z_EROFS_COMPRESSION_LZ4`.
pub const ALGORITHM_LZ4: u8 = 0;
/// `Z_EROFS_COMPRESSION_ZSTD`.
pub const ALGORITHM_ZSTD: u8 = 3;

/// File type bits of `i_mode` (POSIX `S_IFMT`).
pub const MODE_TYPE: u16 = 0o170_000;
/// `S_IFIFO`.
pub const MODE_FIFO: u16 = 0o010_000;
/// `S_IFCHR`.
pub const MODE_CHARACTER: u16 = 0o020_000;
/// `S_IFDIR`.
pub const MODE_DIRECTORY: u16 = 0o040_000;
/// `S_IFBLK`.
pub const MODE_BLOCK: u16 = 0o060_000;
/// `S_IFREG`.
pub const MODE_FILE: u16 = 0o100_000;
/// `S_IFLNK`.
pub const MODE_SYMLINK: u16 = 0o120_000;
/// `S_IFSOCK`.
pub const MODE_SOCKET: u16 = 0o140_000;

/// Extended attribute prefixes and their `EROFS_XATTR_INDEX_*`. Exact names stand before the
/// prefixes they do not collide with; the access lists have an empty rest.
pub const XATTR_PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// Splits a full attribute name into index and rest; `None` if the format has no index for it.
pub fn split_xattr_name(name: &[u8]) -> Option<(u8, &[u8])> {
    XATTR_PREFIXES.iter().find_map(|&(prefix, index)| {
        let rest = name.strip_prefix(prefix)?;
        // Access lists are whole names, the others need something behind the prefix.
        (prefix.ends_with(b".") != rest.is_empty()).then_some((index, rest))
    })
}

/// File type of a directory entry (`FT_*` of `include/linux/fs_types.h`).
pub fn entry_type(mode: u16) -> u8 {
    match mode & MODE_TYPE {
        MODE_FILE => 1,
        MODE_DIRECTORY => 2,
        MODE_CHARACTER => 3,
        MODE_BLOCK => 4,
        MODE_FIFO => 5,
        MODE_SOCKET => 6,
        MODE_SYMLINK => 7,
        _ => 0,
    }
}

/// A device number as `i_rdev` holds it (the kernel's `new_encode_dev`).
pub fn encode_device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The reverse of [`encode_device`]: (major, minor).
pub fn decode_device(device: u32) -> (u32, u32) {
    ((device & 0xfff00) >> 8, (device & 0xff) | ((device >> 12) & 0xfff00))
}

/// Two bytes at `offset`, zero beyond the end.
pub(crate) fn le16(bytes: &[u8], offset: usize) -> u16 {
    field(bytes, offset).map_or(0, u16::from_le_bytes)
}

/// Four bytes at `offset`, zero beyond the end.
pub(crate) fn le32(bytes: &[u8], offset: usize) -> u32 {
    field(bytes, offset).map_or(0, u32::from_le_bytes)
}

/// Eight bytes at `offset`, zero beyond the end.
pub(crate) fn le64(bytes: &[u8], offset: usize) -> u64 {
    field(bytes, offset).map_or(0, u64::from_le_bytes)
}

fn field<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

/// Copies `value` to `offset`; the caller's array is always large enough.
fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(target) = bytes.get_mut(offset..offset + value.len()) {
        target.copy_from_slice(value);
    }
}

/// The fields of `struct erofs_super_block` that are in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// `feature_compat`.
    pub compat: u32,
    /// `feature_incompat`.
    pub incompat: u32,
    /// `root_nid`.
    pub root: u16,
    /// `inos`: number of inodes.
    pub inodes: u64,
    /// `build_time` in seconds since 1970.
    pub build_time: u64,
    /// `build_time_nsec`.
    pub build_nanoseconds: u32,
    /// `blocks`: length of the image in blocks.
    pub blocks: u32,
    /// `meta_blkaddr`: block that node number 0 starts at.
    pub metadata_block: u32,
    /// `xattr_blkaddr`: block that shared attribute 0 starts at.
    pub xattr_block: u32,
    /// `uuid`.
    pub uuid: [u8; 16],
    /// `available_compr_algs`: bit n stands for algorithm n.
    pub algorithms: u16,
}

impl Superblock {
    /// The first block of an image from [`SUPER_OFFSET`] on, with the codec configurations that
    /// follow the superblock, without checksum.
    pub fn encode(&self, configurations: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; SUPER_SIZE];
        put(&mut bytes, 0, &MAGIC.to_le_bytes());
        put(&mut bytes, 8, &self.compat.to_le_bytes());
        put(&mut bytes, 12, &[BLOCK_BITS, 0]);
        put(&mut bytes, 14, &self.root.to_le_bytes());
        put(&mut bytes, 16, &self.inodes.to_le_bytes());
        put(&mut bytes, 24, &self.build_time.to_le_bytes());
        put(&mut bytes, 32, &self.build_nanoseconds.to_le_bytes());
        put(&mut bytes, 36, &self.blocks.to_le_bytes());
        put(&mut bytes, 40, &self.metadata_block.to_le_bytes());
        put(&mut bytes, 44, &self.xattr_block.to_le_bytes());
        put(&mut bytes, 48, &self.uuid);
        put(&mut bytes, 80, &self.incompat.to_le_bytes());
        put(&mut bytes, 84, &self.algorithms.to_le_bytes());
        bytes.extend_from_slice(configurations);
        bytes
    }

    /// Reads the first block of an image (at least [`BLOCK`] bytes) and verifies the checksum.
    pub fn parse(block: &[u8]) -> Result<Self, Error> {
        let bytes = block.get(SUPER_OFFSET..BLOCK).ok_or(Error::NotErofs)?;
        if le32(bytes, 0) != MAGIC {
            return Err(Error::NotErofs);
        }
        let found = le32(bytes, 4);
        let computed = checksum(bytes);
        let compat = le32(bytes, 8);
        if compat & COMPAT_CHECKSUM != 0 && found != computed {
            return Err(Error::Checksum { found, computed });
        }
        if bytes[12] != BLOCK_BITS {
            return Err(Error::Unsupported(format!("block size 2^{}", bytes[12])));
        }
        let incompat = le32(bytes, 80);
        if incompat & !INCOMPAT_KNOWN != 0 {
            return Err(Error::Unsupported(format!("{:#x}", incompat & !INCOMPAT_KNOWN)));
        }
        Ok(Self {
            compat,
            incompat,
            root: le16(bytes, 14),
            inodes: le64(bytes, 16),
            build_time: le64(bytes, 24),
            build_nanoseconds: le32(bytes, 32),
            blocks: le32(bytes, 36),
            metadata_block: le32(bytes, 40),
            xattr_block: le32(bytes, 44),
            uuid: field(bytes, 48).unwrap_or_default(),
            algorithms: le16(bytes, 84),
        })
    }
}

/// The checksum over the first block from the superblock on; its own field counts as zero.
fn checksum(bytes: &[u8]) -> u32 {
    let mut seed = crc32c(!0, &bytes[..4]);
    seed = crc32c(seed, &[0; 4]);
    crc32c(seed, &bytes[8..])
}

/// Puts the checksum into the finished first block.
pub(crate) fn seal(block: &mut [u8]) {
    if let Some(bytes) = block.get_mut(SUPER_OFFSET..BLOCK) {
        let value = checksum(bytes);
        put(bytes, 4, &value.to_le_bytes());
    }
}

/// Both inode forms, `struct erofs_inode_compact` and `struct erofs_inode_extended`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawInode {
    /// One of the `LAYOUT_*` values.
    pub layout: u8,
    /// 64-byte form.
    pub extended: bool,
    /// `i_xattr_icount`.
    pub xattr_count: u16,
    /// Type and permission bits.
    pub mode: u16,
    /// Content length in bytes.
    pub size: u64,
    /// `i_u`: block address, compressed blocks, or device number.
    pub union: u32,
    /// `i_ino`.
    pub number: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, seconds; in the compact form the image's build time stands for it.
    pub mtime: i64,
    /// Modification time, nanoseconds.
    pub mtime_nanoseconds: u32,
    /// Number of names.
    pub links: u32,
}

impl RawInode {
    /// Bytes of the inode itself.
    pub fn length(&self) -> usize {
        if self.extended { INODE_EXTENDED } else { INODE_COMPACT }
    }

    /// The inode's bytes; fields too large for the compact form are the caller's error.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length()];
        let format = u16::from(self.extended) | (u16::from(self.layout) << 1);
        put(&mut bytes, 0, &format.to_le_bytes());
        put(&mut bytes, 2, &self.xattr_count.to_le_bytes());
        put(&mut bytes, 4, &self.mode.to_le_bytes());
        put(&mut bytes, 16, &self.union.to_le_bytes());
        put(&mut bytes, 20, &self.number.to_le_bytes());
        if self.extended {
            put(&mut bytes, 8, &self.size.to_le_bytes());
            put(&mut bytes, 24, &self.uid.to_le_bytes());
            put(&mut bytes, 28, &self.gid.to_le_bytes());
            put(&mut bytes, 32, &self.mtime.to_le_bytes());
            put(&mut bytes, 40, &self.mtime_nanoseconds.to_le_bytes());
            put(&mut bytes, 44, &self.links.to_le_bytes());
        } else {
            put(&mut bytes, 6, &(self.links as u16).to_le_bytes());
            put(&mut bytes, 8, &(self.size as u32).to_le_bytes());
            put(&mut bytes, 24, &(self.uid as u16).to_le_bytes());
            put(&mut bytes, 26, &(self.gid as u16).to_le_bytes());
        }
        bytes
    }

    /// Reads an inode; `bytes` holds at least 64 bytes, or 32 if the inode is compact. The compact
    /// form has no time: it gets `build`, (seconds, nanoseconds).
    pub fn parse(bytes: &[u8], build: (u64, u32)) -> Option<Self> {
        let format = le16(bytes, 0);
        let extended = format & 1 != 0;
        let layout = (format >> 1) as u8;
        // Bits above the layout belong to formats newer than this reader.
        if layout > 7 || bytes.len() < if extended { INODE_EXTENDED } else { INODE_COMPACT } {
            return None;
        }
        let common = Self {
            layout,
            extended,
            xattr_count: le16(bytes, 2),
            mode: le16(bytes, 4),
            size: u64::from(le32(bytes, 8)),
            union: le32(bytes, 16),
            number: le32(bytes, 20),
            uid: u32::from(le16(bytes, 24)),
            gid: u32::from(le16(bytes, 26)),
            mtime: build.0 as i64,
            mtime_nanoseconds: build.1,
            links: u32::from(le16(bytes, 6)),
        };
        Some(if extended {
            Self {
                size: le64(bytes, 8),
                uid: le32(bytes, 24),
                gid: le32(bytes, 28),
                mtime: le64(bytes, 32) as i64,
                mtime_nanoseconds: le32(bytes, 40),
                links: le32(bytes, 44),
                ..common
            }
        } else {
            common
        })
    }
}

/// Bytes of the attribute area that `i_xattr_icount` stands for (`erofs_xattr_ibody_size`).
pub fn xattr_area(count: u16) -> usize {
    if count == 0 { 0 } else { XATTR_HEADER + 4 * (usize::from(count) - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inodes_read_back() {
        let inode = RawInode {
            layout: LAYOUT_FLAT_INLINE,
            extended: true,
            xattr_count: 3,
            mode: 0o100_644,
            size: 1 << 40,
            union: 77,
            number: 5,
            uid: 100_000,
            gid: 4,
            mtime: -5,
            mtime_nanoseconds: 6,
            links: 70_000,
        };
        assert_eq!(RawInode::parse(&inode.encode(), (1, 2)).unwrap(), inode);
        let compact = RawInode {
            extended: false,
            size: 9,
            uid: 1,
            links: 2,
            mtime: 1,
            mtime_nanoseconds: 2,
            ..inode
        };
        assert_eq!(compact.encode().len(), INODE_COMPACT);
        assert_eq!(RawInode::parse(&compact.encode(), (1, 2)).unwrap(), compact);
        assert_eq!(RawInode::parse(&compact.encode()[..31], (1, 2)), None);
    }

    #[test]
    fn device_numbers_keep_all_bits() {
        for (major, minor) in [(1, 3), (8, 1), (259, 300_000), (4095, 1_048_575)] {
            assert_eq!(decode_device(encode_device(major, minor)), (major, minor));
        }
    }

    #[test]
    fn attribute_names_split_by_prefix() {
        for (name, expected) in [
            (&b"user.a"[..], Some((1, &b"a"[..]))),
            (b"system.posix_acl_access", Some((2, b""))),
            (b"system.posix_acl_accessx", None),
            (b"security.capability", Some((6, b"capability"))),
            (b"trusted.overlay.opaque", Some((4, b"overlay.opaque"))),
            (b"user.", None),
            (b"btrfs.compression", None),
        ] {
            assert_eq!(split_xattr_name(name), expected);
        }
    }

    #[test]
    fn a_damaged_superblock_is_refused() {
        let superblock = Superblock {
            compat: COMPAT_CHECKSUM,
            incompat: 0,
            root: 36,
            inodes: 1,
            build_time: 3,
            build_nanoseconds: 4,
            blocks: 1,
            metadata_block: 0,
            xattr_block: 0,
            uuid: [7; 16],
            algorithms: 0,
        };
        let mut block = vec![0; SUPER_OFFSET];
        block.extend(superblock.encode(&[1, 2]));
        block.resize(BLOCK, 0);
        seal(&mut block);
        assert_eq!(Superblock::parse(&block).unwrap(), superblock);
        block[SUPER_OFFSET + 100] ^= 1;
        assert!(matches!(Superblock::parse(&block), Err(Error::Checksum { .. })));
        assert!(matches!(Superblock::parse(&block[..100]), Err(Error::NotErofs)));
    }
}
