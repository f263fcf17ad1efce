//! Which folders of the root are mounted over, in which order, and with what: a pure decision.
//!
//! What is wanted comes as [`Mounts`]; what is possible depends on the root, because a folder that a
//! release does not have can only be made where something writable lies above it, and on the state: a
//! place that was an overlay once stays one, and a copy stays a copy, whatever the layout says today, so
//! that a changed word in a document hides no data. Steps are in the order of their paths, which puts
//! each folder behind the one that it lies in.

use kiln_etc::EtcMode;
use kiln_etc::mounts::place::{self, Place};
use kiln_etc::mounts::{DEFAULT, Mode, MountPath, Mounts};
use std::collections::BTreeMap;

/// Memory for what is gone with the next boot, apart from `/etc`.
pub const MEMORY: &str = "/run/kiln/memory";
/// Upper half and work folder of an `/etc` that is not kept: where programs look for it.
const EPHEMERAL_ETC: [&str; 2] = ["/run/kiln/etc/upper", "/run/kiln/etc/work"];
/// Where programs leave what nobody needs tomorrow; always writable.
const TEMPORARY: &str = "/tmp";

/// What is known before anything is mounted.
pub struct Facts<'a> {
    /// Short name of the release.
    pub release: &'a str,
    /// Whether command line or root want an `/etc` that is not kept.
    pub etc: EtcMode,
    /// Whether the root has a folder, by its path without a slash at the beginning.
    pub in_root: &'a dyn Fn(&str) -> bool,
    /// Whether the state has a folder.
    pub in_state: &'a dyn Fn(&str) -> bool,
}

impl std::fmt::Debug for Facts<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Facts").field("release", &self.release).finish_non_exhaustive()
    }
}

/// Where a folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In the state, from its root.
    State(String),
    /// In memory, an absolute path of the first process.
    Memory(String),
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// Changes over the release's own folder.
    Overlay {
        /// Where changes are.
        upper: Store,
        /// The kernel's work folder.
        work: Store,
    },
    /// A folder in its place.
    Bind {
        /// The folder.
        source: Store,
        /// Whether it begins as a copy of the release's own.
        copied: bool,
    },
    /// Memory of its own.
    Temporary,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Folder of the root, without a slash at the beginning.
    pub target: String,
    /// What comes there.
    pub how: How,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The mounts, in order.
    pub steps: Vec<Step>,
    /// What is other than it was asked for.
    pub notes: Vec<String>,
}

/// Plans the mounts.
#[must_use]
pub fn plan(mounts: &Mounts, facts: &Facts<'_>) -> Plan {
    let mut wanted: BTreeMap<&str, (&MountPath, Option<Mode>)> = BTreeMap::new();
    wanted.extend(mounts.persistent().map(|(path, mode)| (path.as_str(), (path, Some(mode)))));
    wanted.extend(mounts.ephemeral().map(|path| (path.as_str(), (path, None))));
    let mut plan = Plan::default();
    // A path below `/tmp` sorts behind it, and no other path is both above and behind.
    let (before, after): (Vec<_>, Vec<_>) =
        wanted.into_values().partition(|(path, _)| path.as_str() < TEMPORARY);
    for (path, kept) in before {
        plan.add(path, kept, facts);
    }
    let has_temporary = after.first().is_some_and(|(path, _)| path.as_str() == TEMPORARY);
    if !has_temporary && (facts.in_root)(relative(TEMPORARY)) {
        plan.steps.push(Step { target: relative(TEMPORARY).into(), how: How::Temporary });
    }
    for (path, kept) in after {
        plan.add(path, kept, facts);
    }
    plan
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

impl Plan {
    fn add(&mut self, path: &MountPath, kept: Option<Mode>, facts: &Facts<'_>) {
        let is_there = (facts.in_root)(path.relative());
        if !is_there && !self.is_below_a_step(path) {
            // The usual folders are missing in small images, and nobody misses them.
            if !DEFAULT.contains(&path.as_str()) {
                self.notes
                    .push(format!("`{path}` is not writable: the release has no such folder"));
            }
            return;
        }
        let is_gone = path.is_in("/etc") && facts.etc == EtcMode::Ephemeral;
        let how = match kept {
            Some(_) if is_gone && path.as_str() != "/etc" => {
                self.notes.push(format!("`{path}` is not kept: this system keeps nothing of /etc"));
                return;
            }
            None if is_gone && path.as_str() != "/etc" => return,
            Some(mode) if !is_gone => self.persistent(path, mode, is_there, facts),
            _ => Some(ephemeral(path, is_there)),
        };
        let target = path.relative().to_owned();
        self.steps.extend(how.map(|how| Step { target, how }));
    }

    fn persistent(
        &mut self,
        path: &MountPath,
        mode: Mode,
        is_there: bool,
        facts: &Facts<'_>,
    ) -> Option<How> {
        let work = || Store::State(place::work(path));
        let overlay = |upper| How::Overlay { upper: Store::State(upper), work: work() };
        let bind = |source| How::Bind { source: Store::State(source), copied: is_there };
        match Place::of(path, mode) {
            Place::Etc => Some(overlay(format!("etc/{}", facts.release))),
            Place::Release(name) if is_there => {
                Some(overlay(format!("usr/{}/{name}", facts.release)))
            }
            Place::Release(_) => {
                self.notes.push(format!("`{path}` is not kept: the release has no such folder"));
                None
            }
            Place::Whole(source) if path.is_in("/var") => Some(bind(source)),
            Place::Upper(_) | Place::Whole(_) => {
                let (upper, whole) = (place::upper(path), place::whole(path));
                let was = match ((facts.in_state)(&upper), (facts.in_state)(&whole)) {
                    (true, false) => Mode::Overlay,
                    (false, true) => Mode::Bind,
                    _ => mode,
                };
                if was != mode {
                    let name = was.name();
                    self.notes.push(format!("`{path}` stays of the kind `{name}`, with its data"));
                }
                Some(match was {
                    Mode::Overlay if is_there => overlay(upper),
                    // Over no folder, changes are all that there is; a release that has one finds them.
                    Mode::Overlay => bind(upper),
                    Mode::Bind => bind(whole),
                })
            }
        }
    }

    /// Whether something is mounted above a path.
    fn is_below_a_step(&self, path: &MountPath) -> bool {
        self.steps.iter().any(|step| is_below(path.relative(), &step.target))
    }

    /// Whether another step lies above this one, which hides the release's own folder.
    #[must_use]
    pub fn is_nested(&self, step: &Step) -> bool {
        self.steps.iter().any(|other| is_below(&step.target, &other.target))
    }

    /// Whether anything is in [`MEMORY`].
    #[must_use]
    pub fn needs_memory(&self) -> bool {
        self.steps.iter().any(|step| match &step.how {
            How::Overlay { upper: Store::Memory(path), .. }
            | How::Bind { source: Store::Memory(path), .. } => path.starts_with(MEMORY),
            _ => false,
        })
    }

    /// Whether the release has upper halves of what it brings itself.
    #[must_use]
    pub fn has_programs(&self) -> bool {
        self.states().any(|place| place.starts_with("usr/"))
    }

    /// Whether changes of `/etc` stay.
    #[must_use]
    pub fn keeps_etc(&self) -> bool {
        self.states().any(|place| place.starts_with("etc/"))
    }

    /// Whether anything of the state's `/var` is shown.
    #[must_use]
    pub fn shows_var(&self) -> bool {
        self.states().any(|place| place == "var" || place.starts_with("var/"))
    }

    fn states(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match &step.how {
            How::Overlay { upper: Store::State(place), .. }
            | How::Bind { source: Store::State(place), .. } => Some(place.as_str()),
            _ => None,
        })
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn ephemeral(path: &MountPath, is_there: bool) -> How {
    let memory = |what: &str| Store::Memory(format!("{MEMORY}/{}/{what}", path.name()));
    match (path.as_str(), is_there) {
        ("/etc", _) => {
            let [upper, work] = EPHEMERAL_ETC.map(|path| Store::Memory(path.to_owned()));
            How::Overlay { upper, work }
        }
        (_, true) => How::Overlay { upper: memory("upper"), work: memory("work") },
        (_, false) => How::Bind { source: memory("whole"), copied: false },
    }
}

#[cfg(test)]
mod tests {
    use super::{Facts, How, MEMORY, Plan, Step, Store, plan};
    use kiln_etc::EtcMode;
    use kiln_etc::mounts::{Mode, MountPath, Mounts, Wishes};
    use proptest::prelude::*;

    const RELEASE: &str = "0123456789abcdef";
    /// Folders of a usual root.
    const ROOT: [&str; 13] = [
        "etc",
        "etc/ssh",
        "etc/systemd",
        "home",
        "opt",
        "root",
        "srv",
        "tmp",
        "usr",
        "usr/libexec",
        "usr/local",
        "usr/local/bin",
        "var",
    ];

    fn path(text: &str) -> MountPath {
        MountPath::new(text).unwrap()
    }

    fn mounts(persistent: &[(&str, Mode)], ephemeral: &[&str]) -> Mounts {
        Mounts::settle(Wishes {
            persistent: persistent.iter().map(|(text, mode)| (path(text), *mode)).collect(),
            ephemeral: ephemeral.iter().map(|text| path(text)).collect(),
            ..Wishes::default()
        })
        .0
    }

    fn planned(mounts: &Mounts, etc: EtcMode, state: &[&str]) -> Plan {
        let in_root = |path: &str| ROOT.contains(&path);
        let in_state = |path: &str| state.contains(&path);
        plan(mounts, &Facts { release: RELEASE, etc, in_root: &in_root, in_state: &in_state })
    }

    /// A line for each step.
    fn shown(plan: &Plan) -> Vec<String> {
        let store = |store: &Store| match store {
            Store::State(place) => format!("state {place}"),
            Store::Memory(place) => format!("memory {}", place.trim_start_matches(MEMORY)),
        };
        let line = |Step { target, how }: &Step| match how {
            How::Overlay { upper, .. } => format!("{target}: over {}", store(upper)),
            How::Bind { source, copied: true } => format!("{target}: copy {}", store(source)),
            How::Bind { source, copied: false } => format!("{target}: new {}", store(source)),
            How::Temporary => format!("{target}: memory"),
        };
        plan.steps.iter().map(line).collect()
    }

    #[test]
    fn a_machine_that_asks_for_nothing_has_the_folders_of_before() {
        let plan = planned(&Mounts::default(), EtcMode::Persistent, &[]);
        let expected = [
            "etc: over state etc/0123456789abcdef",
            "home: over state overlay/home/upper",
            "opt: over state overlay/opt/upper",
            "root: over state overlay/root/upper",
            "srv: over state overlay/srv/upper",
            "tmp: memory",
            "usr/local: over state overlay/usr-local/upper",
            "var: copy state var",
        ];
        assert_eq!(shown(&plan), expected);
        let work = plan.steps.iter().map(|step| match &step.how {
            How::Overlay { work: Store::State(work), .. } => work.as_str(),
            _ => "-",
        });
        let expected = ["etc", "home", "opt", "root", "srv", "-", "usr-local", "-"];
        let expected = expected.map(|name| match name {
            "-" => "-".to_owned(),
            name => format!("overlay/{name}/work"),
        });
        assert_eq!(work.collect::<Vec<_>>(), expected);
        assert!(plan.notes.is_empty() && plan.keeps_etc() && plan.shows_var());
        assert!(!plan.needs_memory() && !plan.has_programs());
        assert!(plan.steps.iter().all(|step| !plan.is_nested(step)));

        let bare = |_: &str| false;
        let facts =
            Facts { release: RELEASE, etc: EtcMode::Persistent, in_root: &bare, in_state: &bare };
        assert_eq!(super::plan(&Mounts::default(), &facts), Plan::default());

        let plan = planned(&Mounts::default(), EtcMode::Ephemeral, &[]);
        assert_eq!(shown(&plan)[0], "etc: over memory /run/kiln/etc/upper");
        assert!(!plan.keeps_etc() && !plan.needs_memory());
    }

    /// What is wanted, what the state has, whether `/etc` may be kept, the steps, words of the notes.
    type Case<'a> = (
        &'a [(&'a str, Mode)],
        &'a [&'a str],
        &'a [&'a str],
        EtcMode,
        &'a [&'a str],
        &'a [&'a str],
    );

    #[test]
    fn layouts_become_mounts_in_order() {
        use EtcMode::{Ephemeral, Persistent};
        use Mode::{Bind, Overlay};
        let cases: [Case<'_>; 8] = [
            // Persistent folders below others in memory, some of which no release has.
            (
                &[("/etc/ssh", Overlay), ("/etc/rancher", Overlay), ("/var/log", Overlay)],
                &["/etc", "/var", "/srv"],
                &[],
                Persistent,
                &[
                    "etc: over memory /run/kiln/etc/upper",
                    "etc/rancher: new state overlay/etc-rancher/upper",
                    "etc/ssh: over state overlay/etc-ssh/upper",
                    "srv: over memory /srv/upper",
                    "tmp: memory",
                    "var: over memory /var/upper",
                    "var/log: new state var/log",
                ],
                &[],
            ),
            (
                &[("/etc", Bind), ("/home", Bind), ("/usr/local/bin", Bind), ("/var", Bind)],
                &["/usr/local", "/var/cache", "/tmp"],
                &[],
                Persistent,
                &[
                    "etc: over state etc/0123456789abcdef",
                    "home: copy state overlay/home/bind",
                    "tmp: over memory /tmp/upper",
                    "usr/local: over memory /usr-local/upper",
                    "usr/local/bin: copy state overlay/usr-local-bin/bind",
                    "var: copy state var",
                    "var/cache: new memory /var-cache/whole",
                ],
                &[],
            ),
            // Programs belong to the release, also where all else is bound.
            (
                &[("/etc", Overlay), ("/var", Overlay), ("/usr/libexec", Bind)],
                &[],
                &[],
                Persistent,
                &[
                    "etc: over state etc/0123456789abcdef",
                    "tmp: memory",
                    "usr/libexec: over state usr/0123456789abcdef/usr-libexec",
                    "var: copy state var",
                ],
                &[],
            ),
            // What the state has goes before the kind that is wanted.
            (
                &[("/etc", Overlay), ("/var", Overlay), ("/home", Bind), ("/srv", Overlay)],
                &[],
                &["overlay/home/upper", "overlay/srv/bind"],
                Persistent,
                &[
                    "etc: over state etc/0123456789abcdef",
                    "home: over state overlay/home/upper",
                    "srv: copy state overlay/srv/bind",
                    "tmp: memory",
                    "var: copy state var",
                ],
                &["`/home` stays of the kind `overlay`", "`/srv` stays of the kind `bind`"],
            ),
            (
                &[("/etc/gone", Overlay), ("/var", Overlay)],
                &["/etc"],
                &["overlay/etc-gone/upper"],
                Persistent,
                &[
                    "etc: over memory /run/kiln/etc/upper",
                    "etc/gone: new state overlay/etc-gone/upper",
                    "tmp: memory",
                    "var: copy state var",
                ],
                &[],
            ),
            // Only what is there, or lies in what is writable, can be mounted over.
            (
                &[("/data", Overlay), ("/usr/lib/x", Overlay), ("/etc", Overlay)],
                &["/usr/libexec", "/var"],
                &[],
                Persistent,
                &[
                    "etc: over state etc/0123456789abcdef",
                    "tmp: memory",
                    "usr/libexec: over memory /usr-libexec/upper",
                    "var: over memory /var/upper",
                ],
                &["`/data` is not writable", "`/usr/lib/x` is not writable"],
            ),
            (
                &[("/usr/libexec/x", Overlay), ("/var", Overlay), ("/tmp/keep", Bind)],
                &["/usr/libexec", "/etc"],
                &[],
                Persistent,
                &[
                    "etc: over memory /run/kiln/etc/upper",
                    "tmp: memory",
                    "tmp/keep: new state overlay/tmp-keep/bind",
                    "usr/libexec: over memory /usr-libexec/upper",
                    "var: copy state var",
                ],
                &["`/usr/libexec/x` is not kept"],
            ),
            // What the verified root says about /etc goes before every document.
            (
                &[("/etc/ssh", Overlay), ("/var", Overlay)],
                &["/etc"],
                &[],
                Ephemeral,
                &["etc: over memory /run/kiln/etc/upper", "tmp: memory", "var: copy state var"],
                &["`/etc/ssh` is not kept"],
            ),
        ];
        for (persistent, ephemeral, state, etc, steps, words) in cases {
            let plan = planned(&mounts(persistent, ephemeral), etc, state);
            assert_eq!(shown(&plan), steps, "{persistent:?} {ephemeral:?}");
            assert_eq!(plan.notes.len(), words.len(), "{:?}", plan.notes);
            for (note, word) in plan.notes.iter().zip(words) {
                assert!(note.contains(word), "{note}");
            }
        }
    }

    fn any_path() -> impl Strategy<Value = MountPath> {
        let name = prop::sample::select(vec!["etc", "var", "usr", "tmp", "a", "a-b", "b", "local"]);
        prop::collection::vec(name, 1..5).prop_filter_map("a path", |names| {
            MountPath::new(&format!("/{}", names.join("/"))).ok()
        })
    }

    proptest! {
        /// Before each mount its folder is there or can be made in something writable, no folder is
        /// mounted over twice, and nothing is mounted over what was mounted before.
        #[test]
        fn every_target_is_there_before_its_mount(
            persistent in prop::collection::vec((any_path(), any::<bool>()), 0..8),
            ephemeral in prop::collection::vec(any_path(), 0..8),
            root in prop::collection::btree_set(any_path(), 0..12),
            state in prop::collection::vec(any_path(), 0..4),
            keeps in any::<bool>(),
        ) {
            let mode = |bind| if bind { Mode::Bind } else { Mode::Overlay };
            let mounts = Mounts::settle(Wishes {
                persistent: persistent.into_iter().map(|(path, bind)| (path, mode(bind))).collect(),
                ephemeral,
                ..Wishes::default()
            }).0;
            // Folders of a root lie in folders.
            let in_root = |path: &str| root.iter().any(|one| {
                one.relative() == path || one.relative().starts_with(&format!("{path}/"))
            });
            let in_state = |path: &str| {
                state.iter().any(|one| path == format!("overlay/{}/upper", one.name()))
            };
            let etc = if keeps { EtcMode::Persistent } else { EtcMode::Ephemeral };
            let facts = Facts { release: RELEASE, etc, in_root: &in_root, in_state: &in_state };
            let plan = plan(&mounts, &facts);
            for (number, step) in plan.steps.iter().enumerate() {
                let (before, after) = (&plan.steps[..number], &plan.steps[number + 1..]);
                let above = |other: &Step| step.target.starts_with(&format!("{}/", other.target));
                prop_assert!(in_root(&step.target) || before.iter().any(above), "{step:?}");
                prop_assert!(!after.iter().any(above), "{step:?} is hidden");
                prop_assert!(before.iter().all(|other| other.target != step.target), "{step:?}");
                if let How::Overlay { .. } = step.how {
                    prop_assert!(in_root(&step.target), "nothing lies below {step:?}");
                }
            }
            // No two mounts write to one place.
            let places: Vec<String> =
                shown(&plan).iter().filter_map(|line| line.split_once(": ")).map(|(_, place)| place.to_owned()).collect();
            let mut distinct = places.clone();
            distinct.sort();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), places.len());
        }
    }
}
