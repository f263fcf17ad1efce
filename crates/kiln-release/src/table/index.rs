//! The front of a table: what its pieces are, and where.

use super::format::{ENTRIES_MAX, ENTRY, HEADER, MAGIC, PIECE_MAX, PIECES_MAX, TOTAL_MAX};
use crate::Error;

/// One piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// SHA-256 of the bytes that are stored.
    pub digest: [u8; 32],
    /// Where it begins in the table's blob.
    pub offset: u64,
    /// Bytes that are stored.
    pub stored: u32,
    /// Bytes unpacked.
    pub length: u32,
}

/// The index of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Pieces in order.
    pub pieces: Vec<Piece>,
    /// Entries of the tree, the root and each name.
    pub entries: u64,
    /// Length of the contents in bytes.
    pub contents_length: u64,
    /// File system identifier of the root image.
    pub uuid: [u8; 16],
    /// Build time of the root image, seconds since 1970.
    pub build_time: u64,
}

impl Index {
    /// Bytes of an index of so many pieces.
    #[must_use]
    pub fn length(pieces: usize) -> u64 {
        (HEADER + pieces * ENTRY) as u64
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.pieces.len() as u64).to_le_bytes());
        bytes.extend(self.entries.to_le_bytes());
        bytes.extend(self.contents_length.to_le_bytes());
        bytes.extend(self.uuid);
        bytes.extend(self.build_time.to_le_bytes());
        bytes.resize(HEADER, 0);
        for piece in &self.pieces {
            bytes.extend(piece.digest);
            bytes.extend(piece.stored.to_le_bytes());
            bytes.extend(piece.length.to_le_bytes());
        }
        bytes
    }

    /// Reads an index that is followed by nothing.
    ///
    /// # Errors
    /// [`Error::Malformed`] for everything that no writer writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let refused = |reason: &str| Error::malformed("table", reason);
        let field = |at: usize| -> Result<u64, Error> {
            let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_le_bytes).ok_or_else(|| refused("its index is cut"))
        };
        if bytes.get(..MAGIC.len()) != Some(MAGIC) {
            return Err(refused("it begins like no table of this version"));
        }
        let count = field(8)?;
        let entries = field(16)?;
        if count == 0 || count > u64::from(PIECES_MAX) || entries == 0 || entries > ENTRIES_MAX {
            return Err(refused("its numbers of pieces or entries are impossible"));
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if bytes.len() as u64 != Self::length(count) {
            return Err(refused("its index has another length than it says"));
        }
        if bytes[56..HEADER].iter().any(|&byte| byte != 0) {
            return Err(refused("its reserved bytes are in use"));
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[32..48]);
        let (mut offset, mut total) = (Self::length(count), 0_u64);
        let mut pieces = Vec::with_capacity(count);
        for entry in bytes[HEADER..].chunks_exact(ENTRY) {
            let mut digest = [0; 32];
            digest.copy_from_slice(&entry[..32]);
            let number = |at: usize| {
                u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
            };
            let (stored, length) = (number(32), number(36));
            total += u64::from(length);
            if stored == 0 || length == 0 || length.max(stored) > PIECE_MAX || total > TOTAL_MAX {
                return Err(refused("a piece has an impossible length"));
            }
            pieces.push(Piece { digest, offset, stored, length });
            offset += u64::from(stored);
        }
        Ok(Self { pieces, entries, contents_length: field(24)?, uuid, build_time: field(48)? })
    }

    /// Length of the whole blob in bytes.
    #[must_use]
    pub fn blob_length(&self) -> u64 {
        let end = |piece: &Piece| piece.offset + u64::from(piece.stored);
        self.pieces.last().map_or(Self::length(0), end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Index {
        let start = Index::length(2);
        Index {
            pieces: vec![
                Piece { digest: [1; 32], offset: start, stored: 10, length: 100 },
                Piece { digest: [2; 32], offset: start + 10, stored: 5, length: 7 },
            ],
            entries: 3,
            contents_length: 99,
            uuid: [7; 16],
            build_time: 1,
        }
    }

    #[test]
    fn an_index_reads_back() {
        let index = example();
        assert_eq!(Index::parse(&index.encode()).unwrap(), index);
        assert_eq!(index.blob_length(), Index::length(2) + 15);
    }

    #[test]
    fn impossible_ones_are_refused() {
        let good = example().encode();
        let cases: [(usize, &[u8]); 7] = [
            (0, b"K0LN"),
            (8, &[3]),
            (8, &[0]),
            (15, &[1]),
            (23, &[1]),
            (60, &[1]),
            (HEADER + 36, &[0xff, 0xff, 0xff, 0xff]),
        ];
        for (at, change) in cases {
            let mut bytes = good.clone();
            bytes[at..at + change.len()].copy_from_slice(change);
            assert!(Index::parse(&bytes).is_err(), "{at}");
        }
        for length in 0..good.len() {
            assert!(Index::parse(&good[..length]).is_err(), "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn rubbish_never_panics(mut bytes: Vec<u8>) {
            let _ = Index::parse(&bytes);
            bytes.splice(0..0, *MAGIC);
            let _ = Index::parse(&bytes);
        }
    }
}
