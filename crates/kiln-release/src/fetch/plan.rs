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
pub(super) struct Stretch {
    /// Bytes of the contents.
    pub(super) bytes: Range<u64>,
    /// Frames in it, by place in [`Plan::missing`].
    pub(super) chunks: Range<usize>,
}

/// What is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    /// Chunks that are nowhere here, each once, in the order of the contents.
    pub(super) missing: Vec<Chunk>,
    /// The requests that bring them.
    pub(super) stretches: Vec<Stretch>,
    /// Bytes of frames to fetch.
    pub(super) bytes: u64,
    /// Bytes of frames fetched by an interrupted run.
    pub(super) kept: u64,
    /// Bytes of all frames.
    pub(super) total: u64,
}

/// Compares a table with what is here. `placed` are chunks that need not come any more.
#[must_use]
pub(super) fn plan(
    table: &Table,
    local: &LocalContents,
    spool: &Spool,
    placed: &HashSet<[u8; 32]>,
) -> Plan {
    let mut plan = Plan { total: table.contents_length, ..Plan::default() };
    let mut seen = HashSet::new();
    for chunk in &table.chunks {
        if !seen.insert(chunk.digest) || local.contains(chunk) || placed.contains(&chunk.digest) {
            continue;
        }
        if spool.contains(chunk) {
            plan.kept += u64::from(chunk.frame_length);
            continue;
        }
        plan.bytes += u64::from(chunk.frame_length);
        plan.missing.push(*chunk);
    }
    plan.stretches = coalesce(&plan.missing, |chunk| spool.begun(chunk));
    plan
}

/// Chunks must come in the order of their frames. `begun` says how many bytes of a frame are here: a
/// stretch begins behind them.
fn coalesce(chunks: &[Chunk], begun: impl Fn(&Chunk) -> u32) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (number, chunk) in chunks.iter().enumerate() {
        let end = chunk.frame_end();
        let here = begun(chunk);
        match stretches.last_mut() {
            Some(last)
                if here == 0
                    && chunk.frame_offset.saturating_sub(last.bytes.end) < GAP
                    && end - last.bytes.start <= STRETCH_MAX =>
            {
                last.bytes.end = end;
                last.chunks.end = number + 1;
            }
            _ => {
                let start = chunk.frame_offset + u64::from(here);
                stretches.push(Stretch { bytes: start..end, chunks: number..number + 1 });
            }
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
            coalesce(&chunks, |_| 0).into_iter().map(|stretch| stretch.chunks).collect();
        assert_eq!(found, [0..3, 3..4, 4..5, 5..6]);
        assert!(coalesce(&[], |_| 0).is_empty());
        // What was begun is asked for from where it ended.
        let begun = |chunk: &Chunk| if chunk.frame_offset == 10 { 7 } else { 0 };
        let found = coalesce(&chunks, begun);
        let bytes: Vec<Range<u64>> = found.into_iter().take(2).map(|one| one.bytes).collect();
        assert_eq!(bytes, [0..10, 17..29 + GAP]);
    }
}
