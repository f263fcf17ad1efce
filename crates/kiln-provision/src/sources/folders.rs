//! Documents in folders.
//!
//! A folder is walked in lexical order, as Elemental's users expect, and only files whose names end in
//! what a dialect uses are taken; editors' left-overs and README files are not. Links are followed
//! inside the root, as for every other file of a machine.

use super::{Document, MAXIMUM_DOCUMENTS, Place};
use crate::root::Kind;
use crate::{Error, Root};

/// Ends of names that are taken.
const ENDS: [&str; 5] = [".yaml", ".yml", ".ign", ".json", ".bu"];
/// Levels of folders that are walked.
const MAXIMUM_DEPTH: usize = 8;

/// All documents below a folder of a root, in lexical order of their paths.
///
/// # Errors
/// A file cannot be read or is too large, or there are more than [`MAXIMUM_DOCUMENTS`].
pub fn folder(root: &Root, path: &str, place: Place) -> Result<Vec<Document>, Error> {
    let mut documents = Vec::new();
    walk(root, path.trim_end_matches('/'), place, 0, &mut documents)?;
    Ok(documents)
}

fn walk(
    root: &Root,
    path: &str,
    place: Place,
    depth: usize,
    documents: &mut Vec<Document>,
) -> Result<(), Error> {
    for name in root.list(path)? {
        let inner = format!("{path}/{name}");
        match root.target(&inner)?.map(|status| status.kind) {
            Some(Kind::Folder) if depth < MAXIMUM_DEPTH => {
                walk(root, &inner, place, depth + 1, documents)?
            }
            Some(Kind::File) if is_document(&name) => {
                if documents.len() >= MAXIMUM_DOCUMENTS {
                    let reason = "the folder holds more documents than a configuration has";
                    return Err(Error::Path { path: path.to_owned(), reason });
                }
                let limit = kiln_config::source::MAXIMUM_BYTES as u64;
                if let Some(bytes) = root.read(&inner, limit)? {
                    documents.push(Document { name: inner, bytes, place });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_document(name: &str) -> bool {
    let lower = name.to_lowercase();
    !name.starts_with('.') && ENDS.iter().any(|end| lower.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::folder;
    use crate::Root;
    use crate::sources::Place;

    #[test]
    fn a_folder_is_walked_in_order_and_only_documents_count() {
        let place = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for path in
            ["oem/b.yaml", "oem/a/z.YML", "oem/README", "oem/.swp.yaml", "oem/c.ign", "oem/d.yaml~"]
        {
            write(path, path);
        }
        std::os::unix::fs::symlink("/oem/b.yaml", place.path().join("oem/link.yaml")).unwrap();
        std::os::unix::fs::symlink("../../../etc/passwd", place.path().join("oem/out.yaml"))
            .unwrap();
        std::os::unix::fs::symlink("/oem", place.path().join("oem/a/loop")).unwrap();
        let root = Root::open(place.path()).unwrap();
        let found = folder(&root, "/oem/", Place::OwnDisk).unwrap();
        let names: Vec<_> = found.iter().map(|document| document.name.as_str()).collect();
        assert_eq!(&names[names.len() - 3..], ["/oem/b.yaml", "/oem/c.ign", "/oem/link.yaml"]);
        assert!(names.iter().all(|name| name.starts_with("/oem/")), "{names:?}");
        assert_eq!(found.last().unwrap().bytes, b"oem/b.yaml");
        assert!(folder(&root, "/absent", Place::OwnDisk).unwrap().is_empty());
    }
}
