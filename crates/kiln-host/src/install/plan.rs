//! What will be where on a disk, what stays and what is lost: a pure function of what was read.

use kiln_disk::gpt::Guid;
use kiln_disk::layout::{self, InstallOptions, Layout};
use kiln_disk::{Gpt, PartitionEntry};

use super::contents::Contents;
use crate::Error;

/// What a partition is kept by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// Its number in the present table.
    Number(u32),
    /// Its own identity.
    Identity(Guid),
    /// Its name in the table.
    Name(String),
}

impl std::str::FromStr for Keep {
    type Err = String;

    /// A number, a GUID, or else a name.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a partition is kept by its number, GUID or name".to_owned());
        }
        Ok(match (text.parse(), text.parse()) {
            (Ok(number), _) => Self::Number(number),
            (_, Ok(identity)) => Self::Identity(identity),
            _ => Self::Name(text.to_owned()),
        })
    }
}

impl std::fmt::Display for Keep {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Identity(identity) => write!(formatter, "{identity}"),
            Self::Name(name) => formatter.write_str(name),
        }
    }
}

/// A partition of the present table with what is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Its number.
    pub number: u32,
    /// Its entry.
    pub entry: PartitionEntry,
    /// What its first bytes tell.
    pub contents: Contents,
}

/// Something that is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// Its number; 0 for a disk without a table.
    pub number: u32,
    /// Its name in the table.
    pub name: String,
    /// Length in bytes.
    pub length: u64,
    /// What its first bytes tell.
    pub contents: Contents,
}

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct PlanOptions<'a> {
    /// The disk's node or the file's path.
    pub disk: &'a str,
    /// Length in bytes of the disk.
    pub disk_length: u64,
    /// Bytes per sector.
    pub sector_size: u32,
    /// Length in bytes of the root image with its hash tree.
    pub image_length: u64,
    /// The layout.
    pub layout: &'a Layout,
    /// What is there; empty without a table.
    pub present: &'a [Present],
    /// What the first bytes of the whole disk tell, for one without a table.
    pub whole: &'a Contents,
    /// What shall stay.
    pub keep: &'a [Keep],
}

/// The whole of what an installation does to a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The disk's node or the file's path.
    pub disk: String,
    /// Length in bytes of the disk.
    pub disk_length: u64,
    /// The table as it will be.
    pub table: Gpt,
    /// Partitions that stay, as they are in the present table.
    pub kept: Vec<(u32, PartitionEntry)>,
    /// What is lost.
    pub erased: Vec<Erased>,
}

impl Plan {
    /// Whether a partition of the new table is one that stays.
    #[must_use]
    pub fn is_kept(&self, entry: &PartitionEntry) -> bool {
        self.kept
            .iter()
            .any(|(_, kept)| kept.guid == entry.guid && kept.first_lba == entry.first_lba)
    }
}

/// Plans an installation. `identity` gives random identities.
///
/// # Errors
/// [`Error::Refused`] for a partition to keep that is not there or not one, [`Error::Disk`] for
/// everything else that cannot be.
pub fn plan(options: &PlanOptions<'_>, identity: &mut dyn FnMut() -> Guid) -> Result<Plan, Error> {
    let kept = kept(options)?;
    let failed = || Error::disk(options.disk);
    let install = InstallOptions {
        sector_size: options.sector_size,
        disk_length: options.disk_length,
        image_length: options.image_length,
        layout: options.layout,
        kept: &kept,
    };
    let table = layout::install(&install, identity).map_err(failed())?;
    let is_lost = |present: &&Present| !kept.iter().any(|(number, _)| *number == present.number);
    let mut erased: Vec<Erased> = options
        .present
        .iter()
        .filter(is_lost)
        .map(|present| Erased {
            number: present.number,
            name: present.entry.name.clone(),
            length: present.entry.length(options.sector_size),
            contents: present.contents.clone(),
        })
        .collect();
    if options.present.is_empty() && options.whole.kind != "empty" {
        erased.push(Erased {
            number: 0,
            name: String::new(),
            length: options.disk_length,
            contents: options.whole.clone(),
        });
    }
    Ok(Plan {
        disk: options.disk.to_owned(),
        disk_length: options.disk_length,
        table,
        kept,
        erased,
    })
}

/// Entries of what shall stay, each once.
fn kept(options: &PlanOptions<'_>) -> Result<Vec<(u32, PartitionEntry)>, Error> {
    let mut kept: Vec<(u32, PartitionEntry)> = Vec::new();
    for wanted in options.keep {
        let is_it = |present: &&Present| match wanted {
            Keep::Number(number) => present.number == *number,
            Keep::Identity(identity) => present.entry.guid == *identity,
            Keep::Name(name) => present.entry.name == *name,
        };
        let found: Vec<&Present> = options.present.iter().filter(is_it).collect();
        let names = || {
            let all = options.present.iter();
            let all: Vec<String> =
                all.map(|present| format!("{} ({})", present.number, present.entry.name)).collect();
            if all.is_empty() { "the disk has no partitions".into() } else { all.join(", ") }
        };
        match found.as_slice() {
            [one] if kept.iter().any(|(number, _)| *number == one.number) => {}
            [one] => kept.push((one.number, one.entry.clone())),
            [] => {
                let reason = format!("{} has no partition `{wanted}` to keep", options.disk);
                return Err(Error::Refused { reason, hint: format!("there are: {}", names()) });
            }
            _ => {
                let reason =
                    format!("{} partitions of {} are `{wanted}`", found.len(), options.disk);
                return Err(Error::Refused {
                    reason,
                    hint: format!("name it by number: {}", names()),
                });
            }
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_disk::layout::{STATE, Stage};

    const MIB: u64 = 1 << 20;

    fn present(number: u32, name: &str, first: u64) -> Present {
        let entry = PartitionEntry {
            type_guid: if name == STATE.name { STATE.type_guid } else { layout::EXTRA_TYPE },
            guid: Guid([number as u8; 16]),
            first_lba: first * MIB / 512,
            last_lba: (first + 1000) * MIB / 512 - 1,
            attributes: 0,
            name: name.into(),
        };
        Present { number, entry, contents: Contents { kind: "ext", label: Some(name.into()) } }
    }

    fn make(present: &[Present], keep: &[&str]) -> Result<Plan, Error> {
        let keep: Vec<Keep> = keep.iter().map(|text| text.parse().unwrap()).collect();
        let options = PlanOptions {
            disk: "/dev/sda",
            disk_length: 20 << 30,
            sector_size: 512,
            image_length: 400 * MIB,
            layout: &Layout::default(),
            present,
            whole: &Contents { kind: "FAT", label: None },
            keep: &keep,
        };
        let mut next = 100;
        plan(&options, &mut || {
            next += 1;
            Guid([next; 16])
        })
    }

    #[test]
    fn what_goes_and_what_stays_is_said() {
        let present =
            [present(1, "home", 2000), present(2, "home", 4000), present(5, STATE.name, 9000)];
        let all = make(&present, &[]).unwrap();
        let numbers: Vec<u32> = all.erased.iter().map(|erased| erased.number).collect();
        assert_eq!(numbers, [1, 2, 5]);
        assert_eq!(all.erased[0].contents.to_string(), "ext `home`");
        assert_eq!(layout::stage(&all.table).unwrap(), Stage::Unformatted);

        let identity = Guid([5; 16]).to_string();
        for keep in [vec!["5"], vec![STATE.name], vec![identity.as_str()], vec!["5", STATE.name]] {
            let plan = make(&present, &keep).unwrap();
            assert_eq!(plan.kept, [(5, present[2].entry.clone())], "{keep:?}");
            assert_eq!(plan.erased.len(), 2);
            assert!(
                plan.is_kept(&plan.table.partitions[&5])
                    && !plan.is_kept(&plan.table.partitions[&3])
            );
            assert_eq!(layout::stage(&plan.table).unwrap(), Stage::Complete);
        }
        for (keep, expected) in
            [("home", "2 partitions"), ("9", "no partition `9`"), ("x", "no partition")]
        {
            let error = make(&present, &[keep]).unwrap_err();
            assert!(error.to_string().contains(expected), "{keep}: {error}");
        }
        assert!("".parse::<Keep>().is_err());
        assert_eq!(make(&[], &[]).unwrap().erased[0].contents.kind, "FAT");
        assert!(make(&[], &["1"]).is_err());
    }
}
