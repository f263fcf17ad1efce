//! Promise: what a build writes is what the formats' own tools call right: the table, the ESP, the
//! hash tree, the disks, the boot file, and above all the root, which the kernel mounts and shows
//! every path of the image with its mode, owner, time, size and content.
//!
//! Mounting needs root; without it the last test fails and is not skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use kiln_lab::debian::Debian;
use kiln_lab::product::Build;
use kiln_lab::{Cache, Error, Failure, Oracle};
use tar::EntryType;

/// The sector that sgdisk counts in, in bytes.
const SECTOR: u64 = 512;

/// Paths of Kiln's own layer, which no image brought; whatever is below them counts as well.
const LAYER: &[&str] = &[
    "efi",
    "etc/systemd/system/systemd-bless-boot.service",
    "etc/systemd/system/systemd-boot-random-seed.service",
    "etc/systemd/system/systemd-boot-update.service",
    "oem",
    "state",
    "usr/bin/cos-deploy",
    "usr/bin/cos-installer",
    "usr/bin/cos-reset",
    "usr/bin/cos-setup",
    "usr/bin/cos-upgrade",
    "usr/bin/elemental",
    "usr/bin/kiln",
    "usr/bin/yip",
    "usr/lib/kiln",
    "usr/lib/sysimage",
    "usr/lib/systemd/system.conf.d",
    "usr/lib/systemd/system/boot-complete.target.d",
    "usr/lib/systemd/system/boot-complete.target.requires",
    "usr/lib/systemd/system/cos-setup-boot.service",
    "usr/lib/systemd/system/cos-setup-fs.service",
    "usr/lib/systemd/system/cos-setup-network.service",
    "usr/lib/systemd/system/cos-setup-reconcile.service",
    "usr/lib/systemd/system/cos-setup-reconcile.timer",
    "usr/lib/systemd/system/elemental-setup-boot.service",
    "usr/lib/systemd/system/elemental-setup-fs.service",
    "usr/lib/systemd/system/elemental-setup-network.service",
    "usr/lib/systemd/system/elemental-setup-reconcile.service",
    "usr/lib/systemd/system/elemental-setup-reconcile.timer",
    "usr/lib/systemd/system/emergency.service.d",
    "usr/lib/systemd/system/kiln-bless.service",
    "usr/lib/systemd/system/kiln-boot-failed.service",
    "usr/lib/systemd/system/kiln-health.service",
    "usr/lib/systemd/system/kiln-identity.path",
    "usr/lib/systemd/system/kiln-identity.service",
    "usr/lib/systemd/system/kiln-settle.service",
    "usr/lib/systemd/system/kiln-ssh-host-keys.service",
    "usr/lib/systemd/system/kiln-stage-boot.service",
    "usr/lib/systemd/system/kiln-stage-fs.service",
    "usr/lib/systemd/system/kiln-stage-network.service",
    "usr/lib/systemd/system/kiln-stage-reconcile.service",
    "usr/lib/systemd/system/kiln-stage-reconcile.timer",
    "usr/lib/systemd/system/multi-user.target.wants/kiln-bless.service",
    "usr/lib/systemd/system/multi-user.target.wants/kiln-settle.service",
    "usr/lib/systemd/system/multi-user.target.wants/kiln-ssh-host-keys.service",
    "usr/lib/systemd/system/multi-user.target.wants/kiln-stage-boot.service",
    "usr/lib/systemd/system/multi-user.target.wants/kiln-stage-network.service",
    "usr/lib/systemd/system/paths.target.wants",
    "usr/lib/systemd/system/rescue.service.d",
    "usr/lib/systemd/system/sysinit.target.wants/kiln-stage-fs.service",
    "usr/lib/systemd/system/timers.target.wants/kiln-stage-reconcile.timer",
    "usr/lib/tmpfiles.d/kiln-var.conf",
    "usr/share/factory",
    "var",
];

/// Both disks.
const DISKS: [&str; 2] = ["--format", "raw,qcow2"];

/// Copies a partition of the raw disk into a file.
fn partition(build: &Build, number: u32) -> Result<PathBuf, Error> {
    let disk = build.file("raw");
    let said =
        Oracle::new("sgdisk").arguments(["-i", &number.to_string()]).argument(&disk).run()?;
    let first = after(&said, "First sector: ")? * SECTOR;
    let length = after(&said, "Partition size: ")? * SECTOR;
    let path = build.work.join(format!("partition-{number}"));
    Oracle::new("dd")
        .arguments(["bs=1M", "conv=sparse", "status=none"])
        .arguments(["iflag=skip_bytes,count_bytes,fullblock"])
        .arguments([format!("skip={first}"), format!("count={length}")])
        .arguments([format!("if={}", disk.display()), format!("of={}", path.display())])
        .run()?;
    // Behind a hole at the end, dd leaves the file too short.
    File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(length))
        .map_err(error("grow", &path))?;
    Ok(path)
}

#[test]
fn sgdisk_and_fsck_agree_with_the_disk() -> Result<(), Failure> {
    let build = Build::new("disk", &DISKS)?;
    let said = Oracle::new("sgdisk").arguments(["-v"]).argument(build.file("raw")).run()?;
    assert!(said.contains("No problems found"), "{said}");
    // The first partition begins at 1 MiB, as fdisk has it, and not at once behind the table.
    let (about_gap, others): (Vec<_>, Vec<_>) = said
        .lines()
        .filter(|line| ["Warning", "Caution", "Problem:"].iter().any(|word| line.contains(word)))
        .partition(|line| line.contains("gap between the main partition table"));
    assert!(about_gap.len() <= 1 && others.is_empty(), "{said}");

    let esp = partition(&build, 2)?;
    Oracle::new("fsck.fat").arguments(["-n", "-v"]).argument(&esp).run()?;
    let unpacked = build.work.join("esp");
    fs::create_dir(&unpacked).map_err(error("create", &unpacked))?;
    Oracle::new("mcopy")
        .arguments(["-s", "-n", "-i"])
        .argument(&esp)
        .arguments(["::EFI".as_ref(), unpacked.as_os_str()])
        .run()?;
    let boot_files = unpacked.join("EFI/Linux");
    let listed: Vec<_> = fs::read_dir(&boot_files)
        .and_then(Iterator::collect)
        .map_err(error("read", &boot_files))?;
    assert_eq!(listed.len(), 1, "{listed:?}");
    same(&listed[0].path(), &build.file("efi"))?;
    let firmware_looks_here = unpacked.join("EFI/BOOT/BOOTX64.EFI");
    assert!(firmware_looks_here.is_file(), "no loader at {}", firmware_looks_here.display());

    let slot = partition(&build, 3)?;
    let root = build.file("root");
    let length = fs::metadata(&root).map_err(error("read", &root))?.len();
    Oracle::new("cmp")
        .arguments(["-n".to_owned(), length.to_string()])
        .arguments([&slot, &root])
        .run()?;
    Ok(())
}

#[test]
fn qemu_img_agrees_with_the_disks() -> Result<(), Failure> {
    let build = Build::new("disks", &DISKS)?;
    let (raw, qcow2) = (build.file("raw"), build.file("qcow2"));
    let said =
        Oracle::new("qemu-img").arguments(["check", "-f", "qcow2"]).argument(&qcow2).run()?;
    assert!(said.contains("No errors were found"), "{said}");
    // Not strict: the qcow2 disk may be larger, and is zero where the raw one has ended.
    Oracle::new("qemu-img")
        .arguments(["compare", "-q", "-f", "raw", "-F", "qcow2"])
        .arguments([&raw, &qcow2])
        .run()?;
    Ok(())
}

#[test]
fn veritysetup_and_fsck_agree_with_the_root() -> Result<(), Failure> {
    let build = Build::new("root", &DISKS)?;
    let root = build.file("root");
    let blocks = build.fact("/root/data_blocks")?;
    let offset = blocks.parse().map(|blocks: u64| blocks * 4096).unwrap_or_default();
    let hash = build.fact("/root/hash")?;
    let verify = |hash: &str| {
        Ok::<_, Error>(
            Oracle::new("veritysetup")
                .arguments(["verify", "--no-superblock", "--format=1", "--hash=sha256"])
                .arguments(["--data-block-size=4096", "--hash-block-size=4096"])
                .arguments([format!("--data-blocks={blocks}"), format!("--hash-offset={offset}")])
                .arguments([format!("--salt={}", build.fact("/root/salt")?)])
                .arguments([&root, &root])
                .argument(hash),
        )
    };
    verify(&hash)?.run()?;
    let wrong = verify(&"0".repeat(hash.len()))?.run();
    assert!(matches!(wrong, Err(Error::Tool { .. })), "veritysetup takes any hash");
    let length = fs::metadata(&root).map_err(error("read", &root))?.len();
    assert_eq!(build.fact("/root/length")?, length.to_string());

    // The usual codec is lz4, which every version of this tool reads.
    Oracle::new("fsck.erofs").arguments(["--extract"]).argument(&root).run()?;
    Ok(())
}

#[test]
fn binutils_agree_with_the_boot_file() -> Result<(), Failure> {
    let build = Build::new("boot-file", &DISKS)?;
    let file = build.file("efi");
    let said = Oracle::new("objdump").arguments(["-h", "-w"]).argument(&file).run()?;
    let mut end = 0;
    let mut names = BTreeSet::new();
    for line in said.lines() {
        // Index, name, size, virtual address; the others begin with a word.
        let words: Vec<&str> = line.split_whitespace().collect();
        let [index, name, size, address, ..] = words.as_slice() else { continue };
        if index.parse::<u32>().is_err() {
            continue;
        }
        let (Ok(size), Ok(address)) =
            (u64::from_str_radix(size, 16), u64::from_str_radix(address, 16))
        else {
            return Err(Error::Unexpected { what: "objdump's line".into(), text: said }.into());
        };
        assert!(address >= end, "{name} lies over the section before it:\n{said}");
        end = address + size;
        assert!(names.insert((*name).to_owned()), "{name} is there twice:\n{said}");
    }
    for name in [".text", ".osrel", ".cmdline", ".uname", ".initrd", ".linux", ".sbat"] {
        assert!(names.contains(name), "{name} is missing:\n{said}");
    }

    let section = |name: &str| -> Result<Vec<u8>, Error> {
        let path = build.work.join(format!("section{name}"));
        Oracle::new("objcopy")
            .arguments(["-O", "binary", &format!("--dump-section={name}={}", path.display())])
            .arguments([file.as_os_str(), "/dev/null".as_ref()])
            .run()?;
        fs::read(&path).map_err(error("read", &path))
    };
    let kernel = build.fact("/kernel")?;
    let text =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches(['\0', '\n']).to_owned();
    assert_eq!(text(&section(".uname")?), kernel);
    let demanded = format!(
        "kiln.root={}:{}:{}",
        build.fact("/root/hash")?,
        build.fact("/root/data_blocks")?,
        build.fact("/root/salt")?
    );
    let command_line = text(&section(".cmdline")?);
    assert!(command_line.split(' ').any(|word| word == demanded), "{command_line}");
    assert!(text(&section(".osrel")?).lines().any(|line| line.starts_with("PRETTY_NAME=")));

    let wanted = format!("boot/vmlinuz-{kernel}");
    let mut found = None;
    read_tar(|path, entry| {
        if path == wanted.as_bytes() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            found = Some(bytes);
        }
        Ok(())
    })?;
    assert!(found.is_some_and(|bytes| section(".linux").is_ok_and(|linux| linux == bytes)));
    Ok(())
}

#[test]
fn the_kernel_shows_every_path_of_the_image() -> Result<(), Failure> {
    let build = Build::new("mount", &DISKS)?;
    let mounted = Mount::new(&build.file("root"), build.work.join("mounted"))?;
    let mut differences = Vec::new();
    let mut expected = BTreeSet::new();
    let mut numbers = BTreeMap::new();
    read_tar(|path, entry| {
        if is_layer(path) {
            return Ok(());
        }
        expected.insert(path.to_owned());
        let place = mounted.place(path);
        let name = String::from_utf8_lossy(path).into_owned();
        match fs::symlink_metadata(&place) {
            Err(reason) => differences.push(format!("{name}: {reason}")),
            Ok(found) => {
                numbers.insert(path.to_owned(), found.ino());
                compare(entry, &found, &place, &numbers)?
                    .into_iter()
                    .for_each(|difference| differences.push(format!("{name}: {difference}")));
            }
        }
        Ok(())
    })?;
    let mut shown = BTreeSet::new();
    list(&mounted.folder, &mounted.folder, &mut shown).map_err(error("read", &mounted.folder))?;
    for path in shown.difference(&expected) {
        differences.push(format!("{}: not in the image", String::from_utf8_lossy(path)));
    }
    assert!(expected.len() > 1000, "only {} paths were compared", expected.len());
    let count = differences.len();
    differences.truncate(40);
    assert!(count == 0, "{count} of {}:\n{}", expected.len(), differences.join("\n"));
    Ok(())
}

/// A mounted root; unmounted at the end, also of a failing test.
struct Mount {
    folder: PathBuf,
}

impl Mount {
    fn new(image: &Path, folder: PathBuf) -> Result<Self, Error> {
        fs::create_dir(&folder).map_err(error("create", &folder))?;
        Oracle::new("mount")
            .arguments(["-t", "erofs", "-o", "ro,loop,noexec,nosuid,nodev"])
            .arguments([image, &folder])
            .run()?;
        Ok(Self { folder })
    }

    fn place(&self, path: &[u8]) -> PathBuf {
        self.folder.join(std::ffi::OsStr::from_bytes(path))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A test that fails already has said why.
        let _ = Oracle::new("umount").argument(&self.folder).run();
    }
}

/// What differs between an entry of the tar and what the kernel shows in its place.
fn compare(
    entry: &mut tar::Entry<'_, File>,
    found: &Metadata,
    place: &Path,
    numbers: &BTreeMap<Vec<u8>, u64>,
) -> io::Result<Vec<String>> {
    let header = entry.header().clone();
    let mut differences = Vec::new();
    let mut same = |what: &str, expected: String, found: String| {
        if expected != found {
            differences.push(format!("{what} is {found}, was {expected}"));
        }
    };
    if header.entry_type() == EntryType::Link {
        // Its other facts are those of the file that it is another name of.
        let target = entry.link_name_bytes().map(|name| trimmed(&name).to_owned());
        let expected = target.and_then(|target| numbers.get(&target).copied());
        same("inode", format!("{expected:?}"), format!("{:?}", Some(found.ino())));
        return Ok(differences);
    }
    let kind = found.file_type();
    let is_right = match header.entry_type() {
        EntryType::Directory => kind.is_dir(),
        EntryType::Symlink => kind.is_symlink(),
        EntryType::Char => kind.is_char_device(),
        EntryType::Block => kind.is_block_device(),
        EntryType::Fifo => kind.is_fifo(),
        _ => kind.is_file(),
    };
    same(
        "the kind",
        format!("{:?}", header.entry_type()),
        match is_right {
            true => format!("{:?}", header.entry_type()),
            false => format!("{kind:?}"),
        },
    );
    same("mode", format!("{:o}", header.mode()? & 0o7777), format!("{:o}", found.mode() & 0o7777));
    same("uid", header.uid()?.to_string(), found.uid().to_string());
    same("gid", header.gid()?.to_string(), found.gid().to_string());
    same("time", header.mtime()?.to_string(), found.mtime().to_string());
    if kind.is_file() {
        same("size", entry.size().to_string(), found.size().to_string());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        same(
            "content",
            "equal".into(),
            match fs::read(place)? == bytes {
                true => "equal".into(),
                false => "different".into(),
            },
        );
    } else if kind.is_symlink() {
        let target = entry.link_name_bytes().unwrap_or_default();
        let expected = String::from_utf8_lossy(&target).into_owned();
        same("target", expected, fs::read_link(place)?.to_string_lossy().into_owned());
    } else if kind.is_char_device() || kind.is_block_device() {
        let number = |part: Option<u32>| u64::from(part.unwrap_or_default());
        let expected = (number(header.device_major()?) << 8) | number(header.device_minor()?);
        same("device", expected.to_string(), found.rdev().to_string());
    }
    Ok(differences)
}

/// Reads the image's tree, with paths that have neither a leading `./` nor a trailing `/`.
fn read_tar(
    mut each: impl FnMut(&[u8], &mut tar::Entry<'_, File>) -> io::Result<()>,
) -> Result<(), Error> {
    let path = Debian::get(&Cache::open()?)?.tree();
    let mut read = || {
        let mut archive = tar::Archive::new(File::open(&path)?);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = trimmed(&entry.path_bytes()).to_owned();
            each(&name, &mut entry)?;
        }
        Ok(())
    };
    read().map_err(error("read", &path))
}

fn trimmed(path: &[u8]) -> &[u8] {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    path.strip_suffix(b"/").unwrap_or(path)
}

/// All paths below `folder` that are not of Kiln's layer, the root itself as an empty one.
fn list(top: &Path, folder: &Path, found: &mut BTreeSet<Vec<u8>>) -> io::Result<()> {
    let name =
        |path: &Path| path.strip_prefix(top).unwrap_or(path).as_os_str().as_bytes().to_owned();
    found.insert(name(folder));
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if is_layer(&name(&path)) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            list(top, &path, found)?;
        } else {
            found.insert(name(&path));
        }
    }
    Ok(())
}

fn is_layer(path: &[u8]) -> bool {
    LAYER.iter().any(|layer| {
        path.strip_prefix(layer.as_bytes()).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
    })
}

/// The number behind this word of sgdisk's description.
fn after(text: &str, word: &str) -> Result<u64, Error> {
    text.lines()
        .find_map(|line| line.strip_prefix(word)?.split(' ').next()?.parse().ok())
        .ok_or_else(|| Error::Unexpected { what: word.into(), text: text.into() })
}

fn same(left: &Path, right: &Path) -> Result<(), Error> {
    Oracle::new("cmp").arguments([left, right]).run().map(drop)
}

fn error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path: path.clone(), source }
}
