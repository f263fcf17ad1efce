//! One run of one contender: seconds, memory and bytes written from GNU time, bytes and requests from
//! the registry's ledger.
//!
//! All run on one processor, so that seconds of contenders with one thread and with many mean the
//! same; the registry has the others. Bytes written are those that the kernel puts down to the
//! process when it makes pages of files dirty: what a disk is asked to take, also for files that are
//! removed before they are written back. Bytes on the wire are those of the answers' bodies.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use kiln_lab::Registry;
use serde_json::{Value, json};

use crate::bench::measure::median;
use crate::error::{Error, file_error};
use crate::run;

/// The processor that contenders have.
const PROCESSOR: &str = "0";

/// GNU time's unit of memory in bytes (time(1), `%M`).
const PEAK_UNIT: u64 = 1024;

/// Bytes of what `%O` counts: blocks of getrusage(2), which Linux derives from bytes.
const WRITTEN_UNIT: u64 = 512;

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Seconds from start to end.
    pub(super) wall: f64,
    /// Seconds of processor time.
    pub(super) processor: f64,
    /// Bytes of memory of the largest process.
    pub(super) peak: u64,
    /// Bytes written to files.
    pub(super) written: u64,
    /// Bytes that came from the registry.
    pub(super) wire: u64,
    /// Requests to the registry.
    pub(super) requests: usize,
}

/// All runs of a contender.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) samples: Vec<Sample>,
}

impl Series {
    fn middle(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of))
    }

    pub(super) fn wall(&self) -> f64 {
        self.middle(|sample| sample.wall)
    }

    pub(super) fn processor(&self) -> f64 {
        self.middle(|sample| sample.processor)
    }

    pub(super) fn written(&self) -> f64 {
        self.middle(|sample| sample.written as f64)
    }

    pub(super) fn wire(&self) -> f64 {
        self.middle(|sample| sample.wire as f64)
    }

    pub(super) fn requests(&self) -> f64 {
        self.middle(|sample| sample.requests as f64)
    }

    /// Bytes at the worst run's peak.
    pub(super) fn peak(&self) -> u64 {
        self.samples.iter().map(|sample| sample.peak).max().unwrap_or(0)
    }

    pub(super) fn to_json(&self) -> Value {
        let of = |sample: &Sample| {
            json!({
                "wall": sample.wall, "processor": sample.processor, "peak": sample.peak,
                "written": sample.written, "wire": sample.wire, "requests": sample.requests,
            })
        };
        let runs: Vec<Value> = self.samples.iter().map(of).collect();
        json!({
            "name": self.name, "wall": self.wall(), "processor": self.processor(),
            "peak": self.peak(), "written": self.written(), "wire": self.wire(),
            "requests": self.requests(), "runs": runs,
        })
    }
}

/// Runs the words to their end; a contender that fails is an error. `figures` is a file for GNU time.
pub(super) fn measure(
    words: &[String],
    registry: &Registry,
    figures: &Path,
) -> Result<(Sample, String), Error> {
    // What the run before left to write must not be written during this one.
    run::captured(&mut Command::new("sync"))?;
    registry.forget_requests();
    let mut command = Command::new("time");
    command.args(["--quiet", "--format=%U %S %M %O", "--output"]).arg(figures);
    command.args(["--", "taskset", "--cpu-list", PROCESSOR]).args(words);
    let start = Instant::now();
    let said = output(&mut command)?;
    let wall = start.elapsed().as_secs_f64();
    let text = fs::read_to_string(figures).map_err(file_error("read", figures))?;
    let Some((processor, peak, written)) = parse(&text) else {
        return Err(unexpected("the output of GNU time", text));
    };
    let (wire, requests) = (registry.bytes_sent(), registry.requests().len());
    Ok((Sample { wall, processor, peak, written, wire, requests }, said))
}

/// Runs a command and gives its standard output; another end than 0 is an error.
pub(super) fn output(command: &mut Command) -> Result<String, Error> {
    let line = run::told(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Start { program: line.clone(), source })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Lab(kiln_lab::Error::Tool {
            command: line,
            status: output.status.to_string(),
            output: text,
        }));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The words of a command on the one processor, without figures.
pub(super) fn pinned(words: &[String]) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", PROCESSOR]).args(words);
    command
}

pub(super) fn unexpected(what: &str, text: String) -> Error {
    Error::Lab(kiln_lab::Error::Unexpected { what: what.to_owned(), text })
}

fn parse(text: &str) -> Option<(f64, u64, u64)> {
    let mut words = text.split_ascii_whitespace();
    let user: f64 = words.next()?.parse().ok()?;
    let system: f64 = words.next()?.parse().ok()?;
    let peak: u64 = words.next()?.parse().ok()?;
    let written: u64 = words.next()?.parse().ok()?;
    Some((user + system, peak * PEAK_UNIT, written * WRITTEN_UNIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_is_understood() {
        let (processor, peak, written) = parse("1.25 0.50 2048 8\n").unwrap();
        assert!((processor - 1.75).abs() < 1e-9);
        assert_eq!((peak, written), (2 << 20, 4096));
        assert!(parse("1.25 0.50 2048\n").is_none());
        assert!(parse("Command exited with 1\n").is_none());
    }
}
