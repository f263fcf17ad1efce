//! Reading what systemd starts with while state is being mounted.
//!
//! The next first process begins by mapping some ten megabytes of itself and its libraries. Each page
//! has to come from the disk, be verified and be decompressed, and it would wait for them one after
//! the other; a second processor is idle meanwhile. Nothing depends on this: what is not found or
//! cannot be read is left to whoever needs it. A list made by the builder was dropped: the few names
//! are the same in every distribution, only their folders differ.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

/// Folders that may hold libraries: those of file-hierarchy(7), and one folder for each architecture
/// below the first where a distribution has such.
const FOLDERS: [&str; 2] = ["usr/lib", "usr/lib64"];
/// How the names of the libraries begin that systemd is linked against; the first two are its own.
const LIBRARIES: [&str; 16] = [
    "libsystemd-core",
    "libsystemd-shared",
    "libc.so",
    "libm.so",
    "libacl.so",
    "libaudit.so",
    "libblkid.so",
    "libcap.so",
    "libcap-ng.so",
    "libcrypt.so",
    "libkmod.so",
    "libmount.so",
    "libpam.so",
    "libpcre2-8.so",
    "libseccomp.so",
    "libselinux.so",
];

/// Reads the program and the libraries beside the caller. The thread ends with the exec of the
/// program at the latest.
pub(crate) fn start(sysroot: &Path, program: &str) {
    let files = [sysroot.join(program.trim_start_matches('/'))];
    let sysroot = sysroot.to_owned();
    // Without a thread nothing is lost but time.
    let _ = thread::Builder::new().spawn(move || {
        for path in files.into_iter().chain(libraries(&sysroot)) {
            if let Ok(mut file) = File::open(path) {
                let _ = io::copy(&mut file, &mut io::sink());
            }
        }
    });
}

/// The libraries of the root, folder by folder.
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
            if LIBRARIES.iter().any(|library| name.starts_with(library)) {
                found.push(entry.path());
            }
        }
    }
    found
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
        ];
        for path in paths.iter().chain(&[format!("{triple}/libz.so.1")]) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
        let mut found = libraries(root.path());
        found.sort();
        let mut expected: Vec<PathBuf> = paths.iter().map(|path| root.path().join(path)).collect();
        expected.sort();
        assert_eq!(found, expected);
    }
}
