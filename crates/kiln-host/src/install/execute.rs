//! Carrying an installation out, in the one order in which a disk never pretends to be bootable.
//!
//! 1. The table goes, all but the partitions that stay: from this flush on firmware finds nothing
//!    to start on the disk. What stays is in a valid table at every moment.
//! 2. What earlier systems left at the beginning of new partitions goes.
//! 3. Slot A is written, flushed, read back and proved by its root hash.
//! 4. The ESP is written, flushed, read back and compared.
//! 5. Hooks run, with the new system proved and not startable yet; the state gets its file system for
//!    them. A machine without hooks makes it at its first boot.
//! 6. The table is written; **its primary header, one sector, is the commit point** ([`commit`]).
//!
//! Everything that can be refused is refused before the first write: the ESP is laid out in memory,
//! and the table was checked as a plan. A table first and contents later, as installers commonly do,
//! was dropped: a cut in between leaves a disk that firmware starts and that then fails.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use kiln_boot::entry::EntryName;
use kiln_build::{Progress, Step, Unit};
use kiln_disk::fat::{Fat, FatFile, format_filesystem};
use kiln_disk::layout::{self, ALIGNMENT, ESP, ROOT_A, Role, STATE};
use kiln_disk::{BlockDevice, FileDevice, Gpt, Guid, gpt};
use kiln_release::Release;
use kiln_verity::{ReadAt, RootArgument, decode_hex};

use super::contents::{self, Contents};
use super::plan::{Plan, Present};
use crate::Error;
use crate::hooks::{Extent, Hooks, Moment, RootPlace, StatePlace, Written};

/// The first generation of a machine.
const FIRST_GENERATION: u32 = 1;
/// Bytes that are copied or cleared at once.
const PIECE: usize = 1 << 20;
/// Label of the ESP's file system: 11 bytes, padded (FAT specification, BS_VolLab).
const ESP_LABEL: &[u8; 11] = b"KILN-ESP   ";
/// systemd-boot's configuration. No `default` line: the newest good entry must win by itself.
const LOADER_CONFIGURATION: &[u8] = b"timeout 0\nconsole-mode keep\neditor no\n";

/// What goes onto the disk.
#[derive(Debug)]
pub struct Media<'a> {
    /// Facts of the release.
    pub release: &'a Release,
    /// The root image with its hash tree, from the file's beginning.
    pub root: &'a File,
    /// The boot file of the system mode.
    pub boot_file: &'a [u8],
    /// Boot loaders: paths on the ESP and contents.
    pub loaders: &'a [(String, Vec<u8>)],
    /// Further files for the ESP: path and content.
    pub files: &'a [(String, Vec<u8>)],
}

/// A disk, or a file that stands for one, open for this process alone.
#[derive(Debug)]
pub struct TargetDevice {
    node: String,
    device: FileDevice,
    is_disk: bool,
}

impl TargetDevice {
    /// Opens a disk.
    ///
    /// # Errors
    /// [`Error::Refused`] if the kernel uses it, [`Error::Device`].
    pub fn disk(node: &str) -> Result<Self, Error> {
        // O_EXCL on a block device without O_CREAT: fails while anything of it is in use (open(2)).
        let exclusive = rustix::fs::OFlags::EXCL.bits().cast_signed();
        let opened = File::options().read(true).write(true).custom_flags(exclusive).open(node);
        let file = opened.map_err(|source| match source.kind() {
            std::io::ErrorKind::ResourceBusy => Error::Refused {
                reason: format!("{node} is in use"),
                hint: "unmount it and stop what is built on it (swap, RAID, LVM)".to_owned(),
            },
            _ => Error::device("open", node)(source),
        })?;
        let metadata = file.metadata().map_err(Error::device("look at", node))?;
        if !metadata.file_type().is_block_device() {
            let hint = format!("for a disk image write --target file:{node}");
            return Err(Error::Refused { reason: format!("{node} is no disk"), hint });
        }
        let sector_size = kiln_sys::block::sector_size(&file, node).map_err(|error| {
            Error::Refused { reason: error.to_string(), hint: "name another disk".to_owned() }
        })?;
        let device = FileDevice::new(file, sector_size).map_err(Error::device("open", node))?;
        Ok(Self { node: node.to_owned(), device, is_disk: true })
    }

    /// Opens a disk image, whose length is that of the disk.
    ///
    /// # Errors
    /// [`Error::Device`], [`Error::Refused`] for anything but a regular file.
    pub fn file(path: &Path, sector_size: u32) -> Result<Self, Error> {
        let node = path.display().to_string();
        let opened = File::options().read(true).write(true).open(path);
        let file = opened.map_err(Error::device("open", &node))?;
        let metadata = file.metadata().map_err(Error::device("look at", &node))?;
        if !metadata.is_file() {
            let hint = "a disk is named without `file:`".to_owned();
            return Err(Error::Refused { reason: format!("{node} is no regular file"), hint });
        }
        let device = FileDevice::new(file, sector_size).map_err(Error::device("open", &node))?;
        Ok(Self { node, device, is_disk: false })
    }

    /// The node or path.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The disk.
    #[must_use]
    pub fn device(&self) -> &FileDevice {
        &self.device
    }

    /// What is on it: partitions, and what the first bytes of the whole disk tell.
    ///
    /// # Errors
    /// [`Error::Disk`] if the disk cannot be read.
    pub fn look(&self) -> Result<(Vec<Present>, Contents), Error> {
        look(&self.device).map_err(Error::disk(&self.node))
    }

    /// Makes reads come from the medium.
    fn forget(&self) -> Result<(), Error> {
        if !self.is_disk {
            return Ok(());
        }
        kiln_sys::block::drop_cache(self.device.file(), &self.node)
            .map_err(|error| damaged(&self.node, error.to_string()))
    }

    /// Tells the kernel of the new table. One that does not read it now does so at its next start.
    pub fn announce(&self) -> Option<String> {
        if !self.is_disk {
            return None;
        }
        let told = kiln_sys::block::read_table_again(self.device.file(), &self.node);
        told.err().map(|error| error.to_string())
    }
}

/// [`TargetDevice::look`] for any device.
///
/// # Errors
/// The disk cannot be read. One without a table is no error.
pub fn look(device: &dyn BlockDevice) -> Result<(Vec<Present>, Contents), kiln_disk::Error> {
    let first = |offset: u64, length: u64| {
        let mut bytes = vec![0; contents::LOOK.min(usize::try_from(length).unwrap_or(0))];
        // Unreadable places are shown as empty; whoever writes there finds out.
        let _ = device.read_at(offset, &mut bytes);
        contents::contents(&bytes)
    };
    let table = match gpt::read(device) {
        Ok(located) => located.table,
        Err(kiln_disk::Error::NoTable { .. }) => {
            return Ok((Vec::new(), first(0, device.length())));
        }
        Err(error) => return Err(error),
    };
    let present = table.partitions.iter().map(|(number, entry)| Present {
        number: *number,
        entry: entry.clone(),
        contents: first(entry.offset(table.sector_size), entry.length(table.sector_size)),
    });
    Ok((present.collect(), Contents { kind: "empty", label: None }))
}

/// Installs. After an error, and after a power cut at any moment, the disk has the table that it had,
/// or one with nothing to start, or all of the new system.
///
/// # Errors
/// [`Error::Disk`] before anything was changed, if the files do not fit the ESP; [`Error::Device`];
/// [`Error::Damaged`] if the disk does not give back what was written.
pub fn write(
    target: &mut TargetDevice,
    plan: &Plan,
    media: &Media<'_>,
    identity: Guid,
    hooks: &mut dyn Hooks,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let is_disk = target.is_disk;
    let forget = |device: &FileDevice| {
        // Borrowed anew: the device inside is being written.
        let node = plan.disk.as_str();
        if is_disk {
            return kiln_sys::block::drop_cache(device.file(), node)
                .map_err(|error| damaged(node, error.to_string()));
        }
        Ok(())
    };
    let mut run = |device: &FileDevice| {
        let release = media.release;
        let extent = |role| -> Result<Extent<'_>, Error> {
            let (offset, length) = place(plan, role)?;
            let sector_size = plan.table.sector_size;
            Ok(Extent { disk: device.file(), sector_size, offset, length })
        };
        let state = plan.table.partitions.get(&STATE.number);
        hooks.run(&Moment::Written(Written {
            root_hash: &release.root.hash,
            version: &release.version,
            root: RootPlace::Extent(extent(ROOT_A)?),
            state: StatePlace::Extent {
                extent: extent(STATE)?,
                is_new: state.is_some_and(|entry| entry.name == layout::STATE_NEW_NAME),
            },
        }));
        Ok(())
    };
    write_to(&mut target.device, plan, media, identity, &forget, &mut run, progress)?;
    target.forget()
}

/// [`write()`] for any device. `forget` makes the next reads come from the medium, `hooks` is called
/// when all is written and proved.
///
/// # Errors
/// As [`write()`].
pub fn write_to<Device: BlockDevice + Sync>(
    device: &mut Device,
    plan: &Plan,
    media: &Media<'_>,
    identity: Guid,
    forget: &dyn Fn(&Device) -> Result<(), Error>,
    hooks: &mut dyn FnMut(&Device) -> Result<(), Error>,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    plan.table.check().map_err(Error::disk(&plan.disk))?;
    let files = files(media)?;
    let listed: Vec<FatFile<'_>> =
        files.iter().map(|(path, bytes)| FatFile { path, bytes }).collect();
    let (esp, length) = place(plan, ESP)?;
    let sector_size = plan.table.sector_size;
    let volume = u32::from_le_bytes([identity.0[0], identity.0[1], identity.0[2], identity.0[3]]);
    let chunks = format_filesystem(length, sector_size, volume, ESP_LABEL, &listed)
        .map_err(Error::disk(&plan.disk))?;

    progress.step(Step::Media);
    let mut disk = Disk { device, node: &plan.disk };
    disk.erase(plan, identity)?;
    disk.clear_beginnings(plan)?;
    disk.write_root(plan, media, progress)?;
    disk.write_chunks(esp, &chunks)?;
    drop(chunks);
    forget(disk.device)?;
    progress.step(Step::Verity);
    disk.prove_root(plan, media.release)?;
    disk.compare_files(esp, length, &listed)?;
    hooks(disk.device)?;
    disk.flush()?;
    forget(disk.device)?;
    let table = disk.with_state(plan)?;
    disk.commit(&table)
}

/// A file of the ESP: path and content.
type EspFile<'a> = (String, Cow<'a, [u8]>);

/// All files of the ESP.
fn files<'a>(media: &Media<'a>) -> Result<Vec<EspFile<'a>>, Error> {
    let facts = media.release.to_json()?.into_bytes();
    let own = |(path, bytes): &'a (String, Vec<u8>)| (path.clone(), bytes.as_slice().into());
    let mut files: Vec<EspFile<'a>> = media.loaders.iter().map(own).collect();
    files.extend([
        ("loader/loader.conf".to_owned(), LOADER_CONFIGURATION.into()),
        (EntryName::fresh(FIRST_GENERATION).path(), media.boot_file.into()),
        (format!("{}/{}", crate::machine::STAGING, crate::machine::DELIVERED), facts.into()),
    ]);
    files.extend(media.files.iter().map(own));
    Ok(files)
}

/// Place of a partition in bytes.
fn place(plan: &Plan, role: Role) -> Result<(u64, u64), Error> {
    let missing = kiln_disk::Error::MissingPartition { number: role.number, name: role.name };
    let found = plan.table.partitions.get(&role.number);
    let entry = found.ok_or(missing).map_err(Error::disk(&plan.disk))?;
    let sector_size = plan.table.sector_size;
    Ok((entry.offset(sector_size), entry.length(sector_size)))
}

fn damaged(disk: &str, reason: String) -> Error {
    Error::Damaged { device: disk.to_owned(), reason }
}

/// The disk under work.
struct Disk<'d, Device> {
    device: &'d mut Device,
    node: &'d str,
}

impl<Device: BlockDevice + Sync> Disk<'_, Device> {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.device.write_at(offset, bytes).map_err(Error::device("write", self.node))
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.device.flush().map_err(Error::device("flush", self.node))
    }

    /// Step 1: a table with nothing but what stays.
    fn erase(&mut self, plan: &Plan, identity: Guid) -> Result<(), Error> {
        let failed = || Error::disk(self.node);
        let sector_size = self.device.sector_size();
        let (length, kept) = (self.device.length(), plan.kept.as_slice());
        let bare = layout::only_kept(sector_size, length, kept, identity).map_err(failed())?;
        if kept.is_empty() {
            // Both headers first, so that nothing between here and the end is half a table.
            let sector = u64::from(sector_size);
            let zeros = vec![0; sector_size as usize];
            self.put(sector, &zeros)?;
            self.put((length / sector - 1) * sector, &zeros)?;
            self.flush()?;
            // And what else says that a disk can be started: boot code, tables of other kinds, and
            // file systems on the whole disk.
            self.put(0, &vec![0; usize::try_from(ALIGNMENT).unwrap_or(PIECE)])?;
            self.flush()?;
            let writes = gpt::create(&bare).map_err(failed())?;
            return self.apply(&writes);
        }
        let mut located = gpt::read(self.device).map_err(failed())?;
        // Boot code of an earlier system would start what is gone.
        located.first_sector.fill(0);
        let writes = gpt::update(&located, &bare).map_err(failed())?;
        self.apply(&writes)
    }

    /// Step 2: a file system of an earlier system must not show through a new partition.
    fn clear_beginnings(&mut self, plan: &Plan) -> Result<(), Error> {
        let sector_size = plan.table.sector_size;
        let zeros = vec![0; PIECE];
        for entry in plan.table.partitions.values().filter(|entry| !plan.is_kept(entry)) {
            let length = PIECE.min(usize::try_from(entry.length(sector_size)).unwrap_or(PIECE));
            self.put(entry.offset(sector_size), zeros.get(..length).unwrap_or_default())?;
        }
        self.flush()
    }

    /// Step 3: the root.
    fn write_root(
        &mut self,
        plan: &Plan,
        media: &Media<'_>,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        let (start, room) = place(plan, ROOT_A)?;
        let length = media.release.root.length;
        if length > room {
            let error = kiln_disk::Error::SlotTooSmall { image: length, slot: room };
            return Err(Error::disk(self.node)(error));
        }
        progress.expect(Unit::Bytes, Some(length));
        let mut done = 0;
        let mut piece = vec![0; PIECE];
        while done < length {
            let now = PIECE.min(usize::try_from(length - done).unwrap_or(PIECE));
            let bytes = piece.get_mut(..now).unwrap_or_default();
            FileExt::read_exact_at(media.root, bytes, done)
                .map_err(Error::device("read", "the root image"))?;
            self.put(start + done, bytes)?;
            done += now as u64;
            progress.advance(done);
        }
        self.flush()
    }

    /// Reads the slot back and compares its root hash.
    fn prove_root(&mut self, plan: &Plan, release: &Release) -> Result<(), Error> {
        let (start, _) = place(plan, ROOT_A)?;
        let facts = &release.root;
        let refuse = |reason: String| damaged(self.node, format!("slot A: {reason}"));
        let salt = decode_hex(&facts.salt).map_err(|error| refuse(error.to_string()))?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let window = Window { device: &*self.device, start };
        let tree = kiln_verity::build(&window, facts.data_blocks, &salt, threads)
            .map_err(|error| refuse(error.to_string()))?;
        if tree.root.to_string() != facts.hash {
            return Err(refuse(format!("its root hash is {}, not {}", tree.root, facts.hash)));
        }
        let argument = RootArgument { root: tree.root, data_blocks: facts.data_blocks, salt };
        let mut stored = vec![0; tree.bytes.len()];
        window
            .read_exact_at(&mut stored, argument.hash_offset())
            .map_err(Error::device("read", self.node))?;
        if stored == tree.bytes { Ok(()) } else { Err(refuse("its hash tree differs".to_owned())) }
    }

    /// Step 4: the pieces of the ESP, and zeros between them, which they count on. What lies behind
    /// the last one belongs to no file.
    fn write_chunks(&mut self, start: u64, chunks: &[(u64, Cow<'_, [u8]>)]) -> Result<(), Error> {
        let zeros = vec![0; PIECE];
        let mut end = 0;
        for (offset, bytes) in chunks {
            while end < *offset {
                let now = PIECE.min(usize::try_from(offset - end).unwrap_or(PIECE));
                self.put(start + end, zeros.get(..now).unwrap_or_default())?;
                end += now as u64;
            }
            self.put(start + offset, bytes)?;
            end = offset + bytes.len() as u64;
        }
        self.flush()
    }

    /// Reads the ESP back and compares every file.
    fn compare_files(&self, start: u64, length: u64, files: &[FatFile<'_>]) -> Result<(), Error> {
        let failed = || Error::disk(self.node);
        let fat = Fat::open(&*self.device, start, length).map_err(failed())?;
        for file in files {
            let found = fat.read(file.path, u32::MAX).map_err(failed())?;
            if found != file.bytes {
                return Err(damaged(self.node, format!("{} on the ESP differs", file.path)));
            }
        }
        Ok(())
    }

    /// The table that is committed: with the state's lasting name if it got a file system for the hooks,
    /// so that the first boot takes it as it is and does not make another one.
    fn with_state(&self, plan: &Plan) -> Result<Gpt, Error> {
        let (start, _) = place(plan, STATE)?;
        let is_new = plan
            .table
            .partitions
            .get(&STATE.number)
            .is_some_and(|entry| entry.name == layout::STATE_NEW_NAME);
        let mut first = vec![0; contents::LOOK];
        self.device.read_at(start, &mut first).map_err(Error::device("read", self.node))?;
        if is_new && contents::contents(&first).kind == contents::EXTENDED {
            return layout::finish_state(&plan.table).map_err(Error::disk(self.node));
        }
        Ok(plan.table.clone())
    }

    /// Step 6, the commit point: the primary header is written behind everything else and names the
    /// new entries; before that sector the disk has nothing to start, from it on all of the system.
    fn commit(&mut self, table: &Gpt) -> Result<(), Error> {
        let bare = gpt::read(self.device).map_err(Error::disk(self.node))?;
        let writes = gpt::update(&bare, table).map_err(Error::disk(self.node))?;
        self.apply(&writes)?;
        let written = gpt::read(self.device).map_err(Error::disk(self.node))?;
        if written.table.partitions == table.partitions && written.other_agrees {
            return Ok(());
        }
        Err(damaged(self.node, "its partition table differs".to_owned()))
    }

    fn apply(&mut self, writes: &[kiln_disk::Write<'_>]) -> Result<(), Error> {
        kiln_disk::apply(self.device, writes).map_err(Error::device("write", self.node))
    }
}

/// A device from some byte on.
struct Window<'d, Device> {
    device: &'d Device,
    start: u64,
}

impl<Device: BlockDevice> ReadAt for Window<'_, Device> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let offset = self.start.checked_add(offset).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        self.device.read_at(offset, buffer)
    }
}
