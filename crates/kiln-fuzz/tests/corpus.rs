//! Replays every file of `fuzz/corpus/` through its target, so that what fuzzing once found stays
//! found on every run of the tests, without a fuzzer.

#![expect(clippy::unwrap_used, reason = "a failing helper must fail its test")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use kiln_fuzz::TARGETS;

/// Fewer inputs than this make no corpus.
const FEWEST: usize = 5;
/// Bytes of all inputs together: they live in the repository.
const MOST_BYTES: usize = 2 << 20;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// Names in a folder without their endings, sorted.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn corpus_replays() {
    let (mut total, mut failed) = (0, Vec::new());
    for (name, target) in TARGETS {
        let (mut count, mut accepted) = (0, 0);
        for entry in fs::read_dir(folder().join("corpus").join(name)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            (count, total) = (count + 1, total + bytes.len());
            match catch_unwind(|| target(&bytes)) {
                Ok(one) => accepted += usize::from(one),
                Err(_) => failed.push(path),
            }
        }
        assert!(count >= FEWEST, "{name} has {count} inputs, fewer than {FEWEST}");
        println!("{name}: {accepted} of {count} inputs accepted");
        assert!(accepted > 0, "no input of {name} is accepted");
    }
    assert!(failed.is_empty(), "targets fail on {failed:?}");
    assert!(total <= MOST_BYTES, "the corpus has {total} bytes, more than {MOST_BYTES}");
}

#[test]
fn every_target_has_a_corpus_and_a_program() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert!(TARGETS.is_sorted() && targets.len() == TARGETS.len());
    assert_eq!(names(&folder().join("corpus")), targets);
    assert_eq!(names(&folder().join("fuzz_targets")), targets);
}
