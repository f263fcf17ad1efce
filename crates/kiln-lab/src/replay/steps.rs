//! What a program did to a machine, from the calls that it made ([`trace`](super::trace)): writes and
//! flushes of the disk, and the ledgers that were put in place between them.
//!
//! Partitions are files of their own, and a flush of one says nothing about another. So it is a fault
//! to flush one while writes to another wait: on the one disk of the replay that flush would count for
//! both.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use super::operation::Operation;
use super::trace::Event;

/// A ledger that was put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Operations of the disk that came before its rename.
    pub renamed: usize,
    /// Operations that came before the rename was flushed.
    pub kept: usize,
    /// Its text.
    pub text: Vec<u8>,
}

/// One step of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// What the disk was asked for.
    pub operations: Vec<Operation>,
    /// The ledgers that were put in place meanwhile, in order.
    pub ledgers: Vec<Written>,
}

/// Where the files of a machine are.
pub struct Places<'a> {
    /// Where on the disk the file of a device node begins, in bytes; `None` for anything else.
    pub start_of: &'a dyn Fn(&Path) -> Option<u64>,
    /// The ledger's folder.
    pub ledger: &'a Path,
    /// The file whose emptying ends a step.
    pub mark: &'a Path,
}

impl fmt::Debug for Places<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start_of: _, ledger, mark } = self;
        formatter.debug_struct("Places").field("ledger", ledger).field("mark", mark).finish()
    }
}

impl Step {
    /// The ledgers that a cut in this window can leave: the last that is certainly there, and all that
    /// may be. `None` stands for the one before the step.
    #[must_use]
    pub fn ledgers_at(&self, window: &Range<usize>) -> Vec<Option<&[u8]>> {
        let certain = self.ledgers.iter().rposition(|ledger| ledger.kept <= window.start);
        let first = certain.map(|at| Some(self.ledgers[at].text.as_slice()));
        let later = self.ledgers.iter().skip(certain.map_or(0, |at| at + 1));
        let possible = later.filter(|ledger| ledger.renamed <= window.end);
        std::iter::once(first.unwrap_or(None))
            .chain(possible.map(|ledger| Some(ledger.text.as_slice())))
            .collect()
    }
}

/// Reads the steps of one machine, of which there is one at least.
///
/// # Errors
/// The fault in the order, as a sentence: flushes that count for too much, a ledger that was put in
/// place before it was flushed, writes that nobody flushed, and changes that no disk could replay.
pub fn steps(places: &Places<'_>, events: &[Event]) -> Result<Vec<Step>, String> {
    let ledger = places.ledger.join("ledger.json");
    let new = places.ledger.join("ledger.json.new");
    let (mut steps, mut step) = (Vec::new(), Step::default());
    let mut waiting: HashSet<&Path> = HashSet::new();
    let (mut text, mut is_flushed, mut is_kept) = (Vec::new(), false, true);
    for event in events {
        let told = |what: &str| format!("{}: {what}", event.path().display());
        if let Some(start) = (places.start_of)(event.path()) {
            match event {
                Event::Write { path, offset: Some(offset), bytes } => {
                    waiting.insert(path);
                    let (offset, bytes) = (start + offset, bytes.clone());
                    step.operations.push(Operation::Write { offset, bytes, durable: false });
                }
                Event::Sync(path) => {
                    waiting.remove(path.as_path());
                    if !waiting.is_empty() {
                        return Err(told(&format!("flushed while {waiting:?} waits")));
                    }
                    step.operations.push(Operation::Flush);
                }
                other => return Err(told(&format!("{other:?}"))),
            }
            continue;
        }
        match event {
            Event::Emptied(path) if path == places.mark => steps.push(std::mem::take(&mut step)),
            Event::Emptied(path) if *path == new => (text, is_flushed) = (Vec::new(), false),
            Event::Write { path, offset: None, bytes } if *path == new => {
                text.extend_from_slice(bytes);
                is_flushed = false;
            }
            Event::Sync(path) if *path == new => is_flushed = true,
            Event::Rename { to, .. } if *to == ledger => {
                if !is_flushed {
                    return Err(told("put in place before it was flushed"));
                }
                let renamed = step.operations.len();
                step.ledgers.push(Written { renamed, kept: usize::MAX, text: text.clone() });
                is_kept = false;
            }
            Event::Sync(path) if path == places.ledger => {
                for written in step.ledgers.iter_mut().filter(|written| written.kept == usize::MAX)
                {
                    written.kept = step.operations.len();
                }
                is_kept = true;
            }
            event if *event.path() == ledger || *event.path() == new => {
                return Err(told(&format!("{event:?}")));
            }
            _ => {}
        }
    }
    if !waiting.is_empty() || !is_kept {
        return Err(format!("it ends with writes that nobody flushed: {waiting:?}"));
    }
    steps.push(step);
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn read(events: &[Event]) -> Result<Vec<Step>, String> {
        let start_of = |path: &Path| match path.to_str()? {
            "/m/dev/a" => Some(0),
            "/m/dev/b" => Some(4096),
            _ => None,
        };
        let (ledger, mark) = (Path::new("/m/state"), Path::new("/m/mark"));
        steps(&Places { start_of: &start_of, ledger, mark }, events)
    }

    fn write(path: &str) -> Event {
        let offset = path.starts_with("/m/dev").then_some(512);
        Event::Write { path: path.into(), offset, bytes: (*b"x").into() }
    }

    fn sync(path: &str) -> Event {
        Event::Sync(path.into())
    }

    fn put_in_place() -> [Event; 4] {
        let (from, to) = (PathBuf::from("/m/state/ledger.json.new"), "/m/state/ledger.json");
        let rename = Event::Rename { from: from.clone(), to: to.into() };
        let text = write("/m/state/ledger.json.new");
        [Event::Emptied(from), text, sync("/m/state/ledger.json.new"), rename]
    }

    #[test]
    fn writes_flushes_and_ledgers_keep_their_order() {
        let [b, flush] = [write("/m/dev/b"), sync("/m/dev/b")];
        let mut events = vec![write("/m/dev/a"), sync("/m/dev/a")];
        events.extend(put_in_place());
        events.extend([sync("/m/state"), Event::Emptied("/m/mark".into()), b, flush]);
        let steps = read(&events).unwrap();
        let operation = |offset| Operation::Write { offset, bytes: (*b"x").into(), durable: false };
        let [first, second] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!(first.operations, [operation(512), Operation::Flush]);
        assert_eq!(first.ledgers, [Written { renamed: 2, kept: 2, text: b"x".to_vec() }]);
        assert_eq!(second.operations, [operation(4608), Operation::Flush]);
        assert_eq!(first.ledgers_at(&(0..1)), [None]);
        assert_eq!(first.ledgers_at(&(0..2)), [None, Some(&b"x"[..])]);
        assert_eq!(first.ledgers_at(&(2..2)), [Some(&b"x"[..])]);
    }

    #[test]
    fn wrong_orders_are_told() {
        let [new, text, _, rename] = put_in_place();
        for (events, expected) in [
            (vec![write("/m/dev/a")], "nobody flushed"),
            (vec![write("/m/dev/a"), write("/m/dev/b"), sync("/m/dev/b")], "waits"),
            (vec![new, text, rename], "before it was flushed"),
            (put_in_place().to_vec(), "nobody flushed"),
            (vec![write("/m/state/ledger.json")], "Write"),
            (vec![Event::Removed("/m/dev/a".into())], "Removed"),
        ] {
            let fault = read(&events).unwrap_err();
            assert!(fault.contains(expected), "{fault}");
        }
    }
}
