//! The end: moves the kernel's file systems into the root, frees the initramfs, becomes systemd.

use crate::Error;
use crate::console::note_time;
use crate::root::SYSROOT;
use kiln_sys::mount;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

/// What a root may be started with, in the order of preference.
const PROGRAMS: [&str; 4] =
    ["/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/sbin/init", "/usr/sbin/init"];
/// Links inside the root that are followed to the program.
const LINKS_MAXIMUM: usize = 40;

/// The program to start: `init=` alone if it is given, else the first of the usual ones.
pub(crate) fn choose(sysroot: &Path, wanted: Option<&str>) -> Result<String, Error> {
    let runs = |program: &str| is_program(sysroot, program);
    match wanted {
        Some(program) if runs(program) => Ok(program.to_owned()),
        Some(program) => Err(Error::Image(format!("the program {program} named by init="))),
        None => PROGRAMS
            .iter()
            .find(|program| runs(program))
            .map(|program| (*program).to_owned())
            .ok_or_else(|| {
                Error::Image(format!("a first process (none of {})", PROGRAMS.join(", ")))
            }),
    }
}

/// Whether a path inside the root leads to an executable file. Links are followed as they will be
/// seen from inside: absolute ones start at the root.
fn is_program(sysroot: &Path, program: &str) -> bool {
    let mut path = program.trim_start_matches('/').to_owned();
    for _ in 0..LINKS_MAXIMUM {
        let full = sysroot.join(&path);
        match fs::read_link(&full) {
            Ok(target) => {
                let target = target.to_string_lossy().into_owned();
                path = match target.strip_prefix('/') {
                    Some(absolute) => absolute.to_owned(),
                    None => match path.rsplit_once('/') {
                        Some((folder, _)) => format!("{folder}/{target}"),
                        None => target,
                    },
                };
            }
            Err(_) => {
                return fs::metadata(&full).is_ok_and(|metadata| {
                    use std::os::unix::fs::PermissionsExt;
                    metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
                });
            }
        }
    }
    false
}

/// Leaves for good; returns only an error.
pub(crate) fn leave(program: &str) -> Result<std::convert::Infallible, Error> {
    let sysroot = Path::new(SYSROOT);
    for name in ["dev", "proc", "sys", "run"] {
        let target = sysroot.join(name);
        if !target.is_dir() {
            return Err(Error::Image(format!("the folder /{name}")));
        }
    }
    note_time("handing over at");
    for name in ["dev", "proc", "sys", "run"] {
        mount::move_to(&Path::new("/").join(name), &sysroot.join(name))?;
    }
    kiln_sys::switch_root::switch_root(sysroot)?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let name = if program.ends_with("systemd") { "/sbin/init" } else { program };
    let path = Path::new(program);
    Err(kiln_sys::process::become_program(path, OsStr::new(name), &arguments, &environment).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn the_first_process_is_found_through_links_of_the_root() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        assert!(choose(root.path(), None).is_err());
        fs::create_dir_all(at("usr/lib/systemd")).unwrap();
        fs::create_dir_all(at("usr/sbin")).unwrap();
        fs::write(at("usr/lib/systemd/systemd"), b"x").unwrap();
        assert!(choose(root.path(), None).is_err(), "not executable");
        fs::set_permissions(at("usr/lib/systemd/systemd"), fs::Permissions::from_mode(0o755))
            .unwrap();
        symlink("/usr/lib/systemd/systemd", at("usr/sbin/absolute")).unwrap();
        symlink("../lib/systemd/systemd", at("usr/sbin/relative")).unwrap();
        symlink("loop", at("usr/sbin/loop")).unwrap();
        assert_eq!(choose(root.path(), None).unwrap(), "/usr/lib/systemd/systemd");
        for (program, found) in [
            ("/usr/sbin/absolute", true),
            ("/usr/sbin/relative", true),
            ("/usr/sbin/loop", false),
            ("/usr/sbin/none", false),
            ("/usr", false),
        ] {
            assert_eq!(choose(root.path(), Some(program)).is_ok(), found, "{program}");
        }
    }
}
