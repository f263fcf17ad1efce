//! Tables of what documents and layout files ask for, and of what a machine then has.

use kiln_config::action::{Persistence, Volume};
use kiln_config::check::{Input, check};
use kiln_config::{Action, Plan};
use kiln_etc::mounts::{Mounts, format};

use super::{Wishes, decide};

/// The lines of a decision but for the first, and what was said.
fn shown((mounts, said): (Mounts, Vec<String>)) -> (String, Vec<String>) {
    let text = format::write(&mounts);
    (text.lines().skip(1).collect::<Vec<_>>().join("; "), said)
}

fn plan(text: &str) -> Plan {
    let input = Input { name: "a.yaml".into(), bytes: text.as_bytes().to_vec() };
    check(vec![input], None).plan
}

fn list(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

fn add(persist: &[&str], ephemeral: &[&str]) -> Action {
    Action::Persistence(Persistence {
        persist: list(persist),
        ephemeral: list(ephemeral),
        ..Persistence::default()
    })
}

fn replace(persist: &[&str], bind: bool) -> Action {
    Action::Persistence(Persistence {
        persist: list(persist),
        bind,
        replace_persist: true,
        ..Persistence::default()
    })
}

fn volume(device: &str, path: &str) -> Action {
    Action::Volume(Volume { device: device.into(), path: path.into(), ..Volume::default() })
}

/// What holds without a word, as lines.
const KEPT: &str = "persistent overlay /etc; persistent overlay /home; \
    persistent overlay /opt; persistent overlay /root; persistent overlay /srv; \
    persistent overlay /usr/local; persistent overlay /var";
/// What Elemental has in memory without a word.
const IN_MEMORY: &str = "ephemeral /etc; ephemeral /home; ephemeral /opt; ephemeral /root; \
    ephemeral /srv; ephemeral /usr/local; ephemeral /var";

#[test]
fn operations_add_up_or_take_the_place_of_those_before() {
    let kept = |rest: &str| format!("{KEPT}{rest}");
    let only_ephemeral = Action::Persistence(Persistence {
        ephemeral: list(&["/var", "/usr"]),
        replace_ephemeral: true,
        ephemeral_size: Some("1g".into()),
        ..Persistence::default()
    });
    let bind = Action::Persistence(Persistence { bind: true, ..Persistence::default() });
    let cases: [(Vec<Action>, String, &[&str]); 12] = [
        (vec![], kept(""), &[]),
        (
            vec![add(&["/var/lib/app", "/data"], &[])],
            KEPT.replace(
                "persistent overlay /etc;",
                "persistent overlay /data; persistent overlay /etc;",
            ),
            &[],
        ),
        (
            vec![add(&[], &["/home", "/var/cache"])],
            kept("; ephemeral /home; ephemeral /var/cache")
                .replace("persistent overlay /home; ", ""),
            &[],
        ),
        (vec![replace(&["/etc/ssh"], true)], format!("persistent bind /etc/ssh; {IN_MEMORY}"), &[]),
        (vec![replace(&[], false)], IN_MEMORY.into(), &[]),
        (
            vec![
                replace(&["/etc", "/a"], false),
                bind.clone(),
                replace(&["/b"], false),
                bind,
                add(&["/c"], &[]),
            ],
            format!("persistent bind /b; persistent overlay /c; {IN_MEMORY}"),
            &[],
        ),
        (
            vec![add(&["/a", "/b"], &[]), replace(&["/b"], false)],
            format!("persistent overlay /a; persistent overlay /b; {IN_MEMORY}"),
            &[],
        ),
        (
            vec![only_ephemeral],
            format!("memory 1g; {}; ephemeral /var", KEPT.replace("; persistent overlay /var", "")),
            &["`/usr` cannot be in memory"],
        ),
        (
            vec![add(&["/proc/x", "/a/../b"], &[])],
            kept(""),
            &["`/proc/x` cannot be persistent: it belongs", "leads upwards"],
        ),
        (
            vec![
                volume("LABEL=COS_OEM", "/oem"),
                volume("LABEL=A", "/data"),
                volume("/dev/vdb", "/data"),
            ],
            kept("; volume /dev/vdb /data auto defaults"),
            &["`/data` is `/dev/vdb`, and not `LABEL=A`"],
        ),
        (
            vec![volume("LABEL=A", "/var"), volume("LABEL=B", "/oem")],
            format!(
                "{}; volume LABEL=A /var auto defaults",
                KEPT.replace("; persistent overlay /var", "")
            ),
            &["`/oem` cannot be the place of a volume"],
        ),
        (vec![volume("tmpfs", "/x")], kept(""), &["names no device"]),
    ];
    for (actions, expected, words) in cases {
        let mut wishes = Wishes::default();
        assert!(actions.iter().all(|action| wishes.add(action)));
        assert_eq!(wishes.is_empty(), actions.is_empty());
        let (found, said) = shown(wishes.decide(None));
        assert_eq!(found, expected, "{actions:?}");
        assert_eq!(said.len(), words.len(), "{said:?}");
        for (sentence, word) in said.iter().zip(words) {
            assert!(sentence.contains(word), "{sentence}");
        }
    }
}

#[test]
fn a_layout_file_has_the_last_word() {
    let kept_by_document = "kind: Provision\napiVersion: kiln.dev/v1alpha1\npersist: [/data]\n";
    let cases: [(&str, Option<&str>, &str, &[&str]); 8] = [
        ("", Some("# nothing\n"), KEPT, &[]),
        (
            "",
            Some("RW_PATHS=\n"),
            "ephemeral /etc; ephemeral /var",
            &["`/etc` is in memory", "`/var` is in memory"],
        ),
        (
            "",
            Some("VOLUMES=\"LABEL=COS_PERSISTENT:/usr/local\"\n"),
            "persistent overlay /usr/local; ephemeral /etc; ephemeral /home; ephemeral /opt; \
          ephemeral /root; ephemeral /srv; ephemeral /var",
            &[],
        ),
        (
            "",
            Some(
                "OVERLAY=tmpfs:20%\nRW_PATHS=\"/etc /var /srv\"\nPERSISTENT_STATE_PATHS=\"/etc/ssh\n/srv\"\n",
            ),
            "memory 20%; persistent overlay /etc/ssh; persistent overlay /srv; ephemeral /etc; ephemeral /var",
            &[],
        ),
        (
            "",
            Some("RW_PATHS='/etc /var'\nPERSISTENT_STATE_PATHS=/home\nPERSISTENT_STATE_BIND=yes\n"),
            "persistent overlay /home; ephemeral /etc; ephemeral /var",
            &["counts as false"],
        ),
        (
            "",
            Some("RW_PATHS='/etc /var'\nPERSISTENT_STATE_TARGET='/etc/ssh /home'\n"),
            "ephemeral /etc; ephemeral /var",
            &["`PERSISTENT_STATE_TARGET` is one folder"],
        ),
        (
            kept_by_document,
            Some("RW_PATHS='/etc /var'\nPERSISTENT_STATE_PATHS=/home\n"),
            "persistent overlay /data; persistent overlay /home; ephemeral /etc; ephemeral /var",
            &[],
        ),
        // A command changed the file after the step had written it.
        (
            "stages:\n  rootfs:\n    - environment_file: /run/cos/cos-layout.env\n      environment: {PERSISTENT_STATE_PATHS: /a, RW_PATHS: /etc /var}\n",
            Some("PERSISTENT_STATE_PATHS=/b\nPERSISTENT_STATE_BIND=true\n"),
            "persistent bind /b; ephemeral /etc; ephemeral /var",
            &[],
        ),
    ];
    for (document, layout, expected, words) in cases {
        let plan = if document.is_empty() { Plan::default() } else { plan(document) };
        let (found, said) = shown(decide(&plan, layout));
        assert_eq!(found, expected, "{layout:?}");
        assert_eq!(said.len(), words.len(), "{said:?}");
        for (sentence, word) in said.iter().zip(words) {
            assert!(sentence.contains(word), "{sentence}");
        }
    }
}

#[test]
fn only_operations_before_the_new_root_count() {
    let text = "stages:\n  boot:\n    - environment_file: /run/cos/cos-layout.env\n      environment: {RW_PATHS: /x}\n";
    assert_eq!(decide(&plan(text), None), (Mounts::default(), Vec::new()));
}

/// The layout that articles about Elemental show.
#[test]
fn the_usual_layout_of_k3s_is_carried_out() {
    let text = "VOLUMES=\"LABEL=COS_OEM:/oem LABEL=COS_PERSISTENT:/var\"\n\
        OVERLAY=\"tmpfs:25%\"\nRW_PATHS=\"/usr/local /etc /srv\"\n\
        PERSISTENT_STATE_PATHS=\"/etc/systemd /etc/rancher /etc/ssh /home /opt /root \
        /usr/libexec /var/log /var/lib/cni /usr/local/bin\"\n\
        PERSISTENT_STATE_TARGET=\"/etc/systemd /var/lib/kubelet\"\n\
        PERSISTENT_STATE_BIND=\"true\"\n";
    let (found, said) = shown(decide(&Plan::default(), Some(text)));
    let expected = "memory 25%; persistent bind /etc/rancher; persistent bind /etc/ssh; \
        persistent bind /etc/systemd; persistent bind /home; persistent bind /opt; \
        persistent bind /root; persistent bind /usr/libexec; persistent bind /usr/local/bin; \
        persistent overlay /var; ephemeral /etc; ephemeral /srv; ephemeral /usr/local";
    assert_eq!(found, expected);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("`/usr/libexec` hides"), "{said:?}");
    assert!(said[1].contains("is one folder"), "{said:?}");
}
