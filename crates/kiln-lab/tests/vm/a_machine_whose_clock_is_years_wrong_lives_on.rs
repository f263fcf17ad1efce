//! Promise: a machine whose clock is years wrong, in the past or in the future, comes up from a disk that
//! nobody has started yet, upgrades from a registry and blesses what it brought; and a clock that jumps
//! by decades between two boots changes nothing about what runs.
//!
//! Firmware gives the kernel its time from the clock of the machine, and that is what the first process
//! and the file systems see. systemd moves a clock that is impossible for its own age to the day on which
//! it was built, so that user space is wrong by less; the test sets it wrong again before each upgrade.

use kiln_lab::{Failure, Life, Releases, WorkDirectory};
use serde_json::Value;

const PAST: i32 = 2000;
const FUTURE: i32 = 2045;

#[test]
#[ignore = "5 boots: on the long list"]
fn a_machine_whose_clock_is_years_wrong_lives_on() -> Result<(), Failure> {
    lives("clock", PAST, FUTURE)
}

#[test]
#[ignore = "5 boots: on the long list"]
fn a_machine_whose_clock_comes_back_from_the_future_lives_on() -> Result<(), Failure> {
    lives("future", FUTURE, PAST)
}

/// A first boot and an upgrade by one clock, an upgrade by another, and one more boot by the first.
fn lives(name: &str, first: i32, second: i32) -> Result<(), Failure> {
    let work = WorkDirectory::new(name)?;
    let releases = Releases::new(&work)?;
    releases.publish("14", &[])?;
    let mut life = Life::new(name, &work)?;
    upgrades(&mut life, &releases, first, "14")?;
    assert_eq!(life.boot_files()?, ["kiln-00000001.efi", "kiln-00000002.efi"]);
    releases.publish("15", &[])?;
    upgrades(&mut life, &releases, second, "15")?;
    assert_eq!(life.boot_files()?, ["kiln-00000002.efi", "kiln-00000003.efi"]);

    starts(&mut life, first)?;
    assert_eq!(life.release()?.as_deref(), Some("15"));
    let status = life.status()?;
    assert_eq!(status["booted"]["generation"], 3, "{status:#}");
    assert_eq!(status["previous"]["generation"], 2, "{status:#}");
    assert_eq!(status["pending_reboot"], false, "{status:#}");
    assert_eq!(status["last_failure"], Value::Null, "{status:#}");
    // In the order in which it happened, whatever the times say.
    let history = life.json("kiln history --json")?;
    let revisions = history["revisions"].as_array().cloned().unwrap_or_default();
    let of = |revision: &Value| revision["generation"].as_u64().unwrap_or_default();
    assert_eq!(revisions.iter().map(of).collect::<Vec<_>>(), [3, 2, 1], "{history:#}");
    assert_eq!(year_of(&revisions, 2), Some(first), "{history:#}");
    assert_eq!(year_of(&revisions, 3), Some(second), "{history:#}");
    assert_eq!(life.succeed("systemctl list-units --failed --plain --no-legend")?, "");
    Ok(life.power_off()?)
}

/// Starts by a clock that is in this year, brings a release, and starts that.
fn upgrades(life: &mut Life<'_>, releases: &Releases, year: i32, tag: &str) -> Result<(), Failure> {
    starts(life, year)?;
    life.succeed(&format!("sudo -n date --set {year}-03-01"))?;
    life.complete(&releases.call(tag, ""))?;
    assert_eq!(life.succeed("date +%Y")?, year.to_string(), "nobody has set the clock right");
    life.restart_by("sudo -n systemctl reboot")?;
    life.settle()?;
    assert_eq!(life.release()?.as_deref(), Some(tag));
    let status = life.status()?;
    assert_eq!(status["blessed"], true, "{status:#}");
    assert_eq!(status["booted"]["version"], tag, "{status:#}");
    Ok(life.power_off()?)
}

/// Starts by a clock that is in this year, and demands that the kernel was started by it.
fn starts(life: &mut Life<'_>, year: i32) -> Result<(), Failure> {
    life.set_clock(&format!("{year}-03-01T00:00:00"));
    life.power_on()?;
    life.settle()?;
    let said = life.succeed("sudo -n dmesg | grep -m 1 'setting system clock to'")?;
    assert!(said.contains(&format!("clock to {year}-")), "{said}");
    Ok(())
}

/// The year in which a generation was staged, by the ledger.
fn year_of(revisions: &[Value], generation: u64) -> Option<i32> {
    /// Mean seconds of a year: no day near the turn of a year is asked for.
    const YEAR: i64 = 31_556_952;
    let revision = revisions.iter().find(|revision| revision["generation"] == generation)?;
    let time = revision["events"][0]["time"].as_i64()?;
    i32::try_from(time / YEAR).ok().map(|years| 1970 + years)
}
