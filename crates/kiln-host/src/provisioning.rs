//! Why the configuration of this machine failed last, for those who log in to repair it.
//!
//! Two places tell it: what this boot left below `/run`, and the newest generation of configuration in
//! the state, which outlives the boot and is there in recovery as well. Whoever carries the documents
//! out writes both and clears them; here they are only read, and what is in them is hostile: documents
//! name paths and programs as they like, and a terminal would obey some of them.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::machine::Paths;

/// What to do about it, as one says it everywhere.
pub const HINT: &str =
    "`kiln explain` shows what was asked for; repair the documents in /oem and restart";

/// Longest reason in bytes that is read: a sentence, and a screen of what a program said.
const MAXIMUM_REASON: u64 = 4096;
/// Folder of the state with one folder for each generation of configuration.
const GENERATIONS: &str = "config";
/// The reason in such a folder.
const FAILURE: &str = "failure";
/// Folders that are looked at; a machine has a handful.
const MAXIMUM_FOLDERS: usize = 4096;

/// The reason, in one line; `None` if nothing failed, or if nobody may read it.
#[must_use]
pub fn last_failure(paths: &Paths) -> Option<String> {
    let kept = newest(&paths.state.join(GENERATIONS)).map(|folder| folder.join(FAILURE));
    [Some(paths.provisioning_failure.clone()), kept]
        .into_iter()
        .flatten()
        .find_map(|path| read(&path))
}

/// The folder with the highest number.
fn newest(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten().take(MAXIMUM_FOLDERS);
    let numbered = entries.filter_map(|entry| {
        let number: u64 = entry.file_name().to_str()?.parse().ok()?;
        Some((number, entry.path()))
    });
    numbered.max().map(|(_, path)| path)
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAXIMUM_REASON).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let plain: String =
        text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    (!plain.is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_boot_comes_before_the_newest_generation() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::below(folder.path());
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(last_failure(&paths), None);
        write("state/config/00000001/failure", "old\n");
        write("state/config/00000009/failure", "a \x1b[2J\nb\n");
        write("state/config/notes/failure", "z\n");
        assert_eq!(last_failure(&paths).as_deref(), Some("a  [2J b"));
        write("state/config/00000010/done", "");
        assert_eq!(last_failure(&paths), None, "the newest has none");
        write("run/kiln/provisioning-failure", "");
        assert_eq!(last_failure(&paths), None);
        write("run/kiln/provisioning-failure", &"x".repeat(10_000));
        assert_eq!(last_failure(&paths).map(|reason| reason.len()), Some(4096));
    }
}
