//! An image as text, for tests and for looking at one: one line for each thing, in reading order.

use std::fmt::Write as _;

use crate::error::Error;
use crate::reader::{EntryKind, Iso};

/// Everything that [`Iso`] reads, without contents of files.
///
/// # Errors
/// As [`Iso::entries`] and [`Iso::boot_entries`].
pub fn dump(iso: &Iso<'_>) -> Result<String, Error> {
    let volume = iso.volume();
    let mut text = format!(
        "volume {:?} system {:?} application {:?} publisher {:?}\nmodified {} length {} names {:?} \
         joliet {}\n",
        volume.volume_id,
        volume.system_id,
        volume.application_id,
        volume.publisher,
        volume.modified,
        volume.length,
        iso.names(),
        volume.joliet,
    );
    for entry in iso.boot_entries()? {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "boot platform {:#04x} bootable {} emulation {} sectors {} offset {}",
            entry.platform, entry.bootable, entry.emulation, entry.sectors, entry.offset
        );
    }
    if let Ok(located) = iso.table() {
        text.push_str(&kiln_disk::gpt::dump::dump(&located.table));
    }
    let mut entries = iso.entries()?;
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    for entry in entries {
        let _ = write!(text, "{:04o} {:?}", entry.permissions, entry.display_path());
        match &entry.kind {
            EntryKind::Directory => text.push('/'),
            EntryKind::File(extents) => {
                let _ = write!(text, " {}", entry.length());
                for extent in extents {
                    let _ = write!(text, " @{}", extent.offset);
                }
            }
            EntryKind::Symlink(target) => {
                let _ = write!(text, " -> {:?}", String::from_utf8_lossy(target));
            }
            EntryKind::Other => text.push_str(" other"),
        }
        text.push('\n');
    }
    Ok(text)
}
