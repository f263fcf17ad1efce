//! Kiln's own layer: what every system gets on top of its image.
//!
//! One explicit, small layer and nothing else makes a container image a Kiln system: mount points,
//! the static `kiln`, units, `/var` moved to the factory with tmpfiles lines that fill the real one,
//! and the logins that were asked for. Everything has the time 0 and the owner root, so the layer
//! depends on the options alone.
//!
//! It must never touch what the image says beyond these places. The alternative, patching the
//! running system at boot, was dropped: what is in the verified root is proved at every read.

mod boot_files;
mod clean;
mod disk_layout;
mod edit;
mod etc_mode;
mod late_modules;
mod mounts;
mod programs;
mod stages;
mod unit;
mod units;
mod users;
mod var;

use kiln_disk::layout::Layout;
use kiln_tree::{ContentStore, Tree};

pub(crate) use boot_files::add_boot_files;
pub(crate) use edit::Editor;
pub(crate) use late_modules::add_late_modules;
pub use programs::LEGACY_PROGRAMS;

use crate::recipe::{self, Recipe};
use crate::{Error, User};

/// What goes into the layer.
#[derive(Debug)]
pub struct LayerContents<'a> {
    /// The static `kiln` for the image's architecture, installed as `/usr/bin/kiln`.
    pub binary: &'a [u8],
    /// Logins to add.
    pub users: &'a [User],
    /// How the system is made, for the machine's own later builds ([`crate::recipe`]).
    pub recipe: &'a Recipe,
}

/// What was done, for the user to read.
#[derive(Debug, Default)]
pub struct LayerReport {
    /// Sentences about content that was moved or left out.
    pub notes: Vec<String>,
    /// The layout that the root carries, asked for or the image's own; the usual one if it has none.
    pub layout: Layout,
}

/// Puts Kiln's layer onto `tree`.
///
/// # Errors
/// [`Error::Layer`] if the image has something else where the layer must put its own,
/// [`Error::User`] for impossible logins, [`Error::Disk`] and [`Error::Setting`] for files of the
/// image that no machine could follow.
pub fn apply(
    tree: &mut Tree,
    store: &mut dyn ContentStore,
    contents: &LayerContents<'_>,
) -> Result<LayerReport, Error> {
    let mut report = LayerReport::default();
    let mut editor = Editor::new(tree, store);
    clean::remove_foreign_boot_files(&mut editor, &mut report);
    mounts::add_mount_points(&mut editor)?;
    editor.file(b"usr/bin/kiln", 0o755, contents.binary)?;
    units::add_units(&mut editor)?;
    stages::add_stages(&mut editor)?;
    programs::add_programs(&mut editor, &mut report)?;
    let recipe = contents.recipe.to_json()?;
    // Not for everyone's eyes: it holds password hashes.
    editor.file(recipe::PATH.as_bytes(), 0o600, recipe.as_bytes())?;
    report.layout = disk_layout::add_layout(&mut editor, contents.recipe.layout.as_deref())?;
    etc_mode::check(&editor)?;
    for user in contents.users {
        users::add_user(&mut editor, user)?;
    }
    var::move_to_factory(&mut editor, &mut report)?;
    Ok(report)
}
