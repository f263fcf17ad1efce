//! From a container image to a login prompt in one command.
//!
//! The demo uses the product only by its command line, as a newcomer would, and prints each command
//! so that it can be typed again. Kiln knows no default password, so the demo makes one up for this
//! checkout and keeps it in the folder of its results.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;

use kiln_lab::debian::{self, Debian};
use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Cache, VirtualMachine};
use kiln_qemu::{Architecture, Console, Disk, DiskFormat, Forward, Host, Machine, grow_to};

use crate::error::{Error, file_error};
use crate::{packages, product, run};

/// The system's name, and so the name of its files.
const NAME: &str = "demo";

/// Port on the loopback address that leads to the guest's ssh.
const SSH_PORT: u16 = 2222;

/// The demo's disk in bytes: room for two slots, recovery and state.
const DISK_BYTES: u64 = 12 << 30;

/// Letters of the made-up password; those that look alike are left out.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Length of the password: 60 bits of chance.
const PASSWORD_LENGTH: usize = 12;

/// Builds and boots; with `check` the console is read by program.
pub(crate) fn demo(check: bool) -> Result<(), Error> {
    packages::install()?;
    println!("taking Debian {} from the cache, or bootstrapping it", debian::SUITE);
    let image = Debian::get(&Cache::open()?)?;
    let kiln = product::build()?;

    let folder = run::root().join("target/demo");
    fs::create_dir_all(&folder).map_err(file_error("create", &folder))?;
    let password_file = folder.join("password");
    let password = password(&password_file)?;
    run::run(
        Command::new(&kiln)
            .arg("build")
            .arg(format!("oci-archive:{}", image.image().display()))
            .args(["-o".as_ref(), folder.as_os_str()])
            .args(["--name", NAME, "--user", debian::USER])
            .args(["--password-file".as_ref(), password_file.as_os_str()]),
    )?;
    let disk = folder.join(format!("{NAME}.raw"));
    if let Some(sentence) = grow_to(&disk, DISK_BYTES)? {
        println!("{sentence}");
    }
    let machine = Machine::new(Architecture::X86_64);
    if check {
        check_login(&disk, machine, &folder, &password)
    } else {
        show(&disk, machine, &password)
    }
}

/// Prints the places of the system that the demo is built from.
pub(crate) fn image() -> Result<(), Error> {
    let debian = Debian::get(&Cache::open()?)?;
    println!("{}\n{}", debian.tree().display(), debian.image().display());
    Ok(())
}

fn show(disk: &Path, machine: Machine, password: &str) -> Result<(), Error> {
    println!(
        "\n  login     {user}\n  password  {password}\n  \
         ssh       ssh -p {SSH_PORT} {user}@localhost\n  \
         console   this terminal; Ctrl-A X ends the machine, Ctrl-A C opens QEMU's monitor\n",
        user = debian::USER
    );
    let host = Host::discover(Architecture::X86_64)?;
    let mut running = machine
        .disk(Disk::new(disk, DiskFormat::Raw))
        .forward(Forward { host: SSH_PORT, guest: 22 })
        .console(Console::Terminal)
        .start(&host)?;
    running.wait()?;
    Ok(())
}

fn check_login(disk: &Path, machine: Machine, folder: &Path, password: &str) -> Result<(), Error> {
    let transcript = folder.join("console");
    println!("booting; console in {}", transcript.display());
    let host = Host::discover(Architecture::X86_64)?;
    let machine = machine.disk(Disk::new(disk, DiskFormat::Raw).ephemeral(true));
    let mut machine = VirtualMachine::start_on(&host, "demo", machine, &transcript)?;
    machine.login(debian::USER, password)?;
    println!("logged in as {} after {:.1} s", debian::USER, machine.age().as_secs_f32());
    let state = machine.run_for("systemctl is-system-running --wait", BOOT)?.text;
    println!("systemctl is-system-running: {state} after {:.1} s", machine.age().as_secs_f32());
    if state != "running" {
        let failed = machine.run("systemctl list-units --state=failed --no-legend --plain")?.text;
        return Err(Error::NotRunning { state, failed });
    }
    machine.power_off()?;
    println!("powered off");
    Ok(())
}

/// The password in this file, or a new one.
fn password(path: &Path) -> Result<String, Error> {
    if let Ok(known) = fs::read_to_string(path)
        && !known.trim().is_empty()
    {
        return Ok(known.trim().to_owned());
    }
    let source = Path::new("/dev/urandom");
    let mut chance = [0; PASSWORD_LENGTH];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut chance))
        .map_err(file_error("read", source))?;
    let password: String =
        chance.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect();
    fs::write(path, &password).map_err(file_error("write", path))?;
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_made_once_and_differs() {
        let folder = tempfile::tempdir().unwrap();
        let first = password(&folder.path().join("one")).unwrap();
        assert_eq!(first.len(), PASSWORD_LENGTH);
        assert_eq!(password(&folder.path().join("one")).unwrap(), first);
        assert_ne!(password(&folder.path().join("two")).unwrap(), first);
    }
}
