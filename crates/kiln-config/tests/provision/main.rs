//! Kiln's own YAML from outside: what each section becomes, what is refused, and that every plan can be
//! written as such a document.
#![expect(unreachable_pub, reason = "modules of a test program have nobody outside")]

mod plans;

use kiln_config::action::Action;
use kiln_config::operation::{Operation, Plan, Text};
use kiln_config::provision;
use kiln_config::{Diagnostics, Sources, Span};
use proptest::prelude::*;

fn read_all(texts: &[&str]) -> (Plan, Diagnostics, Sources) {
    let mut sources = Sources::default();
    let ids: Vec<_> = texts.iter().map(|text| sources.add("a.yaml", *text)).collect();
    let mut out = Diagnostics::default();
    let plan = provision::read(&sources, &ids, 0, &mut out);
    (plan, out, sources)
}

fn document(body: &str) -> String {
    format!("apiVersion: kiln.dev/v1alpha1\nkind: Provision\n{body}")
}

fn read(body: &str) -> (Plan, Diagnostics) {
    let (plan, out, _) = read_all(&[&document(body)]);
    (plan, out)
}

/// `place file:mode text`, `place unit …` and the like: enough to see what was meant.
fn show(operation: &Operation) -> String {
    let value = provision::describe(operation);
    let name = provision::action_name(operation);
    format!("{}/{} {name} {}", operation.stage, operation.rank, value[name])
}

fn without_places(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for operation in &mut plan.operations {
        operation.origin = Span::new(kiln_config::SourceId(0), 0, 0);
    }
    plan
}

#[test]
fn each_section_becomes_what_it_says() {
    let cases = [
        (
            "users:\n  joe:\n    groups: [wheel]\n",
            vec![r#"first-boot/5 user {"groups":["wheel"],"name":"joe"}"#],
        ),
        ("groups: {admin: {gid: 900}}\n", vec![r#"first-boot/4 group {"gid":900,"name":"admin"}"#]),
        (
            "report: https://a.example/x?y=1\n",
            vec![r#"first-boot/14 report "https://a.example/x?y=1""#],
        ),
        (
            "files:\n  /etc/motd:\n    text: hi\n    mode: 0600\n",
            vec![r#"first-boot/7 file {"mode":"0600","path":"/etc/motd","text":"hi"}"#],
        ),
        (
            "sysctl: {vm.swappiness: 10, net.ipv4.ip_forward: 1}\n",
            vec![
                r#"first-boot/7 file {"mode":"0644","path":"/etc/sysctl.d/90-provision.conf","text":"net.ipv4.ip_forward = 1\nvm.swappiness = 10\n"}"#,
            ],
        ),
        (
            "modules: [br_netfilter, loop max_loop=8]\n",
            vec![
                r#"first-boot/7 file {"mode":"0644","path":"/etc/modules-load.d/90-provision.conf","text":"br_netfilter\nloop\n"}"#,
                r#"first-boot/7 file {"mode":"0644","path":"/etc/modprobe.d/90-provision.conf","text":"options loop max_loop=8\n"}"#,
            ],
        ),
        (
            "persist: [/var/lib/x]\nephemeral: [/srv]\n",
            vec![r#"rootfs/1 persistence {"ephemeral":["/srv"],"persist":["/var/lib/x"]}"#],
        ),
        (
            "volumes: {/data: {device: LABEL=data}}\n",
            vec![r#"rootfs/0 volume {"device":"LABEL=data","path":"/data"}"#],
        ),
        (
            "links: {/etc/localtime: {target: ../usr/share/zoneinfo/UTC}}\n",
            vec![
                r#"first-boot/8 link {"path":"/etc/localtime","target":"../usr/share/zoneinfo/UTC"}"#,
            ],
        ),
        (
            "kernelArguments: {add: [quiet], remove: [rhgb]}\n",
            vec![r#"first-boot/12 kernelArguments {"add":["quiet"],"remove":["rhgb"]}"#],
        ),
        (
            "commands: {boot.after: [a], first-boot: [b]}\n",
            vec![
                r#"first-boot/13 command {"script":"b"}"#,
                r#"boot.after/13 command {"script":"a"}"#,
            ],
        ),
        (
            "network:\n  hostname: edge-1\n  links:\n    eth0: {dhcp: true, addresses: [192.0.2.7/24], mtu: 9000}\n",
            vec![
                r#"first-boot/7 file {"mode":"0644","path":"/etc/systemd/network/10-provision-eth0.network","text":"[Match]\nName=eth0\n\n[Link]\nMTUBytes=9000\n\n[Network]\nDHCP=yes\nAddress=192.0.2.7/24\n"}"#,
                r#"first-boot/9 hostname "edge-1""#,
            ],
        ),
        (
            "disks:\n  /dev/sdb:\n    partitions: [{label: data, sizeMiB: 100}]\nfilesystems: {/dev/sdb1: {format: xfs, path: /data}}\n",
            vec![
                r#"first-boot/0 disk {"device":"/dev/sdb","partitions":[{"label":"data","sizeMiB":100}]}"#,
                r#"first-boot/3 filesystem {"device":"/dev/sdb1","format":"xfs","path":"/data"}"#,
            ],
        ),
    ];
    for (body, expected) in cases {
        let (plan, out) = read(body);
        assert_eq!(out.list(), [], "{body}");
        assert_eq!(plan.operations.iter().map(show).collect::<Vec<_>>(), expected, "{body}");
    }
}

#[test]
fn kubernetes_nodes_find_their_files() {
    for (distribution, unit, variable) in [
        ("k3s", "k3s-agent.service", "K3S_TOKEN_FILE"),
        ("rke2", "rke2-agent.service", "RKE2_TOKEN_FILE"),
    ] {
        let (plan, out) = read(&format!(
            "kubernetes:\n  distribution: {distribution}\n  role: agent\n  server: https://192.0.2.1:6443\n  \
             token: {{credential: cluster}}\n  images:\n    a.tar.zst: {{from: /usr/share/a.tar.zst}}\n  \
             config: {{node-label: [a=b]}}\n"
        ));
        assert_eq!(out.list(), []);
        let shown: Vec<String> = plan.operations.iter().map(show).collect();
        let folder = format!("/etc/rancher/{distribution}/config.yaml.d");
        assert_eq!(
            shown,
            [
                format!(
                    r#"first-boot/7 file {{"mode":"0600","path":"{folder}/10-provision.yaml","text":"server: https://192.0.2.1:6443\n"}}"#
                ),
                format!(
                    r#"first-boot/7 file {{"mode":"0600","path":"{folder}/50-provision.yaml","secret":true,"text":"node-label:\n  - a=b\n"}}"#
                ),
                format!(
                    r#"first-boot/8 link {{"path":"/var/lib/rancher/{distribution}/agent/images/a.tar.zst","target":"/usr/share/a.tar.zst"}}"#
                ),
                format!(
                    r#"first-boot/11 unit {{"dropins":{{"10-provision-token.conf":"[Service]\nLoadCredential=cluster\nEnvironment={variable}=%d/cluster\n"}},"enabled":true,"name":"{unit}"}}"#
                ),
            ]
        );
    }
    let (plan, out) = read(
        "kubernetes:\n  distribution: k3s\n  role: server\n  token: abc\n  manifests: {n.yaml: {text: 'a: 1'}}\n",
    );
    assert_eq!(out.list().iter().map(|one| one.code).collect::<Vec<_>>(), ["inline-token"]);
    let token = plan.operations.iter().find_map(|operation| match &operation.action {
        Action::File(file) if file.path == Text::from("/etc/rancher/k3s/provision-token") => {
            Some(file)
        }
        _ => None,
    });
    let token = token.unwrap();
    assert_eq!((token.mode, token.contents.as_ref().unwrap().secret), (Some(0o600), true));
    assert!(plan.operations.iter().any(|operation| {
        show(operation).contains("/var/lib/rancher/k3s/server/manifests/n.yaml")
    }));
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    for (body, line, code, part) in [
        ("usres: {}\n", 3, "unknown-key", "`usres`"),
        ("users:\n  joe: {shel: /bin/sh}\n", 4, "unknown-key", "`shel`"),
        ("users:\n  joe: {}\n  joe: {}\n", 5, "duplicate-key", "`joe`"),
        ("users: [joe]\n", 3, "wrong-type", "`users`"),
        ("files: {etc/x: {text: a}}\n", 3, "path", "not absolute"),
        ("files: {/etc/../x: {text: a}}\n", 3, "path", "`..`"),
        ("files: {/x: {text: a, url: 'https://example.com'}}\n", 3, "contradiction", "exclude"),
        ("files: {/x: {url: 'file:///etc/shadow'}}\n", 3, "url", "fetched"),
        ("files: {/x: {base64: '***'}}\n", 3, "base64", "padding"),
        ("files: {/x: {text: a, hash: md5-1}}\n", 3, "hash", "md5-1"),
        ("files: {/x: {text: a, mode: 0999}}\n", 3, "mode", "octal"),
        ("files: {/x: {text: a, timeout: 5}}\n", 3, "contradiction", "belong to `url`"),
        ("files: {/x: {text: a}}\nlinks: {/x: {target: /y}}\n", 4, "contradiction", "two sections"),
        ("links: {/x: {}}\n", 3, "missing-key", "`target`"),
        ("report: ftp://a.example/x\n", 3, "url-scheme", "`ftp`"),
        ("report: /var/log/x\n", 3, "bad-url", "no scheme"),
        ("report: [https://a.example]\n", 3, "wrong-type", "`report`"),
        ("commands: {bot: [a]}\n", 3, "unknown-stage", "`bot`"),
        ("commands: {boot: a}\n", 3, "wrong-type", "list"),
        ("persist: [/a]\nephemeral: [/a]\n", 3, "contradiction", "`/a`"),
        ("sysctl: {a: \"1\\nb = 2\"}\n", 3, "more-than-a-line", "sysctl"),
        ("network: {hostname: a_b}\n", 3, "host-name", "a_b"),
        ("network: {links: {eth0: {addresses: [192.0.2.1]}}}\n", 3, "address", "192.0.2.1"),
        ("network: {links: {eth0: {mac: 'x'}}}\n", 3, "mac-address", "`x`"),
        ("kernelArguments: {add: [a], remove: [a]}\n", 3, "contradiction", "`a`"),
        ("kubernetes: {distribution: k4s, role: server}\n", 3, "unknown-value", "k4s"),
        (
            "kubernetes: {distribution: k3s, role: agent, token: {file: /t}}\n",
            3,
            "missing-key",
            "`server`",
        ),
        (
            "kubernetes: {distribution: k3s, role: server, server: 'https://a:1'}\n",
            3,
            "missing-key",
            "`token`",
        ),
        (
            "kubernetes: {distribution: k3s, role: server, server: 'http://a', token: {file: /t}}\n",
            3,
            "url",
            "https",
        ),
        (
            "kubernetes: {distribution: k3s, role: server, token: {credential: '../x'}}\n",
            3,
            "credential",
            "../x",
        ),
        (
            "kubernetes: {distribution: k3s, role: server, manifests: {a/b: {text: x}}}\n",
            3,
            "file-name",
            "a/b",
        ),
        (
            "kubernetes: {distribution: k3s, role: server, manifests: {a: {}}}\n",
            3,
            "missing-key",
            "`from`",
        ),
        ("operations:\n  - {stage: boot}\n", 4, "contradiction", "exactly one"),
        (
            "operations:\n  - {stage: boot, command: {script: a}, hostname: b}\n",
            4,
            "contradiction",
            "exactly one",
        ),
        ("operations:\n  - {command: {script: a}}\n", 4, "missing-key", "`stage`"),
        (
            "operations:\n  - {stage: boot, conditions: [{}], hostname: b}\n",
            4,
            "contradiction",
            "a condition",
        ),
        ("metadata: {nam: x}\n", 3, "unknown-key", "`nam`"),
    ] {
        let text = document(body);
        let (_, out, sources) = read_all(&[&text]);
        let said: Vec<_> = out
            .list()
            .iter()
            .map(|one| (sources.place(one.span.unwrap()).line, one.code, one.message.clone()))
            .collect();
        assert_eq!(said.len(), 1, "{body}: {said:?}");
        assert_eq!((said[0].0, said[0].1), (line, code), "{body}: {said:?}");
        assert!(said[0].2.contains(part), "{body}: {said:?}");
        assert!(out.has_errors(), "{body}");
    }
    for (text, part) in [
        ("kind: Provision\n", "`apiVersion`"),
        ("apiVersion: kiln.dev/v2\nkind: Provision\n", "kiln.dev/v1alpha1"),
        ("- a\n", "a map"),
        ("a: [\n", "not YAML"),
    ] {
        let (_, out, _) = read_all(&[text]);
        assert!(out.list()[0].message.contains(part), "{text}: {:?}", out.list());
    }
}

#[test]
fn passwords_in_clear_are_taken_with_a_warning() {
    let (plan, out) = read("users: {joe: {password: {plain: secret}}}\n");
    assert_eq!((out.list()[0].code, out.has_errors()), ("plain-password", false));
    assert_eq!(plan.operations.len(), 1);
    let (_, out) = read("users: {joe: {password: secret}}\n");
    assert_eq!(out.list()[0].code, "no-hash");
    let (_, out) = read("users: {joe: {password: $6$a$b}}\n");
    assert_eq!(out.list(), []);
}

#[test]
fn a_later_document_wins_key_by_key_and_keeps_its_place() {
    let first = document("users: {joe: {uid: 1, shell: /bin/sh}}\nfiles: {/a: {text: a}}\n");
    let second = document("users: {joe: {uid: 2}, ann: {}}\n");
    let both = format!("{first}---\n{second}");
    for texts in [&[first.as_str(), second.as_str()][..], &[&both]] {
        let (plan, out, sources) = read_all(texts);
        assert_eq!(out.list(), []);
        let shown: Vec<String> = plan.operations.iter().map(show).collect();
        assert_eq!(
            shown,
            [
                r#"first-boot/5 user {"name":"joe","shell":"/bin/sh","uid":2}"#,
                r#"first-boot/5 user {"name":"ann"}"#,
                r#"first-boot/7 file {"path":"/a","text":"a"}"#,
            ]
        );
        let line = sources.place(plan.operations[1].origin).line;
        assert_eq!(line, if texts.len() == 1 { 8 } else { 3 });
    }
}

#[test]
fn a_report_by_plain_http_is_taken_with_a_warning() {
    for (address, code) in [
        ("https://a.example/x?token=hunter2", None),
        ("http://a.example/x?token=hunter2", Some("plain-http")),
    ] {
        let (plan, out) = read(&format!("report: {address}\n"));
        assert_eq!(plan.operations[0].action, Action::Report(address.into()));
        assert_eq!(out.list().first().map(|one| one.code), code, "{address}");
        assert!(!out.has_errors(), "{address}");
        assert!(out.list().iter().all(|one| !one.message.contains("hunter2")), "{address}");
    }
}

#[test]
fn sections_are_used_where_they_can_say_it() {
    let body = "users:\n  joe:\n    groups:\n      - wheel\nfiles:\n  /etc/motd:\n    text: |\n      hi\n      there\n    mode: \"0600\"\ncommands:\n  boot:\n    - echo a\nreport: https://example.com/r\n";
    let (plan, _) = read(body);
    assert_eq!(provision::write(&plan), document(body));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_plan_can_be_written_and_read_again(plan in plans::plans()) {
        let mut plan = plan;
        plan.sort();
        let text = provision::write(&plan);
        let (again, out, _) = read_all(&[&text]);
        prop_assert!(!out.has_errors(), "{:?}\n{text}", out.list());
        prop_assert_eq!(without_places(&again), without_places(&plan), "{}", text);
        prop_assert_eq!(provision::write(&again), text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(body in "[ -~\n]{0,200}", key in "(users|files|units|network|kubernetes|operations|disks|commands)") {
        let _ = read(&format!("{key}:\n{body}"));
        let _ = read(&body);
    }
}
