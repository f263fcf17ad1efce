//! Which disk is meant: a pure rule over facts, so that every refusal can be tested without disks.
//!
//! A disk is named (path, by-id name, serial number) or described (its size, or as the only one). A
//! description never picks one of several: what cannot be told apart is listed and refused. A
//! description also leaves out what nobody means by "the disk" of a machine: removable and read-only
//! ones, those in use, and devices that are made of others. Whoever wants one of these names it.

use std::path::PathBuf;
use std::str::FromStr;

use kiln_build::{format_size, parse_size};

use crate::Error;

/// What is known of a disk before it is opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskFacts {
    /// Name in sysfs: `nvme0n1`, `mmcblk0`, `dm-0`, `sda`.
    pub name: String,
    /// Device node: `/dev/nvme0n1`, `/dev/mapper/x`.
    pub node: String,
    /// Length in bytes.
    pub length: u64,
    /// Bytes per logical sector.
    pub sector_size: u32,
    /// Whether it refuses writes.
    pub is_read_only: bool,
    /// Whether it is a stick or a card.
    pub is_removable: bool,
    /// Whether it is made of other devices or of memory: device mapper, RAID, loop.
    pub is_stacked: bool,
    /// The maker's name for it.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Names below `/dev/disk/by-id` and other links in `/dev` that lead to it.
    pub links: Vec<String>,
    /// Nodes of its partitions.
    pub partitions: Vec<String>,
    /// Why it must not be written: `/dev/vda3 is mounted at /home`.
    pub uses: Vec<String>,
}

/// How somebody says which disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A node or a link to one: `/dev/vda`, `/dev/disk/by-id/…`.
    Node(String),
    /// `id:NAME`: a name below `/dev/disk/by-id`.
    Id(String),
    /// `serial:NUMBER`.
    Serial(String),
    /// `size:>=100G`, with `<`, `<=`, `>`, `>=`, `=`: the one disk of which it is true.
    Size(Comparison, u64),
    /// `smallest` or `largest` of all that would do.
    Extreme(Extreme),
    /// `only`: the one disk that would do.
    Only,
    /// `file:PATH`: a disk image.
    File(PathBuf),
}

/// How lengths are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `=`
    Equal,
    /// `>=`
    AtLeast,
    /// `>`
    Greater,
}

/// Which end of the order by length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extreme {
    /// The shortest disk.
    Smallest,
    /// The longest disk.
    Largest,
}

/// Signs with what they mean; longer ones first.
const SIGNS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
];

impl Comparison {
    fn holds(self, length: u64, bound: u64) -> bool {
        match self {
            Self::Less => length < bound,
            Self::AtMost => length <= bound,
            Self::Equal => length == bound,
            Self::AtLeast => length >= bound,
            Self::Greater => length > bound,
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let present = |rest: &str| {
            if rest.is_empty() {
                Err(format!("`{text}` names nothing"))
            } else {
                Ok(rest.to_owned())
            }
        };
        if text.starts_with("/dev/") {
            return Ok(Self::Node(text.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("id:") {
            return present(rest).map(Self::Id);
        }
        if let Some(rest) = text.strip_prefix("serial:") {
            return present(rest).map(Self::Serial);
        }
        if let Some(rest) = text.strip_prefix("file:") {
            return present(rest).map(|path| Self::File(path.into()));
        }
        if let Some(rest) = text.strip_prefix("size:") {
            let sign = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign));
            let (sign, comparison) =
                sign.ok_or_else(|| format!("`{text}` has none of <, <=, =, >=, > behind `size:`"))?;
            let bound = rest.strip_prefix(sign).unwrap_or_default().trim();
            return parse_size(bound).map(|bound| Self::Size(*comparison, bound));
        }
        match text {
            "only" => Ok(Self::Only),
            "smallest" => Ok(Self::Extreme(Extreme::Smallest)),
            "largest" => Ok(Self::Extreme(Extreme::Largest)),
            _ => Err(format!(
                "`{text}` is no disk; write /dev/NAME, id:NAME, serial:NUMBER, size:>=100G, \
                 smallest, largest, only or file:PATH"
            )),
        }
    }
}

/// The disk that is meant and may be written. `needed` is the least length in bytes that would do.
///
/// # Errors
/// [`Error::Refused`] that names the disk and the reason, or all disks that could be meant.
pub fn choose<'d>(
    disks: &'d [DiskFacts],
    target: &Target,
    needed: u64,
) -> Result<&'d DiskFacts, Error> {
    let named = match target {
        Target::Node(node) => Some(by_node(disks, node)?),
        Target::Id(id) => {
            let link = format!("/dev/disk/by-id/{id}");
            Some(only_named(disks, &format!("id `{id}`"), |disk| disk.links.contains(&link))?)
        }
        Target::Serial(serial) => Some(only_named(disks, &format!("serial `{serial}`"), |disk| {
            disk.serial.as_ref() == Some(serial)
        })?),
        Target::File(path) => {
            let reason = format!("{} is a file and no disk of this machine", path.display());
            return Err(refuse(reason, "it is opened by its path"));
        }
        Target::Size(..) | Target::Extreme(_) | Target::Only => None,
    };
    if let Some(disk) = named {
        return check(disk, needed).map(|()| disk);
    }
    described(disks, target, needed)
}

fn by_node<'d>(disks: &'d [DiskFacts], node: &str) -> Result<&'d DiskFacts, Error> {
    let is_it = |disk: &&DiskFacts| disk.node == node || disk.links.iter().any(|link| link == node);
    if let Some(disk) = disks.iter().find(is_it) {
        return Ok(disk);
    }
    let whole = disks.iter().find(|disk| disk.partitions.iter().any(|partition| partition == node));
    Err(match whole {
        Some(disk) => refuse(
            format!("{node} is a partition of {}", disk.node),
            format!("a system needs a whole disk: --target {}", disk.node),
        ),
        None => refuse(format!("{node} is no disk"), list(disks.iter())),
    })
}

fn only_named<'d>(
    disks: &'d [DiskFacts],
    what: &str,
    is_it: impl Fn(&DiskFacts) -> bool,
) -> Result<&'d DiskFacts, Error> {
    let found: Vec<&DiskFacts> = disks.iter().filter(|disk| is_it(disk)).collect();
    match found.as_slice() {
        [disk] => Ok(disk),
        [] => Err(refuse(format!("no disk has the {what}"), list(disks.iter()))),
        _ => Err(refuse(
            format!("{} disks have the {what}", found.len()),
            format!("name one of them: {}", list(found.into_iter())),
        )),
    }
}

/// Whether a disk may be written at all.
fn check(disk: &DiskFacts, needed: u64) -> Result<(), Error> {
    match defect(disk, needed) {
        Some((reason, hint)) => Err(refuse(format!("{} {reason}", disk.node), hint)),
        None => Ok(()),
    }
}

fn defect(disk: &DiskFacts, needed: u64) -> Option<(String, &'static str)> {
    if !disk.uses.is_empty() {
        let hint = "unmount it, or install from another system; the disk that runs this one is \
                    renewed by `kiln upgrade`";
        return Some((format!("is in use: {}", disk.uses.join(", ")), hint));
    }
    if disk.is_read_only {
        return Some(("is read-only".to_owned(), "remove its write protection"));
    }
    if !kiln_disk::device::SECTOR_SIZES.contains(&disk.sector_size) {
        let reason = format!("has sectors of {} bytes", disk.sector_size);
        return Some((reason, "use a disk with sectors of 512 or 4096 bytes"));
    }
    if disk.length < needed {
        let (has, wants) = (format_size(disk.length), format_size(needed));
        let reason = format!("is too small: it has {has} and the layout needs {wants}");
        return Some((reason, "use a larger disk, or a layout with smaller parts"));
    }
    None
}

fn described<'d>(
    disks: &'d [DiskFacts],
    target: &Target,
    needed: u64,
) -> Result<&'d DiskFacts, Error> {
    let fits = |disk: &&DiskFacts| match target {
        Target::Size(comparison, bound) => comparison.holds(disk.length, *bound),
        _ => true,
    };
    let ordinary = |disk: &&DiskFacts| !disk.is_removable && !disk.is_stacked;
    let usable = |disk: &&DiskFacts| defect(disk, needed).is_none();
    let mut found: Vec<&DiskFacts> =
        disks.iter().filter(ordinary).filter(usable).filter(fits).collect();
    if let Target::Extreme(extreme) = target {
        let lengths = found.iter().map(|disk| disk.length);
        let length = match extreme {
            Extreme::Smallest => lengths.min(),
            Extreme::Largest => lengths.max(),
        };
        found.retain(|disk| Some(disk.length) == length);
    }
    match found.as_slice() {
        [disk] => Ok(disk),
        [] => Err(refuse(
            "no disk of this machine fits the description".to_owned(),
            format!("name one with --target; there are: {}", list(disks.iter())),
        )),
        _ => Err(refuse(
            format!("{} disks fit the description, and nothing says which is meant", found.len()),
            format!("name one with --target: {}", list(found.into_iter())),
        )),
    }
}

/// Disks for people: what they are and why one cannot be used.
fn list<'d>(disks: impl Iterator<Item = &'d DiskFacts>) -> String {
    let describe = |disk: &DiskFacts| {
        let mut facts = vec![format_size(disk.length)];
        facts.extend(disk.model.clone());
        facts.extend(disk.serial.as_ref().map(|serial| format!("serial {serial}")));
        facts.extend((!disk.uses.is_empty()).then(|| "in use".to_owned()));
        facts.extend(disk.is_read_only.then(|| "read-only".to_owned()));
        facts.extend(disk.is_removable.then(|| "removable".to_owned()));
        format!("{} ({})", disk.node, facts.join(", "))
    };
    let all: Vec<String> = disks.map(describe).collect();
    if all.is_empty() { "none".to_owned() } else { all.join("; ") }
}

fn refuse(reason: String, hint: impl Into<String>) -> Error {
    Error::Refused { reason, hint: hint.into() }
}

/// The node of a partition, as the kernel names it (Linux `disk_name()`): a `p` goes between a name
/// that ends in a digit and the number.
#[must_use]
pub fn partition_node(disk: &str, number: u32) -> String {
    let separator = if disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{separator}{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn disk(name: &str, gibibytes: u64) -> DiskFacts {
        let partition = |number| format!("/dev/{}", partition_node(name, number));
        DiskFacts {
            name: name.into(),
            node: format!("/dev/{name}"),
            length: gibibytes * GIB,
            sector_size: 512,
            serial: Some(format!("S-{name}")),
            links: vec![format!("/dev/disk/by-id/test-{name}")],
            partitions: vec![partition(1), partition(2)],
            ..DiskFacts::default()
        }
    }

    /// Two that would do, and one of each kind that would not.
    fn disks() -> Vec<DiskFacts> {
        let uses = vec!["/dev/vda3 is mounted at /".to_owned()];
        vec![
            DiskFacts { uses, ..disk("vda", 100) },
            disk("nvme0n1", 50),
            disk("sda", 200),
            DiskFacts { is_removable: true, ..disk("sdb", 64) },
            DiskFacts { is_read_only: true, ..disk("mmcblk0", 30) },
            disk("mmcblk1", 2),
            DiskFacts { is_stacked: true, ..disk("dm-0", 70) },
            DiskFacts { sector_size: 520, ..disk("sdc", 90) },
        ]
    }

    #[test]
    fn targets_are_read() {
        let node = |text: &str| Target::Node(text.into());
        let cases = [
            ("/dev/sda", Some(node("/dev/sda"))),
            ("/dev/disk/by-id/nvme-X", Some(node("/dev/disk/by-id/nvme-X"))),
            ("id:nvme-X", Some(Target::Id("nvme-X".into()))),
            ("serial:S 1", Some(Target::Serial("S 1".into()))),
            ("size:>=100G", Some(Target::Size(Comparison::AtLeast, 100 * GIB))),
            ("size:<2TiB", Some(Target::Size(Comparison::Less, 2048 * GIB))),
            ("size:= 1G", Some(Target::Size(Comparison::Equal, GIB))),
            ("smallest", Some(Target::Extreme(Extreme::Smallest))),
            ("only", Some(Target::Only)),
            ("file:disk.raw", Some(Target::File("disk.raw".into()))),
            ("sda", None),
            ("disk.raw", None),
            ("id:", None),
            ("size:100G", None),
            ("size:>=100GB", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }

    #[test]
    fn one_disk_is_meant_or_none() {
        let disks = disks();
        let cases = [
            ("/dev/nvme0n1", Ok("nvme0n1")),
            ("/dev/disk/by-id/test-sda", Ok("sda")),
            ("id:test-nvme0n1", Ok("nvme0n1")),
            ("serial:S-sda", Ok("sda")),
            ("size:>100G", Ok("sda")),
            ("size:<=50G", Ok("nvme0n1")),
            ("smallest", Ok("nvme0n1")),
            ("largest", Ok("sda")),
            // A name reaches what a description leaves out.
            ("/dev/sdb", Ok("sdb")),
            ("/dev/dm-0", Ok("dm-0")),
            ("/dev/vda", Err("is mounted at /")),
            ("/dev/nvme0n1p2", Err("is a partition of /dev/nvme0n1")),
            ("/dev/sda1", Err("is a partition of /dev/sda")),
            ("/dev/nothing", Err("is no disk")),
            ("/dev/mmcblk0", Err("is read-only")),
            ("/dev/mmcblk1", Err("too small: it has 2.0 GiB and the layout needs 4.0 GiB")),
            ("/dev/sdc", Err("sectors of 520 bytes")),
            ("id:test", Err("no disk has the id")),
            ("serial:S-x", Err("no disk has the serial")),
            ("only", Err("2 disks fit")),
            ("size:>=1G", Err("2 disks fit")),
            ("size:>=1T", Err("no disk of this machine fits")),
            ("file:x", Err("is a file")),
        ];
        for (text, expected) in cases {
            let target: Target = text.parse().unwrap();
            let chosen = choose(&disks, &target, 4 * GIB);
            match (chosen, expected) {
                (Ok(disk), Ok(name)) => assert_eq!(disk.name, name, "{text}"),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{text}: {error}")
                }
                (chosen, expected) => panic!("{text}: {chosen:?} is not {expected:?}"),
            }
        }
        let only = &disks[..2];
        assert_eq!(choose(only, &Target::Only, GIB).unwrap().name, "nvme0n1");
        let error = choose(&disks, &Target::Only, GIB).unwrap_err();
        let hint = error.hint().unwrap();
        assert!(hint.contains("/dev/nvme0n1 (50.0 GiB, serial S-nvme0n1)"), "{hint}");
        assert!(!hint.contains("vda"), "{hint}");
    }

    #[test]
    fn what_two_disks_share_means_neither() {
        let mut disks = disks();
        disks[1].serial = Some("same".into());
        disks[2].serial = Some("same".into());
        disks[1].length = disks[2].length;
        for text in ["serial:same", "largest"] {
            let error = choose(&disks, &text.parse().unwrap(), GIB).unwrap_err().to_string();
            assert!(error.starts_with("refused: 2 disks"), "{text}: {error}");
        }
    }

    #[test]
    fn partitions_are_named_as_the_kernel_names_them() {
        let cases = [
            ("/dev/nvme0n1", "/dev/nvme0n1p3"),
            ("/dev/mmcblk0", "/dev/mmcblk0p3"),
            ("/dev/sda", "/dev/sda3"),
            ("/dev/vdab", "/dev/vdab3"),
            ("/dev/loop7", "/dev/loop7p3"),
        ];
        for (disk, expected) in cases {
            assert_eq!(partition_node(disk, 3), expected);
        }
    }
}
