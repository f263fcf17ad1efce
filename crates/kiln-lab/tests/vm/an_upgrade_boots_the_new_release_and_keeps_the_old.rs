//! Promise: `kiln upgrade` brings a release onto a running machine, the next boot starts it, counts
//! and blesses it, what people wrote is still there, and `kiln rollback` goes back to the release
//! before; what is only staged starts by nobody's wish but a person's.
//!
//! One machine is followed from its first boot. Its names on the ESP are read from the disk by mtools,
//! so that what Kiln says of them is not taken on trust.

use kiln_lab::{Failure, Life, Releases, WorkDirectory};
use serde_json::Value;

/// What people write: in /var, in /home, and a change in /etc.
const WRITTEN: &[&str] = &["/var/lib/kiln-lab", "/home/kiln/kiln-lab", "/etc/kiln-lab"];

#[test]
fn an_upgrade_boots_the_new_release_and_keeps_the_old() -> Result<(), Failure> {
    let work = WorkDirectory::new("upgrade")?;
    let releases = Releases::new(&work)?;
    let digest = releases.publish("14", &[])?;
    let mut life = Life::new("upgrade", &work)?;
    life.power_on()?;

    // The delivered release proves itself.
    life.settle()?;
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi"]);
    let status = life.status()?;
    assert_eq!(status["blessed"], true, "{status:#}");
    assert_eq!(facts(&status["booted"]), (1, "a", "blessed"), "{status:#}");
    assert_eq!(status["pending_reboot"], false, "{status:#}");
    assert_eq!(life.release()?, None);
    for place in WRITTEN {
        life.succeed(&format!("echo written at {place} | sudo -n tee {place}"))?;
    }
    // A file of the release itself, changed.
    life.succeed("echo '# changed' | sudo -n tee -a /etc/profile")?;

    // What is staged is not armed, whatever happens to the power.
    let check = life.run(&releases.call("14", "--check"))?;
    assert_eq!(check.status, 10, "{}", check.text);
    life.complete(&releases.call("14", "--stage"))?;
    let status = life.status()?;
    assert_eq!(facts(&status["staged"]), (2, "b", "staged"), "{status:#}");
    assert_eq!(status["pending_reboot"], false, "{status:#}");
    life.cut_power()?;
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi"]);
    life.power_on()?;
    life.settle()?;
    assert_eq!(life.release()?, None);

    // Activation needs no second fetch.
    releases.registry().forget_requests();
    life.complete(&releases.call("14", ""))?;
    assert!(releases.registry().bytes_sent() < 1 << 20, "it was fetched again");
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi", "kiln-00000002+3-0.efi"]);
    let status = life.status()?;
    assert_eq!(status["pending_reboot"], true, "{status:#}");
    assert_eq!(facts(&status["next"]), (2, "b", "trying"), "{status:#}");
    assert_eq!(status["next"]["tries_left"], 3, "{status:#}");

    // Before the restart it can be taken back, and given back; it then counts from the start.
    life.succeed("sudo -n kiln rollback")?;
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi", "kiln-00000002+0-3.efi"]);
    assert_eq!(life.status()?["pending_reboot"], false);
    life.succeed("sudo -n kiln rollback")?;
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi", "kiln-00000003+3-0.efi"]);

    life.restart_by("sudo -n systemctl reboot")?;
    life.settle()?;
    assert_eq!(life.release()?.as_deref(), Some("14"));
    let counted = life.succeed("grep -e ^entry= -e ^counted= /run/kiln/boot")?;
    assert_eq!(counted, "entry=EFI/Linux/kiln-00000003+2-1.efi\ncounted=yes");
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi", "kiln-00000003.efi"]);
    let status = life.status()?;
    assert_eq!(facts(&status["booted"]), (3, "b", "blessed"), "{status:#}");
    assert_eq!(status["booted"]["version"], "14", "{status:#}");
    assert_eq!(status["booted"]["manifest_digest"], digest.as_str(), "{status:#}");
    assert_eq!(facts(&status["previous"]), (1, "a", "blessed"), "{status:#}");
    for place in WRITTEN {
        assert_eq!(life.succeed(&format!("cat {place}"))?, format!("written at {place}"));
    }
    life.succeed("grep -x '# changed' /etc/profile")?;
    assert_eq!(life.succeed("systemctl list-units --failed --plain --no-legend")?, "");
    assert!(life.succeed("cat /run/motd.d/50-kiln")?.contains("generation 3"));

    // Nothing is left to do, twice.
    for options in ["", "--check"] {
        let again = life.run(&releases.call("14", options))?;
        assert_eq!(again.status, 0, "{}", again.text);
    }
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi", "kiln-00000003.efi"]);

    // The way back, by hand.
    life.restart_by("sudo -n kiln rollback --reboot")?;
    life.settle()?;
    assert_eq!(life.release()?, None);
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi", "kiln-00000003+0-3.efi"]);
    let status = life.status()?;
    assert_eq!(facts(&status["booted"]), (1, "a", "blessed"), "{status:#}");
    assert_eq!(facts(&status["previous"]), (3, "b", "left"), "{status:#}");
    assert_eq!(status["pending_reboot"], false, "{status:#}");
    assert_eq!(status["last_failure"], Value::Null, "{status:#}");
    for place in WRITTEN {
        assert_eq!(life.succeed(&format!("cat {place}"))?, format!("written at {place}"));
    }
    let history = life.json("kiln history --json")?;
    let states = |generation: u64| -> Vec<&str> {
        let revisions = history["revisions"].as_array().into_iter().flatten();
        let events = revisions.filter(|revision| revision["generation"] == generation);
        let events = events.filter_map(|revision| revision["events"].as_array()).flatten();
        events.filter_map(|event| event["state"].as_str()).collect()
    };
    assert_eq!(states(1), ["trying", "blessed"], "{history:#}");
    assert_eq!(states(2), ["staged", "trying", "left", "replaced"], "{history:#}");
    assert_eq!(states(3), ["staged", "trying", "blessed", "left"], "{history:#}");
    Ok(life.power_off()?)
}

/// Generation, slot and state of a revision in a report.
fn facts(revision: &Value) -> (u64, &str, &str) {
    let text = |key: &str| revision[key].as_str().unwrap_or_default();
    (revision["generation"].as_u64().unwrap_or_default(), text("slot"), text("state"))
}
