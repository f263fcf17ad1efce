//! One run of a document on a machine in a temporary folder, and looks at what it left.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use kiln_config::action::Remote;
use kiln_config::check::{Checked, Input, check, check_with};
use kiln_config::ignition::config::{Ignition, Resource};
use kiln_config::operation::Moment;
use kiln_config::{Action, Stage};
use kiln_provision::stages::run_stage;
use kiln_provision::{
    Error, Fetch, Finished, Invocation, Programs, Report, Reporting, Sending, Storage, run,
};
use serde_json::Value;

use super::common::Machine;

/// The stages of a boot, in their order.
const BOOT: [&str; 6] = ["pre-rootfs", "rootfs", "initramfs", "fs", "boot", "network"];
/// What the machine has beside what all machines of these tests have.
const FILES: [(&str, &str); 5] = [
    ("usr/lib/systemd/system/k3s-agent.service", "[Install]\nWantedBy=multi-user.target\n"),
    ("usr/lib/systemd/systemd", ""),
    ("etc/group-of-others", "old:x:7:\n"),
    ("etc/notes", "old\n"),
    ("etc/systemd/system/timers.target.wants/old.timer", "enabled\n"),
];

/// A config that others name.
const CHILD: &str = "{\"ignition\": {\"version\": \"3.6.0\"}, \"storage\": {\"files\": [\
    {\"path\": \"/etc/child\", \"contents\": {\"source\": \"data:,c\"}}]}}";
/// A certificate, as far as a document can be asked for one.
const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\nMAAw\n-----END CERTIFICATE-----\n";

/// What a run did outside of files.
#[derive(Default)]
struct Outside {
    calls: Vec<String>,
    variables: Vec<String>,
    actions: Vec<Action>,
    fetched: Vec<String>,
}

/// Programs that are remembered with what they could have read; `false` fails.
struct Remembered<'a>(&'a mut Vec<String>, &'a mut Vec<String>);

impl Programs for Remembered<'_> {
    fn run(&mut self, invocation: &Invocation<'_>) -> Result<Finished, Error> {
        self.0.push(format!("{} {}", invocation.program, invocation.arguments.join(" ")));
        let variables = invocation.environment.iter();
        self.1.extend(variables.map(|(name, value)| format!("{name}={value}")));
        for name in ["git-key", "git-server"] {
            if let Ok(text) = fs::read_to_string(invocation.root.join("run/kiln").join(name)) {
                self.1.push(format!("{name}={}", text.trim_end()));
            }
        }
        let is_bad = invocation.arguments.last().is_some_and(|last| last == "false");
        let fault = is_bad.then(|| "exit status 1".to_owned());
        Ok(Finished { fault, output: String::new() })
    }
}

/// A network where everything is, and that remembers what it was asked for.
struct Everywhere<'a>(&'a mut Vec<String>);

impl Fetch for Everywhere<'_> {
    fn get(&mut self, remote: &Remote, _: u64) -> Result<Vec<u8>, Error> {
        let mut asked = format!("{} in {} s", remote.url, remote.timeout);
        if remote.header_timeout > 0 {
            asked.push_str(&format!(", header in {} s", remote.header_timeout));
        }
        for (name, value) in &remote.headers {
            asked.push_str(&format!(", {name}: {value}"));
        }
        if let Some(proxy) = &remote.proxy {
            asked.push_str(&format!(", by {proxy}"));
        }
        for authority in &remote.authorities {
            asked.push_str(&format!(", trusting {}", authority.trim_end()));
        }
        self.0.push(asked);
        let last = remote.url.rsplit(['/', '.']).next().unwrap_or_default();
        Ok(match last {
            "keys" => b"ssh-rsa FETCHED\n".into(),
            "userdata" => b"#cloud-config\n".into(),
            _ => b"fetched".into(),
        })
    }

    fn send(&mut self, sending: &Sending<'_>) -> Result<Vec<u8>, Error> {
        let told: Value = serde_json::from_slice(sending.bytes).unwrap();
        let outcome = told["outcome"].as_str().unwrap();
        self.0.push(format!("{} is told of {outcome}", sending.url));
        Ok(Vec::new())
    }
}

/// Disks, mounts and kernel arguments that are only asked for.
struct Asked<'a>(&'a mut Vec<Action>);

impl Storage for Asked<'_> {
    fn carry_out(&mut self, action: &Action) -> Result<(), Error> {
        self.0.push(action.clone());
        Ok(())
    }
}

/// A machine after a document was carried out on it.
pub(crate) struct Run {
    machine: Machine,
    outside: Outside,
    reports: Vec<Report>,
}

impl Run {
    /// A cloud-config through a whole boot. A text that begins with `{` is the steps of `boot`, as yip
    /// reads them.
    pub(crate) fn cloud_config(text: &str) -> Self {
        if text.starts_with('{') {
            return Self::stages(&format!("dialect: yip\nstages: {{boot: [{text}]}}\n"), &["boot"]);
        }
        Self::stages(text, &BOOT)
    }

    /// A document through some stages.
    pub(crate) fn stages(text: &str, stages: &[&str]) -> Self {
        let mut run = Self::new(text);
        let bytes = run.filled(text).into_bytes();
        let checked = check(vec![Input { name: "a.yaml".into(), bytes }], None);
        for stage in stages {
            run.stage(&checked, stage);
        }
        run
    }

    /// A config of Ignition at the first boot.
    pub(crate) fn ignition(text: &str) -> Self {
        let mut run = Self::new("");
        run.machine.has_state = true;
        let text = match text.starts_with('{') {
            true => text.to_owned(),
            false => format!("{{'ignition': {{'version': '3.6.0'}}, {text}}}"),
        };
        let bytes = text.replace('\'', "\"").into_bytes();
        let fetched = &mut run.outside.fetched;
        let mut fetch = |resource: &Resource, _: &Ignition| {
            let url =
                resource.source.as_ref().map(|source| source.value.clone()).unwrap_or_default();
            let mut asked = url.clone();
            for header in &resource.http_headers {
                let value = header.value.as_ref().map(|value| value.value.as_str());
                asked.push_str(&format!(", {}: {}", header.name.value, value.unwrap_or("-")));
            }
            fetched.push(asked);
            at(&url).ok_or_else(|| "nothing is there".to_owned())
        };
        let input = Input { name: "a.ign".into(), bytes };
        let checked = check_with(vec![input], None, Some(&mut fetch));
        // A machine carries nothing out of a config with an error.
        if !checked.diagnostics.has_errors() {
            run.first_boot(&checked);
        }
        run
    }

    /// The sections of a Provision document through the first boot, and who is told of it.
    pub(crate) fn provision(text: &str) -> Self {
        let mut run = Self::new("");
        run.machine.has_state = true;
        let header = "apiVersion: kiln.dev/v1alpha1\nkind: Provision\n";
        let bytes = format!("{header}{text}\n").into_bytes();
        let checked = check(vec![Input { name: "a.yaml".into(), bytes }], None);
        assert!(!checked.diagnostics.has_errors(), "{text}: {:?}", checked.diagnostics);
        for stage in ["pre-rootfs", "rootfs"] {
            run.stage(&checked, stage);
        }
        run.first_boot(&checked);
        for stage in ["initramfs", "fs", "boot", "network"] {
            run.stage(&checked, stage);
        }
        let reporting = Reporting::of("", &checked.plan);
        let told = reporting.tell(&mut Everywhere(&mut run.outside.fetched), &run.reports, &[]);
        assert_eq!(told, None);
        run
    }

    fn first_boot(&mut self, checked: &Checked) {
        let Outside { calls, variables, actions, fetched } = &mut self.outside;
        let (mut programs, mut fetch, mut storage) =
            (Remembered(calls, variables), Everywhere(fetched), Asked(actions));
        let stage = Stage::main(Moment::FirstBoot);
        let report = self.machine.with(&mut programs, &mut fetch, &mut storage, |surroundings| {
            run(&checked.plan, &stage, &checked.sources, surroundings)
        });
        self.reports.push(report);
    }

    fn new(text: &str) -> Self {
        let mut machine = Machine::new();
        for (path, contents) in FILES {
            let path = machine.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        fs::create_dir_all(machine.folder.path().join("proc/sys/vm")).unwrap();
        fs::write(machine.folder.path().join("proc/sys/vm/swappiness"), "60\n").unwrap();
        // The firmware names the cloud that is asked for user data.
        let firmware = machine.folder.path().join("sys/class/dmi/id");
        fs::create_dir_all(&firmware).unwrap();
        fs::write(firmware.join("sys_vendor"), "Hetzner\n").unwrap();
        // Units start on a running system only, and the host's name would change on one.
        machine.is_running = text.contains("start:");
        // Reports are flushed to the disk, hundreds of them here.
        machine.has_state = false;
        Self { machine, outside: Outside::default(), reports: Vec::new() }
    }

    /// The text with the path of an image for what stands in it as `IMAGE`.
    fn filled(&self, text: &str) -> String {
        if !text.contains("IMAGE") {
            return text.to_owned();
        }
        let folder = self.machine.folder.path().join("image");
        image(&folder);
        text.replace("IMAGE", &format!("oci:{}", folder.display()))
    }

    fn stage(&mut self, checked: &Checked, stage: &str) {
        let Outside { calls, variables, actions, fetched } = &mut self.outside;
        let (mut programs, mut fetch, mut storage) =
            (Remembered(calls, variables), Everywhere(fetched), Asked(actions));
        let reports = self.machine.with(&mut programs, &mut fetch, &mut storage, |surroundings| {
            run_stage(stage, checked, surroundings)
        });
        self.reports.extend(reports);
    }

    /// What there is to see, as one line; `-` is nothing.
    pub(crate) fn see(&self, look: &str) -> String {
        let (word, rest) = look.split_once(' ').unwrap_or((look, ""));
        let (path, name) = rest.split_once(' ').unwrap_or((rest, ""));
        let at: PathBuf = self.machine.path(path);
        let seen = match word {
            "text" => fs::read_to_string(&at).ok(),
            "line" => fs::read_to_string(&at).ok().and_then(|text| {
                text.lines().find(|line| line.starts_with(name)).map(str::to_owned)
            }),
            "mode" => fs::metadata(&at).ok().map(|file| format!("{:o}", file.mode() & 0o7777)),
            "owner" => fs::metadata(&at).ok().map(|file| format!("{}:{}", file.uid(), file.gid())),
            "links" => fs::metadata(&at).ok().map(|file| file.nlink().to_string()),
            "link-owner" => {
                let link = fs::symlink_metadata(&at).ok();
                link.map(|link| format!("{}:{}", link.uid(), link.gid()))
            }
            "link" => fs::read_link(&at).ok().map(|target| target.display().to_string()),
            "kernel" => {
                fs::read_to_string(self.machine.folder.path().join("proc/sys").join(path)).ok()
            }
            "calls" => Some(self.outside.calls.join("; ")),
            "variable" => {
                let mut all = self.outside.variables.iter();
                all.find_map(|one| one.strip_prefix(path)?.strip_prefix('=')).map(str::to_owned)
            }
            "fetched" => Some(self.outside.fetched.join("; ")),
            "asked" => Some(self.outside.actions.iter().map(shown).collect::<Vec<_>>().join("; ")),
            "names" => {
                let records = self.reports.iter().flat_map(|report| &report.records);
                Some(records.filter_map(|record| record.name.clone()).collect::<Vec<_>>().join(" "))
            }
            other => panic!("there is no look at `{other}`"),
        };
        let seen = seen.unwrap_or_default();
        let seen = seen.trim_end().replace('\n', "/");
        if seen.is_empty() { "-".into() } else { seen }
    }
}

/// What lies at the addresses that configs of Ignition name.
fn at(url: &str) -> Option<Vec<u8>> {
    let packed = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    match url {
        "https://example.com/child" => Some(CHILD.into()),
        "https://example.com/child.gz" => Some(packed(CHILD)),
        "https://example.com/ca" => Some(AUTHORITY.into()),
        "https://example.com/ca.gz" => Some(packed(AUTHORITY)),
        _ => None,
    }
}

/// An action without what is absent or by default.
fn shown(action: &Action) -> String {
    short(serde_json::to_value(action).unwrap()).to_string().replace('"', "")
}

fn short(value: Value) -> Value {
    match value {
        Value::Object(mut map) if map.len() == 1 && map.contains_key("plain") => {
            map.remove("plain").map_or(Value::Null, short)
        }
        Value::Object(map) => {
            let kept = map.into_iter().map(|(key, value)| (key, short(value)));
            let kept: serde_json::Map<_, _> = kept
                .filter(|(_, value)| !value.is_null() && *value != Value::Bool(false))
                .collect();
            if kept.is_empty() { Value::Null } else { kept.into() }
        }
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::Array(list) => Value::Array(list.into_iter().map(short).collect()),
        other => other,
    }
}

/// An image for two platforms in a folder (OCI Image Layout Specification), each of one file that
/// names its platform.
fn image(folder: &std::path::Path) {
    use sha2::{Digest, Sha256};
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let keep = |bytes: &[u8]| {
        let digest: String =
            Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(blobs.join(&digest), bytes).unwrap();
        (format!("sha256:{digest}"), bytes.len())
    };
    let of = |architecture: &str| {
        let mut layer = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(architecture.len() as u64);
        header.set_mode(0o644);
        layer.append_data(&mut header, "platform", architecture.as_bytes()).unwrap();
        let (layer, layer_size) = keep(&layer.into_inner().unwrap());
        let config = serde_json::json!({
            "architecture": architecture, "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": [layer] },
        });
        let (config, config_size) = keep(config.to_string().as_bytes());
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json",
                        "digest": config, "size": config_size },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar",
                         "digest": layer, "size": layer_size }],
        });
        let (digest, size) = keep(manifest.to_string().as_bytes());
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest, "size": size,
            "platform": { "architecture": architecture, "os": "linux" },
        })
    };
    let platforms = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [of("amd64"), of("arm64")],
    });
    let (digest, size) = keep(platforms.to_string().as_bytes());
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{ "mediaType": "application/vnd.oci.image.index.v1+json",
                        "digest": digest, "size": size }],
    });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
}
