//! Units that the layer adds and units of others that it masks.
//!
//! Kiln's units are vendor units (`/usr/lib/systemd`), enabled by vendor links, so an
//! administrator's `/etc` can still override or mask each. What Kiln masks would write to the ESP
//! behind its back: the loader, its random seed and boot counting belong to the revision.

use super::Editor;
use crate::Error;

/// Services of systemd that Kiln's own life cycle replaces.
const MASKED: [&str; 3] = [
    "systemd-bless-boot.service",
    "systemd-boot-random-seed.service",
    "systemd-boot-update.service",
];

/// Host keys are made on the machine: keys in an image are shared by everyone who has the image.
const SSH_HOST_KEYS: &str = "\
[Unit]
Description=Make the SSH host keys of this machine
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key
Before=ssh.service sshd.service sshd.socket ssh.socket

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A
RemainAfterExit=yes

[Install]
WantedBy=multi-user.target
";

/// Adds Kiln's units and masks.
pub(super) fn add_units(editor: &mut Editor<'_>) -> Result<(), Error> {
    for unit in MASKED {
        editor.symlink(format!("etc/systemd/system/{unit}").as_bytes(), b"/dev/null")?;
    }
    if editor.exists(b"usr/bin/ssh-keygen") {
        let unit = "kiln-ssh-host-keys.service";
        let folder = "usr/lib/systemd/system";
        editor.file(format!("{folder}/{unit}").as_bytes(), 0o644, SSH_HOST_KEYS.as_bytes())?;
        let link = format!("{folder}/multi-user.target.wants/{unit}");
        editor.symlink(link.as_bytes(), format!("../{unit}").as_bytes())?;
    }
    Ok(())
}
