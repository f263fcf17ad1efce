//! Mounting inside the root: file systems of a document, volumes, and another disk's `/var`.
//!
//! A mount point is resolved inside the root, links followed there, and its folders are made. Nothing is
//! mounted over what the machine stands on. mount(8) of the image was dropped: it resolves paths in its
//! own way, writes tables of its own, and an image need not have it.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kiln_config::action::Volume;
use kiln_disk::layout::{RECOVERY, STATE};
use kiln_sys::mount;

use super::devices::Name;
use super::disks::{Disks, Open};
use super::filesystems::Program;
use super::kernel::{Device, Mount};
use super::layout::stands_for;
use crate::error::file;
use crate::{Error, root};

/// Where nothing is mounted: what the machine stands on, and what Kiln itself puts there.
const REFUSED: [&str; 10] =
    ["/", "/dev", "/etc", "/oem", "/proc", "/run", "/state", "/sys", "/usr", "/tmp"];
/// A folder that is filled under this name and then spread: a cut in the middle is seen.
const DRAFT: &str = ".kiln-var";
/// Where another disk's `/var` is filled before it takes its place.
const WORKPLACE: &str = "/run/kiln/new-var";
/// Where mounts wait while something is mounted above them.
const COVERED: &str = "/run/kiln/covered";
/// Says, below the state, that the state's own top folder holds what `/var` needs.
const FILLED: &str = "kiln/var-filled";
/// Deepest nesting that is spread.
const DEPTH: u32 = 128;

/// mount(8) options, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) flags: mount::Options,
    pub(super) data: String,
    pub(super) nofail: bool,
    pub(super) noauto: bool,
}

/// Reads mount(8) options. Those that are about who may mount, or for other programs, mean nothing here.
pub(super) fn parse(options: &[String]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut data = Vec::new();
    for option in options.iter().flat_map(|option| option.split(',')) {
        let flags = &mut parsed.flags;
        match option.trim() {
            "" | "defaults" | "rw" | "dev" | "suid" | "exec" | "async" | "auto" | "nouser"
            | "relatime" | "atime" | "diratime" | "_netdev" | "user" | "users" | "owner"
            | "group" | "loud" | "silent" => {}
            "ro" => flags.read_only = true,
            "nodev" => flags.no_devices = true,
            "nosuid" => flags.no_set_user = true,
            "noexec" => flags.no_execute = true,
            "noatime" => flags.no_access_time = true,
            "nodiratime" => flags.no_folder_access_time = true,
            "lazytime" => flags.lazy_time = true,
            "sync" => flags.synchronous = true,
            "nofail" => parsed.nofail = true,
            "noauto" => parsed.noauto = true,
            other if other.starts_with("x-") || other.starts_with("comment=") => {}
            other => data.push(other),
        }
    }
    parsed.data = data.join(",");
    parsed
}

/// Whether a file system may be mounted there.
///
/// # Errors
/// [`Error::Path`].
pub(super) fn check_path(path: &str) -> Result<(), Error> {
    let plain = format!("/{}", root::elements(path)?.join("/"));
    let is_below = |of: &str| plain.strip_prefix(of).is_some_and(|rest| rest.starts_with('/'));
    let machines = ["/dev", "/proc", "/run", "/state", "/sys", "/etc"];
    if REFUSED.contains(&plain.as_str()) || machines.iter().any(|of| is_below(of)) {
        let reason = "nothing can be mounted there: the machine itself needs it";
        return Err(Error::Path { path: path.to_owned(), reason });
    }
    Ok(())
}

impl Disks<'_> {
    /// Loads modules of the image; what is built in or missing is told by what needs it.
    pub(super) fn load(&mut self, names: &[&str]) {
        let arguments = ["-a", "-q"].iter().chain(names).map(|&name| name.to_owned()).collect();
        let _ = self.run(&Program { names: &["modprobe"], arguments });
    }

    /// The real path of a folder of the root; it is made where it is missing.
    fn folder(&mut self, path: &str) -> Result<PathBuf, Error> {
        let elements: Vec<String> = root::elements(path)?.into_iter().map(str::to_owned).collect();
        for count in 1..=elements.len() {
            let above = format!("/{}", elements.get(..count).unwrap_or_default().join("/"));
            if self.devices.root.target(&above)?.is_none() {
                self.open.push(Open::Folder(above));
            }
        }
        // The folder that would hold this name.
        let place = self.devices.root.make_place(&format!("{path}/mount"))?;
        let link = format!("/proc/self/fd/{}", place.parent.as_raw_fd());
        fs::read_link(link).map_err(file("find the place of", path))
    }

    /// Mounts a device at a path of the root. What is mounted below that path comes on top of it again.
    pub(super) fn mount(
        &mut self,
        path: &str,
        device: &Device,
        format: &str,
        parsed: &Parsed,
    ) -> Result<(), Error> {
        check_path(path)?;
        self.load(modules(format).as_slice());
        let covered = self.uncover(path)?;
        let mounted = self.mount_over(path, device, format, parsed);
        // Without the new mount these are the folders where they were.
        for (other, aside) in covered {
            let real = self.folder(&other)?;
            self.devices.kernel.move_to(&aside, &real)?;
            self.open.push(Open::Mount(other, real));
        }
        mounted
    }

    fn mount_over(
        &mut self,
        path: &str,
        device: &Device,
        format: &str,
        parsed: &Parsed,
    ) -> Result<(), Error> {
        let real = self.folder(path)?;
        if path.trim_end_matches('/') == "/var" {
            self.fill(device, format, &real)?;
        }
        self.mount_real(device, &real, format, parsed)?;
        self.open.push(Open::Mount(path.to_owned(), real));
        Ok(())
    }

    /// Puts aside what is mounted below a path, so that it is neither hidden nor copied.
    fn uncover(&mut self, path: &str) -> Result<Vec<(String, PathBuf)>, Error> {
        let below = format!("{}/", path.trim_end_matches('/'));
        let is_below =
            |open: &Open| matches!(open, Open::Mount(other, _) if other.starts_with(&below));
        let (covered, kept) = std::mem::take(&mut self.open).into_iter().partition(is_below);
        self.open = kept;
        self.lasting = self.lasting.min(self.open.len());
        let mut aside = Vec::new();
        for (number, open) in Vec::into_iter(covered).enumerate() {
            let Open::Mount(other, real) = open else { continue };
            let place = self.folder(&format!("{COVERED}-{number}"))?;
            self.devices.kernel.move_to(&real, &place)?;
            aside.push((other, place));
        }
        Ok(aside)
    }

    fn mount_real(
        &mut self,
        device: &Device,
        target: &Path,
        format: &str,
        parsed: &Parsed,
    ) -> Result<(), Error> {
        let source = device.shown();
        let kind = if format == "ntfs" { "ntfs3" } else { format };
        self.devices.kernel.mount(&Mount {
            source: &source,
            target,
            kind,
            options: parsed.flags,
            data: &parsed.data,
        })
    }

    /// Mounts a device where nobody looks, and gives the folder.
    pub(super) fn mount_aside(
        &mut self,
        device: &Device,
        format: &str,
        parsed: &Parsed,
    ) -> Result<PathBuf, Error> {
        self.load(modules(format).as_slice());
        let folder = self.folder(WORKPLACE)?;
        self.mount_real(device, &folder, format, parsed)?;
        Ok(folder)
    }

    /// Puts empty memory at a path.
    pub(super) fn mount_memory(&mut self, path: &str) -> Result<(), Error> {
        check_path(path)?;
        let real = self.folder(path)?;
        self.devices.kernel.mount(&Mount {
            source: "tmpfs",
            target: &real,
            kind: "tmpfs",
            options: mount::Options::default(),
            data: "",
        })?;
        self.open.push(Open::Mount(path.to_owned(), real));
        Ok(())
    }

    /// Gives an empty file system what `/var` shows, before it takes its place.
    fn fill(&mut self, device: &Device, format: &str, var: &Path) -> Result<(), Error> {
        let workplace = self.mount_aside(device, format, &Parsed::default())?;
        let filled = if is_unused(&workplace)? { pour(var, &workplace) } else { Ok(()) };
        self.devices.kernel.detach(&workplace)?;
        filled
    }

    /// Checks a file system, and repairs what needs no decision.
    pub(super) fn check_filesystem(&mut self, device: &Device, format: &str) -> Result<(), Error> {
        let (names, argument): (&'static [&'static str], &str) = match format {
            "ext2" | "ext3" | "ext4" => (&["e2fsck", "fsck.ext4"], "-p"),
            "vfat" => (&["fsck.vfat", "fsck.fat"], "-a"),
            // They repair themselves when they are mounted; their fsck does nothing.
            _ => return Ok(()),
        };
        let arguments = vec![argument.to_owned(), self.inside(&device.node)?];
        match self.run(&Program { names, arguments }) {
            Ok(_) => Ok(()),
            // Repaired (fsck(8): 1 and 2 are added up).
            Err(Error::Program { status, .. })
                if ["exit status 1", "exit status 2", "exit status 3"]
                    .contains(&status.as_str()) =>
            {
                Ok(())
            }
            Err(Error::NoProgram { program }) => {
                let node = device.shown();
                (self.say)(&format!("the image has no {program}: {node} is not checked"));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Mounts a volume, or tells why not where that is allowed.
    pub(super) fn volume(&mut self, volume: &Volume) -> Result<(), Error> {
        let parsed = parse(&volume.options);
        if parsed.noauto {
            return Ok(());
        }
        match self.try_volume(volume, &parsed) {
            Err(error) if parsed.nofail => {
                (self.say)(&format!("volume at {}: {}", volume.path, error.sentence()));
                Ok(())
            }
            other => other,
        }
    }

    fn try_volume(&mut self, volume: &Volume, parsed: &Parsed) -> Result<(), Error> {
        let found = self.devices.find(&volume.device)?;
        let device = match (found, elemental(&volume.device)) {
            (Some(device), _) => device,
            (None, Some(label)) => return self.stand_in(volume, label, parsed),
            (None, None) if parsed.nofail => {
                return Err(Error::NoDevice { device: volume.device.clone(), seconds: 0 });
            }
            (None, None) => self.devices.wait(&volume.device)?,
        };
        self.mount_volume(&device, volume, parsed)
    }

    fn mount_volume(
        &mut self,
        device: &Device,
        volume: &Volume,
        parsed: &Parsed,
    ) -> Result<(), Error> {
        let format = match volume.format.as_deref() {
            None | Some("" | "auto") => self.devices.signature(device)?.map(|found| found.format),
            Some(format) => Some(format),
        };
        let format = format.ok_or_else(|| Error::Format {
            device: volume.device.clone(),
            format: "of which there is no sign".into(),
        })?;
        self.check_filesystem(device, format)?;
        self.mount(&volume.path, device, format, parsed)
    }

    /// Shows what stands for one of Elemental's labels on this machine.
    fn stand_in(&mut self, volume: &Volume, label: &str, parsed: &Parsed) -> Result<(), Error> {
        let Some((partition, folder)) = stands_for(label) else { return Ok(()) };
        if partition == STATE.name {
            return self.bind_state(volume, folder.trim_start_matches('/'));
        }
        if partition != RECOVERY.name {
            let what = format!("a mount of `{label}`, which is not a file system of its own here,");
            return Err(Error::NotHere { what });
        }
        let device = self.devices.wait(&format!("PARTLABEL={partition}"))?;
        let mut parsed = Parsed { data: parsed.data.clone(), ..*parsed };
        // A release is proved by its hash: one byte that is written there breaks it.
        parsed.flags.read_only = true;
        self.mount_volume(&device, volume, &parsed)
    }

    fn bind_state(&mut self, volume: &Volume, folder: &str) -> Result<(), Error> {
        let source = self.state.join(folder);
        fs::create_dir_all(&source).map_err(file("make", &volume.path))?;
        // `/oem` is there at every boot, and others may have put this folder there before.
        if volume.path.trim_end_matches('/') != "/oem" {
            check_path(&volume.path)?;
        }
        let real = self.folder(&volume.path)?;
        let number = |path: &Path| fs::metadata(path).map(|about| (about.dev(), about.ino()));
        let (one, other) = (number(&source), number(&real));
        if one.map_err(file("look at", &volume.path))?
            == other.map_err(file("look at", &volume.path))?
        {
            return Ok(());
        }
        let mark = self.state.join(FILLED);
        if volume.path.trim_end_matches('/') == "/var" && !mark.exists() {
            pour(&real, &source)?;
            fs::create_dir_all(self.state.join("kiln")).map_err(file("make", &volume.path))?;
            kiln_etc::file::replace(&mark, b"", 0o644)?;
        }
        self.devices.kernel.bind(&source, &real)?;
        self.open.push(Open::Mount(volume.path.clone(), real));
        Ok(())
    }
}

/// The label, where a device is called by one of Elemental's.
fn elemental(device: &str) -> Option<&'static str> {
    // Names in Elemental's own partition table.
    const NAMES: [(&str, &str); 5] = [
        ("oem", "COS_OEM"),
        ("persistent", "COS_PERSISTENT"),
        ("recovery", "COS_RECOVERY"),
        ("state", "COS_STATE"),
        ("efi", "COS_GRUB"),
    ];
    match Name::parse(device) {
        Name::Label(label) => {
            super::LABELS.iter().find(|(name, _, _)| *name == label).map(|(name, _, _)| *name)
        }
        Name::PartLabel(name) => {
            NAMES.iter().find(|(other, _)| *other == name).map(|(_, label)| *label)
        }
        _ => None,
    }
}

/// Modules that a file system needs. The kernel would ask for them itself, but before the new root is
/// entered it finds no program that loads them.
fn modules(format: &str) -> Vec<&str> {
    match format {
        "vfat" => vec!["vfat", "nls_cp437", "nls_iso8859-1", "nls_ascii", "nls_utf8"],
        "ext2" | "ext3" => vec!["ext4"],
        "ntfs" => vec!["ntfs3"],
        other => vec![other],
    }
}

/// Whether a file system holds nothing yet, or only what a cut left of filling it.
fn is_unused(folder: &Path) -> Result<bool, Error> {
    let shown = folder.to_string_lossy();
    for entry in fs::read_dir(folder).map_err(file("read", &shown))? {
        let name = entry.map_err(file("read", &shown))?.file_name();
        if name == DRAFT {
            return Ok(true);
        }
        if name != "lost+found" && name != ".kiln-var.new" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Gives `to` what `from` holds and it has not. May be cut off anywhere and begun again.
fn pour(from: &Path, to: &Path) -> Result<(), Error> {
    let draft = to.join(DRAFT);
    if !draft.is_dir() {
        kiln_etc::copy::folder(from, &draft, &|_| false)?;
    }
    spread(&draft, to, DEPTH)?;
    kiln_sys::machine::write_back_file_system(to)?;
    // The commit point: without the draft it is filled.
    Ok(kiln_etc::file::remove(&draft)?)
}

fn spread(from: &Path, to: &Path, depth: u32) -> Result<(), Error> {
    let shown = from.to_string_lossy().into_owned();
    for entry in fs::read_dir(from).map_err(file("read", &shown))? {
        let entry = entry.map_err(file("read", &shown))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let is_folder = |path: &Path| fs::symlink_metadata(path).map(|about| about.is_dir());
        match is_folder(&target) {
            Err(_) => fs::rename(&source, &target).map_err(file("rename", &shown))?,
            Ok(true) if is_folder(&source).unwrap_or(false) && depth > 0 => {
                spread(&source, &target, depth - 1)?;
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_mount_become_flags_and_data() {
        for (text, flags, data, nofail, noauto) in [
            ("defaults", mount::Options::default(), "", false, false),
            (
                "ro,noatime,nofail",
                mount::Options { read_only: true, no_access_time: true, ..Default::default() },
                "",
                true,
                false,
            ),
            (
                "noexec,subvol=@a,x-systemd.growfs,discard",
                mount::Options { no_execute: true, ..Default::default() },
                "subvol=@a,discard",
                false,
                false,
            ),
            ("noauto,_netdev", mount::Options::default(), "", false, true),
        ] {
            let data = data.to_owned();
            let expected = Parsed { flags, data, nofail, noauto };
            assert_eq!(parse(&[text.to_owned()]), expected, "{text}");
            let split: Vec<String> = text.split(',').map(str::to_owned).collect();
            assert_eq!(parse(&split), expected, "{text}");
        }
    }

    #[test]
    fn nothing_is_mounted_over_what_the_machine_stands_on() {
        for (path, is_free) in [
            ("/var", true),
            ("/var/lib/app", true),
            ("/usr/local", true),
            ("/stateful", true),
            ("/", false),
            ("//", false),
            ("/usr/", false),
            ("/etc/x", false),
            ("/state/var", false),
            ("relative", false),
            ("/a/../usr", false),
        ] {
            assert_eq!(check_path(path).is_ok(), is_free, "{path}");
        }
    }

    #[test]
    fn what_is_there_stays_and_a_cut_is_taken_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let write = |path: &str, text: &str| {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), text).unwrap();
        };
        write("var/lib/a", "image");
        write("var/lib/b", "image");
        write("var/log/c", "image");
        write("new/lib/a", "hook");
        fs::create_dir(at("empty")).unwrap();
        fs::create_dir(at("empty/lost+found")).unwrap();
        assert!(is_unused(&at("empty")).unwrap() && !is_unused(&at("new")).unwrap());
        pour(&at("var"), &at("new")).unwrap();
        let read = |path: &str| fs::read_to_string(at(path)).unwrap();
        assert_eq!(
            [read("new/lib/a"), read("new/lib/b"), read("new/log/c")],
            ["hook", "image", "image"]
        );
        assert!(!at("new").join(DRAFT).exists());
        // Cut off while it was spread: the draft is there, some of it already in place.
        write("cut/.kiln-var/log/c", "image");
        write("cut/lib/b", "image");
        assert!(is_unused(&at("cut")).unwrap());
        pour(&at("var"), &at("cut")).unwrap();
        assert_eq!([read("cut/lib/b"), read("cut/log/c")], ["image", "image"]);
    }
}
