//! Reading what systemd starts with while state is being mounted.
//!
//! The next first process begins by mapping some ten megabytes of itself and its libraries. Each page
//! has to come from the disk, be verified and be decompressed, and it would wait for them one after
//! the other; a second processor is idle meanwhile. Nothing depends on this: what is not found or
//! cannot be read is left to whoever needs it. A list made by the builder was dropped: the few names
//! are the same in every distribution, only their folders differ.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;

/// Bytes read at once: several of the root's compressed pieces, so that the kernel verifies and
/// decompresses some while others come from the disk.
const AT_ONCE: usize = 1 << 20;
/// Folders that may hold libraries: those of file-hierarchy(7), and one folder for each architecture
/// below the first where a distribution has such.
const FOLDERS: [&str; 2] = ["usr/lib", "usr/lib64"];
/// How the names of the loader and the libraries begin that systemd is linked against, in the order
/// in which they are read: the sooner needed and the more of it, the sooner. The largest is last,
/// because little of it is used.
const LIBRARIES: [&str; 21] = [
    "ld-linux",
    "libsystemd-core",
    "libsystemd-shared",
    "libc.so",
    "libapparmor.so",
    "libacl.so",
    "libaudit.so",
    "libblkid.so",
    "libcap.so",
    "libcap-ng.so",
    "libcrypt.so",
    "libkmod.so",
    "libm.so",
    "libmount.so",
    "libpam.so",
    "libpcre2-8.so",
    "libseccomp.so",
    "libselinux.so",
    "libz.so",
    "libzstd.so",
    "libcrypto.so",
];

/// Reads the program and the libraries beside the caller. The thread ends with the exec of the
/// program at the latest.
pub(crate) fn start(sysroot: &Path, program: &str) {
    let files = [sysroot.join(program.trim_start_matches('/'))];
    let sysroot = sysroot.to_owned();
    // Without a thread nothing is lost but time.
    let _ = thread::Builder::new().spawn(move || {
        let mut buffer = vec![0; AT_ONCE];
        for path in files.into_iter().chain(libraries(&sysroot)) {
            if let Ok(mut file) = File::open(path) {
                while file.read(&mut buffer).is_ok_and(|length| length > 0) {}
            }
        }
    });
}

/// The libraries of the root, in the order of the list. Links beside their targets are read twice,
/// which the second time costs nothing.
fn libraries(sysroot: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| sysroot.join(folder)).collect();
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    folders.push(sysroot.join(FOLDERS[0]).join(triple));
    let own: Vec<PathBuf> = folders.iter().map(|folder| folder.join("systemd")).collect();
    let mut found = Vec::new();
    for folder in own.iter().chain(&folders) {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if let Some(rank) = LIBRARIES.iter().position(|library| name.starts_with(library)) {
                found.push((rank, entry.path()));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_the_folders_of_distributions() {
        let root = tempfile::tempdir().unwrap();
        let triple = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let paths = [
            format!("{triple}/systemd/libsystemd-shared-257.so"),
            "usr/lib/systemd/libsystemd-core-257.so".to_owned(),
            "usr/lib64/libc.so.6".to_owned(),
            format!("{triple}/libcrypto.so.3"),
        ];
        for path in paths.iter().chain(&[format!("{triple}/libxml2.so.2")]) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
        let [shared, core, c, crypto] = paths.map(|path| root.path().join(path));
        assert_eq!(libraries(root.path()), [core, shared, c, crypto]);
    }
}
