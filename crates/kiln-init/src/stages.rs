//! What the stages of a configuration, which systemd runs later, have to know of this boot.
//!
//! The first process carries no configuration out and reads none. It leaves marks: in which mode the
//! machine runs, under the names that scripts of other systems test, and whether the kernel command line
//! brings steps of its own, because a unit's condition cannot ask for a word that only begins in a way.

use crate::Error;
use crate::cmdline::Mode;
use crate::error::file;
use std::fs;
use std::path::Path;

/// The mark that makes the units of the stages run although no folder holds a configuration.
const WANTED: &str = "/run/kiln/stages";
/// Folders in which scripts look for the mode: Kiln's, and those of both generations of Elemental.
const SENTINELS: [&str; 3] = ["/run/kiln", "/run/elemental", "/run/cos"];

/// Leaves the marks.
pub(crate) fn announce(mode: Mode, command_line: &str) -> Result<(), Error> {
    let name = match mode {
        Mode::System => "active_mode",
        Mode::Recovery => "recovery_mode",
    };
    for folder in SENTINELS.map(Path::new) {
        fs::create_dir_all(folder).map_err(file("create", folder))?;
        let path = folder.join(name);
        fs::write(&path, "1\n").map_err(file("write", &path))?;
    }
    if are_wanted(command_line) {
        fs::write(WANTED, "").map_err(file("write", WANTED))?;
    }
    Ok(())
}

/// Whether the command line brings steps (`stages.boot[0]…`) or names where there are some.
fn are_wanted(command_line: &str) -> bool {
    const SETUP: [&str; 3] = ["kiln.setup=", "elemental.setup=", "cos.setup="];
    command_line.split_ascii_whitespace().any(|word| {
        let word = word.trim_start_matches('"');
        word.starts_with("stages.") || SETUP.iter().any(|start| word.starts_with(start))
    })
}

#[cfg(test)]
mod tests {
    use super::are_wanted;

    #[test]
    fn only_steps_and_their_sources_are_a_reason() {
        for (line, expected) in [
            ("quiet console=ttyS0", false),
            ("quiet stages.network[0].commands[0]=true", true),
            ("\"stages.boot[0].commands[0]=echo a b\"", true),
            ("cos.setup=/run/x", true),
            ("kiln.setup=https://example.com/a.yaml", true),
            ("backstages.x=1 my.cos.setup=2", false),
        ] {
            assert_eq!(are_wanted(line), expected, "{line}");
        }
    }
}
