//! Container images unpacked into a folder.
//!
//! Layers come verified from `kiln-registry` and are laid over each other by the rules of the OCI image
//! format (layer.md, "Whiteouts"). The folder is the root for every path and link in them, so an image
//! reaches nothing outside of it.

use std::io::Read;
use std::path::Path;

use kiln_config::action::UnpackImage;
use kiln_registry::{Options, Source};
use tar::{Archive, EntryType};

use crate::{Error, Owner, Root, Surroundings};

/// Largest single file that is unpacked, in bytes.
const FILE_BYTES: u64 = 8 << 30;
/// Most entries of a layer.
const ENTRIES: usize = 1_000_000;
/// Names that take away what lower layers have.
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

impl Surroundings<'_> {
    pub(crate) fn unpack_image(&mut self, wanted: &UnpackImage) -> Result<(), Error> {
        let target = self.text(&wanted.target)?;
        let source = self.text(&wanted.source)?;
        let mut options: Options = self.images.clone();
        if let Some(platform) = &wanted.platform {
            options.platform = platform.parse()?;
        }
        let image = kiln_registry::open(&source_of(&source)?, &options)?;
        if self.root.target(&target)?.is_none() {
            self.root.directory(&target, 0o755, Owner::default())?;
        }
        // What was below it before is not noted: an image may be as large as the disk.
        let mut folder = self.root.below(&target)?;
        for index in 0..image.layers.len() {
            let stream = image.open_layer(index)?;
            lay(stream, &mut folder).map_err(|reason| Error::Contents {
                origin: format!("image `{source}`"),
                reason,
            })?;
        }
        Ok(())
    }
}

/// A reference as users write it: a source with its kind, or a bare name of a registry.
fn source_of(text: &str) -> Result<Source, Error> {
    let has_kind = ["oci:", "oci-archive:", "docker-archive:", "docker://"]
        .iter()
        .any(|kind| text.starts_with(kind));
    Ok(if has_kind { text.parse()? } else { format!("docker://{text}").parse()? })
}

/// Lays one layer over what is there.
fn lay(stream: Box<dyn Read + Send>, folder: &mut Root) -> Result<(), String> {
    let mut archive = Archive::new(stream);
    let bad = |error: std::io::Error| format!("its layer cannot be read: {error}");
    for (number, entry) in archive.entries().map_err(bad)?.enumerate() {
        if number >= ENTRIES {
            return Err("a layer has more than a million entries".into());
        }
        let mut entry = entry.map_err(bad)?;
        let path = path_of(&entry.path().map_err(bad)?)?;
        if path == "/" {
            continue;
        }
        let done = one(&mut entry, &path, folder);
        done.map_err(|error| error.sentence())?;
    }
    // Only the end of the stream says that all of it was right.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map_err(bad)?;
    Ok(())
}

fn one<R: Read>(entry: &mut tar::Entry<'_, R>, path: &str, folder: &mut Root) -> Result<(), Error> {
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name == OPAQUE {
        for below in folder.list(if above.is_empty() { "/" } else { above })? {
            folder.remove(&format!("{above}/{below}"))?;
        }
        return Ok(());
    }
    if let Some(hidden) = name.strip_prefix(WHITEOUT) {
        return folder.remove(&format!("{above}/{hidden}"));
    }
    let header = entry.header();
    let number = |number: std::io::Result<u64>| {
        number.ok().and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
    };
    let owner = Owner { user: number(header.uid()), group: number(header.gid()) };
    let mode = header.mode().unwrap_or(0o644) & 0o7777;
    let link = entry.link_name().ok().flatten();
    let link = link.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default();
    match entry.header().entry_type() {
        EntryType::Directory => folder.directory(path, mode, owner),
        EntryType::Symlink => {
            give_way(folder, path)?;
            folder.symlink(path, &link, owner)
        }
        EntryType::Link => {
            give_way(folder, path)?;
            let target = path_of(Path::new(&link)).map_err(|_| Error::Path {
                path: link.clone(),
                reason: "it is no target of a link",
            })?;
            folder.hard_link(path, &target)
        }
        EntryType::Regular | EntryType::Continuous => {
            give_way(folder, path)?;
            folder.write_stream(path, entry, FILE_BYTES, mode, owner)
        }
        // Devices and pipes of an image have no use in a folder.
        _ => Ok(()),
    }
}

/// A folder of a lower layer is hidden by what is no folder.
fn give_way(folder: &mut Root, path: &str) -> Result<(), Error> {
    match folder.status(path)? {
        Some(status) if status.kind == crate::Kind::Folder => folder.remove(path),
        _ => Ok(()),
    }
}

/// The path of an entry, which may begin with `./` or `/`.
fn path_of(path: &Path) -> Result<String, String> {
    let text = path.to_str().ok_or("a path in it is no text in UTF-8")?;
    let text = format!("/{}", text.trim_end_matches('/'));
    let elements = crate::root::elements(&text).map_err(|error| error.to_string())?;
    Ok(format!("/{}", elements.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tar::{Builder, Header};

    fn layer(entries: &[(&str, EntryType, &str)]) -> Box<dyn Read + Send> {
        let mut builder = Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o750);
            header.set_uid(5);
            header.set_gid(6);
            // By hand: the builder refuses what a hostile archive holds.
            let name = header.as_gnu_mut().unwrap();
            for (to, from) in name.name.iter_mut().zip(path.bytes()) {
                *to = from;
            }
            let body = if kind.is_file() { text.as_bytes() } else { b"" };
            if !kind.is_file() {
                for (to, from) in name.linkname.iter_mut().zip(text.bytes()) {
                    *to = from;
                }
            }
            header.set_size(body.len() as u64);
            header.set_cksum();
            builder.append(&header, body).unwrap();
        }
        Box::new(std::io::Cursor::new(builder.into_inner().unwrap()))
    }

    #[test]
    fn layers_lie_over_each_other_and_stay_inside() {
        use EntryType::{Directory, Link, Regular, Symlink};
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("root");
        fs::create_dir(&inside).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        let mut root = Root::open(&inside).unwrap();
        let first = [
            ("./bin/", Directory, ""),
            ("bin/a", Regular, "a"),
            ("bin/b", Link, "bin/a"),
            ("bin/gone", Regular, "x"),
            ("old/x", Regular, "x"),
            ("data/x", Regular, "x"),
            ("out", Symlink, "../outside"),
        ];
        lay(layer(&first), &mut root).unwrap();
        let second = [
            ("bin/.wh.gone", Regular, ""),
            ("old", Regular, "now a file"),
            ("data/.wh..wh..opq", Regular, ""),
            ("data/y", Regular, "y"),
            ("out/evil", Regular, "e"),
        ];
        lay(layer(&second), &mut root).unwrap();
        assert_eq!(root.list("/bin").unwrap(), ["a", "b"]);
        assert_eq!(root.list("/data").unwrap(), ["y"]);
        assert_eq!(root.read("/old", 99).unwrap().unwrap(), b"now a file");
        assert_eq!(root.status("/bin/b").unwrap().unwrap().owner, Owner { user: 5, group: 6 });
        assert_eq!(root.status("/bin/a").unwrap().unwrap().mode, 0o750);
        assert_eq!(fs::read_dir(folder.path().join("outside")).unwrap().count(), 0);
        assert_eq!(root.read("/outside/evil", 9).unwrap().unwrap(), b"e");
        assert!(lay(layer(&[("../x", Regular, "")]), &mut root).unwrap_err().contains(".."));
    }
}
