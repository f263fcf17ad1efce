//! The rules that a good image keeps.
//!
//! Each rule is a declared object: id, severity, threshold, reason, fix and a pure function from an
//! image to its findings. The command line, the documentation and the tests all read the same
//! declarations ([`RULES`]), so that none of them can promise what another does not do.
//!
//! A rule must never change the image, run a program of it, or fail because the image is bad: a bad
//! image is a finding. Only contents that cannot be read back are an [`Error`].
//!
//! Dropped alternative: a build that refuses what is linted here. Half of the rules are a matter of
//! what the image is for, and a builder that argues is a builder that people work around.

mod error;
mod image;
mod rule;
mod rules;
mod table;

pub use error::Error;
pub use rule::{Finding, Rule, Settings, Severity, Threshold};
pub use rules::{LEGACY_PROGRAMS, RULES};
pub use table::markdown_table;

use image::Image;
use kiln_tree::{ContentStore, Tree};

/// Checks an image against every rule that `settings` do not switch off.
///
/// Findings come in the order of [`RULES`], within a rule in the order of the tree.
///
/// # Errors
/// [`Error::UnknownRule`] if the settings name a rule that does not exist, otherwise contents of the
/// image that could not be read back.
pub fn check(
    tree: &Tree,
    store: &dyn ContentStore,
    settings: &Settings,
) -> Result<Vec<Finding>, Error> {
    settings.validate()?;
    let image = Image::new(tree, store)?;
    let mut findings = Vec::new();
    for rule in RULES.iter().filter(|rule| !settings.allowed.contains(rule.id)) {
        let faults = (rule.check)(&image, settings.limit(rule))?;
        findings.extend(faults.into_iter().map(|fault| Finding {
            rule,
            message: fault.message,
            path: fault.path,
        }));
    }
    Ok(findings)
}
