//! Reading the disk back, from its start to its end.
//!
//! Total on any file: the map is bounded and must be in order, memory does not depend on what it
//! says, and the end is only told after the archive's own end and gzip's checksum were seen.

use super::format::{
    ENTRIES_IN_BLOCK, ENTRIES_IN_HEADER, MAP_ENTRY, MAP_IN_HEADER, MAP_NUMBER, MAXIMUM_LENGTH,
    MEMBER, MORE_IN_BLOCK, MORE_IN_HEADER, MOST_ENTRIES, REAL_SIZE,
};
use crate::Error;
use crate::tape::{BLOCK, END, REGULAR, SPARSE, number, read_header};
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

/// Bytes of zeros that may stand behind the archive's end: tar fills up to a record of 20 blocks.
const MOST_FILLING: u64 = 64 << 10;

/// The disk in an archive.
pub struct GceReader {
    tar: MultiGzDecoder<BufReader<File>>,
    length: u64,
    position: u64,
    /// Ranges with contents that were not read yet, the next one last.
    ranges: Vec<Range<u64>>,
    is_over: bool,
}

impl std::fmt::Debug for GceReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = formatter.debug_struct("GceReader");
        text.field("length", &self.length).field("position", &self.position).finish_non_exhaustive()
    }
}

impl GceReader {
    /// Opens an archive and reads its header.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Damaged`] for what is none.
    pub fn open(mut file: File) -> Result<Self, Error> {
        let refuse = |reason| Err(Error::Damaged { format: "GCE", reason });
        let failed = |source| Error::Read { offset: 0, source };
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut tar = MultiGzDecoder::new(BufReader::new(file));
        let header = block(&mut tar)?;
        let found = match read_header(&header) {
            Ok(Some(found)) => found,
            Ok(None) => return refuse("it is empty"),
            Err(reason) => return refuse(reason),
        };
        if found.name != MEMBER {
            return refuse("its first file is not disk.raw");
        }
        let (length, mut ranges) = match found.kind {
            REGULAR => (found.size, std::iter::once(0..found.size).collect()),
            SPARSE => {
                let Some(length) = number(&header[REAL_SIZE]) else {
                    return refuse("impossible length");
                };
                (length, read_map(&mut tar, &header, length)?)
            }
            _ => return refuse("disk.raw is no regular file"),
        };
        let stored: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        if length > MAXIMUM_LENGTH || stored != found.size {
            return refuse("impossible length");
        }
        ranges.reverse();
        Ok(Self { tar, length, position: 0, ranges, is_over: false })
    }

    /// Length in bytes of the disk.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads what must stand behind the disk.
    fn finish(&mut self) -> io::Result<()> {
        let mut rest = Vec::new();
        (&mut self.tar).take(MOST_FILLING + 1).read_to_end(&mut rest)?;
        if rest.len() < END
            || rest.len() as u64 > MOST_FILLING
            || rest.iter().any(|byte| *byte != 0)
        {
            let reason = "something else than the archive's end stands behind disk.raw";
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(())
    }
}

impl Read for GceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.length {
            if !std::mem::replace(&mut self.is_over, true) {
                self.finish()?;
            }
            return Ok(0);
        }
        while self.ranges.last().is_some_and(|range| range.end <= self.position) {
            self.ranges.pop();
        }
        let data = self.ranges.last().cloned().unwrap_or(self.length..self.length);
        let is_hole = self.position < data.start;
        let end = if is_hole { data.start } else { data.end };
        let length = usize::try_from(end - self.position).unwrap_or(usize::MAX).min(buffer.len());
        let Some(part) = buffer.get_mut(..length) else { return Ok(0) };
        let mut count = length;
        if is_hole {
            part.fill(0);
        } else {
            count = self.tar.read(part)?;
            if count == 0 && length > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.position += count as u64;
        Ok(count)
    }
}

/// The ranges with contents, in order and inside of the file.
fn read_map(
    tar: &mut impl Read,
    header: &[u8; BLOCK],
    length: u64,
) -> Result<Vec<Range<u64>>, Error> {
    let refuse = |reason| Err(Error::Damaged { format: "GCE", reason });
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut add = |bytes: &[u8]| {
        for entry in bytes.chunks_exact(MAP_ENTRY) {
            let (offset, length_here) = entry.split_at(MAP_NUMBER);
            // An entry that was not used.
            if offset.iter().chain(length_here).all(|byte| *byte == 0) {
                continue;
            }
            let range = number(offset)
                .zip(number(length_here))
                .and_then(|(offset, here)| offset.checked_add(here).map(|end| offset..end));
            let after = ranges.last().map_or(0, |last| last.end);
            match range {
                Some(range) if range.start >= after && range.end <= length => ranges.push(range),
                _ => return refuse("its map is not in order"),
            }
            if ranges.len() > MOST_ENTRIES {
                return refuse("its map is too long");
            }
        }
        Ok(())
    };
    add(&header[MAP_IN_HEADER..MAP_IN_HEADER + ENTRIES_IN_HEADER * MAP_ENTRY])?;
    let mut is_more = header[MORE_IN_HEADER] != 0;
    // An empty block adds nothing, so their number needs a bound of its own.
    let mut blocks = 0;
    while is_more {
        blocks += 1;
        if blocks > MOST_ENTRIES / ENTRIES_IN_BLOCK + 1 {
            return Err(Error::Damaged { format: "GCE", reason: "its map is too long" });
        }
        let block = block(tar)?;
        add(&block[..ENTRIES_IN_BLOCK * MAP_ENTRY])?;
        is_more = block[MORE_IN_BLOCK] != 0;
    }
    Ok(ranges)
}

fn block(tar: &mut impl Read) -> Result<[u8; BLOCK], Error> {
    let mut bytes = [0; BLOCK];
    let reason = "it is no tar in gzip, or is cut short";
    tar.read_exact(&mut bytes).map_err(|_| Error::Damaged { format: "GCE", reason })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Disk;
    use crate::gce::{GceOptions, write_gce};
    use proptest::prelude::*;
    use std::os::unix::fs::FileExt;

    /// More ranges than header and one block of the map hold.
    const MARKS: u64 = 30;

    fn archive(threads: usize) -> File {
        let (raw, out) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        raw.set_len(500 << 20).unwrap();
        for mark in 0..MARKS {
            raw.write_all_at(&[mark as u8 + 1; 70_000], mark << 20).unwrap();
        }
        let options = GceOptions { level: 6, threads };
        let facts = write_gce(&Disk::of_file(&raw).unwrap(), &out, &options).unwrap();
        assert_eq!(facts.virtual_length, 1 << 30);
        out
    }

    fn bytes(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn the_disk_is_read_back_and_threads_do_not_show() {
        assert!(bytes(&archive(1)) == bytes(&archive(5)));
        let mut reader = GceReader::open(archive(2)).unwrap();
        assert_eq!(reader.length(), 1 << 30);
        let (mut chunk, zeros) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        for index in 0..1024 {
            reader.read_exact(&mut chunk).unwrap();
            let expected = if index < MARKS { index as u8 + 1 } else { 0 };
            // Slices are compared at once, which matters for a thousand MiB.
            assert!(chunk[..70_000] == [expected; 70_000], "{index}");
            assert!(chunk[70_000..] == zeros[70_000..], "{index}");
        }
        assert_eq!(reader.read(&mut chunk).unwrap(), 0);
    }

    #[test]
    fn an_archive_that_is_cut_or_changed_is_told() {
        let whole = bytes(&archive(1));
        let turned = {
            let mut bytes = whole.clone();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            bytes
        };
        let cases = [
            whole[..whole.len() - 1].to_vec(),
            whole[..whole.len() / 2].to_vec(),
            turned,
            b"no gzip".to_vec(),
            Vec::new(),
        ];
        for bytes in cases {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            let Ok(reader) = GceReader::open(file) else { continue };
            let mut reader = io::BufReader::with_capacity(1 << 20, reader);
            assert!(io::copy(&mut reader, &mut io::sink()).is_err(), "{}", bytes.len());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_map_is_refused_or_in_order(
            entries in prop::collection::vec((0_u64..1 << 40, 0_u64..1 << 20), 0..4),
            length in 0_u64..1 << 41, noise in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut header = [0; BLOCK];
            for (place, (offset, length)) in
                header[MAP_IN_HEADER..].chunks_exact_mut(MAP_ENTRY).zip(&entries)
            {
                crate::tape::put_number(&mut place[..12], *offset);
                crate::tape::put_number(&mut place[12..], *length);
            }
            for (target, byte) in header[MAP_IN_HEADER + 30..].iter_mut().zip(&noise) {
                *target ^= byte;
            }
            if let Ok(ranges) = read_map(&mut io::empty(), &header, length) {
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
                prop_assert!(ranges.last().is_none_or(|last| last.end <= length));
            }
        }
    }
}
