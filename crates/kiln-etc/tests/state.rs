//! A state's `/etc`, release after release, on plain folders: what is carried over, what is left
//! behind, what comes back, and what of it survives a cut.
#![expect(clippy::unwrap_used, reason = "helpers of tests; what fails here fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kiln_etc::{Error, format, identity, upper};
use tempfile::TempDir;

const A: &str = "aaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbb";
const C: &str = "cccccccccccccccc";

/// A state, and the `/etc` of three releases.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        let old = "root:x:0:0:::\nold:x:990:990:::\n";
        let new = "root:x:0:0:::\nweb:x:998:998:::\n";
        for (release, passwd) in [(A, old), (B, new), (C, new)] {
            let lower = bench.lower(release);
            fs::create_dir_all(&lower).unwrap();
            fs::write(lower.join("passwd"), passwd).unwrap();
            fs::write(lower.join("group"), "root:x:0:\n").unwrap();
            fs::write(lower.join("shadow"), "root:*:1::::::\n").unwrap();
            fs::set_permissions(lower.join("shadow"), fs::Permissions::from_mode(0o640)).unwrap();
        }
        for folder in ["etc", "kiln", "identity"] {
            fs::create_dir_all(bench.state().join(folder)).unwrap();
        }
        bench
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn lower(&self, release: &str) -> PathBuf {
        self.folder.path().join("lower").join(release)
    }

    /// What the first process does for a release; the folder is then as the kernel mounts it.
    fn boot(&self, release: &str) -> Vec<String> {
        let notes = upper::prepare(&self.state(), release, &self.lower(release)).unwrap();
        fs::create_dir_all(self.upper(release)).unwrap();
        notes
    }

    fn upper(&self, release: &str) -> PathBuf {
        self.state().join("etc").join(release)
    }

    fn write(&self, release: &str, path: &str, text: &str) {
        let path = self.upper(release).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, release: &str, path: &str) -> Option<String> {
        fs::read_to_string(self.upper(release).join(path)).ok()
    }
}

#[test]
fn each_release_has_its_etc_and_the_machine_its_identity() {
    let bench = Bench::new();
    assert!(bench.boot(A).is_empty());
    bench.write(A, "hostname", "edge\n");
    bench.write(A, "passwd", "root:x:0:0:::\nold:x:990:990:::\nanna:x:998:1000:::\n");
    bench.write(A, "motd", "mine\n");
    for derived in [".updated", "ld.so.cache", "udev/hwdb.bin", "lvm/cache/x"] {
        bench.write(A, derived, "stale\n");
    }
    bench.write(A, "udev/rules.d/mine.rules", "# mine\n");

    let notes = bench.boot(B);
    assert!(notes.iter().any(|note| note.contains("user web has id 999")), "{notes:?}");
    assert_eq!(bench.read(B, "motd").as_deref(), Some("mine\n"));
    assert_eq!(bench.read(B, "udev/rules.d/mine.rules").as_deref(), Some("# mine\n"));
    let passwd = "root:x:0:0:::\nanna:x:998:1000:::\nweb:x:999:998:::\n";
    assert_eq!(bench.read(B, "passwd").as_deref(), Some(passwd));
    assert_eq!(bench.read(B, "shadow"), None, "nobody changed it: the release's own is seen");
    for derived in [".updated", "ld.so.cache", "udev/hwdb.bin", "lvm/cache"] {
        assert!(!bench.upper(B).join(derived).exists(), "{derived}");
        assert!(bench.upper(A).join(derived).exists(), "the old one is left as it is");
    }

    // Changes under the new release, and back.
    bench.write(B, "motd", "changed\n");
    bench.write(B, "hostname", "edge-2\n");
    assert!(bench.boot(A).is_empty());
    assert_eq!(bench.read(A, "motd").as_deref(), Some("mine\n"));
    identity::present(&bench.state().join("identity"), &bench.upper(A)).unwrap();
    assert_eq!(
        bench.read(A, "hostname").as_deref(),
        Some("edge-2\n"),
        "the machine's, not the release's"
    );

    // Forward again: its own; fetched anew: that of the release that runs.
    bench.boot(B);
    assert_eq!(bench.read(B, "motd").as_deref(), Some("changed\n"));
    bench.boot(A);
    upper::forget(&bench.state(), B).unwrap();
    upper::forget(&bench.state(), B).unwrap();
    bench.boot(B);
    assert_eq!(bench.read(B, "motd").as_deref(), Some("mine\n"));
    assert_eq!(bench.read(B, "passwd").as_deref(), Some(passwd));
}

#[test]
fn accounts_of_an_untouched_file_keep_their_ids() {
    let bench = Bench::new();
    bench.boot(A);
    fs::write(bench.lower(B).join("passwd"), "root:x:0:0:::\nold:x:991:990:::\n").unwrap();
    let notes = bench.boot(B);
    assert!(notes.iter().any(|note| note.contains("keeps id 990")), "{notes:?}");
    assert_eq!(bench.read(B, "passwd").as_deref(), Some("root:x:0:0:::\nold:x:990:990:::\n"));
    let (mode, like) = [bench.upper(B), bench.lower(B)]
        .map(|etc| fs::metadata(etc.join("passwd")).unwrap().mode())
        .into();
    assert_eq!(mode, like);
    // The next release drops it, but here it is not as it was delivered: it stays.
    bench.boot(C);
    let passwd = "root:x:0:0:::\nold:x:990:990:::\nweb:x:998:998:::\n";
    assert_eq!(bench.read(C, "passwd").as_deref(), Some(passwd));
}

#[test]
fn a_file_that_was_deleted_or_linked_is_left_alone() {
    let bench = Bench::new();
    bench.boot(A);
    std::os::unix::fs::symlink("/nowhere", bench.upper(A).join("passwd")).unwrap();
    fs::create_dir(bench.upper(A).join("group")).unwrap();
    bench.boot(B);
    assert_eq!(fs::read_link(bench.upper(B).join("passwd")).unwrap(), Path::new("/nowhere"));
    assert!(bench.upper(B).join("group").is_dir());
}

#[test]
fn a_cut_leaves_the_old_and_the_next_start_the_new() {
    let bench = Bench::new();
    bench.boot(A);
    bench.write(A, "motd", "mine\n");
    let before = tree(&bench.upper(A));
    // What is there after a cut at any moment before the rename: a draft, and half an ancestor.
    for draft in [bench.upper(B), bench.state().join("kiln/accounts").join(B)] {
        let draft = PathBuf::from(format!("{}.new", draft.display()));
        fs::create_dir_all(&draft).unwrap();
        fs::write(draft.join("motd"), "half").unwrap();
        fs::write(draft.join("passwd"), "half").unwrap();
    }
    assert!(!bench.upper(B).exists());
    bench.boot(B);
    assert_eq!(tree(&bench.upper(A)), before);
    assert_eq!(bench.read(B, "motd").as_deref(), Some("mine\n"));
    assert_eq!(bench.read(B, "passwd"), None);
    let kept = bench.state().join("kiln/accounts").join(B);
    assert!(!kept.join("motd").exists());
    assert_eq!(fs::metadata(&kept).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(kept.join("shadow")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn only_what_nobody_needs_is_collected() {
    let bench = Bench::new();
    for release in [A, B, C] {
        bench.boot(release);
    }
    let state = bench.state();
    for left in [format!("{A}.new"), format!("{B}.old"), "lost+found".into()] {
        fs::create_dir(state.join("etc").join(left)).unwrap();
    }
    let gone = upper::collect_garbage(&state, &[B.into(), C.into()]).unwrap();
    assert_eq!(gone, [A]);
    let names: Vec<String> = tree(&state.join("etc")).into_keys().collect();
    assert_eq!(names, [B, C, "lost+found"]);
    let names: Vec<String> = tree(&state.join("kiln/accounts")).into_keys().collect();
    assert!(names.iter().all(|name| name.starts_with(B) || name.starts_with(C)), "{names:?}");
    assert!(upper::length(&state, B).unwrap() >= 4096);
    assert_eq!(upper::length(&state, A).unwrap(), 0);
}

#[test]
fn nothing_is_kept_of_an_ephemeral_etc_but_the_identity() {
    let bench = Bench::new();
    bench.boot(A);
    bench.write(A, "hostname", "edge\n");
    bench.write(A, "motd", "mine\n");
    assert!(upper::prepare_ephemeral(&bench.state()).is_empty());
    let identity = bench.state().join("identity");
    assert_eq!(fs::read_to_string(identity.join("hostname")).unwrap(), "edge\n");
    // Changed while nothing was kept; the older name in the upper half must not come back.
    fs::write(identity.join("hostname"), "edge-2\n").unwrap();
    assert!(upper::prepare_ephemeral(&bench.state()).is_empty());
    bench.boot(A);
    assert_eq!(fs::read_to_string(identity.join("hostname")).unwrap(), "edge-2\n");
    assert_eq!(bench.read(A, "motd").as_deref(), Some("mine\n"));
}

#[test]
fn a_state_of_the_previous_format_is_migrated() {
    let bench = Bench::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state-v1");
    let state = bench.folder.path().join("v1");
    kiln_etc::copy::folder(&fixture, &state, &|_| false).unwrap();
    let old = tree(&state);
    assert_eq!(format::check(&state).unwrap(), 1);
    assert_eq!(tree(&state), old, "looking writes nothing");

    // A cut right before the commit point: everything was done, and is done again.
    assert_eq!(format::migrate(&state).unwrap(), Some(1));
    fs::remove_file(state.join("kiln/format")).unwrap();
    assert_eq!(format::migrate(&state).unwrap(), Some(1));
    let once = tree(&state);
    assert_eq!(format::migrate(&state).unwrap(), None);
    assert_eq!(tree(&state), once);

    assert_eq!(once["kiln/format"], b"2\n");
    let upper = "etc/1111111111111111";
    for path in ["hostname", "ssh/ssh_host_ed25519_key", "ssh/ssh_host_ed25519_key.pub"] {
        assert_eq!(once[&format!("identity/{path}")], old[&format!("{upper}/{path}")], "{path}");
    }
    assert!(!once.contains_key(&format!("{upper}/udev/hwdb.bin")));
    assert!(!once.contains_key(&format!("{upper}/ld.so.cache")));
    // All the rest is as it was, so that a release of the old format still runs on it.
    for (path, bytes) in &old {
        if !path.ends_with("hwdb.bin") && !path.ends_with("ld.so.cache") {
            assert_eq!(once.get(path), Some(bytes), "{path}");
        }
    }
    // The first release of the new format has no ancestor to compare with.
    upper::prepare(&state, B, &bench.lower(B)).unwrap();
    let passwd = fs::read_to_string(state.join("etc").join(B).join("passwd")).unwrap();
    assert!(passwd.contains("anna:x:1001:") && passwd.contains("web:x:998:"), "{passwd}");
}

#[test]
fn a_newer_state_is_refused_and_not_touched() {
    let bench = Bench::new();
    let state = bench.state();
    for (text, known) in [("3\n", true), ("two\n", false), ("", false)] {
        fs::write(state.join("kiln/format"), text).unwrap();
        let before = tree(&state);
        let error = format::migrate(&state).unwrap_err();
        assert_eq!(matches!(error, Error::Newer { found: 3, known: 2 }), known, "{error}");
        assert!(error.hint().is_some());
        assert_eq!(tree(&state), before);
    }
}

/// Everything below a folder: files with their content, folders and others without.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            found.insert(
                name,
                if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() },
            );
        }
    }
    found
}

#[test]
fn changed_programs_follow_their_release() {
    let bench = Bench::new();
    let state = bench.state();
    let program = |release: &str| upper::programs(&state, release).join("usr-libexec/tool");
    let boot = |release: &str| upper::prepare_programs(&state, release).unwrap();
    assert!(boot(A).is_empty() && upper::programs(&state, A).is_dir());
    fs::create_dir_all(program(A).parent().unwrap()).unwrap();
    fs::write(program(A), "of the machine").unwrap();
    assert!(boot(A).is_empty(), "only once");
    // The next release begins with a copy, and going back finds what was there.
    let notes = boot(B);
    assert_eq!(notes, [format!("changed programs of release {A} carried over")]);
    fs::write(program(B), "changed again").unwrap();
    boot(A);
    assert_eq!(fs::read(program(A)).unwrap(), b"of the machine");
    // An `/etc` in memory takes nothing from the programs: the one that ran last is followed.
    assert!(upper::prepare_ephemeral(&state).is_empty());
    assert_eq!(upper::last(&state).unwrap().as_deref(), Some(A));
    boot(C);
    assert_eq!(fs::read(program(C)).unwrap(), b"of the machine");
    assert!(upper::length(&state, C).unwrap() >= 4096);
    // Half a copy, which a cut left, is no release's.
    fs::create_dir_all(state.join("usr").join(format!("{C}.new"))).unwrap();
    assert_eq!(upper::collect_garbage(&state, &[C.into()]).unwrap(), [A, B]);
    upper::forget(&state, C).unwrap();
    assert_eq!(fs::read_dir(state.join("usr")).unwrap().count(), 0);
}
