//! Weight that every machine carries and none needs.

use std::collections::BTreeSet;

use crate::image::Image;
use crate::rule::{Fault, Rule, Severity, Threshold, mebibytes};

/// 20 MiB: a minimal server has less of either, and an upgrade over a slow line shows more.
const LIMIT: u64 = 20 << 20;

/// Folders of texts for people.
const DOCUMENTATION: [&str; 4] =
    ["usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man"];
/// Folders of package managers and programs that fill again by themselves.
const CACHES: [&str; 2] = ["var/cache", "var/lib/apt/lists"];

pub(super) const LARGE_DOCS: Rule = Rule {
    id: "large-docs",
    severity: Severity::Note,
    threshold: Threshold::Bytes(LIMIT),
    reason: "manuals, documentation and translations are in each download, and few people read them \
             on a machine that is never changed by hand",
    fix: "install without them: path-exclude in dpkg.cfg.d, tsflags=nodocs in dnf.conf",
    check: |image, limit| Ok(total(image, &DOCUMENTATION, limit, "documentation")),
};

pub(super) const LARGE_CACHES: Rule = Rule {
    id: "large-caches",
    severity: Severity::Warning,
    threshold: Threshold::Bytes(LIMIT),
    reason: "packages and indexes that were downloaded for the build are copied to every machine's \
             /var and are of no use there",
    fix: "end the build with apt-get clean and rm -r /var/lib/apt/lists/*, or dnf clean all",
    check: |image, limit| Ok(total(image, &CACHES, limit, "caches")),
};

/// A fault if the files below `folders` together have more bytes than `limit`; names the largest.
fn total(image: &Image<'_>, folders: &[&str], limit: u64, what: &str) -> Vec<Fault> {
    let mut seen = BTreeSet::new();
    let mut sum = 0_u64;
    let mut largest = ("", 0_u64);
    for folder in folders {
        let size = image
            .files(folder)
            .filter(|(_, id, _)| seen.insert(*id))
            .fold(0_u64, |size, (_, _, content)| size.saturating_add(content.size));
        sum = sum.saturating_add(size);
        if size > largest.1 {
            largest = (folder, size);
        }
    }
    if sum <= limit {
        return Vec::new();
    }
    let (folder, size) = largest;
    let message = format!(
        "{} of {what}, {} of them here; the limit is {}",
        mebibytes(sum),
        mebibytes(size),
        mebibytes(limit)
    );
    vec![Fault::at(folder.as_bytes(), message)]
}
