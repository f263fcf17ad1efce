//! From a source to a tree: which reader each kind of source gets.
//!
//! Container images are merged layer by layer, topmost first; folders and tar files are one layer.
//! An image that holds nothing but `/os.tar` is one of KubeOS: the tar inside it is the tree.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use kiln_registry::{Options, Source};
use kiln_tree::{ContentStore, LayerMerge, Limits, Tree, lone_os_tar, read_directory};

use crate::{Error, Progress};

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
    options: &Options,
    store: &mut dyn ContentStore,
    progress: &mut dyn Progress,
) -> Result<Tree, Error> {
    load(source, options, store, progress).map(|loaded| loaded.tree)
}

/// Reads the source; contents go to `store`.
pub(crate) fn load(
    source: &Source,
    options: &Options,
    store: &mut dyn ContentStore,
    progress: &mut dyn Progress,
) -> Result<Loaded, Error> {
    let mut loaded = match source {
        Source::Directory(path) => {
            let tree = read_directory(path, store, Limits::default())?;
            plain(tree, options, path)
        }
        Source::Tar(path) => {
            let mut merge = LayerMerge::new(store, Limits::default());
            merge.layer(&path.display().to_string(), &mut || {
                let file = File::open(path)?;
                Ok(Box::new(BufReader::with_capacity(READ_AHEAD, file)) as Box<dyn Read>)
            })?;
            plain(merge.finish()?, options, path)
        }
        _ => load_image(source, options, store, progress)?,
    };
    if let Some(content) = lone_os_tar(&loaded.tree) {
        progress.detail("the image holds only /os.tar, which is the tree");
        let inner = store.read(content).map_err(Error::Contents)?;
        let mut merge = LayerMerge::new(store, Limits::default());
        merge.layer("/os.tar", &mut || Ok(Box::new(inner.as_slice()) as Box<dyn Read>))?;
        loaded.tree = merge.finish()?;
    }
    Ok(loaded)
}

fn load_image(
    source: &Source,
    options: &Options,
    store: &mut dyn ContentStore,
    progress: &mut dyn Progress,
) -> Result<Loaded, Error> {
    let image = kiln_registry::open(source, options)?;
    progress.detail(&format!("image {}", image.manifest_digest));
    let mut merge = LayerMerge::new(store, Limits::default());
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
