//! Rights that files give: set-user-id programs and SELinux labels.

use kiln_tree::Kind;

use crate::Error;
use crate::image::{Image, is_within, name};
use crate::rule::{Fault, Rule, Severity, Threshold};

/// Set-user-id and set-group-id (inode(7)).
const SET_ID: u16 = 0o6000;

/// Folders in which distributions install programs.
const PROGRAM_FOLDERS: [&str; 8] =
    ["bin", "lib", "sbin", "usr/bin", "usr/lib", "usr/lib64", "usr/libexec", "usr/sbin"];

/// Programs that distributions install with these bits, by name; listed in docs/lint.md.
const USUAL_PROGRAMS: [&str; 44] = [
    "at",
    "bsd-write",
    "bwrap",
    "cgexec",
    "chage",
    "chfn",
    "chsh",
    "crontab",
    "dbus-daemon-launch-helper",
    "dotlockfile",
    "expiry",
    "fusermount",
    "fusermount3",
    "gpasswd",
    "groupmems",
    "grub2-set-bootflag",
    "locate",
    "mount",
    "mount.cifs",
    "mount.nfs",
    "newgidmap",
    "newgrp",
    "newuidmap",
    "ntfs-3g",
    "pam_timestamp_check",
    "passwd",
    "ping",
    "pkexec",
    "plocate",
    "polkit-agent-helper-1",
    "postdrop",
    "postqueue",
    "sg",
    "ssh-agent",
    "ssh-keysign",
    "sssd_pam",
    "su",
    "sudo",
    "sudoedit",
    "umount",
    "unix_chkpwd",
    "utempter",
    "wall",
    "write",
];

/// Name of the attribute that holds an SELinux label.
const SELINUX_LABEL: &[u8] = b"security.selinux";

pub(super) const SETUID_FILE: Rule = Rule {
    id: "setuid-file",
    severity: Severity::Warning,
    threshold: Threshold::Any,
    reason: "a set-user-id or set-group-id program gives its caller rights, so each one beyond a \
             distribution's usual ones should be known and meant",
    fix: "take the bit away with chmod ug-s, give a file capability instead, or allow the rule",
    check: |image, _| {
        let mut faults = Vec::new();
        for (path, _, node) in image.below("") {
            let mode = node.metadata.mode;
            if matches!(node.kind, Kind::File(_)) && mode & SET_ID != 0 && !is_usual(&path) {
                faults.push(Fault::at(&path, format!("mode {mode:04o}, not a usual program")));
            }
        }
        Ok(faults)
    },
};

fn is_usual(path: &[u8]) -> bool {
    PROGRAM_FOLDERS.iter().any(|folder| is_within(path, folder))
        && USUAL_PROGRAMS.iter().any(|program| program.as_bytes() == name(path))
}

pub(super) const SELINUX_UNLABELLED: Rule = Rule {
    id: "selinux-unlabelled",
    severity: Severity::Error,
    threshold: Threshold::Any,
    reason: "the root is read-only and cannot be relabelled at boot; without labels an enforcing \
             policy lets nothing start",
    fix: "label the image with setfiles and export it with its extended attributes, or set \
          SELINUX=disabled in /etc/selinux/config",
    check: selinux_unlabelled,
};

fn selinux_unlabelled(image: &Image<'_>, _: u64) -> Result<Vec<Fault>, Error> {
    let policy = image.files("etc/selinux").find(|(path, ..)| {
        let mut names = path.rsplit(|byte| *byte == b'/');
        let file = names.next().unwrap_or_default();
        file.starts_with(b"policy.") && names.next() == Some(b"policy")
    });
    let Some((path, ..)) = policy else { return Ok(Vec::new()) };
    let configuration = image.text("etc/selinux/config")?;
    let disabled = configuration
        .lines()
        .filter_map(|line| line.trim().strip_prefix("SELINUX="))
        .any(|value| value.trim().eq_ignore_ascii_case("disabled"));
    let labelled =
        image.below("").any(|(_, _, node)| node.metadata.xattrs.contains_key(SELINUX_LABEL));
    if disabled || labelled {
        return Ok(Vec::new());
    }
    Ok(vec![Fault::at(&path, "the image has an SELinux policy and no file has a label")])
}

#[cfg(test)]
mod tests {
    use super::{USUAL_PROGRAMS, is_usual};

    #[test]
    fn usual_programs_are_usual_only_where_they_belong() {
        let cases: [(&[u8], bool); 5] = [
            (b"usr/bin/su", true),
            (b"usr/lib/openssh/ssh-keysign", true),
            (b"home/kiln/su", false),
            (b"usr/share/su", false),
            (b"usr/bin/surf", false),
        ];
        for (path, expected) in cases {
            assert_eq!(is_usual(path), expected, "{}", path.escape_ascii());
        }
        assert!(USUAL_PROGRAMS.is_sorted(), "the list is sorted, as in the documentation");
    }

    #[test]
    fn usual_programs_are_documented() {
        let text = include_str!("../../../../docs/lint.md");
        let words: Vec<&str> = text.split(['`', '\n']).collect();
        for program in USUAL_PROGRAMS {
            assert!(words.contains(&program), "docs/lint.md does not list {program}");
        }
    }
}
