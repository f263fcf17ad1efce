//! Hooks around an installation, an upgrade and a reset: where they run, what they see, what stays of what
//! they write, and that nothing happens to the machine before all is done.
//!
//! Most of it mounts things, in a namespace of its own; where that is not allowed, only what needs none is
//! looked at.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use kiln_disk::layout::{self, STATE, Stage};
use kiln_disk::{FileDevice, gpt};
use serde_json::Value;

use crate::fixture::{Bench, answer, kiln};
use crate::life::build;
use crate::machine::Machine;

const LAYOUT: &str = "format = \"kiln.layout.v1\"\nesp = \"64MiB\"\nslot = \"64MiB\"\n";

/// Whether this process may mount, in a namespace of its own, and use loop devices.
fn may_mount() -> bool {
    let script = "mount -t tmpfs none /mnt && losetup -f";
    let output = Command::new("unshare").args(["-m", "sh", "-c", script]).output();
    output.is_ok_and(|output| output.status.success())
}

/// Lines of a file, without the folder of the bench.
fn lines(bench: &Bench, name: &str) -> Vec<String> {
    let text = fs::read_to_string(bench.path(name)).unwrap_or_default();
    let folder = bench.text("");
    text.lines().map(|line| line.replace(&folder, "")).collect()
}

/// The file system of the state of a disk image, in a file of its own, which `e2fsck` finds whole.
fn extract_state(bench: &Bench, disk: &str) {
    let file = File::open(bench.path(disk)).unwrap();
    let device = FileDevice::new(file.try_clone().unwrap(), 512).unwrap();
    let table = gpt::read(&device).unwrap().table;
    let entry = &table.partitions[&STATE.number];
    let extracted = bench.path("state.ext4");
    let target = File::create(&extracted).unwrap();
    target.set_len(entry.length(512)).unwrap();
    let (mut at, zeros) = (0, vec![0; 1 << 20]);
    let mut piece = zeros.clone();
    while at < entry.length(512) {
        let now = usize::try_from((entry.length(512) - at).min(1 << 20)).unwrap();
        file.read_exact_at(&mut piece[..now], entry.offset(512) + at).unwrap();
        if piece[..now] != zeros[..now] {
            target.write_all_at(&piece[..now], at).unwrap();
        }
        at += now as u64;
    }
    let check = Command::new("e2fsck").args(["-fn"]).arg(&extracted).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

/// What debugfs(8) says of the extracted state.
fn debugfs(bench: &Bench, request: &str) -> String {
    let mut command = Command::new("debugfs");
    command.args(["-R", request]).arg(bench.path("state.ext4"));
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

struct Installer {
    bench: Bench,
    source: String,
}

impl Installer {
    fn new(document: &str) -> Self {
        let bench = Bench::new();
        let own = "stages:\n  after-install-chroot:\n    - files:\n        - path: /etc/of-image\n          \
                   content: \"image\\n\"\n";
        let source = bench.archive("edge.tar", &[("system/oem/own.yaml", own.as_bytes())]);
        fs::write(bench.path("layout.toml"), LAYOUT).unwrap();
        fs::write(bench.path("hooks.yaml"), document).unwrap();
        File::create(bench.path("disk.raw")).unwrap().set_len(800 << 20).unwrap();
        Self { bench, source }
    }

    fn call(&self, arguments: &[&str]) -> (i32, String, String) {
        let disk = format!("file:{}", self.bench.text("disk.raw"));
        let mut command = kiln(&["install", "--target", &disk, "--source", &self.source]);
        command.args(["--machine", &self.bench.text("machine")]);
        command.args(["--runtime", &self.bench.runtime(), "--platform", "linux/amd64"]);
        command.args(["--scratch", &self.bench.text("scratch")]);
        command.args(["--config", &self.bench.text("layout.toml")]);
        command.args(["--config", &self.bench.text("hooks.yaml")]).args(arguments);
        fs::create_dir_all(self.bench.path("machine")).unwrap();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        answer(&mut command)
    }

    fn stage(&self) -> Stage {
        let device = FileDevice::new(File::open(self.bench.path("disk.raw")).unwrap(), 512);
        layout::stage(&gpt::read(&device.unwrap()).unwrap().table).unwrap()
    }
}

/// The document of Elemental's users that copies files for an air-gapped cluster, as they write it.
fn document(folder: &str) -> String {
    format!(
        "stages:
  before-install:
    - commands:
        - 'echo $KILN_STAGE $(head -c 1 {folder}/disk.raw | od -An -tx1) >> {folder}/log'
  after-install-chroot:
    - name: in the new root
      files:
        - path: /etc/from-hook
          content: \"etc\\n\"
        - path: /var/lib/from-hook
          content: \"var\\n\"
        - path: /usr/share/from-hook
          content: \"usr\\n\"
  after-install:
    - name: install k3s
      commands:
        - mount /dev/sda5 /var
        - mkdir -p /var/lib/rancher/k3s/agent/images/ && mkdir /var/lib/rancher/k3s/server/manifests -p
        - cp {folder}/hooks.yaml /var/lib/rancher/k3s/agent/images/
        - cp {folder}/hooks.yaml /var/lib/rancher/k3s/server/manifests
        - reboot
        - 'echo $KILN_STAGE $KILN_TARGET >> {folder}/log'
        - mount LABEL=COS_OEM /mnt && echo oem > /mnt/90_custom.yaml
        - test -e $KILN_ROOT/usr/lib/os-release && echo root >> {folder}/log
        - exit 3
  post-install:
    - commands:
        - 'echo $KILN_STAGE >> {folder}/log'
"
    )
}

#[test]
fn an_air_gap_hook_finds_the_state_and_its_restart_waits() {
    let installer = Installer::new("");
    let folder = installer.bench.path("");
    let document = document(folder.to_str().unwrap().trim_end_matches('/'));
    fs::write(installer.bench.path("hooks.yaml"), &document).unwrap();

    let (code, stdout, stderr) = installer.call(&["--dry-run"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("\nhooks:\n  before-install: command of "), "{stdout}");
    assert!(stdout.contains("after-install-chroot: file `/etc/from-hook` ("), "{stdout}");
    let (_, stdout, _) = installer.call(&["--dry-run", "--json"]);
    let plan: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(plan["hooks"][1]["stage"], "after-install-chroot");
    assert_eq!(lines(&installer.bench, "log"), Vec::<String>::new(), "a dry run");
    if !may_mount() {
        return;
    }

    let (code, _, stderr) = installer.call(&["--yes", "--strict"]);
    assert_eq!(code, 1, "a hook failed: {stderr}");
    let said = [
        "/usr/share/from-hook`: Read-only file system",
        "exit status 3",
        "kiln: /dev/sda5 is Kiln's state; its folder var is shown at /var",
        "kiln: `reboot` waits until all is done",
        "disk.raw is installed and starts by itself",
        "a hook asked that the machine restarts: not done",
    ];
    for said in said {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
    assert!(
        stderr.find("is installed and starts") < stderr.find("a hook asked that the machine"),
        "last of all: {stderr}"
    );
    let seen = lines(&installer.bench, "log");
    assert_eq!(seen, ["before-install 00", "after-install disk.raw", "root", "post-install"]);
    assert_eq!(installer.stage(), Stage::Complete);
    extract_state(&installer.bench, "disk.raw");
    let read = |path: &str| debugfs(&installer.bench, &format!("cat {path}"));
    assert_eq!(read("/var/lib/rancher/k3s/agent/images/hooks.yaml"), document);
    assert_eq!(read("/var/lib/rancher/k3s/server/manifests/hooks.yaml"), document);
    assert_eq!(read("/var/lib/from-hook"), "var\n");
    assert_eq!(read("/oem/90_custom.yaml"), "oem\n");
    let listed = debugfs(&installer.bench, "ls -p /kiln/hooks");
    let release = listed.split('/').find(|word| word.len() == 16).expect(&listed).to_owned();
    assert_eq!(read(&format!("/kiln/hooks/{release}/etc/from-hook")), "etc\n");
    assert_eq!(read(&format!("/kiln/hooks/{release}/etc/of-image")), "image\n");
    assert_eq!(read(&format!("/kiln/hooks/{release}/etc/os-release")), "");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("kiln/hooks"), "{mounts}");
}

#[test]
fn without_hooks_the_first_boot_makes_the_state() {
    let installer = Installer::new("#cloud-config\nusers: []\n");
    let source = installer.bench.archive("plain.tar", &[]);
    let installer = Installer { source, ..installer };
    let (code, stdout, stderr) = installer.call(&["--yes", "--strict"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stdout.contains("hooks:"), "{stdout}");
    assert_eq!(installer.stage(), Stage::Unformatted);
    assert!(!installer.bench.path("machine/run").exists(), "nothing was prepared");
}

#[test]
fn hooks_of_an_upgrade_see_the_new_root_and_leave_a_layer_for_it() {
    let bench = Bench::new();
    let first =
        bench.archive("first.tar", &[("etc/version", b"1"), ("usr/lib/kiln/recipe.json", b"{}")]);
    let new = "stages:\n  after-upgrade-chroot:\n    - files:\n        - path: /etc/of-new-release\n          \
               content: \"new\\n\"\n";
    let second = bench
        .archive("second.tar", &[("etc/version", b"2"), ("system/oem/new.yaml", new.as_bytes())]);
    let hash = build(&bench, &first);
    let machine = Machine::of_built(&bench, &hash);
    assert_eq!(answer(&mut machine.kiln(&["bless"])).0, 0);
    let log = bench.text("log");
    let document = format!(
        "stages:\n  before-upgrade:\n    - commands: ['echo before >> {log}']\n  after-upgrade:\n    \
         - commands:\n        - 'cat $KILN_ROOT/etc/version >> {log}; echo >> {log}'\n        \
         - systemctl reboot\n  after-upgrade.after:\n    \
         - commands: ['echo after >> {log}']\n"
    );
    fs::create_dir_all(bench.path("machine/oem")).unwrap();
    fs::write(bench.path("machine/oem/50.yaml"), document).unwrap();
    let mut check = machine.kiln(&["upgrade", &second, "--check"]);
    let (code, stdout, stderr) = answer(&mut check);
    assert_eq!(code, 10, "{stderr}");
    assert!(stdout.contains("after-upgrade.after: command of"), "{stdout}");
    if !may_mount() {
        return;
    }

    let call = |arguments: &[&str]| {
        let mut command = machine.kiln(arguments);
        answer(command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
    };
    let (code, _, stderr) = call(&["upgrade", &second, "--stage", "--strict"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(lines(&bench, "log"), ["before"], "the others run when it is activated");
    let (code, _, stderr) = call(&["upgrade", &second, "--strict"]);
    assert_eq!(code, 0, "{stderr}");
    let (code, _, refused) = answer(machine.kiln(&["rollback"]).env("KILN_HOOKS", bench.text("x")));
    assert!(code == 1 && refused.contains("a hook cannot change what"), "{refused}");
    let seen = lines(&bench, "log");
    assert_eq!((seen[1].as_str(), seen.last().unwrap().as_str()), ("2", "after"), "{seen:?}");
    assert!(stderr.contains("a hook asked for it: the machine restarts now"), "{stderr}");
    assert!(stderr.contains("a folder cannot be restarted"), "{stderr}");
    let hooks = bench.path("machine/state/kiln/hooks");
    let release = fs::read_dir(&hooks).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_to_string(release.join("etc/of-new-release")).unwrap(), "new\n");
    let left = fs::read_dir(&release).unwrap().count();
    assert_eq!(left, 2, "the layer and the accounts");
}

#[test]
fn what_hooks_of_a_reset_write_waits_for_it() {
    let bench = Bench::new();
    let first =
        bench.archive("first.tar", &[("etc/version", b"1"), ("usr/lib/kiln/recipe.json", b"{}")]);
    let hash = build(&bench, &first);
    let machine = Machine::of_built(&bench, &hash);
    let log = bench.text("log");
    let document = format!(
        "stages:\n  before-reset:\n    - commands: ['echo before >> {log}']\n  after-reset:\n    \
         - commands:\n        - mount /dev/sda5 /var\n        - mount LABEL=COS_PERSISTENT /var\n        \
         - 'mkdir -p /var/lib/hook && echo kept > /var/lib/hook/file'\n        - poweroff\n  \
         post-reset:\n    - commands: ['test -e {}/state/kiln/reset && echo wished >> {log}']\n",
        bench.text("machine")
    );
    fs::create_dir_all(bench.path("machine/oem")).unwrap();
    fs::create_dir_all(bench.path("machine/state/var/lib/old")).unwrap();
    fs::create_dir_all(bench.path("machine/var/lib/factory")).unwrap();
    fs::write(bench.path("machine/oem/50.yaml"), document).unwrap();
    let call = |arguments: &[&str]| {
        let mut command = machine.kiln(arguments);
        answer(command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
    };
    let (code, stdout, stderr) = call(&["reset", "--dry-run", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let plan: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(plan["hooks"][0]["stage"], "before-reset");
    if !may_mount() {
        return;
    }
    let (code, stdout, stderr) = call(&["reset", "--yes"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(lines(&bench, "log"), ["before", "wished"], "{stderr}");
    assert!(stderr.contains("a folder cannot be switched off"), "{stderr}");
    let kept = bench.path("machine/state/kiln/hooks/var/lib/hook/file");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "kept\n", "{stderr}");
    assert!(bench.path("machine/state/kiln/hooks/var/lib/factory").is_dir());
    assert!(!bench.path("machine/state/var/lib/hook").exists(), "what runs has not seen it");
    let (code, _, stderr) = call(&["reset", "--cancel"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!kept.exists());

    let (code, _, stderr) = call(&["reset", "--wipe-state", "--yes", "--strict"]);
    assert!(
        stderr.contains("after-reset cannot run: the next boot makes a new file system"),
        "{stderr}"
    );
    assert_eq!(code, 1, "{stderr}");
}
