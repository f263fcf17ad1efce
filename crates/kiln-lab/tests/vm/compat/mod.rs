//! Configurations of users as they have them on disk, and what machines need to take them.
//!
//! The documents are those against which `kiln-config` is tested, byte for byte: nothing is shortened
//! or mended for a machine. What they lean on and Debian's base lacks (xfs, chrony, k3s) comes as a layer
//! on top of the base image: the real program where it is small, else a stand-in that says what it found.

#![expect(dead_code, reason = "each test takes what it needs")]

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use kiln_lab::debian::Debian;
use kiln_lab::{Cache, Error, WorkDirectory};

#[path = "../packages/mod.rs"]
mod packages;

/// Ignition 3.4: a worker with a second disk.
pub(crate) const WORKER: &str =
    include_str!("../../../../kiln-config/tests/fixtures/ignition/worker-3.4.ign");
/// Ignition 3.4: names a server, a header and an authority.
pub(crate) const POINTER: &str =
    include_str!("../../../../kiln-config/tests/fixtures/ignition/worker-pointer-3.4.ign");
/// Ignition 2.2: appends to a file.
pub(crate) const BOOTSTRAP: &str =
    include_str!("../../../../kiln-config/src/ignition/translate/fixtures/bootstrap-2.2.ign");
/// Elemental: an appliance that installs itself.
pub(crate) const APPLIANCE: &str =
    include_str!("../../../../kiln-config/tests/fixtures/elemental/cloud-init.yaml");
/// cOS: user data that deploys from recovery.
pub(crate) const USER_DATA: &str =
    include_str!("../../../../kiln-config/tests/fixtures/elemental/userdata.yaml");

/// Where firmware hands a first-boot document over (Ignition's name for it).
pub(crate) const FIRMWARE_NAME: &str = "opt/com.coreos/config";

/// A further disk of this many bytes with nothing on it.
pub(crate) fn empty_disk(work: &WorkDirectory, name: &str, bytes: u64) -> Result<PathBuf, Error> {
    let path = work.join(name);
    let made = File::create(&path).and_then(|file| file.set_len(bytes));
    made.map_err(|source| Error::File { action: "create", path: path.clone(), source })?;
    Ok(path)
}

/// A file of the test.
pub(crate) fn written(path: PathBuf, text: impl AsRef<[u8]>) -> Result<PathBuf, Error> {
    std::fs::write(&path, text).map_err(|source| Error::File {
        action: "write",
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// A layer with what the base image lacks of packages: programs and libraries, without what their
/// maintainers' scripts would do.
pub(crate) fn package_layer(work: &WorkDirectory, packages: &[&str]) -> Result<PathBuf, Error> {
    let unpacked = work.join("packages.tar");
    packages::unpacked("amd64", packages, None, &unpacked)?;
    let base = names(&Debian::get(&Cache::open()?)?.tree())?;
    let path = work.join("packages.layer.tar");
    missing(&unpacked, &base, &path).map_err(|source| Error::File {
        action: "write",
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// Paths in a tar, without `./` in front.
fn names(tar: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let read = || -> std::io::Result<BTreeSet<PathBuf>> {
        let mut archive = tar::Archive::new(File::open(tar)?);
        archive.entries()?.map(|entry| Ok(plain(&entry?.path()?))).collect()
    };
    read().map_err(|source| Error::File { action: "read", path: tar.to_owned(), source })
}

fn plain(path: &Path) -> PathBuf {
    path.strip_prefix(".").unwrap_or(path).to_owned()
}

/// Copies what lies below `usr` and is in no base.
fn missing(from: &Path, base: &BTreeSet<PathBuf>, to: &Path) -> std::io::Result<()> {
    let mut out = tar::Builder::new(File::create(to)?);
    let mut archive = tar::Archive::new(File::open(from)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = plain(&entry.path()?);
        if base.contains(&path) || !path.starts_with("usr") || entry.header().entry_type().is_dir()
        {
            continue;
        }
        let mut header = entry.header().clone();
        match entry.link_name()?.map(|target| target.into_owned()) {
            Some(target) if header.entry_type().is_hard_link() => {
                out.append_link(&mut header, &path, plain(&target))?;
            }
            Some(target) => out.append_link(&mut header, &path, target)?,
            None => out.append_data(&mut header, &path, &mut entry)?,
        }
    }
    out.into_inner().map(drop)
}
