//! Addons over upgrades: what is switched on stays so, with the arguments of each release's own addon.

use std::fs::File;

use kiln_disk::fat::Fat;
use kiln_disk::{BlockDevice as _, FileDevice};
use kiln_erofs::Image;
use kiln_lab::Registry;
use kiln_lab::efi::program;
use serde_json::Value;

use crate::fixture::{Bench, answer, kiln};
use crate::machine::Machine;

/// Where a root has the addon.
const IN_ROOT: &str = "usr/lib/kiln/addons/serial.addon.efi";

/// A release as its builder has it.
struct Built {
    reference: String,
    root_hash: String,
    addon: Option<Vec<u8>>,
}

/// Builds a release whose addon has these arguments, and puts it where machines find it: as a file, or
/// pushed.
fn build(bench: &Bench, version: &str, addon: Option<&str>, registry: Option<&Registry>) -> Built {
    let stub = program(None);
    let name = format!("{version}.tar");
    let more = [
        ("etc/version", version.as_bytes()),
        ("usr/lib/systemd/boot/efi/addonx64.efi.stub", &stub),
    ];
    let archive = bench.archive(&name, &more);
    let _ = std::fs::remove_dir_all(bench.path("out"));
    std::fs::write(bench.path("password"), "secret\n").unwrap();
    let password = bench.text("password");
    let addon = addon.map(|arguments| format!("serial={arguments}"));
    let mut arguments =
        vec![&*archive, "-q", "--json", "--user", "admin", "--password-file", &password];
    if let Some(addon) = &addon {
        arguments.extend(["--addon", addon]);
    }
    let (code, built, stderr) = answer(&mut bench.build(&arguments));
    assert_eq!(code, 0, "{stderr}");
    let built: Value = serde_json::from_str(&built).unwrap();
    let image = Image::open(File::open(bench.path("out/edge.root")).unwrap()).unwrap();
    let inode = image.lookup(IN_ROOT.as_bytes()).unwrap();
    let mut reference = archive.clone();
    if let Some(registry) = registry {
        let host = registry.host();
        let place = format!("{host}/edge:{version}");
        let mut push = kiln(&["push", "-q", &bench.text("out"), &place]);
        let (code, _, stderr) = answer(push.args(["--plain-http", &host]));
        assert_eq!(code, 0, "{stderr}");
        reference = format!("docker://{place}");
    }
    Built {
        reference,
        root_hash: built["root_hash"].as_str().unwrap().to_owned(),
        addon: inode.map(|inode| image.read(&inode, 1 << 20).unwrap()),
    }
}

/// What the first process makes of a release's addons: the root has them.
fn mount(bench: &Bench, built: &Built) {
    let path = bench.path("machine").join(IN_ROOT);
    let _ = std::fs::remove_file(&path);
    if let Some(addon) = &built.addon {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, addon).unwrap();
    }
}

/// The addon that the stub of a generation finds.
fn beside(bench: &Bench, generation: u32) -> Option<Vec<u8>> {
    let file = File::open(bench.path("machine/dev/vda2")).unwrap();
    let device = FileDevice::new(file, 512).unwrap();
    let fat = Fat::open(&device, 0, device.length()).unwrap();
    let path = format!("EFI/Linux/kiln-{generation:08}.efi.extra.d/serial.addon.efi");
    fat.read(&path, 1 << 20).ok()
}

fn call(machine: &Machine<'_>, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = answer(&mut machine.kiln(arguments));
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    if stdout.is_empty() { Value::Null } else { serde_json::from_str(&stdout).unwrap() }
}

/// A machine with the first release, whose addon is switched on and proved, as generation 2.
fn machine<'a>(bench: &'a Bench, first: &Built) -> Machine<'a> {
    let mut machine = Machine::of_built(bench, &first.root_hash);
    mount(bench, first);
    call(&machine, &["bless"]);
    call(&machine, &["kargs", "--enable", "serial"]);
    assert!(beside(bench, 2) == first.addon && beside(bench, 1).is_none());
    starts(bench, &mut machine, first, (2, 'a'));
    machine
}

/// A generation starts from a slot and proves itself.
fn starts(bench: &Bench, machine: &mut Machine<'_>, built: &Built, place: (usize, char)) {
    machine.expect_root(&built.root_hash);
    machine.start(place.0, place.1);
    mount(bench, built);
    call(machine, &["bless"]);
}

#[test]
fn addons_of_pushed_releases_are_carried_over() {
    let bench = Bench::new();
    let registry = Registry::plain().unwrap();
    let host = registry.host();
    let upgrade = |machine: &Machine<'_>, built: &Built| {
        call(machine, &["upgrade", "-q", &built.reference, "--plain-http", &host]);
    };
    let second = build(&bench, "2", Some("console=ttyS2"), Some(&registry));
    let third = build(&bench, "3", None, Some(&registry));
    let fourth = build(&bench, "4", Some("console=ttyS4"), Some(&registry));
    let first = build(&bench, "1", Some("console=ttyS1"), None);
    assert_eq!((first.addon.is_some(), third.addon.is_some()), (true, false));
    assert!(first.addon != second.addon);
    let mut machine = machine(&bench, &first);

    // Each release brings its own, and what can be gone back to keeps what it had.
    upgrade(&machine, &second);
    assert!(beside(&bench, 3) == second.addon && beside(&bench, 2) == first.addon);
    let pending = call(&machine, &["kargs", "--json"]);
    assert!(pending["pending"].to_string().contains("serial"), "{pending:#}");
    starts(&bench, &mut machine, &second, (3, 'b'));

    // One without it gets none, and does not make the machine forget.
    upgrade(&machine, &third);
    assert!(beside(&bench, 4).is_none() && beside(&bench, 3) == second.addon);
    assert!(beside(&bench, 2).is_none(), "its boot file is gone, too");
    starts(&bench, &mut machine, &third, (4, 'a'));
    upgrade(&machine, &fourth);
    assert!(beside(&bench, 5) == fourth.addon && beside(&bench, 3).is_none());
    let listed = ["kiln-00000004.efi", "kiln-00000005+3-0.efi", "kiln-00000005.efi.extra.d"];
    let entries = machine.entries();
    assert!(listed.iter().all(|name| entries.iter().any(|entry| entry == name)), "{entries:?}");
    assert!(!entries.iter().any(|entry| entry.contains("00000003")), "{entries:?}");
}

/// What the machine builds itself has the addons of its recipe, whatever the image's builder would add.
#[test]
fn addons_of_the_recipe_are_carried_over_from_images() {
    let bench = Bench::new();
    let second = build(&bench, "2", Some("console=ttyS1"), None);
    let first = build(&bench, "1", Some("console=ttyS1"), None);
    assert!(second.addon.is_some() && second.root_hash != first.root_hash);
    let mut machine = machine(&bench, &first);
    call(&machine, &["upgrade", "-q", &second.reference]);
    assert!(beside(&bench, 3) == second.addon && beside(&bench, 2) == first.addon);
    starts(&bench, &mut machine, &second, (3, 'b'));
    call(&machine, &["kargs", "--disable", "serial"]);
    assert!(beside(&bench, 4).is_none() && beside(&bench, 3) == second.addon);
}
