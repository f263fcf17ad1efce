//! What boot files are made of: PE programs, kernels and their modules.

use kiln_boot::modules::index::{ModuleIndex, name_of};
use kiln_boot::modules::sets::ModuleSet;
use kiln_boot::{Kernel, modules::modinfo, uki as pe};
use kiln_host::loader::Loader;
use kiln_tree::{ContentStore, Kind, MemoryStore, Metadata, Node, Tree};

use crate::text::lossy;

/// Bytes of a packed kernel.
const PACKED_BYTES: usize = 3000;
/// Names and wishes tried against one module index.
const NAMES: usize = 100;

/// Parses a PE program, as a boot loader, too, and adds the sections of a boot file to it: the result
/// parses, keeps what was there and holds what was added, byte by byte.
pub fn uki(data: &[u8]) -> bool {
    let Ok(parsed) = pe::parse(data) else { return false };
    let _ = pe::dump::dump(&parsed);
    let held: usize = parsed.sections.iter().map(|section| section.data.len()).max().unwrap_or(0);
    assert!(held <= data.len());
    if let Some(loader) = Loader::read(data) {
        assert_eq!((loader.is_signed, loader.length), (parsed.signed, data.len() as u64));
        assert!(loader.is_signed || !loader.shares_a_certificate(&loader));
    }
    let added = pe::UkiSections {
        os_release: b"ID=kiln\n",
        command_line: b"quiet",
        kernel_release: b"6.1.0",
        initrd: b"initramfs",
        linux: data,
    };
    let Ok(file) = pe::assemble(data, &added) else { return false };
    let again = match pe::parse(&file) {
        Ok(again) => again,
        Err(error) => panic!("an assembled boot file does not parse: {error}"),
    };
    assert_eq!(again.architecture, parsed.architecture);
    assert!(!again.signed, "a signature outlived the change");
    assert_eq!(again.sections.len(), parsed.sections.len() + 5);
    for (old, new) in parsed.sections.iter().zip(&again.sections) {
        assert_eq!((&old.name, old.data), (&new.name, new.data));
    }
    assert_eq!(again.section(".osrel"), Some(added.os_release));
    assert_eq!(again.section(".cmdline"), Some(added.command_line));
    assert_eq!(again.section(".uname"), Some(added.kernel_release));
    assert_eq!(again.section(".initrd"), Some(added.initrd));
    assert_eq!(again.section(".linux"), Some(data));
    true
}

/// Finds a kernel of any bytes in a tree; packed ones are unpacked within bounds.
pub fn kernel_image(data: &[u8]) -> bool {
    // A longer one may honestly unpack to more than a fuzz program may hold.
    let data = &data[..data.len().min(PACKED_BYTES)];
    let (mut tree, mut store) = (Tree::new(), MemoryStore::new());
    let folder = &b"usr/lib/modules/6.1.0"[..];
    let mut reader = data;
    let Ok(content) = store.store(data.len() as u64, &mut reader) else { return false };
    let node = Node { kind: Kind::File(content), metadata: Metadata::file() };
    let placed = tree
        .ensure_directory(folder, &Metadata::directory())
        .and_then(|_| tree.insert(&[folder, b"/vmlinuz"].concat(), node));
    assert!(placed.is_ok());
    let Ok(kernel) = Kernel::find(&tree, &store) else { return false };
    assert_eq!(kernel.release, "6.1.0");
    true
}

/// Reads what a module file says about itself.
pub fn module_file(data: &[u8]) -> bool {
    let mut found = false;
    for key in ["depends", "alias", "softdep", "name", ""] {
        let values = modinfo::values(data, key);
        found |= !values.is_empty();
        let bytes: usize = values.iter().map(|value| value.len()).sum();
        assert!(bytes <= data.len());
    }
    found
}

/// Reads depmod's files, separated by zero bytes: dep, builtin, builtin.modinfo, alias, softdep,
/// order. What the index names it also knows.
pub fn module_index(data: &[u8]) -> bool {
    let mut texts = data.split(|byte| *byte == 0).map(lossy);
    let mut text = || texts.next().unwrap_or_default();
    let mut index = ModuleIndex::default();
    index.add_dependencies(&text());
    index.add_built_in(&text());
    index.add_built_in_information(&text());
    index.add_aliases(&text());
    index.add_soft_dependencies(&text());
    index.add_order(&text());
    for set in [ModuleSet::Virtio, ModuleSet::Generic, ModuleSet::Full] {
        for name in set.modules(&index) {
            assert!(index.file(name).is_some() || index.is_built_in(name), "{name} is in no file");
        }
    }
    for (name, file) in index.files().take(NAMES) {
        assert_eq!(name_of(&file.path).as_deref(), Some(name));
        assert_eq!(index.known_name(name), Some(name));
        let _ = (index.needs_of(name), index.rank(name), index.patterns_of(name).count());
        let _ = index.providers(name);
    }
    for wish in text().lines().take(NAMES) {
        let _ = index.providers(wish);
    }
    true
}
