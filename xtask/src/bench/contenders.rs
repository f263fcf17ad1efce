//! Who is measured, and by which command line.
//!
//! Kiln is always measured whole, from the image to the finished disk, boot file and release,
//! because its root image is not made apart. The makers of file systems get the files of Kiln's own
//! root, taken out of it by fsck.erofs, so that lengths compare the same files with the same owners
//! and times; they make nothing but the file system: less work than Kiln's. systemd-repart gets the unpacked tree
//! and a ready boot file and makes the same partitions as Kiln: the boot partition, an EROFS root
//! in LZ4 and its hash tree. mkosi makes these from the unpacked tree, boot file and loader too.

use std::fs;
use std::path::{Path, PathBuf};

use super::tools::{BENCH, Tools};
use super::trees::{Tree, TreeName};
use crate::error::{Error, file_error};

/// Where a contender's root image is found after a run, for its length.
#[derive(Debug, Clone, Copy)]
pub(super) enum Root {
    /// In Kiln's release, without the hash tree, which no other root image holds.
    Release,
    /// The file of this name.
    File(&'static str),
    /// Inside the disk.
    Hidden,
}

/// A program with its arguments.
#[derive(Debug)]
pub(super) struct Contender {
    /// What it is called in the table.
    pub(super) name: &'static str,
    /// The command line inside the tools' root.
    pub(super) words: Vec<String>,
    /// Its root image.
    pub(super) root: Root,
    /// Its disk, if it makes one.
    pub(super) disk: Option<&'static str>,
}

/// The release's name in all of Kiln's runs.
const NAME: &str = "bench";

/// A newc archive of no files (cpio(5)): the initramfs that mkosi packs instead of making one.
const EMPTY_ARCHIVE: &str = concat!(
    "07070100000000000000000000000000000000000000010000000000000000",
    "000000000000000000000000000000000000000B00000000TRAILER!!!\0\0\0\0"
);

/// Length of the boot partition: Kiln's own.
const BOOT_PARTITION: &str = "1G";

/// Names of Kiln's runs, which the goals speak of.
pub(super) const KILN_LZ4: &str = "kiln lz4";
pub(super) const KILN_ZSTD: &str = "kiln zstd:3";
pub(super) const KILN_LZ4HC: &str = "kiln lz4hc:9";
/// Names of those that the goals compare with.
pub(super) const EROFS_ZSTD_64K: &str = "mkfs.erofs zstd:3 64K";
pub(super) const EROFS_ZSTD_1M: &str = "mkfs.erofs zstd:3 1M";
pub(super) const EROFS_LZ4HC: &str = "mkfs.erofs lz4hc:9 64K";
pub(super) const REPART: &str = "systemd-repart lz4";
pub(super) const MKOSI: &str = "mkosi lz4";
/// Names of those that no goal speaks of.
const EROFS_LZ4: &str = "mkfs.erofs lz4 64K";
const SQUASHFS_ZSTD: &str = "mksquashfs zstd:3";
const SQUASHFS_ZSTD_15: &str = "mksquashfs zstd:15";

/// Whether a goal with a limit speaks of this contender; others are shown for orientation.
pub(super) fn is_judged(name: &str) -> bool {
    ![MKOSI, EROFS_LZ4, SQUASHFS_ZSTD, SQUASHFS_ZSTD_15].contains(&name)
}

/// A build by Kiln of an image at this place inside the root.
pub(super) fn kiln(folder: &str, codec: &str, output: &str) -> Vec<String> {
    let image = format!("oci-archive:{folder}/image.tar");
    let binary = format!("{BENCH}/kiln");
    [&binary, "-q", "build", &image, "-f", "raw", "--compress", codec, "--name", NAME, "-o", output]
        .map(str::to_owned)
        .to_vec()
}

/// All contenders for a tree, and what they need beforehand.
pub(super) fn prepare(tools: &Tools, tree: &Tree, name: TreeName) -> Result<Vec<Contender>, Error> {
    let name = name.text();
    let folder = format!("{BENCH}/{name}");
    tools.bind(&tree.folder(), &folder)?;
    let source = format!("{BENCH}/scratch/{name}-root");
    let ready = ready_files(tools, &folder, name, &source)?;
    // A second sight of the tree, in which the boot files are seen; the first stays as it is.
    let sight = format!("{BENCH}/{name}-with-boot-files");
    tools.bind(&tree.folder().join("tree"), &sight)?;
    tools.bind(&ready, &format!("{sight}/efi"))?;
    let definitions = format!("{BENCH}/scratch/{name}-repart");
    write_definitions(&tools.outside(&definitions), &["/efi:/"])?;
    let mkosi = format!("{BENCH}/scratch/{name}-mkosi");
    write_mkosi(&tools.outside(&mkosi), &folder)?;

    let out = format!("{BENCH}/scratch/out");
    let erofs = |name, arguments: &[&str]| Contender {
        name,
        words: ["mkfs.erofs", "--quiet", "-Uclear"]
            .iter()
            .chain(arguments)
            .copied()
            .chain([format!("{out}/root").as_str(), &source])
            .map(str::to_owned)
            .collect(),
        root: Root::File("root"),
        disk: None,
    };
    let squashfs = |name, arguments: &[&str]| Contender {
        name,
        words: ["mksquashfs", &source, &format!("{out}/root"), "-quiet", "-no-progress"]
            .iter()
            .chain(arguments)
            .map(|word| (*word).to_owned())
            .collect(),
        root: Root::File("root"),
        disk: None,
    };
    let kiln = |name, codec| Contender {
        name,
        words: kiln(&folder, codec, &out),
        root: Root::Release,
        disk: Some("bench.raw"),
    };
    let repart: Vec<String> = [
        "systemd-repart",
        "--offline=yes",
        "--empty=create",
        "--size=auto",
        "--dry-run=no",
        "--no-pager",
        "--seed=6c1f0a52-5d0e-4b5a-9a39-5fd3f5b1a3c7",
        &format!("--definitions={definitions}"),
        &format!("--root={sight}"),
        &format!("{out}/repart.raw"),
    ]
    .map(str::to_owned)
    .to_vec();
    let mkosi = ["mkosi", "--directory", &mkosi, "--force", "build"].map(str::to_owned).to_vec();
    Ok(vec![
        kiln(KILN_LZ4, "lz4"),
        Contender { name: REPART, words: repart, root: Root::Hidden, disk: Some("repart.raw") },
        Contender { name: MKOSI, words: mkosi, root: Root::Hidden, disk: Some("mkosi.raw") },
        erofs(EROFS_LZ4, &["-zlz4", "-C65536"]),
        kiln(KILN_ZSTD, "zstd:3"),
        erofs(EROFS_ZSTD_64K, &["-zzstd,level=3", "-C65536"]),
        erofs(EROFS_ZSTD_1M, &["-zzstd,level=3", "-C1048576"]),
        squashfs(SQUASHFS_ZSTD, &["-comp", "zstd", "-Xcompression-level", "3"]),
        squashfs(SQUASHFS_ZSTD_15, &["-comp", "zstd"]),
        kiln(KILN_LZ4HC, "lz4hc:9"),
        erofs(EROFS_LZ4HC, &["-zlz4hc,level=9", "-C65536"]),
    ])
}

/// What others need of Kiln: the files of its root at `source`, and a folder as the boot partition
/// looks, with the loader and a boot file, which is returned.
fn ready_files(tools: &Tools, folder: &str, name: &str, source: &str) -> Result<PathBuf, Error> {
    let inside = format!("{BENCH}/scratch/{name}-ready");
    let words = kiln(folder, "lz4", &inside);
    tools.run(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    let root = format!("{inside}/{NAME}.root");
    tools.run(&["fsck.erofs", "--preserve", "--xattrs", &format!("--extract={source}"), &root])?;
    let made = tools.outside(&inside);
    let ready = tools.outside(&format!("{BENCH}/scratch/{name}-boot-files"));
    let tree = tools.outside(&format!("{folder}/tree"));
    let loader = tree.join("usr/lib/systemd/boot/efi/systemd-bootx64.efi");
    for (from, to) in [
        (loader, "EFI/BOOT/BOOTX64.EFI"),
        (made.join(format!("{NAME}.efi")), "EFI/Linux/bench_1+3.efi"),
    ] {
        let to = ready.join(to);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(file_error("create", parent))?;
        }
        fs::copy(&from, &to).map_err(file_error("read", &from))?;
    }
    write(&ready.join("loader/loader.conf"), "timeout 0\n")?;
    fs::remove_dir_all(&made).map_err(file_error("remove", &made))?;
    Ok(ready)
}

/// Partitions in systemd-repart's words (repart.d(5)), as Kiln makes them.
fn write_definitions(folder: &Path, boot_files: &[&str]) -> Result<(), Error> {
    let sources: String = boot_files.iter().map(|copy| format!("CopyFiles={copy}\n")).collect();
    let excluded: String = boot_files
        .iter()
        .filter_map(|copy| copy.split_once(':'))
        .map(|(from, _)| format!("ExcludeFiles={from}/\n"))
        .collect();
    for (name, text) in [
        (
            "10-boot.conf",
            format!(
                "[Partition]\nType=esp\nFormat=vfat\nSizeMinBytes={BOOT_PARTITION}\n\
                 SizeMaxBytes={BOOT_PARTITION}\n{sources}"
            ),
        ),
        (
            "20-root.conf",
            format!(
                "[Partition]\nType=root\nFormat=erofs\nCompression=lz4\nVerity=data\n\
                 VerityMatchKey=root\nMinimize=best\nCopyFiles=/:/\n{excluded}"
            ),
        ),
        (
            "30-root-verity.conf",
            "[Partition]\nType=root-verity\nVerity=hash\nVerityMatchKey=root\nMinimize=best\n"
                .to_owned(),
        ),
    ] {
        write(&folder.join(name), &text)?;
    }
    Ok(())
}

/// mkosi's configuration (mkosi(1)): no packages, no network, its own boot file and loader, and of
/// an initramfs only the modules that it adds by itself.
fn write_mkosi(folder: &Path, tree: &str) -> Result<(), Error> {
    let archive = folder.join("empty.cpio");
    write(&archive, EMPTY_ARCHIVE)?;
    write(
        &folder.join("mkosi.conf"),
        &format!(
            "[Distribution]\nDistribution=custom\n\n\
             [Output]\nFormat=disk\nOutput=mkosi\nOutputDirectory={BENCH}/scratch/out\n\n\
             [Content]\nBaseTrees={tree}/tree\nBootable=yes\nBootloader=systemd-boot\n\
             Initrds=%D/empty.cpio\n\n\
             [Build]\nWorkspaceDirectory={BENCH}/scratch/temporary\nWithNetwork=no\n"
        ),
    )?;
    write_definitions(&folder.join("mkosi.repart"), &["/boot:/", "/efi:/"])
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(file_error("create", parent))?;
    }
    fs::write(path, text).map_err(file_error("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_archive_is_a_whole_newc_archive() {
        // Magic, 13 fields of 8 digits, name with its zero, filled up to a multiple of 4.
        assert_eq!(EMPTY_ARCHIVE.len(), 124);
        assert_eq!(&EMPTY_ARCHIVE[94..102], "0000000B");
        assert_eq!(&EMPTY_ARCHIVE[110..121], "TRAILER!!!\0");
    }

    #[test]
    fn the_boot_files_are_left_out_of_the_root() {
        let folder = tempfile::tempdir().unwrap();
        write_definitions(folder.path(), &["/boot:/", "/efi:/"]).unwrap();
        let text = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text("10-boot.conf").ends_with("CopyFiles=/boot:/\nCopyFiles=/efi:/\n"));
        assert!(text("20-root.conf").ends_with("ExcludeFiles=/boot/\nExcludeFiles=/efi/\n"));
        assert!(text("30-root-verity.conf").contains("Verity=hash"));
    }
}
