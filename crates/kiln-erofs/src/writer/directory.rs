//! Directories as the format stores them: sorted names, packed into blocks that can be searched on
//! their own (`struct erofs_dirent`).
//!
//! Each block begins with its entries, the names follow; the first entry's name offset tells how
//! many entries there are. Names of the last entry end with the block or with NUL. Lengths are
//! known without node numbers, so that inodes can be placed before directories are encoded.

use crate::format::{BLOCK, DIRENT};

/// One name in a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    /// Bytes of the name.
    pub(super) name: &'a [u8],
    /// Number of the inode in canonical order.
    pub(super) inode: usize,
}

/// Splits sorted names into blocks: end of each block as an index, and the bytes it uses.
fn split(names: &[Name<'_>]) -> Vec<(usize, usize)> {
    let mut blocks = Vec::new();
    let mut used = 0;
    for (index, name) in names.iter().enumerate() {
        let length = DIRENT + name.name.len();
        if used + length > BLOCK {
            blocks.push((index, used));
            used = 0;
        }
        used += length;
    }
    blocks.push((names.len(), used));
    blocks
}

/// Length of the directory in bytes: whole blocks and the used part of the last one.
pub(super) fn directory_length(names: &[Name<'_>]) -> usize {
    let blocks = split(names);
    (blocks.len() - 1) * BLOCK + blocks.last().map_or(0, |&(_, used)| used)
}

/// The directory's bytes; `resolve` gives node number and entry type of an inode.
pub(super) fn encode_directory(
    names: &[Name<'_>],
    resolve: impl Fn(usize) -> (u64, u8),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut begin = 0;
    let blocks = split(names);
    for (number, &(end, _)) in blocks.iter().enumerate() {
        let entries = &names[begin..end];
        let mut name_offset = entries.len() * DIRENT;
        for entry in entries {
            let (node, kind) = resolve(entry.inode);
            bytes.extend_from_slice(&node.to_le_bytes());
            // Within a block, hence below 4096.
            bytes.extend_from_slice(&(name_offset as u16).to_le_bytes());
            bytes.extend_from_slice(&[kind, 0]);
            name_offset += entry.name.len();
        }
        for entry in entries {
            bytes.extend_from_slice(entry.name);
        }
        if number + 1 < blocks.len() {
            bytes.resize((number + 1) * BLOCK, 0);
        }
        begin = end;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_known_before_the_bytes() {
        let texts: Vec<Vec<u8>> =
            (0..1000).map(|n| format!("{n:0>width$}", width = 1 + n % 255).into_bytes()).collect();
        for count in [1, 2, 10, 100, 1000] {
            let names: Vec<_> = texts[..count].iter().map(|name| Name { name, inode: 3 }).collect();
            let bytes = encode_directory(&names, |_| (9, 1));
            assert_eq!(bytes.len(), directory_length(&names));
            assert_eq!(bytes[..8], [9, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
}
