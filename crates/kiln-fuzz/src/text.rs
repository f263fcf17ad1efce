//! Small texts: what the kernel, boot loaders and releases say in one line or a few.

use std::cmp::Ordering;

use kiln_boot::entry::{self, EntryName, Listed, compare_versions};
use kiln_boot::manifest::{Manifest, matches};
use kiln_boot::os_release::{Mode, OsRelease, boot_file_text};
use kiln_init::cmdline::CommandLine;
use kiln_init::{choice, identity, superblock};
use kiln_release::{Release, Sequence};
use kiln_verity::RootArgument;

/// Lines compared with each other; work grows with the cube.
const LINES: usize = 12;
/// Modules whose dependencies are followed.
const MODULES: usize = 50;

pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads the manifest of an initramfs: it is the same when written and read again, and
/// dependencies come before what needs them. Its last line is also a device to match.
pub fn boot_manifest(data: &[u8]) -> bool {
    let text = lossy(data);
    let device = text.lines().last().unwrap_or_default();
    for pattern in text.lines().take(LINES) {
        let _ = matches(pattern, device);
    }
    let Ok(manifest) = Manifest::parse(&text) else { return false };
    assert_eq!(Manifest::parse(&manifest.render()).as_ref(), Ok(&manifest));
    for (index, module) in manifest.modules.iter().enumerate().take(MODULES) {
        assert!(!module.file.contains('/') && !module.file.starts_with('.'));
        let closure = manifest.closure(index);
        assert_eq!(closure.last(), Some(&index));
        assert!(closure.is_sorted());
        for needed in &closure {
            assert!(manifest.modules[*needed].dependencies.iter().all(|one| closure.contains(one)));
        }
    }
    assert!(manifest.always().iter().all(|index| *index < manifest.modules.len()));
    assert!(manifest.matching(device).iter().all(|index| *index < manifest.modules.len()));
    true
}

/// Reads a kernel command line, and the small values that the first process takes from firmware
/// and disks.
pub fn command_line(data: &[u8]) -> bool {
    let text = lossy(data);
    let line = CommandLine::parse(&text);
    if let Ok(line) = &line {
        let root = line.root.to_string();
        assert!(root.parse::<RootArgument>().is_ok_and(|again| again == line.root));
        assert!(line.root.image_length() > line.root.hash_offset());
        assert!(line.init.as_ref().is_none_or(|init| init.starts_with('/')));
        let again = CommandLine::parse(&format!("kiln.root={root}"));
        assert!(again.is_ok_and(|again| again.root == line.root));
        // What somebody appends must not replace what was signed.
        assert!(CommandLine::parse(&format!("kiln.root={root} {text}")).is_err());
    }
    let _ = choice::loader_partition(data);
    let _ = identity::parse(&text);
    if let Some(found) = superblock::parse(data) {
        assert!(found.growth(u64::MAX).is_none_or(|blocks| blocks > found.blocks));
        assert_eq!(found.growth(0), None);
    }
    line.is_ok()
}

/// Reads names of boot files and orders them. Names survive being written; the order is total.
pub fn entry_name(data: &[u8]) -> bool {
    let text = lossy(data);
    let lines: Vec<&str> = text.lines().take(LINES).collect();
    for line in &lines {
        if let Ok(name) = line.parse::<EntryName>() {
            assert_eq!(name.to_string().parse(), Ok(name));
            for other in [name.started(), name.blessed(), name.bad()] {
                assert_eq!(other.to_string().parse(), Ok(other));
                assert_eq!(other.stem(), name.stem());
            }
            assert!(name.bad().is_bad() && !name.blessed().is_bad());
        }
    }
    for one in &lines {
        assert_eq!(compare_versions(one, one), Ordering::Equal);
        for two in &lines {
            let order = compare_versions(one, two);
            assert_eq!(order, compare_versions(two, one).reverse(), "{one:?} {two:?}");
            for three in &lines {
                if order.is_le() && compare_versions(two, three).is_le() {
                    let all = compare_versions(one, three);
                    assert!(all.is_le(), "{one:?} <= {two:?} <= {three:?} but not the first");
                }
            }
        }
    }
    let listed = |line: &&str| {
        let (file, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (key, version) = rest.split_once(' ').unwrap_or((rest, ""));
        Listed { file: file.into(), sort_key: key.into(), version: version.into() }
    };
    let mut sorted: Vec<Listed> = lines.iter().map(listed).collect();
    entry::sort(&mut sorted);
    let once = sorted.clone();
    entry::sort(&mut sorted);
    assert_eq!(once, sorted);
    true
}

/// Reads os-release. Whatever the title, the text of a boot file has three lines that say it.
pub fn os_release(data: &[u8]) -> bool {
    let text = lossy(data);
    let parsed = OsRelease::parse(&text);
    let _ = (parsed.name(), parsed.version());
    let title = parsed.title().unwrap_or(&text);
    for mode in [Mode::System, Mode::Recovery] {
        let written = boot_file_text(title, mode);
        assert_eq!(written.lines().count(), 3, "{written:?}");
        let again = OsRelease::parse(&written);
        assert!(again.get("ID").is_some_and(|id| id.starts_with("kiln")));
        let title = again.get("PRETTY_NAME");
        assert!(title.is_some_and(|title| !title.is_empty()), "{written:?}");
        assert_eq!(title, again.get("NAME"));
    }
    true
}

/// Reads the facts of a release: written again they are the same, and so is their text.
pub fn release(data: &[u8]) -> bool {
    let _ = Sequence::from_created(Some(&lossy(data)));
    let Ok(release) = Release::from_json(data) else { return false };
    let text = match release.to_json() {
        Ok(text) => text,
        Err(error) => panic!("an accepted release is not written: {error}"),
    };
    let again = match Release::from_json(text.as_bytes()) {
        Ok(again) => again,
        Err(error) => panic!("a written release is refused: {error}"),
    };
    assert_eq!(again, release);
    assert!(again.to_json().is_ok_and(|again| again == text), "the text is not canonical");
    true
}
