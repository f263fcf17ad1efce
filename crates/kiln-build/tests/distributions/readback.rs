//! What the finished root holds, read with the reader of `kiln-erofs`, and what differs from the
//! model.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use kiln_erofs::format::{
    MODE_BLOCK, MODE_CHARACTER, MODE_DIRECTORY, MODE_FIFO, MODE_FILE, MODE_SYMLINK, MODE_TYPE,
    decode_device,
};
use kiln_erofs::{Image, Inode};
use sha2::{Digest as _, Sha256};

use crate::model::{Facts, Kind, file};

/// Places where Kiln's layer puts its own; whatever is below them counts as well. An image that has
/// one of them itself is compared there nevertheless.
const LAYER: [&str; 30] = [
    "dev",
    "efi",
    "etc/systemd",
    "home",
    "mnt",
    "oem",
    "opt",
    "proc",
    "root",
    "run",
    "srv",
    "state",
    "sys",
    "tmp",
    "usr/bin/cos-deploy",
    "usr/bin/cos-installer",
    "usr/bin/cos-reset",
    "usr/bin/cos-setup",
    "usr/bin/cos-upgrade",
    "usr/bin/elemental",
    "usr/bin/kiln",
    "usr/bin/yip",
    "usr/lib/kiln",
    "usr/lib/sysimage",
    "usr/lib/systemd/system",
    "usr/lib/systemd/system.conf.d",
    "usr/lib/tmpfiles.d",
    "usr/local",
    "usr/share/factory",
    "var",
];

/// Folders on the way to them, which count alone.
const PARENTS: [&str; 5] = ["etc", "usr", "usr/lib", "usr/lib/systemd", "usr/share"];

/// Everything in a root image.
pub fn read(path: &Path) -> BTreeMap<Vec<u8>, Facts> {
    let image = Image::open(File::open(path).unwrap()).unwrap();
    let mut first_names: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for entry in image.walk() {
        let entry = entry.unwrap();
        let path = entry.path.strip_prefix(b"/").unwrap_or(&entry.path).to_vec();
        // The walk is in the order of names, so the first met is the first of all.
        let first_name =
            first_names.entry(entry.inode.node).or_insert_with(|| path.clone()).clone();
        let raw = &entry.inode.raw;
        let facts = Facts {
            kind: kind(&image, &entry.inode),
            mode: raw.mode & !MODE_TYPE,
            uid: raw.uid,
            gid: raw.gid,
            time: (raw.mtime, raw.mtime_nanoseconds),
            attributes: image.xattrs(&entry.inode).unwrap(),
            first_name,
        };
        found.insert(path, facts);
    }
    found
}

fn kind(image: &Image<File>, inode: &Inode) -> Kind {
    let raw = &inode.raw;
    match raw.mode & MODE_TYPE {
        MODE_DIRECTORY => Kind::Directory,
        MODE_FILE => {
            let mut hash = Hash(Sha256::new());
            image.copy(inode, raw.size, &mut hash).unwrap();
            file(raw.size, hash.0.finalize())
        }
        MODE_SYMLINK => Kind::Symlink(image.read(inode, raw.size).unwrap()),
        MODE_FIFO => Kind::Pipe,
        MODE_CHARACTER => {
            let (major, minor) = decode_device(raw.union);
            Kind::CharacterDevice(major, minor)
        }
        MODE_BLOCK => {
            let (major, minor) = decode_device(raw.union);
            Kind::BlockDevice(major, minor)
        }
        other => panic!("no such type: {other:o}"),
    }
}

struct Hash(Sha256);

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every difference between what was expected and what was found, each one line.
pub fn differences(
    expected: &BTreeMap<Vec<u8>, Facts>,
    found: &BTreeMap<Vec<u8>, Facts>,
) -> Vec<String> {
    let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let mut lines = Vec::new();
    for (path, expected) in expected {
        match found.get(path) {
            None => lines.push(format!("{} is missing", shown(path))),
            Some(found) if found != expected => {
                lines.push(format!("{}\n   is {found:?}\n  was {expected:?}", shown(path)));
            }
            Some(_) => {}
        }
    }
    for path in found.keys().filter(|path| !expected.contains_key(*path)) {
        if !is_layer(path) {
            lines.push(format!("{} came from nowhere", shown(path)));
        }
    }
    lines
}

/// Whether a path is one that Kiln's layer puts there.
fn is_layer(path: &[u8]) -> bool {
    let is_below = |place: &&str| {
        let rest = path.strip_prefix(place.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    LAYER.iter().any(is_below) || PARENTS.iter().any(|place| path == place.as_bytes())
}
