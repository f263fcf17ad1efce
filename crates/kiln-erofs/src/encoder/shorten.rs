//! What LZ4's high-compression method would have written into less room, from what it wrote into
//! enough: the same bytes as a second run, for the price of a copy.
//!
//! That method chooses its sequences by looking at the input alone; the room decides only where it
//! stops. So the sequences of a smaller cluster are the first ones of a larger cluster, and only the
//! last match and the last literals must be cut to fit. Most files end in a cluster that is wanted
//! in two sizes, and running the method again took a tenth of a build's time. The fast method
//! chooses otherwise when the room is small, so it is run again. This must follow the library's rules to
//! the byte, because a profile's bytes are frozen: the tests compare it with the library itself.

use kiln_sys::codec::Filled;

/// Literals that end every block, at least: LZ4 block format, "End of block conditions".
const LAST_LITERALS: usize = 5;
/// A match begins at least so many bytes before the end of what a block stands for: the same.
const MATCH_TO_END: usize = 12;
/// Shortest match: LZ4 block format, "Match length".
const MATCH_MINIMUM: usize = 4;
/// Value of a half of the token that says that more bytes of length follow.
const LONG: usize = 15;
/// Bytes of a token and of an offset.
const TOKEN: usize = 1;
const OFFSET: usize = 2;

/// Literals and the match behind them.
#[derive(Debug, Clone, Copy)]
struct Sequence {
    literals: usize,
    offset: u16,
    /// Length of the match, at least [`MATCH_MINIMUM`].
    matched: usize,
}

/// Puts into `out` what a run over `source` with room for `target` bytes would have written.
///
/// `whole` is what a run of the same level over the same `source` wrote that had room enough to
/// take in all of it. `None` if `whole` is not such a block or `target` is too small for any.
pub(super) fn shortened(
    whole: &[u8],
    source: &[u8],
    target: usize,
    out: &mut Vec<u8>,
) -> Option<Filled> {
    out.clear();
    let limit = target.checked_sub(LAST_LITERALS)?;
    let (mut position, mut taken) = (0, 0);
    let mut last = None;
    while let Some((sequence, end)) = next(whole, position)? {
        if !fits(sequence, position, limit) {
            last = cut(sequence, position, limit);
            break;
        }
        position = end;
        taken += sequence.literals + sequence.matched;
    }
    out.extend_from_slice(whole.get(..position)?);
    if let Some(sequence) = last {
        let literals = source.get(taken..)?.get(..sequence.literals)?;
        let token =
            (sequence.literals.min(LONG) << 4) | (sequence.matched - MATCH_MINIMUM).min(LONG);
        // Two halves of four bits each.
        out.push(token as u8);
        push_length(sequence.literals, out);
        out.extend_from_slice(literals);
        out.extend_from_slice(&sequence.offset.to_le_bytes());
        push_length(sequence.matched - MATCH_MINIMUM, out);
        taken += sequence.literals + sequence.matched;
    }
    let rest = source.get(taken..)?;
    let mut literals = rest.len();
    if out.len() + TOKEN + (literals + 255 - LONG) / 255 + literals > target {
        literals = target.checked_sub(out.len() + TOKEN)?;
        literals -= (literals + 256 - LONG) / 256;
    }
    out.push((literals.min(LONG) << 4) as u8);
    push_length(literals, out);
    out.extend_from_slice(rest.get(..literals)?);
    Some(Filled { consumed: taken + literals, written: out.len() })
}

/// The sequence at this place and where it ends; `Some(None)` for the last literals, which have no
/// match.
#[expect(clippy::option_option, reason = "an end is no damage")]
fn next(block: &[u8], position: usize) -> Option<Option<(Sequence, usize)>> {
    let token = usize::from(*block.get(position)?);
    let mut position = position + TOKEN;
    let literals = length(token >> 4, block, &mut position)?;
    position = position.checked_add(literals)?;
    if position == block.len() {
        return Some(None);
    }
    let offset = u16::from_le_bytes(block.get(position..position + OFFSET)?.try_into().ok()?);
    position += OFFSET;
    let matched = length(token & LONG, block, &mut position)? + MATCH_MINIMUM;
    Some(Some((Sequence { literals, offset, matched }, position)))
}

/// A length that begins with half a token.
fn length(half: usize, block: &[u8], position: &mut usize) -> Option<usize> {
    let mut length = half;
    if half == LONG {
        loop {
            let byte = *block.get(*position)?;
            *position += 1;
            length += usize::from(byte);
            if byte != u8::MAX {
                break;
            }
        }
    }
    Some(length)
}

/// Appends what does not fit into half a token.
fn push_length(length: usize, out: &mut Vec<u8>) {
    if let Some(mut rest) = length.checked_sub(LONG) {
        while rest >= 255 {
            out.push(u8::MAX);
            rest -= 255;
        }
        out.push(rest as u8);
    }
}

/// Whether the method writes this sequence at this place as it is. It estimates the bytes of long
/// lengths, a little too high for literals, and so must this.
fn fits(sequence: Sequence, position: usize, limit: usize) -> bool {
    let Sequence { literals, matched, .. } = sequence;
    let estimate = position + TOKEN + literals / 255 + literals + OFFSET + TOKEN + LAST_LITERALS;
    let more = literals.checked_sub(LONG).map_or(0, |rest| rest / 255 + 1);
    let behind_offset = position + TOKEN + more + literals + OFFSET;
    estimate <= limit
        && behind_offset + (matched - MATCH_MINIMUM) / 255 + TOKEN + LAST_LITERALS <= limit
}

/// What is left of the first sequence that does not fit: a shorter match, or nothing.
fn cut(sequence: Sequence, position: usize, limit: usize) -> Option<Sequence> {
    let cost = TOKEN + (sequence.literals + 240) / 255 + sequence.literals;
    let room = limit.checked_sub(OFFSET + TOKEN)?.checked_sub(position + cost)?;
    let matched = sequence.matched.min(MATCH_MINIMUM + LONG - 1 + room * 255);
    let to_end = (limit + LAST_LITERALS + matched).checked_sub(position + cost + OFFSET + TOKEN)?;
    (to_end >= MATCH_TO_END).then_some(Sequence { matched, ..sequence })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_sys::codec::Lz4Hc;
    use proptest::prelude::*;

    /// Compares with the library for this room.
    fn compare(source: &[u8], target: usize, level: u8) {
        let mut high = Lz4Hc::new();
        let mut whole = vec![0; source.len() + source.len() / 128 + 64];
        let filled = high.fill(source, &mut whole, level).unwrap();
        assert_eq!(filled.consumed, source.len());
        let mut expected = vec![0; target];
        let filled_less = high.fill(source, &mut expected, level).unwrap();
        let mut out = Vec::new();
        let found = shortened(&whole[..filled.written], source, target, &mut out);
        assert_eq!(found, Some(filled_less), "{} in {target} at {level}", source.len());
        assert!(out == expected[..filled_less.written], "{} in {target} at {level}", source.len());
    }

    #[test]
    fn a_shortened_block_is_what_the_library_writes_at_any_length() {
        let text: Vec<u8> = (0..400_u32)
            .flat_map(|n| format!("line {n} {}\n", n.wrapping_mul(n) % 977).into_bytes())
            .collect();
        let mut mixed = text[..900].to_vec();
        mixed.extend(vec![b'x'; 9000]);
        mixed.extend((0..700_u32).map(|n| (n.wrapping_mul(n) >> 3) as u8));
        mixed.extend(vec![0; 70_000]);
        mixed.extend(&text[..3000]);
        for level in 3..=12 {
            for source in [&text[..], &mixed, &mixed[900..9000]] {
                for target in (32..400).chain((400..1200).step_by(11)) {
                    compare(source, target, level);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_shortened_block_is_what_the_library_writes(
            parts in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 1..40), 1_usize..300),
                1..60,
            ),
            target in 16_usize..20_000,
            level in 3_u8..=12,
        ) {
            let mut source = Vec::new();
            for (bytes, times) in &parts {
                source.extend(bytes.repeat(*times));
                source.extend(&parts[0].0);
            }
            compare(&source, target, level);
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let mut out = Vec::new();
        for (whole, target) in [
            (&[][..], 64),
            (&[0xf0], 64),
            (&[0xf0, 0xff], 64),
            (&[0x10, b'a', 1], 64),
            (&[0x1f, b'a', 1, 0, 0xff], 64),
            (&[0x10, b'a'], 0),
            (&[0x10, b'a'], 4),
        ] {
            assert_eq!(shortened(whole, b"a", target, &mut out), None, "{whole:?} {target}");
        }
    }
}
