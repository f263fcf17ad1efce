//! Promise: `kiln install` puts a release from a registry onto a second disk, which then starts alone,
//! has the layout that was asked for, and follows the registry without being told again.
//!
//! What must not happen is tried first: the running disk is refused by every name, and a dry run
//! writes nothing.

use std::fs::File;

use kiln_lab::product::DISK_BYTES;
use kiln_lab::{Error, Failure, Life, Releases, WorkDirectory};

/// One further partition, no recovery.
const LAYOUT: &str = "format = \"kiln.layout.v1\"\\nesp = \"512MiB\"\\nrecovery = false\\n\
    [[partition]]\\nlabel = \"data\"\\nsize = \"256MiB\"\\nfile-system = \"ext4\"\\n\
    mount = \"/srv/data\"\\n";

#[test]
fn an_installed_disk_boots_and_follows_its_registry() -> Result<(), Failure> {
    let work = WorkDirectory::new("install")?;
    let releases = Releases::new(&work)?;
    releases.publish("14", &[])?;
    let host = releases.registry().host_for_guests();
    let mut installer = Life::new("installer", &work)?;
    let mut installed = installer.with_disk("installed");
    let create = File::create(installed.disk()).and_then(|file| file.set_len(DISK_BYTES));
    let path = installed.disk().to_owned();
    create.map_err(|source| Error::File { action: "create", path, source })?;
    installer.add_disk(installed.disk());
    installer.power_on()?;
    installer.settle()?;

    let reference = releases.reference("14");
    let call = |target: &str, options: &str| {
        format!(
            "sudo -n kiln -q install --plain-http {host} --source {reference} --target {target} \
             --config /tmp/layout.toml {options}"
        )
    };
    installer.succeed(&format!("printf '{LAYOUT}' > /tmp/layout.toml"))?;
    for target in ["/dev/vda", "/dev/vda5"] {
        let refused = installer.run(&call(target, "--yes"))?;
        assert_eq!(refused.status, 1, "{target}: {}", refused.text);
    }
    let nobody = installer.run(&format!("{} < /dev/null", call("/dev/vdb", "")))?;
    assert_eq!(nobody.status, 1, "{}", nobody.text);
    let plan = installer.json(&call("only", "--dry-run --json"))?;
    assert_eq!(plan["disk"], "/dev/vdb", "{plan:#}");
    assert_eq!(plan["follow"], format!("docker://{reference}"), "{plan:#}");
    assert_eq!(installer.succeed("sudo -n cmp -n 4194304 /dev/vdb /dev/zero")?, "");

    installer.complete(&call("only", "--yes"))?;
    installer.power_off()?;
    assert_eq!(installed.boot_files()?, ["kiln-00000001+3-0.efi"]);

    installed.power_on()?;
    installed.settle()?;
    assert_eq!(installed.release()?.as_deref(), Some("14"));
    assert_eq!(installed.boot_files()?, ["kiln-00000001.efi"]);
    let status = installed.status()?;
    assert_eq!(status["follow"], format!("docker://{reference}"), "{status:#}");
    assert_eq!(status["booted"]["version"], "14", "{status:#}");
    let mounted = installed.succeed("findmnt -n -o FSTYPE,LABEL /srv/data")?;
    assert_eq!(mounted.split_whitespace().collect::<Vec<_>>(), ["ext4", "data"]);
    assert_eq!(installed.succeed("systemctl list-units --failed --plain --no-legend")?, "");

    // What was installed is what the registry has; then it has something newer.
    let upgrade = format!("sudo -n kiln -q upgrade --plain-http {host}");
    assert_eq!(installed.run(&format!("{upgrade} --check"))?.status, 0);
    releases.publish("14", &[])?;
    assert_eq!(installed.run(&format!("{upgrade} --check"))?.status, 10);
    installed.complete(&upgrade)?;
    assert_eq!(installed.boot_files()?, ["kiln-00000001.efi", "kiln-00000002+3-0.efi"]);
    Ok(installed.power_off()?)
}
