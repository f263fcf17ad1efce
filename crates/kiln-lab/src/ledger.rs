//! What virtual machines cost: one line per machine in the file that `$KILN_VM_LEDGER` names.
//!
//! Boots are the dearest thing in the test run, so every run ends with their sum. Test processes
//! append short lines, which the kernel keeps whole.

use std::env;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Names the file; without it nothing is recorded.
pub const VARIABLE: &str = "KILN_VM_LEDGER";

/// Records a machine's life. Failure to record must not fail a test, so it is ignored.
pub fn record(machine: &str, life: Duration) {
    if let Some(path) = env::var_os(VARIABLE)
        && let Ok(mut file) = File::options().create(true).append(true).open(path)
    {
        let _ = file.write_all(format!("{} {machine}\n", life.as_millis()).as_bytes());
    }
}

/// Number of machines and the sum of their lives in a ledger; a missing one is empty.
#[must_use]
pub fn total(path: &Path) -> (usize, Duration) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lives = text.lines().filter_map(|line| line.split(' ').next()?.parse().ok());
    let lives: Vec<u64> = lives.collect();
    (lives.len(), Duration::from_millis(lives.iter().sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        assert_eq!(total(&path), (0, Duration::ZERO));
        std::fs::write(&path, "1500 first\n2500 second\nnonsense\n").unwrap();
        assert_eq!(total(&path), (2, Duration::from_secs(4)));
    }
}
