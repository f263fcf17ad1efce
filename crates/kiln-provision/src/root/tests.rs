//! Roots in temporary folders: what is written where, and that undoing leaves nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::{Journal, Kind, Owner, Root};

fn root() -> (tempfile::TempDir, Root) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("root")).unwrap();
    let root = Root::open(&folder.path().join("root")).unwrap();
    (folder, root)
}

const OWNER: Owner = Owner { user: 7, group: 8 };

/// Everything below a folder: path, kind with mode, owner, and contents or target.
fn picture(folder: &Path) -> BTreeMap<String, (u32, u32, u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let contents = if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if metadata.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        all.insert(name, (metadata.mode(), metadata.uid(), metadata.gid(), contents));
    }
    all
}

#[test]
fn a_file_has_mode_and_owner_and_its_folders_are_0755() {
    let (folder, mut root) = root();
    root.write("/etc/a/b", b"x", 0o4640, OWNER).unwrap();
    let real = folder.path().join("root/etc/a/b");
    let metadata = fs::metadata(&real).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o4640, 7, 8));
    let above = fs::metadata(real.parent().unwrap()).unwrap();
    assert_eq!((above.mode() & 0o7777, above.uid()), (0o755, 0));
    assert_eq!(fs::read_dir(real.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
    assert_eq!(root.read("/etc/a/b", 1).unwrap().unwrap(), b"x");
    assert!(root.read("/etc/a/b", 0).is_err(), "one byte too many");
    assert!(root.write("/etc/a", b"x", 0o644, OWNER).is_err(), "a folder does not give way");
}

#[test]
fn links_stay_inside_and_the_last_element_is_not_followed() {
    let (folder, mut root) = root();
    let (inside, outside) = (folder.path().join("root"), folder.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "old").unwrap();
    symlink(&outside, inside.join("absolute")).unwrap();
    symlink("../../outside", inside.join("climbing")).unwrap();
    symlink("/outside/secret", inside.join("last")).unwrap();
    symlink("var/home", inside.join("home")).unwrap();
    symlink("loop", inside.join("loop")).unwrap();
    for path in ["/absolute/secret", "/climbing/secret", "/last", "/home/joe/x"] {
        root.write(path, b"new", 0o644, OWNER).unwrap();
    }
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "old");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(inside.join("outside/secret")).unwrap(), "new");
    assert_eq!(fs::read_to_string(inside.join("var/home/joe/x")).unwrap(), "new");
    assert_eq!(root.status("/last").unwrap().unwrap().kind, Kind::File);
    assert!(root.write("/loop/x", b"", 0o644, OWNER).is_err());
    assert!(root.write("/a/../../x", b"", 0o644, OWNER).is_err());
}

#[test]
fn links_are_made_and_replaced() {
    let (folder, mut root) = root();
    root.write("/a", b"x", 0o600, OWNER).unwrap();
    root.symlink("/b", "/nowhere", OWNER).unwrap();
    root.symlink("/b", "a", OWNER).unwrap();
    root.hard_link("/c", "/a").unwrap();
    root.hard_link("/c", "/a").unwrap();
    let inside = folder.path().join("root");
    assert_eq!(fs::symlink_metadata(inside.join("b")).unwrap().uid(), 7);
    assert_eq!(fs::metadata(inside.join("c")).unwrap().nlink(), 2);
    assert_eq!(root.list("/").unwrap(), ["a", "b", "c"]);
    assert_eq!(root.link_target("/b").unwrap().as_deref(), Some("a"));
    assert!(root.hard_link("/d", "/b").is_err(), "a link is no file");
    assert!(root.hard_link("/d", "/none").is_err());
}

/// Changes of every sort.
fn change(root: &mut Root) {
    root.write("/etc/kept", b"new", 0o644, Owner::default()).unwrap();
    root.write("/etc/kept", b"newer", 0o644, Owner::default()).unwrap();
    root.write("/new/deep/file", b"x", 0o644, Owner::default()).unwrap();
    root.symlink("/etc/link", "elsewhere", Owner::default()).unwrap();
    root.directory("/etc/folder", 0o700, OWNER).unwrap();
    root.write("/etc/folder/file", b"changed", 0o644, Owner::default()).unwrap();
    root.remove("/etc/folder").unwrap();
    root.write("/etc/folder", b"now a file", 0o644, Owner::default()).unwrap();
    root.remove("/etc/gone").unwrap();
    root.directory("/etc/gone", 0o755, Owner::default()).unwrap();
}

fn before(inside: &Path) {
    fs::create_dir_all(inside.join("etc/folder/deep")).unwrap();
    fs::write(inside.join("etc/kept"), "old").unwrap();
    fs::set_permissions(inside.join("etc/kept"), fs::Permissions::from_mode(0o4755)).unwrap();
    std::os::unix::fs::chown(inside.join("etc/folder"), Some(3), Some(4)).unwrap();
    fs::write(inside.join("etc/folder/file"), "old").unwrap();
    fs::write(inside.join("etc/folder/deep/file"), "deep").unwrap();
    fs::write(inside.join("etc/gone"), "gone").unwrap();
    symlink("target", inside.join("etc/link")).unwrap();
}

#[test]
fn undoing_leaves_the_root_as_it_was() {
    let (folder, mut root) = root();
    let inside = folder.path().join("root");
    before(&inside);
    let old = picture(&inside);
    root.begin(Journal::create(&folder.path().join("journal")).unwrap());
    change(&mut root);
    assert_ne!(picture(&inside), old);
    let journal = root.end().unwrap();
    journal.undo(&mut root).unwrap();
    assert_eq!(picture(&inside), old);
    assert!(!folder.path().join("journal").exists());
}

/// Undoing is cut off and begun again: at any point that leaves the same.
#[test]
fn undoing_can_be_repeated_and_ignores_a_torn_record() {
    let (folder, mut root) = root();
    let inside = folder.path().join("root");
    before(&inside);
    let old = picture(&inside);
    let journal = folder.path().join("journal");
    root.begin(Journal::create(&journal).unwrap());
    change(&mut root);
    drop(root.end());
    let kept = folder.path().join("kept");
    kiln_etc::copy::folder(&journal, &kept, &|_| false).unwrap();
    super::journal::undo(&journal, &mut root).unwrap();
    let list = fs::read(kept.join("records")).unwrap();
    fs::write(kept.join("records"), [&list[..], b"{\"path\":\"/etc/ke"].concat()).unwrap();
    super::journal::undo(&kept, &mut root).unwrap();
    assert_eq!(picture(&inside), old);
}

#[test]
fn a_journal_that_is_forgotten_leaves_the_changes() {
    let (folder, mut root) = root();
    let inside = folder.path().join("root");
    before(&inside);
    root.begin(Journal::create(&folder.path().join("journal")).unwrap());
    change(&mut root);
    let new = picture(&inside);
    root.end().unwrap().forget().unwrap();
    assert_eq!(picture(&inside), new);
    assert!(!folder.path().join("journal").exists());
}
