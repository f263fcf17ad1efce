//! The systems that a machine is upgraded between: one Debian at three ages, as registries hold it.
//!
//! They are real: the archive's last point release, the same with all updates since, and with all but
//! those of the kernel. Each is one layer, compressed with zstd by skopeo, because an image that is
//! built anew from newer packages shares no layer with the one before. Between a point release and
//! the first updates after it there is nothing to measure; that is said, not papered over.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_lab::cache::Entry;
use kiln_lab::debian::{self, Age};
use kiln_lab::{Cache, Oracle, oci};

use crate::bench::lab_error;

/// What machines run before.
pub(super) const OLD: Image =
    Image { tag: "released", age: Age::Released, created: "2026-01-01T00:00:00Z" };

/// What they run then.
pub(super) const NEW: [Image; 2] = [
    Image { tag: "updated", age: Age::Current, created: "2026-02-01T00:00:00Z" },
    Image { tag: "userland", age: Age::CurrentButKernel, created: "2026-02-01T00:00:00Z" },
];

/// One of the systems.
#[derive(Debug, Clone, Copy)]
pub(super) struct Image {
    /// Its tag in the registry, and its name in the tables.
    pub(super) tag: &'static str,
    age: Age,
    /// When it says that it was created, which orders the releases.
    created: &'static str,
}

impl Image {
    /// Takes its OCI layout from the cache or makes it: about a minute and 90 MB.
    pub(super) fn get(&self, cache: &Cache) -> Result<Layout, kiln_lab::Error> {
        let recipe = [debian::recipe(self.age), vec![self.created.to_owned()]].concat();
        let inputs: Vec<&[u8]> = recipe.iter().map(|input| input.as_bytes()).collect();
        let kind = format!("bench-upgrade-{}", self.tag);
        let entry = cache.get(&kind, &inputs, |folder| self.make(folder))?;
        cache.prune(&kind, &entry)?;
        Ok(Layout(entry))
    }

    fn make(&self, folder: &Path) -> Result<(), kiln_lab::Error> {
        let (tree, plain) = (folder.join("rootfs.tar"), folder.join("plain.tar"));
        debian::bootstrap(self.age, &tree)?;
        oci::write_archive(&tree, "amd64", Some(self.created), &plain)?;
        Oracle::new("skopeo")
            .argument("--insecure-policy")
            .argument("--tmpdir")
            .argument(folder)
            .arguments(["copy", "--quiet", "--dest-compress-format=zstd"])
            .argument(format!("oci-archive:{}:{}", plain.display(), oci::TAG))
            .argument(format!("oci:{}:{}", folder.join("layout").display(), self.tag))
            .run()?;
        for path in [tree, plain] {
            fs::remove_file(&path).map_err(lab_error("remove", &path))?;
        }
        Ok(())
    }
}

/// An OCI layout in the cache.
#[derive(Debug)]
pub(super) struct Layout(Entry);

impl Layout {
    pub(super) fn path(&self) -> PathBuf {
        self.0.path().join("layout")
    }
}
