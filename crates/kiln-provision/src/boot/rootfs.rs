//! The first half: the stages before anything writable is mounted, and what can be written afterwards.

use std::path::Path;

use kiln_config::Action;
use kiln_etc::mounts::{PATH, format};

use super::{Boot, Ended, bounded_host, generation, today};
use crate::mounts::{LAYOUT_FILES, Wishes};
use crate::sources::{BlockVolumes, Search, gather_all, own_boot_partition};
use crate::storage::{Disks, DisksOptions};
use crate::{
    Error, Fetch, Host, Ledger, Machine, Root, Storage, Surroundings, random, stages, values,
};

/// Bytes of a file of layout variables that are read.
const MAXIMUM_LAYOUT: u64 = 64 << 10;

/// Carries out `pre-rootfs` and `rootfs`, and writes down what can be written ([`PATH`]).
///
/// # Errors
/// The root or the folder for this boot cannot be used; what a document asks for in vain is in the report.
pub fn rootfs(boot: &mut Boot<'_>) -> Result<Ended, Error> {
    let say = boot.say;
    let root = Root::open(&boot.root)?;
    let generation = generation(&boot.state);
    let policy = boot.policy(&root, generation);
    let boot_partition = own_boot_partition()?;
    let mut volumes = BlockVolumes::new(boot.run.join("volume"));
    let gathered = gather_all(Search {
        root: &root,
        command_line: &boot.command_line,
        policy: &policy,
        boot_partition: boot_partition.as_deref(),
        volumes: &mut volumes,
        fetch: &mut Offline,
        need_network: &mut || Err(offline()),
        say: &mut |line| say(line),
    });
    let values = values(&root, &Machine::default(), random()?)?;
    let (mut programs, mut makers) = (bounded_host(), Host::default());
    let mut random = || random();
    let disks = Disks::new(DisksOptions {
        root: boot.root.clone(),
        state: boot.state.clone(),
        ledger: Ledger::open(&boot.state, generation)?,
        programs: &mut makers,
        say,
        kernel_arguments: &mut *boot.kernel_arguments,
    })?;
    let mut storage = Layout { wishes: Wishes::default(), disks };
    let mut tell = |line: &str| say(line);
    let mut surroundings = Surroundings {
        root,
        is_running: false,
        kernel: "/proc".into(),
        today: today(),
        programs: &mut programs,
        fetch: &mut Offline,
        storage: &mut storage,
        values,
        random: &mut random,
        images: boot.network.clone(),
        ledger: None,
        say: &mut tell,
        environment: Vec::new(),
    };
    let mut reports = Vec::new();
    for stage in ["pre-rootfs", "rootfs"] {
        reports.extend(stages::run_stage(stage, &gathered.checked, &mut surroundings));
    }
    let layout = layout(&surroundings.root)?;
    let wishes = storage.wishes;
    if !wishes.is_empty() || layout.is_some() {
        let (mounts, said) = wishes.decide(layout.as_deref());
        for line in said {
            say(&line);
        }
        kiln_etc::file::replace(Path::new(PATH), format::write(&mounts).as_bytes(), 0o644)?;
    }
    Ok(Ended { reports, ..Ended::default() })
}

/// The variables that the stages have left in Elemental's layout files.
fn layout(root: &Root) -> Result<Option<String>, Error> {
    let mut texts = Vec::new();
    for path in LAYOUT_FILES {
        texts.extend(root.text(path, MAXIMUM_LAYOUT)?);
    }
    Ok((!texts.is_empty()).then(|| texts.join("\n")))
}

/// Notes what can be written, and lets disks be changed at once.
struct Layout<'a> {
    wishes: Wishes,
    disks: Disks<'a>,
}

impl Storage for Layout<'_> {
    fn carry_out(&mut self, action: &Action) -> Result<(), Error> {
        if self.wishes.add(action) { Ok(()) } else { self.disks.carry_out(action) }
    }
}

/// There is no network yet.
struct Offline;

impl Fetch for Offline {
    fn get(&mut self, _: &kiln_config::action::Remote, _: u64) -> Result<Vec<u8>, Error> {
        Err(offline())
    }
}

fn offline() -> Error {
    Error::NotHere { what: "fetching over a network before the state is mounted".into() }
}
