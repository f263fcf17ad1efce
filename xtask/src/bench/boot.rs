//! From power on to a running system, against other makers of an initramfs.
//!
//! All contenders start the same Debian tree with the same kernel in the same virtual machine. Each
//! disk is booted once before, because first boots make state and keys; after that every boot writes
//! to memory only. Contenders take turns, so that whatever else the computer does hits all alike.
//!
//! Judged are the makers as they come, without looking at the machine. What they make when told
//! which modules this machine needs is noted beside them, and not judged: such an image boots one
//! machine, not any.

mod images;
mod stamps;

use std::path::{Path, PathBuf};

use kiln_lab::cache::{Cache, Entry};
use kiln_lab::product::BuiltSystem;
use kiln_lab::{Oracle, Product, WorkDirectory, product};
use kiln_qemu::{Boot, DirectKernel, Disk, DiskFormat, Machine};
use serde_json::json;

use super::lab_error;
use super::measure::median;
use super::{BenchArguments, Name};
use crate::error::{Error, file_error};
use images::Images;
use stamps::{Stamps, first_boot, until_multi_user, until_systemd};

/// Makes the kernel show on the console what the stamps are read from, whatever its default.
const LOG_LEVEL: &str = "loglevel=7";

/// Who boots, how it is called in the table, the share of its time that Kiln may take, and whether
/// it also starts through firmware.
const CONTENDERS: [(&str, &str, Option<f64>, bool); 6] = [
    (KILN, "Kiln, as it comes", None, true),
    ("kiln-virtio", "Kiln, --modules virtio", None, false),
    ("initramfs-tools", "initramfs-tools, MODULES=most", Some(0.35), true),
    ("initramfs-tools-listed", "initramfs-tools, three modules", None, false),
    ("dracut", "dracut --no-hostonly", Some(0.20), true),
    ("dracut-hostonly", "dracut --hostonly", None, false),
];

/// The contender that all others are compared with.
const KILN: &str = "kiln";

/// One contender, ready to boot.
struct Contender {
    name: &'static str,
    title: &'static str,
    goal: Option<f64>,
    through_firmware: bool,
    /// The disk after its first boot, never written again.
    disk: PathBuf,
    kernel: DirectKernel,
    direct: Vec<Stamps>,
    power_on: Vec<f64>,
    _source: Source,
    _work: WorkDirectory,
}

/// What the cache must keep while a contender boots from it.
enum Source {
    System { _kept: BuiltSystem },
    Disk { _kept: Entry },
}

impl Contender {
    fn machine(&self) -> Machine {
        let disk = Disk::new(&self.disk, DiskFormat::Qcow2).unsafe_cache(true).ephemeral(true);
        Machine::new(kiln_qemu::Architecture::X86_64).disk(disk)
    }

    fn init_to_systemd(&self) -> f64 {
        median(self.direct.iter().map(|stamps| stamps.systemd - stamps.init))
    }

    fn kernel_to_systemd(&self) -> f64 {
        median(self.direct.iter().map(|stamps| stamps.systemd))
    }

    fn to_multi_user(&self) -> Option<f64> {
        (!self.power_on.is_empty()).then(|| median(self.power_on.iter().copied()))
    }
}

/// Takes the figures.
pub(super) fn boot(arguments: &BenchArguments) -> Result<(), Error> {
    let mut contenders = prepare(arguments)?;
    if contenders.is_empty() && arguments.name == Name::All {
        // `--only` chose one of the other bench.
        return Ok(());
    }
    if contenders.is_empty() {
        return Err(Error::NoContender { only: arguments.only.join(",") });
    }
    let count = contenders.len();
    for round in 0..usize::from(arguments.rounds) {
        println!("boot: round {} of {}", round + 1, arguments.rounds);
        // Another one begins each round, so that none always follows the same neighbour.
        for turn in 0..count {
            if let Some(contender) = contenders.get_mut((round + turn) % count) {
                measure(contender)?;
            }
        }
    }
    print(&contenders);
    if let Some(path) = &arguments.json {
        // With `all` the name itself is the other bench's.
        let path = match arguments.name {
            Name::All => path.with_extension("boot.json"),
            _ => path.clone(),
        };
        let text = json!({ "bench": "boot", "contenders": values(&contenders) }).to_string();
        std::fs::write(&path, text + "\n").map_err(file_error("write", &path))?;
    }
    Ok(())
}

fn measure(contender: &mut Contender) -> Result<(), Error> {
    let work = WorkDirectory::new("bench-boot")?;
    let machine = contender.machine().boot(Boot::Direct(contender.kernel.clone()));
    let stamps = until_systemd(contender.name, machine, &work)?;
    contender.direct.push(stamps);
    let passed = stamps.systemd - stamps.init;
    let mut line = format!("  {:<24} init to systemd {passed:.2} s", contender.name);
    if contender.through_firmware {
        let seconds = until_multi_user(contender.name, contender.machine(), &work)?;
        contender.power_on.push(seconds);
        line += &format!(", power on to login {seconds:.1} s");
    }
    println!("{line}");
    Ok(())
}

fn prepare(arguments: &BenchArguments) -> Result<Vec<Contender>, Error> {
    let cache = Cache::open()?;
    let images = Images::get(&cache)?;
    let mut contenders = Vec::new();
    for (name, title, goal, through_firmware) in CONTENDERS {
        if !arguments.is_wanted(name) {
            continue;
        }
        println!("boot: first boot of {name}");
        let work = WorkDirectory::new(name)?;
        let (base, kernel, source) = if name.starts_with(KILN) {
            let options: &[&str] = if name == KILN { &[] } else { &["--modules", "virtio"] };
            let system = Product::at(&crate::product::build()?).debian_system(options)?;
            let base = system.raw_disk();
            let kernel = boot_file(&base.with_extension("efi"), &work)?;
            (base, kernel, Source::System { _kept: system })
        } else {
            // Only what the loader reads differs between the disks.
            let entry = images.disk(&cache, name)?;
            let kernel = DirectKernel {
                kernel: images.file("initramfs-tools-kernel"),
                initramfs: Some(images.file(name)),
                command_line: format!("{} {LOG_LEVEL}", images::command_line()),
            };
            (images::disk_file(&entry), kernel, Source::Disk { _kept: entry })
        };
        let disk = overlay(&base, &work)?;
        first_boot(name, product::machine(&disk)?, &work)?;
        contenders.push(Contender {
            name,
            title,
            goal,
            through_firmware,
            disk,
            kernel,
            direct: Vec::new(),
            power_on: Vec::new(),
            _source: source,
            _work: work,
        });
    }
    Ok(contenders)
}

/// A disk that may be written, over one that may not, of the size that Kiln's tests use.
fn overlay(base: &Path, work: &WorkDirectory) -> Result<PathBuf, Error> {
    let path = work.join("disk.qcow2");
    Oracle::new("qemu-img")
        .arguments(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .argument(base)
        .argument(&path)
        .argument(product::DISK_BYTES.to_string())
        .run()?;
    Ok(path)
}

/// Kernel, initramfs and command line out of a boot file, by binutils: these know nothing of Kiln.
fn boot_file(path: &Path, work: &WorkDirectory) -> Result<DirectKernel, Error> {
    let section = |name: &str| -> Result<PathBuf, Error> {
        let target = work.join(name);
        Oracle::new("objcopy")
            .arguments(["--output-target=binary", &format!("--only-section=.{name}")])
            .argument(path)
            .argument(&target)
            .run()?;
        Ok(target)
    };
    let line = section("cmdline")?;
    let text = std::fs::read_to_string(&line).map_err(lab_error("read", &line))?;
    let text = text.trim_end_matches(['\0', '\n']);
    Ok(DirectKernel {
        kernel: section("linux")?,
        initramfs: Some(section("initrd")?),
        command_line: format!("{text} {LOG_LEVEL}"),
    })
}

fn print(contenders: &[Contender]) {
    println!(
        "\n{:<32} {:>15} {:>17} {:>21} {:>13} {:>6} {:>7}",
        "medians in seconds",
        "init to systemd",
        "kernel to systemd",
        "power on to login",
        "Kiln's share",
        "goal",
        ""
    );
    let kiln = contenders.iter().find(|contender| contender.name == KILN);
    for contender in contenders {
        let own = contender.init_to_systemd();
        let share = kiln.map(|kiln| kiln.init_to_systemd() / own);
        let verdict = match (share, contender.goal) {
            (Some(share), Some(goal)) if share <= goal => "ok",
            (Some(_), Some(_)) => "missed",
            _ => "",
        };
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        println!(
            "{:<32} {own:>15.2} {:>17.2} {:>21} {:>13} {:>6} {verdict:>7}",
            contender.title,
            contender.kernel_to_systemd(),
            number(contender.to_multi_user(), 1),
            number(share, 3),
            number(contender.goal, 2),
        );
    }
}

fn values(contenders: &[Contender]) -> serde_json::Value {
    let kiln = contenders.iter().find(|contender| contender.name == KILN);
    let all = contenders.iter().map(|contender| {
        let share = kiln.map(|kiln| kiln.init_to_systemd() / contender.init_to_systemd());
        let runs = contender.direct.iter().map(|stamps| json!([stamps.init, stamps.systemd]));
        json!({
            "name": contender.name,
            "title": contender.title,
            "init_to_systemd_seconds": contender.init_to_systemd(),
            "kernel_to_systemd_seconds": contender.kernel_to_systemd(),
            "power_on_to_login_seconds": contender.to_multi_user(),
            "kiln_share": share,
            "goal": contender.goal,
            "runs_init_and_systemd_seconds": runs.collect::<Vec<_>>(),
            "runs_power_on_to_login_seconds": contender.power_on,
        })
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_contenders_are_judged_and_go_through_firmware() {
        let judged = CONTENDERS.iter().filter(|(_, _, goal, _)| goal.is_some());
        let names: Vec<&str> = judged.clone().map(|(name, _, _, _)| *name).collect();
        assert_eq!(names, ["initramfs-tools", "dracut"]);
        assert!(judged.clone().all(|(_, _, _, firmware)| *firmware));
    }
}
