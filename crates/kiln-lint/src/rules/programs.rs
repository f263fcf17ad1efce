//! Programs of the systems that Kiln replaces, brought by the image itself.
//!
//! A build links their names to Kiln, and leaves alone what the image has. Documents go on calling the
//! original then, and that looks for disks of another system, or makes one out of this machine's.

use kiln_tree::Kind;

use crate::Error;
use crate::image::Image;
use crate::rule::{Fault, Rule, Severity, Threshold};

/// The names that a build links to Kiln.
pub const LEGACY_PROGRAMS: [&str; 7] =
    ["cos-deploy", "cos-installer", "cos-reset", "cos-setup", "cos-upgrade", "elemental", "yip"];
/// Where programs are.
const FOLDERS: [&str; 6] =
    ["usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", "bin", "sbin"];

pub(super) const FOREIGN_PROGRAMS: Rule = Rule {
    id: "foreign-programs",
    severity: Severity::Warning,
    threshold: Threshold::Any,
    reason: "documents call `elemental install` and the like at every boot; the image's own program \
             writes to disks as another system has them, and a link to Kiln does not take its place",
    fix: "leave the packages of Elemental's toolkit and of cOS out of the image: a build brings these \
          programs",
    check: foreign_programs,
};

fn foreign_programs(image: &Image<'_>, _: u64) -> Result<Vec<Fault>, Error> {
    let mut faults = Vec::new();
    for folder in FOLDERS {
        for name in LEGACY_PROGRAMS {
            let path = format!("{folder}/{name}");
            // Not through links, or one program would be found in /bin and in /usr/bin.
            let found = image.tree.lookup(path.as_bytes()).map(|id| &image.tree.node(id).kind);
            // A root that Kiln built has these links already.
            let is_kiln = |kind: &Kind| matches!(kind, Kind::Symlink(to) if to == b"kiln");
            if found.is_some_and(|kind| !is_kiln(kind)) {
                faults.push(Fault::at(path.as_bytes(), format!("{name} is not Kiln's")));
            }
        }
    }
    Ok(faults)
}
