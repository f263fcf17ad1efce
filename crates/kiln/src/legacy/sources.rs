//! Documents as other programs name them, as files: addresses are fetched, folders listed, texts
//! written down. The folder that holds them is private and goes with the call.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_config::action::Remote;
use kiln_config::source::MAXIMUM_BYTES;
use kiln_provision::{Fetch as _, Web};
use kiln_registry::Options;
use tempfile::TempDir;

use super::translation::Translation;
use crate::render::Failure;

/// The option of `kiln install` that has a document behind it.
const CONFIG: &str = "--config";
/// Levels of folders that are listed.
const MAXIMUM_DEPTH: usize = 16;
/// Documents of one call at most.
const MAXIMUM_FILES: usize = 1024;

/// Puts files in the place of all documents of a call. What is returned holds them.
pub(super) fn bring(call: &mut Translation) -> Result<Option<TempDir>, Failure> {
    let mut held = None;
    let documents = std::mem::take(&mut call.documents);
    let words = std::mem::take(&mut call.arguments);
    for (at, word) in words.into_iter().enumerate() {
        if documents.contains(&at) {
            // An option has one value each time.
            let is_value = call.arguments.last().is_some_and(|last| last == CONFIG);
            for (number, file) in files(word, at, &mut held)?.into_iter().enumerate() {
                if is_value && number > 0 {
                    call.arguments.push(CONFIG.into());
                }
                call.arguments.push(file);
            }
        } else {
            call.arguments.push(word);
        }
    }
    Ok(held)
}

fn files(word: OsString, at: usize, held: &mut Option<TempDir>) -> Result<Vec<OsString>, Failure> {
    let text = word.to_string_lossy();
    let content = match kind(&text) {
        Kind::Address => {
            let remote = Remote { url: text.clone().into_owned(), ..Remote::default() };
            let mut web = Web::new(Options::from_environment().network);
            web.get(&remote, MAXIMUM_BYTES as u64)?
        }
        Kind::Text => text.as_bytes().to_vec(),
        Kind::Path => {
            let path = Path::new(&word);
            if !path.is_dir() {
                return Ok(vec![word]);
            }
            let mut found = Vec::new();
            list(path, MAXIMUM_DEPTH, &mut found)?;
            if found.is_empty() {
                return Err(Failure::new(
                    format!("{} has no documents", path.display()),
                    "documents end with .yaml or .yml",
                ));
            }
            return Ok(found.into_iter().map(PathBuf::into_os_string).collect());
        }
    };
    let failed = |error| Failure::system("cannot write a document down", error);
    let folder = match held {
        Some(folder) => folder,
        None => held.insert(tempfile::tempdir().map_err(failed)?),
    };
    let path = folder.path().join(format!("{at:02}-{}", name(&text)));
    fs::write(&path, content).map_err(failed)?;
    Ok(vec![path.into_os_string()])
}

/// What a word is.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Address,
    Text,
    Path,
}

fn kind(word: &str) -> Kind {
    if word.starts_with("http://") || word.starts_with("https://") {
        Kind::Address
    } else if word.contains('\n') || word.contains("stages:") {
        Kind::Text
    } else {
        Kind::Path
    }
}

/// The last name of an address, without what a path cannot have.
fn name(word: &str) -> String {
    let address = word.split(['?', '#']).next().unwrap_or_default();
    let last = address.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || "._-".contains(*letter);
    let name: String = last.chars().filter(is_plain).take(64).collect();
    if name.is_empty() || word.contains('\n') { "document.yaml".to_owned() } else { name }
}

/// The documents of a folder, sorted by their paths.
fn list(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed = |error| Failure::system(format!("cannot read {}", folder.display()), error);
    let entries: Result<Vec<_>, _> = fs::read_dir(folder).map_err(failed)?.collect();
    let mut paths: Vec<PathBuf> =
        entries.map_err(failed)?.into_iter().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    for path in paths {
        let is_document = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if path.is_dir() {
            if depth > 0 {
                list(&path, depth - 1, found)?;
            }
        } else if is_document && found.len() < MAXIMUM_FILES {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_told_by_its_looks() {
        for (word, expected) in [
            ("https://a.example/x.yaml", Kind::Address),
            ("http://a.example", Kind::Address),
            ("/oem", Kind::Path),
            ("-", Kind::Path),
            ("stages: {x: []}", Kind::Text),
            ("name: x\nstages:\n", Kind::Text),
        ] {
            assert_eq!(kind(word), expected, "{word}");
        }
        for (word, expected) in [
            ("https://a.example/x.yaml?token=1", "x.yaml"),
            ("https://a.example/", "a.example"),
            ("https://a.example/%2e%2e", "2e2e"),
            ("a\nb", "document.yaml"),
        ] {
            assert_eq!(name(word), expected, "{word}");
        }
    }

    #[test]
    fn folders_and_texts_become_files_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["b/c.yml", "a.yaml", "z.txt", "d.yaml"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let mut call = Translation::default();
        call.add("stage");
        call.document(folder.path());
        call.document("stages: {}");
        call.add("--strict");
        let held = bring(&mut call).unwrap().unwrap();
        let names: Vec<String> = call
            .arguments
            .iter()
            .map(|word| word.to_string_lossy().replace(folder.path().to_str().unwrap(), ""))
            .map(|word| word.replace(held.path().to_str().unwrap(), "held"))
            .collect();
        let expected = ["stage", "/a.yaml", "/b/c.yml", "/d.yaml", "held/02-stages", "--strict"];
        assert_eq!(names, expected);
        let written = fs::read_to_string(&call.arguments[4]).unwrap();
        assert_eq!(written, "stages: {}");
    }
}
