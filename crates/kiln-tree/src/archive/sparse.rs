//! Sparse files: extents of stored bytes with holes of zeros between them.
//!
//! Four spellings exist (GNU tar manual, "Storing Sparse Files"): the old GNU header type `S`, and PAX 0.0, 0.1, 1.0. All become
//! one checked list of extents here; the reader then sees an ordinary file. Holes are not kept as holes: the image compresses them.

use std::io::{self, Read};

/// Extents a file may have; a map of this length takes 16 MiB of memory.
pub(super) const EXTENT_LIMIT: usize = 1 << 20;

/// A run of stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Position in the file.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) length: u64,
}

/// What extended records say about sparseness.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// Formats 0.0 and 0.1 have the map here, 1.0 has it in front of the data.
    pub(super) map: Option<Vec<Extent>>,
    /// Offset record of format 0.0 that waits for its length record.
    pub(super) open_offset: Option<u64>,
}

/// Checks that extents are in order, inside the file and together as long as what is stored; drops empty ones.
pub(super) fn checked(
    mut map: Vec<Extent>,
    real_size: u64,
    stored: u64,
) -> Result<Vec<Extent>, &'static str> {
    let mut end = 0u64;
    let mut total = 0u64;
    for extent in &map {
        if extent.offset < end {
            return Err("the sparse map overlaps or is out of order");
        }
        end = extent.offset.checked_add(extent.length).ok_or("the sparse map overflows")?;
        if end > real_size {
            return Err("the sparse map is longer than the file");
        }
        // Cannot overflow: the sum of disjoint extents is at most the last end.
        total += extent.length;
    }
    if total != stored {
        return Err("the sparse map does not match the stored bytes");
    }
    map.retain(|extent| extent.length > 0);
    map.reverse();
    Ok(map)
}

/// Reads the stored bytes of `source` with zeros between the extents.
#[derive(Debug)]
pub(super) struct SparseReader<R> {
    source: R,
    /// Extents still to come, the next one last.
    map: Vec<Extent>,
    position: u64,
    size: u64,
}

impl<R: Read> SparseReader<R> {
    /// `map` as `checked` returns it.
    pub(super) fn new(source: R, map: Vec<Extent>, size: u64) -> SparseReader<R> {
        SparseReader { source, map, position: 0, size }
    }
}

impl<R: Read> Read for SparseReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let hole_end = self.map.last().map_or(self.size, |extent| extent.offset);
        let count = if self.position < hole_end {
            let count = room(buffer, hole_end - self.position);
            buffer[..count].fill(0);
            count
        } else if let Some(extent) = self.map.last_mut() {
            let count = room(buffer, extent.length);
            let count = self.source.read(&mut buffer[..count])?;
            extent.offset += count as u64;
            extent.length -= count as u64;
            if extent.length == 0 {
                self.map.pop();
            }
            count
        } else {
            0
        };
        self.position += count as u64;
        Ok(count)
    }
}

fn room(buffer: &[u8], bytes: u64) -> usize {
    usize::try_from(bytes).map_or(buffer.len(), |bytes| bytes.min(buffer.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, length: u64) -> Extent {
        Extent { offset, length }
    }

    #[test]
    fn holes_read_as_zeros() {
        let map = checked(vec![extent(2, 3), extent(5, 1), extent(8, 0)], 10, 4).unwrap();
        let mut bytes = Vec::new();
        SparseReader::new(&b"abcd"[..], map, 10).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"\0\0abcd\0\0\0\0");
    }

    #[test]
    fn maps_that_lie_are_refused() {
        let cases = [
            (vec![extent(0, 4), extent(3, 1)], 10, 5),
            (vec![extent(8, 4)], 10, 4),
            (vec![extent(u64::MAX, 2)], u64::MAX, 2),
            (vec![extent(0, 4)], 10, 5),
        ];
        for (map, size, stored) in cases {
            assert!(checked(map.clone(), size, stored).is_err(), "{map:?}");
        }
    }
}
