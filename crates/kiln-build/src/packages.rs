//! The package databases of a tree, read for `release.json`.
//!
//! Only text databases are read (dpkg's `status`, apk's `installed`); they are parsed leniently,
//! because the list informs people and scanners and nothing in Kiln decides by it.

use kiln_release::Package;
use kiln_tree::{ContentStore, Kind, Tree};

/// Reads one kind of database.
type Parser = fn(&str) -> Vec<Package>;

/// Package databases, by path, with the parser of each.
const DATABASES: [(&[u8], Parser); 4] = [
    (b"var/lib/dpkg/status", parse_dpkg),
    (b"usr/lib/sysimage/dpkg/status", parse_dpkg),
    (b"lib/apk/db/installed", parse_apk),
    (b"usr/lib/apk/db/installed", parse_apk),
];

/// All packages that the tree's databases list as installed, sorted, each once.
pub(crate) fn packages(tree: &Tree, store: &dyn ContentStore) -> std::io::Result<Vec<Package>> {
    let mut found = Vec::new();
    for (path, parse) in DATABASES {
        let Some(id) = tree.resolve(path) else { continue };
        let Kind::File(content) = tree.node(id).kind else { continue };
        found.extend(parse(&String::from_utf8_lossy(&store.read(content)?)));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Debian's control format: paragraphs of `Field: value`, continuation lines indented.
fn parse_dpkg(text: &str) -> Vec<Package> {
    let field = |paragraph: &str, name: &str| {
        paragraph
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
    };
    text.split("\n\n")
        .filter(|paragraph| {
            field(paragraph, "Status").is_some_and(|status| status.ends_with(" installed"))
        })
        .filter_map(|paragraph| {
            Some(Package {
                name: field(paragraph, "Package")?,
                version: field(paragraph, "Version")?,
                architecture: field(paragraph, "Architecture").unwrap_or_default(),
            })
        })
        .collect()
}

/// apk's installed database: paragraphs of `K:value` with one-letter keys.
fn parse_apk(text: &str) -> Vec<Package> {
    let field = |paragraph: &str, name: &str| {
        paragraph.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
    };
    text.split("\n\n")
        .filter_map(|paragraph| {
            Some(Package {
                name: field(paragraph, "P:")?,
                version: field(paragraph, "V:")?,
                architecture: field(paragraph, "A:").unwrap_or_default(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{parse_apk, parse_dpkg};

    #[test]
    fn only_installed_packages_count() {
        let text = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\n\
                    Version: 5.2-1\nDescription: shell\n more: text\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
        let packages = parse_dpkg(text);
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].name, "bash");
        assert_eq!(packages[0].version, "5.2-1");
        assert_eq!(packages[0].architecture, "amd64");
    }

    #[test]
    fn apk_paragraphs_are_read() {
        let packages = parse_apk("C:Q1\nP:musl\nV:1.2.5-r0\nA:x86_64\n\nP:busybox\nV:1.36\n");
        assert_eq!(packages.len(), 2);
        assert_eq!(packages[0].architecture, "x86_64");
        assert_eq!(packages[1].name, "busybox");
    }
}
