//! Every rule fires on its bad image, alone, and none on the clean one.

#![expect(clippy::unwrap_used, reason = "helpers of tests; what fails here fails the test")]

mod fixture;

use std::collections::BTreeSet;

use fixture::Image;
use kiln_lab::efi::program;
use kiln_lint::{RULES, Settings, check};

/// How many MiB break a rule of size.
const MANY: usize = 21 << 20;

/// A change of the clean image.
type Edit = fn(&mut Image);

/// Rule, what breaks it, and the path that must be named.
type Case = (&'static str, Edit, Option<&'static str>);

const CASES: &[Case] = &[
    ("no-kernel", |image| image.remove("boot/vmlinuz-6.12"), None),
    ("several-kernels", |image| image.file("boot/vmlinuz-6.13", &program(Some("6.13"))), None),
    (
        "kernel-lacks",
        |image| image.file("usr/lib/modules/6.12/modules.dep", b"kernel/erofs.ko:\n"),
        Some("/boot/vmlinuz-6.12"),
    ),
    (
        "kernel-lacks",
        |image| image.file("usr/lib/modules/6.12/kernel/erofs.ko", b"no decoder"),
        Some("/boot/vmlinuz-6.12"),
    ),
    ("no-init", |image| image.remove("usr/lib/systemd/systemd"), None),
    ("no-boot-stub", |image| image.remove("usr/lib/systemd/boot/efi/linuxx64.efi.stub"), None),
    (
        "no-boot-stub",
        |image| image.file("usr/lib/systemd/boot/efi/linuxx64.efi.stub", b"not a program"),
        Some("/usr/lib/systemd/boot/efi/linuxx64.efi.stub"),
    ),
    ("no-boot-loader", |image| image.remove("usr/lib/systemd/boot/efi/systemd-bootx64.efi"), None),
    ("no-mkfs", |image| image.remove("usr/sbin/mke2fs"), None),
    (
        "selinux-unlabelled",
        |image| image.file("etc/selinux/targeted/policy/policy.33", b"policy"),
        Some("/etc/selinux/targeted/policy/policy.33"),
    ),
    (
        "ssh-host-keys",
        |image| image.file("etc/ssh/ssh_host_rsa_key", b"-----BEGIN RSA PRIVATE KEY-----\n"),
        Some("/etc/ssh/ssh_host_rsa_key"),
    ),
    (
        "machine-id",
        |image| image.file("etc/machine-id", b"0123456789abcdef0123456789abcdef\n"),
        Some("/etc/machine-id"),
    ),
    (
        "baked-secrets",
        |image| image.file("srv/tls.key", b"-----BEGIN EC PRIVATE KEY-----\nMHcC\n"),
        Some("/srv/tls.key"),
    ),
    (
        "baked-secrets",
        |image| image.file("root/.aws/credentials", b"[default]"),
        Some("/root/.aws/credentials"),
    ),
    (
        "empty-password",
        |image| image.file("etc/shadow", b"root::1::::::\nkiln:$6$salt$hash:1::::::\n"),
        Some("/etc/shadow"),
    ),
    (
        "empty-password",
        |image| {
            image.file("etc/passwd", b"kiln:x:1:1::/:/bin/sh\nguest::2:2::/:/usr/sbin/nologin\n");
        },
        Some("/etc/passwd"),
    ),
    ("setuid-file", |image| image.with_mode("usr/bin/tool", 0o4755), Some("/usr/bin/tool")),
    ("setuid-file", |image| image.with_mode("opt/su", 0o2755), Some("/opt/su")),
    ("no-login", |image| image.file("etc/shadow", b"root:*:1:\nkiln:!$6$salt$hash:1:\n"), None),
    ("foreign-programs", |image| image.file("usr/bin/elemental", b"x"), Some("/usr/bin/elemental")),
    ("foreign-programs", |image| image.link("usr/sbin/yip", "/opt/yip"), Some("/usr/sbin/yip")),
    (
        "persistent-programs",
        |image| {
            let document =
                b"stages:\n  rootfs.after:\n  - environment_file: /run/cos/cos-layout.env\n    \
                environment: {PERSISTENT_STATE_PATHS: /home /usr/libexec /usr/local/bin}\n";
            image.file("system/oem/10_layout.yaml", document);
            image.file("system/oem/note.txt", document);
        },
        Some("/system/oem/10_layout.yaml"),
    ),
    (
        "persistent-programs",
        |image| {
            let document =
                b"apiVersion: kiln.dev/v1alpha1\nkind: Provision\npersist: [/usr/lib/app]\n";
            image.file("system/oem/own.yml", document);
        },
        Some("/system/oem/own.yml"),
    ),
    ("hidden-var", |image| image.file("var/lib/app/a/b", b"content"), Some("/var/lib/app")),
    ("hidden-run", |image| image.file("run/app/socket.conf", b"x"), Some("/run/app/socket.conf")),
    ("hidden-run", |image| image.link("var/tmp/a", "b"), Some("/var/tmp/a")),
    (
        "large-caches",
        |image| image.file("var/lib/apt/lists/index", &vec![0; MANY]),
        Some("/var/lib/apt/lists"),
    ),
    (
        "large-docs",
        |image| image.file("usr/share/locale/de/a.mo", &vec![0; MANY]),
        Some("/usr/share/locale"),
    ),
];

/// Rules and paths that fire.
fn fired(image: &Image, settings: &Settings) -> Vec<(&'static str, Option<String>)> {
    let findings = check(&image.tree, &image.store, settings).unwrap();
    findings.into_iter().map(|finding| (finding.rule.id, finding.path)).collect()
}

#[test]
fn no_rule_fires_on_the_clean_image() {
    let image = Image::clean();
    let findings = check(&image.tree, &image.store, &Settings::default()).unwrap();
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(lines, Vec::<String>::new());
}

#[test]
fn each_rule_fires_on_its_bad_image_and_no_other_rule_does() {
    for (rule, spoil, path) in CASES {
        let mut image = Image::clean();
        spoil(&mut image);
        let expected = vec![(*rule, path.map(str::to_owned))];
        assert_eq!(fired(&image, &Settings::default()), expected);
        let allowed = Settings { allowed: [(*rule).to_owned()].into(), ..Settings::default() };
        assert_eq!(fired(&image, &allowed), [], "{rule} is allowed");
    }
}

#[test]
fn every_rule_has_a_bad_image() {
    let tested: BTreeSet<&str> = CASES.iter().map(|(rule, ..)| *rule).collect();
    let declared: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(tested, declared);
}

#[test]
fn what_is_right_in_another_way_is_not_reported() {
    let cases: [(&str, Edit); 7] = [
        ("SELinux labels", |image| {
            image.file("etc/selinux/targeted/policy/policy.33", b"policy");
            image.label("etc/passwd", "system_u:object_r:passwd_file_t:s0");
        }),
        ("SELinux switched off", |image| {
            image.file("etc/selinux/targeted/policy/policy.33", b"policy");
            image.file("etc/selinux/config", b"# off\nSELINUX=disabled\n");
        }),
        ("a login by key alone", |image| {
            image.file("etc/shadow", b"root:*:1:\nkiln:*:1:\n");
            image.file("home/kiln/.ssh/authorized_keys", b"ssh-ed25519 AAAA");
        }),
        ("another init", |image| {
            image.remove("usr/lib/systemd/systemd");
            image.file("usr/bin/busybox", b"init");
            image.link("sbin/init", "/usr/bin/busybox");
        }),
        ("locked accounts, comments of NIS and damaged lines", |image| {
            let text = b"root:*:1:\nkiln:$6$salt$hash:1:\na:!:\nb:!!:\n+\n\nlonely\n:nameless:\n";
            image.file("etc/shadow", text);
        }),
        ("links of an earlier build", |image| image.link("usr/bin/cos-setup", "kiln")),
        ("a link to the machine's own identity", |image| {
            image.link("var/lib/dbus/machine-id", "/etc/machine-id");
        }),
    ];
    for (case, edit) in cases {
        let mut image = Image::clean();
        edit(&mut image);
        assert_eq!(fired(&image, &Settings::default()), [], "{case}");
    }
}

#[test]
fn limits_can_be_moved() {
    let limits = [("large-docs".to_owned(), 1 << 19), ("large-caches".to_owned(), 2 << 20)].into();
    let settings = Settings { limits, ..Settings::default() };
    let expected = [("large-docs", Some("/usr/share/man".to_owned()))];
    assert_eq!(fired(&Image::clean(), &settings), expected);
}
