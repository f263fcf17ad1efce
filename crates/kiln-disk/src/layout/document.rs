//! A layout as people write it down: sizes, whether there is recovery, and further partitions.
//!
//! The text is TOML, of which a layout needs very little: comments, `key = "text"` or `true` and
//! `false`, and `[[partition]]`. Exactly that much is read here, because the first process of every
//! machine reads it, too: a whole TOML parser would be larger than all else that it parses. Whatever
//! is not understood is refused with its line and column, never skipped.
//!
//! State has no size of its own: it takes what is left, so that it can grow with the disk.

use super::ALIGNMENT;
use crate::error::Error;

/// The value of `format` in every layout.
pub const FORMAT: &str = "kiln.layout.v1";

/// Where a root carries the layout that it was built with, without the leading slash.
pub const ROOT_PATH: &str = "usr/lib/kiln/layout.toml";

/// Where the ESP carries the layout that a machine was installed with; it wins over the root's.
pub const ESP_PATH: &str = "EFI/kiln/layout.toml";

/// Largest document in bytes: hundreds of partitions.
pub const MAXIMUM_LENGTH: usize = 64 << 10;

/// Further partitions at most, so that their numbers fit every table.
const MAXIMUM_PARTITIONS: usize = 64;

/// Smallest ESP in bytes that FAT32 allows with sectors of 512 bytes, and has room for boot files.
const MINIMUM_ESP: u64 = 64 << 20;

/// UTF-16 units of a partition's name (UEFI 2.10, table 5.6); labels are ASCII.
const MAXIMUM_LABEL: usize = 36;

/// Names that Kiln's own partitions have.
const OWN_PREFIX: &str = "kiln-";

/// Folders in which nothing may be mounted: they are proved, in memory, or Kiln's.
const RESERVED: [&str; 14] = [
    "/usr", "/etc", "/dev", "/proc", "/sys", "/run", "/tmp", "/boot", "/efi", "/state", "/bin",
    "/sbin", "/lib", "/lib64",
];

/// The one folder inside of [`RESERVED`] that people may use.
const LOCAL: &str = "/usr/local";

/// A checked layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Length in bytes of the ESP, if not the default.
    pub esp: Option<u64>,
    /// Length in bytes of each slot, if not computed from the image.
    pub slot: Option<u64>,
    /// Least length in bytes of state.
    pub state: u64,
    /// Whether there shall be a recovery slot where the disk has room for it.
    pub recovery: bool,
    /// Further partitions, in the order in which they are placed.
    pub partitions: Vec<ExtraPartition>,
}

/// A partition that is not Kiln's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraPartition {
    /// Its name in the table and of its file system.
    pub label: String,
    /// Length in bytes, whole MiB.
    pub length: u64,
    /// What the first boot puts into it; `None` leaves it as it is.
    pub file_system: Option<FileSystem>,
    /// Where it is mounted.
    pub mount: Option<String>,
}

/// File systems that the root's own programs make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// FAT.
    Vfat,
}

impl FileSystem {
    const ALL: [Self; 4] = [Self::Ext4, Self::Xfs, Self::Btrfs, Self::Vfat];

    /// Its name for mount(8).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Vfat => "vfat",
        }
    }

    /// Bytes that its label may have (mke2fs(8), mkfs.xfs(8), mkfs.btrfs(8), mkfs.fat(8)).
    fn maximum_label(self) -> usize {
        match self {
            Self::Ext4 => 16,
            Self::Xfs => 12,
            Self::Btrfs => 255,
            Self::Vfat => 11,
        }
    }

    /// Bytes below which its mkfs refuses or makes something that nobody wants.
    fn minimum_length(self) -> u64 {
        match self {
            Self::Ext4 | Self::Vfat => 8 << 20,
            Self::Xfs => 300 << 20,
            Self::Btrfs => 128 << 20,
        }
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            esp: None,
            slot: None,
            state: super::MINIMUM_STATE,
            recovery: true,
            partitions: Vec::new(),
        }
    }
}

/// Whether a text says that it is a layout: its first statement is a `format` of this family.
/// Whatever else is wrong with it is then [`Layout::parse`]'s to say.
#[must_use]
pub fn is_layout(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    first.split_once('=').is_some_and(|(key, value)| {
        key.trim() == "format" && value.trim_start().starts_with("\"kiln.layout.")
    })
}

impl Layout {
    /// Reads and checks a document. `file` is its name for messages.
    ///
    /// # Errors
    /// [`Error::Document`] with file, line and column.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let mut reader = Reader { file, layout: Self::default(), seen: Vec::new(), open: None };
        if text.len() > MAXIMUM_LENGTH {
            return Err(reader.refuse(Place { line: 1, column: 1 }, "it is larger than 64 KiB"));
        }
        let mut end = Place { line: 1, column: 1 };
        for (number, line) in (1..).zip(text.lines()) {
            end.line = number;
            reader.line(number, line)?;
        }
        reader.close()?;
        if !reader.seen.contains(&"format") {
            return Err(reader.refuse(end, format!("`format = \"{FORMAT}\"` is missing")));
        }
        Ok(reader.layout)
    }

    /// The partition with this label.
    #[must_use]
    pub fn partition(&self, label: &str) -> Option<&ExtraPartition> {
        self.partitions.iter().find(|partition| partition.label == label)
    }
}

/// Where something stands, counted from 1, columns in characters.
#[derive(Debug, Clone, Copy)]
struct Place {
    line: usize,
    column: usize,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    Truth(bool),
}

/// A partition that is being read.
struct Open {
    place: Place,
    seen: Vec<&'static str>,
    label: Option<(String, Place)>,
    size: Option<(u64, Place)>,
    file_system: Option<FileSystem>,
    mount: Option<(String, Place)>,
}

struct Reader<'a> {
    file: &'a str,
    layout: Layout,
    seen: Vec<&'static str>,
    open: Option<Open>,
}

const TOP_KEYS: [&str; 5] = ["format", "esp", "slot", "state", "recovery"];
const PARTITION_KEYS: [&str; 4] = ["label", "size", "file-system", "mount"];

impl Reader<'_> {
    fn refuse(&self, place: Place, reason: impl Into<String>) -> Error {
        let Place { line, column } = place;
        Error::Document { place: format!("{}:{line}:{column}", self.file), reason: reason.into() }
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), Error> {
        let start = line.len() - line.trim_start().len();
        let at = |byte: usize| Place {
            line: number,
            column: line.get(..byte).map_or(1, |before| before.chars().count() + 1),
        };
        let text = line.trim_start();
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        if text.starts_with('[') {
            let header = text.split('#').next().unwrap_or_default().trim_end();
            if header != "[[partition]]" {
                return Err(self.refuse(at(start), "only `[[partition]]` begins a section"));
            }
            self.close()?;
            if self.layout.partitions.len() == MAXIMUM_PARTITIONS {
                let reason = format!("there are more than {MAXIMUM_PARTITIONS} partitions");
                return Err(self.refuse(at(start), reason));
            }
            let place = at(start);
            let seen = Vec::new();
            self.open =
                Some(Open { place, seen, label: None, size: None, file_system: None, mount: None });
            return Ok(());
        }
        let Some((key, rest)) = text.split_once('=') else {
            return Err(self.refuse(at(start), "this is no `key = value`"));
        };
        let value_start = start + key.len() + 1 + (rest.len() - rest.trim_start().len());
        let place = at(value_start);
        let value = value(rest.trim()).map_err(|reason| self.refuse(place, reason))?;
        self.entry(key.trim_end(), at(start), value, place)
    }

    fn entry(&mut self, key: &str, at: Place, value: Value, place: Place) -> Result<(), Error> {
        let known: &[&'static str] = if self.open.is_some() { &PARTITION_KEYS } else { &TOP_KEYS };
        let Some(key) = known.iter().copied().find(|name| *name == key) else {
            let reason = format!("there is no `{key}` here; known are {}", known.join(", "));
            return Err(self.refuse(at, reason));
        };
        let seen = self.open.as_mut().map_or(&mut self.seen, |open| &mut open.seen);
        if seen.contains(&key) {
            return Err(self.refuse(at, format!("`{key}` is given twice")));
        }
        seen.push(key);
        if key == "recovery" {
            let Value::Truth(wanted) = value else {
                return Err(self.refuse(place, "`recovery` is true or false"));
            };
            self.layout.recovery = wanted;
            return Ok(());
        }
        let Value::Text(text) = value else {
            return Err(self.refuse(place, format!("`{key}` is a text in quotation marks")));
        };
        let length = || size(&text).map_err(|reason| self.refuse(place, reason));
        let Some(open) = &self.open else {
            match key {
                "esp" => self.layout.esp = Some(length()?),
                "slot" => self.layout.slot = Some(length()?),
                "state" => self.layout.state = length()?,
                _ if text != FORMAT => {
                    let reason = format!("this kiln reads `{FORMAT}` only");
                    return Err(self.refuse(place, reason));
                }
                _ => {}
            }
            let least = match key {
                "esp" => self.layout.esp.map(|esp| (esp, MINIMUM_ESP)),
                "state" => Some((self.layout.state, super::MINIMUM_STATE)),
                _ => None,
            };
            return match least.filter(|(given, least)| given < least) {
                Some((_, least)) => {
                    let reason = format!("`{key}` is less than {} MiB", least >> 20);
                    Err(self.refuse(place, reason))
                }
                None => Ok(()),
            };
        };
        let mut size = open.size;
        let mut file_system = open.file_system;
        match key {
            "size" => size = Some((length()?, place)),
            "file-system" => {
                let named = FileSystem::ALL.into_iter().find(|kind| kind.name() == text);
                let known = FileSystem::ALL.map(FileSystem::name).join(", ");
                let refused =
                    || self.refuse(place, format!("`{text}` is no file system; known are {known}"));
                file_system = Some(named.ok_or_else(refused)?);
            }
            "label" => check_label(&text).map_err(|reason| self.refuse(place, reason))?,
            _ => check_mount(&text).map_err(|reason| self.refuse(place, reason))?,
        }
        if let Some(open) = &mut self.open {
            (open.size, open.file_system) = (size, file_system);
            match key {
                "label" => open.label = Some((text, place)),
                "mount" => open.mount = Some((text, place)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends a partition: what needs all of its keys is checked here.
    fn close(&mut self) -> Result<(), Error> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let missing = |key: &str| self.refuse(open.place, format!("`{key}` is missing"));
        let (label, label_place) = open.label.ok_or_else(|| missing("label"))?;
        let (length, size_place) = open.size.ok_or_else(|| missing("size"))?;
        if self.layout.partition(&label).is_some() {
            return Err(self.refuse(label_place, format!("there are two partitions `{label}`")));
        }
        if let Some(kind) = open.file_system {
            let (name, maximum) = (kind.name(), kind.maximum_label());
            if label.len() > maximum {
                let reason = format!("{name} holds labels of {maximum} bytes at most");
                return Err(self.refuse(label_place, reason));
            }
            let least = kind.minimum_length();
            if length < least {
                let reason = format!("{name} needs {} MiB at least", least >> 20);
                return Err(self.refuse(size_place, reason));
            }
        }
        if let Some((path, place)) = &open.mount {
            if open.file_system.is_none() {
                return Err(self.refuse(*place, "it is mounted but has no `file-system`"));
            }
            let taken = |other: &ExtraPartition| other.mount.as_ref() == Some(path);
            if self.layout.partitions.iter().any(taken) {
                let reason = format!("two partitions are mounted at {path}");
                return Err(self.refuse(*place, reason));
            }
        }
        let mount = open.mount.map(|(path, _)| path);
        let partition = ExtraPartition { label, length, file_system: open.file_system, mount };
        self.layout.partitions.push(partition);
        Ok(())
    }
}

/// `"text"`, `true` or `false`, with a comment behind it.
fn value(text: &str) -> Result<Value, &'static str> {
    let is_end = |rest: &str| rest.trim_start().is_empty() || rest.trim_start().starts_with('#');
    for (word, truth) in [("true", true), ("false", false)] {
        if text.strip_prefix(word).is_some_and(is_end) {
            return Ok(Value::Truth(truth));
        }
    }
    let inside =
        text.strip_prefix('"').ok_or("a value is a text in quotation marks, true or false")?;
    let (content, rest) = inside.split_once('"').ok_or("the quotation mark is not closed")?;
    if content.contains('\\') {
        return Err("`\\` has no use here");
    }
    if is_end(rest) {
        Ok(Value::Text(content.to_owned()))
    } else {
        Err("something follows the value")
    }
}

/// Reads `20GiB`: whole MiB, in powers of 1024, as everywhere in Kiln.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        "TiB" | "T" => 40,
        _ => return Err(format!("`{text}` is no size; write it as 512MiB, 20GiB or 1TiB")),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` has no whole number"))?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes < 1 << 60);
    let bytes = bytes.ok_or_else(|| format!("`{text}` is larger than 1 EiB"))?;
    if bytes < ALIGNMENT { Err("a size of nothing".to_owned()) } else { Ok(bytes) }
}

fn check_label(label: &str) -> Result<(), String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if label.is_empty() || label.len() > MAXIMUM_LABEL || !label.bytes().all(is_allowed) {
        let reason = format!("a label is 1 to {MAXIMUM_LABEL} letters, digits, `.`, `_`, `-`");
        return Err(reason);
    }
    if label.starts_with(OWN_PREFIX) {
        return Err(format!("labels that begin with `{OWN_PREFIX}` are Kiln's own"));
    }
    Ok(())
}

fn check_mount(path: &str) -> Result<(), String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-@+".contains(&byte);
    let Some(rest) = path.strip_prefix('/') else {
        return Err(format!("`{path}` does not begin with /"));
    };
    let is_plain = rest.split('/').all(|name| !matches!(name, "" | "." | ".."));
    if !is_plain || path.len() > 200 || !path.bytes().all(is_allowed) {
        return Err(format!("`{path}` is no plain path below /"));
    }
    let below = |folder: &str| {
        path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let reserved = RESERVED.iter().find(|folder| below(folder)).filter(|_| !below(LOCAL));
    match reserved {
        Some(folder) => Err(format!("nothing can be mounted in {folder}")),
        None if path == "/var" => Err("/var itself is state's; name a folder in it".to_owned()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "# edge\nformat = \"kiln.layout.v1\"\nesp = \"512MiB\" # boot files\n\
        slot = \"4GiB\"\nstate=\"2G\"\nrecovery = false\n\n[[partition]]\nlabel = \"data\"\n\
        size = \"20GiB\"\nfile-system = \"ext4\"\nmount = \"/srv/data\"\n[[partition]] # raw\n\
        label = \"volumes\"\nsize = \"1T\"\n";

    #[test]
    fn a_whole_layout_is_read() {
        let layout = Layout::parse("l", FULL).unwrap();
        let data = ExtraPartition {
            label: "data".into(),
            length: 20 << 30,
            file_system: Some(FileSystem::Ext4),
            mount: Some("/srv/data".into()),
        };
        let volumes = ExtraPartition {
            label: "volumes".into(),
            length: 1 << 40,
            file_system: None,
            mount: None,
        };
        let expected = Layout {
            esp: Some(512 << 20),
            slot: Some(4 << 30),
            state: 2 << 30,
            recovery: false,
            partitions: vec![data, volumes],
        };
        assert_eq!(layout, expected);
        assert!(is_layout(FULL));
        let least = Layout::parse("l", "format = \"kiln.layout.v1\"").unwrap();
        assert_eq!(least, Layout::default());
        for other in ["", "#cloud-config\nformat: x", "{\"ignition\": {}}", "format = \"x\""] {
            assert!(!is_layout(other), "{other}");
        }
    }

    #[test]
    fn every_mistake_has_its_place() {
        let head = "format = \"kiln.layout.v1\"\n";
        let cases = [
            ("", "l:1:1: `format"),
            ("esp = \"1GiB\"\n", "l:1:1: `format"),
            ("format = \"kiln.layout.v2\"", "l:1:10: this kiln reads"),
            (&format!("{head}  size = \"1GiB\""), "l:2:3: there is no `size` here"),
            (&format!("{head}esp = 1"), "l:2:7: a value is a text"),
            (&format!("{head}esp = \"1GiB"), "l:2:7: the quotation mark"),
            (&format!("{head}esp = \"1GiB\" x"), "l:2:7: something follows"),
            (&format!("{head}esp = \"1GB\""), "l:2:7: `1GB` is no size"),
            (&format!("{head}esp = \"8MiB\""), "l:2:7: `esp` is less than 64 MiB"),
            (&format!("{head}slot = \"99999999T\""), "l:2:8: `99999999T` is larger"),
            (&format!("{head}esp = \"1GiB\"\nesp = \"1GiB\""), "l:3:1: `esp` is given twice"),
            (&format!("{head}recovery = \"no\""), "l:2:12: `recovery` is true or false"),
            (&format!("{head}[partition]"), "l:2:1: only `[[partition]]`"),
            (&format!("{head}words"), "l:2:1: this is no `key = value`"),
            (&format!("{head}[[partition]]\nsize = \"1GiB\""), "l:2:1: `label` is missing"),
            (&format!("{head}[[partition]]\nlabel = \"x\""), "l:2:1: `size` is missing"),
        ];
        for (text, expected) in cases {
            let error = Layout::parse("l", text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
        let partition = "[[partition]]\nlabel = \"data\"\nsize = \"1GiB\"\n";
        let cases = [
            (format!("{partition}{partition}"), "l:6:9: there are two partitions"),
            (partition.replace("data", "kiln-x"), "l:3:9: labels that begin"),
            (partition.replace("data", "a b"), "l:3:9: a label is"),
            (format!("{partition}file-system = \"ntfs\""), "l:5:15: `ntfs` is no file system"),
            (format!("{partition}mount = \"/srv\""), "l:5:9: it is mounted but"),
            (
                format!("{}file-system = \"xfs\"", partition.replace("1GiB", "9MiB")),
                "l:4:8: xfs needs 300 MiB",
            ),
            (
                format!("{}file-system = \"vfat\"", partition.replace("data", "twelve-bytes")),
                "l:3:9: vfat holds labels of 11",
            ),
        ];
        for (text, expected) in cases {
            let error = Layout::parse("l", &format!("{head}{text}")).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
        assert!(Layout::parse("l", &" ".repeat(MAXIMUM_LENGTH + 1)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_more_than_an_error(text in "(format = \"kiln.layout.v1\"\n)?[a-z =\"\\[\\]#\\n0-9MG/é\\\\-]{0,80}") {
            let _ = Layout::parse("l", &text);
            let _ = is_layout(&text);
        }
    }

    #[test]
    fn partitions_are_mounted_where_nothing_of_the_system_is() {
        for good in
            ["/srv", "/srv/data", "/home", "/var/lib/x", "/usr/local/x", "/data", "/etcetera"]
        {
            assert_eq!(check_mount(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/",
            "srv",
            "/srv/",
            "/srv//x",
            "/srv/../etc",
            "/usr",
            "/usr/lib",
            "/etc/x",
            "/var",
            "/state",
            "/s p",
            "/run/x",
            "/srv/\u{e9}",
        ] {
            assert!(check_mount(bad).is_err(), "{bad}");
        }
    }
}
