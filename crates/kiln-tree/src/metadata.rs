//! What every file has beside its kind: mode, owner, time, extended attributes.
//!
//! Extended attributes are usually absent or the same for thousands of files (SELinux labels), so `Xattrs` is a shared map of
//! one word that is copied only when changed. A plain map per node was dropped: with labels it costs 600 bytes for each of
//! 500,000 entries, more than all the rest of the tree.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Extended attribute names and values; names carry their namespace (`security.capability`).
pub type XattrMap = BTreeMap<Vec<u8>, Vec<u8>>;

static EMPTY: XattrMap = XattrMap::new();

/// Extended attributes of one node, shared between nodes that have the same; reads and writes like the map it wraps.
#[derive(Clone, Default)]
pub struct Xattrs(Option<Arc<XattrMap>>);

impl Xattrs {
    /// No attributes.
    pub const fn new() -> Xattrs {
        Xattrs(None)
    }
}

impl Deref for Xattrs {
    type Target = XattrMap;

    fn deref(&self) -> &XattrMap {
        self.0.as_deref().unwrap_or(&EMPTY)
    }
}

impl DerefMut for Xattrs {
    fn deref_mut(&mut self) -> &mut XattrMap {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl From<XattrMap> for Xattrs {
    fn from(map: XattrMap) -> Xattrs {
        Xattrs((!map.is_empty()).then(|| Arc::new(map)))
    }
}

impl FromIterator<(Vec<u8>, Vec<u8>)> for Xattrs {
    fn from_iter<I: IntoIterator<Item = (Vec<u8>, Vec<u8>)>>(pairs: I) -> Xattrs {
        XattrMap::from_iter(pairs).into()
    }
}

impl<'a> IntoIterator for &'a Xattrs {
    type Item = (&'a Vec<u8>, &'a Vec<u8>);
    type IntoIter = std::collections::btree_map::Iter<'a, Vec<u8>, Vec<u8>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Xattrs {
    fn eq(&self, other: &Xattrs) -> bool {
        **self == **other
    }
}

impl Eq for Xattrs {}

impl PartialEq<XattrMap> for Xattrs {
    fn eq(&self, other: &XattrMap) -> bool {
        **self == *other
    }
}

impl std::fmt::Debug for Xattrs {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_map()
            .entries(self.iter().map(|(name, value)| (name.escape_ascii().to_string(), value)))
            .finish()
    }
}

/// Gives equal attribute sets one shared map.
#[derive(Debug, Default)]
pub(crate) struct XattrPool(std::collections::BTreeSet<Arc<XattrMap>>);

impl XattrPool {
    /// Bound on different sets remembered: labels of a whole distribution are a few thousand; an archive made to fill memory
    /// gains nothing by making more.
    const SETS: usize = 65_536;

    pub(crate) fn share(&mut self, map: XattrMap) -> Xattrs {
        if map.is_empty() {
            return Xattrs::new();
        }
        if let Some(known) = self.0.get(&map) {
            return Xattrs(Some(Arc::clone(known)));
        }
        let map = Arc::new(map);
        if self.0.len() < Self::SETS {
            self.0.insert(Arc::clone(&map));
        }
        Xattrs(Some(map))
    }
}

/// Mode, owner, time and extended attributes of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with set-uid, set-gid and sticky: the lower twelve bits only.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last change in seconds since 1970 (may be negative).
    pub mtime_seconds: i64,
    /// Nanoseconds to add to the seconds, below 1,000,000,000.
    pub mtime_nanoseconds: u32,
    /// Extended attributes with full names.
    pub xattrs: Xattrs,
}

impl Metadata {
    /// `mode`, owned by root, of the year 1970, without extended attributes.
    pub const fn with_mode(mode: u16) -> Metadata {
        Metadata {
            mode: mode & 0o7777,
            uid: 0,
            gid: 0,
            mtime_seconds: 0,
            mtime_nanoseconds: 0,
            xattrs: Xattrs::new(),
        }
    }

    /// What a directory gets that nobody described: 0755.
    pub const fn directory() -> Metadata {
        Metadata::with_mode(0o755)
    }

    /// What a plain file gets that nobody described: 0644.
    pub const fn file() -> Metadata {
        Metadata::with_mode(0o644)
    }

    /// What a symbolic link has by convention: 0777.
    pub const fn symlink() -> Metadata {
        Metadata::with_mode(0o777)
    }
}

impl Default for Metadata {
    fn default() -> Metadata {
        Metadata::file()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_attributes_part_when_one_changes() {
        let mut first = Xattrs::from_iter([(b"user.a".to_vec(), b"1".to_vec())]);
        let second = first.clone();
        first.insert(b"user.b".to_vec(), b"2".to_vec());
        assert_eq!(first.len(), 2);
        assert_eq!(second.len(), 1);
        assert_ne!(first, second);
        first.remove(&b"user.b"[..]);
        assert_eq!(first, second);
        first.clear();
        assert_eq!(first, Xattrs::new(), "an emptied map equals none");
    }

    #[test]
    fn the_pool_gives_equal_sets_one_map() {
        let mut pool = XattrPool::default();
        let set = || XattrMap::from([(b"security.selinux".to_vec(), b"label".to_vec())]);
        let (first, second) = (pool.share(set()), pool.share(set()));
        assert!(std::ptr::eq(&raw const *first, &raw const *second));
        assert!(pool.share(XattrMap::new()).0.is_none());
    }

    #[test]
    fn a_node_costs_few_words() {
        assert!(size_of::<Metadata>() <= 32, "{}", size_of::<Metadata>());
        assert!(size_of::<crate::Node>() <= 64, "{}", size_of::<crate::Node>());
    }
}
