//! The programs of Elemental and cOS, which documents and people call by name.
//!
//! They are links to this program. What a call of them means is a table's work ([`arguments`], a pure
//! function): it becomes words of Kiln's, and those go through the same command line as typed ones, so
//! that nothing can be done by the old names that the new ones do not do. Documents call them at every
//! boot, so [`guard`] looks first whether there is anything to do. Shell scripts by these names were
//! dropped: they cannot be tested as a table, and an image without a shell has none.

mod cos;
mod elemental;
mod flags;
mod guard;
mod image;
mod settings;
mod sources;
mod translation;
mod yip;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use kiln_host::machine::Paths;

use self::flags::{Flag, Parsed, option, parse};
use self::guard::Decision;
use self::settings::Settings;
use self::translation::{Meaning, Power, Translation};
use crate::arguments::Arguments;
use crate::render::{self, Failure};
use crate::{commands, exit};

/// Kiln's own flags for tests, which are passed on.
const HIDDEN: &[Flag] = &[option("machine"), option("runtime")];

/// A verb of `elemental`, or a program that is one verb.
struct Verb {
    name: &'static str,
    /// The words behind it.
    usage: &'static str,
    /// What Kiln does for it.
    becomes: &'static str,
    flags: &'static [&'static [Flag]],
    translate: fn(&Parsed, &Settings) -> Result<Translation, LegacyError>,
}

impl Verb {
    /// What a call means. `program` comes before the name of a verb, and is empty for a program.
    fn call(
        &self,
        program: &str,
        words: &[OsString],
        settings: &Settings,
    ) -> Result<Meaning, LegacyError> {
        let name = format!("{program} {}", self.name);
        let name = name.trim_start();
        let parsed = parse(name, words, self.flags)?;
        if parsed.help {
            return Ok(Meaning::Help(self.help(name)));
        }
        (self.translate)(&parsed, settings).map(Meaning::Call)
    }

    fn help(&self, name: &str) -> String {
        let (usage, becomes) = (self.usage, self.becomes);
        let mut text = format!("{name} [FLAGS] {usage}\n\nCarried out as: {becomes}\n\nFlags:\n");
        let is_hidden = |flag: &&Flag| HIDDEN.iter().any(|hidden| hidden.name == flag.name);
        for flag in self.flags.iter().copied().flatten().filter(|flag| !is_hidden(flag)) {
            text.push_str(&flag.help());
        }
        text
    }
}

/// A call that has no counterpart, or none that can be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LegacyError {
    /// A flag that no generation of the program has.
    #[error("{program} has no flag `{flag}`{}", near(*.known, "--"))]
    UnknownFlag { program: String, flag: String, known: Option<&'static str> },
    /// A verb that no generation of the program has.
    #[error("elemental has no verb `{verb}`{}", near(*.known, ""))]
    UnknownVerb { verb: String, known: Option<&'static str> },
    /// A flag at the end that needs a value.
    #[error("{program}: `--{flag}` needs a value")]
    MissingValue { program: String, flag: &'static str },
    /// A switch with a value.
    #[error("`--{flag}` is a switch, and `{value}` is neither true nor false")]
    NoSwitch { flag: &'static str, value: String },
    /// One word more than the program takes.
    #[error("{program}: there is no place for `{word}`")]
    TooMany { program: String, word: String },
    /// A word that the program needs.
    #[error("{program}: {what} is missing")]
    Missing { program: String, what: &'static str },
    /// Two words of which one can hold.
    #[error("`{first}` and `{second}` cannot both hold")]
    Conflict { first: String, second: String },
    /// Something that has no counterpart, with what to do instead.
    #[error("{what} is not taken over")]
    Refused { what: String, hint: String },
    /// A file of settings that cannot be used.
    #[error("{place}: {reason}")]
    File { place: String, reason: String },
}

fn near(known: Option<&str>, dashes: &str) -> String {
    known.map(|known| format!("; `{dashes}{known}` is near")).unwrap_or_default()
}

impl LegacyError {
    /// What to do next.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Refused { hint, .. } => hint.clone(),
            Self::UnknownVerb { .. } => "`elemental --help` lists all verbs".to_owned(),
            Self::File { .. } => "repair the file, or remove it".to_owned(),
            Self::UnknownFlag { program, .. }
            | Self::MissingValue { program, .. }
            | Self::TooMany { program, .. }
            | Self::Missing { program, .. } => format!("`{program} --help` lists what it takes"),
            Self::NoSwitch { flag, .. } => format!("write `--{flag}` or `--{flag}=false`"),
            Self::Conflict { .. } => "leave one of them out".to_owned(),
        })
    }
}

/// The program of another system that a call names, by its last name.
fn program(name: Option<&OsStr>) -> Option<&'static str> {
    let name = Path::new(name?).file_name()?;
    let programs = cos::PROGRAMS.iter().map(|program| program.name);
    programs.chain(["elemental", yip::PROGRAM.name]).find(|program| name == *program)
}

/// What a call of `program` means: Kiln's words for it.
///
/// # Errors
/// [`LegacyError`] for what has no counterpart.
fn arguments(
    program: &str,
    arguments: &[OsString],
    settings: &Settings,
) -> Result<Meaning, LegacyError> {
    if program == "elemental" {
        return elemental::arguments(arguments, settings);
    }
    let verb = cos::PROGRAMS.iter().find(|verb| verb.name == program).unwrap_or(&yip::PROGRAM);
    verb.call("", arguments, settings)
}

/// Carries out the call of this process: as another system's program if it has the name of one, and
/// otherwise as `typed` says.
pub(crate) fn call_or(
    typed: impl FnOnce() -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let mut words = std::env::args_os();
    match program(words.next().as_deref()) {
        Some(program) => run(program, &words.collect::<Vec<_>>()),
        None => typed(),
    }
}

fn run(program: &'static str, words: &[OsString]) -> Result<ExitCode, Failure> {
    let paths = value(words, "--machine").map(PathBuf::from);
    let root = paths.clone().unwrap_or_else(|| PathBuf::from("/"));
    let paths = paths.map_or_else(Paths::default, |root| Paths::below(&root));
    let folder = value(words, "--config-dir").map(PathBuf::from);
    let meaning = Settings::read(&root, folder.as_deref(), std::env::vars_os())
        .and_then(|settings| arguments(program, words, &settings));
    let mut call = match meaning {
        Ok(Meaning::Help(text)) => {
            render::data(&text)?;
            return Ok(ExitCode::SUCCESS);
        }
        Ok(Meaning::Call(call)) => call,
        Err(error) => {
            let _ = render::failure(&error.into());
            return Ok(ExitCode::from(exit::USAGE));
        }
    };
    for note in &call.notes {
        render::message(&format!("note: {note}"));
    }
    if let Some(guard) = &call.guard {
        match guard::look(guard, &paths)? {
            Decision::Go => {}
            Decision::Nothing(why) => {
                render::message(&why);
                return Ok(ExitCode::SUCCESS);
            }
            Decision::Instead(instead) => call = *instead,
        }
    }
    // Kept until the verb is done with it.
    let fetched = sources::bring(&mut call)?;
    let words = std::iter::once(OsString::from("kiln")).chain(call.arguments);
    let code = commands::run(Arguments::parse_from(words))?;
    drop(fetched);
    let is_test = root != Path::new("/");
    match call.power.filter(|_| code == ExitCode::SUCCESS) {
        Some(_) if is_test => render::message("a folder cannot be restarted"),
        Some(Power::Restart) => kiln_host::system::restart()?,
        Some(Power::Off) => kiln_host::system::power_off()?,
        None => {}
    }
    Ok(code)
}

/// The value of a flag of which something has to be known before the tables.
fn value<'a>(words: &'a [OsString], flag: &str) -> Option<&'a OsStr> {
    let at = words.iter().position(|word| word == flag);
    if let Some(at) = at {
        return words.get(at + 1).map(OsString::as_os_str);
    }
    let start = format!("{flag}=");
    words.iter().find_map(|word| Some(OsStr::new(word.to_str()?.strip_prefix(&start)?)))
}

#[cfg(test)]
mod tests;
