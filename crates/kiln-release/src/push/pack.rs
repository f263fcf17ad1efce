//! From a root image to contents and table.

use std::collections::BTreeMap;
use std::fs::File;

use kiln_registry::Digest;
use kiln_tree::{Kind, tree_digest};

use super::{Stage, Watch, check_tree};
use crate::blocks;
use crate::contents::write_contents;
use crate::image::{Digests, RootTree};
use crate::table::format::FILE_MAX;
use crate::table::{TableSource, write_table};
use crate::{Error, Release};

/// What travels of a root image.
#[derive(Debug)]
pub struct Packed {
    /// The contents.
    pub contents: File,
    /// Their digest.
    pub contents_digest: Digest,
    /// Their length in bytes.
    pub contents_length: u64,
    /// The table.
    pub table: Vec<u8>,
    /// How many of its first bytes are the index.
    pub index_length: u64,
    /// How many blocks each content has.
    pub blocks: Vec<u8>,
}

/// Reads `root`, which must be the release's, and writes its contents to the empty file `scratch`.
///
/// # Errors
/// [`Error::Digest`] for the root of another release, and all of reading and writing.
pub fn pack(
    root: File,
    release: &Release,
    scratch: File,
    threads: usize,
    watch: &Watch<'_>,
) -> Result<Packed, Error> {
    let tree = RootTree::read(root, threads, &|done, total| watch(Stage::Read, done, total))?;
    let digest = tree_digest(&tree.tree, &Digests(|content| tree.digest(content).ok()))
        .map_err(Error::io("compute the digest of the tree"))?;
    check_tree(release, &digest)?;

    // Distinct contents in canonical order.
    let mut order: Vec<usize> = Vec::new();
    let mut places: BTreeMap<[u8; 32], usize> = BTreeMap::new();
    for (_, id) in tree.tree.walk() {
        if let Kind::File(content) = tree.tree.node(id).kind
            && content.size > 0
        {
            places.entry(tree.digest(content)?).or_insert_with(|| {
                order.push(content.id.0 as usize);
                order.len() - 1
            });
        }
    }
    let sizes: Vec<u64> = order.iter().map(|&ticket| tree.files[ticket].raw.size).collect();
    let total = sizes.iter().sum();
    let contents = write_contents(
        &sizes,
        &|number, out| {
            tree.image.copy(&tree.files[order[number]], FILE_MAX, out).map_err(Error::from)
        },
        &scratch,
        threads,
        &|done| watch(Stage::Compress, done, total),
    )?;
    let mut frames = contents.frames;
    let frames = places
        .into_iter()
        .map(|(digest, place)| (digest, std::mem::take(&mut frames[place])))
        .collect();
    let blocks: Vec<u32> =
        order.iter().map(|&ticket| blocks::of_inode(&tree.files[ticket])).collect();
    let blocks = blocks::write(&blocks)?;
    let superblock = tree.image.superblock();
    let (table, index_length) = write_table(&TableSource {
        tree: &tree.tree,
        digest: &|content| tree.digest(content),
        frames: &frames,
        contents_length: contents.length,
        uuid: superblock.uuid,
        build_time: superblock.build_time,
    })?;
    Ok(Packed {
        contents: scratch,
        contents_digest: Digest::from_bytes(contents.digest),
        contents_length: contents.length,
        table,
        index_length,
        blocks,
    })
}
