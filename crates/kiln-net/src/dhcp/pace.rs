//! How often a client asks: pauses that double, each a quarter longer or shorter, and the numbers
//! that tell exchanges apart.

use std::time::Duration;

/// The first pause between questions. RFC 2131, section 4.1, suggests 4 s for a network of 1997, RFC 8415
/// 1 s; a switch that has just opened its port loses the first question, and a boot waits.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause: at most this long after a server comes, a machine has an address.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// Spreads pauses and draws numbers.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    random: u64,
}

impl Pace {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: seed | 1 }
    }

    /// The pause behind a question before which so many were asked.
    pub(crate) fn pause(&mut self, asked: u32) -> Duration {
        let whole = FIRST_PAUSE.saturating_mul(1 << asked.min(8)).min(LONGEST_PAUSE);
        let spread = self.draw() % 512;
        whole.saturating_mul(768 + spread) / 1024
    }

    /// The next number of a xorshift64* generator (Vigna, 2014): spread, not secrecy, is wanted, and
    /// the seed is the kernel's.
    pub(crate) fn draw(&mut self) -> u32 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let product = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d);
        u32::try_from(product >> 32).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_differ() {
        let mut pace = Pace::new(0);
        for (asked, whole) in [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 16), (u32::MAX, 16)] {
            let pauses: Vec<Duration> = (0..50).map(|_| pace.pause(asked)).collect();
            let whole = Duration::from_secs(whole);
            assert!(pauses.iter().all(|one| *one >= whole * 3 / 4 && *one <= whole * 5 / 4));
            assert!(pauses.iter().any(|one| *one != pauses[0]));
        }
        assert_ne!(Pace::new(1).draw(), Pace::new(1 << 40).draw());
    }
}
