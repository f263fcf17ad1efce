//! Promise: a system for arm64 is assembled on any computer, without emulation, out of Debian's
//! packages for arm64 and Kiln's own binaries for it.
//!
//! On the long list, because Kiln itself is compiled for arm64 first: `cargo xtask nightly` does, and
//! names the folder in [`RUNTIME`].

mod packages;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_lab::{Error, Failure, Oracle, Product, WorkDirectory};
use packages::{SystemdTools, unpacked};

/// Names the folder with `kiln` and `kiln-init` for arm64.
const RUNTIME: &str = "KILN_RUNTIME_ARM64";

/// A system's boot half; nothing of it is ever started here.
const PACKAGES: &[&str] =
    &["e2fsprogs", "kmod", "linux-image-cloud-arm64", "systemd-boot-efi", "systemd-sysv", "udev"];

/// What the kernel package's maintainer script would do, for a processor that need not be here.
const DEPMOD: &str = r#"PATH="$PATH:/usr/sbin:/sbin"; depmod -b "$1" "$(ls "$1"/usr/lib/modules)""#;

/// Machine number of 64-bit Arm in a COFF header (PE Format, "Machine Types").
const MACHINE_ARM64: u16 = 0xaa64;

#[test]
#[ignore = "no boot, needs Kiln for arm64: on the long list"]
fn debian_for_arm64_has_the_right_structure() -> Result<(), Failure> {
    let runtime = std::env::var_os(RUNTIME).map(PathBuf::from);
    let runtime = runtime.ok_or(Error::Unset { variable: RUNTIME })?;
    let work = WorkDirectory::new("arm64")?;
    let tar = work.join("arm64.tar");
    unpacked("arm64", PACKAGES, Some(DEPMOD), &tar)?;
    let out = work.join("out");
    Product::from_environment()?
        .call()
        .arguments(["build", "--quiet", "--name", "lab", "--platform", "linux/arm64"])
        .arguments(["--runtime".as_ref(), runtime.as_os_str(), "--output".as_ref()])
        .argument(&out)
        .argument(format!("tar:{}", tar.display()))
        .run()?;

    let text = String::from_utf8_lossy(&read(&out.join("release.json"))?).into_owned();
    let release: serde_json::Value = serde_json::from_str(&text)
        .map_err(|_| Error::Unexpected { what: "release.json".into(), text })?;
    assert_eq!(release["architecture"], "arm64");
    assert!(release["kernel"].as_str().is_some_and(|kernel| kernel.ends_with("-arm64")));

    let boot_file = out.join("lab.efi");
    assert_eq!(machine(&read(&boot_file)?), Some(MACHINE_ARM64));
    let tools = SystemdTools::get(&work)?;
    assert_eq!(tools.bootctl("kernel-identify", &boot_file)?.trim(), "uki");
    let sections = tools.ukify(&boot_file)?;
    assert_eq!(sections[".uname"]["text"], release["kernel"]);

    // The kernel is the plain image that the stub can start: an EFI program with the magic of
    // Documentation/arch/arm64/booting.rst at byte 56.
    let kernel = section(&boot_file, ".linux", &work)?;
    assert_eq!(machine(&kernel), Some(MACHINE_ARM64));
    assert_eq!(kernel.get(56..60), Some(&b"ARM\x64"[..]));

    let loader = work.join("loader.efi");
    Oracle::new("mcopy")
        .arguments(["-n", "-i"])
        // The ESP is the first partition and begins at 1 MiB.
        .argument(format!("{}@@1M", out.join("lab.raw").display()))
        .arguments(["::EFI/BOOT/BOOTAA64.EFI".as_ref(), loader.as_os_str()])
        .run()?;
    assert_eq!(machine(&read(&loader)?), Some(MACHINE_ARM64));

    // Kiln's own binaries are the given ones, in the initramfs and in the root.
    let initrd = work.join("initrd");
    fs::write(&initrd, section(&boot_file, ".initrd", &work)?).map_err(error("write", &initrd))?;
    Oracle::new("sh")
        .arguments(["-c", r#"zstd -dc "$0" | cpio --quiet -i init && cmp init "$1""#])
        .argument(&initrd)
        .argument(runtime.join("kiln-init"))
        .folder(work.path())
        .run()?;
    let root = work.join("root");
    Oracle::new("fsck.erofs")
        .argument(format!("--extract={}", root.display()))
        .argument(out.join("lab.root"))
        .run()?;
    Oracle::new("cmp").arguments([root.join("usr/bin/kiln"), runtime.join("kiln")]).run()?;
    Ok(())
}

/// The machine of a PE file, none if it is no such file.
fn machine(file: &[u8]) -> Option<u16> {
    let offset = u32::from_le_bytes(file.get(0x3c..0x40)?.try_into().ok()?);
    let header = file.get(usize::try_from(offset).ok()?..)?;
    let machine = header.strip_prefix(b"PE\0\0")?.get(..2)?;
    Some(u16::from_le_bytes(machine.try_into().ok()?))
}

fn section(file: &Path, name: &str, work: &WorkDirectory) -> Result<Vec<u8>, Error> {
    let path = work.join(format!("section{name}"));
    Oracle::new("aarch64-linux-gnu-objcopy")
        .arguments(["-O", "binary", &format!("--dump-section={name}={}", path.display())])
        .arguments([file.as_os_str(), "/dev/null".as_ref()])
        .run()?;
    read(&path)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(error("read", path))
}

fn error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path: path.clone(), source }
}
