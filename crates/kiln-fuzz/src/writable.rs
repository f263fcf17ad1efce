//! What of a machine can be written: the decision as the first process reads it, and the variables of
//! Elemental's layout from which it may come.
//!
//! Whatever is asked for, the decision can be written down and read again, and what is planned by it
//! mounts no folder before the one that it lies in and nothing of the kernel's or of the state itself.

use kiln_etc::EtcMode;
use kiln_etc::mounts::{Mounts, format};
use kiln_init::overlay::layout::{Facts, plan};

use crate::text::lossy;

/// Where nothing may be mounted.
const TAKEN: [&str; 7] = ["proc", "sys", "dev", "run", "state", "boot", "oem"];
/// The release for which is planned.
const RELEASE: &str = "0123456789abcdef";

/// Reads a decision, and makes one of the same bytes as variables. Accepted is what was a decision.
pub fn mounts(data: &[u8]) -> bool {
    let (asked, _) =
        kiln_provision::mounts::decide(&kiln_config::Plan::default(), Some(&lossy(data)));
    check(&asked);
    match format::parse(data) {
        Ok(read) => {
            check(&read);
            true
        }
        Err(_) => false,
    }
}

fn check(mounts: &Mounts) {
    let text = format::write(mounts);
    assert_eq!(format::parse(text.as_bytes()).ok().as_ref(), Some(mounts), "{text}");
    for has_folders in [true, false] {
        let in_root = |path: &str| has_folders || !path.contains('/');
        let in_state = |path: &str| has_folders && path.ends_with("bind");
        let facts = Facts {
            release: RELEASE,
            etc: EtcMode::Persistent,
            in_root: &in_root,
            in_state: &in_state,
        };
        let steps = plan(mounts, &facts).steps;
        for (number, step) in steps.iter().enumerate() {
            let first = step.target.split('/').next().unwrap_or_default();
            assert!(!TAKEN.contains(&first) && step.target != "usr", "{step:?}");
            assert!(
                !step.target.split('/').any(|name| matches!(name, "" | "." | "..")),
                "{step:?}"
            );
            let hides = |later: &str| step.target.starts_with(&format!("{later}/"));
            let later = steps.iter().skip(number + 1);
            assert!(later.into_iter().all(|later| !hides(&later.target)), "{step:?} is hidden");
        }
    }
}
