//! A directory of the host as a source.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use kiln_tree::{Error, Kind, Limits, MemoryStore, read_directory};

#[test]
fn everything_is_taken_as_it_lies_there() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    fs::create_dir_all(top.join("b/c")).unwrap();
    fs::write(top.join("b/c/file"), "bytes").unwrap();
    fs::hard_link(top.join("b/c/file"), top.join("a")).unwrap();
    fs::set_permissions(top.join("b"), fs::Permissions::from_mode(0o1770)).unwrap();
    symlink("/etc/passwd", top.join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap();
    let xattr = rustix::fs::setxattr(
        top.join("a"),
        "user.kiln",
        b"\x00\n",
        rustix::fs::XattrFlags::empty(),
    );
    let mut store = MemoryStore::new();
    let tree = read_directory(top, &mut store, Limits::default()).unwrap();
    assert_eq!(
        support::listing(&tree, &store),
        ["a: bytes", "b/ 1770", "b/c/ 755", "b/c/file = a", "link -> /etc/passwd", "socket Socket"]
    );
    assert_eq!(store.len(), 1, "a hard link is stored once");
    let file = tree.node(tree.lookup(b"a").unwrap());
    if xattr.is_ok() {
        assert_eq!(file.metadata.xattrs[&b"user.kiln"[..]], b"\x00\n");
    }
    let times = fs::metadata(top.join("a")).unwrap();
    assert_eq!(file.metadata.mtime_seconds, std::os::unix::fs::MetadataExt::mtime(&times));
    assert!(matches!(file.kind, Kind::File(content) if content.size == 5));
}

#[test]
fn limits_and_missing_sources_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "12345").unwrap();
    fs::write(folder.path().join("b"), "12345").unwrap();
    let run = |limits| read_directory(folder.path(), &mut MemoryStore::new(), limits).map(drop);
    run(Limits { entries: 3, total_bytes: 10, file_bytes: 5, ..Limits::default() }).unwrap();
    for limits in [
        Limits { entries: 2, ..Limits::default() },
        Limits { total_bytes: 9, ..Limits::default() },
        Limits { file_bytes: 4, ..Limits::default() },
    ] {
        assert!(matches!(run(limits), Err(Error::Limit { .. })), "{limits:?}");
    }
    for missing in [folder.path().join("none"), folder.path().join("a")] {
        let error = read_directory(&missing, &mut MemoryStore::new(), Limits::default())
            .map(drop)
            .unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read {}", missing.display()));
    }
}
