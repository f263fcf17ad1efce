//! Which drivers a boot file carries.
//!
//! A set only has to get a machine to its verified root: storage, the buses between the processor
//! and storage, dm-verity, EROFS, a random number generator and a watchdog. What state needs comes
//! out of the verified root ([`LATE`]); everything else is loaded by the root's own udev. Names that
//! a kernel does not have are skipped: one list serves all architectures and kernel versions.

use std::fmt;
use std::str::FromStr;

use super::index::ModuleIndex;

/// How many drivers to carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModuleSet {
    /// Virtual machines: virtio, NVMe, AHCI.
    Virtio,
    /// Common storage of virtual and real machines.
    #[default]
    Generic,
    /// Every storage driver of the kernel.
    Full,
}

impl fmt::Display for ModuleSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Virtio => "virtio",
            Self::Generic => "generic",
            Self::Full => "full",
        })
    }
}

/// A text that names no module set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSet(String);

impl fmt::Display for UnknownSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` is none of virtio, generic, full", self.0)
    }
}

impl std::error::Error for UnknownSet {}

impl FromStr for ModuleSet {
    type Err = UnknownSet;

    fn from_str(text: &str) -> Result<Self, UnknownSet> {
        match text {
            "virtio" => Ok(Self::Virtio),
            "generic" => Ok(Self::Generic),
            "full" => Ok(Self::Full),
            _ => Err(UnknownSet(text.to_owned())),
        }
    }
}

/// Loaded on every machine before devices are looked at: what proves the root and reads it.
///
/// The hashes are here because a kernel without modprobe in its initramfs cannot ask for them when
/// dm-verity or EROFS does, and because the generic code is several times slower. One that does not
/// fit the processor fails to load, which is no error.
pub const ALWAYS: &[&str] = &[
    "sha256",
    "sha256_generic",
    "sha256_ssse3",
    "sha256_arm64",
    "sha2_ce",
    "crc32c_generic",
    "crc32c_cryptoapi",
    "crc32c_intel",
    "dm_mod",
    "dm_verity",
    "erofs",
];

/// Carried for every machine, loaded when init finds that it needs them: UEFI variables, and a
/// window onto a disk whose partitions the kernel does not show.
pub const ON_DEMAND: &[&str] = &["efivarfs", "loop"];

/// Loaded on every machine, but from the verified root: what state, the writable folders and the
/// start of systemd need.
/// They weigh more than everything before them, and the loader would read them for each boot file.
///
/// systemd loads autofs4 itself before anything else, by reading the index of all modules and
/// unpacking one; that takes a tenth of a second in which nothing else happens.
pub const LATE: &[&str] = &["ext4", "overlay", "autofs4"];

/// Late too, but only where the root has no modprobe: the kernel asks for these itself when the ESP
/// is mounted.
pub const LATE_WITHOUT_MODPROBE: &[&str] =
    &["vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8"];

/// Late too, but loaded only while a first configuration is looked for, because only that asks for it: what
/// a hypervisor hands over (kernel, drivers/firmware/qemu_fw_cfg.c).
pub const LATE_ON_DEMAND: &[&str] = &["qemu_fw_cfg"];

/// In the order in which they are worth trying: a paravirtual disk is there as soon as its driver
/// is, an AHCI controller first resets all its ports. Most virtual machines have both.
const VIRTIO: &[&str] = &[
    "virtio_pci",
    "virtio_mmio",
    "virtio_rng",
    "virtio_blk",
    "nvme",
    "sd_mod",
    "virtio_scsi",
    "ahci",
    "i6300esb",
    "iTCO_wdt",
];

const GENERIC: &[&str] = &[
    // Buses and host controllers of other hypervisors.
    "xen_blkfront",
    "hv_vmbus",
    "hv_storvsc",
    "pci_hyperv",
    "vmw_pvscsi",
    "vmd",
    "mptspi",
    "mptsas",
    "sym53c8xx",
    // SATA and IDE.
    "ata_piix",
    "ata_generic",
    "sata_nv",
    "sata_sil",
    "sata_sil24",
    "sata_svw",
    "sata_via",
    "sata_mv",
    "ahci_platform",
    "sr_mod",
    // USB.
    "xhci_pci",
    "xhci_hcd",
    "xhci_plat_hcd",
    "ehci_pci",
    "ehci_hcd",
    "ohci_pci",
    "uhci_hcd",
    "dwc3",
    "usb_storage",
    "uas",
    // Cards and flash.
    "mmc_block",
    "sdhci",
    "sdhci_pci",
    "sdhci_acpi",
    "sdhci_iproc",
    "ufshcd_pci",
    // Servers' host bus adapters.
    "mpt3sas",
    "megaraid_sas",
    "megaraid_mbox",
    "mpi3mr",
    "hpsa",
    "smartpqi",
    "aacraid",
    "arcmsr",
    "isci",
    "pm80xx",
    "lpfc",
    "qla2xxx",
    "ses",
    // Watchdogs.
    "sp5100_tco",
    "wdat_wdt",
    "hpwdt",
    "ipmi_watchdog",
    "sbsa_gwdt",
];

/// Folders below the module folder of which `full` takes everything.
const FULL_FOLDERS: &[&str] = &[
    "kernel/drivers/ata/",
    "kernel/drivers/block/",
    "kernel/drivers/hv/",
    "kernel/drivers/message/fusion/",
    "kernel/drivers/mmc/",
    "kernel/drivers/nvme/host/",
    "kernel/drivers/pci/controller/",
    "kernel/drivers/phy/",
    "kernel/drivers/scsi/",
    "kernel/drivers/ufs/",
    "kernel/drivers/usb/host/",
    "kernel/drivers/usb/dwc2/",
    "kernel/drivers/usb/dwc3/",
    "kernel/drivers/usb/storage/",
    "kernel/drivers/virtio/",
    "kernel/drivers/watchdog/",
    "kernel/drivers/xen/",
];

/// Modules of [`FULL_FOLDERS`] that claim devices they do not drive, or only test the kernel.
const FULL_EXCEPTIONS: &[&str] = &["scsi_debug", "null_blk", "softdog", "pata_legacy", "zram"];

impl ModuleSet {
    /// Names of the set's modules that the kernel has: those of virtual machines in the order of the
    /// list, then the others in the kernel's link order. init loads them in this order until it has
    /// found its disk.
    #[must_use]
    pub fn modules(self, index: &ModuleIndex) -> Vec<&str> {
        let listed: Vec<&str> = match self {
            Self::Virtio => VIRTIO.to_vec(),
            Self::Generic | Self::Full => VIRTIO.iter().chain(GENERIC).copied().collect(),
        };
        let mut names: Vec<&str> = index
            .files()
            .filter(|(name, file)| {
                listed.contains(name)
                    || (self == Self::Full
                        && FULL_FOLDERS.iter().any(|folder| file.path.starts_with(folder))
                        && !FULL_EXCEPTIONS.contains(name))
            })
            .map(|(name, _)| name)
            .collect();
        let listed = |name: &str| VIRTIO.iter().position(|listed| *listed == name);
        names.sort_by_key(|name| (listed(name).unwrap_or(VIRTIO.len()), index.rank(name), *name));
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_grow_and_keep_their_order() {
        let mut index = ModuleIndex::default();
        index.add_dependencies(
            "kernel/drivers/scsi/rare.ko:\nkernel/drivers/scsi/scsi_debug.ko:\n\
             kernel/drivers/ata/ata_piix.ko:\nkernel/drivers/block/virtio_blk.ko:\n\
             kernel/drivers/nvme/host/nvme.ko:\nkernel/drivers/gpu/drm/drm.ko:\n",
        );
        index.add_order("kernel/drivers/nvme/host/nvme.ko\nkernel/drivers/block/virtio_blk.ko\n");
        assert_eq!(ModuleSet::Virtio.modules(&index), ["virtio_blk", "nvme"]);
        assert_eq!(ModuleSet::Generic.modules(&index), ["virtio_blk", "nvme", "ata_piix"]);
        assert_eq!(ModuleSet::Full.modules(&index), ["virtio_blk", "nvme", "ata_piix", "rare"]);
    }

    #[test]
    fn the_disks_of_clouds_and_hypervisors_are_found() {
        // AWS, Azure, Compute Engine, VMware, OpenStack: docs/clouds.md. Their networks load from
        // the verified root.
        for name in [
            "nvme",
            "xen_blkfront",
            "hv_vmbus",
            "hv_storvsc",
            "pci_hyperv",
            "virtio_pci",
            "virtio_blk",
            "virtio_scsi",
            "sd_mod",
            "vmw_pvscsi",
            "mptspi",
            "mptsas",
            "ahci",
        ] {
            assert!(VIRTIO.contains(&name) || GENERIC.contains(&name), "{name}");
        }
    }

    #[test]
    fn names_are_normalised_and_sets_have_names() {
        let lists = [
            ALWAYS,
            ON_DEMAND,
            LATE,
            LATE_ON_DEMAND,
            LATE_WITHOUT_MODPROBE,
            VIRTIO,
            GENERIC,
            FULL_EXCEPTIONS,
        ];
        for name in lists.into_iter().flatten() {
            assert!(!name.contains('-'), "{name}");
        }
        for set in [ModuleSet::Virtio, ModuleSet::Generic, ModuleSet::Full] {
            assert_eq!(set.to_string().parse(), Ok(set));
        }
        assert!("Virtio".parse::<ModuleSet>().is_err());
    }
}
