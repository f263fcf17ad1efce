//! The running release's boot loader onto the ESP.
//!
//! Firmware starts one path and falls back from nothing, so that path must at no moment hold less than a
//! whole loader. The old one is written beside it first; then the file gets its new content by one
//! directory sector, **which is the commit point**. A cut before it leaves the old loader and perhaps its
//! copy, and the next boot begins again. Writing the new one under a second name with a boot variable of
//! the firmware for it was dropped: firmware loses those.
//!
//! Where shim comes first, there are two such writes: what shim starts, then shim itself, each of which
//! the plan allows only if the pair of that moment starts. What enrols keys comes before shim and is
//! no part of an ordinary start.
//!
//! Called when the blessing is done, and for nobody to wait for: what fails here fails alone.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use kiln_boot::loader_set::{LoaderSet, Program, beside};
use kiln_boot::uki::format::Architecture;
use kiln_disk::BlockDevice;
use kiln_disk::fat::update::Change;

use super::{begin, now};
use crate::esp::SystemPartitionDevice;
use crate::loader::{Loader, LoaderKind, MAXIMUM_LENGTH, Record};
use crate::machine::{LoaderFile, Machine, Paths};
use crate::plan::{self, LoaderOffer, LoaderPlan, LoaderVerdict};
use crate::{Error, debug, secure_boot};

/// What the copy of the old loader is called behind the loader's own name. No firmware or loader looks
/// for such a name.
pub const KEPT_SUFFIX: &str = ".old";

/// Replaces the loaders that the running release has newer ones of, and writes down what there is; says
/// what became of each.
///
/// # Errors
/// As reading the machine and writing the ESP. Each loader is then the old or the new one.
pub fn update_loaders(paths: &Paths, busy: impl FnOnce()) -> Result<Vec<LoaderPlan>, Error> {
    let (_store, mut machine) = begin(paths, busy)?;
    let brought = brought(paths, &machine)?;
    let facts: Vec<Loader> = brought.iter().map(|brought| brought.loader.clone()).collect();
    let managers = brought.iter().filter_map(|brought| brought.key_manager.as_ref());
    let offer = LoaderOffer {
        loaders: &facts,
        key_manager: managers.map(|manager| manager.bytes.len() as u64).sum(),
        is_overlaid: debug::is_active(paths),
        secure_boot: secure_boot::is_enforced(paths),
    };
    let plans = plan::loaders(&machine, &offer);
    let is_replaced = |plan: &LoaderPlan| matches!(plan.verdict, LoaderVerdict::Replace { .. });
    let time = now();
    let generation = machine.booted.generation;
    let record = Record::read(&paths.ledger);
    let before = record.with(&machine.loaders, generation, time);
    // Without a change nothing is opened for writing: a person may have mounted the ESP.
    let written = if plans.iter().any(is_replaced) {
        replace(&mut machine, &plans, &brought)
    } else {
        Ok(())
    };
    // What there is now, also if only some could be written.
    let new = before.with(&machine.loaders, generation, time);
    let remembered = if new == record { Ok(()) } else { new.write(&paths.ledger) };
    written.and(remembered).map(|()| plans)
}

/// What is said where there is no such file: images have folders and files of these names, too.
const NO_FILE: [io::ErrorKind; 3] =
    [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory, io::ErrorKind::IsADirectory];

/// A loader of the running release.
struct Brought {
    loader: Loader,
    bytes: Vec<u8>,
    /// What enrols keys, beside shim.
    key_manager: Option<Program>,
}

/// Carries the plans out, and reads what the ESP then has.
fn replace(machine: &mut Machine, plans: &[LoaderPlan], brought: &[Brought]) -> Result<(), Error> {
    let partition = &machine.system_partition;
    let mut esp = SystemPartitionDevice::open(&partition.node, machine.sector_size)?;
    let planned = plans.iter().zip(&machine.loaders);
    // In their order, and none after one that failed: shim waits for what it starts.
    let written = planned.into_iter().try_for_each(|(plan, file)| match &plan.verdict {
        LoaderVerdict::Replace { to, .. } => replace_by(&mut esp, file, to, brought),
        LoaderVerdict::Keep(_) => Ok(()),
    });
    machine.loaders = esp.loaders()?;
    written
}

fn replace_by(
    esp: &mut SystemPartitionDevice,
    file: &LoaderFile,
    version: &str,
    brought: &[Brought],
) -> Result<(), Error> {
    let Some(here) = &file.loader else { return Ok(()) };
    let is_it = |new: &&Brought| {
        new.loader.version == version
            && new.loader.architecture == here.architecture
            && new.loader.kind.name() == here.kind.name()
    };
    let Some(new) = brought.iter().find(is_it) else { return Ok(()) };
    if let (LoaderKind::Shim(shim), Some(manager)) = (&new.loader.kind, &new.key_manager)
        && let Some(name) = &shim.key_manager
    {
        let path = beside(&file.path, name);
        if esp.has(&path)? {
            replace_loader(esp, &path, &manager.bytes)?;
        } else {
            esp.put(&path, &manager.bytes)?;
        }
    }
    replace_loader(esp, &file.path, &new.bytes)
}

/// Gives a loader its new content, the old one kept beside it.
///
/// # Errors
/// [`Error::Disk`] and [`Error::Device`]; the loader is then the old or the new one, whole.
pub fn replace_loader<Device: BlockDevice>(
    esp: &mut SystemPartitionDevice<Device>,
    path: &str,
    new: &[u8],
) -> Result<(), Error> {
    let old = esp.read(path, MAXIMUM_LENGTH)?;
    if old == new {
        return Ok(());
    }
    esp.put(&format!("{path}{KEPT_SUFFIX}"), &old)?;
    // The commit point.
    esp.change(&Change::Replace { path, bytes: new })
}

/// The loaders in the running root, which is proved at every read, for the processors that the ESP has
/// loaders for: the same ones as `kiln build` takes.
fn brought(paths: &Paths, machine: &Machine) -> Result<Vec<Brought>, Error> {
    let here = machine.loaders.iter().filter_map(|file| file.loader.as_ref());
    let mut architectures: Vec<Architecture> = here.map(|loader| loader.architecture).collect();
    architectures.dedup();
    let mut found: Vec<Brought> = Vec::new();
    for architecture in architectures {
        if found.iter().any(|brought| brought.loader.architecture == architecture) {
            continue;
        }
        for tree in &paths.loader_trees {
            let set = LoaderSet::find(architecture, |path| read(&tree.join(path)))?;
            let Some(LoaderSet { loader, shim }) = set else { continue };
            let fits = |loader: &Loader| loader.architecture == architecture;
            let mut add = |program: Program, key_manager| {
                let loader = Loader::read(&program.bytes).filter(fits);
                let bytes = program.bytes;
                found.extend(loader.map(|loader| Brought { loader, bytes, key_manager }));
            };
            add(loader, None);
            if let Some(shim) = shim {
                add(shim.program, shim.key_manager);
            }
            break;
        }
    }
    Ok(found)
}

/// A file of the running root; one that is too long is no loader.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let mut bytes = Vec::new();
    let maximum = u64::from(MAXIMUM_LENGTH);
    let read = File::open(path).and_then(|file| file.take(maximum + 1).read_to_end(&mut bytes));
    match read {
        Ok(length) if length as u64 <= maximum => Ok(Some(bytes)),
        Ok(_) => Ok(Some(Vec::new())),
        Err(error) if NO_FILE.contains(&error.kind()) => Ok(None),
        Err(source) => Err(Error::file("read", path, source)),
    }
}
