//! What a program asked of its files, in order, as `strace` saw it at the border to the kernel.
//!
//! This records executors as users get them: they open devices by path, write from libraries that
//! never heard of [`kiln_disk::BlockDevice`], and call fsync on files of the state in between. A
//! recording device handed into them was dropped: it shows only what goes through it, and a write
//! beside it, or a flush of the wrong file, is just what has to be found.
//!
//! Only what can change a file's bytes or its name is kept. A call of a kind that is not followed is
//! kept as such, for whoever reads the record to refuse where it matters: a write that is missing in a
//! record would make the replay say that all is well.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, file_error};
use crate::oracle::Oracle;

/// Longest write in bytes that is recorded whole; boot files are the largest.
const LONGEST: usize = 512 << 20;

/// The calls that are recorded: all by which a file's bytes or its name can change, or become stable.
const CALLS: &str = "trace=openat,open,creat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,\
                     fallocate,copy_file_range,sendfile,splice,fsync,fdatasync,sync_file_range,\
                     rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat";

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A file was opened to be written from its beginning; it is empty now.
    Emptied(PathBuf),
    /// Bytes at an offset; without one, behind what was written since the file was emptied.
    Write {
        /// The file.
        path: PathBuf,
        /// Byte offset.
        offset: Option<u64>,
        /// What was written.
        bytes: Arc<[u8]>,
    },
    /// What was written to the file is on stable storage; of a folder: its names are.
    Sync(PathBuf),
    /// A file got another name.
    Rename {
        /// Where it was.
        from: PathBuf,
        /// Where it is.
        to: PathBuf,
    },
    /// A file is gone.
    Removed(PathBuf),
    /// A folder or an empty file was made, or one was opened that may have been there.
    Made(PathBuf),
    /// A file changed in another way, such as its length; what it holds is not known from here on.
    Other(PathBuf),
}

impl Event {
    /// The file; of a rename, where it is then.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Emptied(path) | Self::Sync(path) | Self::Removed(path) => path,
            Self::Made(path) | Self::Other(path) | Self::Write { path, .. } => path,
            Self::Rename { to, .. } => to,
        }
    }
}

/// Runs a program below `strace`, with everything that it starts; what it did below `folder`.
///
/// # Errors
/// [`Error::MissingTool`]; [`Error::Tool`] if the program fails; [`Error::Unexpected`] for a line that is
/// none of strace's.
pub fn record(
    program: &Path,
    arguments: &[&str],
    variable: (&str, &OsStr),
    folder: &Path,
) -> Result<Vec<Event>, Error> {
    let log = folder.join("trace");
    Oracle::new("strace")
        .arguments(["-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-e", CALLS, "-e", "signal=none"])
        .arguments(["-s", &LONGEST.to_string(), "-o"])
        .argument(&log)
        .argument(program)
        .arguments(arguments)
        .environment(variable.0, variable.1)
        .run()?;
    let text = fs::read(&log).map_err(file_error("read", &log))?;
    fs::remove_file(&log).map_err(file_error("remove", &log))?;
    parse(&text, folder)
}

/// Reads the output of `strace -f -y -xx`; keeps what concerns `folder`.
///
/// # Errors
/// [`Error::Unexpected`].
pub fn parse(text: &[u8], folder: &Path) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    // Calls during which another thread's came: by thread, what was printed of them so far.
    let mut open: HashMap<&str, String> = HashMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let unexpected = || Error::Unexpected {
            what: "a line of strace".into(),
            text: String::from_utf8_lossy(&line[..line.len().min(400)]).into_owned(),
        };
        let line = std::str::from_utf8(line).map_err(|_| unexpected())?;
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
            open.insert(thread, begun.to_owned());
            continue;
        }
        let whole = match call.strip_prefix("<... ") {
            Some(rest) => {
                let (_, rest) = rest.split_once("resumed>").ok_or_else(unexpected)?;
                open.remove(thread).ok_or_else(unexpected)? + rest
            }
            None => call.to_owned(),
        };
        if whole.starts_with("+++") || whole.starts_with("---") {
            continue;
        }
        if let Some(event) = event(&whole, folder).ok_or_else(unexpected)? {
            events.push(event);
        }
    }
    Ok(events)
}

/// What one call did; `None` inside for one that changed nothing here, outside for nonsense.
fn event(call: &str, folder: &Path) -> Option<Option<Event>> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    if result.starts_with(['-', '?']) {
        return Some(None);
    }
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let arguments: Vec<&str> = arguments.split(", ").collect();
    let argument = |at: usize| arguments.get(at).copied();
    // Paths are recorded absolute by their tests; a file's descriptor carries its path.
    let named = |at: usize| Some(PathBuf::from(String::from_utf8(quoted(argument(at)?)?).ok()?));
    let file = |at: usize| {
        let path = argument(at)?.split_once('<')?.1.split_once('>')?.0;
        Some(PathBuf::from(String::from_utf8(escaped(path)?).ok()?))
    };
    let event = match name {
        "open" | "openat" => {
            // A file without a name, or one that lost it, has a mark behind its path.
            let path = result.split_once('<')?.1.split_once('>')?.0;
            let path = PathBuf::from(String::from_utf8(escaped(path)?).ok()?);
            match call {
                _ if call.contains("O_TRUNC") => Event::Emptied(path),
                _ if call.contains("O_CREAT") => Event::Made(path),
                _ => return Some(None),
            }
        }
        "write" => {
            Event::Write { path: file(0)?, offset: None, bytes: quoted(argument(1)?)?.into() }
        }
        "pwrite64" => Event::Write {
            path: file(0)?,
            offset: Some(argument(3)?.parse().ok()?),
            bytes: quoted(argument(1)?)?.into(),
        },
        "fsync" | "fdatasync" => Event::Sync(file(0)?),
        "rename" => Event::Rename { from: named(0)?, to: named(1)? },
        "renameat" | "renameat2" => Event::Rename { from: named(1)?, to: named(3)? },
        "unlink" => Event::Removed(named(0)?),
        "unlinkat" => Event::Removed(named(1)?),
        "mkdir" => Event::Made(named(0)?),
        "mkdirat" => Event::Made(named(1)?),
        _ => {
            let files = (0..arguments.len()).filter_map(file);
            let ours = files.into_iter().find(|path| path.starts_with(folder));
            return Some(ours.map(Event::Other));
        }
    };
    Some(event.path().starts_with(folder).then_some(event))
}

/// The bytes of an argument in quotes, which must not have been cut short.
fn quoted(argument: &str) -> Option<Vec<u8>> {
    escaped(argument.strip_prefix('"')?.strip_suffix('"')?)
}

/// `\x41\x42` as bytes.
fn escaped(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    text.as_bytes()
        .chunks(4)
        .map(|piece| match piece {
            [b'\\', b'x', high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> String {
        text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
    }

    #[test]
    fn calls_are_read_in_their_order_across_threads() {
        let (disk, new, there) = (hex("/m/disk"), hex("/m/l.new"), hex("/m/l"));
        let text = format!(
            "7 pwrite64(3<{disk}>, \"{}\", 2, 512 <unfinished ...>\n\
             8 write(1<{}>, \"{}\", 2) = 2\n\
             7 <... pwrite64 resumed>) = 2\n\
             7 fdatasync(3<{disk}>) = 0\n\
             7 openat(AT_FDCWD<{}>, \"{new}\", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 4<{new}>\n\
             7 rename(\"{new}\", \"{there}\") = 0\n\
             7 rename(\"{new}\", \"{there}\") = -1 ENOENT (No such file or directory)\n\
             8 +++ exited with 0 +++\n",
            hex("ab"),
            hex("/out"),
            hex("no"),
            hex("/m"),
        );
        let events = parse(text.as_bytes(), Path::new("/m")).unwrap();
        let expected = [
            Event::Write { path: "/m/disk".into(), offset: Some(512), bytes: (*b"ab").into() },
            Event::Sync("/m/disk".into()),
            Event::Emptied("/m/l.new".into()),
            Event::Rename { from: "/m/l.new".into(), to: "/m/l".into() },
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn a_change_that_is_not_followed_is_no_silence() {
        let (disk, other) = (hex("/m/disk"), hex("/x"));
        let read = |line: String| parse(line.as_bytes(), Path::new("/m"));
        let expected = [Event::Other("/m/disk".into())];
        assert_eq!(
            read(format!("7 sendfile(3<{disk}>, 4<{other}>, NULL, 9) = 9")).unwrap(),
            expected
        );
        assert_eq!(read(format!("7 ftruncate(3<{disk}>(deleted), 9) = 0")).unwrap(), expected);
        assert_eq!(read(format!("7 sendfile(3<{other}>, 4<{other}>, NULL, 9) = 9")).unwrap(), []);
        assert!(read(format!("7 pwrite64(3<{disk}>, \"{disk}\"..., 200, 0) = 200")).is_err());
        assert!(read("7 nonsense".to_owned()).is_err());
    }
}
