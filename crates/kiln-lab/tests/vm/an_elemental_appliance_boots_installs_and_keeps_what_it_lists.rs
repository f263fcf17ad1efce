//! Promise: Elemental's appliance works as its users have it: started from a medium it installs itself onto
//! `/dev/sda` and runs its hook there, the installed system finds what the hook brought, installs nothing
//! a second time, lets its user in by ssh, and keeps exactly the paths that the document lists: over a
//! restart, and over an upgrade by Elemental's own verb.

mod compat;

use std::time::Duration;

use compat::{APPLIANCE, empty_disk};
use kiln_lab::product::DISK_BYTES;
use kiln_lab::registry::{Settings, Tls};
use kiln_lab::releases::{self, Piece};
use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Error, Failure, Life, Product, Registry, Releases, WorkDirectory};

/// From power on to the end of the installation on an idle computer: a boot, and two roots written.
const INSTALLATION: Duration = Duration::from_secs(240);

/// Stands in for k3s: it starts only with what the air-gap images and manifests have to be, and says so.
const K3S: &str = "#!/bin/sh\n\
    cd /var/lib/rancher/k3s || exit 1\n\
    grep -q air-gap agent/images/k3s-airgap-images-amd64.tar.gz || exit 2\n\
    grep -q nginx server/manifests/nginx.yaml || exit 3\n\
    echo 'k3s: all images are here' > /run/kiln-lab-k3s\n\
    echo 'k3s: all images are here' > /dev/console\n";

/// Its unit, as its installer writes it: there, and not enabled.
const K3S_UNIT: &str = "[Unit]\nAfter=network.target\n\
    [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/local/bin/k3s\n\
    [Install]\nWantedBy=multi-user.target\n";

/// Stands in for the distribution's generator of `/etc/issue`, which takes every file of the folder.
const ISSUE: &str = "[Unit]\nBefore=getty.target\n\
    [Service]\nType=oneshot\nRemainAfterExit=yes\n\
    ExecStart=/bin/sh -c 'cat /etc/issue.d/* > /run/issue'\n";

/// What the appliance's Dockerfile brings, with stand-ins for the user's own programs.
const PIECES: [Piece<'_>; 9] = [
    Piece::File("system/oem/cloud-init.yaml", APPLIANCE),
    Piece::File("system/oem/k3s-airgap-images-amd64.tar.gz", "air-gap\n"),
    Piece::File("system/oem/nginx.yaml", "kind: Deployment # nginx\n"),
    Piece::Program("usr/local/bin/k3s", K3S),
    Piece::File("etc/systemd/system/k3s.service", K3S_UNIT),
    Piece::File("etc/issue.d/01-derivative", "welcome to our derivative\n\n"),
    Piece::Link("etc/issue", "/run/issue"),
    Piece::Unit("issue-generator.service", "multi-user.target.wants", ISSUE),
    Piece::File("usr/libexec/.keep", ""),
];

/// The appliance's image on Debian.
fn appliance(work: &WorkDirectory) -> Result<kiln_lab::product::BuiltSystem, Error> {
    let layer = work.join("appliance.layer.tar");
    releases::layer(&layer, "derivative", &PIECES)?;
    Product::from_environment()?.layered_system("appliance", &[&layer], &[])
}

/// What ssh asks for the password when it has no terminal to ask on.
const ASKED: &str = "printf '#!/bin/sh\\necho joe\\n' > /tmp/asked && chmod +x /tmp/asked";
const SSH: &str = "SSH_ASKPASS=/tmp/asked SSH_ASKPASS_REQUIRE=force ssh -o StrictHostKeyChecking=no \
                   -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR joe@127.0.0.1 sudo -n id -un";

/// Makes the registry's authority known to the machine, as containers-certs.d(5) says.
fn trust(machine: &mut Life<'_>, registry: &Registry) -> Result<(), Error> {
    let authority = registry.certificates().map_or("", |made| &made.authority);
    let folder = format!("/etc/containers/certs.d/{}", registry.host_for_guests());
    let text = authority.replace('\n', "\\n");
    machine.succeed(&format!("sudo -n mkdir -p {folder}"))?;
    machine
        .succeed(&format!("printf '%b' '{text}' | sudo -n tee {folder}/ca.crt > /dev/null"))
        .map(drop)
}

#[test]
#[ignore = "five boots and an installation; the longer list"]
fn an_elemental_appliance_boots_installs_and_keeps_what_it_lists() -> Result<(), Failure> {
    let work = WorkDirectory::new("appliance")?;
    let system = appliance(&work)?;
    let mut medium = Life::of("medium", &work, &system)?;
    let mut installed = medium.with_disk("installed");
    empty_disk(&work, "installed.raw", DISK_BYTES)?;
    medium.add_sata_disk(installed.disk());
    medium.end_at_restarts();
    medium.power_on()?;
    medium.machine()?.wait_for_end(INSTALLATION)?;
    let shown = medium.machine()?.shown();
    assert!(shown.contains("welcome to our derivative"), "the greeting is missing: {shown}");
    assert_eq!(installed.boot_files()?, ["kiln-00000001+3-0.efi"]);

    installed.own_disk_is_sata();
    installed.power_on()?;
    installed.machine()?.expect("welcome to our derivative", BOOT)?;
    installed.machine()?.login("joe", "joe")?;
    installed.quiet_console()?;
    for (command, expected) in [
        ("sudo -n id -u", "0"),
        ("id -Gn", "joe admin"),
        ("getent group admin", "admin:x:900:joe"),
        ("hostname", "derivative"),
        ("sudo -n stat -c %a:%U /etc/sudoers", "644:root"),
        ("sudo -n stat -c %a:%U /etc/sysconfig/network/ifcfg-eth0", "600:root"),
        ("sudo -n grep -c BOOTPROTO=.dhcp /etc/sysconfig/network/ifcfg-eth0", "1"),
        ("sudo -n passwd -S root | cut -d' ' -f2", "L"),
        // The message names the key, and the line below it shows the file's own.
        ("sudo -n kiln stage initramfs --dry-run 2>&1 | grep -c permsisions", "2"),
    ] {
        assert_eq!(installed.succeed(command)?, expected, "{command}");
    }
    let stage = "timeout 300 sh -c 'while test $(systemctl show -P ActiveState \
                 kiln-stage-network) != active; do sleep 1; done'; \
                 systemctl show -P Result kiln-stage-network";
    let stage = installed.machine()?.run_for(stage, Duration::from_secs(120))?;
    assert_eq!(stage.text, "success");
    assert_eq!(installed.succeed("cat /run/kiln-lab-k3s")?, "k3s: all images are here");
    assert_eq!(installed.succeed("systemctl is-enabled k3s")?, "enabled");

    installed.succeed(ASKED)?;
    let through_ssh = installed.machine()?.run_for(SSH, Duration::from_secs(60))?;
    assert_eq!(through_ssh.text, "root", "{}", through_ssh.status);

    // Listed paths, the folders that are writable without being listed, and all else.
    let kept =
        ["/etc/rancher", "/etc/ssh", "/home/joe", "/opt", "/root", "/usr/libexec", "/var/log"];
    let lost = ["/srv", "/etc", "/usr/local"];
    for path in kept.iter().chain(&lost) {
        installed.succeed(&format!(
            "sudo -n mkdir -p {path} && echo here | sudo -n tee {path}/kiln-lab"
        ))?;
    }
    for path in ["/usr", "/usr/lib", "/system", "/boot"] {
        let refused = installed.run(&format!("sudo -n touch {path}/kiln-lab 2>&1"))?;
        assert!(refused.text.contains("Read-only file system"), "{path}: {}", refused.text);
    }
    installed.machine()?.send("exit\n")?;
    installed.settle()?;
    installed.power_off()?;

    installed.power_on()?;
    installed.settle()?;
    for path in kept {
        assert_eq!(installed.succeed(&format!("sudo -n cat {path}/kiln-lab"))?, "here", "{path}");
    }
    for path in lost {
        installed.succeed(&format!("sudo -n test ! -e {path}/kiln-lab"))?;
    }
    // The second call of `elemental install /dev/sda` changed nothing that starts.
    assert_eq!(installed.boot_files()?, ["kiln-00000001.efi"]);
    assert_eq!(installed.succeed("systemctl list-units --failed --plain --no-legend")?, "");

    let settings = Settings { tls: Some(Tls::default()), ..Settings::default() };
    let releases = Releases::within(Registry::start(settings)?, &work)?;
    releases.publish("next", &PIECES)?;
    trust(&mut installed, releases.registry())?;
    // What configuration adds to a boot, beside commands of the document.
    let times = installed.succeed("sudo -n dmesg | grep -F ' ms' | grep -F kiln")?;
    installed.say(&times);
    let reference = releases.reference("next");
    let upgrade = format!("sudo -n elemental upgrade --no-verify --reboot -d {reference}\n");
    installed.machine()?.send(&upgrade)?;
    installed.machine()?.expect("BdsDxe: starting Boot", INSTALLATION)?;
    installed.settle()?;
    assert_eq!(installed.release()?.as_deref().map(str::trim), Some("next"));
    for path in kept {
        assert_eq!(installed.succeed(&format!("sudo -n cat {path}/kiln-lab"))?, "here", "{path}");
    }
    assert_eq!(installed.boot_files()?, ["kiln-00000001.efi", "kiln-00000002.efi"]);
    Ok(installed.power_off()?)
}
