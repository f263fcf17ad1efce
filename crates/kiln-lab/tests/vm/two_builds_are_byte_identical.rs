//! Promise: equal inputs give equal bytes, whoever builds, wherever, with any number of threads.
//!
//! The builds differ in everything that has ever got into somebody's image: folder, user, threads,
//! umask, time zone, locale, host name's variables, `SOURCE_DATE_EPOCH`, and when they run.

mod files;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use files::digests;
use kiln_lab::debian::Debian;
use kiln_lab::{Cache, Error, Failure, Oracle, Product, WorkDirectory, product};

/// The other user, where the first one is root.
const NOBODY: u32 = 65_534;

/// A build's surroundings.
struct Surroundings {
    folder: &'static str,
    threads: &'static str,
    umask: &'static str,
    is_other_user: bool,
    environment: &'static [(&'static str, &'static str)],
}

const SURROUNDINGS: [Surroundings; 3] = [
    Surroundings {
        folder: "a",
        threads: "1",
        umask: "022",
        is_other_user: false,
        environment: &[("TZ", "UTC"), ("LANG", "C")],
    },
    Surroundings {
        folder: "another folder/somewhere-deeper",
        threads: "4",
        umask: "077",
        is_other_user: true,
        environment: &[
            ("TZ", "Pacific/Kiritimati"),
            ("SOURCE_DATE_EPOCH", "86400"),
            ("LANG", "tr_TR.UTF-8"),
            ("HOSTNAME", "elsewhere"),
            ("HOME", "/nonexistent"),
            ("USER", "somebody"),
        ],
    },
    Surroundings {
        folder: "c",
        threads: "3",
        umask: "000",
        is_other_user: false,
        environment: &[("TZ", "America/St_Johns"), ("SOURCE_DATE_EPOCH", "4000000000")],
    },
];

#[test]
fn two_builds_are_byte_identical() -> Result<(), Failure> {
    let work = WorkDirectory::new("identical")?;
    let image = work.join("image.tar");
    let binary = work.join("kiln");
    let named =
        std::env::var_os(product::VARIABLE).ok_or(Error::Unset { variable: product::VARIABLE })?;
    // Both users must be able to read them, which is not so in a home folder.
    for (from, to) in [(Debian::get(&Cache::open()?)?.image(), &image), (named.into(), &binary)] {
        fs::copy(&from, to).map_err(error("copy", &from))?;
        open(to)?;
    }
    let password = work.join("password");
    fs::write(&password, product::PASSWORD).map_err(error("write", &password))?;
    open(&password)?;
    open(work.path())?;
    let is_root = fs::metadata(work.path()).map_err(error("read", work.path()))?.uid() == 0;

    let mut first = None;
    for surroundings in SURROUNDINGS {
        let output = work.join(surroundings.folder);
        fs::create_dir_all(&output).map_err(error("create", &output))?;
        let mut call = Oracle::new("sh").folder(&output);
        for (name, value) in surroundings.environment {
            call = call.environment(name, value);
        }
        call = call.arguments(["-c", r#"umask "$1"; shift; exec "$@""#, "sh", surroundings.umask]);
        if is_root && surroundings.is_other_user {
            chown(&output, Some(NOBODY), Some(NOBODY)).map_err(error("give away", &output))?;
            call = call.arguments(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        call.argument(&binary)
            .arguments(["build", "--threads", surroundings.threads, "--format", "raw,qcow2"])
            .arguments(["--slot-size", "256MiB", "--esp-size", "128MiB", "--user", "kiln"])
            .arguments(["--output", ".", "--password-file"])
            .argument(&password)
            .argument(format!("oci-archive:{}", image.display()))
            .run()?;
        let written = digests(&output)?;
        assert_eq!(written.len(), 6, "root, two boot files, release and two disks: {written:?}");
        // One comparison with the first build for each: then all are equal.
        let expected = first.get_or_insert_with(|| written.clone());
        assert_eq!(&written, expected, "in {}", surroundings.folder);
    }
    Ok(())
}

#[test]
fn another_password_is_another_build() -> Result<(), Failure> {
    // Without this, the test above would also pass for a program that ignores what it is given.
    let work = WorkDirectory::new("different")?;
    let image = Debian::get(&Cache::open()?)?.image();
    let mut built = Vec::new();
    for word in ["one", "two"] {
        let output = work.join(word);
        let password = work.join(format!("{word}.password"));
        fs::write(&password, word).map_err(error("write", &password))?;
        Product::from_environment()?
            .call()
            .arguments(["build", "--user", "kiln", "--password-file"])
            .argument(&password)
            .arguments(["--slot-size", "256MiB", "--esp-size", "128MiB", "--output"])
            .argument(&output)
            .argument(format!("oci-archive:{}", image.display()))
            .run()?;
        built.push(digests(&output)?);
    }
    let [one, two] = [&built[0], &built[1]];
    assert!(one.keys().eq(two.keys()), "{one:?} {two:?}");
    for (name, digest) in one {
        assert_ne!(digest, &two[name], "{name} does not depend on what is in the root");
    }
    Ok(())
}

/// Lets every user read it.
fn open(path: &Path) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(error("open up", path))
}

fn error(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path: path.clone(), source }
}
