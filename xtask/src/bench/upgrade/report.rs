//! The figures of one update, as a table, as goals and as JSON.
//!
//! Goals are the and judged here alone. Ratios to the other contenders stand in the table and
//! have no limit, since those do less: skopeo makes no root of what it fetched, a whole image is
//! neither compared with what is there nor proved.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::run::{Sample, Series};
use super::{Changed, Interruption, LAYERS, PUSHED, SKOPEO, WHOLE, Written};
use crate::bench::table::{Goal, MEBIBYTE};

/// Most bytes that come from a pushed release, to what has to come.
const FETCHED_LIMIT: f64 = 1.1;
/// Most bytes that come twice after an interruption, in percent.
const TWICE_LIMIT: f64 = 1.0;
/// Most bytes written, to the root image.
const WRITTEN_LIMIT: f64 = 1.1;
/// Most memory in MiB.
const MEMORY_LIMIT: f64 = 150.0;
/// Most processor seconds for each GB of the root's files when all of it is made.
const REBUILD_LIMIT: f64 = 30.0;
/// Most requests of a check when there is nothing new; nobody has to log in here.
const REQUESTS_LIMIT: f64 = 1.0;

/// What the run is called that takes nothing from the slots.
const REBUILT: &str = "kiln, nothing to keep";

/// Titles of the table, and how many digits are shown; the last four are ratios.
const COLUMNS: [(&str, usize); 10] = [
    ("wall s", 2),
    ("cpu s", 2),
    ("wire MB", 2),
    ("requests", 0),
    ("written MB", 1),
    ("peak MiB", 0),
    ("wire:skopeo", 2),
    ("wall:skopeo", 2),
    ("wire:whole", 2),
    ("wall:whole", 2),
];

const MEGABYTE: f64 = 1e6;
const GIGABYTE: f64 = 1e9;

/// All that was measured of one update.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) tag: &'static str,
    /// Versions of the kernel before and after.
    pub(super) kernels: [String; 2],
    /// Bytes of the root image with its hash tree.
    pub(super) root: u64,
    /// Bytes of the boot file.
    pub(super) boot_file: u64,
    /// Bytes of the root's files.
    pub(super) length: u64,
    pub(super) changed: Changed,
    /// Bytes of the release's table.
    pub(super) table: u64,
    /// Bytes of the parts of boot files that are new.
    pub(super) sections: u64,
    pub(super) series: Vec<Series>,
    /// From a pushed release, and from a container image.
    pub(super) written: [Written; 2],
    /// The same.
    pub(super) interrupted: [Interruption; 2],
    /// Requests of a check when there is nothing new.
    pub(super) requests: usize,
    /// From a pushed release with nothing to take from the slots.
    pub(super) rebuilt: Sample,
}

impl Update {
    fn series(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name)
    }

    /// What has to come, by its name in zstd's hands.
    fn least(&self) -> f64 {
        (self.changed.compressed + self.table + self.sections) as f64
    }

    pub(super) fn table(&self) -> String {
        let mega = |bytes: f64| bytes / MEGABYTE;
        let mut text = format!(
            "{}: kernel {} to {}; files {:.1} MB, root {:.1} MB, boot file {:.1} MB\n\
             changed: {} contents of {:.1} MB, zstd {:.2} MB (one stream {:.2} MB), \
             table {:.2} MB, sections {:.2} MB\n",
            self.tag,
            self.kernels[0],
            self.kernels[1],
            mega(self.length as f64),
            mega(self.root as f64),
            mega(self.boot_file as f64),
            self.changed.count,
            mega(self.changed.length as f64),
            mega(self.changed.compressed as f64),
            mega(self.changed.stream as f64),
            mega(self.table as f64),
            mega(self.sections as f64),
        );
        let _ = write!(text, "{:<24}{:>5}", "", "runs");
        for (title, _) in COLUMNS {
            let _ = write!(text, "{title:>12}");
        }
        text.push('\n');
        let rebuilt = Series { name: REBUILT, samples: vec![self.rebuilt] };
        for series in self.series.iter().chain([&rebuilt]) {
            let _ = write!(text, "{:<24}{:>5}", series.name, series.samples.len());
            for (value, (_, digits)) in self.row(series).into_iter().zip(COLUMNS) {
                let _ = write!(text, "{value:>12.digits$}");
            }
            text.push('\n');
        }
        for (name, written) in [PUSHED, LAYERS].into_iter().zip(&self.written) {
            let all = mega(written.all() as f64);
            let _ = writeln!(text, "{name} makes a disk take {all:.1} MB:");
            for (cause, taken, given) in written.rows() {
                let (taken, given) = (mega(taken as f64), mega(given as f64));
                let _ = writeln!(text, "{taken:>12.2} MB {cause} ({given:.2} MB in its writes)");
            }
        }
        text
    }

    /// The values of a contender under [`COLUMNS`].
    fn row(&self, series: &Series) -> [f64; 10] {
        let to = |other: &str, of: fn(&Series) -> f64| {
            self.series(other).map_or(f64::NAN, |other| of(series) / of(other))
        };
        [
            series.wall(),
            series.processor(),
            series.wire() / MEGABYTE,
            series.requests(),
            series.written() / MEGABYTE,
            series.peak() as f64 / MEBIBYTE,
            to(SKOPEO, Series::wire),
            to(SKOPEO, Series::wall),
            to(WHOLE, Series::wire),
            to(WHOLE, Series::wall),
        ]
    }

    /// The goals of the issue.
    pub(super) fn goals(&self) -> Vec<Goal> {
        let (Some(pushed), Some(layers)) = (self.series(PUSHED), self.series(LAYERS)) else {
            return Vec::new();
        };
        let goal = |sentence: String, limit: Option<f64>, reached: f64, unit: &'static str| Goal {
            sentence: format!("{}: {sentence}", self.tag),
            limit,
            reached,
            unit,
        };
        let mut goals = vec![goal(
            "bytes fetched to what has to come, release".to_owned(),
            Some(FETCHED_LIMIT),
            pushed.wire() / self.least(),
            "",
        )];
        let [of_release, of_image] = &self.written;
        let ways = [
            (pushed, "release", of_release, self.interrupted[0]),
            (layers, "image", of_image, self.interrupted[1]),
        ];
        for (series, way, written, interruption) in ways {
            goals.extend([
                goal(
                    format!("fetched twice, killed at {:.0} %, {way}", interruption.at * 100.0),
                    Some(TWICE_LIMIT),
                    interruption.twice * 100.0,
                    " [%]",
                ),
                goal(
                    format!("bytes written but for the boot file, to the root, {way}"),
                    Some(WRITTEN_LIMIT),
                    written.but_for_the_boot_file() as f64 / self.root as f64,
                    "",
                ),
                goal(
                    format!("all bytes written to the root, {way}"),
                    Some(WRITTEN_LIMIT),
                    written.all() as f64 / self.root as f64,
                    "",
                ),
                goal(
                    format!("peak memory, {way}"),
                    Some(MEMORY_LIMIT),
                    series.peak() as f64 / MEBIBYTE,
                    " [MiB]",
                ),
            ]);
        }
        let files = self.length as f64 / GIGABYTE;
        for (way, seconds) in [("release", self.rebuilt.processor), ("image", layers.processor())] {
            let sentence = format!("full rebuild for each GB of files, {way}");
            goals.push(goal(sentence, Some(REBUILD_LIMIT), seconds / files, " [cpu s]"));
        }
        let sentence = "requests when there is nothing new".to_owned();
        goals.push(goal(sentence, Some(REQUESTS_LIMIT), self.requests as f64, ""));
        goals
    }

    pub(super) fn to_json(&self) -> Value {
        let interrupted: Vec<Value> = self
            .interrupted
            .iter()
            .map(|found| json!({ "at": found.at, "twice": found.twice }))
            .collect();
        let rebuilt = Series { name: REBUILT, samples: vec![self.rebuilt] };
        json!({
            "name": self.tag,
            "kernels": self.kernels,
            "root": self.root,
            "boot_file": self.boot_file,
            "files": self.length,
            "changed": {
                "count": self.changed.count,
                "length": self.changed.length,
                "zstd": self.changed.compressed,
                "zstd_one_stream": self.changed.stream,
                "table": self.table,
                "sections": self.sections,
            },
            "contenders": self.series.iter().map(Series::to_json).collect::<Vec<_>>(),
            "rebuilt": rebuilt.to_json(),
            "written": self.written.each_ref().map(Written::to_json),
            "interrupted": interrupted,
            "check_requests": self.requests,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_by_what_was_measured() {
        let sample = |wire, peak| Sample {
            wall: 2.0,
            processor: 1.5,
            peak,
            written: 111,
            wire,
            requests: 3,
        };
        let series = |name, wire, peak| Series { name, samples: vec![sample(wire, peak)] };
        let update = Update {
            tag: "updated",
            kernels: ["1".to_owned(), "2".to_owned()],
            root: 100,
            boot_file: 1,
            length: 50_000_000,
            changed: Changed { count: 1, length: 9, compressed: 80, stream: 70 },
            table: 15,
            sections: 5,
            series: vec![
                series(PUSHED, 112, 100 << 20),
                series(LAYERS, 200, 200 << 20),
                series(SKOPEO, 200, 0),
                series(WHOLE, 400, 0),
            ],
            written: [Written::of(110, 1), Written::of(111, 1)],
            interrupted: [
                Interruption { at: 0.5, twice: 0.001 },
                Interruption { at: 0.6, twice: 0.5 },
            ],
            requests: 1,
            rebuilt: sample(0, 0),
        };
        let report = crate::bench::table::goals_json(&update.goals());
        let met: Vec<Option<bool>> =
            report.as_array().unwrap().iter().map(|goal| goal["met"].as_bool()).collect();
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(met, [no, yes, yes, no, yes, no, no, no, no, yes, yes, yes]);
        let row = update.row(&update.series[0]);
        assert!((row[6] - 0.56).abs() < 1e-9 && (row[8] - 0.28).abs() < 1e-9);
        assert_eq!(update.table().lines().count(), 14);
        assert_eq!(update.to_json()["changed"]["table"], 15);
    }
}
