//! Where things are on a machine, all in one place; below another folder in tests.

use std::path::{Path, PathBuf};

/// The paths that this crate reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Facts of this boot, as the first process left them: `key=value` lines.
    pub facts: PathBuf,
    /// Says that this boot was blessed, to the deadline and to whoever wants to know.
    pub blessed: PathBuf,
    /// What failed in the health checks of this boot.
    pub health_failure: PathBuf,
    /// What people read when they log in.
    pub motd: PathBuf,
    /// The folder of the ledger.
    pub ledger: PathBuf,
    /// Downloaded layers, until the upgrade that needs them is done.
    pub cache: PathBuf,
    /// How the running root was made.
    pub recipe: PathBuf,
    /// Folders of health checks; a later one overrides the same name in an earlier one.
    pub health_checks: Vec<PathBuf>,
    /// Credentials for registries that belong to the machine and not to a person.
    pub credentials: PathBuf,
    /// Block devices, partitions included.
    pub block_devices: PathBuf,
    /// What stands for `/dev`.
    pub devices: PathBuf,
}

impl Paths {
    /// The usual places below `root`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self {
            facts: root.join("run/kiln/boot"),
            blessed: root.join("run/kiln/blessed"),
            health_failure: root.join("run/kiln/health-failure"),
            motd: root.join("run/motd.d/50-kiln"),
            ledger: root.join("state/kiln"),
            cache: root.join("state/kiln/cache"),
            recipe: root.join(kiln_build::recipe::PATH),
            health_checks: vec![root.join("usr/lib/kiln/health.d"), root.join("etc/kiln/health.d")],
            credentials: root.join("etc/kiln/auth.json"),
            block_devices: root.join("sys/class/block"),
            devices: root.join("dev"),
        }
    }

    /// Where the node is that the kernel calls `/dev/…`.
    #[must_use]
    pub fn node(&self, name: &str) -> String {
        match name.strip_prefix("/dev/") {
            Some(rest) => self.devices.join(rest).to_string_lossy().into_owned(),
            None => name.to_owned(),
        }
    }
}

impl Default for Paths {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Paths;

    #[test]
    fn the_usual_places_are_those_of_other_programs() {
        let paths = Paths::default();
        // The first process, units and pam_motd know these by their names.
        for (path, expected) in [
            (&paths.facts, "/run/kiln/boot"),
            (&paths.blessed, "/run/kiln/blessed"),
            (&paths.motd, "/run/motd.d/50-kiln"),
            (&paths.recipe, "/usr/lib/kiln/recipe.json"),
            (&paths.ledger, "/state/kiln"),
        ] {
            assert_eq!(path, Path::new(expected));
        }
        assert_eq!(paths.node("/dev/mapper/x"), "/dev/mapper/x");
        let below = Paths::below(Path::new("/tmp/m"));
        assert_eq!(below.node("/dev/vda"), "/tmp/m/dev/vda");
    }
}
