//! The long list: the gate, the fuzz targets, and the tests that are marked `#[ignore]` because of
//! their length, each of which can be called alone.
//!
//! A part that fails never keeps the next from running: whoever looks in the morning wants to know
//! all that is wrong. One program for each part was dropped, because the list of parts would then
//! stand in every place that wants the whole.

use std::time::Instant;

use clap::ValueEnum;

use crate::error::Error;
use crate::{fuzz, packages, runtime, test};

/// One part of the long list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// All of `cargo xtask test`
    Gate,
    /// All of `cargo xtask fuzz`
    Fuzz,
    /// Kiln for arm64, and the tests marked `#[ignore]`: machines that start many times
    Machines,
}

/// Runs the chosen parts, or all without any, in the order above; tells at the end how long each took.
/// Fails as the first part that failed.
pub(crate) fn nightly(chosen: &[Part]) -> Result<(), Error> {
    let mut report = Vec::new();
    let mut outcomes = Vec::new();
    for part in selected(chosen) {
        let name = part.to_possible_value().map_or_else(String::new, |it| it.get_name().to_owned());
        println!("nightly: {name} begins");
        let started = Instant::now();
        let outcome = part.run();
        let minutes = started.elapsed().as_secs_f64() / 60.0;
        let word = match &outcome {
            Ok(()) => "passed".to_owned(),
            Err(error) => format!("failed: {error}"),
        };
        report.push(format!("nightly: {name}: {minutes:.1} minutes, {word}"));
        outcomes.push(outcome);
    }
    println!("{}", report.join("\n"));
    outcomes.into_iter().collect()
}

/// The parts to run: each at most once, cheapest first.
fn selected(chosen: &[Part]) -> Vec<Part> {
    let all = Part::value_variants().iter().copied();
    all.filter(|part| chosen.is_empty() || chosen.contains(part)).collect()
}

impl Part {
    fn run(self) -> Result<(), Error> {
        match self {
            Self::Gate => test::test(true),
            Self::Fuzz => fuzz::fuzz(None, fuzz::DEFAULT_SECONDS),
            Self::Machines => machines(),
        }
    }
}

fn machines() -> Result<(), Error> {
    packages::install()?;
    packages::install_for_long_list()?;
    runtime::build("arm64", &test::arm64_folder())?;
    runtime::check("arm64", &test::arm64_folder())?;
    test::test_ignored()
}

#[cfg(test)]
mod tests {
    use super::{Part, selected};

    #[test]
    fn parts_run_once_and_in_their_order() {
        use Part::{Fuzz, Gate, Machines};
        for (chosen, expected) in [
            (&[][..], &[Gate, Fuzz, Machines][..]),
            (&[Machines], &[Machines]),
            (&[Machines, Gate, Machines], &[Gate, Machines]),
        ] {
            assert_eq!(selected(chosen), expected, "{chosen:?}");
        }
    }
}
