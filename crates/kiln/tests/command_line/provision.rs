//! `kiln provision` on folders that stand for a machine: once, all or nothing, and mended afterwards.

use std::fs;
use std::path::Path;

use crate::fixture::{answer, kiln};

/// A machine's root, its state inside, and the folder of a boot.
struct Folders(tempfile::TempDir);

impl Folders {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["root/state", "root/oem", "root/etc", "root/run/kiln", "boot"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        Self(folder)
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn document(&self, text: &str) {
        fs::write(self.at("root/oem/site.yaml"), text).unwrap();
    }

    /// Runs a half and gives its exit code and what it says.
    fn provision(&self, half: &str) -> (i32, String) {
        let mut command = kiln(&["provision", half, "--machine"]);
        command.arg(self.at("nothing")).arg("--folders");
        command.args(["root", "root/state", "boot"].map(|name| self.at(name)));
        let (code, _, said) = answer(&mut command);
        (code, said)
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.at("root").join(path)).ok()
    }
}

fn document(path: &str, text: &str) -> String {
    format!("apiVersion: kiln.dev/v1alpha1\nkind: Provision\nfiles:\n  {path}:\n    text: {text}\n")
}

#[test]
fn a_first_boot_is_carried_out_once_and_a_changed_document_is_not() {
    let machine = Folders::new();
    machine.document(&document("/etc/motd", "first"));
    let (code, said) = machine.provision("initramfs");
    assert_eq!(code, 0, "{said}");
    assert_eq!(machine.read("etc/motd").as_deref(), Some("first"));
    assert!(machine.at("root/state/config/00000001/provisioned").is_file());

    fs::write(machine.at("root/etc/motd"), "by hand").unwrap();
    assert_eq!(machine.provision("initramfs").0, 0);
    assert_eq!(machine.read("etc/motd").as_deref(), Some("by hand"));

    machine.document(&document("/etc/motd", "second"));
    let (code, said) = machine.provision("initramfs");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("first boot is over"), "{said}");
    assert_eq!(machine.read("etc/motd").as_deref(), Some("by hand"));
}

#[test]
fn a_wrong_document_leaves_nothing_and_works_once_it_is_mended() {
    let machine = Folders::new();
    let wrong = document("/etc/motd", "here") + "  /etc/other:\n    user: nobody-here\n";
    for (text, reason) in [
        (wrong.as_str(), "nobody-here"),
        ("apiVersion: kiln.dev/v1alpha1\nkind: Provision\nfiles: [\n", "site.yaml:3"),
    ] {
        machine.document(text);
        let (code, said) = machine.provision("initramfs");
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("the first boot is undone"), "{said}");
        assert_eq!(machine.read("etc/motd"), None, "{said}");
        let kept = machine.read("state/config/00000001/failure").unwrap();
        assert!(kept.contains(reason) && said.contains(kept.trim_end()), "{kept}\n{said}");
        let shown = fs::read_to_string(machine.at("boot/provisioning-failure")).unwrap();
        assert_eq!(shown, kept);
    }
    machine.document(&document("/etc/motd", "mended"));
    let (code, said) = machine.provision("initramfs");
    assert_eq!(code, 0, "{said}");
    assert_eq!(machine.read("etc/motd").as_deref(), Some("mended"));
    assert!(!Path::new(&machine.at("root/state/config/00000001/failure")).exists());
}

#[test]
fn recovery_uses_nothing_of_the_own_disk_and_a_running_system_is_refused() {
    let machine = Folders::new();
    machine.document(&document("/etc/motd", "first"));
    fs::write(machine.at("boot/recovery_mode"), "1\n").unwrap();
    let (code, said) = machine.provision("initramfs");
    assert_eq!((code, machine.read("etc/motd")), (0, None), "{said}");

    let (code, _, said) = answer(&mut kiln(&["provision", "rootfs"]));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("only the first process calls this"), "{said}");
}
