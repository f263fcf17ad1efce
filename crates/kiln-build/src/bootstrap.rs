//! A container image from a distribution's packages, for those who have no Containerfile.
//!
//! Debian's own mmdebstrap does the work, also without root; which archive it reads is its own or
//! the caller's business, so no host stands here. The result is an ordinary OCI layout: nothing in
//! Kiln treats it differently from an image that somebody pulled. Dropped alternative: unpacking
//! packages ourselves. Maintainer scripts, triggers and their order are dpkg's trade.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_registry::Platform;
use kiln_registry::layout::{WriteOptions, write_oci_layout};

use crate::{Error, Progress};

/// What every bootable system needs beside its kernel.
const PACKAGES: [&str; 14] = [
    "ca-certificates",
    "dbus",
    "dosfstools",
    "e2fsprogs",
    "iproute2",
    "kmod",
    "libpam-systemd",
    "login",
    "openssh-server",
    "systemd",
    "systemd-boot-efi",
    "systemd-resolved",
    "systemd-sysv",
    "udev",
];

/// The time of files that packages do not date, in seconds since 1970. Two bootstraps from one
/// archive then differ in nothing that mmdebstrap controls.
const SOURCE_DATE_EPOCH: &str = "0";

/// Removes what each machine must make itself, and the initrd that no Kiln system reads.
const CLEAN: &str = r#"rm -f "$1"/etc/ssh/ssh_host_* "$1"/boot/initrd* "$1"/initrd.img* "$1"/vmlinuz "$1"/vmlinuz.old"#;

/// Most bytes of mmdebstrap's messages that are kept for an error.
const MESSAGES_MAX: u64 = 1 << 20;

/// What to bootstrap.
#[derive(Debug, Clone)]
pub struct BootstrapOptions {
    /// The suite: `trixie`, `stable`.
    pub suite: String,
    /// Packages beyond a bootable minimum. One that begins with `linux-image-` replaces the kernel.
    pub packages: Vec<String>,
    /// The architecture in Debian's words: `amd64`, `arm64`.
    pub architecture: String,
    /// An archive or a line of sources.list, where not mmdebstrap's own choice.
    pub mirror: Option<String>,
    /// The folder for the OCI layout; must not exist.
    pub output: PathBuf,
}

/// Makes the image; returns its manifest digest with the algorithm.
///
/// # Errors
/// [`Error::Bootstrap`] if mmdebstrap is missing, refuses or fails, or the folder exists.
pub fn bootstrap(options: &BootstrapOptions, progress: &mut dyn Progress) -> Result<String, Error> {
    check(options)?;
    if options.output.exists() {
        return Err(failed(format!("{} exists already", options.output.display())));
    }
    let unfinished = unfinished(&options.output);
    let folder = options.output.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|source| Error::write(folder, source))?;
    let mut tree = tempfile::tempfile_in(folder).map_err(|source| Error::write(folder, source))?;
    progress.detail("mmdebstrap resolves, downloads and installs");
    run(options, &tree)?;
    tree.rewind().map_err(|source| Error::read(folder, source))?;
    let write_options = WriteOptions {
        platform: Platform::linux(&options.architecture),
        reference: Some(options.suite.clone()),
        ..WriteOptions::default()
    };
    let written = write_oci_layout(&unfinished, &mut [&mut tree], &write_options);
    let digest = written.inspect_err(|_| remove(&unfinished))?;
    // The commit point: the layout has its name only when it is whole.
    std::fs::rename(&unfinished, &options.output)
        .map_err(|source| Error::write(&options.output, source))?;
    Ok(digest.to_string())
}

/// The arguments of mmdebstrap.
fn arguments(options: &BootstrapOptions) -> Vec<String> {
    let mut packages: Vec<String> = PACKAGES.iter().map(|&name| name.to_owned()).collect();
    if !options.packages.iter().any(|name| name.starts_with("linux-image-")) {
        packages.push(format!("linux-image-{}", options.architecture));
    }
    packages.extend(options.packages.iter().cloned());
    packages.sort();
    packages.dedup();
    let mut arguments = vec![
        "--quiet".to_owned(),
        "--variant=minbase".to_owned(),
        "--format=tar".to_owned(),
        format!("--architectures={}", options.architecture),
        "--aptopt=APT::Install-Recommends \"false\"".to_owned(),
        format!("--include={}", packages.join(",")),
        format!("--customize-hook={CLEAN}"),
        options.suite.clone(),
        "-".to_owned(),
    ];
    arguments.extend(options.mirror.clone());
    arguments
}

/// Words that could be taken for options or lists are refused before anything runs.
fn check(options: &BootstrapOptions) -> Result<(), Error> {
    let words = options.packages.iter().chain([&options.suite, &options.architecture]);
    let is_word = |word: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.:=~/_".contains(&byte);
        word.starts_with(|first: char| first.is_ascii_alphanumeric()) && word.bytes().all(allowed)
    };
    for word in words {
        if !is_word(word) {
            return Err(failed(format!("`{word}` is no name of a suite, package or architecture")));
        }
    }
    Ok(())
}

fn run(options: &BootstrapOptions, tree: &File) -> Result<(), Error> {
    let output = tree.try_clone().map_err(|source| failed(source.to_string()))?;
    let mut child = Command::new("mmdebstrap")
        .args(arguments(options))
        .env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Debian's hook then makes no initrd: Kiln makes its own.
        .env("INITRD", "No")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::MissingTool { tool: "mmdebstrap", source })?;
    let mut messages = Vec::new();
    if let Some(mut pipe) = child.stderr.take() {
        let read = pipe.by_ref().take(MESSAGES_MAX).read_to_end(&mut messages);
        // What is beyond the bound is read and dropped, or the child would wait for ever.
        read.and_then(|_| std::io::copy(&mut pipe, &mut std::io::sink()))
            .map_err(|source| failed(format!("mmdebstrap's messages are lost: {source}")))?;
    }
    let status = child.wait().map_err(|source| failed(source.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let messages = String::from_utf8_lossy(&messages);
    let last: Vec<&str> = messages.lines().rev().take(5).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    let foreign = Platform::linux(&options.architecture) != Platform::host();
    Err(Error::Bootstrap {
        reason: format!("mmdebstrap ended with {status}:\n  {}", last.join("\n  ")),
        foreign: foreign.then(|| options.architecture.clone()),
    })
}

fn failed(reason: String) -> Error {
    Error::Bootstrap { reason, foreign: None }
}

fn unfinished(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".kiln-unfinished-{}", std::process::id()));
    output.with_file_name(name)
}

/// Removes a layout that did not become whole; the error that led here is the one to tell.
fn remove(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}

#[cfg(test)]
mod tests {
    use super::{BootstrapOptions, arguments, check};

    fn options(packages: &[&str]) -> BootstrapOptions {
        BootstrapOptions {
            suite: "trixie".into(),
            packages: packages.iter().map(|&name| name.to_owned()).collect(),
            architecture: "arm64".into(),
            mirror: None,
            output: "out".into(),
        }
    }

    #[test]
    fn there_is_exactly_one_kernel() {
        let cases: [(&[&str], &str); 2] = [
            (&["vim"], "linux-image-arm64"),
            (&["linux-image-cloud-arm64"], "linux-image-cloud-arm64"),
        ];
        for (packages, kernel) in cases {
            let arguments = arguments(&options(packages));
            let include = arguments.iter().find(|text| text.starts_with("--include=")).unwrap();
            let kernels: Vec<&str> =
                include.split([',', '=']).filter(|name| name.starts_with("linux-image")).collect();
            assert_eq!(kernels, [kernel]);
        }
    }

    #[test]
    fn words_that_are_no_names_are_refused() {
        assert!(check(&options(&["libstdc++6", "bash/trixie", "bash=5.2-1"])).is_ok());
        for bad in ["--mode=root", "a,b", "a b", "", "$(x)"] {
            assert!(check(&options(&[bad])).is_err(), "{bad}");
        }
    }
}
