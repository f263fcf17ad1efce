//! Other people's tools read the media as they were meant.
#![expect(clippy::unwrap_used, reason = "test helpers")]

#[expect(dead_code, reason = "shared between tests")]
mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::full_medium;
use kiln_iso::{Content, Layout, Medium, Tree, plan, write};

/// Both streams of a tool that must be content.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| panic!("{program} must be installed: {error}"));
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{program} {arguments:?}: {text:?}");
    text.concat()
}

fn write_to(folder: &Path, name: &str, layout: &Layout<'_>) -> PathBuf {
    let path = folder.join(name);
    write(layout, &File::create_new(&path).unwrap()).unwrap();
    path
}

fn full(folder: &Path) -> (PathBuf, Layout<'static>) {
    let layout = plan(full_medium()).unwrap();
    (write_to(folder, "full.iso", &layout), layout)
}

#[test]
fn xorriso_sees_both_boot_images_and_the_tree() {
    let folder = tempfile::tempdir().unwrap();
    let (path, layout) = full(folder.path());
    let path = path.to_str().unwrap();
    let text = run("xorriso", &["-indev", path, "-report_el_torito", "plain"]);
    let core = layout.core.unwrap().offset / 2048;
    let esp = layout.esp.unwrap().offset / 2048;
    for line in [
        format!("El Torito boot img :   1  BIOS  y   none  0x0000  0x00      4  {core:>10}"),
        format!("El Torito boot img :   2  UEFI  y   none  0x0000  0x00      0  {esp:>10}"),
        "El Torito img path :   1  /boot/grub/core.img".into(),
        "El Torito img opts :   1  boot-info-table grub2-boot-info".into(),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    assert!(!text.to_lowercase().contains("warning"), "{text}");
    let text = run("xorriso", &["-indev", path, "-report_system_area", "plain"]);
    let root = layout.root.unwrap();
    for line in [
        "System area options: 0x00004201".to_owned(),
        "System area summary: MBR protective-msdos-label grub2-mbr cyl-align-off GPT".into(),
        format!("GPT start and size :   3  {}  {}", root.offset / 512, root.length / 512),
        "GPT partition path :   2  /kiln/esp.img".into(),
        "GPT partition path :   3  /kiln/root.img".into(),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    let text = run("xorriso", &["-indev", path, "-find", "/", "-exec", "lsdl", "--"]);
    for line in
        ["Größe: a*b?.txt", "'/absolute' -> '/boot/vmlinuz'", "'/boot/link' -> '../kiln/root.img'"]
    {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.contains(&"n".repeat(255)) && text.contains(&("x/".repeat(500) + "y")), "{text}");
    assert!(text.contains("drwx------") && text.contains("Sep 13  2020"), "{text}");
    // It reads every file, and the bytes are those that were put in.
    let out = folder.path().join("out");
    run("xorriso", &["-osirrox", "on", "-indev", path, "-extract", "/", out.to_str().unwrap()]);
    assert_eq!(std::fs::read(out.join("boot/vmlinuz")).unwrap(), vec![0x11; 70_000]);
    let image = std::fs::read(path).unwrap();
    let place = root.offset as usize..root.end() as usize;
    assert!(std::fs::read(out.join("kiln/root.img")).unwrap() == image[place]);
}

#[test]
fn isoinfo_reads_all_three_trees_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = full(folder.path());
    let path = path.to_str().unwrap();
    let text = run("isoinfo", &["-d", "-i", path]);
    for line in [
        "Volume id: KILN_TEST",
        "System id: LINUX",
        "Application id: KILN",
        "Joliet with UCS level 3 found",
        "Rock Ridge signatures version 1 found",
        "Eltorito defaultboot header",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let plain = run("isoinfo", &["-l", "-i", path]);
    assert!(plain.contains("GRUB.CFG;1") && plain.contains("/BOOT/GRUB"), "{plain}");
    let rock = run("isoinfo", &["-l", "-R", "-i", path]);
    assert!(rock.contains("grub.cfg") && rock.contains(&"n".repeat(255)), "{rock}");
    let joliet = run("isoinfo", &["-l", "-J", "-i", path]);
    assert!(joliet.contains("grub.cfg") && joliet.contains(&"n".repeat(64)), "{joliet}");
    let content = run("isoinfo", &["-R", "-x", "/boot/grub/grub.cfg", "-i", path]);
    assert!(content.contains("menuentry kiln {\n}\n"), "{content}");
}

#[test]
fn bsdtar_reads_deep_and_wide_trees() {
    let folder = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    for number in 0..10_000 {
        let content = Content::bytes(format!("{number}").into_bytes());
        tree.file(format!("many/{number}"), 0o644, content).unwrap();
    }
    let deep = "d/".repeat(100) + "end";
    tree.file(&*deep, 0o644, Content::bytes(&b"deep"[..])).unwrap();
    tree.file("e".repeat(255), 0o644, Content::bytes(&b"long"[..])).unwrap();
    let path = write_to(folder.path(), "tree.iso", &plan(Medium::new("T", [0; 32], tree)).unwrap());
    let path = path.to_str().unwrap();
    let listed = run("bsdtar", &["-tf", path]);
    assert_eq!(listed.lines().filter(|line| line.starts_with("many/")).count(), 10_000);
    assert!(listed.contains(&deep) && listed.contains(&"e".repeat(255)), "{listed}");
    assert_eq!(run("bsdtar", &["-xOf", path, "many/7777"]), "7777");
    assert_eq!(run("bsdtar", &["-xOf", path, &deep]), "deep");
    let text = run("xorriso", &["-indev", path, "-find", "/many", "-type", "f"]);
    assert_eq!(text.lines().filter(|line| line.starts_with("'/many/")).count(), 10_000);
}

#[test]
fn the_same_bytes_are_a_sound_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (path, layout) = full(folder.path());
    let name = path.to_str().unwrap();
    let verified = run("sgdisk", &["-v", name]);
    assert!(verified.contains("No problems found"), "{verified}");
    let printed = run("sgdisk", &["-p", name]);
    assert!(printed.contains("kiln-medium-esp") && printed.contains("EF00"), "{printed}");
    assert!(printed.contains("kiln-medium-root"), "{printed}");
    let esp = layout.esp.unwrap();
    let mut bytes = vec![0; esp.length as usize];
    File::open(&path).unwrap().read_exact_at(&mut bytes, esp.offset).unwrap();
    let part = folder.path().join("esp");
    std::fs::write(&part, &bytes).unwrap();
    let checked = run("fsck.fat", &["-n", part.to_str().unwrap()]);
    assert!(!checked.contains("differ") && checked.contains("files"), "{checked}");
}
