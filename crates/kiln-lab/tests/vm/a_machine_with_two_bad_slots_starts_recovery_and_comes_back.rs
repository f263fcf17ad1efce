//! Promise: a machine whose slots are all bad starts recovery, although recovery holds the same release
//! as a damaged slot; it has its configuration there, and an upgrade from there brings it back.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kiln_lab::{Error, Failure, Life, Oracle, Releases, WorkDirectory};

/// Waits for what a boot does after it proved itself.
const FILLED: &str = "for n in $(seq 150); do sudo -n kiln status --json | grep -q kiln-recovery.efi \
                      && exit 0; sleep 2; done; sudo -n journalctl -b -u kiln-settle; exit 1";

#[test]
#[ignore = "4 boots: on the long list"]
fn a_machine_with_two_bad_slots_starts_recovery_and_comes_back() -> Result<(), Failure> {
    let work = WorkDirectory::new("recovery")?;
    let releases = Releases::new(&work)?;
    releases.publish("14", &[])?;
    let mut life = Life::new("recovery", &work)?;
    life.fill_recovery();
    life.power_on()?;
    life.settle()?;
    life.complete(&format!("( {FILLED} )"))?;
    life.say("recovery is filled");
    assert!(life.has_recovery()?);
    life.succeed("echo kept | sudo -n tee /etc/kiln-lab-marker")?;
    let line = life.succeed("cat /proc/cmdline")?;
    life.power_off()?;

    // Slot B was never written, so slot A is all that starts. Its hash tree goes, so that the disk does
    // not even seem to hold the release.
    damage(life.disk(), &line)?;
    life.power_on()?;
    // The damaged one, and recovery.
    life.starts_again(2)?;
    life.login()?;
    let facts = life.succeed("cat /run/kiln/boot")?;
    for fact in ["mode=recovery", "partition=kiln-recovery", "state=disk"] {
        assert!(facts.contains(fact), "{facts}");
    }
    assert_eq!(life.succeed("cat /etc/kiln-lab-marker")?.trim(), "kept");
    life.succeed("echo gone | sudo -n tee /etc/kiln-lab-gone")?;
    let status = life.status()?;
    assert_eq!(status["mode"], "recovery", "{status:#}");
    assert_eq!(status["booted"]["slot"], "recovery", "{status:#}");
    assert_eq!(status["last_failure"]["generation"], 1, "{status:#}");

    life.complete(&releases.call("14", ""))?;
    life.restart_by("sudo -n systemctl reboot")?;
    life.settle()?;
    assert_eq!(life.release()?.as_deref().map(str::trim), Some("14"));
    let status = life.status()?;
    assert_eq!(status["mode"], "system", "{status:#}");
    assert_eq!(status["booted"]["slot"], "a", "{status:#}");
    assert_eq!(status["recovery"]["entry"], "kiln-recovery.efi", "{status:#}");
    assert_eq!(life.succeed("cat /etc/kiln-lab-marker")?.trim(), "kept");
    life.succeed("test ! -e /etc/kiln-lab-gone")?;
    Ok(life.power_off()?)
}

/// Overwrites the top block of slot A's hash tree, whose place the command line tells.
fn damage(disk: &Path, line: &str) -> Result<(), Error> {
    let unexpected =
        |what: &str, text: &str| Error::Unexpected { what: what.into(), text: text.into() };
    let root = line.split_whitespace().find_map(|word| word.strip_prefix("kiln.root="));
    let blocks: Option<u64> = root.and_then(|root| root.split(':').nth(1)?.parse().ok());
    let blocks = blocks.ok_or_else(|| unexpected("the command line", line))?;
    let text = Oracle::new("sgdisk").arguments(["-i", "3"]).argument(disk).run()?;
    let first: Option<u64> = text
        .lines()
        .find_map(|line| line.strip_prefix("First sector: ")?.split(' ').next()?.parse().ok());
    let first = first.ok_or_else(|| unexpected("sgdisk's description", &text))?;
    let change = || {
        let file = File::options().write(true).open(disk)?;
        file.write_all_at(&[0xee; 4096], first * 512 + blocks * 4096)
    };
    change().map_err(|source| Error::File { action: "damage", path: disk.to_owned(), source })
}
