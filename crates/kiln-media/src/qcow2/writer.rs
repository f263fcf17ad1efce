//! Writing an image from a disk in one pass.
//!
//! Order in the file: header, contents in the order of the disk, mapping tables, first-level table,
//! reference counts. Tables come last because only then their number is known, which lets contents
//! be streamed. The header goes first in the file but is written last, so that an interrupted
//! build leaves something that no reader takes for an image.
//!
//! Zeros are left out wherever they are, found by looking at the bytes: where a file has holes
//! depends on the file system, and the result must not.

use super::format::{
    CLUSTER, CLUSTER_BITS, COMPRESSED, COMPRESSED_SECTOR, COPIED, ENTRIES_PER_TABLE, HEADER_LENGTH,
    MAGIC, MAXIMUM_LENGTH, REFCOUNT_ORDER, REFCOUNTS_PER_BLOCK, SECTORS_SHIFT, VERSION,
    WINDOW_BITS, header,
};
use crate::Error;
use crate::deflate::{Frame, Packer};
use crate::disk::{Chunk, Disk};
use crate::ordered::ordered;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// How to write an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qcow2Options {
    /// Length in bytes of the disk that a guest sees; that of the raw disk if `None`. A longer one
    /// costs nothing and is what the first boot grows into.
    pub virtual_length: Option<u64>,
    /// zlib level from 1 to 9, or no compression.
    pub compression: Option<u32>,
    /// Threads for compression; at least one is used.
    pub threads: usize,
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qcow2Facts {
    /// Length in bytes of the file.
    pub length: u64,
    /// Length in bytes of the disk that a guest sees.
    pub virtual_length: u64,
    /// Clusters with contents.
    pub clusters: u64,
}

/// Writes the disk to `out`, a regular file that is emptied first. Nothing is flushed.
///
/// # Errors
/// [`Error::VirtualLength`], [`Error::Level`], [`Error::Read`], [`Error::Write`].
pub fn write_qcow2(
    disk: &Disk<'_>,
    out: &File,
    options: &Qcow2Options,
) -> Result<Qcow2Facts, Error> {
    let raw_length = disk.length();
    let virtual_length = options.virtual_length.unwrap_or_else(|| raw_length.next_multiple_of(512));
    let possible = raw_length.max(512)..=MAXIMUM_LENGTH;
    if !possible.contains(&virtual_length) || !virtual_length.is_multiple_of(512) {
        return Err(Error::VirtualLength { length: virtual_length, raw: raw_length });
    }
    if let Some(level) = options.compression.filter(|level| !(1..=9).contains(level)) {
        return Err(Error::Level(level));
    }
    out.set_len(0).map_err(|source| Error::Write { offset: 0, source })?;
    let mut image = Image {
        out,
        // The first cluster is the header's.
        end: CLUSTER,
        refcounts: vec![1],
        tables: BTreeMap::new(),
        collected: Vec::new(),
        collected_at: 0,
    };
    let mut clusters = 0;
    ordered(
        if options.compression.is_some() { options.threads } else { 1 },
        disk.chunks(CLUSTER),
        || Ok(options.compression.map(|level| Packer::new(Frame::Raw(WINDOW_BITS), level))),
        |packer, cluster| {
            // One byte less than a cluster: what does not fit is not worth it.
            let most = cluster.bytes.len() - 1;
            let packed = packer.as_mut().and_then(|packer| packer.within(&cluster.bytes, most));
            Ok((cluster, packed))
        },
        |(cluster, packed)| {
            clusters += 1;
            image.add(&cluster, packed.as_deref())
        },
    )?;
    let length = image.finish(virtual_length)?;
    Ok(Qcow2Facts { length, virtual_length, clusters })
}

/// An image being written.
struct Image<'a> {
    out: &'a File,
    /// Where the next contents go.
    end: u64,
    /// References to each cluster of the file so far.
    refcounts: Vec<u16>,
    /// Second-level mapping tables by their index in the first.
    tables: BTreeMap<u64, Vec<u64>>,
    /// Contents that follow each other and are not written yet: one call for many clusters.
    collected: Vec<u8>,
    /// Where they go.
    collected_at: u64,
}

/// Bytes that are collected before they are written.
const COLLECTED: usize = 1 << 20;

impl Image<'_> {
    /// Writes bytes at the end and returns where; `aligned` starts a new cluster.
    fn append(&mut self, bytes: &[u8], aligned: bool) -> Result<u64, Error> {
        let offset = if aligned { self.end.next_multiple_of(CLUSTER) } else { self.end };
        if offset != self.collected_at + self.collected.len() as u64
            || self.collected.len() >= COLLECTED
        {
            self.flush()?;
            self.collected_at = offset;
        }
        self.collected.extend_from_slice(bytes);
        self.end = offset + bytes.len() as u64;
        let clusters = self.end.div_ceil(CLUSTER) as usize;
        self.refcounts.resize(clusters, 0);
        for count in &mut self.refcounts[(offset / CLUSTER) as usize..] {
            // At most one reference per compressed cluster, each of some bytes: far below 2^16.
            *count = count.saturating_add(1);
        }
        Ok(offset)
    }

    fn flush(&mut self) -> Result<(), Error> {
        let offset = self.collected_at;
        self.out
            .write_all_at(&self.collected, offset)
            .map_err(|source| Error::Write { offset, source })?;
        self.collected.clear();
        Ok(())
    }

    /// Adds one cluster of contents.
    fn add(&mut self, cluster: &Chunk, packed: Option<&[u8]>) -> Result<(), Error> {
        let entry = match packed {
            Some(packed) => {
                let offset = self.append(packed, false)?;
                let last = offset + packed.len() as u64 - 1;
                let more = last / COMPRESSED_SECTOR - offset / COMPRESSED_SECTOR;
                COMPRESSED | more << SECTORS_SHIFT | offset
            }
            None => COPIED | self.append(&cluster.bytes, true)?,
        };
        let index = cluster.index;
        let fresh = || vec![0; ENTRIES_PER_TABLE as usize];
        let table = self.tables.entry(index / ENTRIES_PER_TABLE).or_insert_with(fresh);
        table[(index % ENTRIES_PER_TABLE) as usize] = entry;
        Ok(())
    }

    /// Writes tables, counts and header, and returns the length of the file.
    fn finish(mut self, virtual_length: u64) -> Result<u64, Error> {
        let entries = virtual_length.div_ceil(CLUSTER).div_ceil(ENTRIES_PER_TABLE);
        let mut mapping = vec![0; entries as usize];
        for (index, table) in std::mem::take(&mut self.tables) {
            let offset = self.append(&big_endian(&table), true)?;
            if let Some(entry) = mapping.get_mut(index as usize) {
                *entry = COPIED | offset;
            }
        }
        let mapping_offset = self.append(&big_endian(&mapping), true)?;
        self.flush()?;

        // The counts count themselves, so their number is found by growing it until it is enough.
        let used = self.end.div_ceil(CLUSTER);
        let (mut blocks, mut table_clusters) = (1, 1);
        while used + blocks + table_clusters > blocks * REFCOUNTS_PER_BLOCK {
            blocks = (used + blocks + table_clusters).div_ceil(REFCOUNTS_PER_BLOCK);
            table_clusters = blocks.div_ceil(ENTRIES_PER_TABLE);
        }
        let total = used + blocks + table_clusters;
        self.refcounts.resize(total as usize, 1);
        let mut counts: Vec<u8> =
            self.refcounts.iter().flat_map(|count| count.to_be_bytes()).collect();
        counts.resize((blocks * CLUSTER) as usize, 0);
        let first_block = used * CLUSTER;
        let table: Vec<u64> = (0..blocks).map(|block| first_block + block * CLUSTER).collect();
        let table_offset = first_block + blocks * CLUSTER;
        let length = total * CLUSTER;

        let write = |offset: u64, bytes: &[u8]| {
            self.out.write_all_at(bytes, offset).map_err(|source| Error::Write { offset, source })
        };
        // The last cluster must be whole.
        self.out.set_len(length).map_err(|source| Error::Write { offset: length, source })?;
        write(first_block, &counts)?;
        write(table_offset, &big_endian(&table))?;

        // Zeros behind the header are the end of its extensions.
        let mut sector = vec![0; HEADER_LENGTH as usize];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(header::VERSION, &VERSION.to_be_bytes());
        put(header::CLUSTER_BITS, &CLUSTER_BITS.to_be_bytes());
        put(header::LENGTH, &virtual_length.to_be_bytes());
        // At most 2^17 and 2^20, by the largest virtual length.
        put(header::MAPPING_ENTRIES, &(entries as u32).to_be_bytes());
        put(header::MAPPING_OFFSET, &mapping_offset.to_be_bytes());
        put(header::REFCOUNT_OFFSET, &table_offset.to_be_bytes());
        put(header::REFCOUNT_CLUSTERS, &(table_clusters as u32).to_be_bytes());
        put(header::REFCOUNT_ORDER, &REFCOUNT_ORDER.to_be_bytes());
        put(header::HEADER_LENGTH, &HEADER_LENGTH.to_be_bytes());
        write(0, &sector)?;
        Ok(length)
    }
}

fn big_endian(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_be_bytes()).collect()
}
