//! Reads file contents: flat ones as they lie, indexed ones extent by extent.

use std::io::Write;

use kiln_sys::codec::lz4_decompress;

use super::map::{Extent, Place};
use super::{Image, Inode, ReadAt};
use crate::error::Error;
use crate::format::{
    ALGORITHM_LZ4, ALGORITHM_ZSTD, BLOCK, LAYOUT_COMPRESSED_COMPACT, LAYOUT_COMPRESSED_FULL,
    LAYOUT_FLAT_INLINE, LAYOUT_FLAT_PLAIN,
};

/// Bytes of a flat file read at a time.
const CHUNK: u64 = 1 << 20;

impl<R: ReadAt> Image<R> {
    /// The content of a file, directory or symbolic link, which may have `limit` bytes at most.
    pub fn read(&self, inode: &Inode, limit: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.copy(inode, limit, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes the content to `out` piece by piece.
    pub fn copy(&self, inode: &Inode, limit: u64, out: &mut dyn Write) -> Result<(), Error> {
        let size = inode.raw.size;
        if size > limit {
            return Err(Error::OverLimit { node: inode.node, size, limit });
        }
        if size == 0 {
            return Ok(());
        }
        match inode.raw.layout {
            LAYOUT_FLAT_PLAIN => self.copy_flat(inode, size, 0, out),
            LAYOUT_FLAT_INLINE => {
                let tail = (size - 1) % BLOCK as u64 + 1;
                self.copy_flat(inode, size - tail, tail as usize, out)
            }
            LAYOUT_COMPRESSED_FULL | LAYOUT_COMPRESSED_COMPACT => {
                for extent in self.extents(inode)? {
                    let bytes = self.decode(inode, &extent?)?;
                    out.write_all(&bytes).map_err(Error::io("write file contents"))?;
                }
                Ok(())
            }
            other => Err(Error::Unsupported(format!("data layout {other}"))),
        }
    }

    fn copy_flat(
        &self,
        inode: &Inode,
        in_blocks: u64,
        tail: usize,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        let begin = u64::from(inode.raw.union) * BLOCK as u64;
        if in_blocks > self.length {
            return Err(inode.damaged("the content is longer than the image"));
        }
        let mut done = 0;
        while done < in_blocks {
            let length = (in_blocks - done).min(CHUNK);
            let bytes = self.bytes(inode.node, begin + done, length as usize)?;
            out.write_all(&bytes).map_err(Error::io("write file contents"))?;
            done += length;
        }
        if tail > 0 {
            let begin = inode.body();
            if begin as usize % BLOCK + tail > BLOCK {
                return Err(inode.damaged("its last bytes cross a block boundary"));
            }
            let bytes = self.bytes(inode.node, begin, tail)?;
            out.write_all(&bytes).map_err(Error::io("write file contents"))?;
        }
        Ok(())
    }

    /// The bytes that an extent stands for.
    pub(crate) fn decode(&self, inode: &Inode, extent: &Extent) -> Result<Vec<u8>, Error> {
        let length = extent.length as usize;
        let (offset, stored) = match extent.place {
            Place::Blocks { first, count } => {
                (u64::from(first) * BLOCK as u64, count as usize * BLOCK)
            }
            Place::Inline { offset, length } => (offset, usize::from(length)),
        };
        let bytes = self.bytes(inode.node, offset, stored)?;
        let Some(algorithm) = extent.algorithm else {
            if length > bytes.len() {
                return Err(inode.damaged("a plain piece is longer than a block"));
            }
            // Interlaced pieces keep their offset in the block and wrap around.
            let turn = if extent.interlaced { extent.start as usize % BLOCK } else { 0 };
            return Ok((0..length).map(|index| bytes[(turn + index) % bytes.len()]).collect());
        };
        // Zeros before the data fill the first block up (`z_erofs_fixup_insize`).
        let padding = bytes.iter().take(BLOCK).take_while(|&&byte| byte == 0).count();
        let stored = &bytes[padding..];
        let mut out = vec![0; length];
        let written = match algorithm {
            ALGORITHM_LZ4 => lz4_decompress(stored, &mut out),
            ALGORITHM_ZSTD => zstd::bulk::decompress_to_buffer(stored, &mut out[..]).ok(),
            other => return Err(Error::Unsupported(format!("compression algorithm {other}"))),
        };
        if written != Some(length) {
            return Err(inode.damaged("a piece does not decompress"));
        }
        Ok(out)
    }
}
