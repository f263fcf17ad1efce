//! Directories, files and links, by the depth of their paths.
//!
//! Depth first and then by name, whatever the kind: a directory is there before what lies in it, and the
//! order of the lists is of no account. Hard links come last, because what they lead to has to be there.

use super::{Lowering, Rank, is_true, text};
use crate::action::{self, Action, Owner};
use crate::fields::Spanned;
use crate::ignition::config::{Account, Directory, Entry, File, Link, Storage, Version};
use crate::ignition::validate::has_special_bits;
use crate::operation::Text;
use crate::source::Span;

/// Bits of a file that is written, spec `files.mode`.
const FILE_MODE: u32 = 0o644;
/// Bits of a directory that replaces what was there, spec `directories.mode`.
const DIRECTORY_MODE: u32 = 0o755;
/// Bits by which anybody may read; contents of a file without them are never shown.
const READ_BY_ALL: u32 = 0o004;

pub(super) fn lower(storage: &Storage, version: Version, lowering: &mut Lowering<'_>) {
    let mut all: Vec<(Rank, &str, Span, Action)> = Vec::new();
    for one in &storage.directories {
        let action = Action::Directory(directory(one, version));
        all.push((Rank::Entries, &one.entry.path.value, one.entry.span, action));
    }
    for one in &storage.files {
        let action = Action::File(file(one, version, lowering));
        all.push((Rank::Entries, &one.entry.path.value, one.entry.span, action));
    }
    for one in &storage.links {
        let rank = if is_true(one.hard.as_ref()) { Rank::HardLinks } else { Rank::Entries };
        all.push((rank, &one.entry.path.value, one.entry.span, Action::Link(link(one))));
    }
    all.sort_by(|one, other| (one.0, depth(one.1), one.1).cmp(&(other.0, depth(other.1), other.1)));
    for (rank, _, span, action) in all {
        lowering.push(rank, span, action);
    }
}

/// Number of names in a path.
pub(super) fn depth(path: &str) -> usize {
    path.split('/').filter(|name| !name.is_empty()).count()
}

fn directory(directory: &Directory, version: Version) -> action::Directory {
    let replace = is_true(directory.entry.overwrite.as_ref());
    action::Directory {
        path: Text::from(directory.entry.path.value.clone()),
        mode: mode(directory.mode.as_ref(), version).or(replace.then_some(DIRECTORY_MODE)),
        owner: owner(&directory.entry, replace),
        replace,
    }
}

fn file(file: &File, version: Version, lowering: &Lowering<'_>) -> action::File {
    let has_source = file.contents.as_ref().is_some_and(|contents| contents.source.is_some());
    let mode = mode(file.mode.as_ref(), version).or(has_source.then_some(FILE_MODE));
    let secret = mode.is_some_and(|mode| mode & READ_BY_ALL == 0);
    let contents = file.contents.as_ref();
    action::File {
        path: Text::from(file.entry.path.value.clone()),
        contents: contents.and_then(|contents| lowering.contents(contents, secret)),
        append: file.append.iter().filter_map(|one| lowering.contents(one, secret)).collect(),
        mode,
        owner: owner(&file.entry, has_source),
        overwrite: is_true(file.entry.overwrite.as_ref()),
    }
}

fn link(link: &Link) -> action::Link {
    let hard = is_true(link.hard.as_ref());
    action::Link {
        path: link.entry.path.value.clone(),
        target: text(link.target.as_ref()).unwrap_or_default(),
        hard,
        owner: if hard { Owner::default() } else { owner(&link.entry, true) },
        overwrite: is_true(link.entry.overwrite.as_ref()),
    }
}

/// Permission bits, without those that the version does not have.
fn mode(mode: Option<&Spanned<i64>>, version: Version) -> Option<u32> {
    let bits = if has_special_bits(version) { 0o7777 } else { 0o777 };
    u32::try_from(mode?.value).ok().map(|mode| mode & bits)
}

/// To whom an entry belongs; what is written anew belongs to root where nothing else is said.
fn owner(entry: &Entry, is_new: bool) -> Owner {
    let account = |account: Option<&Account>| {
        let number = account.and_then(|account| account.id.as_ref()).map(|id| id.value.to_string());
        let name = account.and_then(|account| text(account.name.as_ref()));
        number.or(name).or(is_new.then(|| "0".to_owned()))
    };
    Owner { user: account(entry.user.as_ref()), group: account(entry.group.as_ref()) }
}
