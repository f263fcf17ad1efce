//! Synthetic images in the shapes of distributions: where each puts kernel, modules, packages and
//! boot programs, and how it names and compresses them.

use crate::entry::{Entry, directory, file, symlink, with_parents};
use crate::programs::{self, Machine};

/// What differs between distributions.
#[derive(Debug, Clone)]
pub struct Shape {
    pub machine: Machine,
    pub release: &'static str,
    /// The kernel's place, and links to it.
    pub kernel: String,
    pub kernel_links: Vec<(String, String)>,
    /// Whether the same kernel lies beside it as an ELF file for debuggers.
    pub has_debug_kernel: bool,
    /// Whether the kernel file is gzip as a whole, as some arm64 ones are.
    pub is_kernel_gzip: bool,
    /// The kernel's configuration, if the image has one.
    pub config: Option<String>,
    /// `.ko` and this.
    pub module_ending: &'static str,
    pub os_release: &'static str,
    /// Files of the package database.
    pub packages: Vec<(&'static str, &'static str)>,
    /// Whether systemd with its boot programs is there.
    pub has_systemd: bool,
    /// Whether `/bin` and `/lib` are links into `/usr`.
    pub is_merged: bool,
    /// The security label of all files, where the distribution has SELinux.
    pub label: Option<&'static str>,
}

/// What Kiln needs of a kernel, as the configuration of one says it.
const CONFIG: &str = "CONFIG_EROFS_FS=m\nCONFIG_EROFS_FS_ZIP=y\nCONFIG_EROFS_FS_ZIP_ZSTD=y\n\
                      CONFIG_DM_VERITY=m\nCONFIG_RD_ZSTD=y\n";

/// Modules in the order of modules.dep: path without ending, and what it needs.
const MODULES: [(&str, &[&str]); 7] = [
    ("kernel/drivers/block/virtio_blk", &[]),
    ("kernel/drivers/md/dm-bufio", &["kernel/drivers/md/dm-mod"]),
    ("kernel/drivers/md/dm-mod", &[]),
    ("kernel/drivers/md/dm-verity", &["kernel/drivers/md/dm-bufio", "kernel/drivers/md/dm-mod"]),
    ("kernel/fs/erofs/erofs", &[]),
    ("kernel/fs/fat/vfat", &[]),
    ("kernel/fs/overlayfs/overlay", &[]),
];

impl Shape {
    /// Fedora: the kernel beside its modules, `.ko.xz`, rpm below `/usr`, labels everywhere.
    pub fn fedora() -> Self {
        let release = "6.14.0-63.fc42.x86_64";
        Self {
            machine: programs::AMD64,
            release,
            kernel: format!("usr/lib/modules/{release}/vmlinuz"),
            kernel_links: Vec::new(),
            has_debug_kernel: false,
            is_kernel_gzip: false,
            config: Some(format!("usr/lib/modules/{release}/config")),
            module_ending: ".xz",
            os_release: "NAME=\"Fedora Linux\"\nVERSION=\"42 (Container Image)\"\nID=fedora\n\
                         VERSION_ID=42\nPRETTY_NAME=\"Fedora Linux 42 (Container Image)\"\n",
            packages: vec![("usr/lib/sysimage/rpm/rpmdb.sqlite", "SQLite format 3\0")],
            has_systemd: true,
            is_merged: true,
            label: Some("system_u:object_r:usr_t:s0"),
        }
    }

    /// openSUSE and SLE: a link in `/boot`, `.ko.zst`; on arm64 the kernel is called `Image`.
    pub fn suse(machine: Machine) -> Self {
        let release = "6.4.0-150600.23-default";
        let name = if machine.name == "arm64" { "Image" } else { "vmlinuz" };
        Self {
            machine,
            release,
            kernel: format!("usr/lib/modules/{release}/{name}"),
            kernel_links: vec![
                (format!("boot/{name}-{release}"), format!("../usr/lib/modules/{release}/{name}")),
                (format!("boot/{name}"), format!("{name}-{release}")),
            ],
            has_debug_kernel: true,
            is_kernel_gzip: false,
            config: Some(format!("usr/lib/modules/{release}/config")),
            module_ending: ".zst",
            os_release: "NAME=\"SLE Micro\"\nVERSION=\"6.1\"\nVERSION_ID=\"6.1\"\nID=\"sl-micro\"\n\
                         PRETTY_NAME=\"SUSE Linux Micro 6.1\"\n",
            packages: vec![("usr/lib/sysimage/rpm/Packages.db", "rpm")],
            has_systemd: true,
            is_merged: true,
            label: None,
        }
    }

    /// Ubuntu: the kernel in `/boot`, `.ko.zst`, dpkg in `/var`; on arm64 the kernel is gzip.
    pub fn ubuntu(machine: Machine) -> Self {
        let release = "6.8.0-31-generic";
        Self {
            machine,
            release,
            kernel: format!("boot/vmlinuz-{release}"),
            kernel_links: vec![("boot/vmlinuz".to_owned(), format!("vmlinuz-{release}"))],
            has_debug_kernel: false,
            is_kernel_gzip: machine.name == "arm64",
            config: Some(format!("boot/config-{release}")),
            module_ending: ".zst",
            os_release: "PRETTY_NAME=\"Ubuntu 24.04 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\n\
                         VERSION=\"24.04 LTS (Noble Numbat)\"\nID=ubuntu\n",
            packages: vec![
                (
                    "var/lib/dpkg/status",
                    "Package: systemd\nStatus: install ok installed\nArchitecture: amd64\n\
                     Version: 255.4-1ubuntu8\n",
                ),
                ("var/lib/dpkg/info/systemd.list", "/usr/lib/systemd/systemd\n"),
            ],
            has_systemd: true,
            is_merged: true,
            label: None,
        }
    }

    /// KubeOS: openEuler whose kernel lost its release in its name, `.ko.xz`, rpm in `/var`.
    pub fn kubeos() -> Self {
        Self { kernel: "boot/vmlinuz".to_owned(), ..Self::openeuler() }
    }

    /// openEuler: everything in `/boot`, `.ko.xz`, rpm in `/var`.
    pub fn openeuler() -> Self {
        let release = "6.6.0-28.0.0.34.oe2403.x86_64";
        Self {
            machine: programs::AMD64,
            release,
            kernel: format!("boot/vmlinuz-{release}"),
            kernel_links: Vec::new(),
            has_debug_kernel: false,
            is_kernel_gzip: false,
            config: Some(format!("boot/config-{release}")),
            module_ending: ".xz",
            os_release: "NAME=\"openEuler\"\nVERSION=\"24.03\"\nID=\"openEuler\"\n\
                         PRETTY_NAME=\"KubeOS 1.0.0\"\n",
            packages: vec![("var/lib/rpm/rpmdb.sqlite", "SQLite format 3\0")],
            has_systemd: true,
            is_merged: true,
            label: None,
        }
    }

    /// Alpine: a kernel named after its flavour, OpenRC, no merged `/usr`, no systemd at all.
    pub fn alpine() -> Self {
        Self {
            machine: programs::AMD64,
            release: "6.12.13-0-virt",
            kernel: "boot/vmlinuz-virt".to_owned(),
            kernel_links: Vec::new(),
            has_debug_kernel: false,
            is_kernel_gzip: false,
            config: Some("boot/config-6.12.13-0-virt".to_owned()),
            module_ending: ".gz",
            os_release: "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.21.3\n",
            packages: vec![("lib/apk/db/installed", "P:musl\nV:1.2.5-r9\nA:x86_64\n")],
            has_systemd: false,
            is_merged: false,
            label: None,
        }
    }

    /// The lowest layer of an image of this shape.
    pub fn base(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        if self.is_merged {
            entries.extend(["bin", "lib", "sbin"].map(|n| symlink(n, &format!("usr/{n}"))));
        }
        let library = if self.is_merged { "usr/lib" } else { "lib" };
        entries.push(directory("var/log").mode(0o2775).owner(0, 104));
        entries.push(directory("tmp").mode(0o1777));
        entries.push(file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"));
        entries.push(file("etc/group", b"root:x:0:\n"));
        entries.push(file("etc/shadow", b"root:*:1::::::\n").mode(0o640).owner(0, 42));
        entries.push(file("usr/lib/os-release", self.os_release.as_bytes()));
        entries.push(symlink("etc/os-release", "../usr/lib/os-release"));
        entries.push(file("usr/bin/env", b"env").mode(0o755));
        entries.push(file("usr/sbin/mke2fs", b"mkfs").mode(0o755));
        entries.push(symlink("usr/sbin/mkfs.ext4", "mke2fs"));
        entries.extend(self.packages.iter().map(|(path, text)| file(path, text.as_bytes())));
        self.add_kernel(&mut entries, library);
        if self.has_systemd {
            self.add_systemd(&mut entries);
        } else {
            entries.push(file("bin/busybox", b"busybox").mode(0o755));
            entries.push(symlink("sbin/init", "/bin/busybox"));
        }
        let mut entries = with_parents(entries);
        if let Some(label) = self.label {
            let value = [label.as_bytes(), b"\0"].concat();
            entries = entries
                .into_iter()
                .map(|entry| entry.attribute("security.selinux", &value))
                .collect();
        }
        entries
    }

    fn add_kernel(&self, entries: &mut Vec<Entry>, library: &str) {
        let Self { release, module_ending, .. } = self;
        let kernel = programs::kernel(self.machine, release);
        let packed = if self.is_kernel_gzip { ".gz" } else { "" };
        entries.push(file(&self.kernel, &programs::compressed(packed, &kernel)).mode(0o600));
        entries.extend(self.kernel_links.iter().map(|(path, target)| symlink(path, target)));
        if self.has_debug_kernel {
            let elf =
                programs::compressed(".gz", &programs::static_program(self.machine, "kernel"));
            entries.push(file(&format!("boot/vmlinux-{release}.gz"), &elf));
        }
        entries.push(file(&format!("boot/initrd.img-{release}"), b"not read by anyone"));
        entries.extend(self.config.iter().map(|path| file(path, CONFIG.as_bytes())));
        let folder = format!("{library}/modules/{release}");
        let mut dependencies = String::new();
        for (path, needs) in MODULES {
            let name = path.rsplit('/').next().unwrap();
            let module = programs::module(name, "LZ4_decompress_safe");
            let path = format!("{path}.ko{module_ending}");
            let bytes = programs::compressed(module_ending, &module);
            entries.push(file(&format!("{folder}/{path}"), &bytes));
            let needs: String = needs.iter().map(|n| format!(" {n}.ko{module_ending}")).collect();
            dependencies.push_str(&format!("{path}:{needs}\n"));
        }
        entries.push(file(&format!("{folder}/modules.dep"), dependencies.as_bytes()));
        entries.push(file(&format!("{folder}/modules.builtin"), b"kernel/fs/ext4/ext4.ko\n"));
        let alias = b"alias virtio:d00000002v* virtio_blk\n";
        entries.push(file(&format!("{folder}/modules.alias"), alias));
    }

    fn add_systemd(&self, entries: &mut Vec<Entry>) {
        let suffix = self.machine.suffix;
        let folder = "usr/lib/systemd/boot/efi";
        entries.push(file("usr/lib/systemd/systemd", b"init").mode(0o755));
        entries.push(symlink("usr/sbin/init", "../lib/systemd/systemd"));
        for (name, what) in [
            (format!("linux{suffix}.efi.stub"), "stub"),
            (format!("systemd-boot{suffix}.efi"), "loader"),
        ] {
            let program = programs::boot_program(self.machine, what);
            entries.push(file(&format!("{folder}/{name}"), &program));
        }
    }
}
