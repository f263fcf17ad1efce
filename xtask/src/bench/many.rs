//! A tree with very many entries, for the goal that memory does not grow with them.
//!
//! It is the small tree, so that it can be built, and half a million small things: files of all
//! lengths that fit in or beside an inode, symlinks, hard links and some extended attributes. It is
//! written from a counter, without chance, so that every computer measures the same.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use tar::{Archive, Builder, EntryType, Header};

use super::lab_error;

/// Entries that are added, by the goal that names them.
pub(super) const ENTRIES: u64 = 500_000;

/// Changes when anything here changes what is written.
pub(super) const RECIPE: u64 = 1;

/// Entries in a folder.
const IN_A_FOLDER: u64 = 500;

/// Bytes of a tar block (POSIX.1-1988, "ustar").
const BLOCK: u64 = 512;

/// Length of the longest file in bytes: more than an EROFS block, so that some have both a block
/// and a tail.
const LONGEST: u64 = 6000;

/// Bytes of files and number of entries of a tar.
pub(super) fn facts(path: &Path) -> Result<(u64, u64), kiln_lab::Error> {
    let reading = lab_error("read", path);
    let file = File::open(path).map_err(&reading)?;
    let (mut length, mut entries) = (0, 0);
    let mut archive = Archive::new(BufReader::new(file));
    for entry in archive.entries_with_seek().map_err(&reading)? {
        length += entry.map_err(&reading)?.size();
        entries += 1;
    }
    Ok((length, entries))
}

/// Writes the tree of `base` with this many more entries to `target`, both tars.
pub(super) fn write(base: &Path, target: &Path, entries: u64) -> Result<(), kiln_lab::Error> {
    let reading = lab_error("read", base);
    let writing = lab_error("write", target);
    let mut source = File::open(base).map_err(&reading)?;
    let end = end(&source).map_err(&reading)?;
    source.seek(SeekFrom::Start(0)).map_err(&reading)?;
    let mut file = BufWriter::new(File::create(target).map_err(&writing)?);
    io::copy(&mut source.take(end), &mut file).map_err(&writing)?;
    add(&mut Builder::new(&mut file), entries).map_err(&writing)?;
    file.flush().map_err(&writing)
}

/// Where the last entry of a tar ends, before the zeros that close it.
fn end(file: &File) -> io::Result<u64> {
    let mut end = 0;
    let mut archive = Archive::new(BufReader::new(file));
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        end = entry.raw_file_position() + entry.size().next_multiple_of(BLOCK);
    }
    Ok(end)
}

fn add(out: &mut Builder<impl Write>, entries: u64) -> io::Result<()> {
    let mut content = Vec::new();
    for number in 0..entries {
        let folder = format!("srv/many/{}", number / IN_A_FOLDER);
        let path = format!("{folder}/entry-{number}");
        if number % IN_A_FOLDER == 0 {
            out.append_data(&mut header(EntryType::Directory, 0), &folder, io::empty())?;
            continue;
        }
        let first = format!("{folder}/entry-{}", number / IN_A_FOLDER * IN_A_FOLDER + 1);
        match number % 20 {
            // The folder's first file, which is never a link itself.
            7 => out.append_link(&mut header(EntryType::Link, 0), &path, &first)?,
            13 | 17 => out.append_link(&mut header(EntryType::Symlink, 0), &path, &first)?,
            place => {
                if place == 3 {
                    let value = number.to_string();
                    out.append_pax_extensions([("SCHILY.xattr.user.number", value.as_bytes())])?;
                }
                content.clear();
                // Mostly short, sometimes long, never a pattern that repeats in the next file.
                let length = number.wrapping_mul(number) % if place == 0 { LONGEST } else { 400 };
                let mut state = number;
                while (content.len() as u64) < length {
                    // Knuth's multiplier (MMIX); its high bits give words of 40 letters in all.
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    write!(content, "{} ", (state >> 33) % 10_000)?;
                }
                let mut header = header(EntryType::Regular, content.len() as u64);
                out.append_data(&mut header, &path, content.as_slice())?;
            }
        }
    }
    out.finish()
}

fn header(kind: EntryType, length: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(length);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_750_000_000);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A few folders; all of them take minutes without optimisation.
    const ADDED: u64 = 2_000;

    #[test]
    fn the_base_stays_and_every_link_finds_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (base, target) = (folder.path().join("base"), folder.path().join("target"));
        let mut tree = Builder::new(File::create(&base).unwrap());
        let mut header = header(EntryType::Regular, 700);
        tree.append_data(&mut header, "usr/zeros", [0; 700].as_slice()).unwrap();
        tree.into_inner().unwrap();
        write(&base, &target, ADDED).unwrap();

        let (mut files, mut entries) = (BTreeSet::new(), 0);
        let mut archive = Archive::new(File::open(&target).unwrap());
        for entry in archive.entries_with_seek().unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().into_owned();
            if entry.header().entry_type() == EntryType::Link {
                assert!(files.contains(entry.link_name().unwrap().unwrap().as_ref()));
            } else if entry.header().entry_type() == EntryType::Regular {
                files.insert(path);
            }
            entries += 1;
        }
        assert!(files.contains(Path::new("usr/zeros")));
        assert_eq!(entries, ADDED + 1);
        assert_eq!(facts(&target).unwrap().1, entries);
    }
}
