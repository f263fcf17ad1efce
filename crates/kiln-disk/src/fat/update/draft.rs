//! The writes of one change as they are collected, and the table as it will be.

use super::directory::Directory;
use super::volume::{STATE_BYTE, STATE_CHANGING, TABLE_CLEAN, Volume};
use crate::device::Write;
use crate::error::Error;
use crate::fat::format::{ENTRY_MASK, FIRST_CLUSTER, TABLES};
use crate::fat::reader::read_device;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Collects writes. Each group ends with [`Draft::flush`].
pub(super) struct Draft<'v, 'd, 'c> {
    volume: &'v Volume<'d>,
    table: Vec<u32>,
    /// Sectors of the table that differ from the device.
    changed: BTreeSet<usize>,
    writes: Vec<Write<'c>>,
}

impl<'v, 'd, 'c> Draft<'v, 'd, 'c> {
    pub(super) fn new(volume: &'v Volume<'d>) -> Self {
        Self { volume, table: volume.table.clone(), changed: BTreeSet::new(), writes: Vec::new() }
    }

    pub(super) fn finish(self) -> Vec<Write<'c>> {
        self.writes
    }

    pub(super) fn write(&mut self, offset: u64, bytes: impl Into<Cow<'c, [u8]>>) {
        self.writes.push(Write { offset, bytes: bytes.into(), flush: false });
    }

    /// Everything so far is on stable storage before what follows.
    pub(super) fn flush(&mut self) {
        if let Some(last) = self.writes.last_mut() {
            last.flush = true;
        }
    }

    /// Marks the volume as being changed.
    pub(super) fn begin(&mut self) {
        if self.volume.boot_sector[STATE_BYTE] & STATE_CHANGING == 0 {
            let mut sector = self.volume.boot_sector.clone();
            sector[STATE_BYTE] |= STATE_CHANGING;
            self.write(self.volume.offset, sector);
            self.flush();
        }
    }

    pub(super) fn cluster_bytes(&self) -> usize {
        self.volume.geometry.cluster_bytes() as usize
    }

    /// Takes clusters for `length` bytes: one run if there is one, else the first free ones.
    pub(super) fn allocate(&mut self, length: u64) -> Result<Vec<u32>, Error> {
        let cluster_bytes = self.volume.geometry.cluster_bytes();
        let count = usize::try_from(length.div_ceil(cluster_bytes)).unwrap_or(usize::MAX);
        let is_free = |cluster: &u32| self.table[*cluster as usize] & ENTRY_MASK == 0;
        let free: Vec<u32> = self.volume.clusters().filter(is_free).collect();
        if free.len() < count {
            let available = free.len() as u64 * cluster_bytes;
            return Err(Error::FatFull { needed: length, available });
        }
        let is_run = |run: &&[u32]| {
            run.last()
                .zip(run.first())
                .is_some_and(|(last, first)| (last - first) as usize + 1 == run.len())
        };
        let taken = match free.windows(count.max(1)).find(is_run) {
            Some(run) if count > 0 => run.to_vec(),
            _ => free[..count].to_vec(),
        };
        for (index, cluster) in taken.iter().enumerate() {
            let next = taken.get(index + 1).copied().unwrap_or(ENTRY_MASK);
            self.set(*cluster, next);
        }
        Ok(taken)
    }

    /// Frees a chain.
    pub(super) fn release(&mut self, clusters: &[u32]) {
        for cluster in clusters {
            self.set(*cluster, 0);
        }
    }

    /// Changes one entry of the table, keeping its reserved bits.
    pub(super) fn set(&mut self, cluster: u32, next: u32) {
        let entry = &mut self.table[cluster as usize];
        *entry = *entry & !ENTRY_MASK | next & ENTRY_MASK;
        self.changed.insert(cluster as usize * 4 / self.volume.geometry.sector_size as usize);
    }

    /// Counts the sectors in which the copies of the table differ as changed.
    pub(super) fn unite_tables(&mut self) {
        let per_sector = self.volume.geometry.sector_size as usize / 4;
        for (index, (first, second)) in self.table.iter().zip(&self.volume.copy).enumerate() {
            if first != second {
                self.changed.insert(index / per_sector);
            }
        }
    }

    /// Writes what changed of the table, into both copies.
    pub(super) fn write_table(&mut self) {
        let per_sector = self.volume.geometry.sector_size as usize / 4;
        for sector in std::mem::take(&mut self.changed) {
            let entries = &self.table[sector * per_sector..(sector + 1) * per_sector];
            let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
            // The second copy first: everybody reads the first one.
            for index in (0..TABLES).rev() {
                let place =
                    self.volume.geometry.table_offset(index) + sector as u64 * bytes.len() as u64;
                self.write(self.volume.offset + place, bytes.clone());
            }
        }
        self.flush();
    }

    /// Writes content into clusters, runs at once; the last sector is filled with zeros.
    pub(super) fn write_content(&mut self, clusters: &[u32], bytes: &'c [u8]) -> Result<(), Error> {
        let cluster_bytes = self.volume.geometry.cluster_bytes() as usize;
        let sector = self.volume.geometry.sector_size as usize;
        let mut rest = bytes;
        for run in clusters.chunk_by(|left, right| left + 1 == *right) {
            let length = rest.len().min(run.len() * cluster_bytes);
            let (here, after) = rest.split_at(length);
            rest = after;
            let whole = here.len() / sector * sector;
            let place = self.volume.place(run[0])?;
            if whole > 0 {
                self.write(place, &here[..whole]);
            }
            if whole < here.len() {
                let mut tail = here[whole..].to_vec();
                tail.resize(sector, 0);
                self.write(place + whole as u64, tail);
            }
        }
        self.flush();
        Ok(())
    }

    /// Writes the sector of a directory that holds a position.
    pub(super) fn write_directory(
        &mut self,
        directory: &Directory,
        position: usize,
    ) -> Result<(), Error> {
        let sector = directory.sector_size;
        let start = position / sector * sector;
        let cluster_bytes = self.volume.geometry.cluster_bytes() as usize;
        let cluster = directory.clusters.get(start / cluster_bytes).copied();
        let place = self.volume.place(cluster.unwrap_or(0))? + (start % cluster_bytes) as u64;
        self.write(place, directory.bytes[start..start + sector].to_vec());
        Ok(())
    }

    /// Brings the count of free clusters up to date and takes the mark away.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        let volume = self.volume;
        let sector_size = u64::from(volume.geometry.sector_size);
        if volume.information != 0 {
            let place = volume.offset + volume.information * sector_size;
            let mut sector = vec![0; sector_size as usize];
            read_device(volume.device, place, &mut sector)?;
            let free: Vec<u32> = volume
                .clusters()
                .filter(|cluster| self.table[*cluster as usize] & ENTRY_MASK == 0)
                .collect();
            let hint = free.first().copied().unwrap_or(FIRST_CLUSTER);
            sector[488..492].copy_from_slice(&(free.len() as u32).to_le_bytes());
            sector[492..496].copy_from_slice(&hint.to_le_bytes());
            self.write(place, sector);
        }
        if self.table[1] & TABLE_CLEAN == 0 {
            self.table[1] |= TABLE_CLEAN;
            self.changed.insert(0);
            self.write_table();
        }
        self.flush();
        let mut sector = volume.boot_sector.clone();
        sector[STATE_BYTE] &= !STATE_CHANGING;
        self.write(volume.offset, sector);
        self.flush();
        Ok(())
    }
}
