//! The running release's boot loader onto the ESP.
//!
//! Firmware starts one path and falls back from nothing, so that path must at no moment hold less than a
//! whole loader. The old one is written beside it first; then the file gets its new content by one
//! directory sector, **which is the commit point**. A cut before it leaves the old loader and perhaps its
//! copy, and the next boot begins again. Writing the new one under a second name with a boot variable of
//! the firmware for it was dropped: firmware loses those.
//!
//! Called when the blessing is done, and for nobody to wait for: what fails here fails alone.

use std::fs::File;
use std::io::{self, Read as _};

use kiln_disk::BlockDevice;
use kiln_disk::fat::update::Change;

use super::{begin, now};
use crate::esp::SystemPartitionDevice;
use crate::loader::{Loader, MAXIMUM_LENGTH, Record};
use crate::machine::{Machine, Paths};
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
    let facts: Vec<Loader> = brought.iter().map(|(loader, _)| loader.clone()).collect();
    let offer = LoaderOffer {
        loaders: &facts,
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

/// Carries the plans out, and reads what the ESP then has.
fn replace(
    machine: &mut Machine,
    plans: &[LoaderPlan],
    brought: &[(Loader, Vec<u8>)],
) -> Result<(), Error> {
    let partition = &machine.system_partition;
    let mut esp = SystemPartitionDevice::open(&partition.node, machine.sector_size)?;
    let planned = plans.iter().zip(&machine.loaders);
    let written = planned.into_iter().try_for_each(|(plan, file)| {
        let LoaderVerdict::Replace { to, .. } = &plan.verdict else { return Ok(()) };
        let is_it = |loader: &Loader| {
            let here = file.loader.as_ref().map(|here| here.architecture);
            loader.version == *to && here == Some(loader.architecture)
        };
        match brought.iter().find(|(loader, _)| is_it(loader)) {
            Some((_, bytes)) => replace_loader(&mut esp, &plan.path, bytes),
            None => Ok(()),
        }
    });
    machine.loaders = esp.loaders()?;
    written
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
/// loaders for: signed ones before others, as `kiln build` takes them.
fn brought(paths: &Paths, machine: &Machine) -> Result<Vec<(Loader, Vec<u8>)>, Error> {
    let mut found: Vec<(Loader, Vec<u8>)> = Vec::new();
    let here = machine.loaders.iter().filter_map(|file| file.loader.as_ref());
    for architecture in here.map(|loader| loader.architecture) {
        if found.iter().any(|(loader, _)| loader.architecture == architecture) {
            continue;
        }
        let suffix = architecture.efi_suffix();
        let names = ["efi.signed", "efi"].map(|end| format!("systemd-boot{suffix}.{end}"));
        let files =
            paths.loaders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
        for path in files {
            let mut bytes = Vec::new();
            let read = File::open(&path)
                .and_then(|file| file.take(u64::from(MAXIMUM_LENGTH) + 1).read_to_end(&mut bytes));
            match read {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(Error::file("read", &path, source)),
                Ok(_) => {}
            }
            let is_whole = bytes.len() as u64 <= u64::from(MAXIMUM_LENGTH);
            let loader = Loader::read(&bytes).filter(|_| is_whole);
            let fits = |loader: &Loader| loader.architecture == architecture;
            found.extend(loader.filter(fits).map(|loader| (loader, bytes)));
            break;
        }
    }
    Ok(found)
}
