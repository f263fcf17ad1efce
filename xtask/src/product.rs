//! The program as users get it: one static release binary.

use std::path::PathBuf;

use crate::error::Error;
use crate::packages::TARGET;
use crate::run;

/// Builds it and returns its path.
pub(crate) fn build() -> Result<PathBuf, Error> {
    run::run(run::cargo().args(["build", "--release", "-p", "kiln", "--target", TARGET]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| run::root().join("target"), |folder| run::root().join(folder));
    Ok(target.join(TARGET).join("release/kiln"))
}
