//! What people write down for a machine: its disk's layout, what a reset keeps, kernel arguments.
//!
//! All three are read by a first process that nobody watches, so beyond "no panic" each target says
//! what must not become of a wish: a table that is refused, an identity that is forgotten, a root that
//! somebody else chose.

use kiln_boot::arguments::{ADDON_NAME_LIMIT, addon_name_defect, defect, edited, words};
use kiln_boot::reset::{ASIDE, MAXIMUM_LENGTH, PATH, Reset, Verdict};
use kiln_disk::layout::{
    self, BuildOptions, CompleteOptions, FIRST_EXTRA, Layout, ROOT_A, STATE, is_layout,
};
use kiln_disk::{Gpt, Guid, gpt};
use kiln_init::cmdline::CommandLine;

use crate::text::lossy;

/// Bytes of the root image for which disks are planned, and of the disk without the layout's own.
const IMAGE_BYTES: u64 = 64 << 20;
const DISK_BYTES: u64 = 16 << 30;
/// Lines taken as separate wishes.
const LINES: usize = 40;
/// What a name of a kept path is replaced by where any will do.
const ANY_NAME: &str = "any";

/// Reads a layout and plans a disk by it: all that was asked for is there, in order and whole, and
/// the table can be written.
pub fn disk_layout(data: &[u8]) -> bool {
    let text = lossy(data);
    let says_so = is_layout(&text);
    let layout = match Layout::parse("layout.toml", &text) {
        Ok(layout) => layout,
        Err(error) => {
            assert!(error.to_string().contains("layout.toml:"), "{error} names no place");
            return false;
        }
    };
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    assert!(says_so || first.is_none_or(|line| !line.starts_with("format")), "not recognized");
    for extra in &layout.partitions {
        assert!(!extra.label.starts_with("kiln-"), "{} is Kiln's own", extra.label);
        assert!(extra.length > 0 && extra.length % (1 << 20) == 0);
        let same = layout.partitions.iter().filter(|other| other.label == extra.label);
        assert_eq!(same.count(), 1, "{} is there twice", extra.label);
        if let Some(mount) = &extra.mount {
            assert!(extra.file_system.is_some() && mount.starts_with('/') && mount.len() > 1);
            assert!(!mount.split('/').any(|name| name == ".." || name == "."), "{mount}");
            assert!(!mount.chars().any(char::is_control), "{mount:?}");
        }
    }
    for sector_size in [512, 4096] {
        plan(&layout, sector_size);
    }
    true
}

fn plan(layout: &Layout, sector_size: u32) {
    let guid = |number| Guid::from_random([number; 16]);
    let options = BuildOptions {
        sector_size,
        esp_length: layout.esp.unwrap_or(1 << 30),
        slot_length: layout.slot,
        disk_guid: guid(1),
        esp_guid: guid(2),
        root_a_guid: guid(3),
    };
    let Ok(built) = layout::built_image(IMAGE_BYTES, &options) else { return };
    let options = CompleteOptions {
        recovery: true,
        disk_guid: guid(4),
        esp_guid: guid(5),
        root_a_guid: guid(6),
        root_b_guid: guid(7),
        state_guid: guid(8),
        recovery_guid: guid(9),
    };
    let wanted: u64 =
        layout.partitions.iter().map(|extra| extra.length).fold(0, u64::saturating_add);
    let slots = built.partitions.get(&ROOT_A.number).map_or(0, |slot| slot.length(sector_size));
    let roomy = [wanted, layout.state, layout.esp.unwrap_or(0), slots.saturating_mul(3)]
        .into_iter()
        .fold(DISK_BYTES, u64::saturating_add);
    for disk_length in [DISK_BYTES, roomy] {
        let mut number = 9;
        let mut identity = || {
            number += 1;
            Guid::from_random([number; 16])
        };
        let made =
            layout::complete_by(&built, disk_length, IMAGE_BYTES, &options, layout, &mut identity);
        let Ok(table) = made else {
            assert!(
                disk_length != roomy || roomy > u64::MAX / 2,
                "no room on a large disk: {made:?}"
            );
            continue;
        };
        check(&table, layout, sector_size);
    }
}

fn check(table: &Gpt, layout: &Layout, sector_size: u32) {
    assert!(layout::stage(table).is_ok(), "a planned table is not known any more");
    assert!(gpt::create(table).is_ok(), "a planned table cannot be written");
    for (number, wanted) in (FIRST_EXTRA..).zip(&layout.partitions) {
        let placed = table.partitions.get(&number);
        let length = placed.map(|placed| placed.length(sector_size));
        assert_eq!(
            length,
            Some(wanted.length),
            "{} is missing or has another length",
            wanted.label
        );
    }
    let state = table.partitions.get(&STATE.number).map(|state| state.length(sector_size));
    assert!(state.is_some_and(|state| state >= layout.state), "state has {state:?}");
}

/// Reads the wish for a reset, and makes one of paths. What is accepted is what was written, to the
/// byte; what is named stays, and so does what says whose machine this is.
pub fn reset(data: &[u8]) -> bool {
    let text = lossy(data);
    let paths: Vec<&str> = text.lines().take(LINES).collect();
    if let Ok(made) = Reset::keeping(&paths) {
        let written = made.to_text();
        assert!(written.len() > MAXIMUM_LENGTH || Reset::parse(&written) == Some(made));
    }
    let Some(reset) = Reset::parse(&text) else { return false };
    assert_eq!(reset.to_text(), text, "another text means the same");
    let (wish, aside) = (PATH.split('/').collect::<Vec<_>>(), [ASIDE, "0"]);
    for kept in [&["identity"][..], &["identity", "host"], &wish, &["kiln", "ledger.json"], &aside]
    {
        assert_eq!(reset.judge(kept, false), Verdict::Keep, "{kept:?} goes");
    }
    for kept in reset.kept() {
        let names: Vec<&str> =
            kept.split('/').map(|name| if name == "*" { ANY_NAME } else { name }).collect();
        assert_eq!(reset.judge(&names, false), Verdict::Keep, "{kept} goes");
        for length in 1..names.len() {
            assert_ne!(reset.judge(&names[..length], true), Verdict::Take, "{kept} goes");
        }
    }
    true
}

/// Changes a command line, the first line, as the others say: `-` in front deletes. Whatever is
/// allowed, the first process still boots the same root in the same way.
pub fn kernel_arguments(data: &[u8]) -> bool {
    let text = lossy(data);
    let mut lines = text.lines();
    let line = lines.next().unwrap_or_default();
    let (mut delete, mut append) = (Vec::new(), Vec::new());
    for wish in lines.take(LINES) {
        let (list, wish) = match wish.strip_prefix('-') {
            Some(wish) => (&mut delete, wish),
            None => (&mut append, wish),
        };
        if addon_name_defect(wish).is_none() {
            assert!(wish.len() <= ADDON_NAME_LIMIT && !wish.contains(['/', '.', '\\']));
        }
        if defect(wish).is_none() {
            list.push(wish.to_owned());
        }
    }
    let changed = edited(line, &delete, &append);
    // A quote that is left open swallows what is put behind it; only a release can write one.
    if line.matches('"').count().is_multiple_of(2) {
        assert_eq!(edited(&changed, &[], &append), changed, "{append:?} is added twice");
        let found = words(&changed);
        let has = |wish: &&String| found.contains(&wish.as_str());
        assert!(append.iter().all(|wish| has(&wish)), "{append:?} is not all in {changed:?}");
    }
    let Ok(before) = CommandLine::parse(line) else { return false };
    let after = CommandLine::parse(&changed);
    let is_same = |after: &CommandLine| {
        let plain = |line: &CommandLine| CommandLine { init: None, ..line.clone() };
        plain(after) == plain(&before)
    };
    assert!(after.as_ref().is_ok_and(is_same), "{before:?} became {after:?}");
    true
}
