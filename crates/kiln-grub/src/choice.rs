//! What the menu does with what lies on the disk, as a pure function.
//!
//! The menu is a script in GRUB's own language (`menu/grub.cfg`); this is its model, and a test in
//! a virtual machine holds the one against the other (`grub_chooses_what_our_model_says`). The
//! rules are those of systemd-boot as far as Kiln's own names go, which [`kiln_boot::entry::sort`]
//! models:
//!
//! 1. What proved itself (no counter) and what has tries left, the newest generation first.
//! 2. Recovery.
//! 3. What cannot be counted, because the environment block is missing or damaged: then nothing on
//!    trial is preferred to what proved itself.
//! 4. What has no tries left.
//!
//! The first is started, or what the one-shot wish names. If GRUB cannot start it, it goes on down
//! the list, and restarts the machine at its end: it never waits for a person.
//!
//! Two things differ from systemd-boot. Only names as Kiln writes them are seen: small letters, and
//! with a configuration beside them, which a file that somebody copied to the disk does not have.
//! And what is started for want of anything better is not counted any further.

use kiln_boot::entry::{EntryName, RECOVERY_FILE};

use crate::environment::{Environment, identifier};

/// What the menu finds on the EFI system partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found<'a> {
    /// File names in `EFI/Linux`, in the order in which they stand in the folder.
    pub files: Vec<&'a str>,
    /// Generations that have a configuration, see [`crate::revision_path`].
    pub configured: Vec<u32>,
    /// Whether recovery has its configuration, [`crate::RECOVERY_PATH`].
    pub recovery_configured: bool,
}

/// One line of the menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What a one-shot wish calls it: its name without counter.
    pub identifier: String,
    /// File name as it is on the disk.
    pub file: String,
    /// Its generation; none for recovery.
    pub generation: Option<u32>,
    /// Tries that it has before it is started, if the start is counted.
    pub tries: Option<u8>,
}

/// What the menu does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The menu in its order, without the line that restarts the machine.
    pub menu: Vec<Item>,
    /// Number of what is started, counted from 0. It may be outside of an empty menu.
    pub started: usize,
    /// The environment block afterwards, if it was usable.
    pub environment: Option<Environment>,
}

impl Decision {
    /// What is started; none if there is nothing.
    #[must_use]
    pub fn item(&self) -> Option<&Item> {
        self.menu.get(self.started)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    Good,
    Held,
    Bad,
}

/// Decides as the menu does. `block` is the environment block, if there is one.
#[must_use]
pub fn decide(found: &Found<'_>, block: Option<&[u8]>) -> Decision {
    let environment = block.and_then(|block| Environment::parse(block).ok());
    let judged: Vec<(Rank, &str, u32, Option<u8>)> =
        found.files.iter().filter_map(|file| judge(file, found, environment.as_ref())).collect();

    let mut menu = list(&judged, Rank::Good);
    if found.recovery_configured && found.files.contains(&RECOVERY_FILE) {
        menu.push(Item {
            identifier: RECOVERY_FILE.to_owned(),
            file: RECOVERY_FILE.to_owned(),
            generation: None,
            tries: None,
        });
    }
    menu.extend(list(&judged, Rank::Held));
    menu.extend(list(&judged, Rank::Bad));

    let mut environment = environment;
    let wanted = environment.as_ref().and_then(|environment| environment.one_shot());
    let started = wanted
        .and_then(|wanted| menu.iter().position(|item| item.identifier == wanted))
        .unwrap_or_default();
    if let Some(environment) = &mut environment {
        environment.set_one_shot(None);
        if let Some(Item { generation: Some(generation), tries: Some(tries), .. }) =
            menu.get(started)
        {
            environment.set_left(*generation, Some(tries.saturating_sub(1)));
        }
    }
    Decision { menu, started, environment }
}

/// Rank, name, generation and tries of a boot file; nothing if it is not Kiln's.
fn judge<'a>(
    file: &'a str,
    found: &Found<'_>,
    environment: Option<&Environment>,
) -> Option<(Rank, &'a str, u32, Option<u8>)> {
    let entry: EntryName = file.parse().ok()?;
    // Capitals are somebody else's spelling.
    if file.bytes().any(|byte| byte.is_ascii_uppercase())
        || !found.configured.contains(&entry.generation)
    {
        return None;
    }
    let Some(counter) = entry.counter else {
        return Some((Rank::Good, file, entry.generation, None));
    };
    let recorded = environment.and_then(|environment| environment.left(entry.generation));
    let tries = recorded.map_or(counter.left, |recorded| recorded.min(counter.left));
    let rank = match (tries, environment) {
        (0, _) => Rank::Bad,
        (_, None) => Rank::Held,
        (_, Some(_)) => Rank::Good,
    };
    Some((rank, file, entry.generation, (rank == Rank::Good).then_some(tries)))
}

/// All of a rank, the newest first; of two with one generation, the one that is first in the
/// folder.
fn list(judged: &[(Rank, &str, u32, Option<u8>)], rank: Rank) -> Vec<Item> {
    let mut list: Vec<_> = judged.iter().filter(|one| one.0 == rank).collect();
    // Stable, so the order of the folder decides between equals.
    list.sort_by_key(|one| std::cmp::Reverse(one.2));
    list.dedup_by_key(|one| one.2);
    list.into_iter()
        .map(|&(_, file, generation, tries)| Item {
            identifier: identifier(generation),
            file: file.to_owned(),
            generation: Some(generation),
            tries,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_boot::entry::{Listed, sort};

    /// All files have their configuration.
    fn found<'a>(files: &[&'a str]) -> Found<'a> {
        let entries = files.iter().filter_map(|file| file.parse::<EntryName>().ok());
        Found {
            files: files.to_vec(),
            configured: entries.map(|entry| entry.generation).collect(),
            recovery_configured: true,
        }
    }

    fn block(lefts: &[(u32, u8)], one_shot: Option<&str>) -> Vec<u8> {
        let mut environment = Environment::default();
        for (generation, left) in lefts {
            environment.set_left(*generation, Some(*left));
        }
        environment.set_one_shot(one_shot);
        environment.to_bytes().unwrap()
    }

    #[test]
    fn the_newest_that_is_good_is_started_and_counted() {
        const RECOVERY: &str = RECOVERY_FILE;
        type Case<'a> = (&'a [&'a str], &'a [(u32, u8)], &'a str, &'a [(u32, u8)]);
        let cases: [Case<'_>; 12] = [
            (&["kiln-00000001.efi"], &[], "kiln-00000001.efi", &[]),
            (&["kiln-00000009.efi", "kiln-00000010.efi"], &[], "kiln-00000010.efi", &[]),
            (&["kiln-00000001+3-0.efi"], &[], "kiln-00000001+3-0.efi", &[(1, 2)]),
            (&["kiln-00000001+3-0.efi"], &[(1, 2)], "kiln-00000001+3-0.efi", &[(1, 1)]),
            (&["kiln-00000001+3-0.efi"], &[(1, 1)], "kiln-00000001+3-0.efi", &[(1, 0)]),
            // The smaller number counts, wherever it stands.
            (&["kiln-00000001+1-2.efi"], &[(1, 3)], "kiln-00000001+1-2.efi", &[(1, 0)]),
            (
                &["kiln-00000002+3-0.efi", "kiln-00000001.efi"],
                &[(2, 0)],
                "kiln-00000001.efi",
                &[(2, 0)],
            ),
            (
                &["kiln-00000002+0-3.efi", "kiln-00000001.efi"],
                &[(2, 3)],
                "kiln-00000001.efi",
                &[(2, 3)],
            ),
            // Two on trial: the older one's start does not forget the newer one's failures.
            (
                &["kiln-00000003+3-0.efi", "kiln-00000002+3-0.efi"],
                &[(3, 0)],
                "kiln-00000002+3-0.efi",
                &[(3, 0), (2, 2)],
            ),
            (&["kiln-00000003+0-3.efi", RECOVERY], &[], RECOVERY, &[]),
            (
                &["kiln-00000003+0-3.efi", "kiln-00000002+3-0.efi"],
                &[(2, 0)],
                "kiln-00000003+0-3.efi",
                &[(2, 0)],
            ),
            (
                &["kiln-00000003.efi", "KILN-00000004.EFI", "kiln-5.efi"],
                &[],
                "kiln-00000003.efi",
                &[],
            ),
        ];
        for (files, before, started, after) in cases {
            let decision = decide(&found(files), Some(&block(before, None)));
            assert_eq!(decision.item().unwrap().file, started, "{files:?} {before:?}");
            let expected = block(after, None);
            assert_eq!(decision.environment.unwrap().to_bytes().unwrap(), expected, "{files:?}");
        }
    }

    #[test]
    fn without_a_block_nothing_on_trial_is_preferred() {
        let files = ["kiln-00000009+0-3.efi", "kiln-00000008+3-0.efi", "kiln-00000007.efi"];
        for bad in [None, Some(&b"rubbish"[..])] {
            let decision = decide(&found(&files), bad);
            assert_eq!(decision.environment, None);
            assert_eq!(decision.item().unwrap().file, "kiln-00000007.efi");
            let with_recovery = [&files[..2], &[RECOVERY_FILE]].concat();
            assert_eq!(decide(&found(&with_recovery), bad).item().unwrap().file, RECOVERY_FILE);
            // For want of anything better, and not the one that failed.
            let decision = decide(&found(&files[..2]), bad);
            assert_eq!(decision.item().unwrap().file, "kiln-00000008+3-0.efi");
            assert_eq!(decision.item().unwrap().tries, None);
            assert_eq!(decide(&found(&[]), bad).item(), None);
        }
    }

    #[test]
    fn a_wish_is_obeyed_once_and_counted() {
        let files =
            ["kiln-00000009.efi", "kiln-00000008+2-1.efi", "kiln-00000007+0-3.efi", RECOVERY_FILE];
        for (wish, started, left) in [
            (RECOVERY_FILE, RECOVERY_FILE, None),
            ("kiln-00000008.efi", "kiln-00000008+2-1.efi", Some(1)),
            ("kiln-00000007.efi", "kiln-00000007+0-3.efi", None),
            ("kiln-00000006.efi", "kiln-00000009.efi", None),
            ("kiln-00000008+2-1.efi", "kiln-00000009.efi", None),
        ] {
            let decision = decide(&found(&files), Some(&block(&[], Some(wish))));
            assert_eq!(decision.item().unwrap().file, started, "{wish}");
            let environment = decision.environment.unwrap();
            assert_eq!((environment.one_shot(), environment.left(8)), (None, left), "{wish}");
        }
    }

    #[test]
    fn what_has_no_configuration_is_not_listed() {
        let mut found = found(&["kiln-00000002.efi", "kiln-00000001.efi", RECOVERY_FILE]);
        found.configured = vec![1];
        found.recovery_configured = false;
        let decision = decide(&found, None);
        assert_eq!(decision.menu.len(), 1);
        assert_eq!(decision.item().unwrap().generation, Some(1));
    }

    #[test]
    fn the_order_is_that_of_systemd_boot() {
        let lists: [&[&str]; 4] = [
            &["kiln-00000009.efi", "kiln-00000100+3-0.efi", "kiln-00000010+2-1.efi", RECOVERY_FILE],
            &["kiln-00000002+0-3.efi", "kiln-00000001.efi", RECOVERY_FILE],
            &["kiln-00000002+0-3.efi", "kiln-00000001+0-9.efi", "kiln-00000003+0-9.efi"],
            &[RECOVERY_FILE, "kiln-00000011+0-3.efi", "kiln-00000009.efi", "kiln-00000010+3.efi"],
        ];
        for files in lists {
            let key = |file: &str| if file == RECOVERY_FILE { "kiln-recovery" } else { "kiln" };
            let mut listed: Vec<Listed> = files
                .iter()
                .map(|file| Listed {
                    file: (*file).to_owned(),
                    sort_key: key(file).to_owned(),
                    version: String::new(),
                })
                .collect();
            sort(&mut listed);
            let ours = decide(&found(files), Some(&block(&[], None))).menu;
            let ours: Vec<&str> = ours.iter().map(|item| item.file.as_str()).collect();
            let theirs: Vec<&str> = listed.iter().map(|entry| entry.file.as_str()).collect();
            assert_eq!(ours, theirs);
        }
    }
}
