//! Writes the root image of a release from its table and contents, and proves it by one hash.
//!
//! The image is written front to back and its hash compared before the hash tree is appended: until
//! then it is not a root that any boot file could start.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use kiln_erofs::{
    Encoder, EncoderOptions, ImageOptions, Lender, Profile, ValidatedTree, write_image,
};
use kiln_tree::{Content, ContentId, ContentStore as _, Kind};
use kiln_verity::{RootHash, decode_hex};

use super::{Stage, Watch};
use crate::contents::hex;
use crate::table::{Chunk, Table};
use crate::{Error, Release};

/// What rebuilding needs beside the contents.
#[derive(Debug)]
pub struct RebuildOptions {
    /// An empty file, normally without a name, that grows to about the size of what no slot lends.
    pub spool: File,
    /// Threads that compress; without influence on the image.
    pub threads: usize,
}

/// Gives a chunk, verified.
pub(super) type Chunks<'a> = dyn FnMut(&Chunk) -> Result<Vec<u8>, Error> + 'a;

/// Gives the place of the root image, open for reading and writing. Asked once, right before the first
/// byte is written: of a small update everything was fetched and encoded then, of a large one nothing.
pub type Place<'a> = dyn FnMut() -> io::Result<File> + 'a;

/// The profile of a release, if this build can write it and is new enough for the release.
///
/// # Errors
/// [`Error::AgentTooOld`], [`Error::UnknownProfile`].
pub fn check_profile(release: &Release) -> Result<Profile, Error> {
    let own = env!("CARGO_PKG_VERSION");
    if version(&release.minimum_agent) > version(own) {
        let needed = release.minimum_agent.clone();
        return Err(Error::AgentTooOld { needed, own: own.to_owned() });
    }
    let profile = release.profile;
    Profile::from_number(profile).ok_or(Error::UnknownProfile { profile })
}

/// Numbers of a version. What is no number counts as higher than all: it is of another time.
fn version(text: &str) -> [u64; 3] {
    let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(u64::MAX));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

/// Writes the root image to the beginning of what `place` gives: the file system, then its hash tree. Returns
/// the root hash, which is the release's. Contents that one of `lenders` holds are copied as they are
/// encoded, and none of their chunks is asked for.
///
/// # Errors
/// [`Error::RootHash`] naming both hashes if it is not; what `chunks` says; a full disk.
pub(super) fn rebuild(
    table: Table,
    release: &Release,
    chunks: &mut Chunks<'_>,
    lenders: &[Arc<Lender>],
    place: &mut Place<'_>,
    options: RebuildOptions,
    watch: &Watch<'_>,
) -> Result<RootHash, Error> {
    let profile = check_profile(release)?;
    let threads = options.threads.max(1);
    let encoding = "compress the contents";
    let encoder_options = EncoderOptions { codec: profile.codec(), threads, spool: options.spool };
    let mut encoder =
        Encoder::with_lenders(encoder_options, lenders.to_vec()).map_err(Error::io(encoding))?;
    let total = table.contents.iter().map(|content| content.size).sum();
    let mut done = 0;
    let mut tickets = Vec::with_capacity(table.contents.len());
    for content in &table.contents {
        let lent = encoder.borrow(&content.digest, content.size).map_err(Error::io(encoding))?;
        if let Some(ticket) = lent {
            tickets.push(ticket);
            done += content.size;
            watch(Stage::Root, done, total);
            continue;
        }
        let parts = table.chunks.get(content.chunks.clone()).unwrap_or_default();
        let mut reader = ChunkReader {
            parts,
            chunks: &mut *chunks,
            bytes: io::Cursor::default(),
            failure: None,
        };
        let stored = encoder.store(content.size, &mut reader);
        if let Some(error) = reader.failure {
            return Err(error);
        }
        tickets.push(stored.map_err(Error::io(encoding))?);
        done += content.size;
        watch(Stage::Root, done, total);
    }
    let empty = encoder.store(0, &mut io::empty()).map_err(Error::io(encoding))?;
    let Table { mut tree, contents, uuid, build_time, .. } = table;
    let mut is_done = vec![false; tree.node_limit()];
    let ids: Vec<_> = tree.walk().map(|(_, id)| id).collect();
    for id in ids {
        // Each node once, though it may have several names.
        if std::mem::replace(&mut is_done[id.index()], true) {
            continue;
        }
        if let Kind::File(content) = &mut tree.node_mut(id).kind {
            *content = ticket(*content, &tickets, empty)?;
        }
    }
    // What is encoded must be what the table says, whatever gave the chunks.
    for (content, ticket) in contents.iter().zip(&tickets) {
        let actual = encoder.digest(*ticket).map_err(Error::io(encoding))?;
        if actual != content.digest {
            let (expected, actual) = (hex(&content.digest), hex(&actual));
            return Err(Error::Digest { what: "a content".to_owned(), expected, actual });
        }
    }
    let image = ImageOptions { uuid, build_time };
    let root = place().map_err(Error::io("open the place of the root"))?;
    let facts = write_image(&ValidatedTree::new(&tree)?, &encoder, &root, image)?;
    drop((encoder, tree));
    prove(release, facts.length, &root, threads)
}

fn ticket(content: Content, tickets: &[Content], empty: Content) -> Result<Content, Error> {
    match content.id {
        ContentId(u32::MAX) => Ok(empty),
        ContentId(number) => tickets
            .get(number as usize)
            .copied()
            .ok_or_else(|| Error::malformed("table", "a file has no content")),
    }
}

/// Computes the hash tree, compares and appends it.
fn prove(release: &Release, length: u64, root: &File, threads: usize) -> Result<RootHash, Error> {
    let salt = decode_hex(&release.root.salt)?;
    let blocks = length / kiln_verity::BLOCK as u64;
    let hashes = kiln_verity::build(root, blocks, &salt, threads)?;
    let actual = hashes.root.to_string();
    if actual != release.root.hash || blocks != release.root.data_blocks {
        return Err(Error::RootHash { expected: release.root.hash.clone(), actual });
    }
    root.write_all_at(&hashes.bytes, length).map_err(Error::io("write the root's hash tree"))?;
    Ok(hashes.root)
}

/// A content as a stream of its chunks.
struct ChunkReader<'a, 'b> {
    parts: &'a [Chunk],
    chunks: &'a mut Chunks<'b>,
    bytes: io::Cursor<Vec<u8>>,
    /// The stream can only carry I/O errors; this is the real one.
    failure: Option<Error>,
}

impl Read for ChunkReader<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.bytes.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some((first, rest)) = self.parts.split_first() else { return Ok(0) };
            self.parts = rest;
            match (self.chunks)(first) {
                Ok(bytes) => self.bytes = io::Cursor::new(bytes),
                Err(error) => {
                    self.failure = Some(error);
                    return Err(io::ErrorKind::Other.into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(version("0.10.0") > version("0.9.9"));
        assert!(version("1") > version("0.99"));
        assert_eq!(version("0.1"), version("0.1.0"));
        assert!(version("next") > version("99.0.0"));
    }
}
