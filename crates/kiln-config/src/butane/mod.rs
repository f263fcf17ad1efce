//! Butane's YAML, read as the Ignition config that it stands for.
//!
//! Butane is Ignition with other names for keys and a few comforts: contents in the file itself,
//! mount units, whole folders. A machine reads it as it is, so nobody needs a translator before.
//! What only makes sense for the disk of another system (`boot_device`) or its boot loader (`grub`)
//! is refused by name with the reason; what a machine cannot have (files beside the config) is,
//! too, unless the caller gives them. All values keep their places in the YAML. Turning the YAML
//! into JSON text first was dropped: its lines are not those that the author knows.

mod convert;
mod mount;
mod schema;
mod sugar;
#[cfg(test)]
mod tests;
mod trees;

use std::collections::HashMap;

use self::convert::{Context, convert};
use self::schema::{IGNITION, KERNEL_ARGUMENTS, PASSWD, STORAGE, SYSTEMD, Schema};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::ignition::translate::tree::{Map, is_zero, members, quoted, refuse, text};
use crate::ignition::translate::{self, Mounts};
use crate::ignition::{Config, Version};
use crate::node::{Node, Value};
use crate::source::{SourceId, Sources};

/// Files beside the config, where there are any. Paths are relative and lead nowhere upwards.
pub trait Files {
    /// The bytes of a file.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;

    /// All files and links of a folder, in an order that is always the same.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    fn tree(&self, path: &str) -> Result<Vec<TreeEntry>, String>;
}

/// An entry of a folder of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Path inside the folder.
    pub path: String,
    /// What it is.
    pub kind: TreeKind,
}

/// What an entry of a folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeKind {
    /// A file.
    File {
        /// Its bytes.
        contents: Vec<u8>,
        /// Whether anybody may execute it; it then gets mode 0755 instead of 0644.
        executable: bool,
    },
    /// A symbolic link.
    Link {
        /// What it points to.
        target: String,
    },
}

/// Variant, version, and the version of Ignition that they stand for.
pub const VERSIONS: &[(&str, &str, Version)] = &[
    ("fcos", "1.0.0", Version::V3_0),
    ("fcos", "1.1.0", Version::V3_1),
    ("fcos", "1.2.0", Version::V3_2),
    ("fcos", "1.3.0", Version::V3_2),
    ("fcos", "1.4.0", Version::V3_3),
    ("fcos", "1.5.0", Version::V3_4),
    ("fcos", "1.6.0", Version::V3_5),
    ("fcos", "1.7.0", Version::V3_6),
    ("flatcar", "1.0.0", Version::V3_3),
    ("flatcar", "1.1.0", Version::V3_4),
    ("openshift", "4.8.0", Version::V3_2),
    ("openshift", "4.9.0", Version::V3_2),
    ("openshift", "4.10.0", Version::V3_2),
    ("openshift", "4.11.0", Version::V3_2),
    ("openshift", "4.12.0", Version::V3_2),
    ("openshift", "4.13.0", Version::V3_2),
    ("openshift", "4.14.0", Version::V3_4),
    ("openshift", "4.15.0", Version::V3_4),
    ("openshift", "4.16.0", Version::V3_4),
    ("openshift", "4.17.0", Version::V3_4),
    ("openshift", "4.18.0", Version::V3_4),
    ("r4e", "1.0.0", Version::V3_3),
    ("r4e", "1.1.0", Version::V3_4),
    ("fiot", "1.0.0", Version::V3_4),
];

/// Whether a document is Butane's.
#[must_use]
pub fn applies(node: &Node) -> bool {
    node.get("variant").is_some()
}

/// Reads a document of Butane to the tree of a config.
///
/// Gives nothing, and an error, where it is of an unknown variant or version.
pub fn read(node: &Node, files: Option<&dyn Files>, out: &mut Diagnostics) -> Option<Config> {
    crate::ignition::read::node(&document(node, files, out)?, out)
}

/// Reads one of the `sources` in whichever notation a config may have: Ignition 3.x, Ignition 2.x,
/// Butane. `mounts` is for 2.x, `files` for Butane.
pub fn any(
    sources: &Sources,
    id: SourceId,
    mounts: &Mounts,
    files: Option<&dyn Files>,
    out: &mut Diagnostics,
) -> Option<Config> {
    let text = sources.get(id).map(|source| source.text.as_str()).unwrap_or_default();
    let is_json = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).starts_with('{');
    let parse = if is_json { crate::json::document } else { crate::yaml::document };
    let node = match parse(id, text) {
        Ok(node) => node,
        Err(fault) => {
            out.push(fault);
            return None;
        }
    };
    if applies(&node) {
        read(&node, files, out)
    } else if translate::applies(&node) {
        translate::read(&node, mounts, out)
    } else {
        crate::ignition::read::node(&node, out)
    }
}

/// The document of Ignition that a document of Butane stands for.
pub fn document(node: &Node, files: Option<&dyn Files>, out: &mut Diagnostics) -> Option<Node> {
    let mut version = version(node, out)?;
    let mut fields = Fields::open(node, "a Butane config", out)?;
    let variant = fields.text("variant").map(|variant| variant.value).unwrap_or_default();
    let written = fields.take("version").map_or(node.span, |node| node.span);
    let openshift = if variant == "openshift" { openshift(&mut fields) } else { None };
    if openshift.is_some() {
        // Kernel arguments stand outside of the config there, and inside it only since 3.3.
        version = version.max(Version::V3_3);
    }
    let context = Context { version, files };
    let mut map = Map::new(node.span);
    let section = |fields: &mut Fields<'_, '_>, name: &'static str, schema: &'static Schema| {
        let node = fields.take(name)?;
        convert(node, schema, context, fields.out())
    };
    let mut ignition = Map::new(fields.take("ignition").map_or(node.span, |node| node.span));
    ignition.put("version", text(written, version.name()));
    let inner = section(&mut fields, "ignition", &IGNITION);
    for (key, node) in inner.as_ref().and_then(Node::map).unwrap_or_default() {
        ignition.put(&key.text, node.clone());
    }
    map.put("ignition", ignition.node());
    if version >= Version::V3_3 {
        let arguments = section(&mut fields, "kernel_arguments", &KERNEL_ARGUMENTS);
        map.put_some("kernelArguments", openshift.or(arguments));
    }
    map.put_some("passwd", section(&mut fields, "passwd", &PASSWD));
    let storage = fields.take("storage");
    let mut made = section(&mut fields, "storage", &STORAGE);
    if let (Some(written), Some(made)) = (storage, &mut made) {
        trees::fill(written, made, context, fields.out());
    }
    map.put_some("storage", made);
    let mut systemd = section(&mut fields, "systemd", &SYSTEMD);
    if let Some(written) = storage {
        let units = mount::units(written, fields.out());
        add_units(&mut systemd, units);
    }
    map.put_some("systemd", systemd);
    refuse(
        &mut fields,
        "boot_device",
        "the disk that a Kiln machine starts from has a fixed layout",
        "encrypt or mirror other disks with `storage.luks` and `storage.raid`",
    );
    refuse(
        &mut fields,
        "grub",
        "a Kiln machine starts without GRUB's configuration, so it has no GRUB users",
        "protect the start of the machine with Secure Boot and a firmware password",
    );
    fields.finish();
    Some(map.node())
}

/// The version of Ignition that variant and version stand for.
fn version(node: &Node, out: &mut Diagnostics) -> Option<Version> {
    let variant = node.get("variant").filter(|variant| !variant.is_null());
    let version = node.get("version").filter(|version| !version.is_null());
    let (Some(variant), Some(version)) = (variant, version) else {
        let missing = if variant.is_none() { "variant" } else { "version" };
        let message = format!("a Butane config needs `{missing}`");
        let hint = "for instance `variant: fcos` and `version: 1.5.0`";
        out.push(Diagnostic::error("missing-version", node.span, message).hint(hint));
        return None;
    };
    let (name, number) = (variant.text().unwrap_or_default(), version.text().unwrap_or_default());
    let found = VERSIONS.iter().find(|row| (row.0, row.1) == (name, number));
    if let Some((_, _, version)) = found {
        return Some(*version);
    }
    let shown = |text: &str| text.chars().take(60).collect::<String>();
    let known: Vec<&str> = VERSIONS.iter().filter(|row| row.0 == name).map(|row| row.1).collect();
    out.push(match (known.first(), known.last()) {
        (Some(first), Some(last)) => {
            let message = format!("`{}` is no version of `{name}` that Kiln reads", shown(number));
            let hint = if number.ends_with("-experimental") {
                format!("experimental versions change; write one of {first} to {last}")
            } else {
                format!("write one of {first} to {last}")
            };
            Diagnostic::error("unknown-version", version.span, message).hint(hint)
        }
        _ => {
            let message = format!("`{}` is no variant of Butane that Kiln reads", shown(name));
            Diagnostic::error("unknown-version", variant.span, message)
                .hint("write one of fcos, flatcar, openshift, r4e, fiot")
        }
    });
    None
}

/// What only `openshift` has: kernel arguments are taken over, the rest concerns RHCOS.
fn openshift(fields: &mut Fields<'_, '_>) -> Option<Node> {
    if let Some((key, _)) = fields.take_with_key("metadata") {
        let message = "`metadata` names an object of a cluster, it is ignored";
        let span = key.span;
        fields.out().push(Diagnostic::note("ignored-key", span, message));
    }
    let node = fields.take("openshift")?;
    let mut inner = Fields::open(node, "`openshift`", fields.out())?;
    refuse(
        &mut inner,
        "extensions",
        "packages belong into the image",
        "install them in the Dockerfile of the image",
    );
    refuse(
        &mut inner,
        "fips",
        "which cryptography a system uses is decided by its image",
        "build the image for FIPS, and add `fips=1` to `kernel_arguments`",
    );
    let kernel = inner.take("kernel_type").filter(|node| node.text() != Some("default"));
    if let Some(kernel) = kernel {
        let message = "`kernel_type` is refused: the kernel belongs to the image";
        inner.out().push(
            Diagnostic::error("untranslatable", kernel.span, message)
                .hint("install that kernel in the Dockerfile of the image"),
        );
    }
    let arguments = members(&mut inner, "kernel_arguments", |node, _| Some(quoted(node)));
    inner.finish();
    let arguments = arguments.filter(|node| !is_zero(node))?;
    let mut map = Map::new(arguments.span);
    map.put("shouldExist", arguments);
    Some(map.node())
}

/// Puts made units behind the written ones; into a written one of the same name only what it lacks.
fn add_units(systemd: &mut Option<Node>, units: Vec<Node>) {
    let Some(first) = units.first().map(|unit| unit.span) else { return };
    let node = systemd.get_or_insert(Node { span: first, value: Value::Map(Vec::new()) });
    let Value::Map(entries) = &mut node.value else { return };
    let place = entries.iter().position(|(key, _)| key.text == "units").unwrap_or_else(|| {
        let mut map = Map::new(first);
        map.put("units", crate::ignition::translate::tree::list(first, Vec::new()));
        entries.extend(map.node().map().map(<[_]>::to_vec).unwrap_or_default());
        entries.len() - 1
    });
    let Some((_, Node { value: Value::List(list), .. })) = entries.get_mut(place) else { return };
    let mut places: HashMap<String, usize> = HashMap::new();
    for (index, unit) in list.iter().enumerate() {
        places.entry(unit_name(unit)).or_insert(index);
    }
    for unit in units {
        let place = *places.entry(unit_name(&unit)).or_insert(list.len());
        match (list.get_mut(place), unit.value) {
            (Some(Node { value: Value::Map(written), .. }), Value::Map(made)) => {
                for (key, node) in made {
                    if written.iter().all(|(old, _)| old.text != key.text) {
                        written.push((key, node));
                    }
                }
            }
            (_, value) => list.push(Node { span: unit.span, value }),
        }
    }
}

fn unit_name(unit: &Node) -> String {
    unit.get("name").and_then(Node::text).unwrap_or_default().to_owned()
}
