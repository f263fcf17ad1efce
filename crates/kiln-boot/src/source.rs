//! Reading files of the image, bounded, and undoing the compression of modules and firmware.
//!
//! Compression is told by the first bytes and not by the file's name: kernels of arm64 are gzip
//! without saying so, and a name that lies must not choose the decoder. Sizes are checked before a
//! byte is read and again while decompressing, so that a small hostile file cannot fill memory.

use std::io::Read;

use kiln_tree::{Content, ContentStore, Kind, NodeId, Tree};

use crate::Error;

/// Most bytes of a kernel image or one kernel module after decompression: 256 MiB. The largest
/// module that distributions ship (amdgpu with debug information) stays below 128 MiB.
pub(crate) const BINARY_LIMIT: u64 = 256 << 20;

/// Most bytes of an index such as modules.alias: 32 MiB; distributions have about 2.
pub(crate) const INDEX_LIMIT: u64 = 32 << 20;

/// Most memory that an xz decoder may ask for: 192 MiB, three times what `xz -9` needs.
const XZ_MEMORY_LIMIT: u64 = 192 << 20;

/// A path of the image as text for messages.
pub(crate) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Joins a folder and a name with a slash.
pub(crate) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = folder.to_vec();
    path.push(b'/');
    path.extend_from_slice(name);
    path
}

/// The content behind `path`, through symlinks; none if there is no regular file.
pub(crate) fn find(tree: &Tree, path: &[u8]) -> Option<Content> {
    content(tree, tree.resolve(path)?)
}

/// The content of a node, none unless it is a regular file.
pub(crate) fn content(tree: &Tree, node: NodeId) -> Option<Content> {
    match tree.node(node).kind {
        Kind::File(content) => Some(content),
        _ => None,
    }
}

/// The bytes of a regular file, none if there is none.
pub(crate) fn read(
    tree: &Tree,
    store: &dyn ContentStore,
    path: &[u8],
    limit: u64,
) -> Result<Option<Vec<u8>>, Error> {
    match find(tree, path) {
        None => Ok(None),
        Some(content) if content.size > limit => {
            Err(Error::TooLarge { path: shown(path), size: content.size, limit })
        }
        Some(content) => store
            .read(content)
            .map(Some)
            .map_err(|source| Error::Read { path: shown(path), source }),
    }
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    /// Told by the magic numbers of RFC 1952 §2.3.1, the xz format §2.1.1.1 and RFC 8878 §3.1.1.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Undoes gzip, xz or zstd; anything else comes back as it is.
pub(crate) fn decompress(bytes: Vec<u8>, path: &[u8], limit: u64) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Codec { action: "decompress", path: shown(path), source };
    let mut plain = Vec::new();
    let bounded = limit.saturating_add(1);
    match Compression::of(&bytes) {
        Compression::None => return Ok(bytes),
        Compression::Gzip => {
            flate2::read::MultiGzDecoder::new(&bytes[..]).take(bounded).read_to_end(&mut plain)
        }
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_LIMIT, 0)
                .map_err(|source| failed(source.into()))?;
            liblzma::read::XzDecoder::new_stream(&bytes[..], stream)
                .take(bounded)
                .read_to_end(&mut plain)
        }
        Compression::Zstd => zstd::stream::read::Decoder::with_buffer(&bytes[..])
            .and_then(|decoder| decoder.take(bounded).read_to_end(&mut plain)),
    }
    .map_err(failed)?;
    let size = plain.len() as u64;
    if size > limit {
        return Err(Error::TooLarge { path: shown(path), size, limit });
    }
    Ok(plain)
}

/// A file name without `.gz`, `.xz` or `.zst`.
pub(crate) fn without_compression(name: &str) -> &str {
    [".gz", ".xz", ".zst"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed() -> Vec<(Compression, Vec<u8>)> {
        let plain = b"kernel module ".repeat(100);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&plain).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(&plain).unwrap();
        vec![
            (Compression::None, plain.clone()),
            (Compression::Gzip, gzip.finish().unwrap()),
            (Compression::Xz, xz.finish().unwrap()),
            (Compression::Zstd, zstd::bulk::compress(&plain, 3).unwrap()),
        ]
    }

    #[test]
    fn every_compression_is_undone() {
        for (compression, bytes) in packed() {
            assert_eq!(Compression::of(&bytes), compression);
            let plain = decompress(bytes, b"a.ko", 1400).unwrap();
            assert_eq!(plain, b"kernel module ".repeat(100));
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_a_cut_stream_is_an_error() {
        for (_, bytes) in packed().into_iter().skip(1) {
            let bomb = decompress(bytes.clone(), b"a.ko", 1399);
            assert!(matches!(bomb, Err(Error::TooLarge { size: 1400, limit: 1399, .. })));
            let cut = bytes[..bytes.len() / 2].to_vec();
            assert!(matches!(decompress(cut, b"a.ko", 9999), Err(Error::Codec { .. })));
        }
    }

    #[test]
    fn endings_are_cut_once() {
        let cases = [("a.ko.xz", "a.ko"), ("a.ko", "a.ko"), ("b.bin.zst", "b.bin"), ("x", "x")];
        for (name, expected) in cases {
            assert_eq!(without_compression(name), expected);
        }
    }
}
