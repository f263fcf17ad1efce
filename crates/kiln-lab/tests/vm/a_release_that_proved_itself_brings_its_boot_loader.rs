//! Promise: the boot loader is replaced by the one of a release that has proved itself, if that is newer;
//! the old one is kept beside it, and the machine starts with the new one from then on.

use kiln_lab::boot_loader::BootLoader;
use kiln_lab::{Failure, Life, Oracle, WorkDirectory};

/// The loader's own word for itself (Boot Loader Interface), without attributes and in ASCII.
const LOADER: &str = "cat /sys/firmware/efi/efivars/\
                      LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f | tr -cd '[:print:]'";

/// Waits until the unit that comes after the blessing has said something of the loader.
const JUDGED: &str = "for n in $(seq 100); do sudo -n journalctl -b --no-pager -u kiln-settle | \
                      grep 'boot loader EFI' && exit 0; sleep 2; done; exit 1";

const PATH: &str = "::EFI/BOOT/BOOTX64.EFI";

#[test]
#[ignore = "2 boots: on the long list"]
fn a_release_that_proved_itself_brings_its_boot_loader() -> Result<(), Failure> {
    let work = WorkDirectory::new("loader")?;
    let mut life = Life::new("loader", &work)?;
    // Otherwise the unit that is watched here is stopped.
    life.fill_recovery();
    let esp = format!("{}@@1M", life.disk().display());
    let copy = |from: &str, to: &str| {
        Oracle::new("mcopy").arguments(["-o", "-n", "-i", &esp, from, to]).run().map(drop)
    };
    let (brought, kept, now) = (work.join("brought"), work.join("kept"), work.join("now"));
    let text = |path: &std::path::Path| path.display().to_string();
    copy(PATH, &text(&brought))?;
    // As if the disk had been made long ago.
    let old = BootLoader::of_debian("bookworm")?.path();
    copy(&text(&old), PATH)?;

    life.power_on()?;
    life.settle()?;
    let version = life.succeed(LOADER)?;
    assert!(version.contains("systemd-boot 252"), "{version}");
    let said = life.complete(&format!("( {JUDGED} )"))?;
    assert!(said.contains("replaces 252"), "{said}");
    copy(PATH, &text(&now))?;
    copy(&format!("{PATH}.old"), &text(&kept))?;
    for (found, expected) in [(&now, &brought), (&kept, &old)] {
        Oracle::new("cmp").argument(found).argument(expected).run()?;
    }
    let record = life.json("sudo -n cat /state/kiln/loader.json")?;
    assert_eq!(record["events"].as_array().map(Vec::len), Some(2), "{record:#}");
    assert_eq!(record["events"][1]["path"], "EFI/BOOT/BOOTX64.EFI", "{record:#}");

    life.restart_by("sudo -n systemctl reboot")?;
    life.settle()?;
    let version = life.succeed(LOADER)?;
    assert!(!version.contains("systemd-boot 252"), "{version}");
    let said = life.complete(&format!("( {JUDGED} )"))?;
    assert!(said.contains("already"), "{said}");
    assert_eq!(life.succeed("systemctl list-units --failed --plain --no-legend")?, "");
    Ok(life.power_off()?)
}
