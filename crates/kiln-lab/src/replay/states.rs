//! Every disk that a power cut during a recorded run could have left behind, one after the other.
//!
//! What was flushed is there. Of the requests since the last flush, the *window*, a disk may have
//! kept any subset, in any order; and of a request that was under way it may have kept any of its
//! sectors, because a sector is all that a disk promises to write whole. Small windows are tried
//! with all subsets; large ones with prefixes, single losses, single survivors and random subsets.
//! Random means: the same for the same [`Options::seed`], so that a failure can be looked at again.
//!
//! Replaying prefixes of the log only, as replay tools commonly do, was dropped: it finds missing
//! flushes at the end of an update and never the ones in its middle.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io;
use std::ops::Range;

use super::operation::Operation;
use super::overlay::Overlay;
use super::request::Request;
use super::subsets::{Random, subsets};

/// How many states are wanted.
#[derive(Debug, Clone)]
pub struct Options {
    /// Start of everything random.
    pub seed: u64,
    /// Requests in a window up to which all subsets are tried.
    pub exhaustive: usize,
    /// Of larger windows: prefixes, single losses, single survivors and random subsets, each at
    /// most this many.
    pub samples: usize,
    /// Ways in which each request is torn, at most, with and without the requests beside it.
    pub tears: usize,
    /// Numbers of operations at which something was promised to be kept. The same disk counts again
    /// once more was promised, because more is to be found on it.
    pub promises: Vec<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, exhaustive: 6, samples: 32, tears: 16, promises: Vec::new() }
    }
}

/// A disk after a power cut.
#[derive(Debug, Clone)]
pub struct State {
    /// Its content.
    pub disk: Overlay,
    /// Where power was cut and what was lost.
    pub cut: Cut,
}

/// Where power was cut: enough to make the same disk again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The seed of the run.
    pub seed: u64,
    /// Numbers of the operations in the window; all before its start are on stable storage.
    pub window: Range<usize>,
    /// What was kept of it.
    kept: Kept,
}

impl Cut {
    /// Whether something is certainly on the disk that was flushed among the first `operations`.
    #[must_use]
    pub fn keeps(&self, operations: usize) -> bool {
        self.window.start >= operations
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.window;
        write!(formatter, "seed {}, operations {start}..{end}, kept {}", self.seed, self.kept)
    }
}

/// What survived of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    requests: Vec<bool>,
    /// One request of which only some parts survived.
    torn: Option<(usize, Vec<bool>)>,
}

impl fmt::Display for Kept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", Ones(&self.requests))?;
        if let Some((request, parts)) = &self.torn {
            write!(formatter, ", of request {request} the changed parts {}", Ones(parts))?;
        }
        Ok(())
    }
}

/// Numbers of the set bits, such as `0..3 5` of 7.
struct Ones<'a>(&'a [bool]);

impl fmt::Display for Ones<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut at = 0;
        for run in self.0.chunk_by(|left, right| left == right) {
            if run[0] {
                write!(formatter, "{at}..{} ", at + run.len())?;
            }
            at += run.len();
        }
        write!(formatter, "of {at}")
    }
}

/// The states of a run, without repetitions.
#[derive(Debug)]
pub struct States<'run> {
    operations: &'run [Operation],
    options: Options,
    /// The disk as all windows so far have left it.
    stable: Overlay,
    window: Range<usize>,
    requests: Vec<Request<'run>>,
    pending: VecDeque<Kept>,
    seen: HashSet<(u128, usize)>,
    disks: HashSet<u128>,
    finished: bool,
}

impl<'run> States<'run> {
    /// The states of a run that started on `disk`, the untouched and the finished one included.
    #[must_use]
    pub fn new(mut disk: Overlay, operations: &'run [Operation], options: Options) -> Self {
        disk.settle();
        let pending = VecDeque::from([Kept { requests: Vec::new(), torn: None }]);
        Self {
            operations,
            options,
            stable: disk,
            window: 0..0,
            requests: Vec::new(),
            pending,
            seen: HashSet::new(),
            disks: HashSet::new(),
            finished: false,
        }
    }

    /// Number of different disks so far.
    #[must_use]
    pub fn disks(&self) -> usize {
        self.disks.len()
    }

    /// Makes the present window stable and goes to the next one.
    fn advance(&mut self) -> io::Result<()> {
        for request in &self.requests {
            request.apply(&mut self.stable)?;
        }
        self.stable.settle();
        let is_flush = |operation: &Operation| *operation == Operation::Flush;
        // The flush that ends a window stands between the two.
        let rest = &self.operations[self.window.end..];
        let start =
            self.window.end + rest.iter().take_while(|operation| is_flush(operation)).count();
        let rest = &self.operations[start..];
        let length = rest.iter().position(is_flush).unwrap_or(rest.len());
        self.window = start..start + length;
        self.finished = length == 0;
        self.requests = rest[..length].iter().filter_map(Request::new).collect();
        self.pending = self.plan()?.into();
        Ok(())
    }

    /// What may be left of the present window.
    fn plan(&self) -> io::Result<Vec<Kept>> {
        let count = self.requests.len();
        let mut random = Random::new(self.options.seed, self.window.start);
        let Options { exhaustive, samples, tears, .. } = self.options;
        let whole = |requests| Kept { requests, torn: None };
        let mut plan: Vec<Kept> =
            subsets(count, exhaustive, samples, &mut random).into_iter().map(whole).collect();
        let mut before = self.stable.clone();
        for (number, request) in self.requests.iter().enumerate() {
            let parts = request.parts(&before)?.len();
            // 2^(n+1) > tears: all subsets while they are few.
            let few = tears.checked_ilog2().unwrap_or(0) as usize;
            for kept in subsets(parts, few, tears.div_ceil(4), &mut random) {
                let torn = Some((number, kept));
                let prefix = (0..count).map(|other| other < number).collect();
                plan.push(Kept { requests: prefix, torn: torn.clone() });
                if number + 1 < count {
                    let others = (0..count).map(|other| other != number).collect();
                    plan.push(Kept { requests: others, torn });
                }
            }
            request.apply(&mut before)?;
        }
        // A request that was known to be durable is there if anything after it is.
        for kept in &mut plan {
            let last = kept.requests.iter().rposition(|kept| *kept).unwrap_or(0);
            for number in 0..last {
                if self.requests[number].durable {
                    kept.requests[number] = true;
                    kept.torn.take_if(|(torn, _)| *torn == number);
                }
            }
        }
        plan.push(whole(vec![true; count]));
        Ok(plan)
    }

    /// The disk on which this is left of the present window.
    fn disk(&self, kept: &Kept) -> io::Result<Overlay> {
        let mut disk = self.stable.clone();
        for (number, request) in self.requests.iter().enumerate() {
            match &kept.torn {
                Some((torn, parts)) if *torn == number => {
                    let changed = request.parts(&disk)?;
                    let ranges = changed.into_iter().zip(parts).filter(|(_, kept)| **kept);
                    for (range, _) in ranges {
                        request.apply_part(&mut disk, range)?;
                    }
                }
                _ if kept.requests[number] => request.apply(&mut disk)?,
                _ => {}
            }
        }
        Ok(disk)
    }
}

impl Iterator for States<'_> {
    type Item = io::Result<State>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(kept) = self.pending.pop_front() else {
                if self.finished {
                    return None;
                }
                match self.advance() {
                    Ok(()) => continue,
                    Err(error) => {
                        self.finished = true;
                        return Some(Err(error));
                    }
                }
            };
            let cut = Cut { seed: self.options.seed, window: self.window.clone(), kept };
            let disk = match self.disk(&cut.kept) {
                Ok(disk) => disk,
                Err(error) => return Some(Err(error)),
            };
            let kept = |promise: &&usize| cut.keeps(**promise);
            let promised = self.options.promises.iter().filter(kept).count();
            self.disks.insert(disk.digest());
            if self.seen.insert((disk.digest(), promised)) {
                return Some(Ok(State { disk, cut }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::overlay::{BLOCK, Base};
    use super::*;
    use kiln_disk::BlockDevice;
    use std::collections::BTreeSet;
    use std::fs::File;
    use std::sync::Arc;

    /// An empty disk of 64 blocks.
    fn empty() -> Overlay {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base");
        File::create(&path).unwrap();
        Overlay::new(Arc::new(Base::open(&path, 64 * BLOCK, 512).unwrap()))
    }

    fn write(sector: u64, values: &[u8]) -> Operation {
        let bytes: Vec<u8> = values.iter().flat_map(|value| [*value; 512]).collect();
        Operation::Write { offset: sector * 512, bytes: Arc::from(bytes), durable: false }
    }

    fn durable(sector: u64, value: u8) -> Operation {
        let bytes = Arc::from(vec![value; 512]);
        Operation::Write { offset: sector * 512, bytes, durable: true }
    }

    /// The first bytes of the first four sectors of every state.
    fn shown(operations: &[Operation], options: &Options) -> Vec<[u8; 4]> {
        let states = States::new(empty(), operations, options.clone());
        let show = |state: io::Result<State>| {
            let mut bytes = [0; 2048];
            state.unwrap().disk.read_at(0, &mut bytes).unwrap();
            [bytes[0], bytes[512], bytes[1024], bytes[1536]]
        };
        states.map(show).collect()
    }

    #[test]
    fn windows_tears_and_discards() {
        use Operation::Flush;
        let discard = || Operation::Discard { offset: 0, length: 1024 };
        type Case = (&'static str, Vec<Operation>, &'static [[u8; 4]]);
        let cases: [Case; 6] = [
            ("nothing", vec![Flush], &[[0; 4]]),
            (
                "subsets inside a window only",
                vec![write(0, &[1]), write(1, &[2]), Flush, write(2, &[3]), Flush, Flush],
                &[[0; 4], [1, 0, 0, 0], [0, 2, 0, 0], [1, 2, 0, 0], [1, 2, 3, 0]],
            ),
            (
                "any sector of a write may be missing",
                vec![write(0, &[1, 2, 0]), Flush],
                &[[0; 4], [1, 0, 0, 0], [0, 2, 0, 0], [1, 2, 0, 0]],
            ),
            (
                "the last write to a sector may be the lost one",
                vec![write(0, &[1]), write(0, &[2])],
                &[[0; 4], [1, 0, 0, 0], [2, 0, 0, 0]],
            ),
            (
                "a durable write is there before what follows",
                vec![write(0, &[1]), durable(1, 2), write(2, &[3])],
                &[[0; 4], [1, 0, 0, 0], [0, 2, 0, 0], [1, 2, 0, 0], [0, 2, 3, 0], [1, 2, 3, 0]],
            ),
            (
                "a discard may be lost",
                vec![write(0, &[1, 1]), Flush, discard(), write(0, &[5]), Flush],
                &[[0; 4], [1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0], [5, 1, 0, 0], [5, 0, 0, 0]],
            ),
        ];
        for (name, operations, expected) in cases {
            let shown = shown(&operations, &Options::default());
            let distinct: BTreeSet<[u8; 4]> = shown.iter().copied().collect();
            assert_eq!(distinct.len(), shown.len(), "{name}: {shown:?}");
            assert_eq!(distinct, expected.iter().copied().collect(), "{name}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_states_again() {
        let operations: Vec<Operation> =
            (0..40).map(|number| write(number * 3, &[number as u8 + 1, 9, 9, 9, 9, 9])).collect();
        let digests = |seed| {
            let options = Options { seed, ..Options::default() };
            let states = States::new(empty(), &operations, options);
            states.map(|state| state.unwrap().disk.digest()).collect::<Vec<u128>>()
        };
        let first = digests(1);
        assert_eq!(first, digests(1));
        assert_ne!(first, digests(2));
        assert!(first.len() > 500, "{}", first.len());
        let mut finished = empty();
        for request in operations.iter().filter_map(Request::new) {
            request.apply(&mut finished).unwrap();
        }
        assert!(first.contains(&finished.digest()));
    }

    #[test]
    fn a_disk_is_shown_again_when_more_was_promised() {
        let operations = [write(0, &[1]), Operation::Flush, write(0, &[1]), Operation::Flush];
        let options = Options { promises: vec![2], ..Options::default() };
        let states: Vec<State> =
            States::new(empty(), &operations, options).map(Result::unwrap).collect();
        let promised: Vec<bool> = states.iter().map(|state| state.cut.keeps(2)).collect();
        assert_eq!(promised, [false, false, true]);
        assert_eq!(states[1].disk.digest(), states[2].disk.digest());
        assert!(states[2].cut.to_string().starts_with("seed 1, operations 2..3, kept"));
    }
}
