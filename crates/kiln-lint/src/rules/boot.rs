//! What every system needs to boot: one able kernel, an init, stub and loader, and mkfs.
//!
//! Where things may be is asked of `kiln-boot`, so that the rules and the build cannot disagree.

use kiln_boot::Error as BootError;
use kiln_boot::capability::{self, RootCodec};
use kiln_boot::loader::BootPrograms;
use kiln_boot::modules::index::ModuleIndex;

use crate::Error;
use crate::image::Image;
use crate::rule::{Fault, Rule, Severity, Threshold};

/// Programs that `kiln-init` hands over to.
const INITS: [&str; 4] =
    ["usr/lib/systemd/systemd", "lib/systemd/systemd", "sbin/init", "usr/sbin/init"];
/// Folders in which `kiln-init` looks for administration programs.
const PROGRAM_FOLDERS: [&str; 4] = ["usr/sbin", "sbin", "usr/bin", "bin"];
/// Programs that format the state partition at the first boot.
const MKFS: [&str; 2] = ["mkfs.ext4", "mke2fs"];
/// Where systemd installs its EFI programs.
const EFI_FOLDER: &str = "usr/lib/systemd/boot/efi";

pub(super) const NO_KERNEL: Rule = Rule {
    id: "no-kernel",
    severity: Severity::Error,
    threshold: Threshold::Any,
    reason: "a container image has no kernel of its own, a machine cannot do without",
    fix: "install the distribution's kernel package in the image, such as linux-image-amd64 or \
          kernel-core",
    check: |image, _| {
        Ok(match &image.kernel {
            Err(error @ BootError::NoKernel) => vec![Fault::of_image(error.to_string())],
            _ => Vec::new(),
        })
    },
};

pub(super) const SEVERAL_KERNELS: Rule = Rule {
    id: "several-kernels",
    severity: Severity::Error,
    threshold: Threshold::Any,
    reason: "which of two kernels boots would be a guess that changes when a package is added",
    fix: "remove the packages of all kernels but one in the same step that installs the new one",
    check: |image, _| {
        Ok(match &image.kernel {
            Err(error @ BootError::SeveralKernels { .. }) => {
                vec![Fault::of_image(error.to_string())]
            }
            _ => Vec::new(),
        })
    },
};

pub(super) const KERNEL_LACKS: Rule = Rule {
    id: "kernel-lacks",
    severity: Severity::Error,
    threshold: Threshold::Any,
    reason: "a kernel without EROFS with LZ4, dm-verity, overlayfs, ext4 or FAT stops in the first \
             second, and one that UEFI cannot start does not get that far",
    fix: "install a kernel that has them, or the package with the rest of its modules, such as \
          kernel-modules-core or linux-modules-extra",
    check: kernel_lacks,
};

fn kernel_lacks(image: &Image<'_>, _: u64) -> Result<Vec<Fault>, Error> {
    let kernel = match &image.kernel {
        Ok(kernel) => kernel,
        // These two have rules of their own.
        Err(BootError::NoKernel | BootError::SeveralKernels { .. }) => return Ok(Vec::new()),
        Err(error) => return Ok(vec![Fault::of_image(error.to_string())]),
    };
    let verdict = ModuleIndex::load(image.tree, image.store, kernel).and_then(|index| {
        capability::check(image.tree, image.store, kernel, &index, RootCodec::Lz4)
    });
    match verdict {
        Ok(()) => Ok(Vec::new()),
        Err(error @ BootError::Read { .. }) => Err(error.into()),
        Err(error) => Ok(vec![Fault::at(kernel.path.as_bytes(), error.to_string())]),
    }
}

pub(super) const NO_INIT: Rule = Rule {
    id: "no-init",
    severity: Severity::Error,
    threshold: Threshold::Any,
    reason: "after the root is mounted and proved, something in it must start the system",
    fix: "install systemd in the image, or give it another /sbin/init",
    check: |image, _| {
        let present = INITS.iter().any(|path| image.has_file(path));
        let message = "neither /usr/lib/systemd/systemd nor /sbin/init is a program";
        Ok(if present { Vec::new() } else { vec![Fault::of_image(message)] })
    },
};

pub(super) const NO_BOOT_STUB: Rule = Rule {
    id: "no-boot-stub",
    severity: Severity::Error,
    threshold: Threshold::Any,
    reason: "the boot file is the image's systemd stub with kernel and initramfs behind it",
    fix: "install systemd-boot-efi (systemd-boot-unsigned on Fedora), or build with --boot-files",
    check: |image, _| {
        Ok(boot_program(image, "the systemd stub", |efi| vec![format!("linux{efi}.efi.stub")]))
    },
};

pub(super) const NO_BOOT_LOADER: Rule = Rule {
    id: "no-boot-loader",
    severity: Severity::Error,
    threshold: Threshold::Any,
    reason: "systemd-boot chooses between releases and falls back when a new one fails",
    fix: "install systemd-boot-efi (systemd-boot-unsigned on Fedora), or build with --boot-files",
    check: |image, _| {
        Ok(boot_program(image, "systemd-boot", |efi| {
            vec![format!("systemd-boot{efi}.efi.signed"), format!("systemd-boot{efi}.efi")]
        }))
    },
};

/// Whether the image has an EFI program for its kernel, under one of the names for an architecture.
fn boot_program(image: &Image<'_>, what: &str, names: fn(&str) -> Vec<String>) -> Vec<Fault> {
    let paths: Vec<String> = image
        .architectures()
        .into_iter()
        .flat_map(|architecture| names(architecture.efi_suffix()))
        .map(|name| format!("{EFI_FOLDER}/{name}"))
        .collect();
    if !paths.iter().any(|path| image.has_file(path)) {
        return vec![Fault::of_image(format!("the image has no {}", missing(what, &paths)))];
    }
    let Ok(kernel) = &image.kernel else { return Vec::new() };
    match BootPrograms::find(image.tree, image.store, kernel.architecture) {
        Err(BootError::Damaged { path, reason }) if paths.contains(&path) => {
            vec![Fault::at(path.as_bytes(), format!("{what} is not usable: {reason}"))]
        }
        _ => Vec::new(),
    }
}

fn missing(what: &str, paths: &[String]) -> String {
    let path = paths.last().map(String::as_str).unwrap_or(EFI_FOLDER);
    format!("{} at /{path}", what.trim_start_matches("the "))
}

pub(super) const NO_MKFS: Rule = Rule {
    id: "no-mkfs",
    severity: Severity::Error,
    threshold: Threshold::Any,
    reason: "the first boot formats the machine's state partition with the image's own mkfs.ext4",
    fix: "install e2fsprogs in the image",
    check: |image, _| {
        let present = PROGRAM_FOLDERS
            .iter()
            .any(|folder| MKFS.iter().any(|name| image.has_file(&format!("{folder}/{name}"))));
        let message = "the image has neither mkfs.ext4 nor mke2fs";
        Ok(if present { Vec::new() } else { vec![Fault::of_image(message)] })
    },
};
