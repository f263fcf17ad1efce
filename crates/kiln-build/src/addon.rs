//! Kernel arguments that a machine may switch on later: named at the build, kept in the root.
//!
//! Each becomes a small EFI program that systemd's stub reads beside a boot file. It lies in the root,
//! so it travels with every form of a release, is proved as everything else there, and belongs to the
//! one release that it was made with. Keeping them on the ESP alone was dropped: nothing proves what
//! lies there, and a slot that an upgrade fills would come without them.

use std::fmt;
use std::str::FromStr;

use kiln_boot::arguments::{
    ADDON_FOLDER, ADDON_SUFFIX, COMMAND_LINE_LIMIT, addon_name_defect, defect,
};
use kiln_boot::uki;
use kiln_release::Addon as AddonFacts;
use kiln_tree::{ContentStore, Tree};

use crate::Error;
use crate::checksum::{hex, sha256};
use crate::layer::Editor;

/// What `--addon NAME=ARGS` says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Addon {
    name: String,
    arguments: String,
}

impl Addon {
    /// What people switch on.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The arguments, with one space between two.
    #[must_use]
    pub fn arguments(&self) -> &str {
        &self.arguments
    }
}

impl fmt::Display for Addon {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.name, self.arguments)
    }
}

impl FromStr for Addon {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Addon { addon: text.to_owned(), reason };
        let Some((name, line)) = text.split_once('=') else {
            return Err(refuse("it has no `=` between name and arguments".to_owned()));
        };
        if let Some(reason) = addon_name_defect(name) {
            return Err(refuse(format!("name `{name}`: {reason}")));
        }
        let arguments: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        for argument in &arguments {
            if let Some(reason) = defect(argument) {
                return Err(refuse(format!("argument `{argument}`: {reason}")));
            }
        }
        let arguments = arguments.join(" ");
        if arguments.is_empty() {
            return Err(refuse("it has no arguments".to_owned()));
        }
        if arguments.len() > COMMAND_LINE_LIMIT {
            return Err(refuse(format!("it has more than {COMMAND_LINE_LIMIT} bytes")));
        }
        Ok(Self { name: name.to_owned(), arguments })
    }
}

/// The file of an addon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddonFile {
    /// Its facts, as in `release.json`.
    pub facts: AddonFacts,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl AddonFile {
    /// A file that was read somewhere; `None` if its name or its content is not that of an addon.
    #[must_use]
    pub fn read(name: &str, bytes: Vec<u8>) -> Option<Self> {
        if addon_name_defect(name).is_some() {
            return None;
        }
        let line = uki::parse(&bytes).ok()?.section(".cmdline")?.to_vec();
        let arguments = String::from_utf8(line).ok()?.trim_end_matches('\0').to_owned();
        let facts = AddonFacts {
            name: name.to_owned(),
            arguments,
            length: bytes.len() as u64,
            digest: hex(&sha256(&[&bytes])),
        };
        Some(Self { facts, bytes })
    }
}

/// Makes the files, sorted by name, and puts them into the tree.
///
/// # Errors
/// [`Error::Addon`] for two of one name and where the image has no stub for them.
pub(crate) fn add(
    tree: &mut Tree,
    store: &mut dyn ContentStore,
    addons: &[Addon],
    stub: Option<&[u8]>,
) -> Result<Vec<AddonFile>, Error> {
    let mut sorted: Vec<&Addon> = addons.iter().collect();
    sorted.sort_unstable();
    let mut files: Vec<AddonFile> = Vec::with_capacity(sorted.len());
    let mut editor = Editor::new(tree, store);
    for addon in sorted {
        let refuse =
            |reason: &str| Error::Addon { addon: addon.to_string(), reason: reason.into() };
        if files.last().is_some_and(|last| last.facts.name == addon.name) {
            return Err(refuse("another addon has the same name"));
        }
        let stub = stub.ok_or_else(|| {
            refuse("the image has no addonx64.efi.stub or addonaa64.efi.stub, which systemd brings since 254")
        })?;
        let bytes = uki::addon(stub, addon.arguments.as_bytes())?;
        editor.file(path(&addon.name).as_bytes(), 0o644, &bytes)?;
        let facts = AddonFacts {
            name: addon.name.clone(),
            arguments: addon.arguments.clone(),
            length: bytes.len() as u64,
            digest: hex(&sha256(&[&bytes])),
        };
        files.push(AddonFile { facts, bytes });
    }
    Ok(files)
}

/// Where a root has an addon, without the leading slash.
#[must_use]
pub(crate) fn path(name: &str) -> String {
    format!("{ADDON_FOLDER}/{name}{ADDON_SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::{Addon, add, path};
    use kiln_tree::{MemoryStore, Tree};

    #[test]
    fn addons_are_read_and_written_alike() {
        let addon: Addon = "serial=console=ttyS1,115200  quiet ".parse().unwrap();
        assert_eq!((addon.name(), addon.arguments()), ("serial", "console=ttyS1,115200 quiet"));
        assert_eq!(addon.to_string().parse::<Addon>().unwrap(), addon);
        let long = format!("a={}", "b=c ".repeat(600));
        for (text, expected) in [
            ("serial", "no `=`"),
            ("Serial=a", "small letters"),
            ("a/b=c", "small letters"),
            ("a=", "no arguments"),
            ("a=kiln.root=1", "only a release"),
            ("a=b\tkiln.mode=recovery", "visible"),
            ("a=b \"c", "quotes"),
            (&long, "2047"),
        ] {
            let error = text.parse::<Addon>().unwrap_err();
            assert!(error.to_string().contains(expected), "{text}: {error}");
            assert!(error.hint().is_some(), "{text}");
        }
    }

    #[test]
    fn names_are_used_once_and_a_stub_is_needed() {
        let (mut tree, mut store) = (Tree::default(), MemoryStore::default());
        let twice: Vec<Addon> = vec!["a=b".parse().unwrap(), "a=c".parse().unwrap()];
        let mut refused =
            |addons: &[Addon]| add(&mut tree, &mut store, addons, None).unwrap_err().to_string();
        assert!(refused(&twice[..1]).contains("since 254"));
        assert_eq!(add(&mut tree, &mut store, &[], None).unwrap(), []);
        assert_eq!(path("a"), "usr/lib/kiln/addons/a.addon.efi");
    }
}
