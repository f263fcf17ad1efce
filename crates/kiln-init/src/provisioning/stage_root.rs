//! What is mounted for one half of a configuration, and taken away again.
//!
//! The first half gets a root of its own: the verified one with memory over it, in which programs may
//! write what they like. Letting them run in the verified root as it is was dropped: most of them want to
//! write to `/tmp` or `/var`, and what they wrote would be where the state is mounted next.

use crate::Error;
use crate::error::file;
use crate::root::SYSROOT;
use kiln_boot::one_shot;
use kiln_sys::mount::{self, Options};
use std::fs;
use std::path::{Path, PathBuf};

/// What is mounted for one half; taken away again when dropped.
pub(super) struct Bound {
    targets: Vec<PathBuf>,
}

impl Bound {
    /// Shows the kernel's file systems inside a root.
    pub(super) fn kernel(root: &Path) -> Result<Self, Error> {
        let mut bound = Self { targets: Vec::new() };
        for name in ["dev", "proc", "sys", "run"] {
            let target = root.join(name);
            if !target.is_dir() {
                return Err(Error::Image(format!("the folder /{name}")));
            }
            bound.show(&Path::new("/").join(name), target)?;
        }
        if Path::new(one_shot::FOLDER).join(one_shot::LOADER).exists() {
            let target = root.join(one_shot::FOLDER.trim_start_matches('/'));
            bound.show(Path::new(one_shot::FOLDER), target)?;
        }
        Ok(bound)
    }

    fn show(&mut self, source: &Path, target: PathBuf) -> Result<(), Error> {
        mount::bind(source, &target)?;
        self.targets.push(target);
        Ok(())
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        for target in self.targets.iter().rev() {
            // What a program left behind keeps it; the mount is only hidden.
            let _ = mount::detach(target);
        }
    }
}

/// The verified root with memory over it, as `/` of programs that run before anything writable is there.
pub(super) struct StageRoot {
    pub(super) root: PathBuf,
    memory: PathBuf,
    bound: Option<Bound>,
}

impl StageRoot {
    /// Where it lies.
    const PLACE: &str = "/run/kiln/stage";

    pub(super) fn open(sysroot: &Path) -> Result<Self, Error> {
        let memory = PathBuf::from(Self::PLACE);
        fs::create_dir_all(&memory).map_err(file("create", &memory))?;
        mount::mount("tmpfs", &memory, "tmpfs", Options::default(), "mode=0755,size=50%")?;
        let mut stage = Self { root: memory.join("root"), memory, bound: None };
        let [upper, work] = ["upper", "work"].map(|name| stage.memory.join(name));
        for folder in [&stage.root, &upper, &work] {
            fs::create_dir_all(folder).map_err(file("create", folder))?;
        }
        let data = format!(
            "lowerdir={},upperdir={},workdir={}",
            sysroot.display(),
            upper.display(),
            work.display()
        );
        mount::mount("overlay", &stage.root, "overlay", Options::default(), &data)?;
        let mut bound = Bound::kernel(&stage.root)?;
        let oem = stage.root.join("oem");
        if oem.is_dir() {
            bound.show(&sysroot.join("oem"), oem)?;
        }
        stage.bound = Some(bound);
        let future = stage.root.join("sysroot");
        fs::create_dir_all(&future).map_err(file("create", &future))?;
        // What a command mounts below `/sysroot` is to be there when the system starts.
        mount::make_shared(sysroot)?;
        mount::bind_all(sysroot, &future)?;
        Ok(stage)
    }
}

impl Drop for StageRoot {
    fn drop(&mut self) {
        // Apart first: taking one away must not take away what is mounted below the other.
        for place in [Path::new(SYSROOT), &self.root.join("sysroot")] {
            let _ = mount::make_private(place);
        }
        self.bound = None;
        for place in [&self.root, &self.memory] {
            let _ = mount::detach(place);
        }
    }
}
