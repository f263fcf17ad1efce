//! Promise: a machine that is killed at any moment while it upgrades, restarts into the new release or
//! starts it, starts again and runs the old or the new one, and what was synced is still there.
//!
//! Each kill costs one boot, because the next upgrade begins in the boot that proves the last kill
//! harmless. The moments are random: the seed is printed, and `KILN_SEED` repeats a run. QEMU keeps
//! what the guest has written, in order; writes that are lost are what crash replay is for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_lab::life::UPGRADE;
use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Failure, Life, Releases, WorkDirectory};

/// Repeats the run with this seed.
const VARIABLE: &str = "KILN_SEED";

/// Kills that every change has to survive.
const FEW: u32 = 5;

/// Kills on the long list.
const MANY: u32 = 50;

/// A file of state and its content, written and synced once.
const KEPT: &str = "/var/lib/kiln-lab-kept";

#[test]
fn random_kills_never_brick() -> Result<(), Failure> {
    kill_often("kills", FEW)
}

#[test]
#[ignore = "fifty boots: on the long list"]
fn many_random_kills_never_brick() -> Result<(), Failure> {
    kill_often("many-kills", MANY)
}

fn kill_often(name: &str, kills: u32) -> Result<(), Failure> {
    let mut random = Random::new();
    let work = WorkDirectory::new(name)?;
    let releases = Releases::new(&work)?;
    for tag in ["14", "15"] {
        releases.publish(tag, &[])?;
    }
    let mut life = Life::new(name, &work)?;
    life.say(&format!("{VARIABLE}={}", random.seed));
    life.power_on()?;
    life.settle()?;
    life.succeed(&format!("echo {} | sudo -n tee {KEPT} && sudo -n sync", random.seed))?;
    let (mut old, mut new) = (None, 0);
    for number in 0..kills {
        let running = life.release()?;
        let other = if running.as_deref() == Some("14") { "15" } else { "14" };
        // Whatever the kills before have made of its tries: it is brought again.
        let call = releases.call(other, "--force --allow-older");
        let moment = random.within(UPGRADE + BOOT);
        life.say(&format!("{running:?} to {other}, killed after {} ms", moment.as_millis()));
        life.machine()?.send(&format!("{call}; sudo -n systemctl reboot\n"))?;
        std::thread::sleep(moment);
        life.cut_power()?;
        let listed = life.boot_files()?;
        life.say(&format!("kill {number} leaves {listed:?}"));
        life.power_on()?;
        life.settle()?;
        let runs = life.release()?;
        assert!(runs == running || runs.as_deref() == Some(other), "{runs:?} runs");
        let status = life.status()?;
        assert_eq!(status["complete"], true, "{status:#}");
        assert_eq!(status["blessed"], true, "{status:#}");
        assert_eq!(life.succeed(&format!("sudo -n cat {KEPT}"))?, random.seed.to_string());
        life.succeed("systemctl is-active multi-user.target")?;
        new += u32::from(runs != running);
        old = running;
    }
    life.say(&format!("{kills} kills, {new} of them ended in the new release; last left {old:?}"));
    // Whatever they left, an upgrade that nobody disturbs works.
    let running = life.release()?;
    let other = if running.as_deref() == Some("14") { "15" } else { "14" };
    life.complete(&releases.call(other, "--force --allow-older --stage"))?;
    Ok(life.cut_power()?)
}

/// Repeatable chance: xorshift64* (Vigna 2016); any generator would do.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// From the environment, or from the clock.
    fn new() -> Self {
        let given = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs());
        let seed: u64 = given.unwrap_or_else(clock);
        Self { seed, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    fn within(&mut self, longest: Duration) -> Duration {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let number = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        Duration::from_millis(number % u64::try_from(longest.as_millis()).unwrap_or(u64::MAX))
    }
}
