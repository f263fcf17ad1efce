//! When to try a request again, and how long to wait before.
//!
//! Delays double and have no random part: builds are single clients, not fleets, and a schedule
//! that can be tested beats one that spreads load nobody makes. `Retry-After` (RFC 9110 § 10.2.3)
//! lengthens a delay up to the configured maximum; its date form is ignored, for clocks differ.

use std::time::Duration;

use crate::{Error, Network};

/// Whether an HTTP status may be gone at the next attempt.
pub(super) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// The wait after failure number `failures`, counted from one; `None` to give up.
pub(super) fn delay(
    failures: u32,
    retry_after: Option<Duration>,
    network: &Network,
) -> Option<Duration> {
    if failures >= network.attempts {
        return None;
    }
    let doubled = 2_u32.checked_pow(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let own = network.first_delay.saturating_mul(doubled);
    Some(own.max(retry_after.unwrap_or_default()).min(network.longest_delay))
}

/// The seconds form of `Retry-After`.
pub(super) fn parse_retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// Whether trying again may help.
    pub(super) passing: bool,
    pub(super) retry_after: Option<Duration>,
    /// Whether the attempt got further than any before; then patience begins anew.
    pub(super) progressed: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, passing: false, retry_after: None, progressed: false }
    }
}

/// Tries until success, a lasting failure, or the last attempt.
pub(super) fn retry<T>(
    network: &Network,
    mut attempt: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Error> {
    let mut failures = 0;
    loop {
        let failure = match attempt() {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        failures = if failure.progressed { 1 } else { failures + 1 };
        match delay(failures, failure.retry_after, network) {
            Some(delay) if failure.passing => std::thread::sleep(delay),
            _ => return Err(failure.error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let network = Network {
            attempts: 5,
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(5),
            ..Network::default()
        };
        let delays: Vec<_> = (1..=5).map(|failures| delay(failures, None, &network)).collect();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(delays, [seconds(1), seconds(2), seconds(4), seconds(5), None]);
        assert_eq!(delay(1, seconds(3), &network), seconds(3));
        assert_eq!(delay(1, seconds(900), &network), seconds(5));
    }

    #[test]
    fn only_seconds_are_honoured() {
        assert_eq!(parse_retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), None);
    }
}
