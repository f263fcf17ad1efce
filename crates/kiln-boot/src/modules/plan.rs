//! From wishes to ordered lists: which modules travel in the boot file, which wait in the verified
//! root, and after which others each is loaded.
//!
//! The order is a depth-first walk over dependencies from a fixed list of roots, so it is the same
//! for the same image. Hard dependencies form no cycle in a sound kernel, soft ones may; an edge
//! that would close a cycle is dropped, because the list must be loadable from the top. The walk
//! keeps its own stack: a hostile modules.dep may chain thousands of modules.

use std::collections::BTreeMap;

use super::index::ModuleIndex;
use super::sets::{ALWAYS, LATE, LATE_ON_DEMAND, LATE_WITHOUT_MODPROBE, ModuleSet, ON_DEMAND};
use crate::Error;
use crate::manifest::Load;

/// What the user chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Which drivers to carry.
    pub set: ModuleSet,
    /// More modules by name, loaded on every machine; each must exist or be built in.
    pub extra: Vec<String>,
}

/// A module of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Normalised name.
    pub name: String,
    /// When it is loaded.
    pub load: Load,
    /// Indexes of earlier modules of the plan that must be loaded first, ascending.
    pub dependencies: Vec<usize>,
}

/// Modules in load order.
///
/// # Errors
/// A module of [`Selection::extra`] that the kernel does not have.
pub fn plan(
    index: &ModuleIndex,
    selection: &Selection,
    release: &str,
) -> Result<Vec<Planned>, Error> {
    let mut walk = Walk { index, planned: Vec::new(), places: BTreeMap::new() };
    for name in ALWAYS.iter().filter_map(|name| index.known_name(name)) {
        walk.add(name, Load::Always);
    }
    for wish in &selection.extra {
        let providers = index.providers(wish);
        if providers.is_empty() && !index.is_built_in(wish) {
            return Err(Error::NoSuchModule { release: release.to_owned(), name: wish.clone() });
        }
        for name in providers {
            walk.add(name, Load::Always);
        }
    }
    let on_demand = ON_DEMAND.iter().filter_map(|name| index.known_name(name));
    for name in on_demand.chain(selection.set.modules(index)) {
        walk.add(name, Load::Match);
    }
    Ok(walk.planned)
}

/// Names of the modules that are loaded from the verified root, in load order, and when: [`LATE`] with
/// all that it needs, less what every machine has loaded by then, and [`LATE_ON_DEMAND`]. A module that
/// `early` carries only for some devices is listed again; loading it twice is harmless.
#[must_use]
pub fn plan_late(
    index: &ModuleIndex,
    early: &[Planned],
    has_modprobe: bool,
) -> Vec<(String, Load)> {
    let mut walk = Walk { index, planned: Vec::new(), places: BTreeMap::new() };
    let rest: &[&str] = if has_modprobe { &[] } else { LATE_WITHOUT_MODPROBE };
    for name in LATE.iter().chain(rest).filter_map(|name| index.known_name(name)) {
        walk.add(name, Load::Always);
    }
    let at_once = walk.planned.len();
    for name in LATE_ON_DEMAND.iter().filter_map(|name| index.known_name(name)) {
        walk.add(name, Load::Match);
    }
    let loaded = always_loaded(early);
    // The list in the root names no dependencies: what one of the first kind needs is of its kind.
    let load = |place| if place < at_once { Load::Always } else { Load::Match };
    let modules = walk.planned.into_iter().enumerate();
    let modules = modules.map(|(place, module)| (module.name, load(place)));
    modules.filter(|(name, _)| !loaded.contains(&name.as_str())).collect()
}

/// Names of the modules that are loaded whatever the machine has.
fn always_loaded(planned: &[Planned]) -> Vec<&str> {
    let mut wanted: Vec<bool> = planned.iter().map(|module| module.load == Load::Always).collect();
    // Dependencies stand before those that need them, so one pass from the end finds them all.
    for (place, module) in planned.iter().enumerate().rev() {
        if wanted[place] {
            for &needed in &module.dependencies {
                wanted[needed] = true;
            }
        }
    }
    let marked = planned.iter().zip(&wanted).filter(|(_, wanted)| **wanted);
    marked.map(|(module, _)| module.name.as_str()).collect()
}

struct Walk<'a> {
    index: &'a ModuleIndex,
    planned: Vec<Planned>,
    /// Name to place in `planned`; none while the module's dependencies are still being added.
    places: BTreeMap<&'a str, Option<usize>>,
}

impl<'a> Walk<'a> {
    /// Adds a module behind everything that it needs.
    fn add(&mut self, root: &'a str, load: Load) {
        if let Some(Some(place)) = self.places.get(root) {
            // Already there as a dependency of another: a stronger wish wins.
            if load == Load::Always {
                self.planned[*place].load = Load::Always;
            }
            return;
        }
        self.places.insert(root, None);
        let mut stack = vec![(root, self.needs(root), 0)];
        while let Some((name, needs, next)) = stack.last_mut() {
            if let Some(&needed) = needs.get(*next) {
                *next += 1;
                if !self.places.contains_key(needed) {
                    self.places.insert(needed, None);
                    let inner = self.needs(needed);
                    stack.push((needed, inner, 0));
                }
                continue;
            }
            let mut dependencies: Vec<usize> =
                needs.iter().filter_map(|needed| *self.places.get(needed)?).collect();
            dependencies.sort_unstable();
            let load = if *name == root { load } else { Load::Match };
            let place = self.planned.len();
            self.planned.push(Planned { name: (*name).to_owned(), load, dependencies });
            self.places.insert(name, Some(place));
            stack.pop();
        }
    }

    /// What a module needs, each name once, sorted so that the order of modules.dep has no say.
    fn needs(&self, name: &str) -> Vec<&'a str> {
        let mut needs = self.index.needs_of(name);
        needs.sort_unstable();
        needs.dedup();
        needs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> ModuleIndex {
        let mut index = ModuleIndex::default();
        index.add_dependencies(
            "kernel/md/dm-verity.ko: kernel/md/dm-mod.ko kernel/md/dm-bufio.ko\n\
             kernel/md/dm-bufio.ko: kernel/md/dm-mod.ko\nkernel/md/dm-mod.ko:\n\
             kernel/fs/erofs.ko: kernel/lib/libcrc32c.ko\nkernel/lib/libcrc32c.ko:\n\
             kernel/c/crc32c-intel.ko:\nkernel/b/virtio_blk.ko: kernel/b/virtio.ko\n\
             kernel/b/virtio.ko:\nkernel/x/left.ko:\nkernel/x/right.ko:\n",
        );
        index.add_aliases("alias crc32c crc32c_intel\nalias fs-odd left\n");
        index.add_soft_dependencies(
            "softdep libcrc32c pre: crc32c\nsoftdep left pre: right\nsoftdep right pre: left\n",
        );
        index.add_built_in("kernel/fs/ext4.ko\n");
        index
    }

    fn names(planned: &[Planned]) -> Vec<&str> {
        planned.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn dependencies_come_first() {
        let selection = Selection { set: ModuleSet::Virtio, extra: vec!["ext4".to_owned()] };
        let planned = plan(&index(), &selection, "6.12").unwrap();
        assert_eq!(
            names(&planned),
            [
                "crc32c_intel",
                "dm_mod",
                "dm_bufio",
                "dm_verity",
                "libcrc32c",
                "erofs",
                "virtio",
                "virtio_blk"
            ]
        );
        assert_eq!(planned[3].dependencies, [1, 2]);
        assert_eq!(planned[4].dependencies, [0]);
        let always: Vec<bool> = planned.iter().map(|module| module.load == Load::Always).collect();
        assert_eq!(always, [true, true, false, true, false, true, false, false]);
    }

    #[test]
    fn late_modules_leave_out_what_every_machine_has_loaded() {
        let mut index = ModuleIndex::default();
        index.add_dependencies(
            "kernel/fs/ext4.ko: kernel/lib/libcrc32c.ko kernel/fs/jbd2.ko kernel/b/virtio.ko\n\
             kernel/fs/jbd2.ko:\nkernel/lib/libcrc32c.ko:\nkernel/fs/overlay.ko:\n\
             kernel/fs/erofs.ko: kernel/lib/libcrc32c.ko\nkernel/fs/vfat.ko: kernel/fs/fat.ko\n\
             kernel/fs/fat.ko:\nkernel/b/virtio_blk.ko: kernel/b/virtio.ko\nkernel/b/virtio.ko:\n\
             kernel/b/loop.ko:\nkernel/b/qemu_fw_cfg.ko:\n",
        );
        let early = plan(&index, &Selection::default(), "6.12").unwrap();
        assert_eq!(names(&early), ["libcrc32c", "erofs", "loop", "virtio", "virtio_blk"]);
        let always: Vec<bool> = early.iter().map(|module| module.load == Load::Always).collect();
        assert_eq!(always, [false, true, false, false, false]);
        // `virtio` is not loaded on every machine, so a module that needs it brings it along.
        let late = |has_modprobe| {
            let planned = plan_late(&index, &early, has_modprobe);
            let words = planned.into_iter().map(|(name, load)| match load {
                Load::Always => name,
                Load::Match => format!("{name}?"),
            });
            words.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(late(true), "jbd2 virtio ext4 overlay qemu_fw_cfg?");
        assert_eq!(late(false), "jbd2 virtio ext4 overlay fat vfat qemu_fw_cfg?");
        assert!(plan_late(&ModuleIndex::default(), &early, false).is_empty());
    }

    #[test]
    fn a_cycle_of_soft_dependencies_is_cut() {
        let selection = Selection { set: ModuleSet::Virtio, extra: vec!["fs-odd".to_owned()] };
        let planned = plan(&index(), &selection, "6.12").unwrap();
        let place = |name| planned.iter().position(|module| module.name == name).unwrap();
        assert_eq!(planned[place("left")].dependencies, [place("right")]);
        assert_eq!(planned[place("right")].dependencies, [0_usize; 0]);
    }

    #[test]
    fn an_unknown_module_is_refused_by_name() {
        let selection = Selection { set: ModuleSet::Virtio, extra: vec!["zfs".to_owned()] };
        let error = plan(&index(), &selection, "6.12").unwrap_err();
        assert_eq!(error.to_string(), "kernel 6.12 has no module `zfs`");
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let mut index = ModuleIndex::default();
        let mut text = String::from("kernel/m0.ko:\n");
        for number in 1..50_000 {
            text.push_str(&format!("kernel/m{number}.ko: kernel/m{}.ko\n", number - 1));
        }
        index.add_dependencies(&text);
        let selection = Selection { set: ModuleSet::Virtio, extra: vec!["m49999".to_owned()] };
        let planned = plan(&index, &selection, "6.12").unwrap();
        assert_eq!(planned.len(), 50_000);
        assert_eq!(planned[49_999].name, "m49999");
    }
}
