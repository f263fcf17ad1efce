//! The image's word on whether changes of `/etc` are kept, checked while somebody looks.
//!
//! A machine refuses to start a system whose word it does not know, and falls back; the build can say so
//! with file and line. The rule is the machine's own (`kiln_etc`), so that both always agree. It is only
//! looked at: a word that the build put right would not be the one in the Containerfile.

use kiln_etc::EtcMode;
use kiln_etc::mode::PATH;
use kiln_tree::Kind;

use super::Editor;
use crate::Error;

/// Refuses an image whose word no machine would take.
pub(super) fn check(editor: &Editor<'_>) -> Result<(), Error> {
    let Some(id) = editor.tree.lookup(PATH.as_bytes()) else { return Ok(()) };
    let refuse = |line, reason| {
        let remedy = "write `persistent` or `ephemeral` into it, or leave the file out, which means \
                      `persistent`; see docs/etc.md";
        Err(Error::Setting { path: PATH, line, reason, remedy })
    };
    // The machine does not follow a link here.
    let Kind::File(content) = editor.tree.node(id).kind else {
        return refuse(1, "this is no regular file".to_owned());
    };
    let text = editor.store.read(content).map_err(Error::Contents)?;
    match EtcMode::of_text(&text) {
        Ok(_) => Ok(()),
        Err(wrong) => {
            // It may hold anything; a terminal would obey some of it.
            let value = wrong.value.escape_debug();
            refuse(wrong.line, format!("`{value}` is neither `persistent` nor `ephemeral`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_tree::{MemoryStore, Tree};

    use super::*;

    #[test]
    fn a_word_that_no_machine_takes_is_refused_with_its_line() {
        let (mut tree, mut store) = (Tree::new(), MemoryStore::default());
        let mut editor = Editor::new(&mut tree, &mut store);
        check(&editor).unwrap();
        for (text, expected) in [
            (&b"ephemeral\n"[..], None),
            (b" persistent", None),
            (b"ephemral\n", Some("usr/lib/kiln/etc-mode:1: `ephemral` is neither")),
            (b"\nephemeral\n\x1b[2J\n", Some("etc-mode:3: `\\u{1b}[2J` is neither")),
            (b"", Some("etc-mode:1: `` is neither")),
        ] {
            editor.file(PATH.as_bytes(), 0o644, text).unwrap();
            let error = check(&editor).err();
            let said = error.as_ref().map(ToString::to_string);
            match expected {
                None => assert_eq!(said, None),
                Some(expected) => {
                    assert!(said.as_ref().is_some_and(|said| said.contains(expected)), "{said:?}");
                    assert!(error.unwrap().hint().unwrap().contains("docs/etc.md"));
                }
            }
        }
        editor.remove(PATH.as_bytes());
        editor.file(b"usr/lib/kiln/word", 0o644, b"ephemeral\n").unwrap();
        editor.symlink(PATH.as_bytes(), b"word").unwrap();
        assert!(check(&editor).unwrap_err().to_string().contains("no regular file"));
    }
}
