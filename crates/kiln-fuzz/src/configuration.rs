//! What people write down for a machine in any dialect of configuration, and the templates in it.
//!
//! Beyond "no panic": a fault has a place in its document, what is accepted can be written as Kiln's own
//! YAML and is accepted again, and a template's work stays within its bounds.

use kiln_config::check::{Checked, Input, check};
use kiln_config::elemental::{Fork, command_line};
use kiln_config::template::{Values, render};
use kiln_config::{Diagnostics, Sources, provision};

use crate::text::lossy;

/// Bytes that a template may write, whatever is in it: the bound of `kiln_config::template`.
const TEMPLATE_BYTES: usize = 16 << 20;

/// Reads a document of any dialect.
pub fn configuration(data: &[u8]) -> bool {
    let checked = checked(data.to_vec());
    for diagnostic in checked.diagnostics.list() {
        let Some(span) = diagnostic.span else { continue };
        let length = checked.sources.get(span.source).map_or(0, |source| source.text.len());
        let end = span.start as usize;
        assert!(end <= length + 1, "{} stands behind its document", diagnostic.message);
    }
    if checked.diagnostics.has_errors() || checked.plan.operations.is_empty() {
        return false;
    }
    let text = provision::write(&checked.plan);
    let again = self::checked(text.clone().into_bytes());
    let errors = again.diagnostics.list();
    assert!(!again.diagnostics.has_errors(), "{errors:?} in what was written:\n{text}");
    assert_eq!(again.plan.operations.len(), checked.plan.operations.len(), "{text}");
    true
}

fn checked(bytes: Vec<u8>) -> Checked {
    check(vec![Input { name: "document".into(), bytes }], None)
}

/// Reads steps in dot notation from a kernel command line.
pub fn configuration_steps(data: &[u8]) -> bool {
    let mut sources = Sources::default();
    let id = sources.add("kernel command line", lossy(data));
    let mut out = Diagnostics::default();
    let found = command_line(&sources, id, 0, Fork::Toolkit, &mut out);
    assert!(found.setup.iter().all(|setup| !setup.value.is_empty()));
    !found.plan.operations.is_empty()
}

/// Fills a template with nothing.
pub fn template(data: &[u8]) -> bool {
    match render(&lossy(data), &Values::default()) {
        Ok(text) => {
            assert!(text.len() <= TEMPLATE_BYTES, "{} bytes were written", text.len());
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}
