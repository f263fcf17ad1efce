//! Extended attributes: those of several inodes once in a shared area, others beside their inode
//! (`struct erofs_xattr_ibody_header`, `struct erofs_xattr_entry`).
//!
//! A shared attribute costs an inode four bytes; SELinux labels, the common case, are the same for
//! thousands of files. Long name prefixes and the name filter were dropped: kernels before 6.6
//! know neither.

use std::collections::BTreeMap;

use kiln_tree::Metadata;

use super::validate::ValidatedTree;
use crate::format::{XATTR_HEADER, split_xattr_name};

/// Most shared attributes of one inode (`h_shared_count` is a byte).
const SHARED_MAX: usize = u8::MAX as usize;

/// Attributes used more than once and their encoded area.
#[derive(Debug, Default)]
pub(super) struct XattrTable {
    /// Encoded entry to its place in units of four bytes.
    places: BTreeMap<Vec<u8>, u32>,
    bytes: Vec<u8>,
}

impl XattrTable {
    /// Counts the attributes of a tree and lays out the shared ones, sorted by their bytes.
    pub(super) fn new(tree: &ValidatedTree<'_>) -> Self {
        let mut uses: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for entry in tree.entries() {
            for (name, value) in &entry.node.metadata.xattrs {
                *uses.entry(encode_entry(name, value)).or_default() += 1;
            }
        }
        let mut table = Self::default();
        for (bytes, _) in uses.into_iter().filter(|&(_, count)| count > 1) {
            let Ok(place) = u32::try_from(table.bytes.len() / 4) else { break };
            table.bytes.extend_from_slice(&bytes);
            table.places.insert(bytes, place);
        }
        table
    }

    /// The shared area.
    pub(super) fn shared_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The area beside an inode; empty without attributes.
    pub(super) fn area(&self, metadata: &Metadata) -> Vec<u8> {
        if metadata.xattrs.is_empty() {
            return Vec::new();
        }
        let (mut shared, mut inline) = (Vec::new(), Vec::new());
        for (name, value) in &metadata.xattrs {
            let entry = encode_entry(name, value);
            match self.places.get(&entry) {
                Some(place) if shared.len() < SHARED_MAX => shared.push(*place),
                _ => inline.extend_from_slice(&entry),
            }
        }
        let mut bytes = vec![0; XATTR_HEADER];
        bytes[4] = shared.len() as u8;
        bytes.extend(shared.iter().flat_map(|place| place.to_le_bytes()));
        bytes.extend_from_slice(&inline);
        bytes
    }
}

/// `i_xattr_icount` of an area.
pub(super) fn area_count(area: &[u8]) -> u16 {
    // Validation bounds the area, and its length is a multiple of four.
    if area.is_empty() { 0 } else { (1 + (area.len() - XATTR_HEADER) / 4) as u16 }
}

fn encode_entry(name: &[u8], value: &[u8]) -> Vec<u8> {
    // Validation has found an index for every name.
    let (index, rest) = split_xattr_name(name).unwrap_or((0, name));
    let mut bytes = vec![rest.len() as u8, index];
    bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
    bytes.extend_from_slice(rest);
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_and_counted() {
        let entry = encode_entry(b"user.abc", b"xy");
        assert_eq!(entry, [3, 1, 2, 0, b'a', b'b', b'c', b'x', b'y', 0, 0, 0]);
        let mut metadata = Metadata::file();
        assert_eq!(area_count(&XattrTable::default().area(&metadata)), 0);
        metadata.xattrs.insert(b"user.abc".to_vec(), b"xy".to_vec());
        let area = XattrTable::default().area(&metadata);
        assert_eq!((area.len(), area_count(&area)), (24, 4));
    }
}
