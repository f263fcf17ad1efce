//! What is missing, and with which requests it comes. Pure.

use std::collections::HashSet;
use std::ops::Range;

use super::{LocalContents, Spool};
use crate::table::{Chunk, Table};

/// Unwanted bytes between two frames that are fetched along: a new request costs more.
pub(super) const GAP: u64 = 64 << 10;
/// Most bytes of one request, so that several run side by side and little is lost by one.
const STRETCH_MAX: u64 = 4 << 20;

/// Neighbouring frames that one request brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Bytes of the contents.
    pub bytes: Range<u64>,
    /// Frames in it, by place in [`Plan::missing`].
    pub chunks: Range<usize>,
}

/// What is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Chunks that are nowhere here, each once, in the order of the contents.
    pub missing: Vec<Chunk>,
    /// The requests that bring them.
    pub stretches: Vec<Stretch>,
    /// Bytes of frames to fetch.
    pub bytes: u64,
    /// Bytes of frames fetched by an interrupted run.
    pub kept: u64,
    /// Bytes of all frames.
    pub total: u64,
}

impl Plan {
    /// Bytes that the requests ask for, with what lies between frames.
    #[must_use]
    pub fn wire_bytes(&self) -> u64 {
        self.stretches.iter().map(|stretch| stretch.bytes.end - stretch.bytes.start).sum()
    }
}

/// Compares a table with what is here.
#[must_use]
pub fn plan(table: &Table, local: &LocalContents, spool: &Spool) -> Plan {
    let mut plan = Plan { total: table.contents_length, ..Plan::default() };
    let mut seen = HashSet::new();
    for chunk in &table.chunks {
        if !seen.insert(chunk.digest) || local.contains(chunk) {
            continue;
        }
        if spool.contains(chunk) {
            plan.kept += u64::from(chunk.frame_length);
            continue;
        }
        plan.bytes += u64::from(chunk.frame_length);
        plan.missing.push(*chunk);
    }
    plan.stretches = coalesce(&plan.missing);
    plan
}

/// Chunks must come in the order of their frames.
fn coalesce(chunks: &[Chunk]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (number, chunk) in chunks.iter().enumerate() {
        let end = chunk.frame_end();
        match stretches.last_mut() {
            Some(last)
                if chunk.frame_offset.saturating_sub(last.bytes.end) < GAP
                    && end - last.bytes.start <= STRETCH_MAX =>
            {
                last.bytes.end = end;
                last.chunks.end = number + 1;
            }
            _ => stretches
                .push(Stretch { bytes: chunk.frame_offset..end, chunks: number..number + 1 }),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_come_together_up_to_a_bound() {
        let chunk = |frame_offset: u64, frame_length: u32| Chunk {
            digest: [0; 32],
            length: 1,
            frame_offset,
            frame_length,
        };
        let chunks = [
            chunk(0, 10),
            chunk(10, 10),
            chunk(20 + GAP - 1, 10),
            chunk(29 + 2 * GAP, 10),
            chunk(200_000 + GAP, STRETCH_MAX as u32 - 5),
            chunk(200_000 + GAP + STRETCH_MAX - 5, 10),
        ];
        let found: Vec<Range<usize>> =
            coalesce(&chunks).into_iter().map(|stretch| stretch.chunks).collect();
        assert_eq!(found, [0..3, 3..4, 4..5, 5..6]);
        assert!(coalesce(&[]).is_empty());
    }
}
