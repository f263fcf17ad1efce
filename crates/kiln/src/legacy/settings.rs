//! What other systems' files and variables say about a call: the disk, the image, what comes after.
//!
//! Read are `/etc/cos/config` and `/etc/cos-upgrade-image` (assignments of a shell),
//! `/etc/elemental/config.yaml` with `config.d` (YAML), and the environment; what comes later wins. Only
//! what decides about disk, image and restart is taken over, and the call says from which line. A
//! shell that reads these files was dropped: they may hold any program.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use kiln_config::{Node, Sources, yaml};

use super::LegacyError;

/// Longest file in bytes; real ones have some hundred.
const MAXIMUM_BYTES: u64 = 1 << 20;
/// Files of `config.d` at most.
const MAXIMUM_FILES: usize = 256;
/// Assignments of a shell.
const SHELL_FILES: [&str; 2] = ["etc/cos/config", "etc/cos-upgrade-image"];
/// The folder of the YAML files, unless a call names another.
const FOLDER: &str = "etc/elemental";

/// What is taken over: names as in `config.yaml`.
pub(super) const TARGET: &str = "install.target";
pub(super) const CLOUD_INIT: &str = "install.cloud-init";
pub(super) const INSTALL_IMAGE: &str = "install.system";
pub(super) const UPGRADE_IMAGE: &str = "upgrade.system";
pub(super) const UPGRADE_RECOVERY: &str = "upgrade.recovery";
pub(super) const RECOVERY_IMAGE: &str = "upgrade.recovery-system";
pub(super) const RESET_PERSISTENT: &str = "reset.reset-persistent";
pub(super) const RESET_OEM: &str = "reset.reset-oem";
pub(super) const REBOOT: &str = "reboot";
pub(super) const POWER_OFF: &str = "poweroff";
/// A package of a channel in place of an image.
pub(super) const PACKAGE: &str = "upgrade.package";

/// Paths in the YAML with what they are taken for.
const YAML_KEYS: [(&[&str], &str); 14] = [
    (&["install", "target"], TARGET),
    (&["install", "cloud-init"], CLOUD_INIT),
    (&["install", "system"], INSTALL_IMAGE),
    (&["install", "system", "uri"], INSTALL_IMAGE),
    (&["upgrade", "system"], UPGRADE_IMAGE),
    (&["upgrade", "system", "uri"], UPGRADE_IMAGE),
    (&["upgrade", "recovery"], UPGRADE_RECOVERY),
    (&["upgrade", "recovery-system"], RECOVERY_IMAGE),
    (&["upgrade", "recovery-system", "uri"], RECOVERY_IMAGE),
    (&["reset", "reset-persistent"], RESET_PERSISTENT),
    (&["reset", "reset-oem"], RESET_OEM),
    (&["reboot"], REBOOT),
    (&["poweroff"], POWER_OFF),
    (&["install", "cloud-init", "0"], CLOUD_INIT),
];

/// Variables of a shell file or of the environment with what they are taken for.
const VARIABLES: [(&str, &str); 19] = [
    ("COS_INSTALL_DEVICE", TARGET),
    ("COS_INSTALL_CONFIG_URL", CLOUD_INIT),
    ("COS_INSTALL_POWER_OFF", POWER_OFF),
    ("COS_IMAGE", UPGRADE_IMAGE),
    ("UPGRADE_IMAGE", UPGRADE_IMAGE),
    ("RECOVERY_IMAGE", RECOVERY_IMAGE),
    ("UPGRADE_RECOVERY", UPGRADE_RECOVERY),
    ("PERSISTENCE_RESET", RESET_PERSISTENT),
    ("ELEMENTAL_INSTALL_TARGET", TARGET),
    ("ELEMENTAL_INSTALL_CLOUD_INIT", CLOUD_INIT),
    ("ELEMENTAL_INSTALL_SYSTEM", INSTALL_IMAGE),
    ("ELEMENTAL_UPGRADE_SYSTEM", UPGRADE_IMAGE),
    ("ELEMENTAL_UPGRADE_RECOVERY", UPGRADE_RECOVERY),
    ("ELEMENTAL_UPGRADE_RECOVERY_SYSTEM", RECOVERY_IMAGE),
    ("ELEMENTAL_RESET_RESET_PERSISTENT", RESET_PERSISTENT),
    ("ELEMENTAL_RESET_PERSISTENT", RESET_PERSISTENT),
    ("ELEMENTAL_RESET_OEM", RESET_OEM),
    ("ELEMENTAL_REBOOT", REBOOT),
    ("ELEMENTAL_POWEROFF", POWER_OFF),
];

/// Whether images are packages of a channel, which is what a cOS does that is not told otherwise.
const CHANNEL: &str = "CHANNEL_UPGRADES";

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    key: &'static str,
    pub(super) value: String,
    /// `file:line`, or the name of a variable.
    pub(super) place: String,
}

/// All of them, the strongest last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings(Vec<Setting>);

impl Settings {
    /// Reads files below `root` and the environment. `folder` is the one that a call named.
    ///
    /// # Errors
    /// [`LegacyError::File`] for one that is there and cannot be read or understood.
    pub(super) fn read(
        root: &Path,
        folder: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, LegacyError> {
        let mut all = Vec::new();
        for path in SHELL_FILES {
            if let Some(text) = text(&root.join(path))? {
                all.extend(of_shell(&format!("/{path}"), &text));
            }
        }
        let folder = folder.map_or_else(|| root.join(FOLDER), Path::to_owned);
        for path in yaml_files(&folder) {
            if let Some(text) = text(&path)? {
                let name =
                    path.strip_prefix(root).map_or(path.clone(), |path| Path::new("/").join(path));
                all.extend(of_yaml(&name.to_string_lossy(), &text)?);
            }
        }
        all.extend(of_environment(environment));
        Ok(Self(all))
    }

    /// What counts of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        self.0.iter().rev().find(|setting| setting.key == key)
    }

    /// Whether a switch is on, and where that stands.
    pub(super) fn is_on(&self, key: &str) -> Option<&Setting> {
        self.get(key)
            .filter(|setting| matches!(setting.value.as_str(), "true" | "1" | "yes" | "on"))
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let read = |(name, text): &(&str, &str)| {
            if name.ends_with(".yaml") {
                of_yaml(name, text).unwrap()
            } else {
                of_shell(name, text)
            }
        };
        Self(files.iter().flat_map(read).collect())
    }
}

/// The files that count, in their order.
fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(folder.join("config.d")).into_iter().flatten().flatten();
    for entry in entries.take(MAXIMUM_FILES) {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            files.push(path);
        }
    }
    files.sort_unstable();
    files.insert(0, folder.join("config.yaml"));
    files
}

/// The text of a file, if it is there.
fn text(path: &Path) -> Result<Option<String>, LegacyError> {
    let refuse = |reason: String| LegacyError::File { place: path.display().to_string(), reason };
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| refuse(error.to_string()))?,
    };
    let mut text = String::new();
    let length = file
        .take(MAXIMUM_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| refuse(error.to_string()))?;
    if length as u64 > MAXIMUM_BYTES {
        return Err(refuse("it has more than 1 MiB".to_owned()));
    }
    Ok(Some(text))
}

fn of_yaml(name: &str, text: &str) -> Result<Vec<Setting>, LegacyError> {
    let mut sources = Sources::default();
    let id = sources.add(name, text);
    let document = yaml::document(id, text).map_err(|fault| LegacyError::File {
        place: fault.span.map_or_else(|| name.to_owned(), |span| sources.place(span).to_string()),
        reason: fault.message,
    })?;
    let mut all = Vec::new();
    for (path, key) in YAML_KEYS {
        let node = path.iter().try_fold(&document, |node: &Node, name| match node.list() {
            Some(list) => name.parse::<usize>().ok().and_then(|number| list.get(number)),
            None => node.get(name),
        });
        if let Some(node) = node
            && let Some(value) = node.text()
        {
            let place = sources.place(node.span);
            let place = format!("{}:{}", place.source, place.line);
            all.push(Setting { key, value: value.to_owned(), place });
        }
    }
    Ok(all)
}

/// Lines like `NAME=value`, `export NAME="value"`. Values that a shell would work out are left out.
fn of_shell(name: &str, text: &str) -> Vec<Setting> {
    let mut assignments = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let Some((variable, value)) = line.split_once('=') else { continue };
        if let Some(value) = shell_value(value) {
            assignments.push((variable.to_owned(), value, format!("{name}:{}", number + 1)));
        }
    }
    // A file that says nothing of it means packages, and so does one that says `true`.
    let is_channel =
        !assignments.iter().any(|(variable, value, _)| variable == CHANNEL && value == "false");
    let mut all = of_variables(assignments.into_iter());
    for setting in &mut all {
        if is_channel && setting.key == UPGRADE_IMAGE {
            setting.key = PACKAGE;
        }
    }
    all
}

/// One word of a shell without anything that it would work out.
fn shell_value(text: &str) -> Option<String> {
    let text = text.trim_start();
    let value = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => text.get(1..)?.split_once(quote)?.0,
        _ => text.split([' ', '\t', ';', '#']).next().unwrap_or_default(),
    };
    (!value.contains(['$', '`', '\\'])).then(|| value.to_owned())
}

fn of_environment(environment: impl Iterator<Item = (OsString, OsString)>) -> Vec<Setting> {
    of_variables(environment.filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let place = format!("the variable {name}");
        // `…_SYSTEM` and `…_SYSTEM_URI` name the same.
        let name = name.strip_suffix("_URI").map(str::to_owned).unwrap_or(name);
        Some((name, value.into_string().ok()?, place))
    }))
}

fn of_variables(assignments: impl Iterator<Item = (String, String, String)>) -> Vec<Setting> {
    assignments
        .filter(|(_, value, _)| !value.is_empty())
        .filter_map(|(name, value, place)| {
            let (_, key) = VARIABLES.iter().find(|(variable, _)| *variable == name)?;
            Some(Setting { key, value, place })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(all: &[Setting]) -> Vec<String> {
        all.iter().map(|one| format!("{}={} ({})", one.key, one.value, one.place)).collect()
    }

    #[test]
    fn only_what_decides_is_taken_with_its_line() {
        let text = "name: x\ninstall:\n  target: /dev/sda\n  firmware: efi\n  system:\n    \
                    uri: docker:registry.example/edge:1\n  cloud-init: [/oem/a.yaml]\nreboot: true\n";
        let expected = [
            "install.target=/dev/sda (c.yaml:3)",
            "install.system=docker:registry.example/edge:1 (c.yaml:6)",
            "reboot=true (c.yaml:8)",
            "install.cloud-init=/oem/a.yaml (c.yaml:7)",
        ];
        assert_eq!(said(&of_yaml("c.yaml", text).unwrap()), expected);
        assert!(of_yaml("c.yaml", "a: [").unwrap_err().to_string().contains("c.yaml:1"));
        assert_eq!(said(&of_yaml("c.yaml", "- a\n").unwrap()), Vec::<String>::new());
    }

    #[test]
    fn assignments_of_a_shell_are_read_and_never_carried_out() {
        for (text, expected) in [
            ("COS_INSTALL_DEVICE=/dev/vda", "install.target=/dev/vda (c:1)"),
            ("# x\n export COS_INSTALL_DEVICE=\"/dev/vda\" # y", "install.target=/dev/vda (c:2)"),
            ("COS_INSTALL_DEVICE='/dev/vda'", "install.target=/dev/vda (c:1)"),
            ("COS_INSTALL_DEVICE=$(id)", ""),
            ("COS_INSTALL_DEVICE=\"$X\"", ""),
            ("COS_INSTALL_DEVICE=`id`", ""),
            ("COS_INSTALL_DEVICE=", ""),
            ("OTHER=x", ""),
            ("UPGRADE_IMAGE=system/cos", "upgrade.package=system/cos (c:1)"),
            ("CHANNEL_UPGRADES=true\nUPGRADE_IMAGE=a", "upgrade.package=a (c:2)"),
            ("UPGRADE_IMAGE=a\nCHANNEL_UPGRADES=\"false\"", "upgrade.system=a (c:1)"),
            ("PERSISTENCE_RESET=true", "reset.reset-persistent=true (c:1)"),
        ] {
            assert_eq!(said(&of_shell("c", text)).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn the_environment_wins_over_files_and_the_last_file_over_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let read = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
            Settings::read(folder.path(), None, variables.collect::<Vec<_>>().into_iter()).unwrap()
        };
        assert_eq!(read(&[]), Settings::default());
        write("etc/cos/config", "COS_INSTALL_DEVICE=/dev/a\n");
        assert_eq!(read(&[]).get(TARGET).unwrap().place, "/etc/cos/config:1");
        write("etc/elemental/config.yaml", "install: {target: /dev/b}\n");
        write("etc/elemental/config.d/20.yaml", "install: {target: /dev/d}\n");
        write("etc/elemental/config.d/10.yaml", "install: {target: /dev/c}\nreboot: false\n");
        write("etc/elemental/config.d/30.txt", "install: {target: /dev/e}\n");
        assert_eq!(read(&[]).get(TARGET).unwrap().value, "/dev/d");
        assert_eq!(read(&[]).is_on(REBOOT), None);
        let with = read(&[
            ("ELEMENTAL_INSTALL_TARGET", "/dev/f"),
            ("ELEMENTAL_REBOOT", "true"),
            ("ELEMENTAL_UPGRADE_SYSTEM_URI", "oci:a"),
        ]);
        assert_eq!(with.get(TARGET).unwrap().value, "/dev/f");
        assert_eq!(with.is_on(REBOOT).unwrap().place, "the variable ELEMENTAL_REBOOT");
        assert_eq!(with.get(UPGRADE_IMAGE).unwrap().value, "oci:a");
        write("etc/elemental/config.yaml", "a: [\n");
        let failed = Settings::read(folder.path(), None, std::iter::empty()).unwrap_err();
        assert!(failed.to_string().contains("config.yaml:"), "{failed}");
    }
}
