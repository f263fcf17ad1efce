//! The whole way in order: table, plan, fetch, boot files, rebuild, proof.
//!
//! A large update goes into the new root as it comes, so that a machine's flash is written once. What
//! the root is written over is lost from the first byte on; therefore a small update is fetched
//! before anything is touched, and what lies only there is kept aside before a large one begins.
//! Whatever goes wrong with what was lent or placed, all is done once more without it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::sync::Arc;

use kiln_erofs::Lender;
use kiln_verity::RootHash;

use super::gather::{Taker, fetch_chunk, gather};
use super::placed::{CONTENT_MAX, Coming, Placed, places};
use super::plan::plan;
use super::rebuild::rebuild;
use super::{LocalContents, Place, RebuildOptions, Remote, Spool, Watch, check_profile};
use crate::Error;
use crate::contents::sha256;
use crate::table::{Chunk, Table, TableContent};

/// An update is large from this part of the root on: what is fetched first and then written into the
/// root is written twice, and half of a tenth is left for everything else.
const LARGE_PART: u64 = 20;
/// zstd level of what is kept aside: it stays for minutes.
const ASIDE_LEVEL: i32 = 1;

/// A release that is here.
#[derive(Debug)]
pub struct Brought {
    /// Root hash of what was written.
    pub root_hash: RootHash,
    /// Boot files by mode.
    pub boot_files: BTreeMap<String, Vec<u8>>,
    /// Bytes of frames that were fetched.
    pub fetched: u64,
    /// Bytes of frames that an earlier run had fetched.
    pub kept: u64,
    /// Bytes of all frames of the release.
    pub total: u64,
    /// Chunks that a slot promised and did not give.
    pub replaced: u64,
    /// Contents that went into the root as they came, or had done so in an earlier run.
    pub placed: u64,
}

/// Writes the root image of `remote` to the beginning of what `place` gives, and gives its boot files.
/// `local` is what is here, its lenders give encoded contents; one that fails only makes it slower.
/// `boot_files` are the boot files that are here. The caller clears the spool when it no longer needs
/// it; after an error the next call goes on with it.
///
/// # Errors
/// Nothing that was written may be used.
pub fn bring(
    remote: &Remote,
    local: &LocalContents,
    boot_files: &[Vec<u8>],
    spool: &mut Spool,
    place: &mut Place<'_>,
    options: RebuildOptions,
    watch: &Watch<'_>,
) -> Result<Brought, Error> {
    check_profile(&remote.release)?;
    let mut opened = None;
    let mut place = || match &opened {
        Some(root) => File::try_clone(root),
        None => {
            let root = place()?;
            opened = Some(root.try_clone()?);
            Ok(root)
        }
    };
    let RebuildOptions { spool: encoded, threads } = options;
    let again = encoded.try_clone().map_err(Error::io("open the spool"))?;
    let way = Way { remote, local, boot_files, threads, watch };
    let mut is_doubtful = false;
    match way.go(local.lenders(), spool, &mut place, encoded, &mut is_doubtful) {
        Err(_) if is_doubtful => {
            again.set_len(0).map_err(Error::io("empty the spool"))?;
            Placed::forget(spool)?;
            way.go(&[], spool, &mut place, again, &mut is_doubtful)
        }
        outcome => outcome,
    }
}

/// What does not change from one try to the next.
struct Way<'a> {
    remote: &'a Remote,
    local: &'a LocalContents,
    boot_files: &'a [Vec<u8>],
    threads: usize,
    watch: &'a Watch<'a>,
}

impl Way<'_> {
    /// `is_doubtful` becomes whether an error may come from what was lent or placed. With doubts at the
    /// beginning nothing is placed.
    fn go(
        &self,
        lenders: &[Arc<Lender>],
        spool: &mut Spool,
        place: &mut Place<'_>,
        encoded: File,
        is_doubtful: &mut bool,
    ) -> Result<Brought, Error> {
        let Self { remote, local, watch, threads, .. } = *self;
        let release = &remote.release;
        let table = remote.table(spool, watch)?;
        let placed = match *is_doubtful {
            true => None,
            false => self.begin_placing(&table, lenders, spool, place)?,
        };
        let mut settled: HashSet<[u8; 32]> = HashSet::new();
        if let Some(placed) = &placed {
            placed.find_waiting(&table);
            settled = self::settled(&table, placed);
        }
        let plan = plan(&table, local, spool, &settled);
        let missing: HashSet<[u8; 32]> = plan.missing.iter().map(|chunk| chunk.digest).collect();
        let coming = placed.as_ref().map(|placed| {
            Coming::new(
                &table,
                |content| !placed.contains(content) && !is_lent(lenders, content),
                |digest| missing.contains(digest),
            )
        });
        let taker = Taker::new(&table, local, spool, placed.as_ref().zip(coming.as_ref()));
        gather(remote, &plan, &taker, watch)?;
        let boot_files = self.boot_files(&table, placed.as_ref(), spool)?;

        let mut replaced = 0;
        let count = placed.as_ref().map_or(0, Placed::len);
        let mut all = Vec::new();
        if let Some(placed) = &placed {
            all.push(placed.lender()?);
        }
        all.extend(lenders.iter().cloned());
        let mut chunks = |chunk: &Chunk| match placed.as_ref().and_then(|one| one.waiting(chunk)) {
            Some(bytes) => Ok(bytes),
            None => take(remote, local, spool, chunk, &mut replaced),
        };
        let options = RebuildOptions { spool: encoded, threads };
        let rebuilt = rebuild(table, release, &mut chunks, &all, place, options, watch);
        let root_hash = rebuilt.inspect_err(|error| *is_doubtful = is_of_lenders(error, &all))?;
        let (fetched, kept, total) = (plan.bytes, plan.kept, plan.total);
        Ok(Brought { root_hash, boot_files, fetched, kept, total, replaced, placed: count })
    }

    /// Asks for the place of a large update, of which everything is known that it takes; an
    /// interrupted one goes on.
    fn begin_placing(
        &self,
        table: &Table,
        lenders: &[Arc<Lender>],
        spool: &mut Spool,
        place: &mut Place<'_>,
    ) -> Result<Option<Placed>, Error> {
        let release = &self.remote.release;
        let profile = check_profile(release)?;
        let is_large = |bytes: u64| bytes.saturating_mul(LARGE_PART) > release.root.length;
        let is_begun = Placed::is_begun(spool, release);
        let to_fetch = plan(table, self.local, spool, &HashSet::new()).bytes;
        if !is_begun && !is_large(to_fetch) {
            return Ok(None);
        }
        let blocks = self.remote.blocks(table)?;
        let Some(places) = blocks.and_then(|blocks| places(&blocks, release.root.data_blocks))
        else {
            return Ok(None);
        };
        let needed = table.contents.iter().filter(|content| !is_lent(lenders, content));
        let chunks =
            needed.flat_map(|one| table.chunks.get(one.chunks.clone()).unwrap_or_default());
        let aside: HashMap<[u8; 32], Chunk> = chunks
            .filter(|chunk| self.local.is_passing(chunk) && !spool.contains(chunk))
            .map(|chunk| (chunk.digest, *chunk))
            .collect();
        if !is_begun && is_large(aside.values().map(|chunk| u64::from(chunk.frame_length)).sum()) {
            return Ok(None);
        }
        for chunk in aside.values() {
            // What cannot be read any more is fetched when it is needed.
            if let Ok(Some(bytes)) = self.local.read(chunk) {
                put_aside(spool, chunk, &bytes)
                    .map_err(Error::io("keep what will be overwritten"))?;
            }
        }
        let root = place().map_err(Error::io("open the place of the root"))?;
        Placed::open(spool, release, profile, root, places).map(Some)
    }

    /// The boot files, with what the root has of them.
    fn boot_files(
        &self,
        table: &Table,
        placed: Option<&Placed>,
        spool: &mut Spool,
    ) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let of_root = &mut |digest: &[u8; 32], length: u64, spool: &Spool| {
            let is_it = |one: &&TableContent| {
                one.digest == *digest && one.size == length && length <= 4 * CONTENT_MAX
            };
            let content = table.contents.iter().find(is_it)?;
            if let Some(bytes) = placed.and_then(|placed| placed.read(digest)) {
                return Some(bytes);
            }
            let mut bytes = Vec::new();
            for chunk in table.chunks.get(content.chunks.clone())? {
                let waiting = placed.and_then(|placed| placed.waiting(chunk));
                let found = waiting.or_else(|| match spool.read(chunk) {
                    Ok(Some(bytes)) => Some(bytes),
                    _ => self.local.read(chunk).ok().flatten(),
                });
                bytes.extend(found?);
            }
            (sha256(&bytes) == *digest).then_some(bytes)
        };
        self.remote.boot_files_beside(self.boot_files, of_root, spool, self.watch)
    }
}

/// Keeps a chunk that is about to be overwritten, in a frame of its own.
fn put_aside(spool: &mut Spool, chunk: &Chunk, bytes: &[u8]) -> io::Result<()> {
    let frame = zstd::bulk::compress(bytes, ASIDE_LEVEL)?;
    let frame_length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    spool.put(&Chunk { frame_length, ..*chunk }, &frame)
}

/// Chunks of contents that are in their place and of no other, and those that wait.
fn settled(table: &Table, placed: &Placed) -> HashSet<[u8; 32]> {
    let (mut settled, mut others) = (HashSet::new(), HashSet::new());
    for content in &table.contents {
        let chunks = table.chunks.get(content.chunks.clone()).unwrap_or_default();
        let set = if placed.contains(content) { &mut settled } else { &mut others };
        set.extend(chunks.iter().map(|chunk| chunk.digest));
    }
    settled.retain(|digest| !others.contains(digest));
    let waiting = table.chunks.iter().filter(|chunk| placed.is_waiting(chunk));
    settled.extend(waiting.map(|chunk| chunk.digest));
    settled
}

fn is_lent(lenders: &[Arc<Lender>], content: &TableContent) -> bool {
    lenders.iter().any(|lender| lender.has(&content.digest, content.size))
}

/// Whether it may go well without what was lent or placed.
fn is_of_lenders(error: &Error, lenders: &[Arc<Lender>]) -> bool {
    let is_other_root =
        matches!(error, Error::RootHash { .. } | Error::Image(kiln_erofs::Error::Misplaced { .. }));
    (is_other_root && !lenders.is_empty()) || lenders.iter().any(|lender| lender.has_failed())
}

/// A chunk from where it is nearest; counts those that a slot promised and did not give.
fn take(
    remote: &Remote,
    local: &LocalContents,
    spool: &Spool,
    chunk: &Chunk,
    replaced: &mut u64,
) -> Result<Vec<u8>, Error> {
    if let Some(bytes) = spool.read(chunk)? {
        return Ok(bytes);
    }
    match local.read(chunk) {
        Ok(Some(bytes)) => Ok(bytes),
        // A slot that rots must not keep its machine from being replaced.
        Ok(None) | Err(_) => {
            *replaced += 1;
            fetch_chunk(remote, chunk)
        }
    }
}
