//! What an image says about its machines, followed by the build: its layout, its word on `/etc`, and
//! boot programs that it does not have.

use std::fs::File;

use kiln_build::Input;
use kiln_disk::fat::Fat;
use kiln_disk::{FileDevice, gpt, layout};
use kiln_erofs::Image;
use kiln_lab::loaders;
use kiln_registry::Source;

use crate::entry::{Entry, file};
use crate::machine::Workshop;
use crate::programs::AMD64;
use crate::trees::Shape;

const MIB: u64 = 1 << 20;

/// Where a root carries boot programs from the builder's disk.
const BOOT_FILES: &str = "usr/lib/kiln/boot-files";

/// An Ubuntu with more files.
fn image(more: Vec<Entry>) -> Vec<Vec<Entry>> {
    vec![Shape::ubuntu(AMD64).base(), more]
}

#[test]
fn the_disk_has_the_sizes_of_the_images_layout_unless_the_call_says_otherwise() {
    let layout = b"format = \"kiln.layout.v1\"\nesp = \"96MiB\"\nslot = \"80MiB\"\n";
    let given = "format = \"kiln.layout.v1\"\nesp = \"112MiB\"\n".to_owned();
    for (own, wanted, flags, expected) in [
        (Some(layout), None, (None, None), (96, Some(80))),
        (Some(layout), None, (Some(64), None), (64, Some(80))),
        (Some(layout), None, (None, Some(72)), (96, Some(72))),
        (Some(layout), None, (Some(64), Some(72)), (64, Some(72))),
        // A layout that the call gives takes the place of the whole file.
        (Some(layout), Some(&given), (None, Some(72)), (112, Some(72))),
        (None, Some(&given), (Some(64), Some(72)), (64, Some(72))),
        (None, None, (None, Some(72)), (1024, Some(72))),
    ] {
        let more = own.map(|text| file("usr/lib/kiln/layout.toml", text));
        let mut workshop = Workshop::new(AMD64, &image(more.into_iter().collect()));
        workshop.options.layout = wanted.cloned();
        workshop.options.esp_size = flags.0.map(|size: u64| size * MIB);
        workshop.options.slot_size = flags.1.map(|size: u64| size * MIB);
        workshop.build().unwrap();
        let disk = workshop.disk("ubuntu");
        let length = |name: &str| {
            let found = disk.partitions.iter().find(|partition| partition.name == name);
            found.map(|partition| partition.length / MIB)
        };
        let found = (length("kiln-esp").unwrap(), length("kiln-root-a"));
        assert_eq!(found, expected, "{own:?} {wanted:?} {flags:?}");
    }
}

#[test]
fn a_setting_that_no_machine_could_follow_is_refused_by_its_line() {
    for (path, text, expected) in [
        ("usr/lib/kiln/etc-mode", "ephemral\n", "usr/lib/kiln/etc-mode:1: `ephemral` is neither"),
        (
            "usr/lib/kiln/layout.toml",
            "format = \"kiln.layout.v1\"\nesp = \"1MiB\"\n",
            "usr/lib/kiln/layout.toml:2:7: `esp` is less than 64 MiB",
        ),
    ] {
        let workshop = Workshop::new(AMD64, &image(vec![file(path, text.as_bytes())]));
        let error = workshop.build().unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("docs/")), "{error}");
        assert!(!workshop.output("ubuntu.root").exists());
    }
    let good = vec![file("usr/lib/kiln/etc-mode", b"ephemeral\n")];
    Workshop::new(AMD64, &image(good)).build().unwrap();
}

#[test]
fn boot_programs_of_the_builders_disk_are_there_for_the_machines_own_builds() {
    let (with, without): (Vec<Entry>, Vec<Entry>) = Shape::ubuntu(AMD64)
        .base()
        .into_iter()
        .partition(|entry| entry.path.starts_with("usr/lib/systemd/boot"));
    let mut workshop = Workshop::new(AMD64, &[without]);
    let error = workshop.build().unwrap_err();
    assert!(error.hint().unwrap().contains("--boot-files"), "{error}");
    let second = Workshop::new(AMD64, &[with]);
    workshop.options.boot_files = Some(second.source());
    let built = workshop.build().unwrap();
    let boot_file = std::fs::read(workshop.output("ubuntu.efi")).unwrap();

    // A machine has no more than the root: the recipe, and the folder that it names.
    let image = Image::open(File::open(workshop.output("ubuntu.root")).unwrap()).unwrap();
    let read = |path: &str| {
        let inode = image.lookup(path.as_bytes()).unwrap()?;
        Some(image.read(&inode, 1 << 20).unwrap())
    };
    let recipe = read("usr/lib/kiln/recipe.json").unwrap();
    let recipe: serde_json::Value = serde_json::from_slice(&recipe).unwrap();
    assert_eq!(recipe["boot_files"], format!("dir:/{BOOT_FILES}"));
    let machine = tempfile::tempdir().unwrap();
    let mut programs = 0;
    for name in ["linuxx64.efi.stub", "systemd-bootx64.efi", "systemd-bootx64.efi.signed"] {
        let path = format!("usr/lib/systemd/boot/efi/{name}");
        assert_eq!(read(&path), None, "not where an image has its own");
        if let Some(bytes) = read(&format!("{BOOT_FILES}/{path}")) {
            let place = machine.path().join(&path);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, bytes).unwrap();
            programs += 1;
        }
    }
    assert_eq!(programs, 2);

    let options = &mut workshop.options;
    options.boot_files = Some(Source::Directory(machine.path().to_owned()));
    options.output = machine.path().join("out");
    assert!(matches!(options.input, Input::Source(_)));
    let again = workshop.build().unwrap();
    assert_eq!(again.release, built.release, "machine and builder make the same root");
    let rebuilt = std::fs::read(machine.path().join("out/ubuntu.efi")).unwrap();
    assert!(rebuilt == boot_file);
}

/// Files of the ESP of a built disk below the folder that firmware looks into, and their contents.
fn loaders_on_disk(workshop: &Workshop) -> Vec<(String, Vec<u8>)> {
    let file = File::open(workshop.output("ubuntu.raw")).unwrap();
    let device = FileDevice::new(file, 512).unwrap();
    let table = gpt::read(&device).unwrap().table;
    let (_, esp) = table.named(layout::ESP.name).unwrap();
    let fat = Fat::open(&device, esp.offset(512), esp.length(512)).unwrap();
    let files = fat.list().unwrap().into_iter().filter(|entry| !entry.directory);
    let mut paths: Vec<String> =
        files.map(|entry| entry.path).filter(|path| path.starts_with("EFI/BOOT/")).collect();
    paths.sort_unstable();
    paths.into_iter().map(|path| (path.clone(), fat.read(&path, 1 << 20).unwrap())).collect()
}

#[test]
fn shim_is_laid_before_a_loader_that_it_starts_and_before_no_other() {
    let loader = |issuer| loaders::systemd_boot("257", 300, &[issuer]);
    let shim = loaders::shim("16.1", 300, &["Ubuntu"]);
    let manager = b"keys".to_vec();
    let places = [("usr/lib/shim/shimx64.efi.signed", &shim), ("usr/lib/shim/mmx64.efi", &manager)];
    let with = |signed: Option<&Vec<u8>>| {
        let mut more: Vec<Entry> = places.map(|(path, bytes)| file(path, bytes)).into();
        let path = "usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed";
        more.extend(signed.map(|bytes| file(path, bytes)));
        Workshop::new(AMD64, &image(more))
    };
    let own = loader("Ubuntu");
    let workshop = with(Some(&own));
    workshop.build().unwrap();
    let path = |name: &str| format!("EFI/BOOT/{name}");
    let expected = [
        (path("BOOTX64.EFI"), shim.clone()),
        (path("grubx64.efi"), own.clone()),
        (path("mmx64.efi"), manager.clone()),
    ];
    assert!(loaders_on_disk(&workshop) == expected);

    let others = loader("somebody else");
    for signed in [None, Some(&others)] {
        let workshop = with(signed);
        workshop.build().unwrap();
        let found = loaders_on_disk(&workshop);
        assert_eq!(found.len(), 1, "shim would start nothing");
        assert_eq!(found[0].0, path("BOOTX64.EFI"));
        assert!(signed.is_none_or(|bytes| *bytes == found[0].1));
    }

    // A set of the builder's disk is in the root, for the machine's own builds.
    let mut workshop = Workshop::new(AMD64, &image(Vec::new()));
    let second = with(Some(&own));
    workshop.options.boot_files = Some(second.source());
    workshop.build().unwrap();
    assert!(loaders_on_disk(&workshop) == expected);
    let image = Image::open(File::open(workshop.output("ubuntu.root")).unwrap()).unwrap();
    for (place, bytes) in places {
        let inode = image.lookup(format!("{BOOT_FILES}/{place}").as_bytes()).unwrap().unwrap();
        assert_eq!(image.read(&inode, 1 << 20).unwrap(), *bytes, "{place}");
    }
}
