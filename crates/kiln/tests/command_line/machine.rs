//! A machine made of a disk that the program built: facts, a folder like sysfs, and files for the
//! disk and its partitions. Slot B is full of old bytes, as it is on a machine with a past.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use kiln_disk::fat::Fat;
use kiln_disk::layout::{ESP, ROOT_A, ROOT_B};
use kiln_disk::{FileDevice, PartitionEntry, apply, gpt};
use kiln_erofs::Image;

use crate::fixture::{Bench, kiln};

/// Largest file that a test reads, in bytes.
const PLENTY: u32 = 64 << 20;

/// One machine in a folder of a bench.
pub struct Machine<'a> {
    bench: &'a Bench,
    root_hashes: Vec<String>,
}

impl<'a> Machine<'a> {
    /// Made of `out/edge.raw` and `out/edge.root`, with generation 1 running.
    pub fn of_built(bench: &'a Bench, root_hash: &str) -> Self {
        let machine = Self { bench, root_hashes: vec![root_hash.to_owned()] };
        for folder in ["dev", "run/kiln", "state/kiln", "usr/lib/kiln"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        let built = FileDevice::new(File::open(bench.path("out/edge.raw")).unwrap(), 512).unwrap();
        let mut table = gpt::read(&built).unwrap().table;
        let source = File::open(bench.path("out/edge.raw")).unwrap();
        let mut end = 0;
        for role in [ESP, ROOT_A] {
            let entry = &table.partitions[&role.number];
            let mut bytes = vec![0; usize::try_from(entry.length(512)).unwrap()];
            source.read_exact_at(&mut bytes, entry.offset(512)).unwrap();
            fs::write(machine.path(&format!("dev/vda{}", role.number)), &bytes).unwrap();
            end = end.max(entry.last_lba + 1);
        }
        let slot = table.partitions[&ROOT_A.number].clone();
        let length = usize::try_from(slot.length(512)).unwrap();
        fs::write(machine.path("dev/vda4"), vec![0xff; length]).unwrap();
        let entry = PartitionEntry {
            guid: kiln_disk::Guid::from_u128(99),
            first_lba: end,
            last_lba: end + slot.sectors() - 1,
            name: ROOT_B.name.into(),
            ..slot
        };
        let disk_length = (entry.last_lba + 1) * 512 + (2 << 20);
        let mut larger = kiln_disk::Gpt::empty(512, disk_length, table.disk_guid).unwrap();
        larger.partitions = std::mem::take(&mut table.partitions);
        larger.partitions.insert(ROOT_B.number, entry);
        let path = machine.path("dev/vda");
        let disk = File::options().create_new(true).read(true).write(true).open(path).unwrap();
        disk.set_len(disk_length).unwrap();
        let mut disk = FileDevice::new(disk, 512).unwrap();
        apply(&mut disk, &gpt::create(&larger).unwrap()).unwrap();
        for number in 2..=4 {
            let node = machine.path(&format!("sys/class/block/vda/vda{number}"));
            fs::create_dir_all(&node).unwrap();
            fs::write(node.join("partition"), format!("{number}\n")).unwrap();
        }
        machine.install_recipe();
        machine.start(1, 'a');
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bench.path("machine").join(name)
    }

    /// Where the root has its recipe, the machine has it.
    fn install_recipe(&self) {
        let image = Image::open(File::open(self.bench.path("out/edge.root")).unwrap()).unwrap();
        let inode = image.lookup(b"usr/lib/kiln/recipe.json").unwrap().unwrap();
        assert_eq!(inode.raw.mode & 0o7777, 0o600, "it holds password hashes");
        let text = image.read(&inode, 1 << 20).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains("secret"));
        fs::write(self.path("usr/lib/kiln/recipe.json"), text).unwrap();
    }

    /// A call on this machine.
    pub fn kiln(&self, arguments: &[&str]) -> Command {
        let mut command = kiln(arguments);
        command.arg("--machine").arg(self.path(""));
        if arguments[0] == "upgrade" {
            command.args(["--runtime", &self.bench.runtime(), "--platform", "linux/amd64"]);
        }
        command
    }

    /// The root of the next generation, as the builder's own build had it.
    pub fn expect_root(&mut self, root_hash: &str) {
        self.root_hashes.push(root_hash.to_owned());
    }

    /// What the first process leaves when it starts a generation from a slot.
    pub fn start(&self, generation: usize, slot: char) {
        let entry = format!("kiln-{generation:08}");
        let counted = self.entries().iter().any(|name| name.starts_with(&format!("{entry}+")));
        let text = format!(
            "root={}\nmode=system\ndisk=/dev/vda\npartition=kiln-root-{slot}\n\
             entry=EFI/Linux/{entry}.efi\ncounted={}\n",
            self.root_hashes[generation - 1],
            if counted { "yes" } else { "no" },
        );
        fs::write(self.path("run/kiln/boot"), text).unwrap();
        let _ = fs::remove_file(self.path("run/kiln/blessed"));
    }

    /// Names below a folder of the ESP, sorted.
    pub fn files(&self, folder: &str) -> Vec<String> {
        let device = FileDevice::new(File::open(self.path("dev/vda2")).unwrap(), 512).unwrap();
        let fat = Fat::open(&device, 0, kiln_disk::BlockDevice::length(&device)).unwrap();
        let mut names: Vec<String> = fat
            .list()
            .unwrap()
            .into_iter()
            .filter_map(|entry| {
                entry.path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned)
            })
            .collect();
        names.sort();
        names
    }

    /// Boot files that the loader lists.
    pub fn entries(&self) -> Vec<String> {
        self.files("EFI/Linux")
    }

    /// What the loader does when all tries of a generation are used up.
    pub fn use_up(&self, generation: usize) {
        use kiln_disk::fat::update::{Change, Volume};
        let file = File::options().read(true).write(true).open(self.path("dev/vda2")).unwrap();
        let mut device = FileDevice::new(file, 512).unwrap();
        let (from, to) = (
            format!("EFI/Linux/kiln-{generation:08}+3-0.efi"),
            format!("EFI/Linux/kiln-{generation:08}+0-3.efi"),
        );
        let length = kiln_disk::BlockDevice::length(&device);
        let volume = Volume::open(&device, 0, length).unwrap();
        let writes = volume.plan(&Change::Move { from: &from, to: &to }).unwrap();
        drop(volume);
        apply(&mut device, &writes).unwrap();
        let fat = Fat::open(&device, 0, length).unwrap();
        assert!(!fat.read(&to, PLENTY).unwrap().is_empty());
    }

    /// The first bytes of a slot.
    pub fn slot(&self, number: u32, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let slot = File::open(self.path(&format!("dev/vda{number}"))).unwrap();
        slot.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// A file of the machine as text.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Writes a health check.
    pub fn health_check(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = self.path("etc/kiln/health.d");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
