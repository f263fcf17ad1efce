//! Promise: an Ignition document of version 2.2 on the EFI system partition is carried out as it stands.

mod compat;

use compat::{BOOTSTRAP, written};
use kiln_lab::{Failure, Life, Oracle, WorkDirectory};

#[test]
fn an_old_ignition_document_is_translated_and_carried_out() -> Result<(), Failure> {
    let work = WorkDirectory::new("bootstrap")?;
    let mut life = Life::new("bootstrap", &work)?;
    let document = written(work.join("config.ign"), BOOTSTRAP)?;
    // The ESP is the first partition of a built disk and begins at 1 MiB.
    let esp = format!("{}@@1M", life.disk().display());
    Oracle::new("mmd").arguments(["-i", &esp, "::ignition"]).run()?;
    Oracle::new("mcopy")
        .arguments(["-i", &esp])
        .argument(&document)
        .argument("::ignition")
        .run()?;
    life.power_on()?;
    life.settle()?;
    let greeting = life.succeed("cat /etc/motd")?;
    let (before, after) = greeting.split_once("This is the bootstrap machine;").unwrap_or_default();
    assert!(before.contains("Debian"), "the image's own text is gone: {greeting}");
    assert!(after.ends_with("journalctl -b -f -u bootkube.service"), "{greeting}");
    for (command, expected) in [
        ("sudo -n stat -c %a:%U /etc/motd", "644:root"),
        ("sudo -n stat -c %a:%U /etc/opt/openshift.conf", "600:root"),
        ("sudo -n cat /etc/opt/openshift.conf", "cluster=devel"),
        ("systemctl is-enabled bootkube.service", "enabled"),
        ("systemctl show -P Result bootkube.service", "success"),
        ("sudo -n sh -c \"grep -c '^ssh-ed25519 .* test$' ~core/.ssh/authorized_keys\"", "1"),
        ("systemctl list-units --failed --plain --no-legend", ""),
    ] {
        assert_eq!(life.succeed(command)?, expected, "{command}");
    }
    Ok(life.power_off()?)
}
