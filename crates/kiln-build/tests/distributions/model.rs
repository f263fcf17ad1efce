//! What an image holds, worked out in the most naive way: every layer in full onto the one below, as
//! container engines unpack them, then what Kiln promises about `/var`. It shares no code and not
//! even the direction with the merge under test.

use std::collections::BTreeMap;
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use crate::entry::{Entry, What};

/// What a path is, without its other facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File { length: u64, digest: String },
    Symlink(Vec<u8>),
    CharacterDevice(u32, u32),
    BlockDevice(u32, u32),
    Pipe,
}

/// Everything that a running system shows of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub kind: Kind,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub time: (i64, u32),
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first of all names that this file has.
    pub first_name: Vec<u8>,
}

/// A file system by path.
type Files = BTreeMap<String, Rc<Entry>>;

/// What the machine must see of the layers, lowest first.
pub fn expected(layers: &[Vec<Entry>]) -> BTreeMap<Vec<u8>, Facts> {
    let mut files = Files::new();
    for layer in layers {
        apply(&mut files, layer);
    }
    facts(&with_kiln_layer(files))
}

fn apply(files: &mut Files, layer: &[Entry]) {
    // What a layer hides is only what was there before it, wherever the whiteout stands.
    for entry in layer {
        let (folder, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        if name == ".wh..wh..opq" {
            files.retain(|path, _| !is_below(path, folder));
        } else if let Some(hidden) = name.strip_prefix(".wh.") {
            let hidden = format!("{folder}/{hidden}");
            let hidden = hidden.trim_start_matches('/');
            files.retain(|path, _| path != hidden && !is_below(path, hidden));
        }
    }
    for entry in layer {
        if entry.path.rsplit('/').next().is_some_and(|name| name.starts_with(".wh.")) {
            continue;
        }
        let new = match &entry.what {
            What::HardLink(target) => Rc::clone(&files[target]),
            _ => Rc::new(entry.clone()),
        };
        if entry.what != What::Directory {
            files.retain(|path, _| !is_below(path, &entry.path));
        }
        files.insert(entry.path.clone(), new);
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Kiln's promises: package databases belong to the release, `/var` becomes its factory, and no
/// initial RAM disk of the distribution stays.
fn with_kiln_layer(files: Files) -> Files {
    let is_directory =
        |path: &str| files.get(path).is_some_and(|entry| entry.what == What::Directory);
    let moved: Vec<&str> = ["dpkg", "rpm", "pacman", "apk"]
        .into_iter()
        .filter(|name| {
            is_directory(&format!("var/lib/{name}"))
                && !files.contains_key(&format!("usr/lib/sysimage/{name}"))
        })
        .collect();
    let place = |path: &str| {
        for name in &moved {
            if let Some(rest) = path.strip_prefix(&format!("var/lib/{name}"))
                && (rest.is_empty() || rest.starts_with('/'))
            {
                return Some(format!("usr/lib/sysimage/{name}{rest}"));
            }
        }
        if path == "var" || path.starts_with("var/") {
            return Some(format!("usr/share/factory/{path}"));
        }
        let is_ram_disk = |name: &str| name.starts_with("initr");
        if path.strip_prefix("boot/").is_some_and(is_ram_disk) {
            return None;
        }
        Some(path.to_owned())
    };
    files.iter().filter_map(|(path, entry)| Some((place(path)?, Rc::clone(entry)))).collect()
}

fn facts(files: &Files) -> BTreeMap<Vec<u8>, Facts> {
    let mut names: BTreeMap<*const Entry, &String> = BTreeMap::new();
    files
        .iter()
        .map(|(path, entry)| {
            let first_name = names.entry(Rc::as_ptr(entry)).or_insert(path);
            let facts = Facts {
                kind: kind(&entry.what),
                mode: entry.mode,
                uid: entry.uid,
                gid: entry.gid,
                time: entry.time,
                attributes: entry
                    .attributes
                    .iter()
                    .map(|(name, value)| (name.clone().into_bytes(), value.clone()))
                    .collect(),
                first_name: first_name.clone().into_bytes(),
            };
            (path.clone().into_bytes(), facts)
        })
        .collect()
}

fn kind(what: &What) -> Kind {
    match what {
        What::Directory => Kind::Directory,
        What::File(bytes) => file(bytes.len() as u64, Sha256::digest(bytes)),
        What::Sparse(length, pieces) => {
            let mut hash = Sha256::new();
            let zeros = vec![0; 1 << 20];
            let mut at = 0;
            let fill = |hash: &mut Sha256, until: u64, at: &mut u64| {
                while *at < until {
                    let step = (until - *at).min(zeros.len() as u64);
                    hash.update(&zeros[..step as usize]);
                    *at += step;
                }
            };
            for (offset, bytes) in pieces {
                fill(&mut hash, *offset, &mut at);
                hash.update(bytes);
                at += bytes.len() as u64;
            }
            fill(&mut hash, *length, &mut at);
            file(*length, hash.finalize())
        }
        What::Symlink(target) => Kind::Symlink(target.clone().into_bytes()),
        What::CharacterDevice(major, minor) => Kind::CharacterDevice(*major, *minor),
        What::BlockDevice(major, minor) => Kind::BlockDevice(*major, *minor),
        What::Pipe => Kind::Pipe,
        What::HardLink(_) => panic!("links are resolved when they are applied"),
    }
}

pub fn file(length: u64, digest: impl AsRef<[u8]>) -> Kind {
    let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Kind::File { length, digest }
}
