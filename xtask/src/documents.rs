//! `cargo xtask documents`: the reference in docs/reference, written from the command tree.
//!
//! The program itself writes the pages, so that they cannot say anything that it does not do. That
//! they are fresh is a test of the crate `kiln`, which runs with all others.

use std::fs;

use crate::error::{Error, file_error};
use crate::run;

/// Writes all pages anew; those of verbs that are no more go away.
pub(crate) fn write() -> Result<(), Error> {
    let folder = run::root().join("docs/reference");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(file_error("remove", &folder))?;
    }
    let mut kiln = run::cargo();
    kiln.args(["run", "--quiet", "--package", "kiln", "--", "manual", "--format", "markdown"]);
    run::run(kiln.arg(&folder))
}
