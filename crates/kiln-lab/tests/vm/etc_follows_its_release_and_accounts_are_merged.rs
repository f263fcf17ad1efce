//! Promise: what was changed in `/etc` under a release is gone after going back to the one before; a
//! service user that a release brings exists although accounts were changed on the machine; what
//! programs derived does not shadow what a release brings; machine-id, host keys and host name are
//! the same through upgrade and rollback, and where `/etc` is not kept; `kiln diff` tells what a
//! machine changed.
//!
//! Four boots of one machine: the delivered release, one that brings a user and a file, the way back,
//! and one whose `/etc` is not kept.

use kiln_lab::releases::Piece;
use kiln_lab::{Failure, Life, Releases, WorkDirectory};

/// A name that no release has.
const HOST_NAME: &str = "edge-7";

#[test]
fn etc_follows_its_release_and_accounts_are_merged() -> Result<(), Failure> {
    let work = WorkDirectory::new("etc")?;
    let releases = Releases::new(&work)?;
    let mut life = Life::new("etc", &work)?;
    life.power_on()?;
    life.settle()?;
    assert_eq!(life.succeed("cat /state/kiln/format")?, "2");

    // The machine's own changes: a system user, a line, a file less, a name, a stale derived file.
    life.succeed("sudo -n useradd --system mine")?;
    let uid = life.succeed("id -u mine")?;
    life.succeed("echo 'mine:a-very-bad-password' | sudo -n chpasswd")?;
    life.succeed("echo '# changed' | sudo -n tee -a /etc/profile")?;
    life.succeed("sudo -n rm /etc/issue")?;
    life.succeed("echo stale | sudo -n tee /etc/udev/hwdb.bin")?;
    life.succeed(&format!("echo {HOST_NAME} | sudo -n tee /etc/hostname"))?;
    let found = life.succeed("sudo -n kiln diff")?;
    for line in [
        "changed  /etc/passwd",
        "changed  /etc/profile",
        "removed  /etc/issue",
        "changed  /etc/hostname",
        "changed  /etc/shadow",
    ] {
        assert!(found.lines().any(|found| found == line), "{line}: {found}");
    }
    assert!(!found.contains("hwdb") && !found.contains("ld.so.cache"), "{found}");
    let text = life.succeed("sudo -n kiln diff --text /etc/profile /etc/shadow")?;
    assert!(text.lines().any(|line| line == "+# changed"), "{text}");
    assert!(text.contains("+mine:<hidden ") && !text.contains('$'), "a hash is shown: {text}");

    // A user with the very id that the machine has given away, and another text in a file.
    let lower =
        |life: &mut Life<'_>, name: &str| life.succeed(&format!("cat /run/kiln/etc/lower/{name}"));
    let passwd = lower(&mut life, "passwd")?;
    let passwd = format!("{passwd}\nweb:x:{uid}:{uid}::/srv/web:/usr/sbin/nologin\n");
    let group = format!("{}\nweb:x:{uid}:\n", lower(&mut life, "group")?);
    let accounts = [Piece::File("etc/passwd", &passwd), Piece::File("etc/group", &group)];
    let pieces = [&accounts[..], &[Piece::File("etc/issue.net", "the new one\n")]].concat();
    releases.publish("14", &pieces)?;
    let mode = Piece::File("usr/lib/kiln/etc-mode", "ephemeral\n");
    releases.publish("15", &[&pieces[..], &[mode]].concat())?;

    // sudo complains of a name that nobody resolves; that is not looked at.
    // Identity is kept without a restart, and what is changed between upgrade and restart is not lost.
    let identity = "cat /etc/machine-id; sudo -n sha256sum /etc/ssh/ssh_host_*_key 2>/dev/null; cat /etc/hostname";
    life.complete(&releases.call("14", ""))?;
    life.succeed("echo '# late' | sudo -n tee -a /etc/profile")?;
    let before = life.succeed(identity)?;
    assert!(before.lines().count() >= 3 && before.ends_with(HOST_NAME), "{before}");
    let kept = life.succeed("sudo -n cat /state/identity/machine-id /state/identity/hostname")?;
    assert!(before.starts_with(&kept[..32]) && kept.ends_with(HOST_NAME), "{kept}");
    life.restart_by("sudo -n systemctl reboot")?;

    life.settle()?;
    assert_eq!(life.release()?.as_deref(), Some("14"));
    assert_eq!(life.succeed(identity)?, before);
    assert_eq!(life.succeed("hostname")?, HOST_NAME);
    assert_eq!(life.succeed("id -u mine")?, uid);
    let web = life.succeed("id -u web")?;
    assert_ne!(web, uid, "one id for two users");
    assert_eq!(life.succeed("id -gn web")?, "web");
    assert_eq!(life.succeed("cat /etc/issue.net")?, "the new one");
    life.succeed("grep -x '# changed' /etc/profile && grep -x '# late' /etc/profile")?;
    life.succeed("test ! -e /etc/issue && test ! -e /etc/udev/hwdb.bin")?;
    assert_eq!(life.succeed("systemctl list-units --failed --plain --no-legend")?, "");
    life.succeed("echo under 14 | sudo -n tee /etc/issue.net /etc/only-under-14")?;
    life.succeed("sudo -n userdel mine")?;
    life.restart_by("sudo -n kiln rollback --reboot")?;

    life.settle()?;
    assert_eq!(life.release()?, None);
    assert_eq!(life.succeed(identity)?, before);
    assert_eq!(life.succeed("id -u mine")?, uid);
    life.succeed("test ! -e /etc/only-under-14 && ! grep under /etc/issue.net && ! id web")?;
    life.succeed("grep -x '# changed' /etc/profile")?;
    life.complete(&releases.call("15", ""))?;
    life.restart_by("sudo -n systemctl reboot")?;

    life.settle()?;
    assert_eq!(life.release()?.as_deref(), Some("15"));
    assert_eq!(life.succeed(identity)?, before);
    let diff = life.json("sudo -n kiln diff --json 2>/dev/null")?;
    assert_eq!(diff["etc"], "ephemeral", "{diff:#}");
    life.succeed("! grep -x '# changed' /etc/profile && test -e /etc/issue && id web")?;
    // The release that was left cannot start any more, and this one has nothing in the state.
    let uppers = life.succeed("sudo -n ls /state/etc 2>/dev/null")?;
    assert_eq!(uppers.lines().count(), 1, "{uppers}");
    Ok(life.power_off()?)
}
