//! A machine of files for tests: disks, partitions and nodes are files, programs leave the marks that
//! real ones leave, mounts are remembered.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use kiln_config::action::KernelArguments;
use kiln_disk::layout::{ESP, ROOT_A, STATE};
use kiln_disk::{FileDevice, Gpt, Guid, PartitionEntry, gpt};

use super::disks::{Disks, DisksOptions};
use super::kernel::{Device, Kernel, Mount, extents};
use crate::{Error, Finished, Invocation, Ledger, Programs};

pub(super) const MIB: u64 = 1 << 20;

/// What happened, and what the kernel knows.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Mounts and programs in their order, with paths as the machine sees them.
    pub(super) log: Vec<String>,
    /// Devices that somebody uses.
    pub(super) busy: BTreeSet<String>,
    /// What a device is made of.
    pub(super) below: BTreeMap<String, String>,
    /// A program or mount fails whose line holds this.
    pub(super) bad: Option<String>,
    /// Lines for the console.
    pub(super) said: Vec<String>,
    /// Names of the variables that programs were given.
    pub(super) variables: BTreeSet<String>,
}

pub(super) struct Fake {
    root: PathBuf,
    world: Rc<RefCell<World>>,
}

impl Fake {
    fn device_of(&self, name: &str) -> Option<Device> {
        let node = self.root.join("dev").join(name);
        fs::metadata(&node).ok().filter(fs::Metadata::is_file)?;
        let digits = name.trim_start_matches(|letter: char| !letter.is_ascii_digit());
        let disk = name.strip_suffix(digits).unwrap_or_default();
        let partition = digits.parse().ok().map(|number| (disk.to_owned(), number));
        let is_disk = self.root.join("dev").join(disk).is_file();
        Some(Device { name: name.into(), node, partition: partition.filter(|_| is_disk) })
    }

    fn shown(&self, path: &Path) -> String {
        format!("/{}", path.strip_prefix(&self.root).unwrap().display())
    }

    fn log(&self, line: String) {
        self.world.borrow_mut().log.push(line);
    }
}

impl Kernel for Fake {
    fn device(&self, node: &Path) -> Option<Device> {
        let name = node.strip_prefix(self.root.join("dev")).ok()?.to_str()?;
        self.device_of(name)
    }

    fn named(&self, name: &str) -> Option<Device> {
        self.device_of(name)
    }

    fn all(&self) -> Vec<Device> {
        let mut names = Vec::new();
        for folder in ["", "md/", "mapper/"] {
            let entries = fs::read_dir(self.root.join("dev").join(folder));
            for entry in entries.into_iter().flatten().flatten() {
                names.push(format!("{folder}{}", entry.file_name().to_str().unwrap()));
            }
        }
        names.sort();
        names.iter().filter_map(|name| self.device_of(name)).collect()
    }

    fn made_of(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::from([name.to_owned()]);
        found.extend(self.world.borrow().below.get(name).cloned());
        found
    }

    fn made_into(&self, name: &str) -> Vec<String> {
        let world = self.world.borrow();
        world.below.iter().filter(|(_, on)| *on == name).map(|(above, _)| above.clone()).collect()
    }

    fn system_disks(&self) -> BTreeSet<String> {
        BTreeSet::from(["vda".to_owned()])
    }

    fn sector_size(&self, _: &File, _: &str) -> Result<u32, Error> {
        Ok(512)
    }

    fn claim(&self, device: &Device) -> Result<(), Error> {
        if self.world.borrow().busy.contains(&device.name) {
            let busy = std::io::Error::from(rustix::io::Errno::BUSY);
            return Err(crate::error::file("use", &device.name)(busy));
        }
        Ok(())
    }

    fn tell(&mut self, disk: &Device, open: &File, table: &Gpt) -> Result<(), Error> {
        for old in self.all() {
            if old.partition.is_some_and(|(name, _)| name == disk.name) {
                fs::remove_file(old.node).unwrap();
            }
        }
        for extent in extents(table) {
            let node = self.root.join("dev").join(format!("{}{}", disk.name, extent.number));
            let partition = File::create(node).unwrap();
            partition.set_len(extent.length).unwrap();
            let mut bytes = vec![0; usize::try_from(extent.length.min(MIB)).unwrap()];
            open.read_exact_at(&mut bytes, extent.offset).unwrap();
            partition.write_all_at(&bytes, 0).unwrap();
        }
        Ok(())
    }

    fn mount(&mut self, mount: &Mount<'_>) -> Result<(), Error> {
        let source = mount.source.rsplit('/').next().unwrap();
        let flags = if mount.options.read_only { " ro" } else { "" };
        let (kind, target) = (mount.kind, self.shown(mount.target));
        let line =
            format!("mount {source} {target} {kind}{flags} {}", mount.data).trim().to_owned();
        self.log(line.clone());
        if self.world.borrow().bad.as_ref().is_some_and(|bad| line.contains(bad)) {
            let invalid = std::io::Error::from(rustix::io::Errno::INVAL);
            return Err(crate::error::file("mount", &line)(invalid));
        }
        Ok(())
    }

    fn bind(&mut self, source: &Path, target: &Path) -> Result<(), Error> {
        self.log(format!("bind {} {}", self.shown(source), self.shown(target)));
        Ok(())
    }

    fn move_to(&mut self, source: &Path, target: &Path) -> Result<(), Error> {
        self.log(format!("move {} {}", self.shown(source), self.shown(target)));
        Ok(())
    }

    fn detach(&mut self, target: &Path) -> Result<(), Error> {
        self.log(format!("unmount {}", self.shown(target)));
        Ok(())
    }
}

/// Programs that leave their marks.
pub(super) struct Marks {
    root: PathBuf,
    world: Rc<RefCell<World>>,
}

impl Marks {
    /// Writes to a partition and to its place on the disk.
    fn write(&self, node: &str, marks: &[(u64, &[u8])]) {
        let path = self.root.join(node.trim_start_matches('/'));
        let digits = node.trim_start_matches(|letter: char| !letter.is_ascii_digit());
        let disk = self.root.join(node.strip_suffix(digits).unwrap().trim_start_matches('/'));
        let mut places = vec![(path, 0)];
        if let (Ok(number), true) = (digits.parse::<u32>(), disk.is_file()) {
            let open = FileDevice::new(File::open(&disk).unwrap(), 512).unwrap();
            let entry = gpt::read(&open).unwrap().table.partitions[&number].clone();
            places.push((disk, entry.offset(512)));
        }
        for (path, offset) in places {
            let file = File::options().write(true).open(path).unwrap();
            for (at, bytes) in marks {
                file.write_all_at(bytes, offset + at).unwrap();
            }
        }
    }
}

fn raw(uuid: &str) -> Vec<u8> {
    let digits: Vec<char> = uuid.chars().filter(char::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

impl Programs for Marks {
    fn run(&mut self, invocation: &Invocation<'_>) -> Result<Finished, Error> {
        let name = invocation.program.rsplit('/').next().unwrap();
        let words = &invocation.arguments;
        let line = format!("{name} {}", words.join(" "));
        // The log has no settling; a test may ask for the variable that makes it work.
        let variables = invocation.environment.iter().map(|(name, _)| name.clone());
        self.world.borrow_mut().variables.extend(variables);
        if name != "udevadm" {
            self.world.borrow_mut().log.push(line.clone());
        }
        if self.world.borrow().bad.as_ref().is_some_and(|bad| line.contains(bad)) {
            return Ok(Finished { fault: Some("exit status 1".into()), output: "broken".into() });
        }
        let last = words.last().cloned().unwrap_or_default();
        let behind = |word: &str| {
            let place = words.iter().position(|one| one == word);
            place.and_then(|place| words.get(place + 1)).cloned().unwrap_or_default()
        };
        let of = |prefix: &str| {
            words.iter().find_map(|word| word.strip_prefix(prefix)).unwrap_or_default().to_owned()
        };
        let node = |path: &str| self.root.join(path.trim_start_matches('/'));
        match name {
            "mkfs.ext4" => self.write(
                &last,
                &[
                    (1080, &[0x53, 0xef]),
                    (1120, &[0x40]),
                    (1128, &raw(&behind("-U"))),
                    (1144, behind("-L").as_bytes()),
                ],
            ),
            "mkfs.xfs" => self.write(
                &last,
                &[(0, b"XFSB"), (32, &raw(&of("uuid="))), (108, behind("-L").as_bytes())],
            ),
            "cryptsetup" if words[0] == "luksFormat" => self.write(
                &last,
                &[
                    (0, b"LUKS\xba\xbe\0\x02"),
                    (24, of("--label=").as_bytes()),
                    (168, of("--uuid=").as_bytes()),
                ],
            ),
            "cryptsetup" if words[0] == "luksOpen" => {
                fs::create_dir_all(node("dev/mapper")).unwrap();
                let made = File::create(node("dev/mapper").join(&last)).unwrap();
                made.set_len(MIB).unwrap();
            }
            "cryptsetup" => fs::remove_file(node("dev/mapper").join(&last)).unwrap(),
            "mdadm" if words[0] == "--stop" => fs::remove_file(node(&last)).unwrap(),
            // The link comes from udev.
            "mdadm" if words[0] == "--run" => {
                fs::create_dir_all(node("dev/md")).unwrap();
                File::create(node("dev/md/data")).unwrap().set_len(MIB).unwrap();
            }
            "mdadm" => {
                let array = words.iter().find(|word| word.starts_with("/dev/md/")).unwrap();
                fs::create_dir_all(node("dev/md")).unwrap();
                File::create(node(array)).unwrap().set_len(MIB).unwrap();
                let label = array.trim_start_matches("/dev/md/");
                for member in words.iter().filter(|word| word.starts_with("/dev/vd")) {
                    self.write(
                        member,
                        &[
                            (4096, &[0xfc, 0x4e, 0x2b, 0xa9, 1]),
                            (4112, &raw(&of("--uuid="))),
                            (4128, format!("any:{label}").as_bytes()),
                        ],
                    );
                }
            }
            _ => {}
        }
        Ok(Finished { fault: None, output: "/dev/vdb\n".into() })
    }
}

/// The machine: `vda` with Kiln on it, `vdb` of 64 MiB and `vdc` of 32 MiB empty.
pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) world: Rc<RefCell<World>>,
}

pub(super) fn entry(first_mib: u64, size_mib: u64, type_guid: Guid, name: &str) -> PartitionEntry {
    PartitionEntry {
        type_guid,
        guid: Guid::from_u128(u128::from(first_mib)),
        first_lba: first_mib * 2048,
        last_lba: (first_mib + size_mib) * 2048 - 1,
        attributes: 0,
        name: name.into(),
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap(), world: Rc::default() };
        for folder in ["dev/disk/by-id", "state/oem", "usr/sbin", "var/lib", "oem", "srv", "run"] {
            fs::create_dir_all(bench.path(folder)).unwrap();
        }
        let programs =
            ["mkfs.ext4", "mkfs.xfs", "mkswap", "cryptsetup", "mdadm", "e2fsck", "resize2fs", "sh"];
        for name in programs {
            fs::write(bench.path("usr/sbin").join(name), "").unwrap();
        }
        fs::write(bench.path("var/lib/factory"), "x").unwrap();
        for (name, size) in [("vda", 64), ("vdb", 64), ("vdc", 32)] {
            File::create(bench.path("dev").join(name)).unwrap().set_len(size * MIB).unwrap();
        }
        let mut table = Gpt::empty(512, 64 * MIB, Guid::from_u128(7)).unwrap();
        table.partitions.insert(2, entry(1, 8, ESP.type_guid, ESP.name));
        table.partitions.insert(3, entry(9, 16, ROOT_A.type_guid, ROOT_A.name));
        table.partitions.insert(5, entry(25, 16, STATE.type_guid, STATE.name));
        bench.table("vda", &table);
        std::os::unix::fs::symlink("../../vda5", bench.path("dev/disk/by-id/x-part5")).unwrap();
        bench
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(path)
    }

    fn fake(&self) -> Fake {
        Fake { root: self.path(""), world: self.world.clone() }
    }

    /// Writes a table and shows its partitions.
    pub(super) fn table(&self, disk: &str, table: &Gpt) {
        let open =
            File::options().read(true).write(true).open(self.path("dev").join(disk)).unwrap();
        let mut device = FileDevice::new(open, 512).unwrap();
        kiln_disk::apply(&mut device, &gpt::create(table).unwrap()).unwrap();
        let mut fake = self.fake();
        let named = fake.named(disk).unwrap();
        fake.tell(&named, device.file(), table).unwrap();
    }

    pub(super) fn located(&self, disk: &str) -> gpt::Located {
        let open = File::open(self.path("dev").join(disk)).unwrap();
        gpt::read(&FileDevice::new(open, 512).unwrap()).unwrap()
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger::open(&self.path("state"), 1).unwrap()
    }

    /// All bytes of all disks: disk, place and contents of each stretch that was written.
    pub(super) fn bytes(&self) -> Vec<(&'static str, u64, Vec<u8>)> {
        use rustix::fs::{SeekFrom, seek};
        let mut stretches = Vec::new();
        for name in ["vda", "vdb", "vdc"] {
            let file = File::open(self.path("dev").join(name)).unwrap();
            let mut at = 0;
            while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
                at = seek(&file, SeekFrom::Hole(start)).unwrap();
                let mut bytes = vec![0; usize::try_from(at - start).unwrap()];
                file.read_exact_at(&mut bytes, start).unwrap();
                stretches.push((name, start, bytes));
            }
        }
        stretches
    }

    pub(super) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.world.borrow_mut().log)
    }

    /// Marks at the start of a device.
    pub(super) fn mark(&self, node: &str, marks: &[(u64, &[u8])]) {
        self.programs().write(node, marks);
    }

    pub(super) fn programs(&self) -> Marks {
        Marks { root: self.path(""), world: self.world.clone() }
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Disks<'_>) -> T) -> T {
        let mut programs = self.programs();
        let world = self.world.clone();
        let say = move |line: &str| world.borrow_mut().said.push(line.to_owned());
        let world = self.world.clone();
        let mut kernel_arguments = move |arguments: &KernelArguments| {
            let line = format!("arguments {}", arguments.should_exist.join(" "));
            world.borrow_mut().log.push(line);
            Ok(true)
        };
        let options = DisksOptions {
            root: self.path(""),
            state: self.path("state"),
            ledger: self.ledger(),
            programs: &mut programs,
            say: &say,
            kernel_arguments: &mut kernel_arguments,
        };
        let mut disks =
            Disks::with(options, Box::new(self.fake()), Duration::from_millis(50)).unwrap();
        work(&mut disks)
    }
}
