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
        let mut uses: Vec<_> = tree
            .entries()
            .iter()
            .flat_map(|entry| &entry.node.metadata.xattrs)
            .map(|(name, value)| Attribute::new(name, value))
            .collect();
        uses.sort_unstable();
        let mut table = Self::default();
        for same in uses.chunk_by(PartialEq::eq).filter(|same| same.len() > 1) {
            let Ok(place) = u32::try_from(table.bytes.len() / 4) else { break };
            let bytes = same[0].encode();
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
            let entry = Attribute::new(name, value).encode();
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

/// An attribute as it is stored, without a copy. Two compare like their encoded bytes, as those
/// begin with the lengths of what follows.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Attribute<'a> {
    name_length: u8,
    index: u8,
    value_length: [u8; 2],
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Attribute<'a> {
    fn new(name: &'a [u8], value: &'a [u8]) -> Self {
        // Validation has found an index for every name, and that both lengths fit.
        let (index, name) = split_xattr_name(name).unwrap_or((0, name));
        let value_length = (value.len() as u16).to_le_bytes();
        Self { name_length: name.len() as u8, index, value_length, name, value }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.name_length, self.index];
        bytes.extend_from_slice(&self.value_length);
        bytes.extend_from_slice(self.name);
        bytes.extend_from_slice(self.value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_and_counted() {
        let entry = Attribute::new(b"user.abc", b"xy").encode();
        assert_eq!(entry, [3, 1, 2, 0, b'a', b'b', b'c', b'x', b'y', 0, 0, 0]);
        let mut metadata = Metadata::file();
        assert_eq!(area_count(&XattrTable::default().area(&metadata)), 0);
        metadata.xattrs.insert(b"user.abc".to_vec(), b"xy".to_vec());
        let area = XattrTable::default().area(&metadata);
        assert_eq!((area.len(), area_count(&area)), (24, 4));
    }
}
