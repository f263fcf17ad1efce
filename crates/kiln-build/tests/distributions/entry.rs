//! One entry of a layer, and layers written as tar streams by hand.
//!
//! The writer is the tests' own and shares no code with the reader under test. It uses every way in
//! which container tools spell what an old header cannot: pax records, GNU long names, sparse maps.

use std::collections::BTreeMap;

/// The time that entries have unless told otherwise, in seconds since 1970.
const TIME: i64 = 1_700_000_000;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Directory,
    File(Vec<u8>),
    /// Mostly a hole: length, and pieces by offset.
    Sparse(u64, Vec<(u64, Vec<u8>)>),
    Symlink(String),
    /// Another name of the file that this path names so far.
    HardLink(String),
    CharacterDevice(u32, u32),
    BlockDevice(u32, u32),
    Pipe,
}

/// Everything that one path of a layer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: String,
    pub what: What,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub time: (i64, u32),
    pub attributes: BTreeMap<String, Vec<u8>>,
    /// Whether a long name is spelled in GNU's way and not in pax's.
    pub is_gnu: bool,
}

impl Entry {
    fn new(path: &str, what: What, mode: u16) -> Self {
        Self {
            path: path.to_owned(),
            what,
            mode,
            uid: 0,
            gid: 0,
            time: (TIME, 0),
            attributes: BTreeMap::new(),
            is_gnu: false,
        }
    }

    pub fn mode(mut self, mode: u16) -> Self {
        self.mode = mode;
        self
    }

    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    pub fn time(mut self, seconds: i64, nanoseconds: u32) -> Self {
        self.time = (seconds, nanoseconds);
        self
    }

    pub fn attribute(mut self, name: &str, value: &[u8]) -> Self {
        self.attributes.insert(name.to_owned(), value.to_vec());
        self
    }

    pub fn gnu(mut self) -> Self {
        self.is_gnu = true;
        self
    }
}

pub fn directory(path: &str) -> Entry {
    Entry::new(path, What::Directory, 0o755)
}

pub fn file(path: &str, bytes: &[u8]) -> Entry {
    Entry::new(path, What::File(bytes.to_vec()), 0o644)
}

pub fn symlink(path: &str, target: &str) -> Entry {
    Entry::new(path, What::Symlink(target.to_owned()), 0o777)
}

pub fn hard_link(path: &str, target: &str) -> Entry {
    Entry::new(path, What::HardLink(target.to_owned()), 0o644)
}

pub fn special(path: &str, what: What) -> Entry {
    Entry::new(path, what, 0o660)
}

/// A file that hides `path` of the layers below (OCI image specification, "Whiteouts").
pub fn whiteout(path: &str) -> Entry {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let slash = if folder.is_empty() { "" } else { "/" };
    file(&format!("{folder}{slash}.wh.{name}"), b"")
}

/// A file that hides what the layers below have in `folder`.
pub fn opaque(folder: &str) -> Entry {
    file(&format!("{folder}/.wh..wh..opq"), b"")
}

/// The entries with a directory in front of each that has none, as a base layer has them.
pub fn with_parents(entries: Vec<Entry>) -> Vec<Entry> {
    let mut known: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
    let mut all = vec![directory("")];
    for entry in entries {
        for (at, _) in entry.path.match_indices('/') {
            let parent = &entry.path[..at];
            if known.insert(parent.to_owned()) {
                all.push(directory(parent));
            }
        }
        known.insert(entry.path.clone());
        all.push(entry);
    }
    all
}

/// A layer as an uncompressed tar.
pub fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        append(&mut out, entry);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn append(out: &mut Vec<u8>, entry: &Entry) {
    let mut records = Vec::new();
    let mut add = |key: &str, value: &[u8]| records.extend(record(key, value));
    let mut name = match entry.what {
        What::Directory => format!("./{}/", entry.path).replace(".//", "./"),
        _ => entry.path.clone(),
    };
    if name.len() > 100 {
        if entry.is_gnu {
            let mut long = name.clone().into_bytes();
            long.push(0);
            block(out, b'L', "././@LongLink", "", &long, |_| ());
        } else {
            add("path", name.as_bytes());
        }
        name.truncate(100);
    }
    for (key, id) in [("uid", entry.uid), ("gid", entry.gid)] {
        if id > 0o777_7777 {
            add(key, id.to_string().as_bytes());
        }
    }
    let (seconds, nanoseconds) = entry.time;
    if nanoseconds != 0 || seconds < 0 {
        add("mtime", format!("{seconds}.{nanoseconds:09}").as_bytes());
    }
    for (key, value) in &entry.attributes {
        add(&format!("SCHILY.xattr.{key}"), value);
    }
    let (flag, link, data) = match &entry.what {
        What::Directory => (b'5', "", Vec::new()),
        What::File(bytes) => (b'0', "", bytes.clone()),
        What::Sparse(length, pieces) => {
            // GNU tar's manual, "PAX Format, Version 1.0": the map stands before the data.
            add("GNU.sparse.major", b"1");
            add("GNU.sparse.minor", b"0");
            add("GNU.sparse.name", entry.path.as_bytes());
            add("GNU.sparse.realsize", length.to_string().as_bytes());
            let mut data = format!("{}\n", pieces.len()).into_bytes();
            for (offset, bytes) in pieces {
                data.extend(format!("{offset}\n{}\n", bytes.len()).bytes());
            }
            data.resize(data.len().next_multiple_of(512), 0);
            pieces.iter().for_each(|(_, bytes)| data.extend(bytes));
            (b'0', "", data)
        }
        What::Symlink(target) => {
            if target.len() > 100 {
                add("linkpath", target.as_bytes());
            }
            (b'2', target.as_str(), Vec::new())
        }
        What::HardLink(target) => (b'1', target.as_str(), Vec::new()),
        What::CharacterDevice(..) => (b'3', "", Vec::new()),
        What::BlockDevice(..) => (b'4', "", Vec::new()),
        What::Pipe => (b'6', "", Vec::new()),
    };
    if !records.is_empty() {
        block(out, b'x', "PaxHeaders/entry", "", &records, |_| ());
    }
    let link = &link[..link.len().min(100)];
    block(out, flag, &name, link, &data, |header| {
        header.set_mode(u32::from(entry.mode));
        header.set_uid(u64::from(entry.uid.min(0o777_7777)));
        header.set_gid(u64::from(entry.gid.min(0o777_7777)));
        header.set_mtime(u64::try_from(seconds).unwrap_or(0));
        if let What::CharacterDevice(major, minor) | What::BlockDevice(major, minor) = entry.what {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        }
    });
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself (POSIX.1-2024 pax).
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length != body + length.to_string().len() {
        length = body + length.to_string().len();
    }
    let mut bytes = format!("{length} {key}=").into_bytes();
    bytes.extend(value);
    bytes.push(b'\n');
    bytes
}

fn block(
    out: &mut Vec<u8>,
    flag: u8,
    name: &str,
    link: &str,
    data: &[u8],
    edit: impl Fn(&mut tar::Header),
) {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.as_old_mut().linkflag = [flag];
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(data.len() as u64);
    edit(&mut header);
    header.set_cksum();
    out.extend(header.as_bytes());
    out.extend(data);
    out.resize(out.len().next_multiple_of(512), 0);
}
