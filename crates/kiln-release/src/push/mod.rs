//! A release into a registry, beside the container image that it was built from.
//!
//! What is pushed is made from what a build wrote, and checked against it first: the tree that is
//! read back must have the digest in `release.json`, the boot file too. Everything is named by its
//! digest and equal releases give equal blobs, so pushing again sends nothing; the manifest comes
//! last, so nobody ever sees half of a release.

mod folder;
mod pack;

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::path::Path;

use kiln_registry::{Artifacts, Digest, Options, Pushed, Reference, Referrer};

use crate::blocks;
use crate::boot::{self, Sections};
use crate::contents::format as contents;
use crate::manifest::{
    ARTIFACT_TYPE, CONFIG_MEDIA_TYPE, Descriptor, INDEX_DIGEST, INDEX_LENGTH, MEDIA_TYPE, MODE,
    Manifest, artifact_type,
};
use crate::table::format as table;
use crate::{Error, Release};

pub use folder::ReleaseFolder;
pub use pack::{Packed, pack};

/// What a push is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading the root image; in bytes of files.
    Read,
    /// Compressing contents; in bytes of files.
    Compress,
    /// Sending blobs; in bytes of the registry.
    Send,
}

/// Hears how far a push is: stage, done, total.
pub type Watch<'a> = dyn Fn(Stage, u64, u64) + Sync + 'a;

/// Where and how to push.
#[derive(Debug)]
pub struct PushOptions<'a> {
    /// The repository and, for a release without a container image, the tag.
    pub reference: &'a Reference,
    /// The container image that the release belongs to, in the same repository.
    pub subject: Option<&'a Reference>,
    /// How registries are spoken to.
    pub registry: &'a Options,
    /// A folder with room for the compressed contents.
    pub scratch: &'a Path,
    /// Threads that compress.
    pub threads: usize,
}

/// What was pushed, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Digest of the release's manifest.
    pub manifest_digest: Digest,
    /// Tags that name it.
    pub tags: Vec<String>,
    /// The container image that it refers to.
    pub subject: Option<Digest>,
    /// Bytes of all blobs.
    pub bytes: u64,
    /// Bytes that the registry did not have; the rest was there.
    pub sent: u64,
    /// Blobs, and how many of them were sent.
    pub blobs: (usize, usize),
}

/// A blob to push.
enum Bytes<'a> {
    Memory(&'a [u8]),
    File(&'a File),
}

/// Pushes a release.
///
/// The subject, if not given, is the image behind the reference; with neither the release is tagged
/// with the reference's own tag.
///
/// # Errors
/// A folder that is no release, and all of writing.
pub fn push(
    folder: &ReleaseFolder,
    options: &PushOptions<'_>,
    watch: &Watch<'_>,
) -> Result<Report, Error> {
    run(folder, options, watch, Purpose::Push)
}

/// Says what [`push`] would send and leave behind; asks the registry, and writes nothing there.
///
/// # Errors
/// As [`push`], but for those of writing.
pub fn rehearse(
    folder: &ReleaseFolder,
    options: &PushOptions<'_>,
    watch: &Watch<'_>,
) -> Result<Report, Error> {
    run(folder, options, watch, Purpose::Rehearse)
}

/// Finds out what can be refused before there is a release: whether the registry answers, and has the
/// subject that `options` name.
///
/// # Errors
/// As [`push`], but for those of the release and of writing.
pub fn check(options: &PushOptions<'_>) -> Result<(), Error> {
    let repository = Artifacts::open_for_push(options.reference, options.registry)?;
    subject(&repository, options).map(drop)
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Push,
    Rehearse,
}

fn run(
    folder: &ReleaseFolder,
    options: &PushOptions<'_>,
    watch: &Watch<'_>,
    purpose: Purpose,
) -> Result<Report, Error> {
    let repository = Artifacts::open_for_push(options.reference, options.registry)?;
    let subject = subject(&repository, options)?;
    let release = &folder.release;
    let scratch = tempfile::tempfile_in(options.scratch)
        .map_err(Error::io(format!("make a file in {}", options.scratch.display())))?;
    let packed = pack(folder.open_root()?, release, scratch, options.threads, watch)?;

    let config = release.to_json()?;
    let mut layers = vec![
        descriptor(contents::MEDIA_TYPE, packed.contents_digest, packed.contents_length),
        descriptor(table::MEDIA_TYPE, Digest::of(&packed.table), packed.table.len() as u64),
        descriptor(blocks::MEDIA_TYPE, Digest::of(&packed.blocks), packed.blocks.len() as u64),
    ];
    let index = &packed.table[..packed.index_length as usize];
    layers[1].annotations.extend([
        (INDEX_LENGTH.to_owned(), packed.index_length.to_string()),
        (INDEX_DIGEST.to_owned(), Digest::of(index).to_string()),
    ]);
    let mut blobs: Vec<(Digest, u64, Bytes<'_>)> = vec![
        (Digest::of(config.as_bytes()), config.len() as u64, Bytes::Memory(config.as_bytes())),
        (packed.contents_digest, packed.contents_length, Bytes::File(&packed.contents)),
        (layers[1].digest, layers[1].size, Bytes::Memory(&packed.table)),
        (layers[2].digest, layers[2].size, Bytes::Memory(&packed.blocks)),
    ];
    let mut recipes = Vec::new();
    for (mode, file) in &folder.boot_files {
        let (recipe, sections) = boot::split(file)?;
        recipes.push((mode, recipe.encode(), sections));
    }
    for (mode, recipe, sections) in &recipes {
        add_boot_file(mode, recipe, sections, &mut layers, &mut blobs);
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: MEDIA_TYPE.to_owned(),
        artifact_type: ARTIFACT_TYPE.to_owned(),
        config: descriptor(CONFIG_MEDIA_TYPE, blobs[0].0, blobs[0].1),
        layers,
        subject: subject.clone(),
        annotations: Manifest::annotations_of(release),
    };
    manifest.layers()?;
    let document = serde_json::to_vec(&manifest)
        .map_err(|error| Error::malformed("manifest", error.to_string()))?;
    let manifest_digest = Digest::of(&document);
    let tags = match &subject {
        Some(subject) => vec![tag_of(subject.digest)],
        None => options.reference.tag.iter().cloned().collect(),
    };
    let bytes = blobs.iter().map(|(_, size, _)| size).sum();
    let (sent, count) = match purpose {
        Purpose::Push => {
            let sent = send(&repository, &blobs, watch)?;
            publish(&repository, &manifest, &document, &tags)?;
            sent
        }
        Purpose::Rehearse => missing(&repository, &blobs)?,
    };
    let subject = subject.map(|subject| subject.digest);
    Ok(Report { manifest_digest, tags, subject, bytes, sent, blobs: (blobs.len(), count) })
}

/// Bytes and number of the blobs that the registry does not have.
fn missing(
    repository: &Artifacts,
    blobs: &[(Digest, u64, Bytes<'_>)],
) -> Result<(u64, usize), Error> {
    let (mut bytes, mut count) = (0, 0);
    for (digest, size, _) in blobs {
        if !repository.has_blob(*digest)? {
            bytes += size;
            count += 1;
        }
    }
    Ok((bytes, count))
}

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    let annotations = Default::default();
    Descriptor { media_type: media_type.to_owned(), digest, size, annotations }
}

fn add_boot_file<'a>(
    mode: &str,
    recipe: &'a [u8],
    sections: &Sections<'a>,
    layers: &mut Vec<Descriptor>,
    blobs: &mut Vec<(Digest, u64, Bytes<'a>)>,
) {
    let mut layer = descriptor(boot::format::MEDIA_TYPE, Digest::of(recipe), recipe.len() as u64);
    layer.annotations.insert(MODE.to_owned(), mode.to_owned());
    blobs.push((layer.digest, layer.size, Bytes::Memory(recipe)));
    layers.push(layer);
    for (digest, bytes) in sections {
        let digest = Digest::from_bytes(*digest);
        // The boot files of a release share most of their sections.
        if blobs.iter().any(|(known, ..)| *known == digest) {
            continue;
        }
        let size = bytes.len() as u64;
        layers.push(descriptor(boot::format::SECTION_MEDIA_TYPE, digest, size));
        blobs.push((digest, size, Bytes::Memory(bytes)));
    }
}

/// The image that the release is to stand beside.
fn subject(repository: &Artifacts, options: &PushOptions<'_>) -> Result<Option<Descriptor>, Error> {
    let wanted = options.subject.unwrap_or(options.reference);
    if wanted.name() != options.reference.name() {
        return Err(Error::NotARelease {
            reference: wanted.to_string(),
            reason: format!("a subject must be in the repository {}", options.reference.name()),
        });
    }
    let document = match repository.document(&wanted.version()) {
        Ok(document) => document,
        Err(kiln_registry::Error::Status { status: 404, .. }) if options.subject.is_none() => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    // A release without an image is pushed again under its own tag.
    if artifact_type(&document.bytes).as_deref() == Some(ARTIFACT_TYPE) {
        return Ok(None);
    }
    let media_type = match document.media_type.as_str() {
        "" => MEDIA_TYPE,
        media_type => media_type,
    };
    Ok(Some(descriptor(media_type, document.digest, document.bytes.len() as u64)))
}

fn send(
    repository: &Artifacts,
    blobs: &[(Digest, u64, Bytes<'_>)],
    watch: &Watch<'_>,
) -> Result<(u64, usize), Error> {
    let total: u64 = blobs.iter().map(|(_, size, _)| size).sum();
    let (mut done, mut sent, mut count) = (0, 0, 0);
    for (digest, size, bytes) in blobs {
        watch(Stage::Send, done, total);
        let open = |start: u64| -> std::io::Result<Box<dyn Read>> {
            match bytes {
                Bytes::Memory(bytes) => {
                    let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
                    Ok(Box::new(std::io::Cursor::new(bytes[start..].to_vec())))
                }
                Bytes::File(file) => {
                    let mut file = file.try_clone()?;
                    file.seek(SeekFrom::Start(start))?;
                    Ok(Box::new(file))
                }
            }
        };
        let mut heard = |position| watch(Stage::Send, done + position, total);
        if repository.push_blob(*digest, *size, &open, None, &mut heard)? == Pushed::Sent {
            sent += size;
            count += 1;
        }
        done += size;
    }
    watch(Stage::Send, done, total);
    Ok((sent, count))
}

/// Puts the manifest, and the tags by which it is found where there is no referrers API.
fn publish(
    repository: &Artifacts,
    manifest: &Manifest,
    bytes: &[u8],
    tags: &[String],
) -> Result<(), Error> {
    let digest = Digest::of(bytes);
    let is_listed = repository.push_manifest(&digest.to_string(), MEDIA_TYPE, bytes)?;
    if let Some(subject) = manifest.subject.as_ref().filter(|_| !is_listed) {
        let referrer = Referrer {
            media_type: MEDIA_TYPE.to_owned(),
            digest,
            size: bytes.len() as u64,
            artifact_type: Some(ARTIFACT_TYPE.to_owned()),
            annotations: manifest.annotations.clone(),
        };
        repository.add_referrer(subject.digest, &referrer)?;
    }
    for tag in tags {
        repository.push_manifest(tag, MEDIA_TYPE, bytes)?;
    }
    Ok(())
}

/// The tag of the release of an image, for registries and copying tools without referrers.
#[must_use]
pub fn tag_of(subject: Digest) -> String {
    format!("sha256-{}.kiln", subject.hex())
}

/// What both ends check: that `release` and the folder's or registry's root are one.
pub(crate) fn check_tree(release: &Release, digest: &[u8; 32]) -> Result<(), Error> {
    let actual = crate::contents::hex(digest);
    if actual == release.tree_digest {
        return Ok(());
    }
    let expected = release.tree_digest.clone();
    Err(Error::Digest { what: "the release's tree".to_owned(), expected, actual })
}
