//! When the sections of a document are carried out, and in which order.
//!
//! A Provision document is applied once, at the first boot of a machine, before its own root is entered,
//! all or nothing: as Ignition's, because both say what a machine is and not what happens at each boot.
//! The exceptions are what has to be known at each boot (`persist`, `ephemeral`, `volumes`: stage
//! `rootfs`) and commands, which name their stage. Settings of the kernel are files that systemd reads
//! at each boot. Carrying out everything at each boot was dropped: it would undo what an
//! administrator changes.
//!
//! Reader and writer ask the same function, so a written document is read into the same order.

use crate::action::Action;
use crate::operation::{Failure, Moment, Phase, Stage};

/// Place of an action inside the only step of a document, and what a fault means; nothing where no
/// section puts this action into this stage.
pub(super) fn place(stage: &Stage, action: &Action) -> Option<(u32, Failure)> {
    let failure = match stage.moment {
        Moment::FirstBoot => Failure::Abort,
        _ => Failure::Continue,
    };
    if let Action::Command(_) = action {
        return Some((13, failure));
    }
    match stage {
        Stage { moment: Moment::FirstBoot, phase: Phase::Main } => {
            let rank = match action {
                Action::Disk(_) => 0,
                Action::Raid(_) => 1,
                Action::Luks(_) => 2,
                Action::Filesystem(_) => 3,
                Action::Group(_) => 4,
                Action::User(_) => 5,
                Action::Directory(_) => 6,
                Action::File(_) => 7,
                Action::Link(_) => 8,
                Action::Hostname(_) => 9,
                Action::Dns(_) => 10,
                Action::Unit(_) => 11,
                Action::KernelArguments(_) => 12,
                // Behind the commands, which have the number between.
                Action::Report(_) => 14,
                _ => return None,
            };
            Some((rank, failure))
        }
        Stage { moment: Moment::Rootfs, phase: Phase::Main } => match action {
            // A machine whose data are not where they were is worse than one that says so.
            Action::Volume(volume) if volume.options.iter().any(|option| option == "nofail") => {
                Some((0, Failure::Continue))
            }
            Action::Volume(_) => Some((0, Failure::Abort)),
            Action::Persistence(_) => Some((1, Failure::Abort)),
            _ => None,
        },
        _ => None,
    }
}
