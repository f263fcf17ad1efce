//! Reports as text for people.

use std::fmt::Write as _;

use kiln_build::format_size;

use super::{History, LoaderChange, LoaderName, RevisionReport, Status};
use crate::ledger::{Failure, Slot, State, Verification};
use crate::motd::one_line;
use crate::provisioning;

/// Characters of a digest that people compare.
const SHORT_DIGEST: usize = 19;

impl Status {
    /// Lines for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let booted = &self.booted;
        let proved = match (self.mode, self.blessed) {
            ("recovery", _) => "recovery mode",
            (_, true) => "blessed",
            (_, false) => "not yet proved",
        };
        put(&mut text, "running", &title(booted));
        put(&mut text, "", &format!("{}, {proved}", place(booted)));
        details(&mut text, booted);
        if let Some(slot) = self.damaged_slot {
            let said = format!("slot {slot} cannot be read, so recovery's copy runs");
            put(&mut text, "damaged", &said);
            put(&mut text, "", "`kiln upgrade` writes the slot again");
        }
        if self.debug_overlay {
            put(
                &mut text,
                "debug",
                "overlay: what runs is not what the root hash proves, until a restart",
            );
        }
        match (&self.next, self.pending_reboot) {
            (Some(next), Some(true)) => {
                put(&mut text, "next", &format!("{}: {}", place(next), title(next)));
                details(&mut text, next);
                put(&mut text, "", "a restart is pending");
            }
            (Some(next), None) if self.mode == "recovery" => {
                put(&mut text, "next", &format!("{}: {}", place(next), title(next)));
            }
            (None, _) if self.mode == "recovery" => put(&mut text, "next", "recovery again"),
            (Some(_), _) => put(&mut text, "next", "the same"),
            (None, _) => {}
        }
        if let Some(staged) = &self.staged {
            put(&mut text, "staged", &format!("{}: {}", place(staged), title(staged)));
            details(&mut text, staged);
        }
        if let Some(previous) = &self.previous {
            put(&mut text, "previous", &format!("{}: {}", place(previous), title(previous)));
        }
        if let Some(failed) = &self.last_failure {
            put(&mut text, "failed", &format!("{}: {}", place(failed), title(failed)));
            if let Some(failure) = &failed.failure {
                for line in reason_lines(failure) {
                    put(&mut text, "", &line);
                }
            }
        }
        if let Some(reason) = &self.provisioning_failure {
            put(&mut text, "failed", &format!("the configuration: {reason}"));
            put(&mut text, "", provisioning::HINT);
        }
        let has_recovery = self.slots.iter().any(|slot| slot.slot == Slot::Recovery);
        match &self.recovery {
            Some(recovery) => put(&mut text, "recovery", &title(recovery)),
            None if has_recovery => put(&mut text, "recovery", "nothing that starts"),
            None => {}
        }
        if self.recovery_next {
            put(&mut text, "", "chosen for the next boot");
        }
        for (at, slot) in self.slots.iter().enumerate() {
            let generations: Vec<String> =
                slot.generations.iter().map(ToString::to_string).collect();
            let held = match generations.len() {
                0 if slot.slot == Slot::Recovery => "recovery".to_owned(),
                0 => "empty".to_owned(),
                1 => format!("generation {}", generations.join(", ")),
                _ => format!("generations {}", generations.join(", ")),
            };
            let line =
                format!("{}: {}, {}, {held}", slot.slot, slot.device, format_size(slot.bytes));
            put(&mut text, if at == 0 { "slots" } else { "" }, &line);
        }
        if let Some(partition) = &self.system_partition {
            let free = format_size(partition.free_bytes);
            put(&mut text, "ESP", &format!("{}, {free} free", partition.device));
        }
        for (at, loader) in self.loaders.iter().enumerate() {
            let kind = match (loader.kind.zip(loader.version.as_ref()), loader.signed) {
                (Some((kind, version)), Some(true)) => format!("{kind} {version}, signed"),
                (Some((kind, version)), _) => format!("{kind} {version}"),
                (None, _) => "not systemd-boot: Kiln leaves it alone".to_owned(),
            };
            put(
                &mut text,
                if at == 0 { "loader" } else { "" },
                &format!("{}: {kind}", loader.path),
            );
        }
        put(&mut text, "follows", self.follow.as_deref().unwrap_or("nothing"));
        put(&mut text, "trust", trust(self.sealed, self.secure_boot));
        text
    }
}

/// What signatures are worth here: a signed boot file alone keeps no other from being started.
fn trust(sealed: Option<bool>, secure_boot: Option<bool>) -> &'static str {
    match (sealed, secure_boot) {
        (Some(true), Some(true)) => "sealed: signed boot file, Secure Boot is enforced",
        (Some(true), Some(false)) => {
            "sealed, but Secure Boot is off: unsigned boot files start, too"
        }
        (Some(true), None) => "sealed, but the firmware says nothing of Secure Boot",
        (Some(false), _) => "unsealed",
        (None, _) => "unknown: which boot file runs cannot be read",
    }
}

impl History {
    /// Lines for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for revision in &self.revisions {
            let report = RevisionReport::of(revision);
            let line =
                format!("{:>4}  slot {}  {}", revision.generation, revision.slot, title(&report));
            push(&mut text, &line);
            for event in &revision.events {
                let state = state_name(event.state);
                push(&mut text, &format!("      {}  {state}", moment(event.time)));
                for line in event.failure.iter().flat_map(reason_lines) {
                    push(&mut text, &format!("{:28}{line}", ""));
                }
            }
            let own = |change: &&LoaderChange| change.generation == Some(revision.generation);
            for change in self.loaders.iter().rev().filter(own) {
                push(&mut text, &loader_line(change));
            }
        }
        // Of what ran then nothing is known any more.
        for change in self.loaders.iter().filter(|change| change.version.is_none()) {
            push(&mut text, &loader_line(change));
        }
        text
    }
}

fn loader_line(change: &LoaderChange) -> String {
    let name = |loader: &Option<LoaderName>| match loader {
        Some(loader) => format!("{} {}", one_line(&loader.kind), one_line(&loader.version)),
        None => "another loader".to_owned(),
    };
    let (time, path) = (moment(change.time), one_line(&change.path));
    format!("      {time}  {path}: {} replaces {}", name(&change.to), name(&change.from))
}

fn push(text: &mut String, line: &str) {
    // Writing into a string cannot fail.
    let _ = writeln!(text, "{}", line.trim_end());
}

fn put(text: &mut String, label: &str, line: &str) {
    push(text, &format!("{label:<10}{line}"));
}

fn title(report: &RevisionReport) -> String {
    match (&report.title, &report.name, &report.version) {
        (Some(title), Some(name), Some(version)) => {
            format!("{} ({} {})", one_line(title), one_line(name), one_line(version))
        }
        _ => {
            let hash = report.root_hash.as_deref().unwrap_or("unknown");
            format!("root {}", short(hash))
        }
    }
}

fn place(report: &RevisionReport) -> String {
    let generation = match report.generation {
        Some(generation) => format!("generation {generation}"),
        None => "of unknown generation".to_owned(),
    };
    let slot = report.slot.map_or_else(String::new, |slot| format!(" in slot {slot}"));
    let tries = match report.tries_left {
        Some(0) => ", no try left",
        Some(_) => ", counted",
        None => "",
    };
    format!("{generation}{slot}{tries}")
}

/// Where it came from and who vouches for it.
fn details(text: &mut String, report: &RevisionReport) {
    if let Some(reference) = &report.reference {
        put(text, "", reference);
    }
    if let Some(digest) = &report.manifest_digest {
        put(text, "", &format!("image {}", short(digest)));
    }
    match &report.verification {
        Some(Verification::Unverified) => put(text, "", "unverified: nobody vouches for the image"),
        Some(Verification::Delivered) => put(text, "", "came with the disk"),
        Some(Verification::Signed(signer)) => {
            // A fingerprint is known by its beginning, a certificate's subject by all of it.
            let signer = if signer.starts_with("sha256:") { short(signer) } else { signer };
            put(text, "", &format!("verified by {signer}"));
        }
        None => {}
    }
}

fn reason_lines(failure: &Failure) -> Vec<String> {
    let mut lines: Vec<String> =
        failure.reason.lines().filter(|line| !line.trim().is_empty()).map(one_line).collect();
    match lines.first_mut() {
        Some(first) => first.insert_str(0, &format!("{}: ", failure.stage)),
        None => lines.push(failure.stage.to_string()),
    }
    lines
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Staged => "staged",
        State::Trying => "trying",
        State::Blessed => "blessed",
        State::Failed => "failed",
        State::Left => "left by hand",
        State::Replaced => "replaced",
    }
}

fn short(digest: &str) -> &str {
    digest.get(..SHORT_DIGEST).unwrap_or(digest)
}

/// Seconds since 1970 as UTC: days to dates by whole eras of 400 years, which are all alike.
fn moment(time: u64) -> String {
    const DAYS_OF_ERA: u64 = 146_097;
    let (days, second) = (time / 86_400, time % 86_400);
    // Counted from 1 March of the year 0, so that the leap day is the last of its year.
    let day = days.saturating_add(719_468);
    let (era, day_of_era) = (day / DAYS_OF_ERA, day % DAYS_OF_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::moment;
    use crate::ledger::{Slot, State, Verification};
    use crate::loader::{LoaderEvent, Record};
    use crate::plan::test_support::{entry, machine, revision};
    use crate::report::{History, LoaderReport, Status};

    #[test]
    fn moments_are_dates() {
        for (time, expected) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (1_709_251_199, "2024-02-29 23:59:59Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(moment(time), expected);
        }
        assert!(moment(u64::MAX).ends_with('Z'), "a wrong clock is shown, too");
    }

    #[test]
    fn status_reads_like_this() {
        let mut machine = machine();
        machine.ledger.revisions.push(revision(3, 3, Slot::A, State::Failed));
        machine.entries[1] = entry(3, 3, Some(Slot::A), true);
        let expected = "\
running   Edge 2 (edge 2)
          generation 2 in slot B, blessed
          image sha256:2
          unverified: nobody vouches for the image
next      the same
previous  generation 3 in slot A, no try left: Edge 3 (edge 3)
failed    generation 3 in slot A: Edge 3 (edge 3)
          health check: disk is read-only
slots     A: /dev/vda3, 2.0 GiB, generation 3
          B: /dev/vda4, 2.0 GiB, generation 2
ESP       /dev/vda2, 1.0 GiB free
follows   nothing
trust     unsealed
";
        assert_eq!(Status::of(&machine, true).to_text(), expected);
    }

    #[test]
    fn who_vouches_for_what_comes_is_told_before_it_runs() {
        let mut machine = machine();
        let mut coming = revision(3, 3, Slot::A, State::Trying);
        coming.verification = Verification::Signed("me@example.com (https://i.example)".into());
        machine.ledger.revisions.push(coming);
        machine.entries.insert(0, entry(3, 3, Some(Slot::A), false));
        let text = Status::of(&machine, true).to_text();
        let expected = "image sha256:3\n          verified by me@example.com (https://i.example)\n\
                                  \x20         a restart is pending\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_damaged_slot_is_told_with_what_to_do() {
        let mut machine = machine();
        assert!(!Status::of(&machine, true).to_text().contains("damaged"));
        machine.booted.slot = Slot::Recovery;
        let text = Status::of(&machine, true).to_text();
        let expected =
            "\ndamaged   slot B cannot be read, so recovery's copy runs\n          `kiln";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_signature_that_nobody_asks_for_is_not_praised() {
        for (sealed, secure_boot, expected) in [
            (Some(false), Some(true), "unsealed"),
            (Some(true), Some(true), "is enforced"),
            (Some(true), Some(false), "Secure Boot is off"),
            (Some(true), None, "says nothing"),
            (None, Some(true), "unknown"),
        ] {
            let status = Status { sealed, secure_boot, ..Status::of(&machine(), true) };
            let text = status.to_text();
            let line = text.lines().find(|line| line.starts_with("trust")).unwrap();
            assert!(line.contains(expected), "{line}");
            let is_praised = (sealed, secure_boot) == (Some(true), Some(true));
            assert_eq!(line.contains("is enforced"), is_praised, "{line}");
        }
    }

    #[test]
    fn a_debug_overlay_is_not_overlooked() {
        let status = Status::of(&machine(), true);
        assert!(!status.to_text().contains("overlay"));
        let text = status.with_debug_overlay(true).to_text();
        assert!(text.contains("\ndebug     overlay: "), "{text}");
    }

    #[test]
    fn a_configuration_that_failed_is_told_with_what_to_do() {
        let status = Status::of(&machine(), true);
        assert!(!status.to_text().contains("configuration"));
        let text = status.with_provisioning_failure(Some("no disk".into())).to_text();
        let expected = "\nfailed    the configuration: no disk\n          `kiln explain` shows";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn loaders_are_told_apart() {
        let loader = |path: &str, known: Option<(&'static str, &str)>, signed| LoaderReport {
            path: path.into(),
            kind: known.map(|(kind, _)| kind),
            version: known.map(|(_, version)| version.to_owned()),
            signed,
        };
        let loaders = vec![
            loader("EFI/systemd/systemd-bootx64.efi", Some(("systemd-boot", "252")), Some(false)),
            loader("EFI/BOOT/grubx64.efi", Some(("systemd-boot", "257.9-1")), Some(true)),
            loader("EFI/BOOT/BOOTX64.EFI", Some(("shim", "16.1")), Some(true)),
            loader("EFI/BOOT/BOOTAA64.EFI", None, None),
        ];
        let text = Status { loaders, ..Status::of(&machine(), true) }.to_text();
        let expected = "
loader    EFI/systemd/systemd-bootx64.efi: systemd-boot 252
          EFI/BOOT/grubx64.efi: systemd-boot 257.9-1, signed
          EFI/BOOT/BOOTX64.EFI: shim 16.1, signed
          EFI/BOOT/BOOTAA64.EFI: not systemd-boot: Kiln leaves it alone
";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn history_reads_like_this() {
        let mut machine = machine();
        machine.ledger.revisions.push(revision(3, 3, Slot::A, State::Failed));
        let event = |time, generation, version: &str| LoaderEvent {
            time,
            generation: Some(generation),
            path: "EFI/BOOT/BOOTX64.EFI".into(),
            version: Some(version.into()),
            kind: None,
        };
        let events = vec![event(0, 1, "252"), event(8, 2, "257"), event(9, 70, "262\n")];
        let record = Record { events, ..Record::default() };
        let text = History::of(&machine.ledger, &record).to_text();
        let expected = "   \
   3  slot A  Edge 3 (edge 3)
      1970-01-01 00:00:01Z  failed
                            health check: disk is read-only
   2  slot B  Edge 2 (edge 2)
      1970-01-01 00:00:01Z  blessed
      1970-01-01 00:00:08Z  EFI/BOOT/BOOTX64.EFI: systemd-boot 257 replaces systemd-boot 252
   1  slot A  Edge 1 (edge 1)
      1970-01-01 00:00:01Z  blessed
      1970-01-01 00:00:09Z  EFI/BOOT/BOOTX64.EFI: systemd-boot 262 replaces systemd-boot 257
";
        assert_eq!(text, expected);
    }
}
