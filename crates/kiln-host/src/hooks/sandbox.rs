//! The place in which hooks run: the new root with an `/etc` and a `/var` that go to its generation.
//!
//! All of it is mounted in a namespace of the thread that asks for it, and loop devices free themselves,
//! so that a crash leaves nothing behind. The new root is mounted without dm-verity: it was read back and
//! proved a moment ago, and a mapped device would outlive a crash and keep the slot busy.
//!
//! | in the new root | is |
//! |---|---|
//! | `/` | the release's, read-only |
//! | `/etc` | an overlay; what is written waits in the state until the release starts ([`kiln_etc::hook`]) |
//! | `/var` | that of the state; before a reset a new one that takes its place |
//! | `/oem` | that of the state |
//! | `/dev`, `/proc`, `/sys`, `/run` | the running system's |
//! | `/tmp` | memory |

use std::fs;
use std::path::{Path, PathBuf};

use kiln_etc::hook::{self, Layer};
use kiln_etc::release::release_name;
use kiln_etc::{copy, format};
use kiln_sys::loopback::{Temporary, attach_temporarily};
use kiln_sys::mount::{self, Options};
use kiln_sys::namespace;

use super::{Extent, RootPlace, StatePlace, Written};
use crate::Error;
use crate::machine::Paths;

mod state;

/// Options of the overlay, as the first process mounts its own.
const OVERLAY: &str = "index=off,metacopy=off,redirect_dir=off";
/// Where all of it is, both here and in the new root.
const FOLDER: &str = "run/kiln/hooks";
/// Where Elemental shows the partition for persistent data to its hooks.
const ELEMENTAL: &str = "run/elemental/persistent";
/// Bytes of a sector of a slot that is a file and no device.
const FILE_SECTOR: u32 = 512;

/// A prepared place. Dropping it leaves the mounts to the end of the thread and of what it started.
#[derive(Debug)]
pub struct Sandbox {
    folder: PathBuf,
    root: Option<PathBuf>,
    state: Option<PathBuf>,
    var: Option<PathBuf>,
    layer: Option<Layer>,
    /// Whether what was written is kept only after the commit point.
    waits: bool,
    /// Mount points, in the order in which they were made.
    mounted: Vec<PathBuf>,
    /// Loop devices, freed behind the mounts.
    devices: Vec<Temporary>,
    notes: Vec<String>,
}

/// What hooks wrote for after a reset, which must not be there without the reset.
#[derive(Debug)]
pub struct Pending {
    layer: Option<Layer>,
    /// The state, if a `/var` is prepared in it.
    var: Option<PathBuf>,
}

impl Pending {
    /// Keeps it for the next start.
    ///
    /// # Errors
    /// [`Error::Etc`]; that part is not kept.
    pub fn keep(self) -> Result<(), Error> {
        if let Some(layer) = self.layer {
            layer.keep()?;
        }
        Ok(self.var.map_or(Ok(()), |state| hook::keep_var(&state))?)
    }
}

impl Sandbox {
    /// Gives the calling thread mounts of its own, with an empty folder for tools, the new root and its
    /// state.
    ///
    /// # Errors
    /// Mounting is not allowed, or the new root or its state cannot be mounted.
    pub fn open(paths: &Paths, written: &Written<'_>) -> Result<Self, Error> {
        namespace::own_mounts()?;
        let folder = paths.facts.with_file_name("hooks");
        make(&folder)?;
        mount::mount("tmpfs", &folder, "tmpfs", Options::default(), "mode=0755,size=16m")?;
        let mut made = Self {
            mounted: vec![folder.clone()],
            folder,
            root: None,
            state: None,
            var: None,
            layer: None,
            waits: false,
            devices: Vec::new(),
            notes: Vec::new(),
        };
        make(&made.tools())?;
        made.mount_root(paths, &written.root)?;
        made.open_state(paths, written)?;
        made.furnish()?;
        Ok(made)
    }

    /// The folder for tools, which the new root shows at [`Sandbox::tools_inside`].
    #[must_use]
    pub fn tools(&self) -> PathBuf {
        self.folder.join("tools")
    }

    /// The folder for tools as the new root sees it.
    #[must_use]
    pub fn tools_inside() -> PathBuf {
        Path::new("/").join(FOLDER).join("tools")
    }

    /// Shows a program of the running system in the folder for tools; it works inside, too, if it needs no
    /// library.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn show_program(&mut self, program: &Path, name: &str) -> Result<(), Error> {
        let target = self.tools().join(name);
        fs::write(&target, b"").map_err(|source| Error::file("write", &target, source))?;
        self.bind(program, target, false)?;
        if let Some(root) = self.root.clone() {
            let inside = root.join(FOLDER).join("tools");
            make(&inside)?;
            self.bind(&self.tools(), inside, true)?;
        }
        Ok(())
    }

    /// The new root.
    #[must_use]
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// The state of the new system.
    #[must_use]
    pub fn state(&self) -> Option<&Path> {
        self.state.as_deref()
    }

    /// The `/var` of the new system.
    #[must_use]
    pub fn var(&self) -> Option<&Path> {
        self.var.as_deref()
    }

    /// The state as the new root sees it.
    #[must_use]
    pub fn state_inside() -> PathBuf {
        Path::new("/").join(FOLDER).join("state")
    }

    /// Sentences about what is not as usual.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Takes everything away and keeps what was written, or gives it back where it must wait for the
    /// commit point.
    ///
    /// # Errors
    /// What was written cannot be kept, or not be written back.
    pub fn close(mut self) -> Result<Option<Pending>, Error> {
        // Whatever still runs holds a mount of its own until it ends.
        while let Some(target) = self.mounted.pop() {
            if Some(&target) == self.state.as_ref() {
                self.mounted.push(target);
                break;
            }
            unmount(&target);
        }
        let layer = self.layer.take();
        if self.waits {
            let var = self.var.take().and(self.state.take());
            return Ok(Some(Pending { layer, var }));
        }
        if let Some(layer) = layer {
            layer.keep()?;
        }
        if let Some(state) = &self.state {
            kiln_sys::machine::write_back_file_system(state)?;
        }
        while let Some(target) = self.mounted.pop() {
            unmount(&target);
        }
        Ok(None)
    }

    fn mount_root(&mut self, paths: &Paths, place: &RootPlace<'_>) -> Result<(), Error> {
        let root = self.folder.join("root");
        make(&root)?;
        let options = Options { read_only: true, ..Options::default() };
        match place {
            // Without the mounts on it: as the release has it.
            RootPlace::Running => {
                let running = paths.devices.parent().unwrap_or(Path::new("/"));
                namespace::bind_read_only(running, &root)?;
            }
            RootPlace::Extent(extent) => {
                let node = self.attach(extent, false)?;
                mount::mount(&node, &root, "erofs", options, "")?;
            }
            RootPlace::Partition(node) => {
                let metadata = fs::metadata(node).map_err(Error::device("look at", node))?;
                let node = if metadata.is_file() {
                    let disk = fs::File::open(node).map_err(Error::device("open", node))?;
                    let length = metadata.len();
                    let sector_size = FILE_SECTOR;
                    self.attach(&Extent { disk: &disk, sector_size, offset: 0, length }, false)?
                } else {
                    (*node).to_owned()
                };
                mount::mount(&node, &root, "erofs", options, "")?;
            }
        }
        self.mounted.push(root.clone());
        self.root = Some(root);
        Ok(())
    }

    /// A device for a part of a disk, as long as this lives.
    fn attach(&mut self, extent: &Extent<'_>, is_writable: bool) -> Result<String, Error> {
        let Extent { disk, sector_size, offset, length } = *extent;
        let device = attach_temporarily(disk, offset, length, sector_size, is_writable)?;
        let node = device.node().to_owned();
        self.devices.push(device);
        Ok(node)
    }

    /// Finds or makes state, `/var` and the layer of `/etc`.
    fn open_state(&mut self, paths: &Paths, written: &Written<'_>) -> Result<(), Error> {
        let Some(root) = self.root.clone() else { return Ok(()) };
        let state = match written.state {
            StatePlace::Own | StatePlace::Forgotten { .. } | StatePlace::Formatted => {
                paths.state.clone()
            }
            StatePlace::Extent { extent, is_new } => {
                let node = self.attach(&extent, true)?;
                if is_new {
                    self.notes.extend(state::make(&node, &root)?);
                }
                let target = self.folder.join("state");
                make(&target)?;
                mount::mount(&node, &target, "ext4", Options::default(), "")?;
                self.mounted.push(target.clone());
                format::migrate(&target)?;
                target
            }
        };
        let var = state.join("var");
        self.var = Some(match written.state {
            StatePlace::Forgotten { kept } if !kept.iter().any(|path| path == "/var") => {
                hook::begin_var(&state, &root.join("var"))?
            }
            _ => {
                let factory = root.join("var");
                if !var.is_dir() && factory.is_dir() {
                    copy::folder(&factory, &var, &|_| false)?;
                }
                var
            }
        });
        self.waits = matches!(written.state, StatePlace::Forgotten { .. });
        let etc = root.join("etc");
        if etc.is_dir() {
            let release = release_name(written.root_hash);
            self.layer = Some(Layer::begin(&state, &release, &etc)?);
        }
        make(&state.join("oem"))?;
        self.state = Some(state);
        Ok(())
    }

    /// Mounts what the new root lacks.
    fn furnish(&mut self) -> Result<(), Error> {
        let (Some(root), Some(state)) = (self.root.clone(), self.state.clone()) else {
            return Ok(());
        };
        for (folder, is_whole) in [("dev", true), ("proc", false), ("sys", true), ("run", false)] {
            if root.join(folder).is_dir() {
                self.bind(&Path::new("/").join(folder), root.join(folder), is_whole)?;
            }
        }
        let temporary = root.join("tmp");
        if temporary.is_dir() {
            mount::mount("tmpfs", &temporary, "tmpfs", Options::default(), "mode=1777")?;
            self.mounted.push(temporary);
        }
        if let Some(layer) = &self.layer {
            let etc = root.join("etc");
            let data = format!(
                "lowerdir={}:{},upperdir={},workdir={},{OVERLAY}",
                layer.seen().display(),
                etc.display(),
                layer.upper().display(),
                layer.work().display()
            );
            mount::mount("overlay", &etc, "overlay", Options::default(), &data)?;
            self.mounted.push(etc);
        }
        let var = self.var.clone().unwrap_or_else(|| state.join("var"));
        for (source, folder) in [(var, "var"), (state.join("oem"), "oem")] {
            if root.join(folder).is_dir() {
                self.bind(&source, root.join(folder), false)?;
            }
        }
        for folder in [format!("{FOLDER}/state"), ELEMENTAL.to_owned()] {
            let inside = root.join(folder);
            make(&inside)?;
            self.bind(&state, inside, false)?;
        }
        Ok(())
    }

    fn bind(&mut self, source: &Path, target: PathBuf, is_whole: bool) -> Result<(), Error> {
        if is_whole {
            mount::bind_all(source, &target)?
        } else {
            mount::bind(source, &target)?
        }
        self.mounted.push(target);
        Ok(())
    }
}

/// Unmounts, or takes out of the tree what something still uses.
fn unmount(target: &Path) {
    // Nothing is left to do if neither works: the namespace ends with the thread.
    let _ = mount::unmount(target).or_else(|_| mount::detach(target));
}

fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|source| Error::file("make", folder, source))
}
