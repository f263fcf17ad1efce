//! A release in a registry: its facts, its table, its boot files.

use std::collections::BTreeMap;
use std::ops::Range;

use kiln_registry::{Answer, Artifacts, Digest, RangeSink};
use kiln_tree::tree_digest;

use super::section::Section;
use super::spool::Spool;
use super::{Stage, Watch};
use crate::blocks;
use crate::boot::{Recipe, split};
use crate::contents::hex;
use crate::image::Digests;
use crate::manifest::{Layers, Manifest};
use crate::push::check_tree;
use crate::table::{Assembler, Index, Piece, Table, unpack_piece};
use crate::{Error, Release};

/// The mode whose boot file is brought.
const MODE: &str = "system";

/// Gives a content of a root by digest and length.
pub(super) type OfRoot<'a> = dyn FnMut(&[u8; 32], u64, &Spool) -> Option<Vec<u8>> + 'a;

/// A release whose manifest and facts were read.
#[derive(Debug)]
pub struct Remote {
    /// Its facts.
    pub release: Release,
    /// Digest of its manifest: what a signature signs.
    pub manifest_digest: Digest,
    /// The container image that it stands beside.
    pub subject: Option<Digest>,
    /// Where its parts are.
    pub layers: Layers,
    pub(super) repository: Artifacts,
}

impl Remote {
    /// Reads the facts. `document` has the digest `manifest_digest`.
    pub(super) fn open(
        repository: Artifacts,
        manifest_digest: Digest,
        document: &[u8],
    ) -> Result<Self, Error> {
        let manifest = Manifest::parse(document)?;
        let layers = manifest.layers()?;
        let config = repository.blob(manifest.config.digest, manifest.config.size)?;
        let release = Release::from_json(&config)?;
        let subject = manifest.subject.map(|subject| subject.digest);
        Ok(Self { release, manifest_digest, subject, layers, repository })
    }

    /// The table, of which only the pieces are fetched that the spool does not have. It is checked
    /// to be the release's.
    ///
    /// # Errors
    /// A table that is malformed or another release's, and all of reading.
    pub fn table(&self, spool: &mut Spool, watch: &Watch<'_>) -> Result<Table, Error> {
        let (blob, size) = (self.layers.table.digest, self.layers.table.size);
        let front = again(|| {
            let front = self.collect(blob, size, 0..self.layers.index_length)?;
            let (expected, actual) = (self.layers.index_digest, Digest::of(&front));
            if expected != actual {
                let what = "the index of the table".to_owned();
                return Err(Error::Digest { what, expected: expected.hex(), actual: actual.hex() });
            }
            Ok(front)
        })?;
        let index = Index::parse(&front)?;
        if index.blob_length() != size {
            return Err(Error::malformed("table", "it has another length than its index says"));
        }
        if index.contents_length != self.layers.contents.size {
            return Err(Error::malformed("table", "it belongs to other contents"));
        }
        self.fetch_pieces(&index, spool, watch)?;
        let mut assembler = Assembler::new(&index);
        for piece in &index.pieces {
            let stored = spool.piece(&piece.digest)?;
            let stored = stored.ok_or_else(|| Error::malformed("table", "a piece was lost"))?;
            assembler.add(&unpack_piece(piece, &stored)?)?;
        }
        let table = assembler.finish()?;
        let digest = |content: kiln_tree::Content| {
            table.contents.get(content.id.0 as usize).map(|content| content.digest)
        };
        let digest = tree_digest(&table.tree, &Digests(digest))
            .map_err(Error::io("compute the digest of the tree"))?;
        check_tree(&self.release, &digest)?;
        spool.keep_pieces(index.pieces.iter().map(|piece| piece.digest))?;
        Ok(table)
    }

    /// How many blocks each content has, if the release tells it in a form that can be used.
    pub(super) fn blocks(&self, table: &Table) -> Result<Option<Vec<u32>>, Error> {
        let Some(layer) = &self.layers.blocks else { return Ok(None) };
        let stored = self.repository.blob(layer.digest, layer.size)?;
        Ok(blocks::read(&stored, table.contents.len()).ok())
    }

    /// Fetches neighbouring pieces together.
    fn fetch_pieces(
        &self,
        index: &Index,
        spool: &mut Spool,
        watch: &Watch<'_>,
    ) -> Result<(), Error> {
        let mut missing: Vec<Piece> = Vec::new();
        for piece in &index.pieces {
            if spool.piece(&piece.digest)?.is_none() {
                missing.push(*piece);
            }
        }
        let total = missing.iter().map(|piece| u64::from(piece.stored)).sum();
        let mut done = 0;
        let mut rest = &missing[..];
        while let Some(first) = rest.first() {
            let end = |piece: &Piece| piece.offset + u64::from(piece.stored);
            let mut count = 1;
            while let Some(next) = rest.get(count) {
                let last = end(&rest[count - 1]);
                if next.offset - last >= super::plan::GAP || end(next) - first.offset > STRETCH {
                    break;
                }
                count += 1;
            }
            let (run, behind) = rest.split_at(count);
            rest = behind;
            let stop = run.last().map_or(0, end);
            let table = &self.layers.table;
            again(|| {
                let bytes = self.collect(table.digest, table.size, first.offset..stop)?;
                for piece in run {
                    let start = (piece.offset - first.offset) as usize;
                    let stored = bytes.get(start..start + piece.stored as usize);
                    let stored = stored.unwrap_or_default();
                    // Verified here, so that what is kept is right.
                    unpack_piece(piece, stored)?;
                    spool.put_piece(&piece.digest, stored)?;
                }
                Ok(())
            })?;
            done += run.iter().map(|piece| u64::from(piece.stored)).sum::<u64>();
            watch(Stage::Table, done, total);
        }
        Ok(())
    }

    /// A stretch of a blob, not verified.
    fn collect(&self, blob: Digest, size: u64, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let mut sink = Collected { start: range.start, end: range.end, bytes: Vec::new(), skip: 0 };
        self.repository.stretch(blob, size, &mut sink)?;
        Ok(sink.bytes)
    }

    /// The boot file of the system, by its mode, of which only those sections are fetched that neither the boot files
    /// `here` nor the spool have. They are checked against the facts.
    ///
    /// # Errors
    /// Boot files that are malformed or another release's, and all of reading.
    pub fn boot_files(
        &self,
        here: &[Vec<u8>],
        spool: &mut Spool,
        watch: &Watch<'_>,
    ) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        self.boot_files_beside(here, &mut |_, _, _| None, spool, watch)
    }

    /// The same; `of_root` gives contents of the release's root by digest and length, verified. The
    /// kernel is one of them and needs to come only once.
    pub(super) fn boot_files_beside(
        &self,
        here: &[Vec<u8>],
        of_root: &mut OfRoot<'_>,
        spool: &mut Spool,
        watch: &Watch<'_>,
    ) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let mut local = BTreeMap::new();
        for file in here {
            // A boot file of another program on the ESP is nothing to take from, and no error.
            if let Ok((_, sections)) = split(file) {
                local.extend(sections);
            }
        }
        let mut files = BTreeMap::new();
        // Any other mode's is made from it on the machine.
        for facts in self.release.boot_files.iter().filter(|file| file.mode == MODE) {
            let missing = || Error::malformed("manifest", format!("no boot file {}", facts.mode));
            let layer = self.layers.recipes.get(&facts.mode).ok_or_else(missing)?;
            let recipe = Recipe::parse(&self.repository.blob(layer.digest, layer.size)?)?;
            if hex(&recipe.digest) != facts.digest || recipe.length != facts.length {
                return Err(Error::Digest {
                    what: format!("the recipe of the boot file {}", facts.mode),
                    expected: facts.digest.clone(),
                    actual: hex(&recipe.digest),
                });
            }
            let file = recipe.assemble(|digest, length| match local.get(digest) {
                Some(bytes) if bytes.len() as u64 == length => Ok(bytes.to_vec()),
                _ => match of_root(digest, length, spool) {
                    Some(bytes) => Ok(bytes),
                    None => self.section(Digest::from_bytes(*digest), length, spool, watch),
                },
            })?;
            files.insert(facts.mode.clone(), file);
        }
        Ok(files)
    }

    fn section(
        &self,
        digest: Digest,
        length: u64,
        spool: &mut Spool,
        watch: &Watch<'_>,
    ) -> Result<Vec<u8>, Error> {
        if self.layers.sections.get(&digest) != Some(&length) {
            return Err(Error::malformed("manifest", format!("it has no section {digest}")));
        }
        again(|| {
            let mut section = spool.section(digest, length)?;
            let mut watched = Watched { section: &mut section, length, watch };
            self.repository.stretch(digest, length, &mut watched)?;
            section.finish()
        })
    }
}

/// Tries once more after wrong bytes: one of the machines behind an address may be bad, or what an
/// interrupted run left.
fn again<T>(mut fetch: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    match fetch() {
        Err(Error::Digest { .. } | Error::Malformed { .. }) => fetch(),
        outcome => outcome,
    }
}

/// Most bytes of the table that are fetched with one request.
const STRETCH: u64 = 8 << 20;

/// Tells how far a section is.
struct Watched<'a> {
    section: &'a mut Section,
    length: u64,
    watch: &'a Watch<'a>,
}

impl RangeSink for Watched<'_> {
    fn wanted(&self) -> Range<u64> {
        self.section.wanted()
    }

    fn begin(&mut self, offset: u64, answer: Answer) {
        self.section.begin(offset, answer);
    }

    fn take(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.section.take(bytes)?;
        (self.watch)(Stage::BootFiles, self.section.wanted().start, self.length);
        Ok(())
    }
}

/// A stretch of a blob in memory.
struct Collected {
    start: u64,
    end: u64,
    bytes: Vec<u8>,
    /// Bytes still to come that are not wanted or here already.
    skip: u64,
}

impl RangeSink for Collected {
    fn wanted(&self) -> Range<u64> {
        self.start + self.bytes.len() as u64..self.end
    }

    fn begin(&mut self, offset: u64, _: Answer) {
        self.skip = self.wanted().start.saturating_sub(offset);
    }

    fn take(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        let left = usize::try_from(self.end - self.wanted().start).unwrap_or(usize::MAX);
        let fresh = &bytes[skipped..];
        self.bytes.extend_from_slice(&fresh[..fresh.len().min(left)]);
        Ok(())
    }
}
