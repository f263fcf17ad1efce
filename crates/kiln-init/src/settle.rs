//! When all disks of a machine count as seen: a pure decision.
//!
//! At the end of every module load Linux waits until all probing that it has begun is over, so a
//! driver that finds its disks by probing has shown them when it is loaded. Other buses go on
//! searching in the background and announce no end: with these only silence can be waited for, which
//! costs a third of a second and proves little. Silence alone was dropped for that reason: it is
//! waited for wherever something that searches is there, and wherever something is not known.

/// First Linux release that waits after every load, and not only when the loading process itself
/// began the probing (kernel, commit 67d6212afda2, kernel/module.c `do_init_module`).
const WAITS_SINCE: (u32, u32) = (5, 17);

/// Drivers that probe: all their disks are known to the kernel when the load returns.
const PROBING: [&str; 12] = [
    "ahci",
    "ata_generic",
    "ata_piix",
    "nvme",
    "sd_mod",
    "sr_mod",
    "virtio_blk",
    "virtio_mmio",
    "virtio_net",
    "virtio_pci",
    "virtio_rng",
    "virtio_scsi",
];

/// How the names of modules begin that prove the root and read it, and drive no device.
const DRIVING_NOTHING: [&str; 11] = [
    "crc32",
    "dm_bufio",
    "dm_mod",
    "dm_verity",
    "erofs",
    "libcrc32c",
    "lz4",
    "netfs",
    "reed_solomon",
    "sha2",
    "zstd",
];

/// Folders that have entries where a bus is present that goes on searching: USB hubs, card slots,
/// what hypervisors offer, and what is reached over a fabric.
pub const SEARCHING: [&str; 8] = [
    "/sys/bus/usb/devices",
    "/sys/bus/vmbus/devices",
    "/sys/bus/xen/devices",
    "/sys/class/fc_host",
    "/sys/class/iscsi_host",
    "/sys/class/mmc_host",
    "/sys/class/sas_host",
    "/sys/class/srp_host",
];

/// Whether a driver, by the name of its module file, shows all its disks while it is loaded.
#[must_use]
pub fn probes(file: &str) -> bool {
    let name = file.split('.').next().unwrap_or_default().replace('-', "_");
    PROBING.contains(&name.as_str())
}

/// Whether a module, by the name of its file, is known to drive no device: then its load need not wait
/// for the devices of others.
#[must_use]
pub fn drives_nothing(file: &str) -> bool {
    let name = file.replace('-', "_");
    DRIVING_NOTHING.iter().any(|start| name.starts_with(start))
}

/// Whether nothing more can come from what was loaded: the kernel `release` waits for probing, no
/// driver was loaded that does anything but probe (`others`), and no bus searches (`searching`).
#[must_use]
pub fn is_at_rest(release: &str, others: bool, searching: bool) -> bool {
    !others && !searching && version(release).is_some_and(|version| version >= WAITS_SINCE)
}

/// The first two numbers of a kernel release such as `6.12.48+deb13-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let (major, rest) = release.split_once('.')?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest.get(..end)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_probe_needs_no_silence() {
        let cases = [
            ("6.12.48+deb13-amd64", false, false, true),
            ("5.17", false, false, true),
            ("7.0-rc1", false, false, true),
            ("5.16.20", false, false, false),
            ("4.18.0-553.el8", false, false, false),
            ("6.12", true, false, false),
            ("6.12", false, true, false),
            ("", false, false, false),
            ("next", false, false, false),
            ("6.x", false, false, false),
            ("99999999999.1", false, false, false),
        ];
        for (release, others, searching, expected) in cases {
            assert_eq!(
                is_at_rest(release, others, searching),
                expected,
                "{release:?} {others} {searching}"
            );
        }
    }

    #[test]
    fn what_proves_the_root_waits_for_no_driver() {
        let cases = [
            ("dm_verity.ko", true),
            ("dm-mod.ko.xz", true),
            ("sha256_ssse3.ko", true),
            ("erofs.ko", true),
            ("ahci.ko", false),
            ("somebodys_driver.ko", false),
            ("my_sha256.ko", false),
            ("", false),
        ];
        for (file, expected) in cases {
            assert_eq!(drives_nothing(file), expected, "{file:?}");
            assert!(!(expected && probes(file)), "{file:?}");
        }
    }

    #[test]
    fn drivers_are_known_by_the_names_of_their_files() {
        let cases = [
            ("ahci.ko", true),
            ("virtio_blk.ko.zst", true),
            ("ata-generic.ko", true),
            ("usb_storage.ko", false),
            ("mpi3mr.ko", false),
            ("hv_storvsc.ko", false),
            ("", false),
        ];
        for (file, expected) in cases {
            assert_eq!(probes(file), expected, "{file:?}");
        }
    }
}
