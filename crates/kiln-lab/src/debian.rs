//! Debian stable as a container image: the operating system that demo and tests boot.
//!
//! It is made by mmdebstrap from the archive that mmdebstrap itself knows (or the one that
//! `$KILN_DEBIAN_MIRROR` names), once, and then comes from the cache. The image holds what a real
//! one would: kernel, systemd, loader and stub, ssh. It must hold no secret: ssh host keys and the
//! machine's identity are made by the machine. Its only concession to tests is a file of known
//! content, [`CANARY`], and that the user of the demo may use sudo without a password.

use std::env;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, Entry};
use crate::error::Error;
use crate::{Oracle, oci};

/// The release that is bootstrapped.
pub const SUITE: &str = "trixie";

/// The login that demo and tests add to a system built from this image.
pub const USER: &str = "kiln";

/// A file of 64 KiB that repeats [`CANARY_LINE`], for tests that must find file content on a disk.
pub const CANARY: &str = "/usr/share/kiln-lab-canary";

/// The line, with its line feed, that fills [`CANARY`].
pub const CANARY_LINE: &str = "kiln-lab-canary\n";

/// Overrides the archive that mmdebstrap takes packages from.
const MIRROR_VARIABLE: &str = "KILN_DEBIAN_MIRROR";

/// The time given to every file that has none of its own, in seconds since 1970: 2025-06-15. It
/// makes two bootstraps from one archive alike.
const EPOCH: &str = "1750000000";

/// What the system consists of, beyond the essential packages.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "cryptsetup-bin",
    "dbus",
    "dosfstools",
    "e2fsprogs",
    "erofs-utils",
    "iproute2",
    "kmod",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "login",
    "openssh-server",
    "sudo",
    "systemd",
    "systemd-boot-efi",
    "systemd-resolved",
    "systemd-sysv",
    "udev",
    "zstd",
];

/// Paths that packages do not install: a system image is not read with a pager.
const EXCLUDED: &[&str] = &["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*"];

/// Shell lines that run on the finished tree, whose folder is `$1`.
const HOOKS: &[&str] = &[
    // Made by each machine; an image that carries them gives all machines the same.
    r#"rm -f "$1"/etc/ssh/ssh_host_*"#,
    r#"rm -f "$1"/boot/initrd* "$1"/initrd.img* "$1"/vmlinuz "$1"/vmlinuz.old"#,
    // The resolver configuration of the computer that bootstrapped.
    r#"rm -f "$1"/etc/.resolv.conf.systemd-resolved.bak"#,
    r#"echo localhost > "$1"/etc/hostname"#,
    r#"mkdir -p "$1"/etc/systemd/system/ssh.service.d"#,
    concat!(
        r#"printf '[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\n"#,
        r#"ExecStartPre=/usr/sbin/sshd -t\n' > "$1"/etc/systemd/system/ssh.service.d/host-keys.conf"#
    ),
    concat!(
        r#"printf '[Match]\nType=ether\n\n[Network]\nDHCP=yes\n' "#,
        r#"> "$1"/etc/systemd/network/80-ethernet.network"#
    ),
    r#"chroot "$1" systemctl enable systemd-networkd.service ssh.service"#,
    // A machine without a network is not a failed one.
    r#"chroot "$1" systemctl mask systemd-networkd-wait-online.service"#,
    r#"printf 'kiln ALL=(ALL:ALL) NOPASSWD: ALL\n' > "$1"/etc/sudoers.d/kiln"#,
    r#"chmod 0440 "$1"/etc/sudoers.d/kiln"#,
    r#"yes kiln-lab-canary | head -c 65536 > "$1"/usr/share/kiln-lab-canary"#,
];

/// Which packages of the archive a system gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// The newest, with all updates: what machines should run.
    Current,
    /// Those of the last point release: what machines run that were never updated.
    Released,
    /// The newest, but the kernel of the last point release.
    CurrentButKernel,
}

impl Age {
    /// Shell lines that choose the packages before apt looks for any; mmdebstrap has already written
    /// down the suites that it knows. The tree's folder is `$1`.
    fn setup_hooks(self) -> &'static [&'static str] {
        match self {
            Self::Current => &[],
            Self::Released => {
                &[r#"sed -i -e '/-updates /d' -e '/-security /d' "$1"/etc/apt/sources.list"#]
            }
            Self::CurrentButKernel => &[concat!(
                r#"printf 'Package: linux-*\nPin: release n=trixie\nPin-Priority: 1001\n' "#,
                r#"> "$1"/etc/apt/preferences.d/kernel"#
            )],
        }
    }

    /// Shell lines that remove again what those left.
    fn hooks(self) -> &'static [&'static str] {
        match self {
            Self::CurrentButKernel => &[r#"rm "$1"/etc/apt/preferences.d/kernel"#],
            Self::Current | Self::Released => &[],
        }
    }
}

/// A bootstrapped Debian in the cache.
#[derive(Debug)]
pub struct Debian {
    entry: Entry,
}

impl Debian {
    /// Takes the system from the cache, or bootstraps it: about 40 seconds and 200 MB.
    ///
    /// # Errors
    /// When mmdebstrap is missing or fails, or the cache cannot be used.
    pub fn get(cache: &Cache) -> Result<Self, Error> {
        let recipe = recipe(Age::Current);
        let inputs: Vec<&[u8]> = recipe.iter().map(|input| input.as_bytes()).collect();
        let entry = cache.get("debian", &inputs, |folder| {
            let tree = folder.join("rootfs.tar");
            bootstrap(Age::Current, &tree)?;
            oci::write_archive(&tree, "amd64", None, &folder.join("image.tar"))
        })?;
        cache.prune("debian", &entry)?;
        Ok(Self { entry })
    }

    /// The file tree as a tar.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.entry.path().join("rootfs.tar")
    }

    /// The same as an OCI image archive.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.entry.path().join("image.tar")
    }
}

/// All that a bootstrapped system depends on but the archive, as the key of a cache.
#[must_use]
pub fn recipe(age: Age) -> Vec<String> {
    let mirror = env::var(MIRROR_VARIABLE).unwrap_or_default();
    [vec![SUITE.to_owned(), EPOCH.to_owned(), mirror], arguments(age)].concat()
}

/// Bootstraps a system into a tar file.
///
/// # Errors
/// When mmdebstrap is missing or fails.
pub fn bootstrap(age: Age, tree: &Path) -> Result<(), Error> {
    let mirror = env::var(MIRROR_VARIABLE).unwrap_or_default();
    Oracle::new("mmdebstrap")
        .arguments(arguments(age))
        .argument(SUITE)
        .argument(tree)
        .arguments((!mirror.is_empty()).then_some(mirror))
        .environment("SOURCE_DATE_EPOCH", EPOCH)
        .environment("DEBIAN_FRONTEND", "noninteractive")
        // Kiln makes the initramfs; Debian's hook leaves its own out when told so.
        .environment("INITRD", "No")
        .run()
        .map(drop)
}

fn arguments(age: Age) -> Vec<String> {
    let mut arguments = vec![
        "--variant=minbase".to_owned(),
        "--architectures=amd64".into(),
        "--aptopt=APT::Install-Recommends \"false\"".into(),
        format!("--include={}", PACKAGES.join(",")),
    ];
    arguments.extend(EXCLUDED.iter().map(|path| format!("--dpkgopt=path-exclude={path}")));
    arguments.extend(age.setup_hooks().iter().map(|hook| format!("--setup-hook={hook}")));
    let hooks = HOOKS.iter().chain(age.hooks());
    arguments.extend(hooks.map(|hook| format!("--customize-hook={hook}")));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canary_is_what_the_hook_writes() {
        let name = CANARY_LINE.trim_end();
        assert!(HOOKS.iter().any(|hook| hook.contains(&format!("yes {name} "))));
        assert!(HOOKS.iter().any(|hook| hook.contains(CANARY)));
        assert!(HOOKS.iter().any(|hook| hook.contains(&format!("'{USER} ALL="))));
    }

    #[test]
    fn the_current_system_is_the_archives_choice() {
        let current = arguments(Age::Current);
        assert!(!current.iter().any(|argument| argument.starts_with("--setup-hook")));
        for age in [Age::Released, Age::CurrentButKernel] {
            let other = arguments(age);
            assert!(current.iter().all(|argument| other.contains(argument)), "{age:?}");
            assert!(other.iter().any(|argument| argument.starts_with("--setup-hook")), "{age:?}");
        }
        assert!(Age::CurrentButKernel.setup_hooks()[0].contains(&format!("n={SUITE}")));
    }

    #[test]
    fn no_package_is_named_twice() {
        assert!(PACKAGES.is_sorted_by(|left, right| left < right), "{PACKAGES:?}");
    }
}
