//! GRUB's own tools on what this crate makes: grub-mkimage on core images, grub-script-check on
//! scripts, grub-editenv on environment blocks.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::fs;
use std::path::Path;

use kiln_grub::core::{
    CD_MODULES, CD_PREFIX, Directory, MODULES, PREFIX, Partition, Recipe, START, cd, disk, on_cd,
    payload,
};
use kiln_grub::environment::Environment;
use kiln_grub::menu::{Settings, menu};
use kiln_grub::revision::{Blocks, Revision};
use kiln_grub::users::{Protection, User, users};
use kiln_lab::Oracle;
use liblzma::stream::{Action, Filters, LzmaOptions, Stream};

/// Another folder of modules than Debian's package has.
const FOLDER_VARIABLE: &str = "KILN_TEST_GRUB";
const FOLDER: &str = "/usr/lib/grub/i386-pc";

/// Sectors in front of the decompressor, and where that holds the length of what it unpacks.
const SECTOR: usize = 512;
const UNPACKED: usize = 0x0c;

fn folder() -> String {
    std::env::var(FOLDER_VARIABLE).unwrap_or_else(|_| FOLDER.to_owned())
}

fn grub() -> Directory {
    Directory::new(Path::new(&folder()))
}

/// What grub-mkimage makes of the same recipe.
fn theirs(format: &str, recipe: &Recipe<'_>) -> Vec<u8> {
    let work = tempfile::tempdir().unwrap();
    let (configuration, image) = (work.path().join("early.cfg"), work.path().join("core.img"));
    fs::write(&configuration, recipe.configuration).unwrap();
    Oracle::new("grub-mkimage")
        .arguments(["-O", format, "-d", &folder(), "-p", recipe.prefix, "-c"])
        .argument(&configuration)
        .argument("-o")
        .argument(&image)
        .arguments(recipe.modules)
        .run()
        .unwrap();
    fs::read(image).unwrap()
}

/// What a core image, which begins with the sector of diskboot.img, unpacks to.
fn unpacked(core: &[u8]) -> Vec<u8> {
    let decompressor = fs::read(Path::new(&folder()).join("lzma_decompress.img")).unwrap().len();
    let length = &core[SECTOR + UNPACKED..SECTOR + UNPACKED + 4];
    let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
    let mut options = LzmaOptions::new_preset(6).unwrap();
    options.dict_size(1 << 16);
    let mut filters = Filters::new();
    filters.lzma1(&options);
    let mut bytes = Vec::with_capacity(length);
    let mut stream = Stream::new_raw_decoder(&filters).unwrap();
    // grub-mkimage writes no mark at the end, so there is no last status to wait for.
    let packed = &core[SECTOR + decompressor..];
    let _ = stream.process_vec(packed, &mut bytes, Action::Run).unwrap();
    assert_eq!(bytes.len(), length);
    bytes
}

/// The same but for what packs it: lengths of what is packed, and that itself.
fn without_packed(core: &[u8]) -> Vec<u8> {
    let decompressor = fs::read(Path::new(&folder()).join("lzma_decompress.img")).unwrap().len();
    let mut head = core[..SECTOR + decompressor].to_vec();
    head[SECTOR + 8..SECTOR + 12].fill(0);
    head[0x1fc..0x1fe].fill(0);
    head
}

#[test]
fn core_images_hold_what_grub_mkimage_puts_in_them() {
    let recipe = Recipe { modules: MODULES, prefix: PREFIX, configuration: START };
    let theirs_disk = theirs("i386-pc", &recipe);
    let ours = payload(&grub(), &recipe).unwrap();
    assert!(ours == unpacked(&theirs_disk), "payload of a disk");
    let partition = Partition { offset: 1 << 20, length: 1 << 20, sector_size: 512 };
    let mut core = disk(&grub(), partition).unwrap().core;
    assert!(ours == unpacked(&core), "packed and unpacked");
    // Only the place on the disk is another.
    assert_eq!(core[0x1f4..0x1fc], 2049_u64.to_le_bytes());
    core[0x1f4..0x1fc].copy_from_slice(&theirs_disk[0x1f4..0x1fc]);
    assert!(without_packed(&core) == without_packed(&theirs_disk), "frame of a disk");
    // Close to what their encoder makes.
    assert!(core.len() * 100 < theirs_disk.len() * 105, "{} {}", core.len(), theirs_disk.len());

    let recipe = Recipe { modules: CD_MODULES, prefix: CD_PREFIX, configuration: START };
    let theirs_cd = theirs("i386-pc-eltorito", &recipe);
    let image = cd(&grub(), &recipe).unwrap();
    assert!(image[..2048] == theirs_cd[..2048], "cdboot.img");
    assert!(unpacked(&image[2048..]) == unpacked(&theirs_cd[2048..]), "payload of a CD");
    assert!(without_packed(&image[2048..]) == without_packed(&theirs_cd[2048..]), "frame of a CD");

    let bare = Recipe { modules: &["fat"], prefix: "/", configuration: "" };
    assert!(payload(&grub(), &bare).unwrap().ends_with(b"/\0\0\0"));
}

#[test]
fn a_cd_is_told_its_place_as_xorriso_tells_it() {
    let recipe = Recipe { modules: &["iso9660", "normal"], prefix: CD_PREFIX, configuration: "" };
    let mut image = cd(&grub(), &recipe).unwrap();
    let work = tempfile::tempdir().unwrap();
    let (tree, medium) = (work.path().join("tree"), work.path().join("a.iso"));
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("boot.img"), &image).unwrap();
    Oracle::new("xorriso")
        .arguments(["-as", "mkisofs", "-b", "boot.img", "-no-emul-boot", "-boot-load-size", "4"])
        .arguments(["-boot-info-table", "--grub2-boot-info", "-o"])
        .arguments([&medium, &tree])
        .run()
        .unwrap();
    let medium = fs::read(medium).unwrap();
    let mut blocks = medium.chunks(2048).zip(0_u32..);
    let (_, block) = blocks.find(|(bytes, _)| bytes[64..] == image[64..2048]).unwrap();
    on_cd(&mut image, block).unwrap();
    let start = block as usize * 2048;
    assert!(medium[start..start + image.len()] == image);
}

fn check_script(text: &str) {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("script.cfg");
    fs::write(&path, text).unwrap();
    let outcome = Oracle::new("grub-script-check").argument(&path).outcome().unwrap();
    assert_eq!(outcome.status, 0, "{}\n{text}", outcome.text);
}

#[test]
fn scripts_are_scripts() {
    check_script(&menu(&Settings::default()));
    check_script(&menu(&Settings { seconds: 5, serial: None }));
    let hash = "grub.pbkdf2.sha512.10000.AB.CD";
    let list = [User { name: "root", password: hash }];
    check_script(&users(&list, Protection::Menu).unwrap());
    for word in ["a", "$x ${y} $(z) `w` \"q\" ; & | { } < > # \\ * ? [a] !", "\u{e9}", "}", "fi"] {
        let revision = Revision {
            title: word.to_owned(),
            command_line: vec![word.to_owned()],
            kernel: Blocks { first: 6, count: 1 },
            initramfs: Blocks { first: 4, count: 2 },
        };
        check_script(&revision.script().unwrap());
    }
}

#[test]
fn blocks_are_what_grub_editenv_makes() {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("grubenv");
    let edit = |arguments: &[&str]| {
        let call = Oracle::new("grub-editenv").argument(&path);
        call.arguments(arguments).run().unwrap()
    };
    edit(&["create"]);
    let mut environment = Environment::default();
    assert_eq!(environment.to_bytes().unwrap(), fs::read(&path).unwrap());
    environment.set_left(7, Some(3));
    environment.set_one_shot(Some("kiln-recovery.efi"));
    environment.set_left(8, Some(3));
    environment.set_left(7, Some(2));
    edit(&["set", "left_00000007=3", "oneshot=kiln-recovery.efi", "left_00000008=3"]);
    edit(&["set", "left_00000007=2"]);
    assert_eq!(environment.to_bytes().unwrap(), fs::read(&path).unwrap());
    environment.set_one_shot(None);
    edit(&["unset", "oneshot"]);
    assert_eq!(environment.to_bytes().unwrap(), fs::read(&path).unwrap());
    edit(&["set", "other=a\\b=c #"]);
    let theirs = Environment::parse(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(theirs.get("other"), Some(&b"a\\b=c #"[..]));
    assert_eq!(theirs.to_bytes().unwrap(), fs::read(&path).unwrap());
    fs::write(&path, environment.to_bytes().unwrap()).unwrap();
    assert_eq!(edit(&["list"]), "left_00000007=2\nleft_00000008=3\n");
}
