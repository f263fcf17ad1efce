//! Documents in the image that make programs of the release writable.
//!
//! They are read as a machine reads them, by `kiln-config`: a rule with a parser of its own would miss
//! what the other understands.

use kiln_config::check::{Input, check};
use kiln_config::programs::CODE;

use crate::Error;
use crate::image::{Image, name};
use crate::rule::{Fault, Rule, Severity, Threshold};

/// Where images have documents for their machines.
const DOCUMENTS: &str = "system/oem";
/// How names of documents end that machines read there.
const ENDS: [&[u8]; 2] = [b".yaml", b".yml"];
/// Largest document that is read, in bytes: no larger one is taken by a machine.
const LARGEST: u64 = kiln_config::source::MAXIMUM_BYTES as u64;

pub(super) const PERSISTENT_PROGRAMS: Rule = Rule {
    id: CODE,
    severity: Severity::Warning,
    threshold: Threshold::Any,
    reason: "what a machine writes over programs of the release is not proved by the root's hash, and \
             stays in their place when an upgrade brings better ones",
    fix: "leave paths below /usr out of the list of what persists and build these files into the image, \
          or keep them below /usr/local, /opt or /var",
    check: persistent_programs,
};

fn persistent_programs(image: &Image<'_>, _: u64) -> Result<Vec<Fault>, Error> {
    let mut faults = Vec::new();
    for (path, _, content) in image.files(DOCUMENTS) {
        if content.size > LARGEST || !ENDS.iter().any(|end| name(&path).ends_with(end)) {
            continue;
        }
        let bytes = image.read(&path, content)?;
        let shown = String::from_utf8_lossy(&path).into_owned();
        // Each alone: a fault in one does not keep a machine from reading the others.
        let checked = check(vec![Input { name: shown, bytes }], None);
        for diagnostic in checked.diagnostics.list().iter().filter(|one| one.code == CODE) {
            faults.push(Fault::at(&path, diagnostic.message.clone()));
        }
    }
    Ok(faults)
}
