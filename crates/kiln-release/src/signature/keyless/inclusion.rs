//! Merkle trees of transparency logs: that an entry is in one (RFC 9162 section 2.1).
//!
//! Pure arithmetic over hashes. Who signed the root is the checkpoint's matter.

use sha2::{Digest as _, Sha256};

/// The hash of a tree's leaf.
pub(super) fn leaf_hash(entry: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// The hash over two others.
fn node_hash(left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Whether a leaf is the one at `index` of the tree with so many leaves and this root (RFC 9162
/// section 2.1.3.2).
pub(super) fn is_included(
    leaf: [u8; 32],
    index: u64,
    size: u64,
    proof: &[[u8; 32]],
    root: [u8; 32],
) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if place % 2 == 1 || place == last {
            hash = node_hash(*sibling, hash);
            while place % 2 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(hash, *sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

#[cfg(test)]
mod tests {
    use super::{is_included, leaf_hash, node_hash};

    /// The root of a tree and the proof of one leaf, straight from the definitions (RFC 9162 sections
    /// 2.1.1 and 2.1.3.1).
    fn tree(leaves: &[[u8; 32]], index: usize) -> ([u8; 32], Vec<[u8; 32]>) {
        if let [leaf] = leaves {
            return (*leaf, Vec::new());
        }
        let split = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(split);
        let (other, mut proof) = if index < split {
            (tree(right, 0).0, tree(left, index).1)
        } else {
            (tree(left, 0).0, tree(right, index - split).1)
        };
        proof.push(other);
        (node_hash(tree(left, 0).0, tree(right, 0).0), proof)
    }

    #[test]
    fn every_leaf_is_where_it_is_and_nowhere_else() {
        for size in 1..=20_usize {
            let leaves: Vec<_> = (0..size).map(|number| leaf_hash(&[number as u8])).collect();
            for index in 0..size {
                let (root, proof) = tree(&leaves, index);
                let fits = |leaf, index: usize, size: usize, proof: &[[u8; 32]]| {
                    is_included(leaf, index as u64, size as u64, proof, root)
                };
                assert!(fits(leaves[index], index, size, &proof), "{index} of {size}");
                for other in (0..=size).filter(|other| *other != index) {
                    assert!(!fits(leaves[index], other, size, &proof), "{other} of {size}");
                }
                assert!(!fits(leaf_hash(b"other"), index, size, &proof));
                let more = [proof.clone(), vec![[0; 32]]].concat();
                assert!(!fits(leaves[index], index, size, &more));
                if let Some((_, fewer)) = proof.split_last() {
                    assert!(!fits(leaves[index], index, size, fewer));
                }
            }
        }
        assert!(!is_included([0; 32], 0, 0, &[], [0; 32]), "an empty tree");
        assert!(!is_included([0; 32], u64::MAX - 1, u64::MAX, &[[0; 32]; 64], [0; 32]));
    }
}
