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
    /// Why the configuration of this boot failed.
    pub provisioning_failure: PathBuf,
    /// What of this boot can be written, and what of that stays (`kiln_etc::mounts`).
    pub writable: PathBuf,
    /// What people read when they log in.
    pub motd: PathBuf,
    /// What people read before they log in, where something is wrong.
    pub issue: PathBuf,
    /// The folder of the ledger.
    pub ledger: PathBuf,
    /// The state's root.
    pub state: PathBuf,
    /// What programs see as `/etc`.
    pub etc: PathBuf,
    /// `/etc` as the running release has it.
    pub release_etc: PathBuf,
    /// Where changes of `/etc` are that are not kept.
    pub ephemeral_etc: PathBuf,
    /// Downloaded layers, until the upgrade that needs them is done.
    pub cache: PathBuf,
    /// How the running root was made.
    pub recipe: PathBuf,
    /// Addons of the running release.
    pub addons: PathBuf,
    /// Trees with boot loaders of the running release: what its builder gave comes before the root.
    pub loader_trees: [PathBuf; 2],
    /// What says that a debug overlay is there.
    pub debug: PathBuf,
    /// Folders of health checks; a later one overrides the same name in an earlier one.
    pub health_checks: Vec<PathBuf>,
    /// The folder of policy and keys in the verified root.
    pub root_policy: PathBuf,
    /// The folder of policy and keys that the machine adds.
    pub machine_policy: PathBuf,
    /// Credentials for registries that belong to the machine and not to a person.
    pub credentials: PathBuf,
    /// Variables of the firmware.
    pub variables: PathBuf,
    /// Block devices, partitions included.
    pub block_devices: PathBuf,
    /// What is mounted (proc_pid_mountinfo(5)).
    pub mounts: PathBuf,
    /// What is swap (proc_swaps(5)).
    pub swap: PathBuf,
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
            provisioning_failure: root.join("run/kiln/provisioning-failure"),
            writable: root.join("run/kiln/mounts"),
            motd: root.join("run/motd.d/50-kiln"),
            issue: root.join("run/issue.d/60-kiln-configuration.issue"),
            ledger: root.join("state/kiln"),
            state: root.join("state"),
            etc: root.join("etc"),
            release_etc: root.join("run/kiln/etc/lower"),
            ephemeral_etc: root.join("run/kiln/etc/upper"),
            cache: root.join("state/kiln/cache"),
            recipe: root.join(kiln_build::recipe::PATH),
            addons: root.join(kiln_boot::arguments::ADDON_FOLDER),
            loader_trees: [root.join(kiln_build::recipe::BOOT_FILES), root.to_owned()],
            debug: root.join("run/kiln/debug"),
            health_checks: vec![root.join("usr/lib/kiln/health.d"), root.join("etc/kiln/health.d")],
            root_policy: root.join("usr/lib/kiln"),
            machine_policy: root.join("etc/kiln"),
            credentials: root.join("etc/kiln/auth.json"),
            variables: root.join("sys/firmware/efi/efivars"),
            block_devices: root.join("sys/class/block"),
            mounts: root.join("proc/self/mountinfo"),
            swap: root.join("proc/swaps"),
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
