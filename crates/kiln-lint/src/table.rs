//! The rules as a table for the documentation.
//!
//! `docs/lint.md` holds exactly this text; a test compares the two.

use std::fmt::Write as _;

use crate::RULES;

/// All rules as a Markdown table, one line a rule, with a line break at the end.
#[must_use]
pub fn markdown_table() -> String {
    let mut table =
        String::from("| Rule | Severity | Broken by | Reason | Fix |\n|---|---|---|---|---|\n");
    for rule in RULES {
        let (id, severity, threshold) = (rule.id, rule.severity, rule.threshold);
        let (reason, fix) = (rule.reason, rule.fix);
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `{id}` | {severity} | {threshold} | {reason} | {fix} |");
    }
    table
}
