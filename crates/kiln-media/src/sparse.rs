//! Where a file has data, so that the empty gigabytes of a disk cost nothing to read.
//!
//! Holes are a hint only: not every file system reports them, and one that does may report data
//! where there are zeros. Whoever needs the same result everywhere must look at the bytes as well.

use rustix::fs::{SeekFrom, seek};
use std::fs::File;
use std::ops::Range;

/// Zeros to compare with; also the grain at which zeros are left out of a raw disk.
pub(crate) const GRAIN: usize = 4096;

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; GRAIN] = [0; GRAIN];
    bytes.chunks(GRAIN).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// The next range from `from` that may hold something else than zeros, before `end`.
pub(crate) fn next_data(file: &File, from: u64, end: u64) -> Option<Range<u64>> {
    if from >= end {
        return None;
    }
    let start = match seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        // No data behind `from`.
        Err(rustix::io::Errno::NXIO) => return None,
        // Unknown here: all of it may be data.
        Err(_) => return Some(from..end),
    };
    let stop = seek(file, SeekFrom::Hole(start)).unwrap_or(end).min(end);
    (start < stop).then_some(start..stop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn all_data_is_found() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 20).unwrap();
        let marks: [u64; 4] = [0, 5 << 20, (20 << 20) + 1, (64 << 20) - 1];
        for mark in marks {
            file.write_all_at(b"x", mark).unwrap();
        }
        let mut found: Vec<u64> = Vec::new();
        let mut position = 0;
        while let Some(range) = next_data(&file, position, 64 << 20) {
            assert!(range.start >= position && range.end > range.start);
            found.extend(marks.iter().copied().filter(|mark| range.contains(mark)));
            position = range.end;
        }
        assert_eq!(found, marks);
        assert!(is_zero(&[0; 9000]) && !is_zero(&[[0; 4999].as_slice(), &[1]].concat()));
    }
}
