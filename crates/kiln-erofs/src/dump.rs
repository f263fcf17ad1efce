//! An image as text, for people and for comparing two images that should be equal.
//!
//! One line per superblock, inode and extent, in walking order, with places; so a difference in
//! layout shows as a difference in lines. Never meant to be parsed.

use std::io::Write;

use crate::error::Error;
use crate::format::{
    LAYOUT_COMPRESSED_COMPACT, LAYOUT_COMPRESSED_FULL, MODE_FILE, MODE_SYMLINK, SYMLINK_MAX,
};
use crate::reader::{Image, Place, ReadAt};

/// Writes the text.
pub fn dump<R: ReadAt>(image: &Image<R>, out: &mut dyn Write) -> Result<(), Error> {
    let failed = || Error::io("write the dump");
    let superblock = image.superblock();
    writeln!(
        out,
        "superblock blocks={} inodes={} root={} build-time={} compat={:#x} incompat={:#x} \
         algorithms={:#x} shared-attributes-at={}",
        superblock.blocks,
        superblock.inodes,
        superblock.root,
        superblock.build_time,
        superblock.compat,
        superblock.incompat,
        superblock.algorithms,
        superblock.xattr_block,
    )
    .map_err(failed())?;
    for entry in image.walk() {
        let entry = entry?;
        let raw = &entry.inode.raw;
        write!(
            out,
            "/{} node={} {}{} mode={:o} owner={}:{} links={} size={} time={}.{:09}",
            entry.path.escape_ascii(),
            entry.inode.node,
            ["plain", "indexed-full", "inline", "indexed"]
                .get(usize::from(raw.layout))
                .unwrap_or(&"unknown"),
            if raw.extended { "" } else { " short" },
            raw.mode,
            raw.uid,
            raw.gid,
            raw.links,
            raw.size,
            raw.mtime,
            raw.mtime_nanoseconds,
        )
        .map_err(failed())?;
        let indexed = matches!(raw.layout, LAYOUT_COMPRESSED_FULL | LAYOUT_COMPRESSED_COMPACT);
        if entry.inode.is(MODE_SYMLINK) {
            let target = image.read(&entry.inode, SYMLINK_MAX as u64)?;
            write!(out, " -> {}", target.escape_ascii()).map_err(failed())?;
        } else if !indexed {
            write!(out, " at={}", raw.union).map_err(failed())?;
        }
        for (name, value) in image.xattrs(&entry.inode)? {
            write!(out, " {}=\"{}\"", name.escape_ascii(), value.escape_ascii())
                .map_err(failed())?;
        }
        writeln!(out).map_err(failed())?;
        if indexed && entry.inode.is(MODE_FILE) && raw.size > 0 {
            for extent in image.extents(&entry.inode)? {
                let extent = extent?;
                let place = match extent.place {
                    Place::Blocks { first, count } => format!("blocks {first}+{count}"),
                    Place::Inline { offset, length } => format!("byte {offset}+{length}"),
                };
                let form = match extent.algorithm {
                    None => "plain".to_owned(),
                    Some(algorithm) => format!("algorithm {algorithm}"),
                };
                writeln!(out, "  {}+{} {form} {place}", extent.start, extent.length)
                    .map_err(failed())?;
            }
        }
    }
    Ok(())
}
