//! Where the bytes of regular files go: the tree itself holds none of them.
//!
//! A tree of an operating system has gigabytes of content and must fit into a few megabytes of memory, so a file node
//! carries only a ticket (`Content`) for bytes that a `ContentStore` took while the layer streamed by. The store may encode
//! in other threads; whoever asks for the bytes or their digest waits. The tree must never compare contents or keep a
//! reader open. An open temporary file per content was dropped: two million of them fit nowhere.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// Ticket number of a content inside the store that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(pub u32);

/// The bytes of one regular file: ticket and length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content {
    /// Ticket inside the store.
    pub id: ContentId,
    /// Length in bytes.
    pub size: u64,
}

/// Opens a content from its beginning at each call. It does not borrow the store, so that a content
/// can be read while others are stored.
pub type Opener = Box<dyn Fn() -> Box<dyn Read + Send> + Send>;

/// Takes the bytes of regular files once and answers for them later.
pub trait ContentStore {
    /// Reads exactly `size` bytes and keeps them; `UnexpectedEof` if the reader has fewer. May return before the bytes are
    /// encoded.
    fn store(&mut self, size: u64, reader: &mut dyn Read) -> io::Result<Content>;

    /// The content as a stream, for those too large for memory; waits until it is encoded.
    fn opener(&self, content: Content) -> io::Result<Opener>;

    /// The whole content; waits until it is encoded.
    fn read(&self, content: Content) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.opener(content)?().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// SHA-256 of the content; waits likewise.
    fn digest(&self, content: Content) -> io::Result<[u8; 32]>;
}

/// A store that keeps every byte in memory: for tests and small trees.
#[derive(Debug, Default)]
pub struct MemoryStore {
    contents: Vec<Vec<u8>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// How many contents were stored so far.
    pub fn len(&self) -> usize {
        self.contents.len()
    }

    /// Whether nothing was stored so far.
    pub fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }

    fn bytes(&self, content: Content) -> io::Result<&Vec<u8>> {
        self.contents
            .get(content.id.0 as usize)
            .filter(|bytes| bytes.len() as u64 == content.size)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "content is not of this store"))
    }
}

impl ContentStore for MemoryStore {
    fn store(&mut self, size: u64, reader: &mut dyn Read) -> io::Result<Content> {
        let id = u32::try_from(self.contents.len()).map_err(io::Error::other)?;
        let mut bytes = Vec::new();
        // `size` is a claim of the archive: grow with what really arrives instead of reserving it.
        let read = reader.take(size).read_to_end(&mut bytes)?;
        if read as u64 != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.contents.push(bytes);
        Ok(Content { id: ContentId(id), size })
    }

    fn opener(&self, content: Content) -> io::Result<Opener> {
        let bytes: std::sync::Arc<[u8]> = self.bytes(content)?.as_slice().into();
        Ok(Box::new(move || Box::new(io::Cursor::new(std::sync::Arc::clone(&bytes)))))
    }

    fn read(&self, content: Content) -> io::Result<Vec<u8>> {
        self.bytes(content).cloned()
    }

    fn digest(&self, content: Content) -> io::Result<[u8; 32]> {
        Ok(Sha256::digest(self.bytes(content)?).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_exactly_the_size_and_refuses_less() {
        let mut store = MemoryStore::new();
        let mut reader: &[u8] = b"abcdef";
        let content = store.store(3, &mut reader).unwrap();
        assert_eq!(reader, b"def");
        assert_eq!(store.read(content).unwrap(), b"abc");
        assert_eq!(store.digest(content).unwrap()[..2], [0xba, 0x78]);
        let error = store.store(4, &mut reader).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(store.len(), 1);
        assert!(store.read(Content { id: ContentId(7), size: 3 }).is_err());
        assert!(store.read(Content { id: content.id, size: 4 }).is_err());
    }
}
