//! One run of one contender, and what several say together.
//!
//! Wall time is taken here; processor time and memory come from GNU time, which stands between the
//! bench and the contender and costs about a millisecond. Its memory is that of the largest single
//! process: a tool of several processes looks better than it is, never worse. A control group would
//! count them all, but would also count the page cache as the tool's memory.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::tools::{BENCH, Tools, ending};
use crate::error::{Error, file_error};
use crate::run;

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// Seconds from start to end.
    pub(super) wall: f64,
    /// Seconds of all processors, in user mode and in the kernel.
    pub(super) processor: f64,
    /// Bytes of memory that the largest process held at its peak.
    pub(super) peak: u64,
}

/// GNU time's unit of memory in bytes (time(1), `%M`).
const PEAK_UNIT: u64 = 1024;

/// Bytes that `st_blocks` counts in (POSIX leaves it open, Linux: stat(2)).
const STAT_BLOCK: u64 = 512;

/// Seconds after which a contender hangs: far more than any needs on a busy computer.
const LONGEST: &str = "1800";

/// How much of a failed contender's output is kept, in lines from its end.
const KEPT_LINES: usize = 12;

/// Runs the words in the root; the inner error is the contender's own failure.
pub(super) fn measure(tools: &Tools, words: &[String]) -> Result<Result<Run, String>, Error> {
    let inside = format!("{BENCH}/scratch/figures");
    let figures = tools.outside(&inside);
    // What the run before left to write must not be written during this one.
    run::captured(&mut Command::new("sync"))?;
    let format = "--format=%U %S %M";
    let limit = ["timeout", "--kill-after=10", LONGEST];
    let timer = ["/usr/bin/time", "--quiet", format, "--output", &inside, "--"];
    let all = limit.into_iter().chain(timer).chain(words.iter().map(String::as_str));
    let mut command = tools.command(all);
    command.stdin(std::process::Stdio::null());
    let start = Instant::now();
    let output =
        command.output().map_err(|source| Error::Start { program: words.join(" "), source })?;
    let wall = start.elapsed().as_secs_f64();
    if !output.status.success() {
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        return Ok(Err(failure(&ending(output.status), &text)));
    }
    let text = fs::read_to_string(&figures).map_err(file_error("read", &figures))?;
    parse(&text, wall).map(Ok).ok_or_else(|| {
        Error::Lab(kiln_lab::Error::Unexpected { what: "the output of GNU time".to_owned(), text })
    })
}

fn failure(ending: &str, text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let kept = &lines[lines.len().saturating_sub(KEPT_LINES)..];
    format!("{ending}\n{}", kept.join("\n"))
}

fn parse(text: &str, wall: f64) -> Option<Run> {
    let mut words = text.split_ascii_whitespace();
    let user: f64 = words.next()?.parse().ok()?;
    let system: f64 = words.next()?.parse().ok()?;
    let peak: u64 = words.next()?.parse().ok()?;
    Some(Run { wall, processor: user + system, peak: peak * PEAK_UNIT })
}

/// The middle value; of an even number of values the mean of the two in the middle. Zero of none.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Bytes of a file as it is read.
pub(super) fn length(path: &Path) -> Result<u64, Error> {
    Ok(fs::metadata(path).map_err(file_error("read", path))?.len())
}

/// Bytes that a file takes on its own disk: holes are not counted.
pub(super) fn taken(path: &Path) -> Result<u64, Error> {
    Ok(fs::metadata(path).map_err(file_error("read", path))?.blocks() * STAT_BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        for (values, expected) in
            [(vec![], 0.0), (vec![3.0], 3.0), (vec![9.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0], 2.5)]
        {
            assert!((median(values.into_iter()) - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn the_timer_is_understood() {
        let run = parse("1.25 0.50 2048\n", 3.0).unwrap();
        assert!((run.processor - 1.75).abs() < 1e-9);
        assert_eq!(run.peak, 2 << 20);
        assert!(parse("1.25 0.50\n", 3.0).is_none());
        assert!(parse("Command exited with 1\n", 3.0).is_none());
    }

    #[test]
    fn the_end_of_a_long_failure_is_kept() {
        let text: String = (0..100).map(|number| format!("line {number}\n\n")).collect();
        let kept = failure("exit status: 1", &text);
        assert!(kept.starts_with("exit status: 1\nline 88\n") && kept.ends_with("line 99"));
    }
}
