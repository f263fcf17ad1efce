//! Counting without being told: progress of work that reports none.
//!
//! The crates below know nothing of progress and shall not: a callback in every writer would be a
//! parameter that all of their users carry. So contents are counted where they pass by, and files
//! are watched while they grow. Nothing here has an influence on any byte.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use kiln_tree::{Content, ContentStore, Kind, Opener, Tree};

use crate::{Progress, Unit};

/// How often a growing file is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// Bytes of a block in `st_blocks` (stat(2)).
const STAT_BLOCK: u64 = 512;

/// Files between two reports, so that reporting costs nothing.
const FILES_A_REPORT: u64 = 64;

/// One listener for two that report in turn.
pub(crate) struct Shared<'a>(RefCell<&'a mut (dyn Progress + 'a)>);

impl<'a> Shared<'a> {
    pub(crate) fn new(progress: &'a mut (dyn Progress + 'a)) -> Self {
        Self(RefCell::new(progress))
    }

    pub(crate) fn detail(&self, message: &str) {
        self.0.borrow_mut().detail(message);
    }

    fn advance(&self, done: u64) {
        self.0.borrow_mut().advance(done);
    }
}

/// A store that tells how many files it was given.
pub(crate) struct CountFiles<'a> {
    inner: &'a mut dyn ContentStore,
    progress: &'a Shared<'a>,
    files: u64,
}

impl<'a> CountFiles<'a> {
    pub(crate) fn new(inner: &'a mut dyn ContentStore, progress: &'a Shared<'a>) -> Self {
        Self { inner, progress, files: 0 }
    }
}

impl ContentStore for CountFiles<'_> {
    fn store(&mut self, size: u64, reader: &mut dyn Read) -> io::Result<Content> {
        let content = self.inner.store(size, reader)?;
        self.files += 1;
        if self.files.is_multiple_of(FILES_A_REPORT) {
            self.progress.advance(self.files);
        }
        Ok(content)
    }

    fn opener(&self, content: Content) -> io::Result<Opener> {
        self.inner.opener(content)
    }

    fn digest(&self, content: Content) -> io::Result<[u8; 32]> {
        self.inner.digest(content)
    }
}

/// A store that tells how many bytes have a digest: those are encoded.
pub(crate) struct CountEncoded<'a> {
    inner: &'a dyn ContentStore,
    progress: Shared<'a>,
    bytes: Cell<u64>,
}

impl<'a> CountEncoded<'a> {
    /// Announces all files of `tree`.
    pub(crate) fn new(
        inner: &'a dyn ContentStore,
        tree: &Tree,
        progress: &'a mut (dyn Progress + 'a),
    ) -> Self {
        let mut is_seen = vec![false; tree.node_limit()];
        let mut total = 0_u64;
        for (_, id) in tree.walk() {
            if let Kind::File(content) = tree.node(id).kind
                && !std::mem::replace(&mut is_seen[id.index()], true)
            {
                total = total.saturating_add(content.size);
            }
        }
        progress.expect(Unit::Bytes, Some(total));
        Self { inner, progress: Shared::new(progress), bytes: Cell::new(0) }
    }
}

impl ContentStore for CountEncoded<'_> {
    fn store(&mut self, _size: u64, _reader: &mut dyn Read) -> io::Result<Content> {
        Err(io::Error::other("this view of the store is for reading"))
    }

    fn opener(&self, content: Content) -> io::Result<Opener> {
        self.inner.opener(content)
    }

    fn digest(&self, content: Content) -> io::Result<[u8; 32]> {
        let digest = self.inner.digest(content)?;
        self.bytes.set(self.bytes.get().saturating_add(content.size));
        self.progress.advance(self.bytes.get());
        Ok(digest)
    }
}

/// Does `work`, which writes about `total` bytes to `file`, and tells meanwhile how far it is.
///
/// Allocated blocks count, so that the holes of a sparse file are not taken for work done.
pub(crate) fn growing<R>(
    file: &File,
    total: u64,
    progress: &mut dyn Progress,
    work: impl FnOnce() -> R,
) -> R {
    progress.expect(Unit::Bytes, Some(total));
    let (finished, wait) = channel::<()>();
    std::thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            while wait.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if let Ok(metadata) = file.metadata() {
                    progress.advance((metadata.blocks() * STAT_BLOCK).min(total));
                }
            }
        });
        let result = work();
        drop(finished);
        // It does nothing that could panic; and if it did, only a bar would be wrong.
        let _ = watcher.join();
        result
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use kiln_tree::{ContentStore as _, MemoryStore, Metadata, Node, tree_digest};

    use super::*;
    use crate::Step;

    #[derive(Default)]
    struct Log(Vec<(Option<u64>, u64)>);

    impl Progress for Log {
        fn step(&mut self, _step: Step) {}
        fn warning(&mut self, _message: &str) {}
        fn detail(&mut self, _message: &str) {}
        fn expect(&mut self, _unit: Unit, total: Option<u64>) {
            self.0.push((total, 0));
        }
        fn advance(&mut self, done: u64) {
            self.0.push((None, done));
        }
    }

    #[test]
    fn encoded_bytes_end_at_what_was_announced() {
        let mut store = MemoryStore::new();
        let mut tree = Tree::new();
        for name in ["a", "b"] {
            let content = store.store(3, &mut &b"abc"[..]).unwrap();
            let node = Node { kind: Kind::File(content), metadata: Metadata::file() };
            let id = tree.insert(name.as_bytes(), node).unwrap();
            tree.link(format!("{name}-again").as_bytes(), id).unwrap();
        }
        let mut log = Log::default();
        let digest = tree_digest(&tree, &CountEncoded::new(&store, &tree, &mut log)).unwrap();
        assert_eq!(digest, tree_digest(&tree, &store).unwrap(), "counting changes nothing");
        assert_eq!(log.0.first(), Some(&(Some(6), 0)));
        assert_eq!(log.0.last(), Some(&(None, 6)));
    }

    #[test]
    fn files_are_counted() {
        let mut log = Log::default();
        let mut store = MemoryStore::new();
        let shared = Shared::new(&mut log);
        let mut counted = CountFiles::new(&mut store, &shared);
        for _ in 0..2 * FILES_A_REPORT + 1 {
            counted.store(1, &mut &b"x"[..]).unwrap();
        }
        assert_eq!(log.0, [(None, FILES_A_REPORT), (None, 2 * FILES_A_REPORT)]);
    }

    #[test]
    fn a_growing_file_is_watched_and_never_beyond_its_total() {
        let mut file = tempfile::tempfile().unwrap();
        let watched = file.try_clone().unwrap();
        let mut log = Log::default();
        let result = growing(&watched, 1 << 20, &mut log, || {
            file.write_all(&vec![1; 4 << 20]).unwrap();
            std::thread::sleep(3 * INTERVAL);
            7
        });
        assert_eq!(result, 7);
        assert_eq!(log.0.first(), Some(&(Some(1 << 20), 0)));
        assert_eq!(log.0.last(), Some(&(None, 1 << 20)));
    }
}
