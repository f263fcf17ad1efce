//! Promise: other kernel arguments are a revision of their own. One that works is blessed and stays; one
//! that does not is left without anybody's help, and what ran before runs again. A debug overlay is seen
//! in the status and gone after the restart.

use kiln_lab::{Error, Failure, Left, Life, WorkDirectory};

/// An addon of the release, and the argument in it.
const ADDON: [&str; 2] = ["--addon", "probe=lab.addon=1"];

/// What the loader lists; folders of addons stand beside it.
fn listed(life: &Life<'_>) -> Result<Vec<String>, Error> {
    Ok(life.boot_files()?.into_iter().filter(|name| name.ends_with(".efi")).collect())
}

#[test]
#[ignore = "4 boots: on the long list"]
fn kernel_arguments_are_a_revision_that_falls_back() -> Result<(), Failure> {
    let work = WorkDirectory::new("kargs")?;
    let mut life = Life::built("kargs", &work, &ADDON)?;
    life.power_on()?;
    life.settle()?;

    assert_eq!(life.status()?["debug_overlay"], false);
    life.succeed("sudo -n kiln debug && sudo -n touch /usr/share/kiln-lab-debug /usr/local/kept")?;
    assert_eq!(life.status()?["debug_overlay"], true);
    let again = life.run("sudo -n kiln debug")?;
    assert!(again.status == 1 && again.text.contains("already"), "{}", again.text);

    let refused = life.run("sudo -n kiln kargs --append kiln.root=1")?;
    assert!(refused.status == 1 && refused.text.contains("only a release"), "{}", refused.text);
    life.succeed("sudo -n kiln kargs --append lab.local=1 --enable probe")?;
    assert_eq!(listed(&life)?, ["kiln-00000001.efi", "kiln-00000002+3-0.efi"]);
    life.restart_by("sudo -n systemctl reboot")?;
    life.settle()?;

    let line = life.succeed("cat /proc/cmdline")?;
    for argument in ["lab.local=1", "lab.addon=1"] {
        assert!(line.split_whitespace().any(|word| word == argument), "{argument}: {line}");
    }
    assert_eq!(listed(&life)?, ["kiln-00000001.efi", "kiln-00000002.efi"]);
    let status = life.status()?;
    assert_eq!(status["booted"]["generation"], 2, "{status:#}");
    assert_eq!(status["booted"]["slot"], "a", "{status:#}");
    assert_eq!(status["blessed"], true, "{status:#}");
    assert_eq!(status["previous"]["generation"], 1, "{status:#}");
    let version = status["booted"]["version"].as_str().unwrap_or_default().to_owned();
    assert_eq!(status["debug_overlay"], false, "{status:#}");
    life.succeed("test ! -e /usr/share/kiln-lab-debug && test -e /usr/local/kept")?;
    let found = life.json("sudo -n kiln kargs --json")?;
    assert_eq!(found["current"]["addons"][0], "probe", "{found:#}");

    // The first process cannot hand over; it marks its own boot file and starts the one before.
    life.succeed("sudo -n kiln kargs --append init=/nonexistent")?;
    life.restart_by("sudo -n systemctl reboot")?;
    life.starts_again(1)?;
    life.settle()?;
    let line = life.succeed("cat /proc/cmdline")?;
    assert!(line.contains("lab.local=1") && !line.contains("nonexistent"), "{line}");
    let left = Left { generation: 3, version: &version, stage: "boot", reason: &["/nonexistent"] };
    life.tells_of(&left)?;
    life.refuses("sudo -n kiln kargs --append init=/nonexistent", &left)?;
    Ok(life.power_off()?)
}
