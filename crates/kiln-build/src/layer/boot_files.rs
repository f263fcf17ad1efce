//! Stub and loader in the root, where they came from the builder's disk.
//!
//! A machine that builds its next root itself needs them again, and cannot open what its builder had
//! on disk. They lie below a folder of Kiln's with the paths that they have in an image, so a machine
//! reads that folder like any other source, and its own build lays them there once more: the same bytes
//! in the same place, so that builder and machine make the same root. They must never go to where the
//! image itself would have them: a later image that brings its own would be mixed with these.

use kiln_boot::loader::BootPrograms;
use kiln_boot::uki::format::Architecture;
use kiln_tree::{ContentStore, Tree};

use super::Editor;
use crate::Error;
use crate::recipe::BOOT_FILES;

/// Lays the programs into the root.
pub(crate) fn add_boot_files(
    tree: &mut Tree,
    store: &mut dyn ContentStore,
    programs: &BootPrograms,
    architecture: Architecture,
) -> Result<(), Error> {
    let mut editor = Editor::new(tree, store);
    // What an image left there is of another build.
    editor.remove(BOOT_FILES.as_bytes());
    for (path, bytes) in programs.files(architecture) {
        editor.file(format!("{BOOT_FILES}/{path}").as_bytes(), 0o644, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kiln_boot::loader_set::{LoaderSet, Program};
    use kiln_tree::MemoryStore;

    use super::*;

    #[test]
    fn what_is_there_of_another_build_goes() {
        let (mut tree, mut store) = (Tree::new(), MemoryStore::default());
        let mut editor = Editor::new(&mut tree, &mut store);
        let old = format!("{BOOT_FILES}/usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed");
        editor.file(old.as_bytes(), 0o644, b"old").unwrap();
        let programs = BootPrograms {
            stub: b"stub".to_vec(),
            loaders: LoaderSet {
                loader: Program {
                    path: "usr/lib/systemd/boot/efi/systemd-bootx64.efi".into(),
                    bytes: b"loader".to_vec(),
                },
                shim: None,
            },
            addon_stub: None,
        };
        add_boot_files(&mut tree, &mut store, &programs, Architecture::X86_64).unwrap();
        let editor = Editor::new(&mut tree, &mut store);
        assert!(!editor.exists(old.as_bytes()), "a signed loader would be taken first");
        for (name, expected) in
            [("linuxx64.efi.stub", &b"stub"[..]), ("systemd-bootx64.efi", b"loader")]
        {
            let path = format!("{BOOT_FILES}/usr/lib/systemd/boot/efi/{name}");
            let (bytes, metadata) = editor.read(path.as_bytes()).unwrap().unwrap();
            assert_eq!((bytes.as_slice(), metadata.mode), (expected, 0o644), "{name}");
        }
    }
}
