//! Reads extended attributes, beside the inode and from the shared area.

use std::collections::BTreeMap;

use super::{Image, Inode, ReadAt};
use crate::error::Error;
use crate::format::{BLOCK, XATTR_ENTRY, XATTR_HEADER, XATTR_PREFIXES, le16, le32, xattr_area};

impl<R: ReadAt> Image<R> {
    /// Extended attributes by their full names.
    pub fn xattrs(&self, inode: &Inode) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
        let mut found = BTreeMap::new();
        let length = xattr_area(inode.raw.xattr_count);
        if length == 0 {
            return Ok(found);
        }
        let start = inode.position + inode.raw.length() as u64;
        let area = self.bytes(inode.node, start, length)?;
        let shared = usize::from(area[4]);
        let mut position = XATTR_HEADER + 4 * shared;
        if position > area.len() {
            return Err(inode.damaged("more shared attributes than there is room for"));
        }
        let base = u64::from(self.superblock.xattr_block) * BLOCK as u64;
        for index in 0..shared {
            let place = base + 4 * u64::from(le32(&area, XATTR_HEADER + 4 * index));
            let header = self.bytes(inode.node, place, XATTR_ENTRY)?;
            let entry = self.bytes(inode.node, place, entry_length(&header))?;
            insert(inode, &entry, &mut found)?;
        }
        while position + XATTR_ENTRY <= area.len() {
            let length = entry_length(&area[position..]);
            let entry = area
                .get(position..position + length)
                .ok_or_else(|| inode.damaged("an attribute crosses the end of its area"))?;
            insert(inode, entry, &mut found)?;
            position += length.next_multiple_of(4);
        }
        Ok(found)
    }
}

fn entry_length(header: &[u8]) -> usize {
    XATTR_ENTRY + usize::from(header[0]) + usize::from(le16(header, 2))
}

fn insert(
    inode: &Inode,
    entry: &[u8],
    found: &mut BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<(), Error> {
    let (_, rest) = entry.split_at(XATTR_ENTRY);
    let (name, value) = rest.split_at(usize::from(entry[0]));
    let (prefix, _) = XATTR_PREFIXES
        .iter()
        .find(|&&(_, index)| index == entry[1])
        .ok_or_else(|| inode.damaged("an attribute has an unknown prefix"))?;
    found.insert([prefix, name].concat(), value.to_vec());
    Ok(())
}
