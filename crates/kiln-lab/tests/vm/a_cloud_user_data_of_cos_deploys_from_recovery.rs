//! Promise: cOS's user data on a labelled volume makes a recovery image deploy the system by itself: sshd
//! waits for the deployment, the machine restarts into what was deployed, and there the user data does
//! nothing more.

mod compat;

use std::time::Duration;

use compat::{USER_DATA, written};
use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Error, Failure, Life, Oracle, Product, WorkDirectory};

/// A boot of recovery, two roots written and a restart, on an idle computer.
const DEPLOYMENT: Duration = Duration::from_secs(240);
/// Bytes of the volume with the user data.
const VOLUME: u64 = 4 << 20;

/// A volume as clouds hand user data over: FAT, labelled CIDATA, with two files (cloud-init's NoCloud).
fn volume(work: &WorkDirectory) -> Result<std::path::PathBuf, Error> {
    let path = compat::empty_disk(work, "cidata.raw", VOLUME)?;
    let data = written(work.join("user-data"), format!("#cloud-config\n{USER_DATA}"))?;
    let about = written(work.join("meta-data"), "instance-id: lab-1\n")?;
    Oracle::new("mkfs.vfat").arguments(["-n", "CIDATA"]).argument(&path).run()?;
    Oracle::new("mcopy")
        .argument("-i")
        .argument(&path)
        .argument(&data)
        .argument(&about)
        .argument("::")
        .run()?;
    Ok(path)
}

#[test]
#[ignore = "3 boots and a deployment: on the long list"]
fn a_cloud_user_data_of_cos_deploys_from_recovery() -> Result<(), Failure> {
    let work = WorkDirectory::new("cos")?;
    let system = Product::from_environment()?.debian_system(&["--boot", "recovery"])?;
    let mut life = Life::of("cos", &work, &system)?;
    life.add_disk(&volume(&work)?);
    life.power_on()?;
    // Recovery deploys and restarts; then the system runs.
    life.starts_again(1)?;
    life.machine()?.expect("BdsDxe: starting Boot", DEPLOYMENT + BOOT)?;
    let recovery = life.machine()?.shown();
    let place = |words: &str| recovery.rfind(words).unwrap_or(usize::MAX);
    let (stage, server) = ("network of kiln", "Started ssh.service");
    assert!(place(stage) < place(server) || place(server) == usize::MAX, "{recovery}");
    life.settle()?;
    for (command, expected) in [
        ("cat /run/kiln/boot | grep ^mode=", "mode=system"),
        ("test -e /run/cos/active_mode && echo active", "active"),
        ("test ! -e /etc/systemd/system/sshd.service.d/override.conf && echo none", "none"),
        ("systemctl is-active ssh.service", "active"),
        ("systemctl list-units --failed --plain --no-legend", ""),
    ] {
        assert_eq!(life.succeed(command)?, expected, "{command}");
    }
    Ok(life.power_off()?)
}
