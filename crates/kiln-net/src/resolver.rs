//! Name servers where programs look for them: `/etc/resolv.conf` of a root whose system has not
//! started, and which it will write itself.
//!
//! In many images that file is a link to one which systemd-resolved or NetworkManager makes below
//! `/run` when it runs. There the file is made, in memory, and removed at the end. A plain file of the
//! image or the user is covered by a mount, so that `/etc`, which is kept, never holds what one network said
//! once. Only where there is no file at all one is made in its place, and removed.

use std::fs;
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};

use kiln_sys::mount;

use crate::Error;
use crate::leases::{Leases, resolv_conf};

/// Where resolvers look.
const PLACE: &str = "etc/resolv.conf";
/// The file that covers one of the image.
const COVER: &str = "run/kiln/resolv.conf";
/// Links followed: as many as the kernel follows (path_resolution(7)).
const LINKS_MAXIMUM: usize = 40;

/// Name servers in place, until this is dropped or [`Resolver::remove`] is called.
#[must_use = "the name servers go away when this is dropped"]
#[derive(Debug)]
pub struct Resolver {
    covered: Option<PathBuf>,
    files: Vec<PathBuf>,
    /// Folders that were made, the outermost first.
    folders: Vec<PathBuf>,
}

impl Resolver {
    /// Puts the name servers of `leases` in place for programs whose root is `root`; `/` once this
    /// process is in it. Its `run` must be in memory.
    ///
    /// # Errors
    /// A file, folder or mount cannot be made.
    pub fn place(root: &Path, leases: &Leases) -> Result<Self, Error> {
        let mut resolver = Self { covered: None, files: Vec::new(), folders: Vec::new() };
        let (text, place) = (resolv_conf(leases), resolve(root, Path::new(PLACE))?);
        if place.try_exists().map_err(failed("look for", &place))? {
            let cover = root.join(COVER);
            resolver.write(&cover, &text)?;
            mount::bind(&cover, &place)?;
            resolver.covered = Some(place);
        } else {
            resolver.write(&place, &text)?;
        }
        Ok(resolver)
    }

    /// Takes them away again.
    ///
    /// # Errors
    /// The mount or a file cannot be removed.
    pub fn remove(mut self) -> Result<(), Error> {
        self.take_away()
    }

    fn write(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let missing = path.ancestors().skip(1).take_while(|folder| !folder.exists());
        let missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(&folder).map_err(failed("make", &folder))?;
            self.folders.push(folder);
        }
        let mut options = fs::OpenOptions::new();
        // The cover may be left over from a program that was killed; a link in its place is not followed.
        let _ = fs::remove_file(path);
        let mut file =
            options.write(true).create_new(true).open(path).map_err(failed("make", path))?;
        self.files.push(path.to_owned());
        file.write_all(text.as_bytes()).map_err(failed("write", path))
    }

    fn take_away(&mut self) -> Result<(), Error> {
        if let Some(place) = self.covered.take() {
            // At once, whoever still reads it.
            mount::detach(&place)?;
        }
        for file in self.files.drain(..) {
            match fs::remove_file(&file) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(failed("remove", &file))?,
            }
        }
        // Others may have put something there meanwhile.
        while let Some(folder) = self.folders.pop() {
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = self.take_away();
    }
}

/// Follows links inside `root`, also to where nothing is.
fn resolve(root: &Path, path: &Path) -> Result<PathBuf, Error> {
    let mut left: Vec<PathBuf> = reversed(path);
    let (mut inside, mut links) = (PathBuf::new(), 0);
    while let Some(name) = left.pop() {
        if name == Path::new("..") {
            inside.pop();
            continue;
        }
        let next = inside.join(&name);
        match fs::read_link(root.join(&next)) {
            Ok(target) => {
                links += 1;
                if links > LINKS_MAXIMUM {
                    let source = rustix::io::Errno::LOOP.into();
                    let path = root.join(path).display().to_string();
                    return Err(Error::File { action: "follow the links of", path, source });
                }
                if target.is_absolute() {
                    inside = PathBuf::new();
                }
                left.extend(reversed(&target));
            }
            Err(_) => inside = next,
        }
    }
    Ok(root.join(inside))
}

/// The names of a path, the last first, without those that say nothing.
fn reversed(path: &Path) -> Vec<PathBuf> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    let mut names: Vec<PathBuf> = names.collect();
    names.reverse();
    names
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::File { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn leases() -> Leases {
        let mut leases = Leases::default();
        leases.add_dns([192, 0, 2, 53].into(), "eth0");
        leases
    }

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::create_dir_all(root.path().join("run")).unwrap();
        root
    }

    #[test]
    fn a_link_into_run_gets_its_file_and_loses_it() {
        for target in [
            "../run/systemd/resolve/stub-resolv.conf",
            "/run/systemd/resolve/stub-resolv.conf",
            "/../../run/systemd/./resolve/stub-resolv.conf",
        ] {
            let root = root();
            symlink(target, root.path().join(PLACE)).unwrap();
            let resolver = Resolver::place(root.path(), &leases()).unwrap();
            let file = root.path().join("run/systemd/resolve/stub-resolv.conf");
            assert!(fs::read_to_string(&file).unwrap().contains("nameserver 192.0.2.53\n"));
            resolver.remove().unwrap();
            assert!(!root.path().join("run/systemd").exists(), "{target}");
            assert!(root.path().join(PLACE).is_symlink());
        }
    }

    #[test]
    fn a_missing_file_is_made_and_removed_and_others_stay() {
        let root = root();
        let resolver = Resolver::place(root.path(), &leases()).unwrap();
        assert!(root.path().join(PLACE).exists());
        drop(resolver);
        assert_eq!(fs::read_dir(root.path().join("etc")).unwrap().count(), 0);
        symlink("/run/a/resolv.conf", root.path().join(PLACE)).unwrap();
        let resolver = Resolver::place(root.path(), &leases()).unwrap();
        fs::write(root.path().join("run/a/other"), "").unwrap();
        resolver.remove().unwrap();
        assert!(root.path().join("run/a/other").exists());
        assert!(!root.path().join("run/a/resolv.conf").exists());
    }

    #[test]
    fn links_in_a_ring_are_refused() {
        let root = root();
        symlink("resolv.conf", root.path().join(PLACE)).unwrap();
        let error = Resolver::place(root.path(), &leases()).unwrap_err();
        assert!(error.to_string().contains("follow the links"), "{error}");
    }
}
