//! Command lines for RAID arrays and encrypted volumes.
//!
//! Pure: what is wanted and what is there give a command line for the image's `mdadm` or `cryptsetup`.
//! Writing either format ourselves was dropped: the image's version will assemble it at each later boot,
//! and it alone knows which features its kernel has.

use kiln_config::storage::{Luks, Raid};

use super::filesystems::{Program, refuse_lvm};
use super::signature::Signature;
use crate::Error;

/// Bytes of a random key for a volume without a key of its own: the size of the master key that
/// `cryptsetup` chooses, so the key is not the weaker of the two.
pub(crate) const KEY_LENGTH: usize = 64;
/// What a volume with such a key is made with: the fewest rounds that `cryptsetup` takes. Slowing guesses
/// down protects words that people think of; nobody guesses 64 random bytes, and each boot would pay for it
/// with seconds and up to a gigabyte of memory.
const FAST_KEY: [&str; 2] = ["--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000"];
/// Options of a document that say the same or exclude it.
const KEY_OPTIONS: [&str; 3] = ["--pbkdf", "--iter-time", "-i"];

/// What happens to an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RaidDecision {
    /// Its members are there and belong to it; it is only assembled. Holds its UUID.
    Assemble(String),
    /// It is made.
    Create,
}

/// A device that is to be a member.
#[derive(Debug, Clone)]
pub(crate) struct Member<'a> {
    /// As the document calls it.
    pub(crate) device: &'a str,
    /// What it holds.
    pub(crate) found: Option<Signature>,
    /// Whether an attempt which did not finish has made what is there, or the partition itself.
    pub(crate) ours: bool,
}

/// Decides about an array.
///
/// # Errors
/// [`Error::Occupied`] where a member holds something and is not a left-over of ours; no key of any
/// dialect says that an array may be wiped, so the operator has to.
pub(crate) fn raid(wanted: &Raid, members: &[Member<'_>]) -> Result<RaidDecision, Error> {
    let is_it = |member: &Member<'_>| match &member.found {
        Some(found) if found.format == "linux_raid_member" && !member.ours => {
            let name = found.label.rsplit(':').next().unwrap_or_default();
            (name == wanted.name && !found.uuid.is_empty()).then(|| found.uuid.clone())
        }
        _ => None,
    };
    let present: Vec<Option<String>> = members.iter().map(is_it).collect();
    if let Some(Some(first)) = present.first()
        && present.iter().all(|uuid| uuid.as_ref() == Some(first))
    {
        return Ok(RaidDecision::Assemble(first.clone()));
    }
    for member in members {
        let Some(found) = member.found.as_ref().filter(|_| !member.ours) else { continue };
        refuse_lvm(member.device, found)?;
        return Err(Error::Occupied {
            device: member.device.to_owned(),
            found: found.format.to_owned(),
            wanted: format!("a new member of the array `{}`", wanted.name),
        });
    }
    Ok(RaidDecision::Create)
}

/// The command that makes an array of these nodes. With `uuid` an attempt knows its own again.
pub(crate) fn raid_create(wanted: &Raid, nodes: &[String], uuid: &str) -> Program {
    let mut arguments = vec![
        "--create".to_owned(),
        format!("/dev/md/{}", wanted.name),
        "--force".to_owned(),
        "--run".to_owned(),
        // A foreign host name in the array would keep udev from giving it its plain name.
        "--homehost=any".to_owned(),
        format!("--uuid={uuid}"),
        format!("--level={}", wanted.level),
        format!("--raid-devices={}", wanted.devices.len().saturating_sub(wanted.spares as usize)),
    ];
    if wanted.spares > 0 {
        arguments.push(format!("--spare-devices={}", wanted.spares));
    }
    arguments.extend(wanted.options.iter().cloned());
    arguments.extend(nodes.iter().cloned());
    Program { names: &["mdadm"], arguments }
}

/// The command that assembles an array. A disk that is missing is no reason to leave it alone: that is
/// what an array is for.
pub(crate) fn raid_assemble(name: &str, uuid: &str) -> Program {
    let arguments = ["--assemble", "--run", "--config=partitions"].map(str::to_owned);
    let own = [format!("/dev/md/{name}"), format!("--uuid={uuid}")];
    Program { names: &["mdadm"], arguments: arguments.into_iter().chain(own).collect() }
}

/// The command that starts an array whose members were collected and are not complete.
pub(crate) fn raid_start(node: &str) -> Program {
    Program { names: &["mdadm"], arguments: vec!["--run".to_owned(), node.to_owned()] }
}

/// The kernel's module for a level as mdadm(8) names it.
pub(crate) fn module(level: &str) -> &'static str {
    match level {
        "raid0" | "stripe" | "0" => "raid0",
        "raid1" | "mirror" | "1" => "raid1",
        "raid10" | "10" => "raid10",
        "linear" => "linear",
        _ => "raid456",
    }
}

/// The identity of an array as mdadm(8) writes it.
pub(crate) fn raid_identity(random: [u8; 16]) -> String {
    let word =
        |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    random.chunks(4).map(word).collect::<Vec<_>>().join(":")
}

/// What happens to an encrypted volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LuksDecision {
    /// It is there; it is only opened.
    Open,
    /// It is made and opened.
    Format,
}

/// Decides about an encrypted volume.
///
/// # Errors
/// [`Error::Occupied`] where something else is there and was not to be wiped.
pub(crate) fn luks(
    wanted: &Luks,
    found: Option<&Signature>,
    ours: bool,
) -> Result<LuksDecision, Error> {
    let Some(found) = found else { return Ok(LuksDecision::Format) };
    if wanted.wipe || ours {
        return Ok(LuksDecision::Format);
    }
    refuse_lvm(&wanted.device, found)?;
    let is =
        |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|text| text == found);
    if found.format == "crypto_LUKS"
        && is(&wanted.label, &found.label)
        && is(&wanted.uuid, &found.uuid)
    {
        return Ok(LuksDecision::Open);
    }
    Err(Error::Occupied {
        device: wanted.device.clone(),
        found: found.format.to_owned(),
        wanted: format!("the encrypted volume `{}`", wanted.name),
    })
}

/// The command that makes an encrypted volume on `node` with the key in `key_file`.
pub(crate) fn luks_format(wanted: &Luks, node: &str, key_file: &str, uuid: &str) -> Program {
    let mut arguments = vec![
        "luksFormat".to_owned(),
        "--batch-mode".to_owned(),
        "--type=luks2".to_owned(),
        format!("--key-file={key_file}"),
        format!("--uuid={uuid}"),
    ];
    arguments.extend(wanted.label.as_ref().map(|label| format!("--label={label}")));
    let decides = |option: &String| KEY_OPTIONS.iter().any(|known| option.starts_with(known));
    if wanted.key.is_none() && !wanted.options.iter().any(decides) {
        arguments.extend(FAST_KEY.map(str::to_owned));
    }
    arguments.extend(wanted.options.iter().cloned());
    arguments.push(node.to_owned());
    Program { names: &["cryptsetup"], arguments }
}

/// Options for opening a volume that the document asks for. LUKS2 keeps them in its header, so later
/// boots need only the key.
pub(crate) fn open_options(wanted: &Luks) -> Vec<String> {
    let mut options = Vec::new();
    if wanted.discard {
        options.push("--allow-discards".to_owned());
    }
    options.extend(wanted.open_options.iter().cloned());
    if !options.is_empty() {
        options.push("--persistent".to_owned());
    }
    options
}

/// The command that opens an encrypted volume.
pub(crate) fn luks_open(name: &str, node: &str, key_file: &str, options: &[String]) -> Program {
    let mut arguments = vec!["luksOpen".to_owned(), format!("--key-file={key_file}")];
    arguments.extend(options.iter().cloned());
    arguments.extend([node.to_owned(), name.to_owned()]);
    Program { names: &["cryptsetup"], arguments }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(format: &'static str) -> Signature {
        Signature { format, label: String::new(), uuid: String::new() }
    }

    #[test]
    fn an_array_counts_its_spares_and_spares_what_is_there() {
        let wanted = Raid {
            name: "data".into(),
            level: "raid1".into(),
            devices: vec!["/dev/a".into(), "/dev/b".into(), "/dev/c".into()],
            spares: 1,
            options: vec!["--chunk=64".into()],
        };
        let nodes = wanted.devices.clone();
        let line = raid_create(&wanted, &nodes, "u:u").arguments.join(" ");
        assert_eq!(
            line,
            "--create /dev/md/data --force --run --homehost=any --uuid=u:u --level=raid1 \
             --raid-devices=2 --spare-devices=1 --chunk=64 /dev/a /dev/b /dev/c"
        );
        let raid_member = |name: &str, uuid: &str| Signature {
            label: name.into(),
            uuid: uuid.into(),
            ..signature("linux_raid_member")
        };
        let own = raid_member("any:data", "1:2");
        for (found, ours, expected) in [
            ([None, None, None], false, "create"),
            ([Some(signature("xfs")), None, None], false, "xfs"),
            ([None, Some(signature("xfs")), None], true, "create"),
            ([Some(own.clone()), Some(own.clone()), Some(own.clone())], false, "assemble 1:2"),
            ([Some(own.clone()), Some(own.clone()), Some(own.clone())], true, "create"),
            // A foreign array, or a disk of one, is nobody's to overwrite.
            ([Some(own.clone()), Some(own.clone()), None], false, "linux_raid_member"),
            ([Some(own.clone()), Some(own), Some(raid_member("data", "3:4"))], false, "holds"),
            ([Some(raid_member("h:other", "1:2")), None, None], false, "holds"),
            ([None, None, Some(signature("LVM2_member"))], false, "LVM"),
        ] {
            let members: Vec<Member<'_>> = nodes
                .iter()
                .zip(&found)
                .map(|(device, found)| Member { device, found: found.clone(), ours })
                .collect();
            let text = match raid(&wanted, &members) {
                Ok(RaidDecision::Create) => "create".to_owned(),
                Ok(RaidDecision::Assemble(uuid)) => format!("assemble {uuid}"),
                Err(error) => error.to_string(),
            };
            assert!(text.contains(expected), "{found:?}: {text}");
        }
        assert_eq!(raid_identity([0xab; 16]), "abababab:abababab:abababab:abababab");
        assert_eq!(
            raid_assemble("data", "1:2").arguments.join(" "),
            "--assemble --run --config=partitions /dev/md/data --uuid=1:2"
        );
    }

    #[test]
    fn an_encrypted_volume_is_made_once_and_opened_ever_after() {
        let wanted = Luks {
            name: "vault".into(),
            device: "/dev/vdb1".into(),
            key: None,
            label: Some("v".into()),
            uuid: None,
            options: vec!["--pbkdf=pbkdf2".into()],
            open_options: vec!["--perf-no_read_workqueue".into()],
            discard: true,
            wipe: false,
        };
        let own = Signature { label: "v".into(), ..signature("crypto_LUKS") };
        for (found, ours, expected) in [
            (None, false, Some(LuksDecision::Format)),
            (Some(&own), false, Some(LuksDecision::Open)),
            (Some(&own), true, Some(LuksDecision::Format)),
            (Some(&signature("crypto_LUKS")), false, None),
            (Some(&signature("ext4")), false, None),
        ] {
            assert_eq!(luks(&wanted, found, ours).ok(), expected, "{found:?}");
        }
        assert_eq!(
            luks_format(&wanted, "/dev/vdb1", "/k", "u-u").arguments.join(" "),
            "luksFormat --batch-mode --type=luks2 --key-file=/k --uuid=u-u --label=v \
             --pbkdf=pbkdf2 /dev/vdb1"
        );
        // A key that the machine draws needs no stretching, unless the document says how.
        let fast = "--pbkdf=pbkdf2 --pbkdf-force-iterations=1000";
        for (key, option, expected) in [
            (None, "--cipher=aes-xts-plain64", true),
            (Some("words"), "--cipher=aes-xts-plain64", false),
            (None, "--pbkdf=argon2id", false),
            (None, "--iter-time=1", false),
        ] {
            let key = key.map(kiln_config::action::Contents::bytes);
            let drawn = Luks { key, options: vec![option.into()], ..wanted.clone() };
            let line = luks_format(&drawn, "/dev/vdb1", "/k", "u").arguments.join(" ");
            assert_eq!(line.contains(fast), expected, "{line}");
        }
        assert_eq!(
            luks_open("vault", "/dev/vdb1", "/k", &open_options(&wanted)).arguments.join(" "),
            "luksOpen --key-file=/k --allow-discards --perf-no_read_workqueue --persistent /dev/vdb1 vault"
        );
        let plain = Luks { discard: false, open_options: Vec::new(), ..wanted };
        assert_eq!(open_options(&plain), Vec::<String>::new());
    }
}
