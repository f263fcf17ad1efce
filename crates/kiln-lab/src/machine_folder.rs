//! A folder that stands for a machine, for figures of what Kiln does on one without booting it.
//!
//! The product takes such a folder in place of its root (`--machine`): the facts of a boot, a folder
//! like sysfs, and files for the disk and its partitions. What runs on it is the product's own code
//! from the command line down to the last write, only the medium is a file. It must never be used to
//! show that something starts: that takes a virtual machine. Loop devices were dropped, because many
//! containers have none.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use kiln_disk::layout::{ESP, ROOT_A, ROOT_B};
use kiln_disk::{FileDevice, Gpt, Guid, PartitionEntry, apply, gpt};

use crate::Oracle;
use crate::error::{Error, file_error};

/// Bytes of a sector of the disk.
const SECTOR: u32 = 512;

/// Bytes behind the last partition, for the second table.
const MARGIN: u64 = 2 << 20;

/// The disk's name in the kernel's words.
const DISK: &str = "vda";

/// What goes back to how it was: the ESP, and all that the state has.
const KEPT: [&str; 2] = ["dev/vda2", "state"];

/// A machine in a folder.
#[derive(Debug)]
pub struct MachineFolder {
    folder: PathBuf,
    /// The root image with its hash tree that slot A holds.
    root: PathBuf,
    slot_length: u64,
}

impl MachineFolder {
    /// Makes one in an empty folder, with what `kiln build` wrote as `NAME.raw` and `NAME.root` in
    /// slot A, nothing in slot B, and generation 1 running. `recipe` is the file of that name in the
    /// root.
    ///
    /// # Errors
    /// When the disk has no table of Kiln's, or the folder cannot be written.
    pub fn new(folder: &Path, raw: &Path, root: &Path, recipe: &Path) -> Result<Self, Error> {
        for name in ["dev", "run/kiln", "state/kiln", "usr/lib/kiln"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).map_err(file_error("create", &path))?;
        }
        let target = folder.join("usr/lib/kiln/recipe.json");
        fs::copy(recipe, &target).map_err(file_error("write", &target))?;
        let built = File::open(raw).map_err(file_error("read", raw))?;
        let device = FileDevice::new(built, SECTOR).map_err(file_error("read", raw))?;
        let unusable = |error: kiln_disk::Error| Error::Unexpected {
            what: format!("the table of {}", raw.display()),
            text: error.to_string(),
        };
        let partitions = gpt::read(&device).map_err(unusable)?.table.partitions;
        let of = |number: u32| {
            let missing = || unusable(kiln_disk::Error::NoFile(format!("partition {number}")));
            partitions.get(&number).cloned().ok_or_else(missing)
        };
        let (esp, slot) = (of(ESP.number)?, of(ROOT_A.number)?);
        let slot_length = slot.length(SECTOR);
        let first_lba = slot.last_lba.max(esp.last_lba) + 1;
        let other = PartitionEntry {
            guid: Guid::from_u128(u128::from(ROOT_B.number)),
            first_lba,
            last_lba: first_lba + slot.sectors() - 1,
            name: ROOT_B.name.into(),
            ..slot.clone()
        };
        let length = (other.last_lba + 1) * u64::from(SECTOR) + MARGIN;
        let mut table =
            Gpt::empty(SECTOR, length, Guid::from_u128(u128::from(SECTOR))).map_err(unusable)?;
        let (number, offset) = (ESP.number, esp.offset(SECTOR));
        copy_stretch(raw, offset, esp.length(SECTOR), &folder.join(format!("dev/vda{number}")))?;
        for (role, entry) in [(ESP, esp), (ROOT_A, slot), (ROOT_B, other)] {
            table.partitions.insert(role.number, entry);
            let node = folder.join(format!("sys/class/block/{DISK}/{DISK}{}", role.number));
            fs::create_dir_all(&node).map_err(file_error("create", &node))?;
            let text = format!("{}\n", role.number);
            fs::write(node.join("partition"), text).map_err(file_error("write", &node))?;
        }
        let path = folder.join("dev").join(DISK);
        let disk = sized(&path, length)?;
        let mut disk = FileDevice::new(disk, SECTOR).map_err(file_error("open", &path))?;
        let writes = gpt::create(&table).map_err(unusable)?;
        apply(&mut disk, &writes).map_err(file_error("write", &path))?;

        let machine = Self { folder: folder.to_owned(), root: root.to_owned(), slot_length };
        machine.fill_slot(0)?;
        sized(&machine.slot_b(), slot_length)?;
        Ok(machine)
    }

    /// The folder, as `--machine` takes it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The medium of slot B.
    #[must_use]
    pub fn slot_b(&self) -> PathBuf {
        self.folder.join(format!("dev/{DISK}{}", ROOT_B.number))
    }

    /// Leaves what the first process leaves when it starts a boot file from a slot.
    ///
    /// # Errors
    /// When the facts cannot be written.
    pub fn start(&self, boot_file: &str, slot: char, root_hash: &str) -> Result<(), Error> {
        let counted = if boot_file.contains('+') { "yes" } else { "no" };
        let text = format!(
            "root={root_hash}\nmode=system\ndisk=/dev/{DISK}\npartition=kiln-root-{slot}\n\
             entry=EFI/Linux/{boot_file}\ncounted={counted}\n"
        );
        let path = self.folder.join("run/kiln/boot");
        fs::write(&path, text).map_err(file_error("write", &path))
    }

    /// Writes slot A anew, its first bytes left out: the hash tree behind them says which release it
    /// is, and nothing can be taken from it.
    ///
    /// # Errors
    /// When the root cannot be read or the slot not be written.
    pub fn fill_slot(&self, left_out: u64) -> Result<(), Error> {
        let path = self.folder.join(format!("dev/{DISK}{}", ROOT_A.number));
        let slot = sized(&path, self.slot_length)?;
        let bytes = fs::read(&self.root).map_err(file_error("read", &self.root))?;
        let start = usize::try_from(left_out).unwrap_or(usize::MAX).min(bytes.len());
        slot.write_all_at(&bytes[start..], start as u64).map_err(file_error("write", &path))
    }

    /// Keeps the machine as it is now for [`MachineFolder::restore`].
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn keep(&self) -> Result<(), Error> {
        KEPT.iter().try_for_each(|name| {
            copy(&self.folder.join(name), &self.folder.join(format!("{name}.kept")))
        })
    }

    /// Makes ESP and state again what they were, and slot B empty. Slot A is never written.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn restore(&self) -> Result<(), Error> {
        for name in KEPT {
            copy(&self.folder.join(format!("{name}.kept")), &self.folder.join(name))?;
        }
        sized(&self.slot_b(), self.slot_length).map(drop)
    }
}

/// An empty file of this length, whatever was there.
fn sized(path: &Path, length: u64) -> Result<File, Error> {
    let mut options = File::options();
    let options = options.create(true).truncate(true).read(true).write(true);
    let file = options.open(path).map_err(file_error("create", path))?;
    file.set_len(length).map_err(file_error("resize", path))?;
    Ok(file)
}

/// Copies a file or folder over another, holes left out.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if to.is_dir() {
        fs::remove_dir_all(to).map_err(file_error("remove", to))?;
    }
    let options = ["--archive", "--sparse=always", "--no-target-directory"];
    Oracle::new("cp").arguments(options).argument(from).argument(to).run().map(drop)
}

/// Copies part of a file, holes left out. Partitions of a built disk begin at whole MiB.
fn copy_stretch(from: &Path, offset: u64, length: u64, to: &Path) -> Result<(), Error> {
    Oracle::new("dd")
        .arguments(["bs=1M", "conv=sparse", "status=none"])
        .argument(format!("skip={}", offset >> 20))
        .argument(format!("count={}", length >> 20))
        .argument(format!("if={}", from.display()))
        .argument(format!("of={}", to.display()))
        .run()?;
    let file = File::options().write(true).open(to).map_err(file_error("open", to))?;
    file.set_len(length).map_err(file_error("resize", to))
}

#[cfg(test)]
mod tests {
    use kiln_disk::layout::{BuildOptions, built_image};

    use super::*;

    #[test]
    fn a_machine_goes_back_to_what_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (raw, root) = (folder.path().join("a.raw"), folder.path().join("a.root"));
        fs::write(&root, [vec![1; 4096], vec![2; 4096]].concat()).unwrap();
        let guid = |number| Guid::from_u128(number);
        let options = BuildOptions {
            sector_size: SECTOR,
            esp_length: 40 << 20,
            slot_length: Some(1 << 20),
            disk_guid: guid(1),
            esp_guid: guid(2),
            root_a_guid: guid(3),
        };
        let table = built_image(8192, &options).unwrap();
        let length = table.disk_sectors * u64::from(SECTOR);
        let mut disk = FileDevice::new(sized(&raw, length).unwrap(), SECTOR).unwrap();
        apply(&mut disk, &gpt::create(&table).unwrap()).unwrap();
        let place = table.partitions[&ESP.number].offset(SECTOR);
        File::options().write(true).open(&raw).unwrap().write_all_at(b"esp", place).unwrap();

        let at = folder.path().join("machine");
        let machine = MachineFolder::new(&at, &raw, &root, &root).unwrap();
        let begins = |name: &str, expected: &[u8]| {
            let mut bytes = vec![0; expected.len()];
            File::open(at.join(name)).unwrap().read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(bytes, expected, "{name}");
        };
        begins("dev/vda2", b"esp");
        begins("dev/vda3", &[1, 1]);
        machine.start("kiln-00000001+3-0.efi", 'a', "ab").unwrap();
        assert!(fs::read_to_string(at.join("run/kiln/boot")).unwrap().contains("counted=yes\n"));

        fs::write(at.join("state/kiln/ledger.json"), "1").unwrap();
        machine.keep().unwrap();
        fs::write(at.join("dev/vda2"), "new").unwrap();
        fs::write(at.join("state/kiln/more"), "2").unwrap();
        fs::write(machine.slot_b(), "new").unwrap();
        machine.restore().unwrap();
        begins("dev/vda2", b"esp");
        begins("dev/vda4", &[0; 3]);
        assert!(!at.join("state/kiln/more").exists());
        assert!(at.join("state/kiln/ledger.json").exists());

        machine.fill_slot(4096).unwrap();
        begins("dev/vda3", &[0; 4096]);
    }
}
