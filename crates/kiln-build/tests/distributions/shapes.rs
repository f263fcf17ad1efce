//! Each distribution's shape, built from end to end.

use crate::entry::{Entry, directory, file};
use crate::machine::Workshop;
use crate::model::expected;
use crate::programs::{self, AMD64, Machine};
use crate::readback::{differences, read};
use crate::trees::Shape;

/// A shape, and what must come out of it.
struct Case {
    shape: Shape,
    name: &'static str,
    version: &'static str,
    title: &'static str,
    /// A path of the root through which the package database is found.
    packages: &'static str,
}

fn case(
    shape: Shape,
    name: &'static str,
    version: &'static str,
    title: &'static str,
    packages: &'static str,
) -> Case {
    Case { shape, name, version, title, packages }
}

#[test]
fn every_distribution_assembles_and_nothing_is_lost() {
    let cases = [
        case(
            Shape::fedora(),
            "fedora",
            "42 (Container Image)",
            "Fedora Linux 42 (Container Image)",
            "usr/lib/sysimage/rpm/rpmdb.sqlite",
        ),
        case(
            Shape::suse(AMD64),
            "sl-micro",
            "6.1",
            "SUSE Linux Micro 6.1",
            "usr/lib/sysimage/rpm/Packages.db",
        ),
        case(
            Shape::ubuntu(AMD64),
            "ubuntu",
            "24.04 LTS (Noble Numbat)",
            "Ubuntu 24.04 LTS",
            "usr/lib/sysimage/dpkg/info/systemd.list",
        ),
        case(
            Shape::openeuler(),
            "openEuler",
            "24.03",
            "KubeOS 1.0.0",
            "usr/lib/sysimage/rpm/rpmdb.sqlite",
        ),
    ];
    for Case { shape, name, version, title, packages } in cases {
        let layers = [shape.base(), own_layer()];
        let workshop = Workshop::new(shape.machine, &layers);
        let built = workshop.build().unwrap();
        let release = &built.release;
        assert_eq!(
            (&*release.name, &*release.version, &*release.title, &*release.kernel),
            (name, version, title, shape.release)
        );
        let found = read(&workshop.output(&format!("{name}.root")));
        let lines = differences(&expected(&layers), &found);
        assert!(lines.is_empty(), "{name}:\n{}", lines.join("\n"));
        assert!(found.contains_key(packages.as_bytes()), "{name} has no {packages}");
        check_media(&workshop, name, shape.machine, title);
    }
}

/// What somebody adds to a distribution's image.
fn own_layer() -> Vec<Entry> {
    vec![
        directory("opt/edge").owner(1000, 1000),
        file("opt/edge/program", b"#!/bin/sh\n").mode(0o755).owner(1000, 1000),
    ]
}

/// Boot file and disk agree with each other and name the image.
pub fn check_media(workshop: &Workshop, name: &str, machine: Machine, title: &str) {
    let boot_file = workshop.boot_file(name);
    assert_eq!(boot_file.architecture, Some(machine.name));
    assert_eq!(boot_file.title.as_deref(), Some(title));
    assert_eq!((boot_file.mode.as_deref(), &boot_file.problem), (Some("system"), &None));
    let disk = workshop.disk(name);
    let esp = disk.esp.unwrap();
    assert_eq!(esp.problem, None);
    let paths: Vec<&str> = esp.files.iter().map(|file| &*file.path).collect();
    let loader = format!("EFI/BOOT/BOOT{}.EFI", machine.suffix.to_ascii_uppercase());
    assert!(paths.contains(&&*loader), "{paths:?}");
    assert!(paths.contains(&"EFI/Linux/kiln-00000001+3-0.efi"), "{paths:?}");
    let slot = &disk.slots[0];
    assert_eq!((slot.problem.as_ref(), slot.named_by.len()), (None, 1), "{name}");
    assert!(slot.named_by[0].top_block_agrees);

    let bytes = std::fs::read(workshop.output(&format!("{name}.efi"))).unwrap();
    let uki = kiln_boot::uki::parse(&bytes).unwrap();
    let release = boot_file.kernel.unwrap();
    assert_eq!(uki.section(".linux"), Some(&*programs::kernel(machine, &release)), "{name}");
    let initrd = zstd::stream::decode_all(uki.section(".initrd").unwrap()).unwrap();
    for wanted in ["kiln-init", "dm_verity.ko", "erofs.ko", "name=virtio_blk"] {
        let found = initrd.windows(wanted.len()).any(|window| window == wanted.as_bytes());
        assert!(found, "{name}: no {wanted} in the initramfs");
    }
}

#[test]
fn the_tar_inside_an_image_of_kubeos_is_the_system() {
    let inner = Shape::kubeos().base();
    let layers = [vec![file("os.tar", &crate::entry::tar(&inner))]];
    let workshop = Workshop::new(AMD64, &layers);
    let built = workshop.build().unwrap();
    assert_eq!(built.release.title, "KubeOS 1.0.0");
    let found = read(&workshop.output("openEuler.root"));
    let lines = differences(&expected(&[inner]), &found);
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    assert!(!found.contains_key(&b"os.tar"[..]));
}

#[test]
fn packages_stay_reachable_where_tools_look_for_them() {
    let workshop = Workshop::new(AMD64, &[Shape::ubuntu(AMD64).base()]);
    let built = workshop.build().unwrap();
    let names: Vec<_> = built.release.packages.iter().map(|found| &*found.name).collect();
    assert_eq!(names, ["systemd"]);
    let image =
        kiln_erofs::Image::open(std::fs::File::open(workshop.output("ubuntu.root")).unwrap())
            .unwrap();
    let inode = image.lookup(b"usr/lib/tmpfiles.d/kiln-var.conf").unwrap().unwrap();
    let lines = String::from_utf8(image.read(&inode, 1 << 20).unwrap()).unwrap();
    // The link is relative to /var/lib, so it follows whichever release runs.
    let link = "L+ /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg";
    assert!(lines.lines().any(|line| line == link), "{lines}");
    assert!(lines.lines().any(|line| line == "d /var/log 2775 0 104 -"), "{lines}");
}
