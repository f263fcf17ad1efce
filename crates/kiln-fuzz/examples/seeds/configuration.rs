//! Seeds of configuration: the files of users that Kiln's tests read, and small ones for what those lack.

use crate::binary::Seed;

/// A document of the tests of `kiln-config`.
macro_rules! fixture {
    ($path:literal) => {
        include_str!(concat!("../../../kiln-config/tests/fixtures/", $path))
    };
}

const TEXTS: [(&str, &str, &str); 20] = [
    ("configuration", "elemental", fixture!("elemental/cloud-init.yaml")),
    ("configuration", "cos", fixture!("elemental/userdata.yaml")),
    ("configuration", "ignition-3.4", fixture!("ignition/worker-3.4.ign")),
    ("configuration", "ignition-3.4-pointer", fixture!("ignition/worker-pointer-3.4.ign")),
    (
        "configuration",
        "ignition-2.2",
        "{\"ignition\":{\"version\":\"2.2.0\"},\"storage\":{\"files\":[{\"filesystem\":\"root\",\
         \"path\":\"/etc/a\",\"append\":true,\"contents\":{\"source\":\"data:,x%0A\"}}]}}",
    ),
    (
        "configuration",
        "butane",
        "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /etc/a\n      mode: 0644\n\
         \x20     contents:\n        inline: hello\n",
    ),
    (
        "configuration",
        "provision",
        "apiVersion: kiln.dev/v1alpha1\nkind: Provision\nusers:\n  admin:\n    groups: [wheel]\n\
         files:\n  /etc/motd:\n    text: hello\n",
    ),
    (
        "configuration",
        "cloud-init",
        "#cloud-config\nhostname: edge\nwrite_files:\n  - path: /etc/a\n    encoding: b64\n\
         \x20   content: aGVsbG8=\nruncmd: [\"true\"]\n",
    ),
    ("configuration", "aliases", "stages:\n  boot: &a\n    - commands: [x]\n  network: *a\n"),
    ("configuration_steps", "command", "quiet stages.network[0].commands[0]=true"),
    ("configuration_steps", "quoted", "\"stages.boot[0].commands[0]=echo a b\" root=x"),
    ("configuration_steps", "phase", "stages.rootfs.after[0].hostname=a stages.fs[1].name=b"),
    ("configuration_steps", "setup", "cos.setup=/run/a kiln.setup=https://example.com/b.yaml"),
    ("configuration_steps", "odd", "stages.boot[999].commands[0]=x stages..a=1 stages[0]=2"),
    ("template", "value", "{{ .Values.os.name | default \"x\" | upper }}"),
    ("template", "branch", "{{ if eq 1 2 }}a{{ else if true }}b{{ else }}c{{ end }}"),
    ("template", "range", "{{ range $i, $x := list 1 2 3 }}{{ $i }}={{ $x }},{{ end }}"),
    ("template", "trim", "a {{- printf \"%05d|%q\" 42 \"x\" -}} b"),
    ("template", "with", "{{ with dict \"a\" 1 }}{{ get . \"a\" }}{{ end }}{{ /* no */ }}"),
    ("template", "unclosed", "{{ if true }}{{ repeat 9 \"x\" }"),
];

pub(crate) fn seeds() -> Vec<Seed> {
    TEXTS.iter().map(|(target, name, text)| (*target, *name, text.as_bytes().to_vec())).collect()
}
