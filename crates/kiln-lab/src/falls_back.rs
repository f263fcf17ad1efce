//! A bad release and the way back to the one before: what all tests of that promise do and ask alike.
//!
//! Each way in which a release can be bad is a test of its own, named as its promise: one test with a
//! table of releases was dropped, because its machines would run one after the other and a failure
//! would not say by its name which promise is broken. What they share stands here, so that a test
//! holds nothing but what is bad about its release and what is special about its end.
//!
//! What was left is never taken from Kiln's word alone: the marker in the root says what runs, and
//! mtools what the loader will find.

use serde_json::Value;

use crate::error::Error;
use crate::releases::Releases;
use crate::{CommandOutput, Life};

/// Boot files of a machine whose first upgrade was left: what it was made from, and the mark of a
/// revision without tries.
const LEFT: [&str; 2] = ["kiln-00000001.efi", BAD];

/// The first upgrade's boot file once it is not tried any more.
const BAD: &str = "kiln-00000002+0-3.efi";

/// Its names after one try: the loader counts when it starts a file, and a machine that already starts
/// again may have counted the second.
const TRIED: [&str; 2] = ["kiln-00000002+2-1.efi", "kiln-00000002+1-2.efi"];

/// How often a new revision is started until it has to have proved itself.
pub const TRIES: u32 = 3;

/// A revision that was left for the one before it, as people have to be told of it.
#[derive(Debug, Clone, Copy)]
pub struct Left<'a> {
    /// Its number; the one before it runs.
    pub generation: u32,
    /// What the release calls itself.
    pub version: &'a str,
    /// Where it stopped, as `kiln status --json` names the stage.
    pub stage: &'a str,
    /// What the reason must hold.
    pub reason: &'a [&'a str],
}

impl<'a> Left<'a> {
    /// The first upgrade of a machine. A release's version is its tag.
    #[must_use]
    pub fn first_upgrade(tag: &'a str, stage: &'a str, reason: &'a [&'a str]) -> Self {
        Self { generation: 2, version: tag, stage, reason }
    }
}

impl Life<'_> {
    /// Switches a new machine on, lets the release that it was made from prove itself, brings another
    /// one and restarts into its first try.
    ///
    /// # Errors
    /// When a step fails or takes too long.
    pub fn upgrade_and_restart(&mut self, releases: &Releases, tag: &str) -> Result<(), Error> {
        self.power_on()?;
        self.settle()?;
        self.complete(&releases.call(tag, ""))?;
        self.restart_by("sudo -n systemctl reboot")
    }

    /// After the end of a first try: stands for the others, which would end alike and each cost a
    /// boot. The machine is on when this returns, and starts what is left.
    ///
    /// # Errors
    /// When the first try was not counted, by mtools' word.
    pub fn skip_the_other_tries(&mut self) -> Result<(), Error> {
        self.cut_power()?;
        let names = self.boot_files()?;
        let tried = names.iter().find(|name| TRIED.contains(&name.as_str()));
        let tried = tried.ok_or_else(|| broken("a try is counted", &format!("{names:?}")))?;
        self.rename_boot_file(tried, BAD)?;
        self.power_on()
    }

    /// Waits until the release from which the machine was made runs again and is blessed, and demands
    /// that its first upgrade was left, is told as `left` says, and is refused when it comes again.
    ///
    /// # Errors
    /// When something else runs, is listed, is told or is accepted.
    pub fn falls_back(&mut self, releases: &Releases, left: &Left<'_>) -> Result<(), Error> {
        self.settle()?;
        self.runs_the_first_release()?;
        self.tells_of(left)?;
        self.refuses(&releases.call(left.version, ""), left)
    }

    /// Demands that the release from which the machine was made runs, and that its first upgrade is
    /// listed as bad.
    ///
    /// # Errors
    /// When something else runs or is listed.
    pub fn runs_the_first_release(&mut self) -> Result<(), Error> {
        let release = self.release()?;
        demand(release.is_none(), "the first release runs", &format!("{release:?}"))?;
        let names = self.boot_files()?;
        demand(names == LEFT, "the bad one is listed last and as bad", &format!("{names:?}"))
    }

    /// Demands that whoever looks is told of a revision that was left: in the status, in the history
    /// and when logging in.
    ///
    /// # Errors
    /// When one of them does not tell.
    pub fn tells_of(&mut self, left: &Left<'_>) -> Result<(), Error> {
        let status = self.status()?;
        if let Err(claim) = judge(&status, left) {
            return Err(broken(claim, &format!("{status:#}")));
        }
        for command in ["kiln history", "sudo -n kiln status", "cat /run/motd.d/50-kiln"] {
            let text = self.succeed(command)?;
            let tells = left.reason.iter().all(|word| text.contains(word));
            demand(tells, "it says why the revision was left", &format!("{command}: {text}"))?;
        }
        let motd = self.succeed("cat /run/motd.d/50-kiln")?;
        let wanted = format!("Generation {} (version {}) failed", left.generation, left.version);
        demand(motd.contains(&wanted), "the greeting says what failed", &motd)
    }

    /// Demands that a command which would bring a failed revision again is refused with its number,
    /// and says how to insist.
    ///
    /// # Errors
    /// When it is not refused, or not for this reason.
    pub fn refuses(&mut self, command: &str, left: &Left<'_>) -> Result<(), Error> {
        let CommandOutput { status, text } = self.run(command)?;
        let wanted = format!("failed here as generation {}", left.generation);
        let is_refused = status == 1 && text.contains(&wanted) && text.contains("--force");
        demand(is_refused, "it is refused unless somebody insists", &format!("{status}: {text}"))
    }
}

/// What a status lacks of what it must say of a revision that was left.
fn judge(status: &Value, left: &Left<'_>) -> Result<(), &'static str> {
    let failed = &status["last_failure"];
    let reason = failed["failure"]["reason"].as_str().unwrap_or_default();
    let claims = [
        (status["booted"]["generation"] == left.generation - 1, "the one before runs"),
        (status["blessed"] == true, "what runs is blessed"),
        (status["pending_reboot"] == false, "nothing else starts next"),
        (failed["generation"] == left.generation, "the last failure is of this generation"),
        (failed["version"] == left.version, "the last failure is of this version"),
        (failed["state"] == "failed", "it has failed"),
        (failed["failure"]["stage"] == left.stage, "it stopped at this stage"),
        (left.reason.iter().all(|word| reason.contains(word)), "the reason is told"),
    ];
    claims.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, claim)| Err(*claim))
}

fn demand(holds: bool, claim: &str, found: &str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(broken(claim, found)) }
}

fn broken(claim: &str, found: &str) -> Error {
    Error::Broken { claim: claim.to_owned(), found: found.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_claim_about_a_status_can_fail() {
        let left = Left::first_upgrade("hangs", "start", &["no try"]);
        let good = json!({
            "booted": { "generation": 1 },
            "blessed": true,
            "pending_reboot": false,
            "last_failure": {
                "generation": 2,
                "version": "hangs",
                "state": "failed",
                "failure": { "stage": "start", "reason": "no try reached its health checks" },
            },
        });
        assert_eq!(judge(&good, &left), Ok(()));
        for (place, value, claim) in [
            ("/booted/generation", json!(2), "the one before runs"),
            ("/blessed", json!(false), "what runs is blessed"),
            ("/pending_reboot", json!(true), "nothing else starts next"),
            ("/last_failure/generation", json!(3), "the last failure is of this generation"),
            ("/last_failure/version", json!("14"), "the last failure is of this version"),
            ("/last_failure/state", json!("left"), "it has failed"),
            ("/last_failure/failure/stage", json!("boot"), "it stopped at this stage"),
            ("/last_failure/failure/reason", json!("?"), "the reason is told"),
            ("/last_failure", json!(null), "the last failure is of this generation"),
        ] {
            let mut status = good.clone();
            *status.pointer_mut(place).unwrap() = value;
            assert_eq!(judge(&status, &left), Err(claim), "{place}");
        }
        assert!(judge(&json!({}), &left).is_err());
    }
}
