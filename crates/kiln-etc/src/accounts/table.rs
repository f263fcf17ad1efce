//! A file as lines and as a table by name.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::Entry;
use super::{AccountFile, Accounts};

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The entries with this name, where the first of them is.
    Of(Vec<u8>),
    /// Kept as it is: comments, NIS lines, what is damaged.
    Other(Vec<u8>),
}

/// A file that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// In the order of the file.
    pub(super) lines: Vec<Line>,
    /// Entries by name. The first of a name is the one that counts (getpwnam(3)), except in subuid and
    /// subgid, where all do.
    pub(super) entries: BTreeMap<Vec<u8>, Vec<Entry>>,
    /// Names and numbers in lines that are no entries: other programs may still see them there, so
    /// nothing with such a name or number is added.
    reserved: BTreeSet<Vec<u8>>,
}

impl Table {
    fn parse(file: AccountFile, text: &[u8]) -> Self {
        let mut table = Self::default();
        // Before the last line feed goes: a file of one empty line has a line, which is kept.
        if text.is_empty() {
            return table;
        }
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        for line in text.split(|byte| *byte == b'\n') {
            match Entry::parse(file, line) {
                Some(entry) => {
                    let entries = table.entries.entry(entry.name().to_vec()).or_default();
                    if entries.is_empty() {
                        table.lines.push(Line::Of(entry.name().to_vec()));
                    }
                    entries.push(entry);
                }
                None => {
                    let fields = line.split(|byte| *byte == b':').take(4);
                    table.reserved.extend(fields.map(|field| field.trim_ascii().to_vec()));
                    table.lines.push(Line::Other(line.to_vec()));
                }
            }
        }
        table
    }

    /// Sets the entry of a name, in place of all that it has.
    pub(super) fn put(&mut self, entry: Entry) {
        let name = entry.name().to_vec();
        let line = Line::Of(name.clone());
        if !self.lines.contains(&line) {
            // Whatever comes behind a NIS line is not looked at before it (nss_compat).
            let is_foreign = |line: &Line| match line {
                Line::Other(text) => text.first().is_some_and(|first| b"+-".contains(first)),
                Line::Of(_) => false,
            };
            let at = self.lines.iter().position(is_foreign).unwrap_or(self.lines.len());
            self.lines.insert(at, line);
        }
        self.entries.insert(name, vec![entry]);
    }

    /// The entry that counts.
    pub(super) fn get(&self, name: &[u8]) -> Option<&Entry> {
        self.entries.get(name)?.first()
    }

    /// All entries with a name.
    pub(super) fn all(&self, name: &[u8]) -> &[Entry] {
        self.entries.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether a line that is no entry speaks of this.
    pub(super) fn reserves(&self, field: &[u8]) -> bool {
        self.reserved.contains(field)
    }

    /// Numbers in lines that are no entries.
    pub(super) fn reserved_numbers(&self) -> impl Iterator<Item = u32> {
        self.reserved.iter().filter_map(|field| std::str::from_utf8(field).ok()?.parse().ok())
    }

    /// Names in the order in which they first appear.
    pub(super) fn names(&self) -> Vec<&[u8]> {
        let names = self.lines.iter().filter_map(|line| match line {
            Line::Of(name) => Some(name.as_slice()),
            Line::Other(_) => None,
        });
        names.collect()
    }

    /// All values of a numeric field.
    pub(super) fn numbers(&self, field: usize) -> impl Iterator<Item = u32> {
        self.entries.values().flatten().filter_map(move |entry| entry.number(field))
    }

    /// The name of the first entry, in the order of the file, with a number in a field.
    pub(super) fn name_of(&self, field: usize, number: u32) -> Option<&[u8]> {
        let is_it =
            |name: &&[u8]| self.get(name).is_some_and(|entry| entry.number(field) == Some(number));
        self.names().into_iter().find(is_it)
    }
}

/// All files of one side; one that is missing is an empty table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Side {
    tables: [Table; 6],
}

impl Side {
    pub(super) fn parse(accounts: &Accounts) -> Self {
        let table = |file| Table::parse(file, accounts.get(file).unwrap_or_default());
        Self { tables: AccountFile::ALL.map(table) }
    }

    pub(super) fn table(&self, file: AccountFile) -> &Table {
        let [passwd, group, shadow, gshadow, subuid, subgid] = &self.tables;
        match file {
            AccountFile::Passwd => passwd,
            AccountFile::Group => group,
            AccountFile::Shadow => shadow,
            AccountFile::Gshadow => gshadow,
            AccountFile::Subuid => subuid,
            AccountFile::Subgid => subgid,
        }
    }

    pub(super) fn table_mut(&mut self, file: AccountFile) -> &mut Table {
        let [passwd, group, shadow, gshadow, subuid, subgid] = &mut self.tables;
        match file {
            AccountFile::Passwd => passwd,
            AccountFile::Group => group,
            AccountFile::Shadow => shadow,
            AccountFile::Gshadow => gshadow,
            AccountFile::Subuid => subuid,
            AccountFile::Subgid => subgid,
        }
    }
}
