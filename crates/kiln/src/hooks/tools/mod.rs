//! Programs that hooks find before those of the system: links to this program in a folder of their own.
//!
//! Hooks were written for another layout of the disk and for a machine that may stop at any moment. So what
//! restarts or switches off is only written down, until the action is committed; and `mount` of the
//! partition that is Kiln's state shows the folder of it that is meant. All else goes on to the system's own
//! program. They count only with [`FOLDER`] in the environment, which nothing but a hook has. Shell scripts
//! were dropped: `/run` may forbid to execute them, and a table of calls is tested better here.

mod mount;
mod power;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

pub(super) use mount::ANY_FIFTH;
pub(crate) use power::Power;

use crate::exit;
use crate::render;

/// Variable with the folder of these programs.
pub(super) const FOLDER: &str = "KILN_HOOKS";
/// Variable with the folder where the state of the new system is.
pub(super) const STATE: &str = "KILN_STATE";
/// Variable with the folder that is `/var` of the new system.
pub(super) const VAR: &str = "KILN_VAR";
/// Variable with names of the partition that holds the state, by spaces.
pub(super) const DEVICES: &str = "KILN_STATE_DEVICES";
/// Names under which this program is in the folder.
pub(super) const NAMES: [&str; 8] =
    ["mount", "reboot", "poweroff", "halt", "shutdown", "init", "telinit", "systemctl"];
/// What was asked for, in the folder.
const REQUEST: &str = "request";
/// Longest such file that is read, in bytes; its first line counts.
const REQUEST_BYTES: u64 = 64;
/// Name of the folder with the links, in the folder.
pub(super) const LINKS: &str = "bin";
/// Exit code of mount(8) where mounting failed.
const MOUNT_FAILED: u8 = 32;

/// Acts as the program by whose name this one was called, if a hook did.
pub(crate) fn called() -> Option<ExitCode> {
    let folder = PathBuf::from(std::env::var_os(FOLDER)?);
    let mut words = std::env::args_os();
    let name = words.next()?;
    let name = Path::new(&name).file_name()?.to_str()?;
    let name = NAMES.into_iter().find(|known| *known == name)?;
    let words: Vec<OsString> = words.collect();
    let text: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if name == "mount" {
        return Some(mount(&folder, &words, &text));
    }
    Some(match power::asked(name, &text) {
        Some(power) => ask(&folder, name, power),
        None => pass_on(&folder, name, &words),
    })
}

/// Whether a hook called this program.
pub(crate) fn is_hook() -> bool {
    std::env::var_os(FOLDER).is_some()
}

/// What a hook asked for while it ran; the first wish counts.
pub(super) fn request(folder: &Path) -> Option<Power> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = File::open(folder.join(REQUEST)).ok()?;
    file.take(REQUEST_BYTES).read_to_string(&mut text).ok()?;
    Power::parse(text.lines().next()?)
}

/// Writes a wish down.
fn ask(folder: &Path, name: &str, power: Power) -> ExitCode {
    let mut options = File::options();
    let file = options.create(true).append(true).open(folder.join(REQUEST));
    match file.and_then(|mut file| file.write_all(format!("{}\n", power.word()).as_bytes())) {
        Ok(()) => {
            render::message(&format!("kiln: `{name}` waits until all is done"));
            ExitCode::from(exit::DONE)
        }
        Err(error) => {
            render::warning(&format!("`{name}` is not done: {}: {error}", folder.display()));
            ExitCode::from(exit::FAILED)
        }
    }
}

fn mount(folder: &Path, words: &[OsString], text: &[String]) -> ExitCode {
    let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let devices = variable(DEVICES).unwrap_or_default();
    let known = mount::Known {
        state: variable(STATE),
        var: variable(VAR),
        devices: devices.split_whitespace().collect(),
    };
    match mount::wish(text, &known) {
        mount::Wish::PassOn => pass_on(folder, "mount", words),
        mount::Wish::Show { source, target, why } => {
            render::message(&format!("kiln: {why}"));
            if let Err(error) = std::fs::create_dir_all(&source) {
                render::warning(&format!("cannot make {source}: {error}"));
                return ExitCode::from(MOUNT_FAILED);
            }
            let words = ["--bind", &source, &target].map(OsString::from);
            pass_on(folder, "mount", &words)
        }
    }
}

/// Becomes the system's own program.
fn pass_on(folder: &Path, name: &str, words: &[OsString]) -> ExitCode {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = folder.join(LINKS);
    let others: Vec<PathBuf> = std::env::split_paths(&path).filter(|place| *place != own).collect();
    let found = others.iter().map(|place| place.join(name)).find(|file| file.is_file());
    let Some(program) = found else {
        render::warning(&format!("{name}: not found"));
        // What shells give (POSIX.1, "Exit Status for Commands").
        return ExitCode::from(127);
    };
    let error = Command::new(&program).arg0(OsStr::new(name)).args(words).exec();
    render::warning(&format!("cannot start {}: {error}", program.display()));
    ExitCode::from(126)
}
