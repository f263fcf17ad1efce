//! Documents that were handed over once are kept, because their stages run at every boot.
//!
//! A labelled volume, a hypervisor or a cloud counts only until the first success (DESIGN §6). What they
//! brought is the machine's own from then on, and lies beside the marks of its generation; a reset forgets
//! both. Until then, and for the stages of the running system, this boot's documents are shown in `/run`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::marks;
use crate::sources::{Document, Place};
use crate::stages::named_by_steps;

/// Folder beside the marks of a generation.
pub const FOLDER: &str = "documents";
/// Where `kiln stage` finds the documents that lie in no folder of the machine, from `/run/kiln`.
pub const SHOWN: &str = "configuration";
/// Only root reads them: they may hold secrets.
const MODE: u32 = 0o600;
/// Letters of a name that are kept, so that a path or an address is a plain file name.
const NAME_LENGTH: usize = 80;

/// Writes the documents that are `wanted` into `folder`, and nothing else stays there.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn write(
    folder: &Path,
    documents: &[Document],
    wanted: impl Fn(&Document) -> bool,
) -> Result<(), Error> {
    let chosen: Vec<&Document> = documents.iter().filter(|document| wanted(document)).collect();
    if chosen.is_empty() {
        return Ok(());
    }
    let beside = beside(folder);
    remove(&beside)?;
    fs::create_dir_all(&beside).map_err(marks("make", &beside))?;
    for (number, document) in chosen.into_iter().enumerate() {
        let path = beside.join(file_name(number, document));
        kiln_etc::file::replace(&path, &document.bytes, MODE)?;
    }
    remove(folder)?;
    // The commit point: all documents have their names, or none has.
    fs::rename(&beside, folder).map_err(marks("rename", &beside))?;
    match folder.parent() {
        Some(parent) => Ok(kiln_etc::file::sync_folder(parent)?),
        None => Ok(()),
    }
}

/// Whether a document is gone when its place is.
pub(super) fn is_fleeting(document: &Document) -> bool {
    document.place.is_handed_over()
}

/// Whether a running system would not find a document by itself (`stages::gather`).
pub(super) fn is_out_of_sight(document: &Document, command_line: &str) -> bool {
    match document.place {
        Place::Image => !document.name.starts_with("/system/oem/"),
        Place::OwnDisk => false,
        Place::CommandLine => {
            !named_by_steps(command_line).iter().any(|setup| setup.target == document.name)
        }
        _ => true,
    }
}

fn beside(folder: &Path) -> PathBuf {
    folder.with_extension("new")
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(marks("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Number, name and ending: the order stays, and readers tell dialects by the contents.
fn file_name(number: usize, document: &Document) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let name: String = document.name.chars().take(NAME_LENGTH).map(plain).collect();
    let ending = if document.bytes.trim_ascii_start().starts_with(b"{") { "ign" } else { "yaml" };
    format!("{number:03}-{name}.{ending}")
}

#[cfg(test)]
mod tests {
    use super::{is_fleeting, is_out_of_sight, write};
    use crate::Root;
    use crate::sources::{Document, Place, folder as read};

    #[test]
    fn what_was_handed_over_is_kept_in_its_order_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("documents");
        let document = |name: &str, bytes: &str, place| Document {
            name: name.to_owned(),
            bytes: bytes.as_bytes().to_vec(),
            place,
        };
        write(&folder, &[document("/oem/a.yaml", "a", Place::OwnDisk)], is_fleeting).unwrap();
        assert!(!folder.exists());
        for second in ["stages: {}", "{}"] {
            let all = [
                document("CIDATA:/user-data", "#cloud-config\n", Place::Volume),
                document("/oem/a.yaml", "a", Place::OwnDisk),
                document("fw_cfg:opt/kiln/config", second, Place::Hypervisor),
            ];
            write(&folder, &all, is_fleeting).unwrap();
            let root = Root::open(place.path()).unwrap();
            let found = read(&root, "/documents", Place::OwnDisk).unwrap();
            let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
            let ending = if second == "{}" { "ign" } else { "yaml" };
            let expected = [
                "/documents/000-CIDATA--user-data.yaml".to_owned(),
                format!("/documents/001-fw-cfg-opt-kiln-config.{ending}"),
            ];
            assert_eq!(names, expected);
            assert_eq!(found[1].bytes, second.as_bytes());
        }
    }

    #[test]
    fn what_a_running_system_finds_by_itself_is_not_shown_twice() {
        let line = "quiet cos.setup=https://example.com/a.yaml kiln.config=https://example.com/b";
        for (name, place, expected) in [
            ("/system/oem/a.yaml", Place::Image, false),
            ("/usr/lib/kiln/provision.d/a.yaml", Place::Image, true),
            ("/oem/a.yaml", Place::OwnDisk, false),
            ("ESP:/kiln/provision/a.yaml", Place::BootPartition, true),
            ("https://example.com/a.yaml", Place::CommandLine, false),
            ("https://example.com/b", Place::CommandLine, true),
            ("CIDATA:/user-data", Place::Volume, true),
        ] {
            let document = Document { name: name.into(), bytes: Vec::new(), place };
            assert_eq!(is_out_of_sight(&document, line), expected, "{name}");
        }
    }
}
