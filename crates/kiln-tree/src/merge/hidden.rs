//! What layers hide in the layers below them: whiteouts and opaque directories (OCI image specification, layer.md, "Whiteouts").
//!
//! Kept as sorted sets of canonical paths beside the tree, since a layer may white out below directories that it does not have
//! itself. A flag per node was dropped for that reason.

use std::collections::BTreeSet;

use crate::path::{join, prefixes};

/// Paths hidden from lower layers.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    /// Gone with all below.
    whiteouts: BTreeSet<Vec<u8>>,
    /// Directories all of whose entries are gone, they themselves not.
    opaques: BTreeSet<Vec<u8>>,
}

impl Hidden {
    pub(super) fn white_out(&mut self, path: Vec<u8>) {
        self.whiteouts.insert(path);
    }

    pub(super) fn make_opaque(&mut self, path: Vec<u8>) {
        self.opaques.insert(path);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.whiteouts.is_empty() && self.opaques.is_empty()
    }

    /// Whether an entry of a lower layer at `path` is gone.
    pub(super) fn hides(&self, path: &[u8]) -> bool {
        !self.is_empty()
            && prefixes(path).any(|prefix| {
                self.is_whiteout(prefix) || (prefix.len() < path.len() && self.is_opaque(prefix))
            })
    }

    /// Whether exactly `path` is whited out.
    pub(super) fn is_whiteout(&self, path: &[u8]) -> bool {
        self.whiteouts.contains(path)
    }

    /// Whether exactly `path` is an opaque directory.
    pub(super) fn is_opaque(&self, path: &[u8]) -> bool {
        self.opaques.contains(path)
    }

    /// Whether something at or below `path` is named here.
    pub(super) fn concerns(&self, path: &[u8]) -> bool {
        let below = join(path, b"");
        [&self.whiteouts, &self.opaques].into_iter().any(|set| {
            set.contains(path)
                || set.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below))
        })
    }

    /// Adds what another layer hides.
    pub(super) fn absorb(&mut self, mut other: Hidden) {
        self.whiteouts.append(&mut other.whiteouts);
        self.opaques.append(&mut other.opaques);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts_hide_themselves_and_below_opaques_only_below() {
        let mut hidden = Hidden::default();
        assert!(!hidden.hides(b"a"));
        hidden.white_out(b"a/b".to_vec());
        hidden.make_opaque(b"o".to_vec());
        let cases: [(&[u8], bool, bool); 9] = [
            (b"a", false, true),
            (b"a/b", true, true),
            (b"a/b/c", true, false),
            (b"a/bc", false, false),
            (b"o", false, true),
            (b"o/x", true, false),
            (b"o-x", false, false),
            (b"", false, true),
            (b"z", false, false),
        ];
        for (path, hides, concerns) in cases {
            assert_eq!(hidden.hides(path), hides, "hides {}", path.escape_ascii());
            assert_eq!(hidden.concerns(path), concerns, "concerns {}", path.escape_ascii());
        }
        hidden.make_opaque(Vec::new());
        assert!(hidden.hides(b"z") && !hidden.hides(b""), "an opaque root keeps only itself");
    }
}
