//! What the tools of ext4 and FAT say about a disk after a power cut.
//!
//! Their word is asked about a sample only, because each disk must become a file for it. The ext4
//! file system is treated as a boot treats it: its journal replayed, and only those repairs that
//! need no decision. Whatever else e2fsck would want to repair is damage.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kiln_init::superblock;

use super::overlay::Overlay;
use crate::error::{Error, file_error};
use crate::{CommandOutput, Oracle};

/// e2fsck's exit status for "sound" and for "sound now" (e2fsck(8)).
const SOUND: [i32; 2] = [0, 1];

/// A file that must be on a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// Its path from the file system's own root.
    pub path: String,
    /// Its whole content.
    pub content: String,
}

/// Checks the ext4 file system in a range of bytes of the disk: first as a boot would, then wholly;
/// all promised files must be there afterwards. `scratch` is a file that is overwritten. Returns
/// `None` if all is well, or what is wrong.
///
/// # Errors
/// The tools are missing, or the scratch file cannot be written.
pub fn judge_ext4(
    disk: &Overlay,
    range: Range<u64>,
    promises: &[&Promise],
    scratch: &Path,
) -> Result<Option<String>, Error> {
    disk.materialise(range, scratch)?;
    let mut bytes = [0; superblock::LENGTH];
    File::open(scratch)
        .and_then(|file| file.read_exact_at(&mut bytes, superblock::OFFSET))
        .map_err(file_error("read", scratch))?;
    let Some(superblock) = superblock::parse(&bytes) else {
        return Ok(Some("no superblock".into()));
    };
    let whole = vec!["-f".to_owned(), "-p".into()];
    let boot = superblock.needs_check.then(|| superblock.check_arguments());
    for arguments in boot.into_iter().chain([whole]) {
        let checked = Oracle::new("e2fsck").arguments(&arguments).argument(scratch).outcome()?;
        if !SOUND.contains(&checked.status) {
            return Ok(Some(format!("e2fsck {}: {}", arguments.join(" "), checked.text)));
        }
    }
    for Promise { path, content } in promises {
        let found = show_file(path, scratch)?;
        if found.text.trim_end() != content.trim_end() {
            return Ok(Some(format!("{path} was promised `{content}` and is: {}", found.text)));
        }
    }
    Ok(None)
}

/// What debugfs reads of a file; its complaint if there is none.
fn show_file(path: &str, image: &Path) -> Result<CommandOutput, Error> {
    // The first line of standard error is the tool's version.
    let shown = Oracle::new("debugfs")
        .arguments(["-R", &format!("cat {path}")])
        .argument(image)
        .outcome()?;
    let lines = shown.text.lines().filter(|line| !line.starts_with("debugfs 1."));
    Ok(CommandOutput { status: shown.status, text: lines.collect::<Vec<_>>().join("\n") })
}

/// Checks the FAT file system in a range of bytes of the disk. Returns `None` if all is well, or
/// what is wrong.
///
/// # Errors
/// The tool is missing, or the scratch file cannot be written.
pub fn judge_fat(
    disk: &Overlay,
    range: Range<u64>,
    scratch: &Path,
) -> Result<Option<String>, Error> {
    disk.materialise(range, scratch)?;
    let checked = Oracle::new("fsck.fat").argument("-n").argument(scratch).outcome()?;
    Ok((checked.status != 0).then_some(checked.text))
}
