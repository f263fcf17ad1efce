//! What can be tested of the mounts without a machine: what is decided from files, and, where a test may
//! have mounts of its own, that what a layout promises is so over three boots.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;

#[test]
fn a_release_is_named_by_its_first_digits() {
    assert_eq!(release_name(&RootHash([0xab; 32])), "ab".repeat(8));
}

#[test]
fn links_are_no_mount_points() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    fs::create_dir_all(folder.join("var/lib")).unwrap();
    fs::write(folder.join("var/file"), "").unwrap();
    symlink("/", folder.join("var/out")).unwrap();
    symlink("var", folder.join("data")).unwrap();
    for (path, is_real, can_be) in [
        ("var/lib", true, true),
        ("var/new/folder", false, true),
        ("var/file", false, false),
        ("var/out/etc", false, false),
        ("data", false, false),
        ("data/lib", false, false),
    ] {
        assert_eq!(is_real_folder(folder, path), is_real, "{path}");
        assert_eq!(make_point(folder, path).unwrap(), can_be, "{path}");
        assert_eq!(is_real_folder(folder, path), can_be, "{path}");
    }
    let mode = fs::metadata(folder.join("var/new")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn what_is_wanted_is_read_or_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mounts");
    assert_eq!(read_wanted(&path).unwrap(), Mounts::default());
    fs::write(&path, "kiln.mounts.v1\npersistent bind /data\n").unwrap();
    assert!(read_wanted(&path).unwrap().persists("/data"));
    for damaged in ["", "kiln.mounts.v1", "kiln.mounts.v9\n"] {
        fs::write(&path, damaged).unwrap();
        assert!(read_wanted(&path).is_err(), "{damaged}");
    }
}

/// Names the folder of the machine for the processes that play its boots.
const MACHINE: &str = "KILN_TEST_MACHINE";
/// Says which boot it is.
const BOOT: &str = "KILN_TEST_BOOT";
/// A layout like that of a node of Kubernetes.
const LAYOUT: &str = "kiln.mounts.v1\nmemory 10%\n\
    persistent bind /etc/rancher\npersistent bind /etc/ssh\npersistent overlay /home\n\
    persistent overlay /opt\npersistent bind /usr/libexec\npersistent bind /var/log\n\
    persistent bind /srv/data\nephemeral /etc\nephemeral /srv\nephemeral /var\n";

/// Runs a program and says how it went.
fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
}

/// One boot of the machine: a process with mounts of its own.
fn boot(machine: &Path, boot: &str) {
    let test = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(test)
        .args(["--exact", "overlay::tests::a_boot_of_the_machine", "--nocapture"])
        .env(MACHINE, machine)
        .env(BOOT, boot)
        .status()
        .unwrap();
    assert!(status.success(), "boot {boot}");
}

#[test]
fn a_layout_is_what_the_machine_has() {
    if !run("unshare", &["--mount", "true"]) {
        eprintln!("not tested: no mounts of its own");
        return;
    }
    let machine = tempfile::tempdir().unwrap();
    let root = machine.path().join("root");
    for folder in ["etc/ssh", "home", "opt", "root", "srv", "tmp", "usr/libexec", "var", "state"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::create_dir_all(machine.path().join("state")).unwrap();
    fs::create_dir_all(machine.path().join("sysroot")).unwrap();
    for file in ["etc/hosts", "etc/ssh/sshd_config", "usr/libexec/tool", "opt/file", "srv/file"] {
        fs::write(root.join(file), "release").unwrap();
    }
    // A hook wrote for this release while another one ran.
    let hooks = machine.path().join("state/kiln/hooks").join("01".repeat(8)).join("etc");
    fs::create_dir_all(&hooks).unwrap();
    fs::write(hooks.join("from-hook"), "hook").unwrap();
    fs::set_permissions(root.join("etc/ssh"), fs::Permissions::from_mode(0o700)).unwrap();
    boot(machine.path(), "first");
    boot(machine.path(), "second");
    // A new release brings other files.
    fs::write(root.join("etc/ssh/sshd_config"), "new release").unwrap();
    fs::write(root.join("usr/libexec/tool"), "new release").unwrap();
    fs::write(root.join("usr/libexec/new"), "new release").unwrap();
    boot(machine.path(), "upgraded");
}

/// Plays a boot in a process of [`boot`]; as a test of its own it does nothing.
#[test]
fn a_boot_of_the_machine() {
    let (Ok(machine), Ok(boot)) = (std::env::var(MACHINE), std::env::var(BOOT)) else { return };
    let machine = Path::new(&machine);
    let sysroot = machine.join("sysroot");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let root = text(&machine.join("root"));
    assert!(run("mount", &["-t", "tmpfs", "run", "/run"]));
    assert!(run("mount", &["--bind", &root, &text(&sysroot)]));
    assert!(run("mount", &["-o", "remount,bind,ro", &text(&sysroot)]));
    let state = text(&sysroot.join("state"));
    assert!(run("mount", &["--bind", &text(&machine.join("state")), &state]));
    fs::create_dir_all("/run/kiln").unwrap();
    fs::write(mounts::PATH, LAYOUT).unwrap();
    let release = if boot == "upgraded" { [2; 32] } else { [1; 32] };
    mount_writable(&sysroot, &RootHash(release), None).unwrap();

    let read = |path: &str| fs::read_to_string(sysroot.join(path)).unwrap_or_default();
    let seen = |paths: &[&'static str]| -> BTreeMap<&'static str, String> {
        paths.iter().map(|path| (*path, read(path))).collect()
    };
    let found = seen(&[
        "etc/hosts",
        "etc/new",
        "etc/from-hook",
        "etc/ssh/sshd_config",
        "etc/ssh/key",
        "etc/rancher/config",
        "home/file",
        "opt/file",
        "srv/file",
        "srv/data/rows",
        "usr/libexec/tool",
        "usr/libexec/new",
        "usr/libexec/added",
        "var/log/messages",
        "var/cache",
    ]);
    let expected: &[(&str, &str)] = match boot.as_str() {
        "first" => &[
            ("etc/from-hook", "hook"),
            ("etc/hosts", "release"),
            ("etc/ssh/sshd_config", "release"),
            ("opt/file", "release"),
            ("srv/file", "release"),
            ("usr/libexec/tool", "release"),
        ],
        "second" => &[
            ("etc/from-hook", "hook"),
            ("etc/hosts", "release"),
            ("etc/rancher/config", "machine"),
            ("etc/ssh/key", "machine"),
            ("etc/ssh/sshd_config", "release"),
            ("home/file", "machine"),
            ("opt/file", "machine"),
            ("srv/data/rows", "machine"),
            ("srv/file", "release"),
            ("usr/libexec/added", "machine"),
            ("usr/libexec/tool", "release"),
            ("var/log/messages", "machine"),
        ],
        _ => &[
            ("etc/hosts", "release"),
            ("etc/rancher/config", "machine"),
            ("etc/ssh/key", "machine"),
            // The copy is the machine's.
            ("etc/ssh/sshd_config", "release"),
            ("home/file", "machine"),
            ("opt/file", "machine"),
            ("srv/data/rows", "machine"),
            ("srv/file", "release"),
            ("usr/libexec/added", "machine"),
            // What the machine changed stays, what it did not is the release's.
            ("usr/libexec/new", "new release"),
            ("usr/libexec/tool", "new release"),
            ("var/log/messages", "machine"),
        ],
    };
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|(path, text)| (*path, text.as_str()))
        .filter(|(_, text)| !text.is_empty())
        .collect();
    assert_eq!(found, expected, "{boot}");
    let mode = fs::metadata(sysroot.join("etc/ssh")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert_eq!(fs::read_to_string(Path::new(LOWER_ETC).join("hosts")).unwrap(), "release");

    for path in [
        "etc/hosts",
        "etc/new",
        "etc/ssh/key",
        "etc/rancher/config",
        "home/file",
        "opt/file",
        "srv/file",
        "srv/data/rows",
        "usr/libexec/added",
        "var/log/messages",
        "var/cache",
        "tmp/file",
    ] {
        fs::write(sysroot.join(path), "machine").unwrap();
    }
    // All else is read-only, also what is usually not.
    for path in ["root/file", "usr/file", "file"] {
        assert!(fs::write(sysroot.join(path), "machine").is_err(), "{path}");
    }
}
