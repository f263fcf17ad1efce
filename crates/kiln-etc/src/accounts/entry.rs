//! One line of an account file: an entry that can be merged, or something else that is only kept.

use super::AccountFile;

/// Longest line that is taken for an entry, in bytes. glibc grows its buffers without an end; a longer
/// line is kept where it is, and is never brought by a release.
const LINE_MAXIMUM: usize = 64 << 10;

/// An entry: its fields, of which the first is the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) fields: Vec<Vec<u8>>,
}

impl Entry {
    /// The entry in a line without its line feed. `None` for what is none: comments, blank lines, NIS
    /// lines (`+`, `-`, nsswitch.conf(5)), and what is damaged.
    pub(super) fn parse(file: AccountFile, line: &[u8]) -> Option<Self> {
        let is_other = line.first().is_none_or(|first| b"+-#:".contains(first));
        if is_other || line.len() > LINE_MAXIMUM || line.contains(&0) {
            return None;
        }
        let fields: Vec<Vec<u8>> = line.split(|byte| *byte == b':').map(<[u8]>::to_vec).collect();
        let entry = Self { fields };
        let is_whole = entry.fields.len() == file.fields()
            && !entry.name().iter().any(|byte| *byte <= b' ')
            && file.numbers().iter().all(|field| entry.number(*field).is_some());
        is_whole.then_some(entry)
    }

    pub(super) fn name(&self) -> &[u8] {
        self.field(0)
    }

    pub(super) fn field(&self, number: usize) -> &[u8] {
        self.fields.get(number).map_or(&[], Vec::as_slice)
    }

    /// A field as an id. The greatest number means "none" to chown(2) and is none.
    pub(super) fn number(&self, field: usize) -> Option<u32> {
        let text = std::str::from_utf8(self.field(field)).ok()?;
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.parse().ok().filter(|number| *number != u32::MAX)
    }

    pub(super) fn set(&mut self, field: usize, value: Vec<u8>) {
        if let Some(place) = self.fields.get_mut(field) {
            *place = value;
        }
    }

    pub(super) fn set_number(&mut self, field: usize, value: u32) {
        self.set(field, value.to_string().into_bytes());
    }

    /// The line, without a line feed.
    pub(super) fn line(&self) -> Vec<u8> {
        self.fields.join(&b':')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_entries_are_entries() {
        use AccountFile::{Group, Gshadow, Passwd, Shadow, Subuid};
        let long = format!("{}:x:1:1:::", "a".repeat(LINE_MAXIMUM));
        let cases: [(AccountFile, &str, bool); 22] = [
            (Passwd, "root:x:0:0:root:/root:/bin/sh", true),
            (Passwd, "a:x:1:1:::", true),
            (Passwd, "a:x:1:1::", false),
            (Passwd, "a:x:1:1::::", false),
            (Passwd, "no colon", false),
            (Passwd, "", false),
            (Passwd, ":x:1:1:::", false),
            (Passwd, "+::::::", false),
            (Passwd, "+@people::::::", false),
            (Passwd, "-guest::::::", false),
            (Passwd, "# a:x:1:1:::", false),
            (Passwd, "a b:x:1:1:::", false),
            (Passwd, "a\0:x:1:1:::", false),
            (Passwd, "a:x:-1:1:::", false),
            (Passwd, "a:x:+1:1:::", false),
            (Passwd, "a:x:4294967295:1:::", false),
            (Passwd, "a:x:99999999999:1:::", false),
            (Passwd, &long, false),
            (Group, "a:x:1:b,c", true),
            (Gshadow, "a:!::b", true),
            (Shadow, "a:*:1:0:99999:7:::", true),
            (Subuid, "a:100000:65536", true),
        ];
        for (file, line, expected) in cases {
            let entry = Entry::parse(file, line.as_bytes());
            assert_eq!(entry.is_some(), expected, "{line:.40}");
            if let Some(entry) = entry {
                assert_eq!(entry.line(), line.as_bytes());
            }
        }
    }
}
