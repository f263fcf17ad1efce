//! Kernel modules that init loads from the verified root instead of carrying them.
//!
//! They go in after the kernel was found, which is why this is not one of the steps of
//! [`super::apply`]. What they are and why they are copies is decided in `kiln_boot::initramfs`; here
//! they only get their place. It must never be the image's own module folder: depmod would list them
//! there a second time.

use kiln_boot::initramfs::LateModules;
use kiln_tree::{ContentStore, Tree};

use super::Editor;
use crate::Error;

/// Puts the modules and their manifest into the tree.
///
/// # Errors
/// [`Error::Layer`] if the image has something else than folders in their way.
pub(crate) fn add_late_modules(
    tree: &mut Tree,
    store: &mut dyn ContentStore,
    modules: &LateModules,
) -> Result<(), Error> {
    let mut editor = Editor::new(tree, store);
    for (name, bytes) in &modules.files {
        editor.file(format!("{}/{name}", modules.folder).as_bytes(), 0o644, bytes)?;
    }
    Ok(())
}
