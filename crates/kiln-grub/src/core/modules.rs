//! Which modules a core image needs, in the order in which GRUB loads them.
//!
//! `moddep.lst` has a line `name: needed needed …` for each module (made by GRUB's own build). What
//! is needed comes in front of what needs it; the order is grub-mkimage's (`util/resolve.c`), so
//! that the result can be compared with it byte by byte: wanted modules as they were asked for,
//! needed ones from the end of the line to its begin.

use std::collections::{BTreeMap, BTreeSet};

use super::folder::{self, Folder};
use super::format::MODULE_LIMIT;
use crate::Error;

/// GRUB's list of what needs what.
pub(super) const LIST: &str = "moddep.lst";

/// Names and contents of `wanted` and all that they need.
pub(super) fn closure(
    folder: &dyn Folder,
    wanted: &[&str],
) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let list = folder::read(folder, LIST)?;
    let list = String::from_utf8(list).map_err(|_| Error::Damaged {
        path: format!("{}/{LIST}", folder.path()),
        reason: "it is not UTF-8",
    })?;
    let names = order(&list, wanted);
    if names.len() > MODULE_LIMIT {
        let (size, limit) = (names.len() as u64, MODULE_LIMIT as u64);
        return Err(Error::CoreTooLarge { what: "the list of modules", size, limit });
    }
    let read = |name: String| {
        let unknown = || Error::NoSuchModule { folder: folder.path(), name: name.clone() };
        // A name with a folder in it would be some other file.
        if name.contains(['/', '\0']) {
            return Err(unknown());
        }
        let bytes = folder::find(folder, &format!("{name}.mod"))?.ok_or_else(unknown)?;
        Ok((name, bytes))
    };
    names.into_iter().map(read).collect()
}

/// Names in the order of loading.
fn order(list: &str, wanted: &[&str]) -> Vec<String> {
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, needed) in list.lines().filter_map(|line| line.split_once(':')) {
        // Of two lines the first counts.
        needs.entry(name.trim()).or_insert_with(|| needed.split_whitespace().collect());
    }
    let (mut ordered, mut seen) = (Vec::new(), BTreeSet::new());
    // A stack instead of recursion: the list is somebody else's. `true` means that all needs are
    // done.
    for name in wanted {
        let mut stack = vec![(*name, false)];
        while let Some((name, is_done)) = stack.pop() {
            if is_done {
                ordered.push(name.to_owned());
            } else if seen.insert(name) {
                stack.push((name, true));
                // The last of the line is on top afterwards, so it comes first.
                stack.extend(needs.get(name).into_iter().flatten().map(|need| (*need, false)));
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_come_first_and_once() {
        let list = "a: b c\nb: d\nc: d e\nd:\ne:\nx: y\ny: x\na: z\n";
        let cases: [(&[&str], &[&str]); 6] = [
            (&[], &[]),
            (&["d"], &["d"]),
            (&["a"], &["e", "d", "c", "b", "a"]),
            (&["d", "a", "d"], &["d", "e", "c", "b", "a"]),
            // A circle ends; somebody without a line needs nothing.
            (&["x"], &["y", "x"]),
            (&["unknown"], &["unknown"]),
        ];
        for (wanted, expected) in cases {
            assert_eq!(order(list, wanted), expected, "{wanted:?}");
        }
    }
}
