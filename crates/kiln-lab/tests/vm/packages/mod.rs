//! Debian packages, unpacked and not installed.
//!
//! Programs of systemd that no other release of Debian has, and systems for another processor: both
//! need files only, and no maintainer script can run for a processor that is not here. The archive
//! is the one that the other tests' Debian comes from.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_lab::debian::SUITE;
use kiln_lab::{Cache, Error, Oracle, WorkDirectory};

/// Overrides the archive that mmdebstrap takes packages from.
const MIRROR_VARIABLE: &str = "KILN_DEBIAN_MIRROR";

/// The time of files that packages do not date, in seconds since 1970.
const EPOCH: &str = "1750000000";

/// Unpacks packages with all that they depend on into `tar`, from the cache if they were before.
/// `hook` are shell lines that run on the tree, whose folder is `$1`.
pub(crate) fn unpacked(
    architecture: &str,
    packages: &[&str],
    hook: Option<&str>,
    tar: &Path,
) -> Result<(), Error> {
    let mirror = env::var(MIRROR_VARIABLE).unwrap_or_default();
    let mut arguments = vec![
        "--variant=extract".to_owned(),
        format!("--architectures={architecture}"),
        "--aptopt=APT::Install-Recommends \"false\"".into(),
        // Without it there is no /lib; nothing depends on it, because it is essential.
        format!("--include=base-files,{}", packages.join(",")),
    ];
    for path in ["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*"] {
        arguments.push(format!("--dpkgopt=path-exclude={path}"));
    }
    arguments.extend(hook.map(|hook| format!("--extract-hook={hook}")));
    let mut inputs: Vec<&[u8]> = vec![SUITE.as_bytes(), EPOCH.as_bytes(), mirror.as_bytes()];
    inputs.extend(arguments.iter().map(|argument| argument.as_bytes()));
    // One kind for each set: pruning then drops earlier results of the same one only.
    let kind = format!("packages-{architecture}-{}", packages.first().unwrap_or(&"none"));
    let cache = Cache::open()?;
    let entry = cache.get(&kind, &inputs, |folder| {
        Oracle::new("mmdebstrap")
            .arguments(&arguments)
            .argument(SUITE)
            .argument(folder.join("tree.tar"))
            .arguments((!mirror.is_empty()).then_some(&mirror))
            .environment("SOURCE_DATE_EPOCH", EPOCH)
            .run()
            .map(drop)
    })?;
    cache.prune(&kind, &entry)?;
    let from = entry.path().join("tree.tar");
    fs::copy(&from, tar).map_err(|source| Error::File { action: "copy", path: from, source })?;
    Ok(())
}

/// systemd's own tools for boot files, of the release that the tested systems are.
#[derive(Debug)]
pub(crate) struct SystemdTools {
    tree: PathBuf,
}

impl SystemdTools {
    /// Puts them into a folder of the test.
    pub(crate) fn get(work: &WorkDirectory) -> Result<Self, Error> {
        let (tar, tree) = (work.join("tools.tar"), work.join("tools"));
        unpacked("amd64", &["systemd-boot-tools", "systemd-ukify"], None, &tar)?;
        fs::create_dir(&tree).map_err(|source| Error::File {
            action: "create",
            path: tree.clone(),
            source,
        })?;
        Oracle::new("tar")
            .arguments(["--extract", "--no-same-owner", "--exclude=./dev/*", "--file"])
            .argument(&tar)
            .argument("--directory")
            .argument(&tree)
            .run()?;
        Ok(Self { tree })
    }

    /// Lets `bootctl` look at a file.
    pub(crate) fn bootctl(&self, verb: &str, file: &Path) -> Result<String, Error> {
        self.run(&["/usr/bin/bootctl", verb], file)
    }

    /// The sections as `ukify` sees them, by name.
    pub(crate) fn ukify(&self, file: &Path) -> Result<serde_json::Value, Error> {
        // Not by its first line: `env` belongs to an essential package, which is not there.
        let words = ["/usr/bin/python3", "/usr/bin/ukify", "--json=short", "inspect"];
        let text = self.run(&words, file)?;
        serde_json::from_str(&text)
            .map_err(|_| Error::Unexpected { what: "ukify's JSON".into(), text })
    }

    /// Runs a program inside the tree, as nobody special, on a copy of the file.
    fn run(&self, words: &[&str], file: &Path) -> Result<String, Error> {
        let inside = "/boot-file.efi";
        let copy = self.tree.join(inside.trim_start_matches('/'));
        fs::copy(file, &copy).map_err(|source| Error::File {
            action: "copy",
            path: file.to_owned(),
            source,
        })?;
        Oracle::new("unshare")
            .arguments(["--user", "--map-root-user", "chroot"])
            .argument(&self.tree)
            .arguments(words)
            .argument(inside)
            .run()
    }
}
