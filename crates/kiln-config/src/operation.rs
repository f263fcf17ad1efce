//! The one ordered list into which every dialect is lowered, and which one executor carries out.
//!
//! What differs between dialects is written into the list and not into the executor: the order (stage,
//! document, step, rank), what a fault means ([`Failure`]), and what is known only on the machine
//! ([`Text::Template`], [`Condition`]). So `kiln explain` can show the whole of it on a laptop. An
//! executor for each dialect was dropped: the same file would be written in two ways.

use serde::Serialize;

use crate::action::Action;
use crate::source::Span;

/// All that is to be done, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Sorted by stage, document, step and rank; see [`Plan::sort`].
    pub operations: Vec<Operation>,
}

impl Plan {
    /// Brings the operations into the order in which they are carried out. Stable: what compares equal
    /// keeps the order of its document.
    pub fn sort(&mut self) {
        self.operations.sort_by(|one, other| one.order().cmp(&other.order()));
    }

    /// The operations of one stage and phase, in order.
    pub fn stage(&self, stage: &Stage) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(move |operation| operation.stage == *stage)
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// When.
    pub stage: Stage,
    /// Which document of its stage: documents run one after the other, in the order of their sources.
    pub document: u32,
    /// Which step of its document, counted from 0.
    pub step: u32,
    /// Name of the step, where its author gave one.
    pub name: Option<String>,
    /// Place inside the step; the dialect fixes it, not the order of the text.
    pub rank: u32,
    /// What a fault means for what follows.
    pub failure: Failure,
    /// What has to hold on the machine; all of them.
    pub conditions: Vec<Condition>,
    /// Where it was written.
    pub origin: Span,
    /// What is done.
    pub action: Action,
}

impl Operation {
    fn order(&self) -> (&Stage, u32, u32, u32) {
        (&self.stage, self.document, self.step, self.rank)
    }
}

/// What a fault means for the operations behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// It is reported, the rest runs.
    Continue,
    /// Nothing of the document is kept, the machine does not go on.
    Abort,
}

/// A moment in the life of a machine, in the order in which they come (DESIGN §4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Stage {
    /// The moment itself.
    pub moment: Moment,
    /// `X.before`, `X`, `X.after`.
    pub phase: Phase,
}

/// The moments. Names of the first group are those of Elemental's stages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Before the root's own disks are looked at.
    PreRootfs,
    /// The root is verified; the last moment to say what is mounted and what persists.
    Rootfs,
    /// Once in a machine's life, before the new root is entered: Ignition and `kind: Provision`.
    FirstBoot,
    /// In the future root, before the new root is entered; at each boot.
    Initramfs,
    /// The file systems are mounted.
    Fs,
    /// Before the first login.
    Boot,
    /// The network is up.
    Network,
    /// At intervals while the machine runs.
    Reconcile,
    /// Around an action (`after-install-chroot`) or a stage that somebody runs by name.
    Hook(String),
}

/// The three rounds of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// `X.before`
    Before,
    /// `X`
    Main,
    /// `X.after`
    After,
}

impl Moment {
    /// The name under which users know it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::PreRootfs => "pre-rootfs",
            Self::Rootfs => "rootfs",
            Self::FirstBoot => "first-boot",
            Self::Initramfs => "initramfs",
            Self::Fs => "fs",
            Self::Boot => "boot",
            Self::Network => "network",
            Self::Reconcile => "reconcile",
            Self::Hook(name) => name,
        }
    }
}

impl Stage {
    /// The stage of a name such as `rootfs.after`; a name that is none of the moments is a hook.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let (base, phase) = match name.rsplit_once('.') {
            Some((base, "before")) => (base, Phase::Before),
            Some((base, "after")) => (base, Phase::After),
            _ => (name, Phase::Main),
        };
        let moments = [
            Moment::PreRootfs,
            Moment::Rootfs,
            Moment::Initramfs,
            Moment::Fs,
            Moment::Boot,
            Moment::Network,
            Moment::Reconcile,
        ];
        let moment = moments
            .into_iter()
            .find(|moment| moment.name() == base)
            .unwrap_or_else(|| Moment::Hook(base.to_owned()));
        Self { moment, phase }
    }

    /// The main round of a moment.
    #[must_use]
    pub fn main(moment: Moment) -> Self {
        Self { moment, phase: Phase::Main }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = match self.phase {
            Phase::Before => ".before",
            Phase::Main => "",
            Phase::After => ".after",
        };
        write!(formatter, "{}{end}", self.moment.name())
    }
}

/// What has to hold on the machine before an operation runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// `sh -c` of it ends with 0.
    Command(Text),
    /// The host name matches this regular expression.
    Node(String),
    /// A field of the machine matches this regular expression.
    Fact(Fact, String),
    /// Files exist or do not.
    Files(Exists, Vec<Text>),
}

/// A field of the machine that conditions ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// ID or NAME of os-release.
    Os,
    /// VERSION_ID of os-release.
    OsVersion,
    /// Architecture in Go's notation (`amd64`, `arm64`).
    Architecture,
    /// `systemd` or `openrc`.
    ServiceManager,
}

/// How many of the files have to exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Exists {
    /// Each of them.
    All,
    /// At least one.
    Any,
    /// None.
    None,
}

/// A string, perhaps with holes that only the machine can fill.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Text {
    /// As it stands.
    Plain(String),
    /// A template in Go's notation, already checked: every function in it is a known one.
    Template(String),
}

impl Text {
    /// The text as it was written.
    #[must_use]
    pub fn written(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Template(text) => text,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Plain(text.to_owned())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Plain(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Moment, Phase, Stage};

    #[test]
    fn stages_come_in_the_order_of_a_boot() {
        let names = [
            "pre-rootfs.before",
            "pre-rootfs",
            "rootfs",
            "rootfs.after",
            "initramfs",
            "fs",
            "boot.before",
            "boot",
            "network",
            "reconcile",
            "after-install",
        ];
        let stages: Vec<Stage> = names.iter().map(|name| Stage::named(name)).collect();
        assert!(stages.is_sorted());
        assert_eq!(stages.iter().map(ToString::to_string).collect::<Vec<_>>(), names);
        assert!(Stage::main(Moment::FirstBoot) > Stage::named("rootfs.after"));
        assert!(Stage::main(Moment::FirstBoot) < Stage::named("initramfs.before"));
        let hook = Stage::named("after-upgrade-chroot");
        assert_eq!(
            (hook.moment, hook.phase),
            (Moment::Hook("after-upgrade-chroot".into()), Phase::Main)
        );
    }
}
