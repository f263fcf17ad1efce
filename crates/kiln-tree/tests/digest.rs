//! The digest of a tree: its bytes are frozen, and it sees everything a user of the file system sees.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test by panicking")]

use kiln_tree::{ContentStore, Kind, MemoryStore, Metadata, Node, Tree, tree_digest};

type Change = fn(&mut Metadata);

fn sample(store: &mut MemoryStore, reversed: bool) -> Tree {
    let mut tree = Tree::new();
    let mut names: Vec<&[u8]> = vec![b"bin", b"dev", b"etc"];
    if reversed {
        names.reverse();
        store.store(3, &mut &b"???"[..]).unwrap();
    }
    for name in names {
        tree.ensure_directory(name, &Metadata::directory()).unwrap();
    }
    let content = store.store(6, &mut &b"hello\n"[..]).unwrap();
    let mut metadata = Metadata::with_mode(0o4755);
    metadata.uid = 1000;
    metadata.gid = 3_000_000;
    metadata.mtime_seconds = -5;
    metadata.mtime_nanoseconds = 123_456_789;
    metadata.xattrs.insert(b"security.capability".to_vec(), b"\x01\n\0".to_vec());
    let id = tree.insert(b"bin/hello", Node { kind: Kind::File(content), metadata }).unwrap();
    tree.link(b"etc/again", id).unwrap();
    let mut put = |path: &[u8], kind| {
        tree.insert(path, Node { kind, metadata: Metadata::file() }).unwrap();
    };
    put(b"dev/console", Kind::CharacterDevice { major: 5, minor: 1 });
    put(b"dev/vda", Kind::BlockDevice { major: 254, minor: 0 });
    put(b"dev/pipe", Kind::Fifo);
    put(b"dev/log", Kind::Socket);
    put(b"sbin", Kind::Symlink(b"bin".to_vec()));
    tree
}

/// The expected value was computed by a program of its own from the format's description in `src/digest.rs`.
#[test]
fn the_serialisation_is_frozen() {
    let mut store = MemoryStore::new();
    let tree = sample(&mut store, false);
    let digest = tree_digest(&tree, &store).unwrap();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "d8c6dbc9be6d53b14a1f797c065c3fbc5757b4e013ece7f91180a9d3884d4291");
}

#[test]
fn the_way_a_tree_was_made_does_not_matter() {
    let (mut first, mut second) = (MemoryStore::new(), MemoryStore::new());
    let one = sample(&mut first, false);
    let mut other = sample(&mut second, true);
    other.ensure_directory(b"gone/deep", &Metadata::directory()).unwrap();
    other.remove(b"gone");
    assert_eq!(tree_digest(&one, &first).unwrap(), tree_digest(&other, &second).unwrap());
}

#[test]
fn every_visible_change_changes_it() {
    let mut store = MemoryStore::new();
    let tree = sample(&mut store, false);
    let copy = store.store(6, &mut &b"hello\n"[..]).unwrap();
    let other = store.store(6, &mut &b"jello\n"[..]).unwrap();
    let original = tree_digest(&tree, &store).unwrap();
    let changes: [(&str, Change); 6] = [
        ("mode", |metadata| metadata.mode = 0o755),
        ("owner", |metadata| metadata.uid += 1),
        ("group", |metadata| metadata.gid += 1),
        ("seconds", |metadata| metadata.mtime_seconds += 1),
        ("nanoseconds", |metadata| metadata.mtime_nanoseconds += 1),
        ("attributes", |metadata| metadata.xattrs.clear()),
    ];
    for (case, change) in changes {
        let mut tree = tree.clone();
        let id = tree.lookup(b"bin/hello").unwrap();
        change(&mut tree.node_mut(id).metadata);
        assert_ne!(tree_digest(&tree, &store).unwrap(), original, "{case}");
    }
    let mut same = tree.clone();
    let id = same.lookup(b"bin/hello").unwrap();
    same.node_mut(id).kind = Kind::File(copy);
    assert_eq!(tree_digest(&same, &store).unwrap(), original, "an equal content is the same");
    same.node_mut(id).kind = Kind::File(other);
    assert_ne!(tree_digest(&same, &store).unwrap(), original, "content");
    let mut unlinked = tree.clone();
    let node = unlinked.node(id).clone();
    unlinked.insert(b"etc/again", node).unwrap();
    assert_ne!(tree_digest(&unlinked, &store).unwrap(), original, "a copy is not a hard link");
}
