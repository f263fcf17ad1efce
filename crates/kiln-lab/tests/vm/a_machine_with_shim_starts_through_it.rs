//! Promise: where an image brings a signed shim and a systemd-boot that this shim starts, the disk gets both,
//! firmware starts the one and that the other, and the machine knows both and leaves them as they are.
//!
//! Firmware enforces nothing here: a boot file of the lab is signed by nobody whom a shim of Debian knows.
//! What is shown is the chain, with programs as Debian signed them.

use std::path::Path;

use kiln_lab::boot_loader::SignedLoaders;
use kiln_lab::{Failure, Life, Oracle, WorkDirectory};

/// Variables that shim alone leaves, by its vendor: it mirrors its lists of keys for what it starts.
const OF_SHIM: &str = "ls /sys/firmware/efi/efivars | grep 605dab50-e046-4300-abb6-3dd810dd8b23";

/// The loader's own word for itself (Boot Loader Interface), without attributes and in ASCII.
const LOADER: &str = "cat /sys/firmware/efi/efivars/\
                      LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f | tr -cd '[:print:]'";

/// Waits until the unit that comes after the blessing has said something of both loaders.
const JUDGED: &str = "for n in $(seq 100); do sudo -n journalctl -b --no-pager -u kiln-settle | \
                      grep -q 'boot loader EFI/BOOT/grubx64.efi' && break; sleep 2; done; \
                      sudo -n journalctl -b --no-pager -u kiln-settle | grep 'boot loader EFI'";

/// Where things are on the ESP, and where Debian has them.
const PLACES: [(&str, &str); 3] = [
    ("BOOTX64.EFI", "usr/lib/shim/shimx64.efi.signed"),
    ("grubx64.efi", "usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed"),
    ("mmx64.efi", "usr/lib/shim/mmx64.efi.signed"),
];

#[test]
#[ignore = "a boot: on the long list"]
fn a_machine_with_shim_starts_through_it() -> Result<(), Failure> {
    let work = WorkDirectory::new("shim")?;
    let loaders = SignedLoaders::of_debian("trixie")?.tree();
    let source = format!("tar:{}", loaders.display());
    let mut life = Life::built("shim", &work, &["--boot-files", &source])?;
    // Otherwise the unit that is watched here is stopped.
    life.fill_recovery();
    are_debians(life.disk(), &loaders, &work)?;

    life.power_on()?;
    life.settle()?;
    let said = life.succeed(OF_SHIM)?;
    assert!(said.contains("MokListRT"), "{said}");
    let said = life.succeed(LOADER)?;
    assert!(said.contains("systemd-boot 257"), "{said}");
    let status = life.status()?;
    let kinds: Vec<_> = status["loaders"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|found| (found["path"].as_str(), found["kind"].as_str(), found["signed"].as_bool()))
        .collect();
    // In the order in which they are judged.
    let expected = [
        (Some("EFI/BOOT/grubx64.efi"), Some("systemd-boot"), Some(true)),
        (Some("EFI/BOOT/BOOTX64.EFI"), Some("shim"), Some(true)),
    ];
    assert_eq!(kinds, expected, "{status:#}");
    let said = life.complete(&format!("( {JUDGED} )"))?;
    assert_eq!(said.matches("already").count(), 2, "{said}");
    assert_eq!(life.succeed("systemctl list-units --failed --plain --no-legend")?, "");
    let disk = life.disk().to_owned();
    life.power_off()?;
    are_debians(&disk, &loaders, &work)
}

/// Compares what is on the ESP with what Debian signed.
fn are_debians(disk: &Path, tree: &Path, work: &WorkDirectory) -> Result<(), Failure> {
    let esp = format!("{}@@1M", disk.display());
    for (name, path) in PLACES {
        let (found, expected) = (work.join(name), work.path().join(path));
        Oracle::new("mcopy")
            .arguments(["-o", "-n", "-i", &esp, &format!("::EFI/BOOT/{name}")])
            .argument(&found)
            .run()?;
        Oracle::new("tar")
            .arguments(["--extract".as_ref(), "--directory".as_ref(), work.path()])
            .arguments(["--file".as_ref(), tree])
            .argument(format!("./{path}"))
            .run()?;
        Oracle::new("cmp").argument(&found).argument(&expected).run()?;
    }
    Ok(())
}
