//! From a source to a tree: which reader each kind of source gets.
//!
//! Container images are merged layer by layer, topmost first; folders and tar files are one layer.
//! An image that holds nothing but `/os.tar` is one of KubeOS: the tar inside it is the tree.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use kiln_registry::{Image, Options, Source};
use kiln_tree::{ContentStore, LayerMerge, Tree, lone_os_tar, read_directory};

use crate::watch::{CountFiles, Shared};
use crate::{Error, Progress, ReadOptions, Step, Unit};

/// Layers downloaded at once: registries serve one connection slowly and many reluctantly.
const CONNECTIONS: usize = 4;

/// Bytes read from a tar file at once; large enough that system calls do not show.
const READ_AHEAD: usize = 1 << 20;

/// A tree with what its source tells about it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) tree: Tree,
    /// The architecture in OCI's words; the asked one where the source states none.
    pub(crate) architecture: String,
    /// When the image was created, RFC 3339.
    pub(crate) created: Option<String>,
    /// Digest of the image manifest with its algorithm, for container images.
    pub(crate) manifest_digest: Option<String>,
    /// A name derived from the source's own, for releases that have no other.
    pub(crate) name: String,
}

/// Reads a source without building anything: its tree, while contents go to `store`.
///
/// # Errors
/// The source cannot be opened, or what it holds makes no tree.
pub fn load_tree(
    source: &Source,
    options: &ReadOptions,
    store: &mut dyn ContentStore,
    progress: &mut dyn Progress,
) -> Result<Tree, Error> {
    load(source, options, store, progress).map(|loaded| loaded.tree)
}

/// Reads the source; contents go to `store`.
pub(crate) fn load(
    source: &Source,
    options: &ReadOptions,
    store: &mut dyn ContentStore,
    progress: &mut dyn Progress,
) -> Result<Loaded, Error> {
    let image = match source {
        Source::Directory(_) | Source::Tar(_) => None,
        _ => Some(kiln_registry::open(source, &options.registry)?),
    };
    if let (Some(image), Source::Registry(_) | Source::ShortName(_)) = (&image, source) {
        progress.step(Step::Fetch);
        fetch(image, progress)?;
    }
    progress.step(Step::Read);
    progress.expect(Unit::Files, None);
    let progress = Shared::new(progress);
    let store = &mut CountFiles::new(store, &progress);
    let mut loaded = match (source, image) {
        (Source::Directory(path), _) => {
            plain(read_directory(path, store, options.limits)?, &options.registry, path)
        }
        (Source::Tar(path), _) => plain(load_tar(path, options, store)?, &options.registry, path),
        (_, Some(image)) => load_image(&image, options, store, &progress)?,
        (_, None) => {
            return Err(kiln_registry::Error::NotAnImage { given: source.to_string() }.into());
        }
    };
    if let Some(content) = lone_os_tar(&loaded.tree) {
        progress.detail("the image holds only /os.tar, which is the tree");
        let open = store.opener(content).map_err(Error::Contents)?;
        let mut merge = LayerMerge::new(store, options.limits);
        merge.layer("/os.tar", &mut || {
            let archive = BufReader::with_capacity(READ_AHEAD, open());
            Ok(Box::new(archive) as Box<dyn Read>)
        })?;
        loaded.tree = merge.finish()?;
    }
    Ok(loaded)
}

/// Brings all layers here. Whole layers count, because only the connection knows more.
fn fetch(image: &Image, progress: &mut dyn Progress) -> Result<(), Error> {
    let total = image.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
    progress.expect(Unit::Bytes, Some(total));
    let next = AtomicUsize::new(0);
    let (report, reports) = channel();
    let work = |report: Sender<Result<u64, kiln_registry::Error>>| {
        while let Some(layer) = image.layers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut alone = image.clone();
            alone.layers = vec![layer.clone()];
            // After a failure nobody listens any more, and the other downloads end with their layer.
            if report.send(alone.fetch(1).map(|()| layer.size)).is_err() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS.min(image.layers.len()) {
            let report = report.clone();
            scope.spawn(|| work(report));
        }
        drop(report);
        let mut done = 0_u64;
        for size in reports {
            done = done.saturating_add(size?);
            progress.advance(done);
        }
        Ok(())
    })
}

fn load_tar(
    path: &Path,
    options: &ReadOptions,
    store: &mut dyn ContentStore,
) -> Result<Tree, Error> {
    // Opened here once, so that a missing file is not told as the trouble of a layer.
    File::open(path).map_err(|source| Error::OpenArchive { path: path.to_owned(), source })?;
    let mut merge = LayerMerge::new(store, options.limits);
    merge.layer(&path.display().to_string(), &mut || {
        let file = File::open(path)?;
        Ok(Box::new(BufReader::with_capacity(READ_AHEAD, file)) as Box<dyn Read>)
    })?;
    Ok(merge.finish()?)
}

fn load_image(
    image: &Image,
    options: &ReadOptions,
    store: &mut dyn ContentStore,
    progress: &Shared<'_>,
) -> Result<Loaded, Error> {
    progress.detail(&format!("image {}", image.manifest_digest));
    let mut merge = LayerMerge::new(store, options.limits);
    for (index, layer) in image.layers.iter().enumerate().rev() {
        progress.detail(&format!("layer {} of {}", index + 1, image.layers.len()));
        merge.layer(&layer.digest.to_string(), &mut || {
            let reader = image.open_layer(index).map_err(std::io::Error::other)?;
            Ok(reader as Box<dyn Read>)
        })?;
    }
    Ok(Loaded {
        tree: merge.finish()?,
        architecture: image.config.architecture.clone(),
        created: image.config.created.clone(),
        manifest_digest: Some(image.manifest_digest.to_string()),
        name: image
            .reference
            .as_deref()
            .and_then(name_of_reference)
            .unwrap_or_else(|| "system".to_owned()),
    })
}

fn plain(tree: Tree, options: &Options, path: &Path) -> Loaded {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or("system").to_owned();
    Loaded {
        tree,
        architecture: options.platform.architecture.clone(),
        created: None,
        manifest_digest: None,
        name,
    }
}

/// The last part of a repository name: `registry.example/team/edge:13` gives `edge`.
fn name_of_reference(reference: &str) -> Option<String> {
    let repository = reference.split('@').next()?;
    let last = repository.rsplit('/').next()?;
    let name = last.split(':').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::name_of_reference;

    #[test]
    fn references_give_names() {
        let cases = [
            ("registry.example:5000/team/edge:13", Some("edge")),
            ("edge@sha256:00", Some("edge")),
            ("edge", Some("edge")),
            (":13", None),
        ];
        for (reference, expected) in cases {
            assert_eq!(name_of_reference(reference).as_deref(), expected, "{reference}");
        }
    }
}
