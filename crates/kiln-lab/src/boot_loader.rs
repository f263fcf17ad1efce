//! What a systemd-boot of some release of Debian does with a folder of boot files, told by itself.
//!
//! The machine has no operating system: every boot file is a program of two hundred bytes that
//! prints the loader's own variables (Boot Loader Interface: `LoaderEntries` is the menu in its
//! order, `LoaderEntrySelected` what was started) and switches off. So one start of a few seconds
//! gives the whole order. Reading the menu from the screen was dropped: it shows titles and not
//! names, and cuts both. The variables cannot be read from outside either, because they are volatile.
//!
//! The ESP is made by mkfs.fat and mtools, never by Kiln's own writer, which is not what is asked
//! here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_qemu::{Disk, DiskFormat};

use crate::cache::Entry;
use crate::error::{Error, file_error};
use crate::{Cache, Oracle, VirtualMachine, WorkDirectory, efi, product};

/// Overrides the archive that packages come from: mmdebstrap's own choice.
const MIRROR_VARIABLE: &str = "KILN_DEBIAN_MIRROR";

/// Where the package has the loader.
const LOADER: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// shim, what it starts, what enrols keys, and the stub of boot files.
const SIGNED: &str =
    "shim-signed,shim-helpers-amd64-signed,systemd-boot-efi-amd64-signed,systemd-boot-efi";

/// Name of a tree of packages in the cache.
const TREE: &str = "tree.tar";

/// From power on to the end on an idle computer: firmware, loader, two hundred bytes.
const START: Duration = Duration::from_secs(20);

/// Length of the ESP in bytes: FAT32 with small clusters.
const ESP_BYTES: u64 = 64 << 20;

/// Memory in MiB: the firmware's own need.
const MEMORY: u32 = 256;

/// The loader's variables that the boot files print, in this order, and the vendor whose they are
/// (systemd, "The Boot Loader Interface").
const VARIABLES: [&str; 4] =
    ["LoaderInfo", "LoaderEntries", "LoaderEntrySelected", "LoaderBootCountPath"];
const VENDOR: [u8; 16] = [
    0x82, 0xb0, 0x67, 0x4a, 0x4c, 0x0a, 0xcf, 0x41, 0xb6, 0xc7, 0x44, 0x0b, 0x29, 0xbb, 0x8c, 0x4f,
];

/// x86-64, position-independent: for each name behind the vendor's GUID, up to an empty one, asks the
/// firmware for the variable and writes `[`, its UTF-16 units as bytes with `|` for zero, and `]` to
/// the first serial port; then switches off (UEFI specification 2.10, §8.2 and §8.5.1).
#[rustfmt::skip]
const PROGRAM: [u8; 0xb3] = [
    0x53,                                           // push rbx
    0x56,                                           // push rsi
    0x41, 0x54,                                     // push r12
    0x41, 0x55,                                     // push r13
    0x48, 0x81, 0xec, 0x48, 0x40, 0x00, 0x00,       // sub rsp, 0x4048
    0x48, 0x8b, 0x5a, 0x58,                         // mov rbx, [rdx+0x58]: runtime services
    0x48, 0x8d, 0x35, 0xab, 0x00, 0x00, 0x00,       // lea rsi, names
    // next:
    0x66, 0x83, 0x3e, 0x00,                         // cmp word [rsi], 0
    0x74, 0x71,                                     // je done
    0x48, 0xc7, 0x44, 0x24, 0x28, 0x00, 0x40, 0x00, 0x00, // mov qword [rsp+0x28], 0x4000: size
    0x48, 0x8d, 0x44, 0x24, 0x30,                   // lea rax, [rsp+0x30]: data
    0x48, 0x89, 0x44, 0x24, 0x20,                   // mov [rsp+0x20], rax
    0x48, 0x89, 0xf1,                               // mov rcx, rsi
    0x48, 0x8d, 0x15, 0x78, 0x00, 0x00, 0x00,       // lea rdx, vendor
    0x45, 0x31, 0xc0,                               // xor r8d, r8d
    0x4c, 0x8d, 0x4c, 0x24, 0x28,                   // lea r9, [rsp+0x28]
    0xff, 0x53, 0x48,                               // call [rbx+0x48]: GetVariable
    0x4c, 0x8b, 0x64, 0x24, 0x28,                   // mov r12, [rsp+0x28]
    0x49, 0xd1, 0xec,                               // shr r12, 1
    0x4c, 0x8d, 0x6c, 0x24, 0x30,                   // lea r13, [rsp+0x30]
    0x48, 0x85, 0xc0,                               // test rax, rax
    0xb0, 0x5b,                                     // mov al, '['
    0x74, 0x03,                                     // jz say
    0x45, 0x31, 0xe4,                               // xor r12d, r12d: no such variable
    // say:
    0xe8, 0x3f, 0x00, 0x00, 0x00,                   // call put
    // more:
    0x4d, 0x85, 0xe4,                               // test r12, r12
    0x74, 0x18,                                     // jz end
    0x41, 0x8a, 0x45, 0x00,                         // mov al, [r13]
    0x49, 0x83, 0xc5, 0x02,                         // add r13, 2
    0x49, 0xff, 0xcc,                               // dec r12
    0x84, 0xc0,                                     // test al, al
    0x75, 0x02,                                     // jnz put_one
    0xb0, 0x7c,                                     // mov al, '|'
    // put_one:
    0xe8, 0x24, 0x00, 0x00, 0x00,                   // call put
    0xeb, 0xe3,                                     // jmp more
    // end:
    0xb0, 0x5d,                                     // mov al, ']'
    0xe8, 0x1b, 0x00, 0x00, 0x00,                   // call put
    // skip:
    0x66, 0xad,                                     // lodsw
    0x66, 0x85, 0xc0,                               // test ax, ax
    0x75, 0xf9,                                     // jnz skip
    0xeb, 0x89,                                     // jmp next
    // done:
    0xb9, 0x02, 0x00, 0x00, 0x00,                   // mov ecx, 2: shut down
    0x31, 0xd2,                                     // xor edx, edx
    0x45, 0x31, 0xc0,                               // xor r8d, r8d
    0x45, 0x31, 0xc9,                               // xor r9d, r9d
    0xff, 0x53, 0x68,                               // call [rbx+0x68]: ResetSystem
    0xeb, 0xfe,                                     // stop: jmp stop
    // put:
    0x88, 0xc4,                                     // mov ah, al
    0xba, 0xfd, 0x03, 0x00, 0x00,                   // mov edx, 0x3fd: line status
    // wait:
    0xec,                                           // in al, dx
    0xa8, 0x20,                                     // test al, 0x20: ready for a byte
    0x74, 0xfb,                                     // jz wait
    0xb2, 0xf8,                                     // mov dl, 0xf8: data
    0x88, 0xe0,                                     // mov al, ah
    0xee,                                           // out dx, al
    0xc3,                                           // ret
];

/// A systemd-boot in the cache.
#[derive(Debug)]
pub struct BootLoader {
    entry: Entry,
    suite: String,
}

/// What the loader did with an ESP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Name and version, such as `systemd-boot 257.13-1`.
    pub version: String,
    /// Identifiers in the order of its menu.
    pub menu: Vec<String>,
    /// Identifier of what it started.
    pub started: String,
    /// Path of the started file with its new counter, if it has one.
    pub counted: Option<String>,
    /// Names in `EFI/Linux` afterwards, sorted.
    pub files: Vec<String>,
}

impl BootLoader {
    /// The loader of a suite of Debian, from the cache or the archive. A suite that is still
    /// moving is what it was when it was fetched first.
    ///
    /// # Errors
    /// When mmdebstrap is missing or fails, or the cache cannot be used.
    pub fn of_debian(suite: &str) -> Result<Self, Error> {
        let entry = packages("boot-loader", suite, "systemd-boot-efi", |folder| {
            let tree = folder.join(TREE);
            Oracle::new("tar")
                .argument("--extract")
                .arguments(["--strip-components=6".as_ref(), "--directory".as_ref(), folder])
                .arguments(["--file".as_ref(), tree.as_os_str()])
                .argument(format!("./{LOADER}"))
                .run()?;
            fs::remove_file(&tree).map_err(file_error("remove", &tree))
        })?;
        Ok(Self { entry, suite: suite.to_owned() })
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.entry.path().join("systemd-bootx64.efi")
    }

    /// Lets it start from an ESP with these files in `EFI/Linux`, in this order on the disk, and no
    /// menu to wait at.
    ///
    /// # Errors
    /// When the ESP cannot be made, or nothing is started.
    pub fn start(
        &self,
        name: &str,
        files: &[(String, Vec<u8>)],
        work: &WorkDirectory,
    ) -> Result<Choice, Error> {
        let name = format!("{name}-{}", self.suite);
        let disk = self.system_partition(&name, files, work)?;
        let described = Disk::new(&disk, DiskFormat::Raw);
        let machine = product::machine_with(described).network(false).memory_mib(MEMORY);
        let mut machine = VirtualMachine::start(&name, machine.reboot(false), work)?;
        machine.wait_for_end(START)?;
        let shown = machine.shown();
        let mut choice = parse(&shown)
            .ok_or_else(|| Error::Unexpected { what: format!("{name}'s console"), text: shown })?;
        let text = Oracle::new("mdir")
            .arguments(["-b", "-i"])
            .argument(&disk)
            .argument("::EFI/Linux")
            .run()?;
        choice.files =
            text.lines().filter_map(|line| line.rsplit('/').next()).map(str::to_owned).collect();
        choice.files.sort_unstable();
        Ok(choice)
    }

    /// A disk that is one FAT32 file system: firmware takes that for removable.
    fn system_partition(
        &self,
        name: &str,
        files: &[(String, Vec<u8>)],
        work: &WorkDirectory,
    ) -> Result<PathBuf, Error> {
        let disk = work.join(format!("{name}.raw"));
        let failed = file_error("create", &disk);
        File::create(&disk).and_then(|file| file.set_len(ESP_BYTES)).map_err(failed)?;
        Oracle::new("mkfs.fat").arguments(["-F", "32"]).argument(&disk).run()?;
        let folder = work.join(name);
        let place = |path: &str, bytes: &[u8]| {
            let path = folder.join(path);
            let parent = path.parent().unwrap_or(&folder);
            fs::create_dir_all(parent).map_err(file_error("create", parent))?;
            fs::write(&path, bytes).map_err(file_error("write", &path))
        };
        let loader = self.entry.path().join("systemd-bootx64.efi");
        let loader = fs::read(&loader).map_err(file_error("read", &loader))?;
        place("EFI/BOOT/BOOTX64.EFI", &loader)?;
        place("loader/loader.conf", b"timeout 0\n")?;
        let linux = folder.join("EFI/Linux");
        fs::create_dir_all(&linux).map_err(file_error("create", &linux))?;
        let copy = |from: &Path, to: &str| {
            Oracle::new("mcopy")
                .arguments(["-s".as_ref(), "-i".as_ref(), disk.as_os_str(), from.as_os_str()])
                .argument(to)
                .run()
                .map(drop)
        };
        copy(&folder.join("EFI"), "::")?;
        copy(&folder.join("loader"), "::")?;
        let mut call = Oracle::new("mcopy").arguments(["-i".as_ref(), disk.as_os_str()]);
        for (file, bytes) in files {
            let path = linux.join(file);
            fs::write(&path, bytes).map_err(file_error("write", &path))?;
            call = call.argument(path);
        }
        if !files.is_empty() {
            call.argument("::EFI/Linux").run()?;
        }
        Ok(disk)
    }
}

/// Debian's shim and what it starts, as a tree that `kiln build --boot-files` takes, with the stub of boot
/// files.
#[derive(Debug)]
pub struct SignedLoaders(Entry);

impl SignedLoaders {
    /// Those of a suite, from the cache or the archive.
    ///
    /// # Errors
    /// When mmdebstrap is missing or fails, or the cache cannot be used.
    pub fn of_debian(suite: &str) -> Result<Self, Error> {
        packages("boot-loader-signed", suite, SIGNED, |_| Ok(())).map(Self)
    }

    /// The tar of the tree.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.0.path().join(TREE)
    }
}

/// Unpacks packages of a suite into a tar in the cache, with what they depend on. `finish` gets its folder.
fn packages(
    kind: &str,
    suite: &str,
    names: &str,
    finish: impl Fn(&Path) -> Result<(), Error>,
) -> Result<Entry, Error> {
    let archive = std::env::var(MIRROR_VARIABLE).ok().filter(|archive| !archive.is_empty());
    let key = [suite.as_bytes(), archive.as_deref().unwrap_or_default().as_bytes()];
    Cache::open()?.get(kind, &key, |folder| {
        Oracle::new("mmdebstrap")
            .arguments(["--variant=extract", "--architectures=amd64"])
            .argument("--aptopt=APT::Install-Recommends \"false\"")
            // An archive that stands still is as good; its signature is checked all the same.
            .argument("--aptopt=Acquire::Check-Valid-Until \"false\"")
            .argument(format!("--include={names}"))
            .argument(suite)
            .argument(folder.join(TREE))
            .arguments(archive.iter().map(|archive| format!("deb {archive} {suite} main")))
            .run()?;
        finish(folder)
    })
}

/// A boot file that tells what the loader did, with this text as its `.osrel`.
#[must_use]
pub fn boot_file(os_release: &str) -> Vec<u8> {
    let mut program = PROGRAM.to_vec();
    program.extend(VENDOR);
    for name in VARIABLES {
        program.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
        program.extend([0, 0]);
    }
    program.extend([0, 0]);
    let sections: [(&str, &[u8]); 4] = [
        (".text", &program),
        (".osrel", os_release.as_bytes()),
        (".cmdline", b"quiet"),
        (".linux", b"no kernel"),
    ];
    efi::image(&sections)
}

/// The four variables in what the machine printed.
fn parse(shown: &str) -> Option<Choice> {
    let at = shown.rfind("[systemd-boot ")?;
    let mut values = shown
        .get(at..)?
        .split('[')
        .skip(1)
        .map(|value| value.split(']').next().unwrap_or_default());
    let mut next = || values.next().map(|value| value.trim_end_matches('|').to_owned());
    let (version, menu, started, counted) = (next()?, next()?, next()?, next()?);
    Some(Choice {
        version,
        menu: menu.split('|').map(str::to_owned).collect(),
        started,
        counted: (!counted.is_empty()).then_some(counted),
        files: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        let shown = "BdsDxe: [x]\n[systemd-boot 257|][b.efi|a.efi|][b.efi|][\\EFI\\Linux\\b.efi|]";
        let choice = parse(shown).unwrap();
        assert_eq!(choice.version, "systemd-boot 257");
        assert_eq!(choice.menu, ["b.efi", "a.efi"]);
        assert_eq!(choice.started, "b.efi");
        assert_eq!(choice.counted.as_deref(), Some("\\EFI\\Linux\\b.efi"));
        let blessed = parse("[systemd-boot 257|][b.efi|][b.efi|][]").unwrap();
        assert_eq!(blessed.counted, None);
        assert_eq!(parse("[systemd-boot 257|][b.efi|]"), None);
        assert_eq!(parse("nothing"), None);
    }

    #[test]
    fn the_program_jumps_to_where_it_means() {
        // The two places that addresses in the code lead to: the vendor and the names behind it.
        let displacement = |at: usize| u32::from_le_bytes(PROGRAM[at..at + 4].try_into().unwrap());
        assert_eq!(0x18 + displacement(0x14) as usize, PROGRAM.len() + VENDOR.len());
        assert_eq!(0x3b + displacement(0x37) as usize, PROGRAM.len());
    }
}
