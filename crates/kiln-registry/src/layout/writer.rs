//! Writes images: plain tar layers in, an OCI layout or archive out.
//!
//! The same input gives the same bytes: no clock, no random names, times and owners are zero, JSON
//! keys have a fixed order. Layers are compressed by one thread, because the bytes of a
//! multi-threaded compressor may depend on the number of threads. An archive is written in one
//! pass, headers filled in afterwards, so no temporary copy of the blobs is needed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::digest::Hasher;
use crate::manifest::REFERENCE_ANNOTATION;
use crate::media_type::{Compression, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use crate::{Digest, Error, Platform};

/// Bytes copied at once.
const BUFFER_BYTES: usize = 512 << 10;
/// Size of tar headers and padding, in bytes.
const TAR_BLOCK: u64 = 512;
/// The creation time of every written image: it must not depend on when it is made.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// How layers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LayerCompression {
    /// Plain tar.
    None,
    /// gzip at level 0 to 9.
    Gzip(u32),
    /// Zstandard at level 1 to 22.
    Zstd(i32),
    /// Zstandard at its default level.
    #[default]
    Default,
}

impl LayerCompression {
    fn kind(self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip(_) => Compression::Gzip,
            Self::Zstd(_) | Self::Default => Compression::Zstd,
        }
    }
}

/// What an image says besides its layers.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// The platform the image is for.
    pub platform: Platform,
    /// How layers are stored.
    pub compression: LayerCompression,
    /// `org.opencontainers.image.ref.name` in the index.
    pub reference: Option<String>,
    /// `config.Labels`.
    pub labels: BTreeMap<String, String>,
    /// `config.Env`, entries `NAME=value`.
    pub env: Vec<String>,
}

/// Writes an OCI layout of `layers`, uncompressed tars bottom first, into the folder `directory`,
/// which is made if missing and must hold no layout yet. Returns the manifest's digest.
///
/// # Errors
/// When a layer cannot be read or the folder not be written.
pub fn write_oci_layout(
    directory: &Path,
    layers: &mut [&mut dyn Read],
    options: &WriteOptions,
) -> Result<Digest, Error> {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(Error::io("create", &blobs))?;
    let marker = directory.join("oci-layout");
    if marker.exists() {
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "there is a layout already");
        return Err(Error::Io { action: "create", path: marker, source });
    }
    write_image(&mut FolderSink { directory: directory.to_owned() }, layers, options)
}

/// Writes the same as one tar, readable as `oci-archive:`. Replaces `file`.
///
/// # Errors
/// When a layer cannot be read or the file not be written.
pub fn write_oci_archive(
    file: &Path,
    layers: &mut [&mut dyn Read],
    options: &WriteOptions,
) -> Result<Digest, Error> {
    let opened = File::create(file).map_err(Error::io("create", file))?;
    let mut sink = TarSink { file: opened, path: file.to_owned() };
    let digest = write_image(&mut sink, layers, options)?;
    // Two empty blocks end a tar.
    let end = vec![0; 2 * TAR_BLOCK as usize];
    sink.file.write_all(&end).map_err(Error::io("write", file))?;
    Ok(digest)
}

/// Where the files of a layout go.
trait Sink {
    /// Stores what `write` writes under the digest of the stored bytes.
    fn blob(&mut self, write: &mut WriteBlob<'_>) -> Result<Stored, Error>;

    /// Stores a file by name.
    fn file(&mut self, name: &str, content: &[u8]) -> Result<(), Error>;
}

type WriteBlob<'a> = dyn FnMut(&mut Digesting<'_>) -> Result<(), Error> + 'a;

/// A stored blob.
struct Stored {
    digest: Digest,
    size: u64,
}

/// Counts and hashes what passes through.
struct Digesting<'a> {
    file: &'a mut File,
    path: &'a Path,
    hasher: Hasher,
    size: u64,
}

impl<'a> Digesting<'a> {
    fn new(file: &'a mut File, path: &'a Path) -> Self {
        Self { file, path, hasher: Hasher::default(), size: 0 }
    }

    fn finish(self) -> Stored {
        Stored { digest: self.hasher.finish(), size: self.size }
    }
}

impl Write for Digesting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn write_image(
    sink: &mut dyn Sink,
    layers: &mut [&mut dyn Read],
    options: &WriteOptions,
) -> Result<Digest, Error> {
    let layout = json!({ "imageLayoutVersion": "1.0.0" });
    sink.file("oci-layout", layout.to_string().as_bytes())?;
    let mut descriptors = Vec::new();
    let mut diff_ids = Vec::new();
    for layer in layers {
        let mut diff_id = Hasher::default();
        let stored =
            sink.blob(&mut |out| compress(*layer, options.compression, &mut diff_id, out))?;
        diff_ids.push(diff_id.finish());
        descriptors.push(descriptor(options.compression.kind().media_type(), &stored));
    }
    let mut platform = json!({
        "architecture": options.platform.architecture,
        "os": options.platform.os,
    });
    if let Some(variant) = &options.platform.variant {
        platform["variant"] = json!(variant);
    }
    let mut config = platform.clone();
    config["created"] = json!(CREATED);
    config["config"] = json!({ "Labels": options.labels, "Env": options.env });
    config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    let config = json_blob(sink, &config)?;
    let manifest = json_blob(
        sink,
        &json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &config),
            "layers": descriptors,
        }),
    )?;
    let mut entry = descriptor(OCI_MANIFEST, &manifest);
    entry["platform"] = platform;
    if let Some(reference) = &options.reference {
        entry["annotations"] = json!({ REFERENCE_ANNOTATION: reference });
    }
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] });
    // Last: a layout without index is visibly unfinished.
    sink.file("index.json", index.to_string().as_bytes())?;
    Ok(manifest.digest)
}

fn descriptor(media_type: &str, stored: &Stored) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": stored.digest, "size": stored.size })
}

/// serde_json keeps the keys of a map sorted, which makes the bytes deterministic.
fn json_blob(sink: &mut dyn Sink, document: &serde_json::Value) -> Result<Stored, Error> {
    let bytes = document.to_string();
    sink.blob(&mut |out| {
        let written = out.write_all(bytes.as_bytes());
        written.map_err(Error::io("write", out.path))
    })
}

fn compress(
    layer: &mut dyn Read,
    compression: LayerCompression,
    diff_id: &mut Hasher,
    out: &mut Digesting<'_>,
) -> Result<(), Error> {
    let path = out.path.to_owned();
    let failed = || Error::io("write", &path);
    match compression {
        LayerCompression::None => copy(layer, diff_id, out, &path),
        LayerCompression::Gzip(level) => {
            // The builder leaves time and name out of the header.
            let level = flate2::Compression::new(level.min(9));
            let mut encoder = flate2::GzBuilder::new().write(out, level);
            copy(layer, diff_id, &mut encoder, &path)?;
            encoder.finish().map(drop).map_err(failed())
        }
        LayerCompression::Zstd(_) | LayerCompression::Default => {
            let level = match compression {
                LayerCompression::Zstd(level) => level,
                _ => zstd::DEFAULT_COMPRESSION_LEVEL,
            };
            let mut encoder = zstd::stream::write::Encoder::new(out, level).map_err(failed())?;
            encoder.include_checksum(true).map_err(failed())?;
            copy(layer, diff_id, &mut encoder, &path)?;
            encoder.finish().map(drop).map_err(failed())
        }
    }
}

/// Copies a layer and hashes it on the way.
fn copy(
    layer: &mut dyn Read,
    diff_id: &mut Hasher,
    out: &mut dyn Write,
    path: &Path,
) -> Result<(), Error> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = match layer.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(Error::Io {
                    action: "read a layer for",
                    path: path.to_owned(),
                    source,
                });
            }
        };
        diff_id.update(&buffer[..length]);
        out.write_all(&buffer[..length]).map_err(Error::io("write", path))?;
    }
}

/// A layout as a folder.
struct FolderSink {
    directory: PathBuf,
}

impl Sink for FolderSink {
    fn blob(&mut self, write: &mut WriteBlob<'_>) -> Result<Stored, Error> {
        let blobs = self.directory.join("blobs/sha256");
        // The digest is known only at the end; blobs are written one after another.
        let partial = blobs.join(".partial");
        let mut file = File::create(&partial).map_err(Error::io("create", &partial))?;
        let mut out = Digesting::new(&mut file, &partial);
        write(&mut out)?;
        let stored = out.finish();
        let path = blobs.join(stored.digest.hex());
        std::fs::rename(&partial, &path).map_err(Error::io("rename to", &path))?;
        Ok(stored)
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        let path = self.directory.join(name);
        std::fs::write(&path, content).map_err(Error::io("write", &path))
    }
}

/// A layout as a tar.
struct TarSink {
    file: File,
    path: PathBuf,
}

impl TarSink {
    /// Writes content behind a gap, pads it, and then fills the gap with its header.
    fn member(
        &mut self,
        write: &mut dyn FnMut(&mut Digesting<'_>) -> Result<(), Error>,
        name: &dyn Fn(&Stored) -> String,
    ) -> Result<Stored, Error> {
        let path = self.path.clone();
        let failed = || Error::io("write", &path);
        let start = self.file.stream_position().map_err(failed())?;
        self.file.write_all(&[0; TAR_BLOCK as usize]).map_err(failed())?;
        let mut out = Digesting::new(&mut self.file, &path);
        write(&mut out)?;
        let stored = out.finish();
        let padding = stored.size.next_multiple_of(TAR_BLOCK) - stored.size;
        self.file.write_all(&vec![0; usize::try_from(padding).unwrap_or(0)]).map_err(failed())?;
        let end = self.file.stream_position().map_err(failed())?;
        let mut header = tar::Header::new_ustar();
        header.set_path(name(&stored)).map_err(failed())?;
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(stored.size);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        self.file.seek(SeekFrom::Start(start)).map_err(failed())?;
        self.file.write_all(header.as_bytes()).map_err(failed())?;
        self.file.seek(SeekFrom::Start(end)).map_err(failed())?;
        Ok(stored)
    }
}

impl Sink for TarSink {
    fn blob(&mut self, write: &mut WriteBlob<'_>) -> Result<Stored, Error> {
        self.member(write, &|stored| format!("blobs/sha256/{}", stored.digest.hex()))
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        let mut write = |out: &mut Digesting<'_>| {
            let written = out.write_all(content);
            written.map_err(Error::io("write", out.path))
        };
        self.member(&mut write, &|_| name.to_owned()).map(drop)
    }
}
