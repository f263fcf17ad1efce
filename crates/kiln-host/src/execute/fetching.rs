//! What a fetch tells, as the steps that a build tells: bringing a pushed release looks like building
//! one to whoever waits for it. Fetching tells from several threads, a step has one teller.

use std::sync::{Mutex, PoisonError};

use kiln_build::{Progress, Step, Unit};
use kiln_release::fetch;

/// Passes on what a fetch tells.
pub(crate) struct FetchProgress<'a>(Mutex<(Option<fetch::Stage>, &'a mut dyn Progress)>);

impl<'a> FetchProgress<'a> {
    pub(crate) fn new(progress: &'a mut dyn Progress) -> Self {
        Self(Mutex::new((None, progress)))
    }

    /// `done` of `total` bytes of this part are there.
    pub(crate) fn watch(&self, part: fetch::Stage, done: u64, total: u64) {
        // A teller that died has at most told too little.
        let mut listener = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (current, progress) = &mut *listener;
        if *current != Some(part) {
            *current = Some(part);
            progress.step(match part {
                fetch::Stage::Root => Step::Root,
                fetch::Stage::BootFiles => Step::BootFile,
                _ => Step::Fetch,
            });
            progress.expect(Unit::Bytes, Some(total));
        }
        progress.advance(done);
    }
}
