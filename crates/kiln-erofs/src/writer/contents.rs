//! Which files have the same content, and where each content lies.
//!
//! Equal contents share their blocks; which of them is read from the spool changes nothing. They
//! are found by sorting eight bytes of each digest: a map of whole digests took 100 bytes a file,
//! and half a million files are to fit into little memory. Equal prefixes prove nothing, so the
//! whole digest and the length decide.

use std::cmp::Ordering;

use kiln_tree::{Content, Kind};

use super::validate::ValidatedTree;
use crate::encoder::{Encoded, State};
use crate::error::Error;

/// A content and its blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement {
    /// Number in the encoder.
    pub(super) content: u32,
    /// First block, if it has any.
    pub(super) first_block: u32,
}

/// For each inode the first one in canonical order with the same content; itself for all that are
/// no files or are empty.
pub(super) fn first_with_same(tree: &ValidatedTree<'_>, state: &State) -> Result<Vec<u32>, Error> {
    let entries = tree.entries();
    let mut files = Vec::new();
    // A tree counts its nodes with 32 bits.
    let mut first: Vec<u32> = (0..entries.len() as u32).collect();
    for &number in &first {
        if let Kind::File(content) = entries[number as usize].node.kind
            && content.size > 0
        {
            let (prefix, _) = digest(state, content)?.split_first_chunk().unwrap_or((&[0; 8], &[]));
            files.push((u64::from_ne_bytes(*prefix), number));
        }
    }
    let whole = |number: u32| match entries[number as usize].node.kind {
        Kind::File(content) => Some((digest(state, content).ok(), content.size)),
        _ => None,
    };
    let same = |one: &(u64, u32), other: &(u64, u32)| match one.0.cmp(&other.0) {
        Ordering::Equal => whole(one.1).cmp(&whole(other.1)),
        different => different,
    };
    files.sort_unstable_by(|one, other| same(one, other).then(one.1.cmp(&other.1)));
    for equal in files.chunk_by(|one, other| same(one, other).is_eq()) {
        for &(_, number) in equal {
            first[number as usize] = equal[0].1;
        }
    }
    Ok(first)
}

/// The record of a content.
pub(super) fn encoded(state: &State, content: u32) -> Result<&Encoded, Error> {
    state.contents.get(content as usize).ok_or(Error::UnknownContent { content })
}

/// The digest of a content that this encoder has stored.
fn digest(state: &State, content: Content) -> Result<&[u8; 32], Error> {
    let encoded = encoded(state, content.id.0)?;
    match &encoded.digest {
        Some(digest) if encoded.size == content.size => Ok(digest),
        _ => Err(Error::UnknownContent { content: content.id.0 }),
    }
}
