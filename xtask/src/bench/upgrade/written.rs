//! What an upgrade writes and what for: every write of the program as strace saw it, by file.
//!
//! The kernel's own figure, which the table shows, counts whole folios of the page cache. A file system
//! with large ones (ext4 since Linux 6.16) lets a page that changes once more after a flush count as up to
//! 2 MiB, which no disk has to take. So goals are judged by this record: each page of 4096 bytes that was
//! written counts once until its file is flushed, and once more when it is written after that. What the
//! kernel writes back by itself in between is not in it: an upgrade is over before it begins to. The run is
//! one of its own, since strace costs time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use kiln_lab::Oracle;
use serde_json::{Value, json};

use super::run::unexpected;
use crate::error::{Error, file_error};

/// The calls that are recorded: all that change a file's bytes, or make them stable.
const CALLS: &str = "trace=openat,open,creat,write,writev,pwrite64,pwritev,pwritev2,copy_file_range,\
                     sendfile,splice,fsync,fdatasync";
/// Bytes that count together.
const PAGE: u64 = 4096;

/// What is written for: the beginning of a path below the machine's folder, and its name in tables. The
/// first that fits counts.
const CAUSES: [(&str, &str); 9] = [
    ("dev/vda4", ROOT),
    ("dev/vda2", BOOT_FILE),
    ("state/kiln/fetch/frames", "frames on their way"),
    ("state/kiln/fetch/placed", "list of what is in the root"),
    ("state/kiln/fetch/section-", "sections of the boot file"),
    ("state/kiln/fetch/pieces/", "table"),
    ("state/kiln/cache/", "layer as it came"),
    ("state/kiln/spool/", "encoded, before the slot is free"),
    ("", "ledger and others"),
];
const ROOT: &str = "root in the slot";
const TREE: &str = "its hash tree";
const BOOT_FILE: &str = "boot file on the ESP";

/// What was written for one cause, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    /// What the program gave to the kernel.
    given: u64,
    /// Pages that a disk takes.
    taken: u64,
}

/// What one run wrote, by cause.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Written(BTreeMap<&'static str, Amount>);

impl Written {
    /// Bytes that a disk takes.
    pub(super) fn all(&self) -> u64 {
        self.0.values().map(|amount| amount.taken).sum()
    }

    /// The same without the ESP, which has the boot file.
    pub(super) fn but_for_the_boot_file(&self) -> u64 {
        self.all() - self.0.get(BOOT_FILE).map_or(0, |amount| amount.taken)
    }

    /// Causes with what a disk takes and what was given to the kernel, the largest first.
    pub(super) fn rows(&self) -> Vec<(&'static str, u64, u64)> {
        let row = |(cause, amount): (&&'static str, &Amount)| (*cause, amount.taken, amount.given);
        let mut rows: Vec<_> = self.0.iter().map(row).collect();
        rows.sort_by_key(|(cause, taken, _)| (std::cmp::Reverse(*taken), *cause));
        rows
    }

    pub(super) fn to_json(&self) -> Value {
        let rows = self.rows().into_iter();
        rows.map(|(cause, taken, given)| json!({ "cause": cause, "taken": taken, "given": given }))
            .collect()
    }
}

#[cfg(test)]
impl Written {
    /// So many bytes of the root and of the boot file.
    pub(super) fn of(root: u64, boot_file: u64) -> Self {
        let amount = |bytes| Amount { given: bytes, taken: bytes };
        Self([(ROOT, amount(root)), (BOOT_FILE, amount(boot_file))].into())
    }
}

/// Runs the words below strace. `folder` is the machine's, `tree` the byte of the slot where the root's
/// hash tree begins, `log` a file for the record.
pub(super) fn record(
    words: &[String],
    folder: &Path,
    tree: u64,
    log: &Path,
) -> Result<Written, Error> {
    let options = ["-f", "--seccomp-bpf", "-qq", "-y", "-s", "0", "-e", CALLS, "-e", "signal=none"];
    Oracle::new("strace")
        .arguments(options)
        .arguments(["-o"])
        .argument(log)
        .arguments(words.iter().map(String::as_str))
        .run()?;
    let text = fs::read_to_string(log).map_err(file_error("read", log))?;
    fs::remove_file(log).map_err(file_error("remove", log))?;
    parse(&text, folder, tree)
}

/// Pages of a file since its last flush, and where the next write without an offset goes.
#[derive(Debug, Default)]
struct Pages {
    written: BTreeSet<u64>,
    position: u64,
}

fn parse(text: &str, folder: &Path, tree: u64) -> Result<Written, Error> {
    let mut written = Written::default();
    let mut files: HashMap<String, Pages> = HashMap::new();
    // Calls during which another thread's came: by thread, what was printed of them so far.
    let mut open: HashMap<&str, String> = HashMap::new();
    for line in text.lines() {
        let wrong = || unexpected("a line of strace", line.to_owned());
        let (thread, call) = line.split_once(' ').ok_or_else(wrong)?;
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
            open.insert(thread, begun.to_owned());
            continue;
        }
        let call = match call.strip_prefix("<... ") {
            Some(rest) => {
                let (_, rest) = rest.split_once("resumed>").ok_or_else(wrong)?;
                open.remove(thread).ok_or_else(wrong)? + rest
            }
            None => call.to_owned(),
        };
        let (Some((name, rest)), Some((_, result))) =
            (call.split_once('('), call.rsplit_once(" = "))
        else {
            continue;
        };
        // A new file's path stands in the result, all others' in the first argument.
        let is_opened = matches!(name, "openat" | "open" | "creat");
        let place = if is_opened { result } else { rest };
        let path = place.split_once('<').and_then(|(_, path)| path.split_once('>'));
        let path = path.and_then(|(path, _)| Path::new(path).strip_prefix(folder).ok());
        let Some(path) = path.and_then(Path::to_str).filter(|_| !result.starts_with('-')) else {
            continue;
        };
        let file = files.entry(path.to_owned()).or_default();
        let (offset, length) = match name {
            _ if is_opened => {
                file.position = 0;
                continue;
            }
            "fsync" | "fdatasync" => {
                file.written.clear();
                continue;
            }
            "write" => (file.position, result.parse().map_err(|_| wrong())?),
            "pwrite64" => {
                let arguments = call.rsplit_once(" = ").map_or("", |(before, _)| before);
                let arguments = arguments.trim_end().trim_end_matches(')');
                let offset = arguments.rsplit_once(", ").and_then(|(_, last)| last.parse().ok());
                (offset.ok_or_else(wrong)?, result.parse().map_err(|_| wrong())?)
            }
            // Bytes that are not counted would make the figure too good.
            _ => return Err(wrong()),
        };
        let length: u64 = length;
        file.position = offset + length;
        let cause = CAUSES.iter().find(|(prefix, _)| path.starts_with(prefix));
        let cause = cause.map_or("", |(_, cause)| *cause);
        let cause = if cause == ROOT && offset >= tree { TREE } else { cause };
        let pages = offset / PAGE..(offset + length).div_ceil(PAGE);
        let new = pages.filter(|page| file.written.insert(*page)).count() as u64;
        let amount = written.0.entry(cause).or_default();
        amount.given += length;
        amount.taken += new * PAGE;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
7 openat(AT_FDCWD</m>, \"\"..., O_WRONLY|O_CREAT|O_TRUNC, 0666) = 4</m/state/kiln/cache/a.partial>
7 write(4</m/state/kiln/cache/a.partial>, \"\"..., 5000) = 5000
7 write(4</m/state/kiln/cache/a.partial>, \"\"..., 5000 <unfinished ...>
8 pwrite64(5</m/dev/vda4>, \"\"..., 8192, 4096) = 8192
7 <... write resumed>) = 5000
8 pwrite64(5</m/dev/vda4>, \"\"..., 10, 4096)     = 10
8 fdatasync(5</m/dev/vda4>)              = 0
8 pwrite64(5</m/dev/vda4>, \"\"..., 10, 4096)     = 10
8 pwrite64(5</m/dev/vda4>, \"\"..., 4096, 12288) = 4096
9 pwrite64(6</m/dev/vda2>, \"\"..., 512, 0) = 512
9 pwrite64(7</m/state/kiln/spool/#12>(deleted), \"\"..., 1, 0) = 1
9 pwrite64(7</x/state/kiln/spool/#12>(deleted), \"\"..., 1, 0) = 1
9 write(1<pipe:[3]>, \"\"..., 7)             = 7
9 write(8</m/state/kiln/ledger.json.new>, \"\"..., 7) = -1 ENOSPC (No space left on device)
";

    #[test]
    fn pages_count_once_until_their_file_is_flushed() {
        let written = parse(LOG, Path::new("/m"), 12288).unwrap();
        let expected = [
            ("layer as it came", 12288, 10000),
            (ROOT, 12288, 8212),
            (BOOT_FILE, 4096, 512),
            ("encoded, before the slot is free", 4096, 1),
            (TREE, 4096, 4096),
        ];
        assert_eq!(written.rows(), expected);
        assert_eq!(written.all(), 36864);
        assert_eq!(written.but_for_the_boot_file(), 32768);
    }

    #[test]
    fn what_is_not_counted_is_no_silence() {
        for line in [
            "7 sendfile(5</m/dev/vda4>, 4</x>, NULL, 9) = 9",
            "7 pwrite64(5</m/dev/vda4>, \"\"..., 9, here) = 9",
            "7 <... write resumed>) = 5000",
        ] {
            assert!(parse(line, Path::new("/m"), 0).is_err(), "{line}");
        }
    }
}
