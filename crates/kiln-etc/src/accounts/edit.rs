//! Account files changed entry by entry, by whoever adds users to a machine.
//!
//! Lines that are no entries stay where they are, new entries come before NIS lines, and a name or
//! number that such a line speaks of is given to nobody. What should be in an entry is decided
//! elsewhere; here is only the form.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::assemble::assemble;
use super::entry::Entry;
use super::table::{Side, Table};
use super::{AccountFile, Accounts};

/// Account files that are being changed.
#[derive(Clone, Debug)]
pub struct Editor {
    before: Accounts,
    side: Side,
    changed: BTreeSet<AccountFile>,
}

/// An entry that does not fit its file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it would be no entry of /etc/{}", file.name())]
pub struct Malformed {
    /// The file.
    pub file: AccountFile,
}

impl Editor {
    /// Opens the files.
    #[must_use]
    pub fn new(accounts: Accounts) -> Self {
        let side = Side::parse(&accounts);
        Self { before: accounts, side, changed: BTreeSet::new() }
    }

    /// The fields of the entry with a name, the name first; bytes that are no text are shown as such.
    #[must_use]
    pub fn get(&self, file: AccountFile, name: &str) -> Option<Vec<String>> {
        let entry = self.side.table(file).get(name.as_bytes())?;
        Some(entry.fields.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect())
    }

    /// A numeric field of an entry.
    #[must_use]
    pub fn number(&self, file: AccountFile, name: &str, field: usize) -> Option<u32> {
        self.side.table(file).get(name.as_bytes())?.number(field)
    }

    /// The name of the first entry with a number in a field.
    #[must_use]
    pub fn name_of(&self, file: AccountFile, field: usize, number: u32) -> Option<String> {
        let name = self.side.table(file).name_of(field, number)?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// Names in the order of the file.
    #[must_use]
    pub fn names(&self, file: AccountFile) -> Vec<String> {
        let table = self.side.table(file);
        let names = table.names().into_iter().filter(|name| table.has(name));
        names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    /// Sets the entry whose name is the first field, in place of one that is there.
    ///
    /// # Errors
    /// A field holds a colon or line break, or the fields are none of this file.
    pub fn put(&mut self, file: AccountFile, fields: &[String]) -> Result<(), Malformed> {
        let line = fields.join(":");
        let entry = Entry::parse(file, line.as_bytes())
            .filter(|entry| entry.fields.len() == fields.len() && !line.contains(['\n', '\r']))
            .ok_or(Malformed { file })?;
        self.table(file).put(entry);
        Ok(())
    }

    /// Removes the entries of a name.
    pub fn remove(&mut self, file: AccountFile, name: &str) {
        if self.side.table(file).has(name.as_bytes()) {
            self.table(file).entries.remove(name.as_bytes());
        }
    }

    /// The first number of a range that no user and no group has, from the top if `downwards`.
    #[must_use]
    pub fn free_number(&self, range: RangeInclusive<u32>, downwards: bool) -> Option<u32> {
        let (passwd, group) =
            (self.side.table(AccountFile::Passwd), self.side.table(AccountFile::Group));
        let mut used: BTreeSet<u32> = passwd.numbers(2).chain(group.numbers(2)).collect();
        used.extend(passwd.reserved_numbers().chain(group.reserved_numbers()));
        let mut range = range;
        if downwards {
            range.rev().find(|number| !used.contains(number))
        } else {
            range.find(|number| !used.contains(number))
        }
    }

    /// One behind the highest subordinate id in a file, or `start`.
    #[must_use]
    pub fn subordinate_end(&self, file: AccountFile, start: u64) -> u64 {
        let entries = self.side.table(file).entries.values().flatten();
        let ends = entries
            .filter_map(|entry| Some(u64::from(entry.number(1)?) + u64::from(entry.number(2)?)));
        ends.fold(start, u64::max)
    }

    /// The files that changed, with their new text.
    #[must_use]
    pub fn finish(&self) -> Vec<(AccountFile, Vec<u8>)> {
        let text = |file| {
            let table = self.side.table(file);
            assemble(table, &Table::default(), false, |name| table.all(name).to_vec())
        };
        let changed = self.changed.iter().map(|file| (*file, text(*file)));
        changed.filter(|(file, text)| self.before.get(*file) != Some(text)).collect()
    }

    fn table(&mut self, file: AccountFile) -> &mut Table {
        self.changed.insert(file);
        self.side.table_mut(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AccountFile::{Group, Passwd};

    fn editor(passwd: &str, group: &str) -> Editor {
        let mut accounts = Accounts::default();
        accounts.set(Passwd, Some(passwd.into()));
        accounts.set(Group, Some(group.into()));
        Editor::new(accounts)
    }

    fn fields(line: &str) -> Vec<String> {
        line.split(':').map(str::to_owned).collect()
    }

    #[test]
    fn entries_are_replaced_added_and_removed_around_other_lines() {
        let mut editor =
            editor("root:x:0:0::/root:/bin/sh\n# note\na:x:5:5:::\nb:x:6:6:::\n+::::::\n", "");
        editor.put(Passwd, &fields("a:x:5:7:A:/a:/bin/sh")).unwrap();
        editor.put(Passwd, &fields("c:x:8:8:::")).unwrap();
        editor.remove(Passwd, "b");
        editor.remove(Passwd, "nobody");
        let expected =
            "root:x:0:0::/root:/bin/sh\n# note\na:x:5:7:A:/a:/bin/sh\nc:x:8:8:::\n+::::::\n";
        assert_eq!(editor.finish(), [(Passwd, expected.as_bytes().to_vec())]);
        assert_eq!(editor.get(Passwd, "c"), Some(fields("c:x:8:8:::")));
        assert_eq!(editor.name_of(Passwd, 2, 8).as_deref(), Some("c"));
    }

    #[test]
    fn what_would_break_a_file_is_refused() {
        let mut editor = editor("", "");
        for bad in ["a:x:-1:1:::", "a:x:1:1::", "a\nb:x:1:1:::", "a:x:1:1:x\ny::", "#a:x:1:1:::"] {
            assert!(editor.put(Passwd, &fields(bad)).is_err(), "{bad}");
        }
        let mut gecos = fields("a:x:1:1:::");
        gecos[4] = "full:name".into();
        assert_eq!(editor.put(Passwd, &gecos), Err(Malformed { file: Passwd }));
        assert!(editor.finish().is_empty());
    }

    #[test]
    fn free_numbers_belong_to_no_user_group_or_damaged_line() {
        let editor = editor("a:x:1000:1:::\nbad:x:1001:1\n", "g:x:1002:\n");
        assert_eq!(editor.free_number(1000..=2000, false), Some(1003));
        assert_eq!(editor.free_number(998..=1003, true), Some(1003));
        assert_eq!(editor.free_number(1000..=1002, false), None);
    }
}
