//! Promise: a machine that is killed at any moment while it upgrades, restarts into the new release or
//! starts it, starts again and runs the old or the new one, and what was synced is still there.
//!
//! Each kill costs one boot, because the next upgrade begins in the boot that proves the last kill
//! harmless. The moments are random: the seed is printed, and `KILN_SEED` repeats a run. QEMU keeps
//! what the guest has written, in order; writes that are lost are what crash replay is for.
//!
//! Kills on one machine can only come one after the other, so the long list has several machines, each
//! with a disk, a registry and chance of its own.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kiln_lab::{Failure, Life, Releases, WorkDirectory};

/// Repeats the run with this seed.
const VARIABLE: &str = "KILN_SEED";

/// From the call of `kiln upgrade` to the blessing of what it brought, in first boots of the same
/// machine: 1.7 on an idle computer. All of it is work for one processor, so on a busy computer both
/// take longer alike. A kill that came after the end tells the kills behind it a better time.
const UPGRADE_IN_BOOTS: u32 = 2;

/// A file of state and its content, written and synced once.
const KEPT: &str = "/var/lib/kiln-lab-kept";

#[test]
fn random_kills_never_brick() -> Result<(), Failure> {
    kill_often("kills", 0, 5)
}

#[test]
#[ignore = "14 boots: on the long list"]
fn more_random_kills_never_brick_a_first_machine() -> Result<(), Failure> {
    kill_often("kills-1", 1, 13)
}

#[test]
#[ignore = "14 boots: on the long list"]
fn more_random_kills_never_brick_a_second_machine() -> Result<(), Failure> {
    kill_often("kills-2", 2, 13)
}

#[test]
#[ignore = "13 boots: on the long list"]
fn more_random_kills_never_brick_a_third_machine() -> Result<(), Failure> {
    kill_often("kills-3", 3, 12)
}

#[test]
#[ignore = "13 boots: on the long list"]
fn more_random_kills_never_brick_a_fourth_machine() -> Result<(), Failure> {
    kill_often("kills-4", 4, 12)
}

fn kill_often(name: &str, machine: u64, kills: u32) -> Result<(), Failure> {
    let mut random = Random::new(machine);
    let work = WorkDirectory::new(name)?;
    let releases = Releases::new(&work)?;
    for tag in ["14", "15"] {
        releases.publish(tag, &[])?;
    }
    let mut life = Life::new(name, &work)?;
    life.say(&format!("{VARIABLE}={}", random.seed));
    let switched_on = Instant::now();
    life.power_on()?;
    life.settle()?;
    let mut longest = switched_on.elapsed() * UPGRADE_IN_BOOTS;
    life.succeed(&format!("echo {} | sudo -n tee {KEPT} && sudo -n sync", random.seed))?;
    let mut running = life.release()?;
    let mut new = 0;
    for number in 1..=kills {
        let other = other(running.as_deref());
        // Whatever the kills before have made of its tries: it is brought again.
        let call = releases.call(other, "--force --allow-older");
        let before = life.boot_files()?;
        let moment = random.within(longest);
        let (seconds, of) = (moment.as_secs(), longest.as_secs());
        life.say(&format!("{running:?} to {other}, to be killed after {seconds} of {of} s"));
        life.machine()?.send(&format!("{call}; sudo -n systemctl reboot\n"))?;
        std::thread::sleep(moment);
        life.cut_power()?;
        let listed = life.boot_files()?;
        life.say(&format!("kill {number} leaves {listed:?}"));
        // The new one was blessed already, so the end of all is no later than this moment.
        if listed.last() != before.last() && listed.last().is_some_and(|name| !name.contains('+')) {
            longest = moment;
        }
        life.power_on()?;
        life.settle()?;
        let runs = life.release()?;
        assert!(runs == running || runs.as_deref() == Some(other), "{runs:?} runs");
        let status = life.status()?;
        assert_eq!(status["complete"], true, "{status:#}");
        assert_eq!(status["blessed"], true, "{status:#}");
        let kept = format!("sudo -n cat {KEPT} && systemctl is-active multi-user.target");
        assert_eq!(life.succeed(&kept)?, format!("{}\nactive", random.seed));
        new += u32::from(runs != running);
        running = runs;
    }
    life.say(&format!("{kills} kills, {new} of them ended in the new release"));
    // Whatever they left, an upgrade that nobody disturbs works.
    let call = releases.call(other(running.as_deref()), "--force --allow-older --stage");
    life.complete(&call)?;
    Ok(life.cut_power()?)
}

/// The release that does not run.
fn other(running: Option<&str>) -> &'static str {
    if running == Some("14") { "15" } else { "14" }
}

/// Repeatable chance: xorshift64* (Vigna 2016); any generator would do.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// From the environment, or from the clock; each machine has another one from the same seed.
    fn new(machine: u64) -> Self {
        let given = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs());
        let seed: u64 = given.unwrap_or_else(clock);
        let mixed = (seed ^ machine << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { seed, state: mixed | 1 }
    }

    fn within(&mut self, longest: Duration) -> Duration {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let number = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        Duration::from_millis(number % u64::try_from(longest.as_millis()).unwrap_or(u64::MAX))
    }
}
