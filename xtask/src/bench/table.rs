//! Figures as a person and as a program reads them.
//!
//! A goal is a sentence with a limit and what was reached; a comparison without a limit is printed
//! all the same, because a tool that has no goal is still somebody's alternative.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::contenders::{
    EROFS_LZ4HC, EROFS_ZSTD_1M, EROFS_ZSTD_64K, KILN_LZ4, KILN_LZ4HC, KILN_ZSTD, MKOSI, REPART,
};
use super::measure::{Run, median};

/// What a contender showed.
#[derive(Debug)]
pub(super) struct Result {
    pub(super) name: &'static str,
    pub(super) runs: Vec<Run>,
    /// Bytes of the root image without a hash tree.
    pub(super) root: Option<u64>,
    /// Bytes that the finished disk takes.
    pub(super) disk: Option<u64>,
    /// Why it did not run.
    pub(super) failure: Option<String>,
}

impl Result {
    fn wall(&self) -> f64 {
        median(self.runs.iter().map(|run| run.wall))
    }

    fn processor(&self) -> f64 {
        median(self.runs.iter().map(|run| run.processor))
    }

    /// Bytes at the worst run's peak.
    pub(super) fn peak(&self) -> u64 {
        self.runs.iter().map(|run| run.peak).max().unwrap_or(0)
    }
}

/// A limit of the issue, or a comparison without one.
#[derive(Debug)]
pub(super) struct Goal {
    pub(super) sentence: String,
    pub(super) limit: Option<f64>,
    pub(super) reached: f64,
    pub(super) unit: &'static str,
}

impl Goal {
    fn verdict(&self) -> &'static str {
        match self.limit {
            None => "-",
            Some(limit) if self.reached <= limit => "ok",
            Some(_) => "missed",
        }
    }
}

/// Units that are printed, in bytes.
pub(super) const MEBIBYTE: f64 = 1_048_576.0;
const MEGABYTE: f64 = 1e6;

/// The goals that compare with others on one tree; those whose contenders ran.
pub(super) fn ratios(tree: &str, results: &[Result]) -> Vec<Goal> {
    let find = |name| results.iter().find(|result| result.name == name && !result.runs.is_empty());
    let wall = |left, right, limit| {
        let (one, other) = (find(left)?, find(right)?);
        Some(Goal {
            sentence: format!("{tree}: wall of {left} to {right}"),
            limit,
            reached: one.wall() / other.wall(),
            unit: "",
        })
    };
    let root = |left, right| {
        let (one, other) = (find(left)?.root?, find(right)?.root?);
        Some(Goal {
            sentence: format!("{tree}: root of {left} to {right}"),
            limit: Some(1.0),
            reached: one as f64 / other as f64,
            unit: "",
        })
    };
    [
        wall(KILN_LZ4, REPART, Some(0.5)),
        wall(KILN_LZ4, MKOSI, None),
        wall(KILN_ZSTD, EROFS_ZSTD_64K, Some(0.6)),
        wall(KILN_ZSTD, EROFS_ZSTD_1M, Some(0.9)),
        root(KILN_ZSTD, EROFS_ZSTD_64K),
        root(KILN_ZSTD, EROFS_ZSTD_1M),
        wall(KILN_LZ4HC, EROFS_LZ4HC, Some(1.1)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The table of one tree.
pub(super) fn table(results: &[Result]) -> String {
    let mut text = format!(
        "{:<24}{:>5}{:>9}{:>9}{:>10}{:>10}{:>10}\n",
        "", "runs", "wall s", "cpu s", "peak MiB", "root MB", "disk MB"
    );
    for result in results {
        // Writing into a string cannot fail.
        let _ = write!(text, "{:<24}", result.name);
        if let Some(failure) = &result.failure {
            let _ = writeln!(text, "  did not run: {}", failure.replace('\n', "\n    "));
            continue;
        }
        let megabytes = |bytes: Option<u64>| {
            bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{:.1}", bytes as f64 / MEGABYTE))
        };
        let _ = writeln!(
            text,
            "{:>5}{:>9.2}{:>9.2}{:>10.0}{:>10}{:>10}",
            result.runs.len(),
            result.wall(),
            result.processor(),
            result.peak() as f64 / MEBIBYTE,
            megabytes(result.root),
            megabytes(result.disk),
        );
    }
    text
}

/// The goals, one a line.
pub(super) fn goals(goals: &[Goal]) -> String {
    let mut text = format!("{:<62}{:>9}{:>9}  \n", "", "goal", "reached");
    for goal in goals {
        let limit = goal.limit.map_or_else(|| "-".to_owned(), |limit| format!("{limit:.2}"));
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "{:<62}{:>9}{:>9}  {}",
            format!("{}{}", goal.sentence, goal.unit),
            limit,
            format!("{:.2}", goal.reached),
            goal.verdict()
        );
    }
    text
}

/// One tree's results for programs: bytes and seconds, every run.
pub(super) fn results_json(results: &[Result]) -> Value {
    let of = |result: &Result| {
        let runs: Vec<Value> = result
            .runs
            .iter()
            .map(|run| json!({ "wall": run.wall, "processor": run.processor, "peak": run.peak }))
            .collect();
        json!({
            "name": result.name,
            "wall": result.wall(),
            "processor": result.processor(),
            "peak": result.peak(),
            "root": result.root,
            "disk": result.disk,
            "failure": result.failure,
            "runs": runs,
        })
    };
    results.iter().map(of).collect()
}

/// The goals for programs.
pub(super) fn goals_json(goals: &[Goal]) -> Value {
    let of = |goal: &Goal| {
        json!({
            "sentence": goal.sentence,
            "unit": goal.unit.trim(),
            "limit": goal.limit,
            "reached": goal.reached,
            "met": goal.limit.map(|limit| goal.reached <= limit),
        })
    };
    goals.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(name: &'static str, walls: &[f64], root: Option<u64>) -> Result {
        let run = |wall: &f64| Run { wall: *wall, processor: *wall, peak: 1 << 20 };
        let runs: Vec<Run> = walls.iter().map(run).collect();
        let failure = runs.is_empty().then(|| "exit status: 1".to_owned());
        Result { name, runs, root, disk: None, failure }
    }

    #[test]
    fn goals_are_judged_by_medians_and_need_both_sides() {
        let results = [
            result(KILN_LZ4, &[1.0, 9.0, 1.2], None),
            result(REPART, &[2.0, 2.0, 2.0], None),
            result(MKOSI, &[], None),
            result(KILN_ZSTD, &[1.0], Some(11)),
            result(EROFS_ZSTD_64K, &[2.0], Some(10)),
        ];
        let found = ratios("small", &results);
        let verdicts: Vec<&str> = found.iter().map(Goal::verdict).collect();
        assert_eq!(verdicts, ["missed", "ok", "missed"]);
        assert!((found[0].reached - 0.6).abs() < 1e-9);
        assert!(goals(&found).contains("small: wall of kiln lz4 to systemd-repart lz4"));
        assert!(table(&results).contains("did not run: exit status: 1"));
        assert_eq!(goals_json(&found)[1]["met"], true);
        assert_eq!(results_json(&results)[0]["wall"], 1.2);
    }
}
