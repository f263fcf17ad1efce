//! What demo and tests need on the computer, and its installation.

use std::process::Command;

use crate::error::Error;
use crate::{apt, run};

/// The Rust target of the shipped binary: static, so that it runs on every distribution.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";

/// The emulator and what shares its version; these are what backports quarrel about.
const EMULATOR: &[&str] = &["qemu-system-x86", "qemu-utils"];

/// Everything else, in Debian's names.
const OTHERS: &[&str] = &[
    "cpio",
    "cryptsetup-bin",
    "curl",
    "debian-archive-keyring",
    "dnsmasq-base",
    "dosfstools",
    "e2fsprogs",
    "erofs-utils",
    "gdisk",
    "genisoimage",
    "grub-common",
    "grub-pc-bin",
    "iproute2",
    "libarchive-tools",
    "mmdebstrap",
    "mtools",
    "musl-tools",
    "openssh-client",
    "openssl",
    "ovmf",
    "python3-pefile",
    "sbsigntool",
    "skopeo",
    "sshpass",
    "strace",
    "time",
    "uidmap",
    "xorriso",
    "zstd",
];

/// What Debian has since a later release than the one that tests run on: programs that need nothing
/// of that release but themselves.
const LATER: &[&str] = &["cosign"];

/// What only the long list needs: tools for another architecture.
const LONG_LIST: &[&str] =
    &["gcc-aarch64-linux-gnu", "kmod", "libc6-dev-arm64-cross", "qemu-user-static"];

/// Installs what is missing, and says what that is.
pub(crate) fn install() -> Result<(), Error> {
    install_debian_packages(OTHERS, LATER)?;
    install_target(TARGET)
}

/// The same for the long list of tests.
pub(crate) fn install_for_long_list() -> Result<(), Error> {
    install_debian_packages(LONG_LIST, &[])
}

fn install_debian_packages(others: &[&str], later: &[&str]) -> Result<(), Error> {
    if kiln_qemu::find_program("dpkg-query").is_none() {
        println!("not a Debian: expecting the tools to be installed already");
        return Ok(());
    }
    let others = apt::missing(others)?;
    let emulator = apt::missing(EMULATOR)?;
    let later = apt::missing(later)?;
    let all = [others.as_slice(), &emulator, &later].concat();
    if all.is_empty() {
        return Ok(());
    }
    let (_, user) = run::captured(Command::new("id").arg("-u"))?;
    if user.trim() != "0" {
        return Err(Error::NoPackageManager { missing: all.join(" ") });
    }
    println!("installing {}", all.join(" "));
    apt::update()?;
    // Two steps, so that a quarrel about the emulator does not pull all others from backports.
    for packages in [others, emulator] {
        if !packages.is_empty() {
            apt::install(&packages)?;
        }
    }
    if later.is_empty() { Ok(()) } else { apt::install_later(&later) }
}

/// Installs a Rust target.
pub(crate) fn install_target(target: &str) -> Result<(), Error> {
    if kiln_qemu::find_program("rustup").is_none() {
        println!("no rustup: expecting the Rust target {target} to be installed already");
        return Ok(());
    }
    let (_, installed) =
        run::captured(Command::new("rustup").args(["target", "list", "--installed"]))?;
    if installed.lines().any(|line| line == target) {
        return Ok(());
    }
    run::run(Command::new("rustup").args(["target", "add", target]))
}
