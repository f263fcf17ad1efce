//! A volume that is mounted at each boot, checked.

use super::MountPath;

/// How a device may be named, mount(8).
const DEVICES: [&str; 5] = ["LABEL=", "UUID=", "PARTLABEL=", "PARTUUID=", "/dev/"];
/// Longest name of a device in bytes; labels of file systems end at 255.
const DEVICE_MAXIMUM: usize = 300;
/// Longest name of a file system in bytes; the kernel's longest are half of it.
const FORMAT_MAXIMUM: usize = 32;
/// Longest options together in bytes: mount(2) takes a page of them.
const OPTIONS_MAXIMUM: usize = 2048;
/// Folders of the state in Elemental's words: a device by label or by name in the table, and the folder.
const STATE: [(&str, &str); 4] = [
    ("LABEL=COS_PERSISTENT", ""),
    ("PARTLABEL=persistent", ""),
    ("LABEL=COS_OEM", "oem"),
    ("PARTLABEL=oem", "oem"),
];

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    device: String,
    path: MountPath,
    format: Option<String>,
    options: Vec<String>,
}

impl Volume {
    /// Checks a volume. An option with commas is several.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn new(
        device: &str,
        path: MountPath,
        format: Option<&str>,
        options: &[&str],
    ) -> Result<Self, &'static str> {
        let is_plain = |text: &str| !text.chars().any(char::is_control);
        let names = DEVICES.iter().find_map(|start| device.strip_prefix(start));
        if names.is_none_or(str::is_empty) || !is_plain(device) || device.len() > DEVICE_MAXIMUM {
            return Err("it names no device");
        }
        if path.as_str() == "/etc" {
            return Err("the machine's identity is in `/etc` before there are volumes");
        }
        let leads_out = |path: &str| path.split('/').any(|name| name == "..");
        if device.starts_with("/dev/") && leads_out(device) {
            return Err("its device leads upwards");
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let format = format.filter(|format| !matches!(*format, "" | "auto"));
        if format.is_some_and(|name| name.len() > FORMAT_MAXIMUM || !name.bytes().all(is_word)) {
            return Err("its file system has no name of one");
        }
        let options: Vec<String> = options
            .iter()
            .flat_map(|option| option.split(','))
            .map(str::trim)
            .filter(|option| !matches!(*option, "" | "defaults"))
            .map(str::to_owned)
            .collect();
        let length: usize = options.iter().map(|option| option.len().saturating_add(1)).sum();
        if length > OPTIONS_MAXIMUM || !options.iter().all(|option| is_plain(option)) {
            return Err("its options cannot be used");
        }
        let format = format.map(str::to_owned);
        Ok(Self { device: device.to_owned(), path, format, options })
    }

    /// `LABEL=`, `UUID=`, `PARTLABEL=`, `PARTUUID=` or a path below `/dev`.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &MountPath {
        &self.path
    }

    /// Its file system; nothing finds out.
    #[must_use]
    pub fn format(&self) -> Option<&str> {
        self.format.as_deref()
    }

    /// mount(8) options.
    #[must_use]
    pub fn options(&self) -> &[String] {
        &self.options
    }

    /// Whether a boot goes on without it, mount(8) and systemd.mount(5).
    #[must_use]
    pub fn may_be_missing(&self) -> bool {
        self.options.iter().any(|option| matches!(option.as_str(), "nofail" | "noauto"))
    }

    /// The folder of the state that the device stands for in Elemental's words, from the state's root
    /// (empty for the root itself): it is mounted already, and is shown at the path by a bind.
    #[must_use]
    pub fn state_folder(&self) -> Option<&'static str> {
        state_folder(&self.device)
    }
}

/// The folder of the state that a device stands for in Elemental's words.
#[must_use]
pub fn state_folder(device: &str) -> Option<&'static str> {
    STATE.iter().find(|(name, _)| *name == device).map(|(_, folder)| *folder)
}

#[cfg(test)]
mod tests {
    use super::{Volume, state_folder};
    use crate::mounts::MountPath;

    #[test]
    fn volumes_are_checked() {
        let path = MountPath::new("/data").unwrap();
        let long = format!("/dev/{}", "x".repeat(300));
        for (device, format, options, expected) in [
            ("LABEL=DATA", None, "", Ok("")),
            ("/dev/disk/by-id/x", Some("ext4"), "ro,noatime, nofail", Ok("ro,noatime,nofail")),
            ("UUID=1-2", Some("auto"), "defaults", Ok("")),
            ("LABEL=", None, "", Err("no device")),
            ("tmpfs", None, "", Err("no device")),
            ("LABEL=a\nb", None, "", Err("no device")),
            (&long, None, "", Err("no device")),
            ("/dev/../etc/shadow", None, "", Err("upwards")),
            ("LABEL=x", Some("ext4 x"), "", Err("file system")),
            ("LABEL=x", None, "a\tb", Err("options")),
        ] {
            match (Volume::new(device, path.clone(), format, &[options]), expected) {
                (Ok(volume), Ok(options)) => assert_eq!(volume.options().join(","), options),
                (Err(reason), Err(word)) => assert!(reason.contains(word), "{device}: {reason}"),
                (found, _) => panic!("{device}: {found:?}"),
            }
        }
        let etc = MountPath::new("/etc").unwrap();
        assert!(Volume::new("LABEL=x", etc, None, &[]).unwrap_err().contains("identity"));
        assert_eq!(state_folder("LABEL=COS_PERSISTENT"), Some(""));
        assert_eq!(state_folder("PARTLABEL=oem"), Some("oem"));
        assert_eq!(state_folder("LABEL=COS_STATE"), None);
    }
}
