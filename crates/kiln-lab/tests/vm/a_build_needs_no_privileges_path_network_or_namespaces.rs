//! Promise: a build needs no privileges, no program in PATH, no network, no device and no
//! namespaces, and what it writes is what root would have got.
//!
//! The build runs as uid 65534 in a sandbox that has none of these things: no capabilities, the
//! limits of new namespaces are used up, /dev is empty, and the only network interface is down. The
//! sandbox is itself made of namespaces, which only the test needs.

mod files;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use files::digests;
use kiln_lab::debian::Debian;
use kiln_lab::{Cache, Error, Failure, Oracle, WorkDirectory, product};

/// The user without any rights on every Linux system: `nobody`.
const NOBODY: u32 = 65_534;

/// Runs `"$@"` with nothing to lean on. Limits of namespaces are those of a user namespace, so the
/// first one carries them, and the second, the one that may still be made, has no rights in it. All
/// of it must succeed: a sandbox with a hole would prove nothing.
const SANDBOX: &str = r#"set -e
mount -t tmpfs -o ro,mode=755 tmpfs /dev
for kind in cgroup ipc mnt net pid uts; do
    echo 0 > /proc/sys/user/max_${kind}_namespaces
done
echo 1 > /proc/sys/user/max_user_namespaces
exec unshare --user --map-user=65534 --map-group=65534 -- \
    setpriv --no-new-privs --inh-caps=-all -- "$@""#;

/// Succeeds when the sandbox has a hole: a device, a namespace, a right or a network.
const HOLE: &str = "test -e /dev/loop-control || test -e /dev/null || unshare --user true \
    || unshare --mount true || test $(id -u) = 0 || grep -q 'CapEff:.*[1-9a-f]' /proc/self/status \
    || test $(wc -l < /proc/net/route) -gt 1";

#[test]
fn a_build_needs_no_privileges_path_network_or_namespaces() -> Result<(), Failure> {
    let work = WorkDirectory::new("unprivileged")?;
    let image = Debian::get(&Cache::open()?)?.image();
    // Everything that the build reads must be readable by others, which a home folder is not.
    let ours = work.join("image.tar");
    let binary = work.join("kiln");
    let named =
        std::env::var_os(product::VARIABLE).ok_or(Error::Unset { variable: product::VARIABLE })?;
    place(&image, &ours, 0o644)?;
    place(Path::new(&named), &binary, 0o755)?;
    mode(work.path(), 0o755)?;
    let alone = work.join("alone");
    let reference = work.join("reference");
    let is_root = fs::metadata(work.path()).map_err(error("read", work.path()))?.uid() == 0;
    fs::create_dir(&alone).map_err(error("create", &alone))?;
    if is_root {
        chown(&alone, Some(NOBODY), Some(NOBODY)).map_err(error("give away", &alone))?;
    }
    let sandboxed = || sandbox(is_root);
    sandboxed().argument("true").run()?;
    let hole = sandboxed().arguments(["sh", "-c", HOLE]).run();
    assert!(matches!(hole, Err(Error::Tool { .. })), "the sandbox has a hole");

    let build = |call: Oracle, output: &Path| {
        call.argument(&binary)
            .arguments(["build", "--format", "raw,qcow2", "--slot-size", "256MiB"])
            .arguments(["--esp-size", "128MiB", "--output"])
            .argument(output)
            .argument(format!("oci-archive:{}", ours.display()))
            .run()
    };
    build(Oracle::new("env"), &reference)?;
    build(sandboxed().arguments(["env", "-i", "PATH="]), &alone)?;

    let written = digests(&alone)?;
    assert_eq!(written.len(), 6, "root, two boot files, release and two disks: {written:?}");
    assert_eq!(written, digests(&reference)?);
    if is_root {
        for name in written.keys() {
            let path = alone.join(name);
            let owner = fs::metadata(&path).map_err(error("read", &path))?.uid();
            assert_eq!(owner, NOBODY, "{name} was not written by the sandbox");
        }
    }
    Ok(())
}

/// A call in the sandbox; its words are still to be added. Root becomes somebody else first.
fn sandbox(is_root: bool) -> Oracle {
    let ids: &[&str] = &["--reuid=65534", "--regid=65534", "--clear-groups"];
    Oracle::new("setpriv")
        .arguments(if is_root { ids } else { &[] })
        .arguments(["unshare", "--user", "--map-root-user", "--net", "--mount", "--"])
        .arguments(["sh", "-c", SANDBOX, "sandbox"])
}

fn place(from: &Path, to: &Path, bits: u32) -> Result<(), Error> {
    fs::copy(from, to).map_err(error("copy", from))?;
    mode(to, bits)
}

fn mode(path: &Path, bits: u32) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).map_err(error("open up", path))
}

fn error(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path: path.clone(), source }
}
