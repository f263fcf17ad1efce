//! Work side by side, results in order.
//!
//! One thread, the caller's, reads the inputs and takes the results; others do the work. A bounded
//! number of inputs is on its way, so that memory does not depend on the length of a disk. Results
//! come in the order of the inputs, so the number of threads does not show in the output.
//!
//! Dropped alternative: a batch for all threads, then the next. Every batch waits for its slowest
//! part, and nothing is read or written meanwhile.

use crate::Error;
use crossbeam_channel::{Sender, bounded};
use std::collections::BTreeMap;

/// Inputs on their way for each thread: enough that none waits for a write.
const DEPTH: usize = 8;

/// Most threads that are of any use.
const MAXIMUM_THREADS: usize = 256;

/// Gives each of `inputs` to `work` on one of `threads` threads, each with a state of its own, and
/// the results to `consume` in order.
///
/// # Errors
/// The first one that is met, of inputs, work or consumer.
pub(crate) fn ordered<I: Send, O: Send, S>(
    threads: usize,
    mut inputs: impl Iterator<Item = Result<I, Error>>,
    state: impl Fn() -> Result<S, Error> + Sync,
    work: impl Fn(&mut S, I) -> Result<O, Error> + Sync,
    mut consume: impl FnMut(O) -> Result<(), Error>,
) -> Result<(), Error> {
    let threads = threads.clamp(1, MAXIMUM_THREADS);
    if threads == 1 {
        let mut state = state()?;
        return inputs.try_for_each(|input| consume(work(&mut state, input?)?));
    }
    let window = threads * DEPTH;
    let (tasks, todo) = bounded::<(u64, I)>(window);
    // As many as there are tasks, so that no thread waits for its result to be taken.
    let (results, done) = bounded::<(u64, Option<Result<O, Error>>)>(window);
    std::thread::scope(|scope| {
        // They end with this block, however it ends; the threads end when they do.
        let (tasks, done) = (tasks, done);
        for _ in 0..threads {
            let (todo, results, state, work) = (todo.clone(), results.clone(), &state, &work);
            scope.spawn(move || {
                let mut own = state();
                for (number, input) in todo {
                    let mut alarm = Alarm { results: &results, number, is_armed: true };
                    let outcome = match &mut own {
                        Ok(own) => work(own, input),
                        // Every input fails the same way; the first is what is told.
                        Err(_) => state().and_then(|mut own| work(&mut own, input)),
                    };
                    alarm.is_armed = false;
                    if results.send((number, Some(outcome))).is_err() {
                        break;
                    }
                }
            });
        }
        drop((todo, results));
        let (mut given, mut taken, mut is_over) = (0_u64, 0_u64, false);
        let mut waiting = BTreeMap::new();
        loop {
            while !is_over && given - taken < window as u64 {
                match inputs.next() {
                    Some(Ok(input)) => {
                        // Threads end only when this sender does.
                        let _ = tasks.send((given, input));
                        given += 1;
                    }
                    Some(Err(error)) => return Err(error),
                    None => is_over = true,
                }
            }
            if taken == given {
                return Ok(());
            }
            // A thread that panicked: the scope carries its panic on.
            let Ok((number, Some(outcome))) = done.recv() else { return Ok(()) };
            waiting.insert(number, outcome);
            while let Some(outcome) = waiting.remove(&taken) {
                consume(outcome?)?;
                taken += 1;
            }
        }
    })
}

/// Tells the taker of results when a thread panics, because it would wait for ever.
struct Alarm<'a, T> {
    results: &'a Sender<(u64, Option<T>)>,
    number: u64,
    is_armed: bool,
}

impl<T> Drop for Alarm<'_, T> {
    fn drop(&mut self) {
        if self.is_armed {
            // Nobody waits any more.
            let _ = self.results.send((self.number, None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(threads: usize, count: u64, bad: Option<u64>) -> (Result<(), Error>, Vec<u64>) {
        let mut seen = Vec::new();
        let inputs = (0..count).map(Ok);
        let work = |state: &mut u64, input: u64| {
            *state += 1;
            // Later inputs are faster, so that they would overtake.
            std::thread::sleep(std::time::Duration::from_micros(200 / (input + 1)));
            if Some(input) == bad { Err(Error::Compress(input)) } else { Ok(input * 3) }
        };
        let result = ordered(
            threads,
            inputs,
            || Ok(0),
            work,
            |output| {
                seen.push(output);
                Ok(())
            },
        );
        (result, seen)
    }

    #[test]
    fn results_come_in_the_order_of_the_inputs() {
        for threads in [0, 1, 2, 7] {
            let (result, seen) = run(threads, 500, None);
            assert!(result.is_ok() && seen == (0..500).map(|n| n * 3).collect::<Vec<_>>());
            let (result, seen) = run(threads, 500, Some(123));
            assert!(matches!(result, Err(Error::Compress(123))), "{threads}: {result:?}");
            assert_eq!(seen.len(), 123, "{threads}");
        }
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_is_carried_on_and_nothing_hangs() {
        let work = |(): &mut (), input: u64| if input == 9 { panic!("on purpose") } else { Ok(()) };
        let _ = ordered(3, (0..99).map(Ok), || Ok(()), work, |()| Ok(()));
    }
}
