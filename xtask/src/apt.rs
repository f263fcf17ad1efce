//! Installing Debian packages where a plain `apt-get install` does not get through.
//!
//! A Debian that took qemu-utils from backports cannot install qemu-system-x86 from the release:
//! both need qemu-system-common in exactly their own version, and apt gives up with "held broken
//! packages". Then the packages are taken from backports as well. If backports are not configured, a
//! separate sources list is added that names the same archive as the computer's own list, so that
//! mirrors and proxies stay as they are. No archive is ever named here.
//!
//! A program that only a later release has comes from there in the same way. That release is added
//! with so low a priority that nothing else is ever taken from it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::error::{Error, file_error};
use crate::run;

/// The first release with all programs that [`install_later`] is asked for.
const LATER_RELEASE: &str = "trixie";

/// The sources list of that release, and what keeps all else from coming from there.
const LATER_SOURCES: &str = "/etc/apt/sources.list.d/kiln-later.sources";
const LATER_PREFERENCES: &str = "/etc/apt/preferences.d/kiln-later";

/// What apt says when versions exclude each other.
const CONFLICT: &str = "held broken packages";

/// The added sources list; removing it undoes the change.
const SOURCES: &str = "/etc/apt/sources.list.d/kiln-backports.sources";

/// Installs packages, from backports if the release's do not fit what is installed.
pub(crate) fn install(packages: &[&str]) -> Result<(), Error> {
    match try_run(apt_get().args(INSTALL).args(packages))? {
        None => return Ok(()),
        Some(output) if !output.contains(CONFLICT) => {
            return Err(Error::Packages { command: "apt-get install".into(), output });
        }
        Some(_) => {}
    }
    let release = fs::read_to_string("/etc/os-release")
        .map_err(file_error("read", Path::new("/etc/os-release")))?;
    let Some(codename) = codename(&release) else {
        return Err(Error::NoPackageManager { missing: packages.join(" ") });
    };
    let backports = format!("{codename}-backports");
    println!("the release's packages do not fit those installed: trying {backports}");
    ensure_suite(codename, &backports, SOURCES)?;
    match try_run(apt_get().args(INSTALL).args(["-t", &backports]).args(packages))? {
        None => Ok(()),
        Some(output) => {
            Err(Error::Packages { command: format!("apt-get install -t {backports}"), output })
        }
    }
}

/// Installs packages that this computer's release may not have, from [`LATER_RELEASE`] then.
pub(crate) fn install_later(packages: &[&str]) -> Result<(), Error> {
    let (is_known, _) =
        run::captured(Command::new("apt-cache").args(["show", "--quiet"]).args(packages))?;
    if !is_known {
        let release = fs::read_to_string("/etc/os-release")
            .map_err(file_error("read", Path::new("/etc/os-release")))?;
        let Some(codename) = codename(&release) else {
            return Err(Error::NoPackageManager { missing: packages.join(" ") });
        };
        fs::write(LATER_PREFERENCES, preferences(LATER_RELEASE))
            .map_err(file_error("write", Path::new(LATER_PREFERENCES)))?;
        ensure_suite(codename, LATER_RELEASE, LATER_SOURCES)?;
    }
    install(packages)
}

/// Below 100, so that an installed version of any other release wins (apt_preferences(5)).
fn preferences(suite: &str) -> String {
    format!("Package: *\nPin: release n={suite}\nPin-Priority: 50\n")
}

/// Refreshes the lists of packages.
pub(crate) fn update() -> Result<(), Error> {
    run::run(apt_get().args(["-q", "update"]))
}

/// Which of these packages are not installed.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>, Error> {
    let mut missing = Vec::new();
    for package in packages {
        let mut query = Command::new("dpkg-query");
        let (_, text) = run::captured(query.args(["-W", "-f", "${Status}", package]))?;
        if !text.starts_with("install ok installed") {
            missing.push(*package);
        }
    }
    Ok(missing)
}

const INSTALL: [&str; 4] = ["install", "-q", "-y", "--no-install-recommends"];

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // Conflicts are recognised by apt's words, so they must not be translated.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
    command
}

/// Runs apt; nothing when it succeeded, else what it wrote.
fn try_run(command: &mut Command) -> Result<Option<String>, Error> {
    println!("$ {}", run::told(command));
    let (succeeded, output) = run::captured(command)?;
    Ok((!succeeded).then_some(output))
}

/// Adds a suite of the archive that the release comes from, unless it is known.
fn ensure_suite(codename: &str, suite: &str, list: &str) -> Result<(), Error> {
    let mut query = Command::new("apt-get");
    query.args(["indextargets", "--format", "$(CODENAME) $(SITE)", "Created-By: Packages"]);
    let (_, targets) = run::captured(&mut query)?;
    if targets.lines().any(|line| line.split(' ').next() == Some(suite)) {
        return Ok(());
    }
    let Some(archive) = archive_of(&targets, codename) else {
        return Err(Error::Packages { command: "apt-get indextargets".into(), output: targets });
    };
    println!("adding {suite} of the configured archive as {list}");
    fs::write(list, sources(archive, suite)).map_err(file_error("write", Path::new(list)))?;
    update()
}

/// The archive that the release itself comes from, in lines of `codename archive`.
fn archive_of<'a>(targets: &'a str, codename: &str) -> Option<&'a str> {
    targets
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(found, _)| *found == codename)
        .map(|(_, archive)| archive)
}

fn sources(archive: &str, suite: &str) -> String {
    format!(
        "Types: deb\nURIs: {archive}\nSuites: {suite}\nComponents: main\n\
         Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )
}

fn codename(os_release: &str) -> Option<&str> {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"'))
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backports_come_from_the_configured_archive() {
        let targets = "other file:/elsewhere/\nbase-updates http://mirror.test/u\n\
                       base http://mirror.test/debian/\n";
        assert_eq!(archive_of(targets, "base"), Some("http://mirror.test/debian/"));
        assert_eq!(archive_of(targets, "none"), None);
        let text = sources("http://mirror.test/debian/", "base-backports");
        assert!(text.contains("URIs: http://mirror.test/debian/\nSuites: base-backports\n"));
    }

    #[test]
    fn a_later_release_is_never_preferred() {
        assert!(preferences("next").contains("Pin: release n=next\nPin-Priority: 50\n"));
    }

    #[test]
    fn the_codename_is_read() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n"), Some("bookworm"));
        assert_eq!(codename("VERSION_CODENAME=\"noble\""), Some("noble"));
        assert_eq!(codename("VERSION_CODENAME=\n"), None);
        assert_eq!(codename("ID=arch"), None);
    }
}
