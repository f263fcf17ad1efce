//! What comes from a registry to a machine, and what a machine remembers of itself.
//!
//! The bytes of a table's pieces are given to its reader without their compression, whose digest
//! no fuzzer could hit; what stands around them is fixed by the target.

use kiln_erofs::PlacedContent;
use kiln_host::ledger::Ledger;
use kiln_release::blocks;
use kiln_release::boot::{Part, Recipe, split};
use kiln_release::manifest::Manifest;
use kiln_release::table::{Assembler, Index};

/// Longest boot file that is put together in memory here, in bytes.
const BOOT_FILE_MAX: u64 = 1 << 20;
/// Entries that a table's index announces when the bytes are its records.
const ENTRIES: u64 = 4096;

/// Reads a recipe of a boot file, and takes the bytes apart as if they were a boot file: what is
/// put together again is the file.
pub fn release_boot(data: &[u8]) -> bool {
    if let Ok((recipe, blobs)) = split(data) {
        let whole = recipe.assemble(|digest, length| {
            let blob = blobs.get(digest).copied().unwrap_or_default();
            assert_eq!(blob.len() as u64, length);
            Ok(blob.to_vec())
        });
        assert_eq!(whole.ok().as_deref(), Some(data));
    }
    let Ok(recipe) = Recipe::parse(data) else { return false };
    assert_eq!(recipe.encode(), data);
    assert_eq!(recipe.parts.iter().map(Part::length).sum::<u64>(), recipe.length);
    if recipe.length <= BOOT_FILE_MAX {
        // The digest is a stranger's: zeros for every blob are not the file, and no panic.
        let _ = recipe.assemble(|_, length| Ok(vec![0; usize::try_from(length).unwrap_or(0)]));
    }
    true
}

/// Reads a list of blocks for as many contents as the first two bytes say, and what a machine notes of a
/// content that it put into its slot: what is accepted is the same when written again.
pub fn release_blocks(data: &[u8]) -> bool {
    let Some((count, rest)) = data.split_first_chunk::<2>() else { return false };
    let count = usize::from(u16::from_le_bytes(*count));
    let listed = blocks::read(rest, count).ok();
    if let Some(listed) = &listed {
        assert_eq!(listed.len(), count);
        let again = blocks::write(listed).and_then(|stored| blocks::read(&stored, count));
        assert_eq!(again.ok().as_ref(), Some(listed));
    }
    let noted = PlacedContent::from_bytes(rest, 1);
    if let Some(content) = &noted {
        assert_eq!(content.to_bytes(), rest);
    }
    listed.is_some() || noted.is_some()
}

/// Reads the index of a table: it is the same when written again, and pieces follow one another.
pub fn release_index(data: &[u8]) -> bool {
    let Ok(index) = Index::parse(data) else { return false };
    assert_eq!(index.encode().get(..56), data.get(..56));
    assert_eq!(index.encode().get(64..), data.get(64..));
    let mut end = Index::length(index.pieces.len());
    for piece in &index.pieces {
        assert_eq!(piece.offset, end);
        end += u64::from(piece.stored);
    }
    assert_eq!(index.blob_length(), end);
    true
}

/// Reads records of a table. The first two bytes are how many there are, at least one as in an index, the next four how long the
/// contents are. What is accepted is a tree whose files lie inside the contents.
pub fn release_table(data: &[u8]) -> bool {
    let Some((head, records)) = data.split_at_checked(6) else { return false };
    let entries = u64::from(u16::from_le_bytes([head[0], head[1]])).clamp(1, ENTRIES);
    let contents_length = u64::from(u32::from_le_bytes([head[2], head[3], head[4], head[5]]));
    let (uuid, build_time) = ([0; 16], 0);
    let index = Index { pieces: Vec::new(), entries, contents_length, uuid, build_time };
    let mut assembler = Assembler::new(&index);
    if assembler.add(records).is_err() {
        return false;
    }
    let Ok(table) = assembler.finish() else { return false };
    assert_eq!(table.tree.walk().count() as u64, entries);
    let mut end = 0;
    for chunk in &table.chunks {
        assert_eq!(chunk.frame_offset, end);
        end = chunk.frame_end();
    }
    assert_eq!(end, contents_length);
    for content in &table.contents {
        let chunks = table.chunks.get(content.chunks.clone());
        let sizes = chunks.map(|chunks| chunks.iter().map(|chunk| u64::from(chunk.length)).sum());
        assert_eq!(sizes, Some(content.size));
    }
    true
}

/// Reads the manifest of a release and finds its parts: all are bounded.
pub fn release_manifest(data: &[u8]) -> bool {
    let _ = kiln_release::manifest::artifact_type(data);
    let Ok(manifest) = Manifest::parse(data) else { return false };
    let Ok(layers) = manifest.layers() else { return false };
    assert!(layers.index_length <= layers.table.size);
    assert!(layers.sections.len() <= manifest.layers.len());
    true
}

/// Reads a machine's ledger: it is the same when written and read again.
pub fn ledger(data: &[u8]) -> bool {
    let Ok(ledger) = Ledger::from_json(data) else { return false };
    let Ok(text) = ledger.to_json() else { panic!("a ledger that was read cannot be written") };
    assert_eq!(Ledger::from_json(text.as_bytes()).ok().as_ref(), Some(&ledger));
    assert!(ledger.revisions.iter().all(|one| one.generation < ledger.next_generation));
    for revision in &ledger.revisions {
        assert_eq!(ledger.revision(revision.generation), Some(revision));
        let digest = revision.release.source.manifest_digest.as_deref();
        let _ = ledger.quarantined(&revision.release.root.hash, digest);
    }
    true
}
