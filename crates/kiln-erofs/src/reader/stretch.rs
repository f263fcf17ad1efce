//! Reads a stretch of a file without what lies before it: a machine takes single chunks of large
//! files from the slot it has.

use std::io::Write as _;

use super::{Image, Inode, ReadAt};
use crate::error::Error;
use crate::format::{BLOCK, LAYOUT_FLAT_INLINE, LAYOUT_FLAT_PLAIN};

impl<R: ReadAt> Image<R> {
    /// `length` bytes of a file's content from byte `start` on. The caller bounds `length`.
    ///
    /// # Errors
    /// [`Error::Damaged`] if they are not all inside of the file, and all of reading.
    pub fn read_stretch(&self, inode: &Inode, start: u64, length: usize) -> Result<Vec<u8>, Error> {
        let end = start.checked_add(length as u64).filter(|end| *end <= inode.raw.size);
        let end = end.ok_or_else(|| inode.damaged("it is shorter than it was"))?;
        let mut bytes = Vec::new();
        if length == 0 {
            return Ok(bytes);
        }
        if matches!(inode.raw.layout, LAYOUT_FLAT_PLAIN | LAYOUT_FLAT_INLINE) {
            let tail = match inode.raw.layout {
                LAYOUT_FLAT_INLINE => (inode.raw.size - 1) % BLOCK as u64 + 1,
                _ => 0,
            };
            let in_blocks = inode.raw.size - tail;
            if start < in_blocks {
                let first = u64::from(inode.raw.union) * BLOCK as u64;
                let offset = first.saturating_add(start);
                let count = (end.min(in_blocks) - start) as usize;
                bytes = self.bytes(inode.node, offset, count)?;
            }
            if end > in_blocks {
                let begin = inode.body();
                if begin as usize % BLOCK + tail as usize > BLOCK {
                    return Err(inode.damaged("its last bytes cross a block boundary"));
                }
                let rest = self.bytes(inode.node, begin, tail as usize)?;
                let from = start.saturating_sub(in_blocks) as usize;
                bytes.extend_from_slice(&rest[from..(end - in_blocks) as usize]);
            }
            return Ok(bytes);
        }
        for extent in self.extents(inode)? {
            let extent = extent?;
            let extent_end = extent.start.saturating_add(extent.length);
            if extent_end <= start {
                continue;
            }
            if extent.start >= end {
                break;
            }
            let decoded = self.decode(inode, &extent)?;
            let from = start.saturating_sub(extent.start) as usize;
            let to = (end - extent.start).min(decoded.len() as u64) as usize;
            let part = decoded.get(from..to);
            let part = part.ok_or_else(|| inode.damaged("its pieces do not fit together"))?;
            bytes.write_all(part).map_err(Error::io("collect file contents"))?;
        }
        if bytes.len() != length {
            return Err(inode.damaged("its pieces do not fit together"));
        }
        Ok(bytes)
    }
}
