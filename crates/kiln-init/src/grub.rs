//! What GRUB says about this boot, where there is no UEFI that keeps variables: pure reading.
//!
//! GRUB hands its words over on the kernel command line: which boot file it started, and the partition
//! that this lies on. They are read only where the machine was not started by UEFI, because there
//! anybody who can append an argument could otherwise name another disk. GRUB appends them behind all
//! others, so the last one counts, and a lone `--` does not hide them.
//!
//! GRUB counts tries in its environment block and not in names (`kiln_grub::environment`); what a name
//! gets by a verdict is therefore also written there.

use crate::blame::Verdict;
use crate::own::{OwnEntry, has_counter};
use kiln_boot::entry::{FOLDER, RECOVERY_FILE};
use kiln_disk::Guid;
use kiln_grub::environment::Environment;
use kiln_grub::{DISK_ARGUMENT, ENTRY_ARGUMENT};
use kiln_sys::command_line::words;

/// Largest environment block that is read, in bytes.
pub const BLOCK_MAXIMUM: u32 = 64 << 10;

/// What GRUB has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The boot file that it started.
    pub entry: Option<OwnEntry>,
    /// Identity of the partition with the boot file.
    pub partition: Option<Guid>,
}

impl Said {
    /// Reads the content of `/proc/cmdline`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut said = Self::default();
        for word in words(text) {
            if let Some(name) = word.strip_prefix(ENTRY_ARGUMENT) {
                said.entry = entry(name);
            }
            if let Some(guid) = word.strip_prefix(DISK_ARGUMENT) {
                said.partition = guid.to_ascii_lowercase().parse().ok();
            }
        }
        said
    }
}

/// The boot file by its name. What is no plain name would lead out of the folder, or forge facts.
fn entry(name: &str) -> Option<OwnEntry> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    let fits = !name.is_empty() && name.len() <= 255 && name.bytes().all(is_plain);
    let path = format!("{FOLDER}/{name}");
    fits.then(|| OwnEntry { counted: has_counter(&path), path })
}

/// The environment block after a verdict on a generation; none if it stays as it is, or is damaged, in
/// which case GRUB counts nothing.
#[must_use]
pub fn judged(block: &[u8], generation: u32, verdict: Verdict) -> Option<Vec<u8>> {
    let before = Environment::parse(block).ok()?;
    let mut after = before.clone();
    if verdict == Verdict::GiveBack {
        // The name on the disk still has all tries: GRUB cannot rename.
        let left = after.left(generation)?;
        after.set_left(generation, Some(left.saturating_add(1)));
    }
    (after != before).then(|| after.to_bytes().ok())?
}

/// The environment block with the wish for recovery at the next boot; none if it is damaged.
#[must_use]
pub fn with_recovery_next(block: &[u8]) -> Option<Vec<u8>> {
    let mut environment = Environment::parse(block).ok()?;
    environment.set_one_shot(Some(RECOVERY_FILE));
    environment.to_bytes().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";

    #[test]
    fn the_last_word_of_each_kind_counts() {
        let counted = "EFI/Linux/kiln-00000002+3-0.efi";
        let cases = [
            ("quiet", None, false),
            ("kiln.entry=kiln-00000001.efi", Some(("EFI/Linux/kiln-00000001.efi", false)), false),
            (
                "kiln.entry=kiln-00000001.efi -- x kiln.entry=kiln-00000002+3-0.efi kiln.disk=GUID",
                Some((counted, true)),
                true,
            ),
            ("kiln.entry=../../etc/passwd kiln.disk=hd0", None, false),
            ("kiln.entry= kiln.disk=", None, false),
            ("kiln.entry=a kiln.entry=\"a b\"", None, false),
        ];
        for (text, entry, has_partition) in cases {
            let said = Said::parse(&text.replace("GUID", GUID));
            let found = said.entry.as_ref().map(|own| (own.path.as_str(), own.counted));
            assert_eq!(found, entry, "{text}");
            let guid = GUID.to_ascii_lowercase().parse::<Guid>().ok();
            assert_eq!(said.partition, guid.filter(|_| has_partition), "{text}");
        }
    }

    #[test]
    fn a_boot_that_does_not_count_gets_its_try_back() {
        let mut environment = Environment::default();
        environment.set_left(2, Some(1));
        environment.set_left(3, Some(2));
        let block = environment.to_bytes().unwrap();
        for verdict in [Verdict::Keep, Verdict::Bad] {
            assert_eq!(judged(&block, 2, verdict), None, "{verdict:?}");
        }
        let after = judged(&block, 2, Verdict::GiveBack).unwrap();
        let after = Environment::parse(&after).unwrap();
        assert_eq!((after.left(2), after.left(3)), (Some(2), Some(2)));
        assert_eq!(judged(&block, 7, Verdict::GiveBack), None, "it was never counted");
        assert_eq!(judged(b"rubbish", 2, Verdict::GiveBack), None);
    }

    #[test]
    fn recovery_is_wished_for_once() {
        let block = Environment::default().to_bytes().unwrap();
        let after = with_recovery_next(&block).unwrap();
        assert_eq!(Environment::parse(&after).unwrap().one_shot(), Some("kiln-recovery.efi"));
        assert_eq!(with_recovery_next(b"rubbish"), None);
    }
}
