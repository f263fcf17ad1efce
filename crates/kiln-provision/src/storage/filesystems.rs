//! Whether a file system is made, and by which program.
//!
//! Pure: what the device holds and what is wanted give a decision, and a decision gives a command line.
//! What is there and was not asked to be wiped is kept when it is what was wanted, and refused when it
//! is not; it is overwritten only if an earlier attempt of the same provisioning, which was cut off, made
//! it. The programs are the image's own, for the reason that `kiln_init::tools` gives.

use kiln_config::storage::Filesystem;

use super::signature::Signature;
use crate::Error;

/// What happens to a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is there and is what was wanted.
    Keep,
    /// It is made.
    Make,
    /// Nothing is wanted of the device but its place.
    Leave,
}

/// A program of the image with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// Names under which it may be found, the first that is there is taken.
    pub(crate) names: &'static [&'static str],
    /// Arguments.
    pub(crate) arguments: Vec<String>,
}

/// Decides about one file system. `ours` says that an attempt which did not finish has made what is there.
///
/// # Errors
/// [`Error::Occupied`] where something else is there and was not to be wiped.
pub(crate) fn decide(
    wanted: &Filesystem,
    found: Option<&Signature>,
    ours: bool,
) -> Result<Decision, Error> {
    let format = match wanted.format.as_deref() {
        None | Some("" | "none") => return Ok(Decision::Leave),
        Some(format) => format,
    };
    let Some(found) = found else { return Ok(Decision::Make) };
    if wanted.wipe || ours {
        return Ok(Decision::Make);
    }
    refuse_lvm(&wanted.device, found)?;
    let same = |wanted: &Option<String>, found: &str| {
        wanted.as_deref().is_none_or(|text| text.is_empty() || text.eq_ignore_ascii_case(found))
    };
    let is_label =
        wanted.label.as_deref().is_none_or(|label| label.is_empty() || label == found.label);
    if found.format == format && is_label && same(&wanted.uuid, &found.uuid) {
        return Ok(Decision::Keep);
    }
    Err(Error::Occupied {
        device: wanted.device.clone(),
        found: describe(found.format, &found.label, &found.uuid),
        wanted: describe(
            format,
            wanted.label.as_deref().unwrap_or_default(),
            wanted.uuid.as_deref().unwrap_or_default(),
        ),
    })
}

/// Refuses a physical volume of LVM by its name: no operation makes or opens one.
///
/// # Errors
/// [`Error::Lvm`].
pub(crate) fn refuse_lvm(device: &str, found: &Signature) -> Result<(), Error> {
    if found.format == "LVM2_member" {
        return Err(Error::Lvm { device: device.to_owned() });
    }
    Ok(())
}

/// The form in which a file system keeps an identity of 16 random bytes.
pub(crate) fn identity(format: &str, random: kiln_disk::Guid) -> String {
    let text = random.to_string();
    match format {
        "vfat" => format!("{}-{}", text.get(..4).unwrap_or("0"), text.get(4..8).unwrap_or("1")),
        _ => text,
    }
}

fn describe(format: &str, label: &str, uuid: &str) -> String {
    let mut text = format.to_owned();
    for (name, value) in [("label", label), ("UUID", uuid)] {
        if !value.is_empty() {
            text.push_str(&format!(", {name} `{value}`"));
        }
    }
    text
}

/// The command that makes a file system on `node`. Each format forces: what may be there was judged
/// by [`decide`], and the programs would ask a person who is not there.
///
/// # Errors
/// [`Error::Format`] for a format that nobody makes.
pub(crate) fn program(wanted: &Filesystem, node: &str) -> Result<Program, Error> {
    let format = wanted.format.as_deref().unwrap_or_default();
    let (names, force, uuid, label): (&'static [&'static str], &[&str], &str, &str) = match format {
        "ext4" => (&["mkfs.ext4", "mke2fs"], &["-F", "-q", "-t", "ext4"], "-U", "-L"),
        "ext3" => (&["mkfs.ext3", "mke2fs"], &["-F", "-q", "-t", "ext3"], "-U", "-L"),
        "ext2" => (&["mkfs.ext2", "mke2fs"], &["-F", "-q", "-t", "ext2"], "-U", "-L"),
        "btrfs" => (&["mkfs.btrfs"], &["--force", "--quiet"], "-U", "-L"),
        "xfs" => (&["mkfs.xfs"], &["-f", "-q"], "-m", "-L"),
        "swap" => (&["mkswap"], &["--force"], "-U", "-L"),
        // Also on a whole disk.
        "vfat" => (&["mkfs.vfat", "mkfs.fat", "mkdosfs"], &["-I"], "-i", "-n"),
        _ => {
            return Err(Error::Format { device: wanted.device.clone(), format: format.to_owned() });
        }
    };
    let mut arguments: Vec<String> = force.iter().map(|&argument| argument.to_owned()).collect();
    if let Some(text) = wanted.uuid.as_deref().filter(|text| !text.is_empty()) {
        let value = match format {
            "xfs" => format!("uuid={text}"),
            // A volume number of eight digits, without the dash in which it is shown.
            "vfat" => text.replace('-', ""),
            _ => text.to_owned(),
        };
        arguments.extend([uuid.to_owned(), value]);
    }
    if let Some(text) = wanted.label.as_deref().filter(|text| !text.is_empty()) {
        arguments.extend([label.to_owned(), text.to_owned()]);
    }
    arguments.extend(wanted.options.iter().cloned());
    arguments.push(node.to_owned());
    Ok(Program { names, arguments })
}

#[cfg(test)]
mod tests {
    use super::{Decision, decide, program};
    use crate::storage::signature::Signature;
    use kiln_config::storage::Filesystem;

    fn wanted(format: &str, label: &str, wipe: bool) -> Filesystem {
        Filesystem {
            device: "/dev/vdb1".into(),
            format: (!format.is_empty()).then(|| format.into()),
            label: (!label.is_empty()).then(|| label.into()),
            wipe,
            ..Filesystem::default()
        }
    }

    #[test]
    fn what_is_there_is_never_lost_without_being_asked() {
        let ext4 = Signature { format: "ext4", label: "data".into(), uuid: "u".into() };
        let lvm = Signature { format: "LVM2_member", ..ext4.clone() };
        let luks = Signature { format: "crypto_LUKS", label: String::new(), uuid: String::new() };
        for (wanted, found, ours, expected) in [
            (wanted("ext4", "data", false), None, false, Some(Decision::Make)),
            (wanted("ext4", "data", false), Some(&ext4), false, Some(Decision::Keep)),
            (wanted("ext4", "", false), Some(&ext4), false, Some(Decision::Keep)),
            (wanted("ext4", "other", false), Some(&ext4), false, None),
            (wanted("xfs", "data", false), Some(&ext4), false, None),
            (wanted("ext4", "data", false), Some(&luks), false, None),
            (wanted("ext4", "data", true), Some(&luks), false, Some(Decision::Make)),
            (wanted("ext4", "data", true), Some(&lvm), false, Some(Decision::Make)),
            (wanted("ext4", "other", false), Some(&ext4), true, Some(Decision::Make)),
            (wanted("none", "", true), Some(&ext4), false, Some(Decision::Leave)),
            (wanted("", "", false), Some(&ext4), false, Some(Decision::Leave)),
        ] {
            let result = decide(&wanted, found, ours);
            assert_eq!(
                result.as_ref().ok(),
                expected.as_ref(),
                "{wanted:?} over {found:?}: {result:?}"
            );
        }
        let refused = decide(&wanted("ext4", "", false), Some(&lvm), false).unwrap_err();
        assert!(refused.to_string().contains("LVM"), "{refused}");
        let message =
            decide(&wanted("xfs", "", false), Some(&ext4), false).unwrap_err().to_string();
        assert!(
            message.contains("/dev/vdb1") && message.contains("ext4, label `data`"),
            "{message}"
        );
    }

    #[test]
    fn each_format_has_its_own_words() {
        let full = |format: &str| Filesystem {
            uuid: Some("12ab-34cd".into()),
            options: vec!["-X".into()],
            ..wanted(format, "name", true)
        };
        for (format, first, line) in [
            ("ext4", "mkfs.ext4", "-F -q -t ext4 -U 12ab-34cd -L name -X /dev/n"),
            ("btrfs", "mkfs.btrfs", "--force --quiet -U 12ab-34cd -L name -X /dev/n"),
            ("xfs", "mkfs.xfs", "-f -q -m uuid=12ab-34cd -L name -X /dev/n"),
            ("swap", "mkswap", "--force -U 12ab-34cd -L name -X /dev/n"),
            ("ext2", "mkfs.ext2", "-F -q -t ext2 -U 12ab-34cd -L name -X /dev/n"),
            ("vfat", "mkfs.vfat", "-I -i 12ab34cd -n name -X /dev/n"),
        ] {
            let made = program(&full(format), "/dev/n").unwrap();
            assert_eq!((made.names[0], made.arguments.join(" ").as_str()), (first, line));
        }
        assert!(program(&full("zfs"), "/dev/n").is_err());
    }
}
