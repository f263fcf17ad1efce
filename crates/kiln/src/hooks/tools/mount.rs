//! What a call of mount(8) means on Kiln's layout.
//!
//! Hooks of Elemental's users name partitions of another layout: the fifth was the persistent one, mounted
//! at `/var`. On Kiln's disk the fifth is the state, in which `/var` is one folder. So what is the state by
//! one of its names is shown by that folder where `/var` is meant, by `oem` for Elemental's COS_OEM, and
//! else as a whole. Everything that is not the state is none of this file's business.

/// Options of mount(8) whose value is a word of its own.
const VALUES: [&str; 12] = [
    "-t",
    "-o",
    "-O",
    "-T",
    "-N",
    "--types",
    "--options",
    "--test-opts",
    "--fstab",
    "--namespace",
    "--options-mode",
    "--options-source",
];
/// Names of the whole state, beside the nodes of its partition.
const STATES: [&str; 10] = [
    "LABEL=kiln-state",
    "PARTLABEL=kiln-state",
    "/dev/disk/by-label/kiln-state",
    "/dev/disk/by-partlabel/kiln-state",
    "LABEL=COS_PERSISTENT",
    "PARTLABEL=persistent",
    "/dev/disk/by-label/COS_PERSISTENT",
    "/dev/disk/by-partlabel/persistent",
    "LABEL=COS_STATE",
    "/dev/disk/by-label/COS_STATE",
];
/// Names of its folder for configuration.
const OEM: [&str; 4] =
    ["LABEL=COS_OEM", "PARTLABEL=oem", "/dev/disk/by-label/COS_OEM", "/dev/disk/by-partlabel/oem"];
/// Among the devices: the fifth partition of whatever disk, for a target that is a file and so has no
/// name that a hook could know.
pub(in crate::hooks) const ANY_FIFTH: &str = "*5";

/// What is known of the new system.
#[derive(Debug, Clone, Default)]
pub(super) struct Known<'a> {
    /// Where its state is.
    pub(super) state: Option<String>,
    /// Where its `/var` is.
    pub(super) var: Option<String>,
    /// Nodes of the partition with the state.
    pub(super) devices: Vec<&'a str>,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// What was asked for.
    PassOn,
    /// A folder is shown at another place.
    Show { source: String, target: String, why: String },
}

/// Understands a call.
pub(super) fn wish(words: &[String], known: &Known<'_>) -> Wish {
    let (Some(state), Some((source, target))) = (&known.state, subject(words)) else {
        return Wish::PassOn;
    };
    let target = match target.trim_end_matches('/') {
        "" => "/",
        target => target,
    };
    let is_oem = OEM.contains(&source.as_str());
    let is_state = STATES.contains(&source.as_str())
        || known.devices.iter().any(|device| *device == source)
        || known.devices.contains(&ANY_FIFTH) && is_fifth(&source);
    if !is_oem && !is_state {
        return Wish::PassOn;
    }
    let (from, what) = match target {
        _ if is_oem => (format!("{state}/oem"), "its folder oem is"),
        "/var" => {
            (known.var.clone().unwrap_or_else(|| format!("{state}/var")), "its folder var is")
        }
        _ => (state.clone(), "all of it is"),
    };
    let why = format!("{source} is Kiln's state; {what} shown at {target}");
    Wish::Show { source: from, target: target.to_owned(), why }
}

/// What is to be mounted and where; nothing for calls without both.
fn subject(words: &[String]) -> Option<(String, String)> {
    let (mut source, mut target, mut plain) = (None, None, Vec::new());
    let mut rest = words.iter().map(String::as_str);
    while let Some(word) = rest.next() {
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value)),
            _ => (word, None),
        };
        let mut value = |kind: &str| {
            let value = attached.or_else(|| rest.next());
            value.map(|value| format!("{kind}{value}"))
        };
        match name {
            // What is mounted already is shown elsewhere.
            "-B" | "-R" | "-M" | "--bind" | "--rbind" | "--move" => return None,
            "-L" | "--label" => source = value("LABEL="),
            "-U" | "--uuid" => source = value("UUID="),
            "--source" => source = value(""),
            "--target" => target = value(""),
            _ if VALUES.contains(&name) => drop(value("")),
            _ if word.starts_with('-') => {}
            _ => plain.push(word.to_owned()),
        }
    }
    let mut plain = plain.into_iter();
    let source = source.or_else(|| plain.next())?;
    let target = target.or_else(|| plain.next())?;
    Some((unquoted(&source), target))
}

/// Tags may be written in quotes (fstab(5)).
fn unquoted(source: &str) -> String {
    source.chars().filter(|letter| *letter != '"').collect()
}

/// Whether a node has the name of a fifth partition.
fn is_fifth(node: &str) -> bool {
    let Some(name) = node.strip_prefix("/dev/").and_then(|name| name.strip_suffix('5')) else {
        return false;
    };
    let is_lettered = |name: &str| {
        let starts = ["sd", "vd", "hd", "xvd"];
        starts
            .iter()
            .filter_map(|start| name.strip_prefix(start))
            .any(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase()))
    };
    let is_numbered = |name: &str| {
        name.strip_suffix('p').is_some_and(|name| {
            (name.starts_with("nvme") || name.starts_with("mmcblk"))
                && name.ends_with(|letter: char| letter.is_ascii_digit())
        })
    };
    is_lettered(name) || is_numbered(name)
}

#[cfg(test)]
mod tests {
    use super::{ANY_FIFTH, Known, Wish, is_fifth, wish};

    #[test]
    fn the_state_is_shown_by_the_folder_that_is_meant() {
        let known = Known {
            state: Some("/s".into()),
            var: Some("/v".into()),
            devices: vec!["/dev/sda5", "/dev/disk/by-id/x-part5"],
        };
        for (call, expected) in [
            ("/dev/sda5 /var", "/v /var"),
            ("/dev/sda5 /var/", "/v /var"),
            ("-t ext4 -o rw,noatime /dev/sda5 /var", "/v /var"),
            ("--types=ext4 /dev/sda5 -v /var", "/v /var"),
            ("-L COS_PERSISTENT /var", "/v /var"),
            ("--label=COS_PERSISTENT /usr/local", "/s /usr/local"),
            ("LABEL=\"COS_OEM\" /oem", "/s/oem /oem"),
            ("/dev/disk/by-label/COS_OEM /mnt", "/s/oem /mnt"),
            ("/dev/disk/by-id/x-part5 /mnt", "/s /mnt"),
            ("--source /dev/sda5 --target /var", "/v /var"),
            ("PARTLABEL=kiln-state /", "/s /"),
            ("/dev/sda2 /boot", "-"),
            ("/dev/sdb5 /var", "-"),
            ("--bind /dev/sda5 /var", "-"),
            ("-t tmpfs tmpfs /var", "-"),
            ("/dev/sda5", "-"),
            ("", "-"),
            ("-o", "-"),
        ] {
            let words: Vec<String> = call.split_whitespace().map(str::to_owned).collect();
            let found = match wish(&words, &known) {
                Wish::PassOn => "-".to_owned(),
                Wish::Show { source, target, why } => {
                    assert!(why.contains("is Kiln's state"), "{why}");
                    format!("{source} {target}")
                }
            };
            assert_eq!(found, expected, "{call}");
            assert_eq!(wish(&words, &Known { state: None, ..known.clone() }), Wish::PassOn);
        }
    }

    #[test]
    fn of_a_file_every_fifth_partition_is_meant() {
        let known = Known { state: Some("/s".into()), var: None, devices: vec![ANY_FIFTH] };
        let words = ["/dev/vdb5", "/var"].map(str::to_owned);
        assert!(matches!(wish(&words, &known), Wish::Show { source, .. } if source == "/s/var"));
        for (node, expected) in [
            ("/dev/sda5", true),
            ("/dev/nvme0n1p5", true),
            ("/dev/mmcblk0p5", true),
            ("/dev/sda15", false),
            ("/dev/nvme0n15", false),
            ("/dev/loop5", false),
            ("/dev/sd5", false),
            ("sda5", false),
        ] {
            assert_eq!(is_fifth(node), expected, "{node}");
        }
    }
}
