//! Writing frames side by side. Frames of zeros are made once and repeated.

use super::format::{FRAME, LEVELS};
use crate::ordered::ordered;
use crate::stream::Stream;
use crate::{Disk, Error, MediumFacts};
use std::fs::File;
use zstd::bulk::Compressor;

/// How to write a compressed raw disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZstOptions {
    /// Level from 1 to 19.
    pub level: i32,
    /// Threads; at least one is used.
    pub threads: usize,
}

/// Writes the disk to `out`, a regular file that is emptied first. Nothing is flushed.
///
/// # Errors
/// [`Error::Level`], [`Error::Read`], [`Error::Write`], [`Error::Compress`].
pub fn write_zst(disk: &Disk<'_>, out: &File, options: &ZstOptions) -> Result<MediumFacts, Error> {
    if !LEVELS.contains(&options.level) {
        return Err(Error::Level(options.level.unsigned_abs()));
    }
    let length = disk.length();
    let here = |index: u64| (length.saturating_sub(index * FRAME)).min(FRAME) as usize;
    // The last frame is the only one that may be shorter, so these two are all frames of zeros.
    let last = length.div_ceil(FRAME).saturating_sub(1);
    let mut packer = compressor(options.level)?;
    let zeros = vec![0; FRAME as usize];
    let mut pack = |bytes| packer.compress(bytes).map_err(|_| Error::Compress(length));
    let (empty, short) = (pack(&zeros)?, pack(&zeros[..here(last)])?);
    let mut stream = Stream::new(out)?;
    let mut next = 0;
    let mut skip = |stream: &mut Stream<'_>, until: u64| {
        while next < until {
            stream.put(if next == last { &short } else { &empty })?;
            next += 1;
        }
        next += 1;
        Ok::<_, Error>(())
    };
    ordered(
        options.threads,
        disk.chunks(FRAME),
        || compressor(options.level),
        |compressor, chunk| {
            let bytes = &chunk.bytes[..here(chunk.index)];
            let packed = compressor.compress(bytes);
            Ok((chunk.index, packed.map_err(|_| Error::Compress(chunk.index * FRAME))?))
        },
        |(index, frame)| {
            skip(&mut stream, index)?;
            stream.put(&frame)
        },
    )?;
    skip(&mut stream, length.div_ceil(FRAME))?;
    Ok(MediumFacts { length: stream.finish()?, virtual_length: length })
}

fn compressor(level: i32) -> Result<Compressor<'static>, Error> {
    let make = || {
        let mut compressor = Compressor::new(level)?;
        // A frame that was damaged on its way is told by its reader.
        compressor.include_checksum(true)?;
        std::io::Result::Ok(compressor)
    };
    make().map_err(|_| Error::Compress(0))
}
