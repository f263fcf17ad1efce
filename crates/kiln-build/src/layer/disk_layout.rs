//! The layout of the disk, where the first boot finds it: in the verified root.
//!
//! Given to the build or brought by the image; either is checked here, because a machine that finds a
//! mistake in it can only go on without. Mount points that the root would have to have are made, since
//! nothing can be made on it later.

use kiln_disk::layout::{Layout, ROOT_PATH};

use super::Editor;
use crate::Error;

/// Folders that are writable on a machine: systemd makes mount points in them by itself.
const WRITABLE: [&str; 6] = ["/var", "/home", "/root", "/srv", "/opt", "/usr/local"];

/// Adds the layout that was asked for, or checks the image's own; returns the one that the root has.
pub(super) fn add_layout(editor: &mut Editor<'_>, wanted: Option<&str>) -> Result<Layout, Error> {
    let text = match wanted {
        Some(text) => {
            editor.file(ROOT_PATH.as_bytes(), 0o644, text.as_bytes())?;
            text.to_owned()
        }
        None => match editor.read(ROOT_PATH.as_bytes())? {
            Some((bytes, _)) => String::from_utf8_lossy(&bytes).into_owned(),
            None => return Ok(Layout::default()),
        },
    };
    let layout = Layout::parse(ROOT_PATH, &text)?;
    for path in layout.partitions.iter().filter_map(|partition| partition.mount.as_deref()) {
        if !is_writable(path) {
            editor.directory(path.trim_start_matches('/').as_bytes(), 0o755)?;
        }
    }
    Ok(layout)
}

fn is_writable(path: &str) -> bool {
    let inside = |folder: &&str| {
        path.strip_prefix(*folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    WRITABLE.iter().any(inside)
}

#[cfg(test)]
mod tests {
    use kiln_tree::{MemoryStore, Tree};

    use super::*;

    const DATA: &str = "format = \"kiln.layout.v1\"\n[[partition]]\nlabel = \"data\"\n\
        size = \"1GiB\"\nfile-system = \"ext4\"\nmount = \"/data/x\"\n";

    #[test]
    fn a_layout_is_kept_checked_and_gets_its_mount_points() {
        let (mut tree, mut store) = (Tree::new(), MemoryStore::default());
        let mut editor = Editor::new(&mut tree, &mut store);
        assert_eq!(add_layout(&mut editor, None).unwrap(), Layout::default());
        assert!(!editor.exists(ROOT_PATH.as_bytes()));
        let wanted = add_layout(&mut editor, Some(DATA)).unwrap();
        assert_eq!(wanted, Layout::parse("x", DATA).unwrap());
        assert!(editor.exists(b"data/x"));
        let (bytes, metadata) = editor.read(ROOT_PATH.as_bytes()).unwrap().unwrap();
        assert_eq!((bytes.as_slice(), metadata.mode), (DATA.as_bytes(), 0o644));
        // One that the image brings counts as well, and is checked.
        assert_eq!(add_layout(&mut editor, None).unwrap(), wanted);
        editor.file(ROOT_PATH.as_bytes(), 0o644, b"format = 1").unwrap();
        let error = add_layout(&mut editor, None).unwrap_err().to_string();
        assert!(error.contains("usr/lib/kiln/layout.toml:1:10"), "{error}");
        let srv = DATA.replace("/data/x", "/srv/x");
        add_layout(&mut editor, Some(&srv)).unwrap();
        assert!(!editor.exists(b"srv"));
        assert!(is_writable("/var/lib/x") && !is_writable("/varx"));
    }
}
