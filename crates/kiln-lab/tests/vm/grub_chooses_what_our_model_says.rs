//! Promise: on a machine with BIOS, GRUB's menu starts and counts what Kiln's model of it says,
//! whatever lies on the disk and in what state its environment block is.
//!
//! Each start takes a second: the boot files are empty, and what would load them says so and
//! restarts.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use kiln_boot::entry::{EntryName, FOLDER, RECOVERY_FILE};
use kiln_disk::fat::{Fat, FatFile, format_filesystem};
use kiln_disk::layout::{BIOS, ESP};
use kiln_disk::{BlockDevice, FileDevice, Gpt, Guid, PartitionEntry, apply, gpt};
use kiln_grub::choice::{Decision, Found, decide};
use kiln_grub::core::{Directory, Partition, disk};
use kiln_grub::environment::Environment;
use kiln_grub::menu::{Settings, menu};
use kiln_grub::{ENVIRONMENT_PATH, MENU_PATH, RECOVERY_PATH, revision_path};
use kiln_lab::{Failure, VirtualMachine, WorkDirectory, product};
use kiln_qemu::{Boot, Disk, DiskFormat};

/// Where the Debian package grub-pc-bin has GRUB.
const GRUB: &str = "/usr/lib/grub/i386-pc";

/// From power on to the restart on an idle computer, and longer where GRUB waits for somebody to
/// read what failed, ten seconds for each.
const START: Duration = Duration::from_secs(5);
const FAILING_START: Duration = Duration::from_secs(45);

const SECTOR: u32 = 512;
const MIB: u64 = 1 << 20;
/// Length of the ESP: FAT32 with small clusters.
const ESP_LENGTH: u64 = 40 * MIB;
/// Identity of the ESP, as GRUB writes it.
const ESP_GUID: u128 = 0x0b1e_55ed_cafe_4bad_8bad_f00d_0123_4567;
const ESP_NAME: &str = "0b1e55ed-cafe-4bad-8bad-f00d01234567";

/// What is in the place of the environment block.
enum Block<'a> {
    Missing,
    Bytes(&'a [u8]),
    /// One with these tries and this wish.
    Of(&'a [(u32, u8)], Option<&'a str>),
    /// The same, with this text in its variables.
    With(&'a str),
}

use Block::{Bytes, Missing, Of, With};

impl Block<'_> {
    fn bytes(&self) -> Option<Vec<u8>> {
        let mut environment = Environment::default();
        match self {
            Missing => None,
            Bytes(bytes) => Some(bytes.to_vec()),
            Of(lefts, wish) => {
                for (generation, left) in *lefts {
                    environment.set_left(*generation, Some(*left));
                }
                environment.set_one_shot(*wish);
                Some(environment.to_bytes().unwrap())
            }
            With(text) => {
                let mut bytes = environment.to_bytes().unwrap();
                let place = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0) + 1;
                bytes[place..place + text.len()].copy_from_slice(text.as_bytes());
                Some(bytes)
            }
        }
    }
}

/// Files in the folder of boot files, the environment block, and how many starts are compared.
type Case<'a> = (&'a [&'a str], Block<'a>, usize);

const CASES: &[Case<'_>] = &[
    // What proved itself, in the order of numbers and not of texts on the disk.
    (&["kiln-00000001.efi"], Of(&[], None), 1),
    (&["kiln-00000009.efi", "kiln-00000010.efi", "kiln-00000008.efi"], Of(&[], None), 1),
    (&["kiln-99999999.efi", "kiln-00000000.efi", RECOVERY_FILE], Missing, 1),
    // A revision on trial is started three times, then never again.
    (&["kiln-00000002+3-0.efi", "kiln-00000001.efi", RECOVERY_FILE], Of(&[], None), 4),
    (&["kiln-00000002+1-2.efi", "kiln-00000001.efi"], Of(&[], None), 2),
    (&["kiln-00000002+3.efi", "kiln-00000001.efi"], Of(&[(2, 1)], None), 2),
    (&["kiln-00000002+9-0.efi", "kiln-00000001.efi"], Of(&[], None), 1),
    // The smaller number counts.
    (&["kiln-00000002+1-2.efi", "kiln-00000001.efi"], Of(&[(2, 3)], None), 2),
    (&["kiln-00000002+0-3.efi", "kiln-00000001.efi"], Of(&[(2, 3)], None), 1),
    (&["kiln-00000002+3-0.efi", "kiln-00000001.efi"], Of(&[(2, 0)], None), 1),
    // Tries of another revision say nothing, and those of what proved itself are over.
    (&["kiln-00000003+3-0.efi", "kiln-00000001.efi"], Of(&[(2, 0), (1, 0)], None), 1),
    // Two on trial do not forget each other, and in the end there is recovery.
    (&["kiln-00000003+1-2.efi", "kiln-00000002+2-1.efi", RECOVERY_FILE], Of(&[], None), 4),
    // Nothing good is left: the newest, and no recovery either.
    (&["kiln-00000003+0-3.efi", "kiln-00000002+0-12.efi"], Of(&[], None), 1),
    (&["kiln-00000003+0-3.efi", RECOVERY_FILE], Of(&[], None), 1),
    // A block that is missing or damaged in each way that there is: nothing on trial is preferred.
    (&["kiln-00000002+3-0.efi", "kiln-00000001.efi"], Missing, 1),
    (&["kiln-00000002+3-0.efi", "kiln-00000001.efi"], Bytes(&[0; 1024]), 1),
    (&["kiln-00000002+3-0.efi", "kiln-00000001.efi"], Bytes(b""), 1),
    (&["kiln-00000002+3-0.efi", "kiln-00000001.efi"], Bytes(b"# GRUB Environment Blocc\n"), 1),
    (&["kiln-00000002+3-0.efi", RECOVERY_FILE], Missing, 1),
    (&["kiln-00000003+0-3.efi", "kiln-00000002+3-0.efi"], Missing, 1),
    // What is no digit is no try; nothing is nothing.
    (&["kiln-00000002+3-0.efi", "kiln-00000001.efi"], With("left_00000002=x\n"), 1),
    (&["kiln-00000002+3-0.efi", "kiln-00000001.efi"], With("left_00000002=22\n"), 1),
    (&["kiln-00000002+3-0.efi", "kiln-00000001.efi"], With("left_00000002=\n"), 2),
    (&["kiln-00000002+3-0.efi", "kiln-00000001.efi"], With("prefix=/x\nroot=hd9\nother=1\n"), 1),
    // Wishes are obeyed once.
    (&["kiln-00000002.efi", "kiln-00000001.efi", RECOVERY_FILE], Of(&[], Some(RECOVERY_FILE)), 2),
    (&["kiln-00000002.efi", "kiln-00000001.efi"], Of(&[], Some("kiln-00000001.efi")), 2),
    (&["kiln-00000002.efi", "kiln-00000001+2-1.efi"], Of(&[], Some("kiln-00000001.efi")), 2),
    (&["kiln-00000002.efi", "kiln-00000001+0-3.efi"], Of(&[], Some("kiln-00000001.efi")), 1),
    (&["kiln-00000002+3-0.efi", "kiln-00000001.efi"], Of(&[], Some("kiln-00000007.efi")), 1),
    (&["kiln-00000002.efi"], Of(&[], Some("0; reboot \"$x\" 'y'")), 1),
    // Names that are almost right.
    (
        &[
            "kiln-00000001.efi",
            "kiln-0000002.efi",
            "kiln-000000003.efi",
            "kiln-00000004+.efi",
            "kiln-00000005+3-.efi",
            "kiln-00000006+10-0.efi",
            "kiln-00000007+3-00.efi",
            "kiln-00000008+3-256.efi",
            "kiln-00000009.efi.new",
            "kiln-0000000a.efi",
            "xkiln-00000010.efi",
            "kiln-00000011+3-0+1.efi",
            "KILN-00000012.EFI",
            "kiln-00000013+0-255.efi",
            "kiln-00000014.efi.extra.d",
        ],
        Of(&[], None),
        1,
    ),
    // Two names of one revision: the first of the folder.
    (&["kiln-00000002+3-0.efi", "kiln-00000002.efi", "kiln-00000001.efi"], Of(&[], None), 1),
];

/// Blocks that GRUB can read and not write. It finds out when it counts, goes on down its menu, and
/// so starts the same.
const UNWRITABLE: &[Case<'_>] = &[
    (&["kiln-00000002+3-0.efi", "kiln-00000001.efi"], With("other=1"), 1),
    (&["kiln-00000002+3-0.efi", RECOVERY_FILE], With("other=1"), 1),
    (&["kiln-00000002+3-0.efi"], With("other=1"), 1),
];

#[test]
fn grub_chooses_what_our_model_says() -> Result<(), Failure> {
    let work = WorkDirectory::new("grub")?;
    for (number, case) in CASES.iter().enumerate() {
        compare(&format!("grub-{number}"), case, START, &work)?;
    }
    for (number, case) in UNWRITABLE.iter().enumerate() {
        compare(&format!("grub-unwritable-{number}"), case, FAILING_START, &work)?;
    }
    Ok(())
}

#[test]
fn grub_goes_on_with_what_it_cannot_start() -> Result<(), Failure> {
    let work = WorkDirectory::new("grub-on")?;
    let files = ["kiln-00000003+3-0.efi", "kiln-00000002.efi", RECOVERY_FILE];
    let path = work.join("on.raw");
    // The configurations of both revisions start nothing.
    let broken =
        "set title=T\nif [ \"$starting\" = yes ]; then\necho \"[failed $entry]\"\n[ 1 = 2 ]\nfi\n";
    let configured = [(3, broken.to_owned()), (2, broken.to_owned())];
    let block = Of(&[], None).bytes();
    write_disk(&path, &files, &configured, block.as_deref());
    let shown = start("grub-on", &path, FAILING_START, &work)?;
    let said: Vec<String> =
        ["failed", "started"].iter().flat_map(|word| values(&shown, word)).collect();
    assert_eq!(said, files, "{shown}");
    let mut expected = Environment::default();
    expected.set_left(3, Some(2));
    assert_eq!(block_of(&path), Some(expected.to_bytes().unwrap()));
    Ok(())
}

/// Starts a disk as often as the case says, and holds each start against the model.
fn compare(
    name: &str,
    case: &Case<'_>,
    patience: Duration,
    work: &WorkDirectory,
) -> Result<(), Failure> {
    let (files, block, starts) = case;
    let path = work.join(format!("{name}.raw"));
    let mut block = block.bytes();
    // Generations in what is almost a name have a configuration, too: only the name decides.
    let configured: Vec<(u32, String)> =
        (0..20).chain([99_999_999]).map(|number| (number, says(&format!("{number:08}")))).collect();
    write_disk(&path, files, &configured, block.as_deref());
    // The folder is sorted by name in capitals: that is how Kiln writes it.
    let mut sorted = files.to_vec();
    sorted.sort_by_key(|file| file.to_uppercase());
    let found = Found {
        files: sorted,
        configured: configured.iter().map(|(generation, _)| *generation).collect(),
        recovery_configured: true,
    };
    for start_number in 1..=*starts {
        let shown = start(&format!("{name}-{start_number}"), &path, patience, work)?;
        let Decision { menu, started, environment } = decide(&found, block.as_deref());
        let what = format!("{name}, start {start_number} of {files:?}\n{shown}");
        let expected = menu.get(started).map(|item| item.file.clone());
        assert_eq!(values(&shown, "started").first(), expected.as_ref(), "{what}");
        assert_eq!(values(&shown, "place"), [format!("kiln.disk={ESP_NAME}")], "{what}");
        // What cannot be counted is found out too late for the order.
        if environment.is_some() || block.is_none() {
            let listed: Vec<String> = menu
                .iter()
                .map(|item| {
                    item.generation.map_or("recovery".into(), |number| format!("{number:08}"))
                })
                .collect();
            assert_eq!(values(&shown, "listed"), listed, "{what}");
        }
        if let Some(environment) = environment {
            block = Some(environment.to_bytes().unwrap());
        }
        let after = block_of(&path);
        let read = |block: &Option<Vec<u8>>| block.as_deref().map(Environment::parse);
        assert_eq!(read(&after), read(&block), "{what}");
        block = after;
    }
    Ok(())
}

/// A configuration that says what GRUB does instead of doing it.
fn says(name: &str) -> String {
    format!(
        "set title=T\nif [ \"$starting\" = yes ]; then\necho \"[started $entry]\"\n\
         echo \"[place $place]\"\nreboot\nelse\necho \"[listed {name}]\"\nfi\n"
    )
}

/// What stands behind a word in brackets on the console, each time.
fn values(shown: &str, word: &str) -> Vec<String> {
    let begin = format!("[{word} ");
    let parts = shown.split(&begin).skip(1);
    parts.filter_map(|part| part.split(']').next()).map(str::to_owned).collect()
}

/// A disk with GRUB and an ESP, as a build writes it.
fn write_disk(path: &Path, files: &[&str], configured: &[(u32, String)], block: Option<&[u8]>) {
    let sectors = |bytes: u64| bytes / u64::from(SECTOR);
    let length = ESP_LENGTH + 3 * MIB;
    let mut table = Gpt::empty(SECTOR, length, Guid::from_random([1; 16])).unwrap();
    let mut place = |role: kiln_disk::layout::Role, first: u64, length: u64, guid: Guid| {
        let partition = PartitionEntry {
            type_guid: role.type_guid,
            guid,
            first_lba: sectors(first),
            last_lba: sectors(first + length) - 1,
            attributes: 0,
            name: role.name.to_owned(),
        };
        table.partitions.insert(role.number, partition);
    };
    place(BIOS, MIB, MIB, Guid::from_random([2; 16]));
    place(ESP, 2 * MIB, ESP_LENGTH, Guid::from_u128(ESP_GUID));

    let script = menu(&Settings::default());
    let recovery = says("recovery");
    let mut contents: Vec<(String, &[u8])> = vec![(MENU_PATH.to_owned(), script.as_bytes())];
    contents.push((RECOVERY_PATH.to_owned(), recovery.as_bytes()));
    contents.extend(block.map(|block| (ENVIRONMENT_PATH.to_owned(), block)));
    for (generation, text) in configured {
        contents.push((revision_path(*generation), text.as_bytes()));
    }
    for file in files {
        // A real boot file is a program; the disk that GRUB makes of it needs a sector.
        contents.push((format!("{FOLDER}/{file}"), &[0; 512]));
    }
    let list: Vec<FatFile<'_>> =
        contents.iter().map(|(path, bytes)| FatFile { path, bytes }).collect();
    let chunks = format_filesystem(ESP_LENGTH, SECTOR, 1, b"KILN-ESP   ", &list).unwrap();

    File::create(path).unwrap().set_len(length).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut device = FileDevice::new(file, SECTOR).unwrap();
    apply(&mut device, &gpt::create(&table).unwrap()).unwrap();
    for (offset, bytes) in chunks {
        device.write_at(2 * MIB + offset, &bytes).unwrap();
    }
    let partition = Partition { offset: MIB, length: MIB, sector_size: SECTOR };
    let boot = disk(&Directory::new(Path::new(GRUB)), partition).unwrap();
    device.write_at(0, &boot.boot_code).unwrap();
    device.write_at(MIB, &boot.core).unwrap();
}

/// The environment block on a disk.
fn block_of(path: &Path) -> Option<Vec<u8>> {
    let device = FileDevice::new(File::open(path).unwrap(), SECTOR).unwrap();
    let fat = Fat::open(&device, 2 * MIB, ESP_LENGTH).unwrap();
    match fat.read(ENVIRONMENT_PATH, 1 << 16) {
        Err(kiln_disk::Error::NoFile(_)) => None,
        found => Some(found.unwrap()),
    }
}

/// Starts the disk and returns what the console showed until the restart.
fn start(
    name: &str,
    path: &Path,
    patience: Duration,
    work: &WorkDirectory,
) -> Result<String, Failure> {
    let machine = product::machine_with(Disk::new(path, DiskFormat::Raw));
    let machine = machine.network(false).memory_mib(128).boot(Boot::Bios).reboot(false);
    let mut machine = VirtualMachine::start(name, machine, work)?;
    machine.wait_for_end(patience)?;
    let age = machine.age().as_millis();
    // A closed output is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{name}: {age} ms");
    Ok(machine.shown())
}

#[test]
fn names_here_are_what_they_seem() {
    assert!("kiln-00000002+0-12.efi".parse::<EntryName>().is_ok());
    assert_eq!(Guid::from_u128(ESP_GUID).to_string().to_lowercase(), ESP_NAME);
}
