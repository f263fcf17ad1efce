//! Content in places where machines do not see it as the image does.
//!
//! `/run` and `/tmp` are empty memory on every machine. `/var` belongs to the machine: what the image
//! has there is copied once and then never follows an upgrade.

use std::collections::BTreeMap;

use kiln_tree::Kind;

use crate::Error;
use crate::image::{Image, is_within};
use crate::rule::{Fault, Rule, Severity, Threshold};

/// Places below `/var` whose content is meant to begin on a machine, or follows the release: package
/// databases (which the build moves to `/usr/lib/sysimage`), bookkeeping of package scripts, and
/// what is made anew when it is missing.
const USUAL_IN_VAR: [&str; 20] = [
    "var/backups",
    "var/cache",
    "var/lib/alternatives",
    "var/lib/apk",
    "var/lib/apt",
    "var/lib/authselect",
    "var/lib/dnf",
    "var/lib/dpkg",
    "var/lib/pacman",
    "var/lib/pam",
    "var/lib/rpm",
    "var/lib/rpm-state",
    "var/lib/selinux",
    "var/lib/shells.state",
    "var/lib/systemd",
    "var/lib/ucf",
    "var/lib/zypp",
    "var/log",
    "var/spool/cron",
    // Belongs to hidden-run.
    "var/tmp",
];

/// Names in a path below `/var` that findings are gathered under, so that a thousand files of one
/// program are one line.
const GATHER_DEPTH: usize = 3;

/// Folders that are empty memory or cleaned on every machine.
const TEMPORARY: [&str; 3] = ["run", "tmp", "var/tmp"];
/// Files that container tools leave behind in every image they touch.
const LEFT_BY_TOOLS: [&[u8]; 2] = [b"run/.containerenv", b"run/systemd/container"];

pub(super) const HIDDEN_VAR: Rule = Rule {
    id: "hidden-var",
    severity: Severity::Warning,
    threshold: Threshold::Any,
    reason: "machines get files in /var once, when they have none of that name; no upgrade brings \
             them a new version",
    fix: "move what belongs to the release to /usr and let the program or a tmpfiles line make the \
          rest, or allow the rule if once is what you mean",
    check: hidden_var,
};

fn hidden_var(image: &Image<'_>, _: u64) -> Result<Vec<Fault>, Error> {
    // Folder or file → how many files and bytes are there.
    let mut places: BTreeMap<Vec<u8>, (u64, u64)> = BTreeMap::new();
    for (path, _, content) in image.files("var") {
        let usual = USUAL_IN_VAR.iter().any(|place| is_within(&path, place));
        if content.size == 0 || usual {
            continue;
        }
        let names: Vec<&[u8]> = path.splitn(GATHER_DEPTH + 1, |byte| *byte == b'/').collect();
        let place = names[..names.len().min(GATHER_DEPTH)].join(&b'/');
        let (files, bytes) = places.entry(place).or_default();
        *files += 1;
        *bytes = bytes.saturating_add(content.size);
    }
    let fault = |(place, (files, bytes)): (Vec<u8>, (u64, u64))| {
        let plural = if files == 1 { "" } else { "s" };
        Fault::at(
            &place,
            format!("{files} file{plural} of {bytes} bytes that upgrades do not follow"),
        )
    };
    Ok(places.into_iter().map(fault).collect())
}

pub(super) const HIDDEN_RUN: Rule = Rule {
    id: "hidden-run",
    severity: Severity::Warning,
    threshold: Threshold::Any,
    reason: "/run and /tmp are empty memory on a running machine, and /var/tmp is cleaned: what the \
             image has there is never seen",
    fix: "delete it at the end of the build, or let a tmpfiles line make it at each boot",
    check: |image, _| {
        let mut faults = Vec::new();
        for folder in TEMPORARY {
            for (path, _, node) in image.below(folder) {
                let content = match &node.kind {
                    Kind::File(content) => content.size > 0,
                    Kind::Symlink(_) => true,
                    _ => false,
                };
                if content && !LEFT_BY_TOOLS.contains(&path.as_slice()) {
                    faults.push(Fault::at(&path, "no machine will see this"));
                }
            }
        }
        Ok(faults)
    },
};
