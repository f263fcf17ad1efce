//! What the registry holds: blobs as files, manifests and tags in memory.
//!
//! Blobs are files, because virtual machines pull whole systems through here. A blob is stored once
//! and belongs to the repositories that got it, so that cross-mounting can be told from pushing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use sha2::{Digest, Sha256};

/// A manifest or index as it was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Media type.
    pub media_type: String,
    /// The document.
    pub bytes: Vec<u8>,
}

/// Everything, behind one lock.
#[derive(Debug)]
pub(super) struct Storage {
    folder: tempfile::TempDir,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Blobs of each repository.
    blobs: BTreeMap<String, BTreeSet<String>>,
    manifests: BTreeMap<(String, String), Manifest>,
    tags: BTreeMap<String, BTreeMap<String, String>>,
    /// Open uploads: repository and bytes so far.
    uploads: BTreeMap<u64, (String, u64)>,
    started: u64,
}

/// `sha256:` and 64 digits.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Storage {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { folder: tempfile::tempdir()?, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of a blob, if the repository has it.
    pub(super) fn blob(&self, repository: &str, digest: &str) -> Option<PathBuf> {
        let has = self.state().blobs.get(repository).is_some_and(|blobs| blobs.contains(digest));
        has.then(|| self.folder.path().join(digest))
    }

    fn own(&self, repository: &str, digest: &str) {
        self.state().blobs.entry(repository.into()).or_default().insert(digest.into());
    }

    pub(super) fn add_blob(&self, repository: &str, source: &mut dyn Read) -> io::Result<String> {
        let upload = self.begin(repository);
        let mut file = self.upload_file(upload)?;
        let length = io::copy(source, &mut file)?;
        file.flush()?;
        self.grow(upload, length);
        let digest = file_digest(&self.upload_path(upload))?;
        self.finish(upload, &digest)?;
        Ok(digest)
    }

    pub(super) fn mount(&self, from: &str, repository: &str, digest: &str) -> bool {
        let has = self.blob(from, digest).is_some();
        if has {
            self.own(repository, digest);
        }
        has
    }

    pub(super) fn begin(&self, repository: &str) -> u64 {
        let mut state = self.state();
        state.started += 1;
        let number = state.started;
        state.uploads.insert(number, (repository.to_owned(), 0));
        number
    }

    fn upload_path(&self, upload: u64) -> PathBuf {
        self.folder.path().join(format!("upload-{upload}"))
    }

    pub(super) fn upload_file(&self, upload: u64) -> io::Result<File> {
        File::options().create(true).append(true).open(self.upload_path(upload))
    }

    /// Bytes of an open upload of this repository.
    pub(super) fn upload_length(&self, repository: &str, upload: u64) -> Option<u64> {
        let state = self.state();
        let (owner, length) = state.uploads.get(&upload)?;
        (owner == repository).then_some(*length)
    }

    pub(super) fn grow(&self, upload: u64, bytes: u64) {
        if let Some((_, length)) = self.state().uploads.get_mut(&upload) {
            *length += bytes;
        }
    }

    /// Makes an upload a blob; false if it has another digest, which ends the upload.
    pub(super) fn finish(&self, upload: u64, digest: &str) -> io::Result<bool> {
        let Some((repository, _)) = self.state().uploads.remove(&upload) else { return Ok(false) };
        let path = self.upload_path(upload);
        // An upload without any byte has no file yet.
        drop(self.upload_file(upload)?);
        if !is_digest(digest) || file_digest(&path)? != digest {
            fs::remove_file(&path)?;
            return Ok(false);
        }
        fs::rename(&path, self.folder.path().join(digest))?;
        self.own(&repository, digest);
        Ok(true)
    }

    /// Keeps a manifest unseen.
    pub(super) fn put_manifest(
        &self,
        repository: &str,
        version: &str,
        manifest: Manifest,
    ) -> String {
        let digest = digest_of(&manifest.bytes);
        let mut state = self.state();
        state.manifests.insert((repository.to_owned(), digest.clone()), manifest);
        if !is_digest(version) {
            let tags = state.tags.entry(repository.to_owned()).or_default();
            tags.insert(version.to_owned(), digest.clone());
        }
        digest
    }

    /// The digest and document behind a tag or digest.
    pub(super) fn manifest(&self, repository: &str, version: &str) -> Option<(String, Manifest)> {
        let state = self.state();
        let digest = if is_digest(version) {
            version.to_owned()
        } else {
            state.tags.get(repository)?.get(version)?.clone()
        };
        let found = state.manifests.get(&(repository.to_owned(), digest.clone()))?;
        Some((digest, found.clone()))
    }

    /// What a manifest names and the repository lacks.
    pub(super) fn missing(&self, repository: &str, document: &Value) -> Option<String> {
        let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
        let digest = |descriptor: &Value| descriptor["digest"].as_str().map(str::to_owned);
        let blobs = list("layers").into_iter().chain(document.get("config").cloned());
        let lacks_blob = |digest: &String| self.blob(repository, digest).is_none();
        let lacks_manifest = |digest: &String| self.manifest(repository, digest).is_none();
        blobs
            .filter_map(|descriptor| digest(&descriptor))
            .find(lacks_blob)
            .or_else(|| list("manifests").iter().filter_map(digest).find(lacks_manifest))
    }

    /// Descriptors of the manifests whose subject is `digest`.
    pub(super) fn referrers(&self, repository: &str, digest: &str) -> Vec<Value> {
        let state = self.state();
        let own = state.manifests.iter().filter(|((owner, _), _)| owner == repository);
        own.filter_map(|((_, own_digest), manifest)| {
            let document: Value = serde_json::from_slice(&manifest.bytes).ok()?;
            if document["subject"]["digest"].as_str()? != digest {
                return None;
            }
            let kind = document["artifactType"].as_str();
            let kind = kind.or_else(|| document["config"]["mediaType"].as_str());
            let mut descriptor = serde_json::json!({
                "mediaType": manifest.media_type,
                "digest": own_digest,
                "size": manifest.bytes.len(),
                "artifactType": kind,
            });
            if let Some(annotations) = document.get("annotations") {
                descriptor["annotations"] = annotations.clone();
            }
            Some(descriptor)
        })
        .collect()
    }

    /// `None` for a repository that nobody has put anything into.
    pub(super) fn tags(&self, repository: &str) -> Option<Vec<String>> {
        let state = self.state();
        let is_known = state.blobs.contains_key(repository)
            || state.manifests.keys().any(|(owner, _)| owner == repository);
        let tags = state.tags.get(repository).map(|tags| tags.keys().cloned().collect());
        is_known.then(|| tags.unwrap_or_default())
    }
}

fn file_digest(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("sha256:{:x}", hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}
