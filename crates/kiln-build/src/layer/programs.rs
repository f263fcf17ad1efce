//! Programs that users of other systems call in documents: links to Kiln, which knows by which name it
//! was called.
//!
//! What the image brings itself under such a name stays: it was put there by somebody, and Kiln never
//! changes what an image says. The build tells of it, because the original works on disks of another
//! layout than a machine of Kiln's has.

use kiln_tree::Kind;

use super::{Editor, LayerReport};
use crate::Error;

/// Names of programs of other systems that Kiln answers to.
pub const LEGACY_PROGRAMS: [&str; 7] =
    ["cos-deploy", "cos-installer", "cos-reset", "cos-setup", "cos-upgrade", "elemental", "yip"];

/// Where the links are.
const FOLDER: &str = "usr/bin";
/// Folders in which an image may have them itself.
const FOLDERS: [&str; 5] = [FOLDER, "usr/sbin", "usr/local/bin", "usr/local/sbin", "bin"];
/// What the links lead to, from where they are.
const TARGET: &[u8] = b"kiln";

/// Adds a link for each program that the image does not have.
pub(super) fn add_programs(editor: &mut Editor<'_>, report: &mut LayerReport) -> Result<(), Error> {
    for name in LEGACY_PROGRAMS {
        match FOLDERS.iter().find(|folder| has(editor, folder, name)) {
            Some(folder) => report.notes.push(format!(
                "/{folder}/{name} stays the image's own: calls of it do not reach Kiln, and what it \
                 does to disks is not meant for them"
            )),
            None => editor.symlink(format!("{FOLDER}/{name}").as_bytes(), TARGET)?,
        }
    }
    Ok(())
}

/// Whether the image itself has a program there. A link of an earlier build of Kiln's is none.
fn has(editor: &Editor<'_>, folder: &str, name: &str) -> bool {
    let found = editor.tree.resolve(folder.as_bytes()).and_then(|id| {
        let Kind::Directory(children) = &editor.tree.node(id).kind else { return None };
        children.get(name.as_bytes()).copied()
    });
    let is_ours = |id| matches!(&editor.tree.node(id).kind, Kind::Symlink(to) if to == TARGET);
    found.is_some_and(|id| !is_ours(id))
}

#[cfg(test)]
mod tests {
    use kiln_tree::{MemoryStore, Tree};

    use super::*;

    fn links(editor: &Editor<'_>) -> Vec<String> {
        let names = editor.names(FOLDER.as_bytes()).into_iter();
        names.map(|name| String::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn programs_are_linked_unless_the_image_has_them() {
        let (mut tree, mut store) = (Tree::new(), MemoryStore::default());
        let mut editor = Editor::new(&mut tree, &mut store);
        editor.file(b"usr/bin/kiln", 0o755, b"kiln").unwrap();
        editor.file(b"usr/sbin/elemental", 0o755, b"original").unwrap();
        editor.symlink(b"usr/local/bin/yip", b"/opt/yip").unwrap();
        let mut report = LayerReport::default();
        add_programs(&mut editor, &mut report).unwrap();
        let expected =
            ["cos-deploy", "cos-installer", "cos-reset", "cos-setup", "cos-upgrade", "kiln"];
        assert_eq!(links(&editor), expected);
        assert_eq!(editor.read(b"usr/bin/cos-deploy").unwrap().unwrap().0, b"kiln");
        assert_eq!(report.notes.len(), 2, "{:?}", report.notes);
        assert!(report.notes[0].starts_with("/usr/sbin/elemental stays the image's own"));
        // A root of Kiln's is built from once more: its links are no programs of the image.
        let mut again = LayerReport::default();
        add_programs(&mut editor, &mut again).unwrap();
        assert_eq!((links(&editor).len(), again.notes), (6, report.notes));
    }
}
