//! `/var` of the image, moved to the factory.
//!
//! A machine's `/var` is its own and outlives releases, so the image's copy cannot be it. It moves to
//! `/usr/share/factory/var`, and one tmpfiles line an entry (tmpfiles.d(5)) fills the real one at
//! every boot with what is missing there. What a machine changed is never overwritten. Package
//! databases describe the release and not the machine: they move to `/usr/lib/sysimage` and
//! `/var` points to them, so `dpkg -l` tells the truth after every upgrade and rollback.
//!
//! Dropped alternative: copying at the first boot only. A release that brings a new directory
//! below `/var` would then miss it on every machine that was installed earlier.

use kiln_tree::{Kind, Metadata};

use super::{Editor, LayerReport};
use crate::Error;

/// Where the image's `/var` goes.
const FACTORY: &[u8] = b"usr/share/factory/var";
/// The tmpfiles lines that fill the real `/var`.
const LINES: &[u8] = b"usr/lib/tmpfiles.d/kiln-var.conf";
/// Package databases below `/var/lib`, which become `/usr/lib/sysimage/<name>`.
const DATABASES: [&str; 4] = ["dpkg", "rpm", "pacman", "apk"];

/// Moves `/var` away and writes the lines that bring it back.
pub(super) fn move_to_factory(
    editor: &mut Editor<'_>,
    report: &mut LayerReport,
) -> Result<(), Error> {
    move_databases(editor, report)?;
    editor.directory(b"usr/share/factory", 0o755)?;
    if editor.exists(FACTORY) {
        for name in editor.names(b"var") {
            let to = [FACTORY, b"/", &name].concat();
            if editor.exists(&to) {
                return Err(Error::layer(&to, "the image has this already beside its /var"));
            }
            editor.tree.rename(&[b"var/", name.as_slice()].concat(), &to)?;
        }
        editor.remove(b"var");
    } else {
        editor.tree.rename(b"var", FACTORY)?;
    }
    editor.directory(b"var", 0o755)?;
    let lines = lines(editor);
    editor.directory(b"usr/lib/tmpfiles.d", 0o755)?;
    editor.file(LINES, 0o644, lines.as_bytes())
}

fn move_databases(editor: &mut Editor<'_>, report: &mut LayerReport) -> Result<(), Error> {
    for name in DATABASES {
        let from = format!("var/lib/{name}");
        let is_directory = editor
            .tree
            .lookup(from.as_bytes())
            .is_some_and(|id| matches!(editor.tree.node(id).kind, Kind::Directory(_)));
        let to = format!("usr/lib/sysimage/{name}");
        if is_directory && !editor.exists(to.as_bytes()) {
            editor.directory(b"usr/lib/sysimage", 0o755)?;
            editor.tree.rename(from.as_bytes(), to.as_bytes())?;
            editor.symlink(from.as_bytes(), format!("../../{to}").as_bytes())?;
            report.notes.push(format!("/{from} is now /{to}: it describes the release"));
        }
    }
    Ok(())
}

/// One line for every entry below the factory, parents first.
fn lines(editor: &Editor<'_>) -> String {
    let mut lines = String::from("# Fills /var from /usr/share/factory/var; see tmpfiles.d(5).\n");
    for (path, id) in editor.tree.walk() {
        let Some(name) = path.strip_prefix(FACTORY).and_then(|rest| rest.strip_prefix(b"/")) else {
            continue;
        };
        let node = editor.tree.node(id);
        if let Some(line) = line(name, &node.kind, &node.metadata) {
            lines.push_str(&line);
            lines.push('\n');
        }
    }
    lines
}

/// The tmpfiles line that makes one entry; sockets and pipes of a build are no content.
fn line(name: &[u8], kind: &Kind, metadata: &Metadata) -> Option<String> {
    let path = quote(&[b"/var/", name].concat());
    let Metadata { mode, uid, gid, .. } = metadata;
    match kind {
        Kind::Directory(_) => Some(format!("d {path} {mode:04o} {uid} {gid} -")),
        Kind::File(_) => Some(format!("C {path} {mode:04o} {uid} {gid} -")),
        // A link that Kiln made to a database must follow the release, hence `+`.
        Kind::Symlink(target) => {
            let replace = if target.starts_with(b"../../usr/lib/sysimage/") { "+" } else { "" };
            let target = String::from_utf8(target.clone()).ok()?.replace('%', "%%");
            (!target.contains('\n')).then(|| format!("L{replace} {path} - - - - {target}"))
        }
        _ => None,
    }
}

/// A path as one word of a tmpfiles line: specifiers doubled, everything unusual escaped.
fn quote(path: &[u8]) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@,=~".contains(&byte);
    if path.iter().copied().all(is_plain) {
        return path.iter().copied().map(char::from).collect();
    }
    let mut text = String::from("\"");
    for &byte in path {
        match byte {
            b'%' => text.push_str("%%"),
            _ if is_plain(byte) || byte == b' ' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::super::LayerReport;
    use super::super::edit::{Editor, owned};
    use super::{move_to_factory, quote};
    use kiln_tree::{Kind, MemoryStore, Tree};

    #[test]
    fn var_moves_and_every_entry_has_a_line() {
        let mut tree = Tree::new();
        let mut store = MemoryStore::default();
        let mut editor = Editor::new(&mut tree, &mut store);
        editor.directory(b"usr/lib", 0o755).unwrap();
        editor.directory(b"var/lib/dpkg/info", 0o755).unwrap();
        editor.file(b"var/lib/dpkg/status", 0o644, b"Package: a\n").unwrap();
        editor.directory(b"var/log", 0o2755).unwrap();
        editor.owned_file(b"var/lib/a b", owned(0o600, 7, 8), b"x").unwrap();
        editor.symlink(b"var/run", b"/run").unwrap();
        let mut report = LayerReport::default();
        move_to_factory(&mut editor, &mut report).unwrap();

        let (lines, _) = editor.read(b"usr/lib/tmpfiles.d/kiln-var.conf").unwrap().unwrap();
        let lines = String::from_utf8(lines).unwrap();
        let expected = [
            "d /var/lib 0755 0 0 -",
            "C \"/var/lib/a b\" 0600 7 8 -",
            "L+ /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg",
            "d /var/log 2755 0 0 -",
            "L /var/run - - - - /run",
        ];
        assert_eq!(lines.lines().skip(1).collect::<Vec<_>>(), expected);
        assert!(editor.exists(b"usr/lib/sysimage/dpkg/status"));
        assert!(editor.names(b"var").is_empty());
        let var = editor.tree.lookup(b"var").unwrap();
        assert!(matches!(editor.tree.node(var).kind, Kind::Directory(_)));
        assert_eq!(report.notes.len(), 1);
    }

    #[test]
    fn unusual_names_are_one_word() {
        let cases: [(&[u8], &str); 3] = [
            (b"/var/lib/a", "/var/lib/a"),
            (b"/var/100%", "\"/var/100%%\""),
            (b"/var/a\"\n\xff", "\"/var/a\\x22\\x0a\\xff\""),
        ];
        for (path, expected) in cases {
            assert_eq!(quote(path), expected);
        }
    }
}
