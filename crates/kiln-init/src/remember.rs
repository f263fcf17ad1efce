//! Remembering a failed boot where the loader and the next boot find it: on the ESP.
//!
//! A note with the reason, then the boot file's new name: the mark (`+0-3`), or the one that it had before
//! this boot. Each is crash-safe by itself and in this order, so that no file is marked without a reason. Mounting the ESP was dropped: the
//! kernel's vfat promises no order of writes, and a failing boot is when power goes off.

use crate::blame::{Verdict, is_listed, new_name};
use crate::{boot_file, grub};
use kiln_boot::entry::{EntryName, FOLDER, RECOVERY_PATH};
use kiln_disk::fat::Fat;
use kiln_disk::fat::update::{Change, Volume};
use kiln_disk::{BlockDevice, Error, apply};
use kiln_grub::ENVIRONMENT_PATH;
use kiln_verity::RootArgument;

/// Folder for notes on the ESP, made level by level.
const NOTE_FOLDERS: [&str; 2] = ["EFI", "EFI/kiln"];
/// Largest boot file that is read, in bytes.
const BOOT_FILE_MAXIMUM: u32 = 256 << 20;
/// Longest note in bytes, so that no name found on a disk can fill the ESP.
const NOTE_MAXIMUM: usize = 4096;

/// What this boot came from, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Number of the boot file; `None` without firmware, when only the root tells.
    pub generation: Option<u32>,
    /// The root that was to be booted.
    pub root: RootArgument,
}

/// What was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Path of the note.
    pub note: Option<String>,
    /// New path of the boot file.
    pub renamed: Option<String>,
    /// Whether there is a boot file of recovery.
    pub has_recovery: bool,
}

/// An ESP somewhere on a device: byte offset and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Byte offset.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

/// Writes the note about `origin`, and gives its boot file the name that `verdict` asks for. Nothing is changed if the boot file cannot be told for certain.
///
/// # Errors
/// The device fails, or the ESP is damaged beyond what an interrupted change leaves; it is then old
/// or new in each of the two changes.
pub fn remember(
    device: &mut dyn BlockDevice,
    place: Place,
    origin: &Origin,
    verdict: Verdict,
    text: &str,
) -> Result<Remembered, Error> {
    let mut esp = Esp { device, place };
    let repair = esp.volume()?.repair(FOLDER)?;
    esp.write(&repair)?;
    let files = esp.files()?;
    let Some((own, generation)) = esp.own(&files, origin)? else {
        return Ok(Remembered { has_recovery: has_recovery(&files), ..Remembered::default() });
    };
    let note = format!("EFI/kiln/failure-{generation:08}.txt");
    // A full ESP has no room for the note; the mark needs none.
    let noted = esp.put_note(&files, &note, text);
    let renamed = new_name(&files, &own, verdict);
    if let Some(to) = &renamed {
        esp.change(&Change::Move { from: &own, to })?;
    }
    // GRUB takes the smaller of its own number and the name's, so this may come second.
    esp.change_environment(&files, |block| grub::judged(block, generation, verdict))?;
    noted?;
    Ok(Remembered { note: Some(note), renamed, has_recovery: has_recovery(&files) })
}

/// Asks GRUB for recovery at the next boot. False where there is no GRUB, or none that can be asked.
///
/// # Errors
/// As [`remember`].
pub fn wish_for_recovery(device: &mut dyn BlockDevice, place: Place) -> Result<bool, Error> {
    let mut esp = Esp { device, place };
    let repair = esp.volume()?.repair(FOLDER)?;
    esp.write(&repair)?;
    let files = esp.files()?;
    esp.change_environment(&files, grub::with_recovery_next)
}

fn has_recovery(files: &[String]) -> bool {
    files.iter().any(|path| path.eq_ignore_ascii_case(RECOVERY_PATH))
}

/// The ESP, with one change at a time.
struct Esp<'a> {
    device: &'a mut dyn BlockDevice,
    place: Place,
}

impl Esp<'_> {
    fn volume(&self) -> Result<Volume<'_>, Error> {
        Volume::open(&*self.device, self.place.offset, self.place.length)
    }

    fn fat(&self) -> Result<Fat<'_>, Error> {
        Fat::open(&*self.device, self.place.offset, self.place.length)
    }

    /// Paths of everything on it.
    fn files(&self) -> Result<Vec<String>, Error> {
        Ok(self.fat()?.list()?.into_iter().map(|entry| entry.path).collect())
    }

    /// The boot file with the origin's number and root, and its number; without a number the only
    /// one with the root. The loader may have renamed it since, so the counter does not matter.
    fn own(&self, files: &[String], origin: &Origin) -> Result<Option<(String, u32)>, Error> {
        let fat = self.fat()?;
        let mut found: Option<(String, u32)> = None;
        for path in files.iter().filter(|path| is_listed(path)) {
            let name = path.rsplit('/').next().unwrap_or_default();
            let Ok(name) = name.parse::<EntryName>() else { continue };
            if origin.generation.is_some_and(|generation| generation != name.generation) {
                continue;
            }
            match fat.read(path, BOOT_FILE_MAXIMUM) {
                Ok(file) if boot_file::root(&file) == Some(origin.root) => {}
                // Damaged ones are not ours: we were started.
                Ok(_) | Err(Error::Fat(_)) => continue,
                Err(error) => return Err(error),
            }
            if found.is_some() {
                return Ok(None);
            }
            found = Some((path.clone(), name.generation));
        }
        Ok(found)
    }

    fn put_note(&mut self, files: &[String], path: &str, text: &str) -> Result<(), Error> {
        let has = |path: &str| files.iter().any(|file| file.eq_ignore_ascii_case(path));
        let bytes = text.as_bytes();
        let bytes = bytes.get(..NOTE_MAXIMUM).unwrap_or(bytes);
        if has(path) {
            return self.change(&Change::Replace { path, bytes });
        }
        for folder in NOTE_FOLDERS {
            if !has(folder) {
                self.change(&Change::MakeDirectory { path: folder })?;
            }
        }
        self.change(&Change::Add { path, bytes })
    }

    /// Changes GRUB's environment block, if there is one and `change` gives another; whether it did.
    fn change_environment(
        &mut self,
        files: &[String],
        change: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<bool, Error> {
        if !files.iter().any(|path| path.eq_ignore_ascii_case(ENVIRONMENT_PATH)) {
            return Ok(false);
        }
        let block = self.fat()?.read(ENVIRONMENT_PATH, grub::BLOCK_MAXIMUM)?;
        let Some(bytes) = change(&block) else { return Ok(false) };
        self.change(&Change::Replace { path: ENVIRONMENT_PATH, bytes: &bytes })?;
        Ok(true)
    }

    fn change(&mut self, change: &Change<'_>) -> Result<(), Error> {
        let writes = self.volume()?.plan(change)?;
        self.write(&writes)
    }

    fn write(&mut self, writes: &[kiln_disk::Write<'_>]) -> Result<(), Error> {
        let Place { offset, length } = self.place;
        let failed = |source| Error::Device { action: "write", offset, length, source };
        apply(self.device, writes).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_disk::MemoryDevice;
    use kiln_disk::fat::{FatFile, format_filesystem};
    use kiln_grub::environment::Environment;

    /// The ESP does not begin where the disk does.
    const PLACE: Place = Place { offset: 1 << 20, length: 40 << 20 };

    fn root(byte: &str) -> RootArgument {
        format!("{}:100:{}", byte.repeat(32), "01".repeat(32)).parse().unwrap()
    }

    fn device(files: &[(&str, &str)]) -> MemoryDevice {
        let contents: Vec<(String, Vec<u8>)> = files
            .iter()
            .map(|(path, byte)| {
                let line = format!("kiln.root={} quiet", root(byte));
                ((*path).to_owned(), boot_file::with_command_line(&line))
            })
            .collect();
        let files: Vec<FatFile<'_>> =
            contents.iter().map(|(path, bytes)| FatFile { path, bytes }).collect();
        let label = b"KILN-ESP   ";
        let mut device = MemoryDevice::empty(PLACE.offset + PLACE.length, 512).unwrap();
        for (at, bytes) in format_filesystem(PLACE.length, 512, 1, label, &files).unwrap() {
            device.write_at(PLACE.offset + at, &bytes).unwrap();
        }
        device
    }

    fn paths(device: &MemoryDevice) -> Vec<String> {
        let fat = Fat::open(device, PLACE.offset, PLACE.length).unwrap();
        let list = fat.list().unwrap().into_iter().filter(|entry| !entry.directory);
        list.map(|entry| entry.path).collect()
    }

    const OLD: &str = "EFI/Linux/kiln-00000001.efi";
    const NEW: &str = "EFI/Linux/kiln-00000002+2-1.efi";
    const BAD: &str = "EFI/Linux/kiln-00000002+0-3.efi";
    const FRESH: &str = "EFI/Linux/kiln-00000002+3-0.efi";
    const NOTE: &str = "EFI/kiln/failure-00000002.txt";

    #[test]
    fn the_own_entry_is_noted_and_marked() {
        use Verdict::{Bad, GiveBack, Keep};
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<u32>, Verdict, Option<&'a str>, bool);
        let cases: [Case<'_>; 11] = [
            (&[(OLD, "aa"), (NEW, "bb")], Some(2), Bad, Some(BAD), true),
            (&[(OLD, "aa"), (NEW, "bb")], None, Bad, Some(BAD), true),
            (&[(OLD, "aa"), (NEW, "bb")], Some(2), Keep, None, true),
            (&[(NEW, "bb")], Some(2), Bad, None, true),
            // The number alone does not make it ours, and neither does the root.
            (&[(OLD, "aa"), (NEW, "cc")], Some(2), Bad, None, false),
            (&[(OLD, "bb"), (NEW, "bb")], Some(3), Bad, None, false),
            (&[(OLD, "bb"), (NEW, "bb")], None, Bad, None, false),
            (&[(OLD, "bb"), (NEW, "bb")], Some(2), Bad, Some(BAD), true),
            (&[(OLD, "aa"), (NEW, "bb")], Some(2), GiveBack, Some(FRESH), true),
            (&[(NEW, "bb")], None, GiveBack, Some(FRESH), true),
            (&[(OLD, "bb")], Some(1), GiveBack, None, true),
        ];
        for (files, generation, verdict, renamed, noted) in cases {
            let mut device = device(files);
            let origin = Origin { generation, root: root("bb") };
            let done = remember(&mut device, PLACE, &origin, verdict, "it broke\n").unwrap();
            assert_eq!(done.renamed.as_deref(), renamed, "{files:?} {generation:?}");
            let note =
                noted.then(|| format!("EFI/kiln/failure-{:08}.txt", generation.unwrap_or(2)));
            assert_eq!(done.note, note, "{files:?} {generation:?}");
            let mut expected: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
            if let Some(renamed) = renamed {
                expected.retain(|path| *path != NEW);
                expected.push(renamed);
            }
            expected.extend(note.as_deref());
            let mut found = paths(&device);
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected, "{files:?} {generation:?}");
        }
    }

    #[test]
    fn a_second_failure_replaces_the_note() {
        let mut device = device(&[(OLD, "aa"), (NEW, "bb")]);
        let origin = Origin { generation: Some(2), root: root("bb") };
        remember(&mut device, PLACE, &origin, Verdict::Bad, "first\n").unwrap();
        let again = remember(&mut device, PLACE, &origin, Verdict::Bad, "second\n").unwrap();
        assert_eq!(again.renamed, None, "it was bad already");
        let fat = Fat::open(&device, PLACE.offset, PLACE.length).unwrap();
        assert_eq!(fat.read(NOTE, 100).unwrap(), b"second\n");
    }

    #[test]
    fn grub_counts_beside_the_name_and_hears_of_recovery() {
        let mut device = device(&[(OLD, "aa"), (FRESH, "bb"), ("kiln/grub/grubenv", "cc")]);
        let mut environment = Environment::default();
        environment.set_left(2, Some(2));
        let block = environment.to_bytes().unwrap();
        let mut esp = Esp { device: &mut device, place: PLACE };
        esp.change(&Change::Replace { path: ENVIRONMENT_PATH, bytes: &block }).unwrap();

        let origin = Origin { generation: Some(2), root: root("bb") };
        let done = remember(&mut device, PLACE, &origin, Verdict::GiveBack, "x\n").unwrap();
        assert_eq!(done.renamed, None, "the name has all its tries");
        let read = |device: &MemoryDevice| {
            let fat = Fat::open(device, PLACE.offset, PLACE.length).unwrap();
            Environment::parse(&fat.read(ENVIRONMENT_PATH, 2048).unwrap()).unwrap()
        };
        assert_eq!(read(&device).left(2), Some(3));
        assert!(wish_for_recovery(&mut device, PLACE).unwrap());
        assert_eq!(read(&device).one_shot(), Some("kiln-recovery.efi"));
        let mut without = self::device(&[(OLD, "aa")]);
        assert!(!wish_for_recovery(&mut without, PLACE).unwrap());
    }

    #[test]
    fn what_is_no_file_system_is_left_alone() {
        let mut device = MemoryDevice::empty(PLACE.offset + PLACE.length, 512).unwrap();
        let origin = Origin { generation: Some(2), root: root("bb") };
        assert!(remember(&mut device, PLACE, &origin, Verdict::Bad, "x").is_err());
        assert_eq!(device.pieces().count(), 0);
    }
}
