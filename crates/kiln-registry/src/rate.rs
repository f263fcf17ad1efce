//! A bound on bytes a second, shared by all connections.
//!
//! One point in time is kept: when the line will be free if everything asked for so far passes at
//! the wanted rate. Whoever wants bytes moves it on and waits until their turn. Bounding each
//! connection by its share was dropped: the share of a connection that waits would be lost.

use std::io::{self, Read};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Reads of one turn are cut to what passes in this part of a second, so that slow lines tick
/// instead of stalling.
const TURNS_A_SECOND: u64 = 10;

/// A bound on what is downloaded; without one by default. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct RateLimit(Option<Arc<Line>>);

#[derive(Debug)]
struct Line {
    bytes_per_second: NonZeroU64,
    /// When everything that was asked for has passed.
    free_at: Mutex<Instant>,
}

impl RateLimit {
    /// At most so many bytes a second in all.
    #[must_use]
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self(Some(Arc::new(Line { bytes_per_second, free_at: Mutex::new(Instant::now()) })))
    }

    /// What `inner` gives, not faster than the bound.
    pub(crate) fn reader<R: Read>(&self, inner: R) -> impl Read + use<R> {
        Limited { inner, line: self.0.clone() }
    }
}

struct Limited<R> {
    inner: R,
    line: Option<Arc<Line>>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(line) = &self.line else { return self.inner.read(buffer) };
        let turn = (line.bytes_per_second.get() / TURNS_A_SECOND).max(1);
        let length = buffer.len().min(usize::try_from(turn).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..length])?;
        let wait = {
            let mut free_at = line.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            book(&mut free_at, Instant::now(), read as u64, line.bytes_per_second)
        };
        std::thread::sleep(wait);
        Ok(read)
    }
}

/// Moves the time at which the line is free, and gives how long to wait for it.
fn book(free_at: &mut Instant, now: Instant, bytes: u64, rate: NonZeroU64) -> Duration {
    // A line that was idle does not make up for it.
    let start = (*free_at).max(now);
    // Bounded by one turn, so the product fits by far.
    let time = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate);
    *free_at = start + time;
    free_at.saturating_duration_since(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_connections_together_keep_the_rate() {
        let rate = NonZeroU64::new(1000).unwrap();
        let now = Instant::now();
        let mut free_at = now;
        assert_eq!(book(&mut free_at, now, 100, rate), Duration::from_millis(100));
        assert_eq!(book(&mut free_at, now, 100, rate), Duration::from_millis(200), "the second");
        let later = now + Duration::from_millis(150);
        assert_eq!(book(&mut free_at, later, 50, rate), Duration::from_millis(100));
        let idle = now + Duration::from_secs(9);
        assert_eq!(book(&mut free_at, idle, 10, rate), Duration::from_millis(10), "no credit");
        assert_eq!(book(&mut free_at, idle, 0, rate), Duration::from_millis(10));
    }

    #[test]
    fn reads_are_cut_to_turns_and_nothing_is_lost() {
        let limit = RateLimit::new(NonZeroU64::new(1_000_000).unwrap());
        let bytes = vec![7; 250_000];
        let mut buffer = vec![0; 250_000];
        let mut reader = limit.reader(bytes.as_slice());
        assert_eq!(reader.read(&mut buffer).unwrap(), 100_000);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), 150_000);
        let mut free = RateLimit::default().reader(bytes.as_slice());
        assert_eq!(free.read(&mut buffer).unwrap(), 250_000);
    }
}
