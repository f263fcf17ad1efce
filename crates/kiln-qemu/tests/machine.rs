//! The argument list against the QEMU that is installed: a list that the emulator refuses is wrong
//! however well it reads. Without QEMU these tests say so and pass, since the crate's promise then
//! is only its error message.

#![expect(clippy::print_stderr, reason = "a test tells why it proved nothing")]

use std::io::Read;
use std::time::Duration;

use kiln_qemu::{Architecture, Boot, Console, DirectKernel, Disk, DiskFormat, Error, Host};
use kiln_qemu::{KvmVerdict, Machine, Monitor, probe_kvm};

fn host() -> Option<Host> {
    match Host::discover(Architecture::X86_64) {
        Ok(host) => Some(host),
        Err(Error::NoEmulator { program, .. }) => {
            eprintln!("skipped: {program} is not installed");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn qemu_takes_the_list_and_the_guest_runs() {
    let Some(host) = host() else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk, with a comma.raw");
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let socket = folder.path().join("monitor");
    let log = folder.path().join("console");
    let boot = match host.firmware {
        Some(_) => Boot::Uefi { variables: None },
        None => Boot::Direct(DirectKernel {
            kernel: "/dev/null".into(),
            initramfs: None,
            command_line: String::new(),
        }),
    };
    let mut running = Machine::new(Architecture::X86_64)
        .boot(boot)
        .memory_mib(128)
        .processors(1)
        .disk(Disk::probe(&disk).unwrap().ephemeral(true).sector_size(4096).unwrap())
        .console(Console::File(log.clone()))
        .monitor(&socket)
        .start(&host)
        .unwrap();
    let mut monitor = Monitor::connect(&socket, Duration::from_secs(20)).unwrap();
    let status = monitor.execute("query-status", &serde_json::json!({})).unwrap();
    assert_eq!(status["status"], "running");
    assert!(running.ended().unwrap().is_none());
    running.kill().unwrap();
    assert!(running.ended().unwrap().is_some());
}

#[test]
fn a_refused_machine_says_why() {
    let Some(host) = host() else { return };
    let mut running = Machine::new(Architecture::X86_64)
        .boot(Boot::Uefi { variables: None })
        .disk(Disk::new("/no/such/disk", DiskFormat::Raw))
        .console(Console::Pipe)
        .start(&host)
        .unwrap();
    let mut complaint = String::new();
    running.take_complaints().unwrap().read_to_string(&mut complaint).unwrap();
    assert!(!running.wait().unwrap().success());
    assert!(complaint.contains("/no/such/disk"), "{complaint}");
}

#[test]
fn the_accelerator_is_kvm_only_after_the_probe() {
    let Some(host) = host() else { return };
    let verdict = probe_kvm(Architecture::X86_64, &host.emulator);
    let proved = host.accelerator == kiln_qemu::Accelerator::Kvm;
    assert_eq!(proved, verdict == KvmVerdict::Works, "{verdict:?}");
    eprintln!("{verdict:?}");
}
