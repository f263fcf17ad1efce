//! A writable `/usr` until the next restart: for poking around on a machine that does not change.
//!
//! Every folder of the read-only root gets an overlay whose upper half is RAM. Nothing reaches a disk,
//! no boot file changes, and the next boot finds what the root hash proves. What was mounted below such
//! a folder, as `/usr/local` is, is shown again on top of it.
//!
//! There is no way back but a restart: programs run from the overlay by then, and a machine that says
//! that it has none must have none. One overlay over `/` was dropped, since every running program keeps
//! the root that it was started with.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kiln_sys::mount::{self, Options};

use crate::Error;
use crate::machine::Paths;

/// In the folder of the overlay once it is whole.
const MARK: &str = "active";

/// Share of memory that may be written: as systemd gives `/tmp`.
const SIZE: &str = "size=50%,mode=0700";

/// Largest `/proc/self/mountinfo` that is read, in bytes; a machine full of containers has 1 MiB.
const MAXIMUM_MOUNTS: usize = 16 << 20;

/// What becomes writable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The folder, such as `/usr`.
    pub folder: String,
    /// Mounts below it, which are shown again, outermost first.
    pub kept: Vec<String>,
}

/// Whether this system has a debug overlay.
#[must_use]
pub fn is_active(paths: &Paths) -> bool {
    paths.debug.join(MARK).exists()
}

/// The overlays for a root with these folders, given the text of `/proc/self/mountinfo`
/// (Documentation/filesystems/proc.rst §3.5).
#[must_use]
pub fn plan(folders: &[String], mounts: &str) -> Vec<Overlay> {
    let points: Vec<String> =
        mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped).collect();
    folders
        .iter()
        .filter(|folder| !points.contains(folder))
        .map(|folder| {
            let prefix = format!("{folder}/");
            let mut kept: Vec<String> =
                points.iter().filter(|point| point.starts_with(&prefix)).cloned().collect();
            // A mount point that was mounted twice is shown as it is now, once.
            kept.sort_by_key(String::len);
            kept.dedup();
            Overlay { folder: folder.clone(), kept }
        })
        .collect()
}

/// Puts the overlays up, and gives what became writable.
///
/// # Errors
/// [`Error::Refused`] if there is one already, [`Error::NotKiln`] on another system, [`Error::File`]
/// with the kernel's answer; what was mounted is taken away again.
pub fn start(paths: &Paths) -> Result<Vec<Overlay>, Error> {
    if !paths.facts.exists() {
        let reason = format!("{} is missing", paths.facts.display());
        return Err(Error::NotKiln { reason });
    }
    if is_active(paths) {
        return Err(Error::Refused {
            reason: "there is a debug overlay already".to_owned(),
            hint: "it is gone after a restart (`systemctl reboot`)".to_owned(),
        });
    }
    let mounts = fs::read("/proc/self/mountinfo")
        .map_err(|source| Error::file("read", Path::new("/proc/self/mountinfo"), source))?;
    let mounts = mounts.get(..mounts.len().min(MAXIMUM_MOUNTS)).unwrap_or_default();
    let overlays = plan(&folders()?, &String::from_utf8_lossy(mounts));
    let mut mounted = Mounted::default();
    put_up(&paths.debug, &overlays, &mut mounted)?;
    mounted.keep();
    Ok(overlays)
}

fn put_up(base: &Path, overlays: &[Overlay], mounted: &mut Mounted) -> Result<(), Error> {
    let make =
        |path: &Path| fs::create_dir_all(path).map_err(|source| Error::file("make", path, source));
    make(base)?;
    mounted.mount("kiln-debug", base, "tmpfs", SIZE)?;
    for (number, overlay) in overlays.iter().enumerate() {
        let folder = Path::new(&overlay.folder);
        let work = base.join(format!("{number}/work"));
        let upper = base.join(format!("{number}/upper"));
        make(&work)?;
        make(&upper)?;
        let metadata =
            fs::metadata(folder).map_err(|source| Error::file("look at", folder, source))?;
        // The upper half's own mode is that of the whole.
        fs::set_permissions(&upper, fs::Permissions::from_mode(metadata.permissions().mode()))
            .map_err(|source| Error::file("change the mode of", &upper, source))?;
        let mut kept = Vec::new();
        for (index, point) in overlay.kept.iter().enumerate() {
            let place = base.join(format!("{number}/kept-{index}"));
            if Path::new(point).is_dir() {
                make(&place)?;
            } else {
                File::create(&place).map_err(|source| Error::file("make", &place, source))?;
            }
            mounted.bind(Path::new(point), &place)?;
            kept.push((place, PathBuf::from(point)));
        }
        let data = format!(
            "lowerdir={},upperdir={},workdir={}",
            folder.display(),
            upper.display(),
            work.display()
        );
        mounted.mount("kiln-debug", folder, "overlay", &data)?;
        for (place, point) in &kept {
            mounted.bind(place, point)?;
        }
    }
    let mark = base.join(MARK);
    File::create(&mark).map(drop).map_err(|source| Error::file("write", &mark, source))
}

/// Folders right below the root, links left out.
fn folders() -> Result<Vec<String>, Error> {
    let failed = |source| Error::file("read", Path::new("/"), source);
    let mut folders = Vec::new();
    for entry in fs::read_dir("/").map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            folders.push(format!("/{name}"));
        }
    }
    folders.sort_unstable();
    Ok(folders)
}

/// Mounts that are taken away again when this is dropped.
#[derive(Debug, Default)]
struct Mounted(Vec<PathBuf>);

impl Mounted {
    fn mount(&mut self, source: &str, target: &Path, kind: &str, data: &str) -> Result<(), Error> {
        mount::mount(source, target, kind, Options::default(), data)
            .map_err(|error| Error::file("mount", target, io::Error::other(error)))?;
        self.0.push(target.to_owned());
        Ok(())
    }

    fn bind(&mut self, source: &Path, target: &Path) -> Result<(), Error> {
        mount::bind(source, target)
            .map_err(|error| Error::file("mount", target, io::Error::other(error)))?;
        self.0.push(target.to_owned());
        Ok(())
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for target in self.0.iter().rev() {
            // The error that led here is the one to tell.
            let _ = mount::detach(target);
        }
    }
}

/// Octal escapes of the kernel's tables: `\040` is a space.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let code = behind.get(..3).filter(|_| first == b'\\');
        let code =
            code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Overlay, is_active, plan, start, unescaped};
    use crate::Error;
    use crate::machine::Paths;

    const MOUNTS: &str = "\
21 1 253:0 / / ro,relatime shared:1 - erofs /dev/mapper/kiln-root ro
22 21 0:19 / /proc rw,nosuid shared:2 - proc proc rw
23 21 0:30 / /usr/local rw shared:3 - overlay overlay rw,lowerdir=/usr/local
24 23 0:31 / /usr/local/a\\040b/deep rw shared:4 - tmpfs tmpfs rw
25 21 0:32 / /var rw shared:5 - ext4 /dev/vda5 rw
26 23 0:33 / /usr/local/a\\040b rw shared:4 - tmpfs tmpfs rw
27 21 0:30 / /usr/local rw shared:3 - overlay overlay rw
";

    #[test]
    fn what_is_read_only_becomes_writable_and_mounts_below_it_stay() {
        let folders = ["/boot", "/proc", "/usr", "/us", "/var"].map(str::to_owned);
        let kept = ["/usr/local", "/usr/local/a b", "/usr/local/a b/deep"].map(str::to_owned);
        let overlay = |folder: &str, kept: &[String]| Overlay {
            folder: folder.to_owned(),
            kept: kept.to_vec(),
        };
        assert_eq!(
            plan(&folders, MOUNTS),
            [overlay("/boot", &[]), overlay("/usr", &kept), overlay("/us", &[])]
        );
        assert_eq!(plan(&[], "rubbish\n\n"), []);
        assert_eq!(unescaped("a\\040b\\9\\"), "a b\\9\\");
    }

    #[test]
    fn a_second_overlay_and_another_system_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::below(folder.path());
        assert!(matches!(start(&paths), Err(Error::NotKiln { .. })));
        std::fs::create_dir_all(&paths.debug).unwrap();
        std::fs::write(&paths.facts, "").unwrap();
        assert!(!is_active(&paths), "half of one is none");
        std::fs::write(paths.debug.join("active"), "").unwrap();
        let error = start(&paths).unwrap_err();
        assert!(is_active(&paths) && error.to_string().contains("already"), "{error}");
        assert!(error.hint().unwrap().contains("restart"));
    }
}
