//! Images that cannot become a system are refused in words that help, and leave nothing behind.

use crate::entry::{Entry, file, whiteout};
use crate::machine::Workshop;
use crate::programs::{AMD64, kernel};
use crate::trees::Shape;

/// What is built must fail with this message and this remedy.
fn refused(layers: &[Vec<Entry>], message: &str, remedy: &str) {
    let workshop = Workshop::new(AMD64, layers);
    let error = workshop.build().unwrap_err();
    assert!(error.to_string().contains(message), "{error}");
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains(remedy), "{message}: {hint}");
    // The folder itself may be gone, too.
    let left: Vec<_> = std::fs::read_dir(workshop.output("")).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_image_without_systemd_is_told_what_to_install() {
    refused(
        &[Shape::alpine().base()],
        "the image has no systemd stub (usr/lib/systemd/boot/efi/linuxx64.efi.stub)",
        "--boot-files",
    );
}

#[test]
fn what_is_missing_or_ambiguous_is_named_with_its_remedy() {
    let shape = Shape::ubuntu(AMD64);
    let folder = format!("usr/lib/modules/{}", shape.release);
    let dependencies = "kernel/fs/fat/vfat.ko.zst:\n";
    let cases: [(Entry, &str, &str); 5] = [
        (whiteout(&shape.kernel), "the image has no kernel", "linux-image-amd64"),
        (
            file("boot/vmlinuz-6.8.0-32-generic", &kernel(AMD64, "6.8.0-32-generic")),
            "the image has 2 kernels",
            "all kernels but one",
        ),
        (whiteout(&format!("{folder}/modules.dep")), "no module index", "depmod"),
        (
            file(&format!("{folder}/modules.dep"), dependencies.as_bytes()),
            "lacks EROFS (CONFIG_EROFS_FS), dm-verity (CONFIG_DM_VERITY), overlayfs",
            "linux-modules-extra",
        ),
        (
            whiteout("usr/lib/systemd/boot/efi/systemd-bootx64.efi"),
            "no boot loader",
            "systemd-boot",
        ),
    ];
    for (spoils, message, remedy) in cases {
        refused(&[shape.base(), vec![spoils]], message, remedy);
    }
}

#[test]
fn boot_programs_may_come_from_a_second_image() {
    let mut workshop = Workshop::new(AMD64, &[Shape::alpine().base()]);
    let second = Workshop::new(AMD64, &[Shape::fedora().base()]);
    workshop.options.boot_files = Some(second.source());
    let built = workshop.build().unwrap();
    assert_eq!((&*built.release.name, &*built.release.kernel), ("alpine", "6.12.13-0-virt"));
    let names: Vec<_> = built.release.packages.iter().map(|found| &*found.name).collect();
    assert_eq!(names, ["musl"]);
}
