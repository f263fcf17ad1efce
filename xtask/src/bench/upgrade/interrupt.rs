//! What an interruption costs: an upgrade is killed where half of its bytes have come, and another one
//! goes on.
//!
//! The registry falls silent there, and the kill comes when nothing moves any more. So what had come
//! was taken out of the sockets, as it is on a line that is slower than memory; a kill in full flight
//! was dropped, because here it counts what fits into the buffers of six connections, megabytes that
//! no line in the world would have in flight.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kiln_lab::Registry;
use kiln_lab::registry::{Fault, Request, Rule};

use super::expect_activated;
use super::laboratory::Laboratory;
use super::run::{output, pinned, unexpected};
use crate::error::Error;

/// How long the registry says nothing; less than clients wait.
const SILENCE: Duration = Duration::from_secs(20);
/// Once the registry is silent and without a byte for so long, an upgrade has done all that it can.
const STILL: Duration = Duration::from_secs(2);
/// How often the bench looks.
const LOOK: Duration = Duration::from_millis(20);

/// What an interruption cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interruption {
    /// The part of the bytes that had come when the process was killed.
    pub(super) at: f64,
    /// The part of the bytes that came twice.
    pub(super) twice: f64,
}

/// Interrupts an upgrade and lets a second one go on.
pub(super) fn interrupt(laboratory: &Laboratory, words: &[String]) -> Result<Interruption, Error> {
    let registry = &laboratory.registry;
    laboratory.restore()?;
    registry.forget_requests();
    output(&mut pinned(words))?;
    let answers: Vec<u64> = registry.requests().iter().map(sent).collect();
    let whole = answers.iter().sum::<u64>() as f64;

    laboratory.restore()?;
    registry.forget_requests();
    let (skipped, after) = half(&answers);
    let stall = |after| Rule::new("/", Fault::Stall { after, pause: SILENCE });
    // Requests that run side by side change places from run to run, and a short answer may end before
    // that byte: from the next one on nothing comes at all.
    registry.script(stall(after).skip(skipped).times(1));
    registry.script(stall(0).skip(skipped + 1));
    let killed = kill_when_still(registry, words, skipped);
    registry.forgive();
    killed?;
    let end = Instant::now() + SILENCE;
    let first: Vec<u64> = registry.requests().iter().map(sent).collect();
    expect_activated(words, output(&mut pinned(words))?)?;
    let second: u64 = registry.requests().iter().skip(first.len()).map(sent).sum();
    // What the registry still holds back for the dead must not count for whoever comes next.
    sleep(end.saturating_duration_since(Instant::now()));
    let first: u64 = first.iter().sum();
    let twice = (first + second) as f64 - whole;
    Ok(Interruption { at: first as f64 / whole, twice: twice / whole })
}

fn sent(request: &Request) -> u64 {
    request.sent
}

/// The request in which half of all bytes have been sent, and the bytes of it that are before that.
fn half(answers: &[u64]) -> (usize, u64) {
    let half = answers.iter().sum::<u64>() / 2;
    let mut before = 0;
    for (number, sent) in answers.iter().enumerate() {
        if before + sent > half {
            return (number, half - before);
        }
        before += sent;
    }
    (answers.len(), 0)
}

/// Starts an upgrade and kills it when nothing moves any more after request number `silent`.
fn kill_when_still(registry: &Registry, words: &[String], silent: usize) -> Result<(), Error> {
    let mut command = pinned(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let failed = |source| Error::Start { program: words.join(" "), source };
    let mut child = command.spawn().map_err(failed)?;
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < STILL {
        if child.try_wait().map_err(failed)?.is_some() {
            let text = "it ended although the registry was silent".to_owned();
            return Err(unexpected("an upgrade to interrupt", text));
        }
        sleep(LOOK);
        let now = registry.bytes_sent();
        if now != last || registry.requests().len() <= silent {
            (last, since) = (now, Instant::now());
        }
    }
    child.kill().map_err(failed)?;
    child.wait().map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_bytes_is_found() {
        for (answers, expected) in [
            (vec![], (0, 0)),
            (vec![100], (0, 50)),
            (vec![10, 10, 80], (2, 30)),
            (vec![50, 50], (1, 0)),
        ] {
            assert_eq!(half(&answers), expected, "{answers:?}");
        }
    }
}
