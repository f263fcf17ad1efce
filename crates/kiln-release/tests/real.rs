//! A real system travels: the newest one that the virtual machine tests built and kept, or the
//! releases that `KILN_RELEASES` names (folders, joined by colons, oldest first).
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kiln_erofs::Profile;
use kiln_lab::registry::Registry;
use kiln_registry::{Network, Options, Platform};
use kiln_release::fetch::{Found, LocalContents, RebuildOptions, Spool, bring, lender, resolve};
use kiln_release::push::{PushOptions, ReleaseFolder, push};

fn releases() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os("KILN_RELEASES") {
        return std::env::split_paths(&named).collect();
    }
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let mut systems: Vec<PathBuf> = std::fs::read_dir(home.join(".cache/kiln"))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| ReleaseFolder::open(path).is_ok())
        .collect();
    systems.sort_by_key(|path| path.metadata().unwrap().modified().unwrap());
    systems.into_iter().last().into_iter().collect()
}

/// Peak resident memory in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

/// CPU seconds of this process.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    // Times are in hundredths of a second on every Linux (USER_HZ).
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn options(host: &str) -> Options {
    let network = Network {
        plain_http: vec![host.to_owned()],
        first_delay: Duration::from_millis(10),
        ..Network::default()
    };
    Options { platform: Platform::linux("amd64"), network, ..Options::default() }
}

/// What a machine does, in a process of its own so that its memory can be told. Its arguments come
/// in this variable: reference, folder of the new root and of the spool, folder of the old release.
const MACHINE: &str = "KILN_REAL_MACHINE";

#[expect(clippy::print_stderr, reason = "figures are what one runs it for")]
fn machine(arguments: &str) {
    let [reference, work, old] = arguments.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!() };
    let start = Instant::now();
    let reference: kiln_registry::Reference = reference.parse().unwrap();
    let (mut local, mut boot) = (LocalContents::none(), Vec::new());
    if !old.is_empty() {
        let old = ReleaseFolder::open(Path::new(old)).unwrap();
        let root = File::open(&old.root).unwrap();
        local.add_root(&root, 1);
        let profile = Profile::from_number(old.release.profile).unwrap();
        local.add_lender(lender(&root, &old.release, profile, 1).unwrap());
        boot.extend(old.boot_files.into_iter().map(|(_, bytes)| bytes));
    }
    let indexed = cpu();
    let Found::Release(remote) = resolve(&reference, &options(&reference.host)).unwrap() else {
        panic!("{reference} has no release")
    };
    let work = Path::new(work);
    let mut spool = Spool::open(&work.join("spool")).unwrap();
    let root =
        File::options().read(true).write(true).create(true).truncate(true).open(work.join("root"));
    let encoded = tempfile::tempfile_in(work).unwrap();
    let rebuild = RebuildOptions { spool: encoded.try_clone().unwrap(), threads: 1 };
    let watch = |_, _, _| ();
    let brought = bring(
        &remote,
        &local,
        &boot,
        &mut spool,
        &mut || root.as_ref().unwrap().try_clone(),
        rebuild,
        &watch,
    )
    .unwrap();
    let spooled = spool.bytes() + encoded.metadata().unwrap().blocks() * 512;
    spool.clear().unwrap();
    std::fs::write(work.join("efi"), &brought.boot_files["system"]).unwrap();
    eprintln!(
        "machine: {:.1} s, {:.1} CPU s ({indexed:.1} for the index of {} chunks), peak {} MiB, \
         frames {} of {}, table {}, spooled {spooled}, {:.3} x the root written",
        start.elapsed().as_secs_f64(),
        cpu(),
        local.len(),
        peak(),
        brought.fetched,
        brought.total,
        remote.layers.table.size,
        1.0 + spooled as f64 / remote.release.root.length as f64,
    );
}

fn equal(first: &Path, second: &Path, length: u64) -> bool {
    let (mut first, mut second) = (File::open(first).unwrap(), File::open(second).unwrap());
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut left = length;
    while left > 0 {
        let length = left.min(1 << 20) as usize;
        first.read_exact(&mut a[..length]).unwrap();
        second.read_exact(&mut b[..length]).unwrap();
        if a[..length] != b[..length] {
            return false;
        }
        left -= length as u64;
    }
    true
}

#[test]
fn a_real_system_comes_back_byte_by_byte() {
    if let Ok(arguments) = std::env::var(MACHINE) {
        return machine(&arguments);
    }
    let releases = releases();
    assert!(!releases.is_empty(), "run the virtual machine tests first: they build a system");
    let registry = Registry::plain().unwrap();
    let options = options(&registry.host());
    let work = tempfile::tempdir().unwrap();
    let mut old = String::new();
    for (number, path) in releases.iter().enumerate() {
        let name = format!("{}/edge:{number}", registry.host());
        let reference = name.parse().unwrap();
        let folder = ReleaseFolder::open(path).unwrap();
        let push_options = PushOptions {
            reference: &reference,
            subject: None,
            registry: &options,
            scratch: work.path(),
            threads: 2,
        };
        let (start, before) = (Instant::now(), cpu());
        let report = push(&folder, &push_options, &|_, _, _| ()).unwrap();
        eprintln!(
            "push: {:.1} s, {:.1} CPU s with the registry, {} of {} bytes sent",
            start.elapsed().as_secs_f64(),
            cpu() - before,
            report.sent,
            report.bytes
        );
        registry.forget_requests();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_real_system_comes_back_byte_by_byte", "--nocapture"])
            .env(MACHINE, format!("{name} {} {old}", work.path().display()))
            .status()
            .unwrap();
        assert!(status.success());
        eprintln!("{} bytes in {} requests", registry.bytes_sent(), registry.requests().len());
        let length = folder.release.root.length;
        assert!(equal(&folder.root, &work.path().join("root"), length), "{}", path.display());
        assert!(std::fs::read(work.path().join("efi")).unwrap() == folder.boot_files[0].1);
        old = path.display().to_string();
    }
}
