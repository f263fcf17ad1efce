//! Promise: bad input ends a build with one error that names the culprit, a hint where there is
//! something to do, exit code 1 (2 for wrong usage), and nothing in the output folder: no file under
//! a final name, no leftover, and the older files as they were.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_lab::debian::Debian;
use kiln_lab::{Cache, Error, Failure, WorkDirectory, product};

/// An older result that a failing build must leave alone: under the very name it would write.
const OLDER: (&str, &[u8]) = ("debian.root", b"of an older build");

#[test]
fn a_truncated_archive() -> Result<(), Failure> {
    let case = Case::new("truncated")?;
    let archive = case.copy_of_image()?;
    change(&archive, |file| file.set_len(100_000_000))?;
    let told = case.build(&[&source(&archive)], 1)?;
    assert_names(&told, "error: archive");
    assert_names(&told, "damaged");
    assert_names(&told, "image.tar");
    Ok(())
}

#[test]
fn a_blob_with_a_flipped_bit() -> Result<(), Failure> {
    let case = Case::new("flipped-blob")?;
    let archive = case.copy_of_image()?;
    let place = 90_000_000;
    change(&archive, |file| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, place)?;
        file.write_all_at(&[byte[0] ^ 1], place)
    })?;
    let told = case.build(&[&source(&archive)], 1)?;
    assert_names(&told, "wrong digest sha256:");
    assert_names(&told, "\nhint: ");
    Ok(())
}

#[test]
fn paths_that_leave_the_tree() -> Result<(), Failure> {
    for (label, name) in [("inside", "etc/../../x"), ("first", "../x"), ("last", "etc/..")] {
        let case = Case::new(&format!("dots-{label}"))?;
        let archive = case.work.join("tree.tar");
        write_tar(&archive, name)?;
        let told = case.build(&[&format!("tar:{}", archive.display())], 1)?;
        assert_names(&told, &format!("`{name}` is refused"));
        assert!(!case.work.join("x").exists(), "{name} was written");
    }
    Ok(())
}

#[test]
fn a_slot_that_is_too_small() -> Result<(), Failure> {
    let case = Case::new("small-slot")?;
    let told = case.build(&[&source(&case.image()?), "--slot-size", "64MiB"], 1)?;
    assert_names(&told, "the slot has 64.0 MiB");
    assert_names(&told, "\nhint: ");
    assert_names(&told, "--slot-size");
    Ok(())
}

#[test]
fn names_that_are_no_file_names() -> Result<(), Failure> {
    for (label, name) in [("slash", "a/b"), ("up", "../a"), ("empty", "")] {
        let case = Case::new(&format!("name-{label}"))?;
        let told = case.build(&[&source(&case.image()?), "--name", name], 1)?;
        assert_names(&told, &format!("`{name}` cannot be the name"));
        assert_names(&told, "\nhint: ");
        assert_names(&told, "--name");
    }
    Ok(())
}

#[test]
fn files_that_are_missing() -> Result<(), Failure> {
    let case = Case::new("missing")?;
    let image = source(&case.image()?);
    let absent = "/nonexistent/kiln-lab";
    let told = case.build(&[&image, "--user", "kiln", "--password-file", absent], 1)?;
    assert_names(&told, absent);
    for kind in ["tar", "dir", "oci", "oci-archive", "docker-archive"] {
        let told = case.build(&[&format!("{kind}:{absent}")], 1)?;
        assert_names(&told, absent);
    }
    Ok(())
}

#[test]
fn wrong_usage() -> Result<(), Failure> {
    let case = Case::new("usage")?;
    let image = source(&case.image()?);
    let calls: [(&[&str], &str); 6] = [
        (&[&image, "--compress", "brotli"], "brotli"),
        (&[&image, "--compress", "zstd:99"], "zstd:99"),
        (&[&image, "--slot-size", "much"], "much"),
        (&[&image, "--threads", "0"], "--threads"),
        (&["floppy:a"], "floppy:a"),
        (&[], "<SOURCE>"),
    ];
    for (arguments, culprit) in calls {
        let told = case.build(arguments, 2)?;
        assert_names(&told, culprit);
    }
    Ok(())
}

/// A folder with an older result, to build into.
struct Case {
    work: WorkDirectory,
    output: PathBuf,
}

impl Case {
    fn new(name: &str) -> Result<Self, Error> {
        let work = WorkDirectory::new(name)?;
        let output = work.join("output");
        let write = || {
            fs::create_dir(&output)?;
            fs::write(output.join(OLDER.0), OLDER.1)
        };
        write().map_err(error("prepare", &output))?;
        Ok(Self { work, output })
    }

    /// The good image, never to be written.
    fn image(&self) -> Result<PathBuf, Error> {
        Ok(Debian::get(&Cache::open()?)?.image())
    }

    /// A copy of the image to be damaged.
    fn copy_of_image(&self) -> Result<PathBuf, Error> {
        let copy = self.work.join("image.tar");
        fs::copy(self.image()?, &copy).map_err(error("copy", &copy))?;
        Ok(copy)
    }

    /// Builds, which must fail with this code and leave nothing; returns what was told.
    fn build(&self, arguments: &[&str], code: i32) -> Result<String, Error> {
        let binary = std::env::var_os(product::VARIABLE)
            .ok_or(Error::Unset { variable: product::VARIABLE })?;
        // Not an oracle: those must succeed.
        let result = Command::new(&binary)
            .args(["build", "--quiet", "--output"])
            .arg(&self.output)
            .args(arguments)
            .output()
            .map_err(error("run", Path::new(&binary)))?;
        let told = String::from_utf8_lossy(&result.stderr).into_owned();
        assert_eq!(result.status.code(), Some(code), "{arguments:?}:\n{told}");
        assert!(told.starts_with("error: "), "{arguments:?}:\n{told}");
        let errors = told.lines().filter(|line| line.starts_with("error:")).count();
        assert_eq!(errors, 1, "{arguments:?}:\n{told}");
        for word in ["panicked", "RUST_BACKTRACE", "Os {"] {
            assert!(!told.contains(word), "{arguments:?}:\n{told}");
        }
        assert!(result.stdout.is_empty(), "{arguments:?} wrote data");
        self.assert_untouched(arguments)?;
        Ok(told)
    }

    fn assert_untouched(&self, arguments: &[&str]) -> Result<(), Error> {
        let read = || -> std::io::Result<(Vec<String>, Vec<u8>)> {
            let names = fs::read_dir(&self.output)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<std::io::Result<_>>()?;
            Ok((names, fs::read(self.output.join(OLDER.0))?))
        };
        let (names, older) = read().map_err(error("read", &self.output))?;
        assert_eq!(names, [OLDER.0], "{arguments:?} left something");
        assert_eq!(older, OLDER.1, "{arguments:?} changed the older result");
        Ok(())
    }
}

fn assert_names(told: &str, expected: &str) {
    assert!(told.contains(expected), "{expected:?} is not in:\n{told}");
}

fn source(archive: &Path) -> String {
    format!("oci-archive:{}", archive.display())
}

/// A tar with one file of this name. Tar libraries refuse such names, so the header is filled here.
fn write_tar(archive: &Path, name: &str) -> Result<(), Error> {
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    let write = || {
        let mut out = tar::Builder::new(File::create(archive)?);
        out.append(&header, &b"abc"[..])?;
        out.into_inner().map(drop)
    };
    write().map_err(error("write", archive))
}

fn change(path: &Path, how: impl FnOnce(&File) -> std::io::Result<()>) -> Result<(), Error> {
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .and_then(|file| how(&file))
        .map_err(error("damage", path))
}

fn error(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path: path.clone(), source }
}
