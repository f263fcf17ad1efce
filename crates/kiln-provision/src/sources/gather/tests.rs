//! A machine in a folder: every place at once, each policy, and networks that fail.

use std::collections::BTreeMap;

use kiln_config::{Action, Stage};

use super::super::volumes::tests::Folders;
use super::*;

/// A network of a few addresses, that remembers what it was asked for.
#[derive(Default)]
struct Network {
    answers: BTreeMap<&'static str, &'static str>,
    asked: Vec<String>,
}

impl Fetch for Network {
    fn get(&mut self, remote: &Remote, _: u64) -> Result<Vec<u8>, Error> {
        self.asked.push(remote.url.clone());
        let headers = remote.headers.iter().any(|(name, _)| name == "X-Fleet");
        match self.answers.get(remote.url.as_str()) {
            Some(text) if *text == "with header" && !headers => Err(status(403)),
            Some(text) => Ok(text.as_bytes().to_vec()),
            None => Err(status(404)),
        }
    }
}

fn status(status: u16) -> Error {
    let url = "https://there".to_owned();
    kiln_registry::Error::Status { url, status, message: String::new() }.into()
}

struct Machine {
    folder: tempfile::TempDir,
    network: Network,
    volumes: Folders,
    policy: Policy,
    line: String,
    connections: usize,
    is_connected: bool,
}

impl Machine {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            network: Network::default(),
            volumes: Folders::default(),
            policy: Policy::default(),
            line: String::new(),
            connections: 0,
            is_connected: true,
        }
    }

    fn with(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self
    }

    fn gather(&mut self) -> Gathered {
        let root = Root::open(self.folder.path()).unwrap();
        let (connections, is_connected) = (&mut self.connections, self.is_connected);
        gather_all(Search {
            root: &root,
            command_line: &self.line,
            policy: &self.policy,
            boot_partition: None,
            volumes: &mut self.volumes,
            fetch: &mut self.network,
            need_network: &mut || {
                *connections += 1;
                let missing = || Error::NotHere { what: "a cable".into() };
                if is_connected { Ok(()) } else { Err(missing()) }
            },
            say: &mut |_| {},
        })
    }
}

fn stage(text: &str) -> String {
    format!("#cloud-config\nstages: {{initramfs: [{{name: {text}}}]}}\n")
}

fn names(gathered: &Gathered) -> Vec<&str> {
    gathered.documents.iter().map(|one| one.name.as_str()).collect()
}

/// A machine with a document in every place that needs no network.
fn everywhere() -> Machine {
    let mut table = vec![11, 5, 0, 0, 1];
    table.extend(b"kiln.config=#cloud-config\0io.systemd.credential:kiln.config=#cloud-config\0\0");
    let mut machine = Machine::new()
        .with("oem/b.yaml", stage("own"))
        .with("system/oem/a.yaml", stage("image"))
        .with("usr/local/cloud-config/c.yaml", stage("local"))
        .with("usr/lib/kiln/provision.d/d.yaml", stage("kiln"))
        .with("sys/firmware/dmi/tables/DMI", table)
        .with("sys/firmware/qemu_fw_cfg/by_name/opt/kiln/config/raw", stage("fw"))
        .with("state/config/00000001/documents/000-old.yaml", stage("old"))
        .with("state/config/00000002/documents/000-kept.yaml", stage("kept"))
        .with("run/x.yaml", stage("line"));
    machine.volumes.add("/dev/sdb", "CIDATA", &[("user-data", &stage("volume"))]);
    machine.line = "kiln.config=/run/x.yaml".into();
    machine
}

#[test]
fn all_places_are_looked_at_in_their_order() {
    let mut machine = everywhere();
    let found = machine.gather();
    assert_eq!(
        names(&found),
        [
            "/system/oem/a.yaml",
            "/usr/lib/kiln/provision.d/d.yaml",
            "/oem/b.yaml",
            "/usr/local/cloud-config/c.yaml",
            "fw_cfg:opt/kiln/config",
            "SMBIOS, OEM string 1",
            "SMBIOS, OEM string 2",
            "CIDATA:/user-data",
            "/run/x.yaml",
        ]
    );
    assert!(found.failures.is_empty(), "{:?}", found.failures);
    assert!(found.documents.is_sorted_by_key(|document| document.place));
    assert_eq!(machine.connections, 0);
    assert_eq!(machine.volumes.looked, ["/dev/sdb iso9660"]);
}

#[test]
fn what_is_handed_over_counts_once_and_is_kept() {
    let mut machine = everywhere();
    machine.policy.provisioned = true;
    let found = machine.gather();
    assert_eq!(
        names(&found)[2..],
        [
            "/oem/b.yaml",
            "/usr/local/cloud-config/c.yaml",
            "/state/config/00000002/documents/000-kept.yaml",
            "/run/x.yaml"
        ]
    );
    assert!(found.trace.to_string().contains("fw_cfg: not used: it counts only until"));
    assert!(machine.volumes.looked.is_empty());

    machine.policy = Policy { sealed: true, ..Policy::default() };
    let sealed = machine.gather();
    assert_eq!(names(&sealed), ["/system/oem/a.yaml", "/usr/lib/kiln/provision.d/d.yaml"]);
    assert!(sealed.failures.is_empty());

    let allowed = Some(vec![Place::Volume]);
    machine.policy = Policy { allowed, ..Policy::default() };
    assert_eq!(names(&machine.gather())[2..], ["CIDATA:/user-data"]);
}

#[test]
fn two_volumes_with_one_label_are_a_failure_with_both_names() {
    let mut machine = Machine::new();
    for node in ["/dev/sdb", "/dev/sdc"] {
        machine.volumes.add(node, "config-2", &[("openstack/latest/user_data", "#cloud-config\n")]);
    }
    let found = machine.gather();
    assert_eq!(found.failures.len(), 1);
    let failure = &found.failures[0];
    assert!(failure.contains("/dev/sdb, /dev/sdc"), "{failure}");
    assert!(found.documents.is_empty() && machine.volumes.looked.is_empty());
}

#[test]
fn what_ignition_names_is_fetched_with_its_headers_and_the_network_comes_up_once() {
    let pointer = r#"{"ignition": {"version": "3.4.0", "config": {"merge": [
        {"source": "https://there/a", "httpHeaders": [{"name": "X-Fleet", "value": "7"}]},
        {"source": "https://there/b"}, {"source": "data:,%7B%22ignition%22%3A%7B%22version%22%3A%223.0.0%22%7D%7D"}]}}}"#;
    let file = r#"{"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "/etc/a"}]}}"#;
    let user = r#"{"ignition": {"version": "3.4.0"}, "passwd": {"users": [{"name": "core"}]}}"#;
    let mut machine = Machine::new().with("usr/lib/ignition/user.ign", pointer);
    machine.network.answers =
        BTreeMap::from([("https://there/a", file), ("https://there/b", user)]);
    let found = machine.gather();
    assert!(!found.checked.diagnostics.has_errors(), "{:?}", found.checked.diagnostics);
    assert_eq!((machine.connections, machine.network.asked.len()), (1, 2));
    let actions: Vec<&Action> =
        found.checked.plan.operations.iter().map(|operation| &operation.action).collect();
    assert!(actions.iter().any(|action| matches!(action, Action::File(_))), "{actions:?}");
    assert!(actions.iter().any(|action| matches!(action, Action::User(_))), "{actions:?}");

    machine.is_connected = false;
    let found = machine.gather();
    assert!(found.checked.diagnostics.has_errors());
    let said = format!("{:?}", found.checked.diagnostics);
    assert!(said.contains("there is no network"), "{said}");
    assert_eq!(machine.connections, 2, "it is asked for once in a search");
}

#[test]
fn what_the_command_line_names_is_needed_and_what_steps_name_is_not() {
    let hash = "sha256-ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for (line, failures, documents) in [
        ("cos.setup=https://there/none".to_owned(), 0, 0),
        ("ignition.config.url=https://there/none".to_owned(), 1, 0),
        ("ignition.config.url=http://there/abc".to_owned(), 1, 0),
        (format!("kiln.config=http://there/abc#{hash}"), 0, 1),
        (format!("kiln.config=https://there/good#{hash}"), 1, 0),
        ("kiln.config=/none".to_owned(), 1, 0),
        ("kiln.config=https://there/good cos.setup=https://there/good".to_owned(), 0, 2),
    ] {
        let mut machine = Machine::new();
        machine.network.answers = BTreeMap::from([
            ("http://there/abc", "abc"),
            ("https://there/good", "#cloud-config\n"),
        ]);
        machine.line = line.clone();
        let found = machine.gather();
        assert_eq!(found.failures.len(), failures, "{line}: {:?}", found.failures);
        assert_eq!(found.documents.len(), documents, "{line}");
    }
}

#[test]
fn a_cloud_is_asked_only_where_the_firmware_names_it() {
    let data = "http://169.254.169.254/openstack/latest/user_data";
    let metadata = "http://169.254.169.254/openstack/latest/meta_data.json";
    let name = r#"{"hostname": "n1"}"#;
    let vendor = "sys/class/dmi/id/sys_vendor";
    let mut machine = Machine::new().with(vendor, "QEMU\n");
    machine.network.answers =
        BTreeMap::from([(data, "#cloud-config\nhostname: own\n"), (metadata, name)]);
    assert!(machine.gather().documents.is_empty());
    assert!(machine.network.asked.is_empty());

    let mut machine = machine.with(vendor, "OpenStack Foundation\n");
    let found = machine.gather();
    assert_eq!(names(&found), ["metadata", "user data of OpenStack"]);
    assert!(!found.checked.diagnostics.has_errors(), "{:?}", found.checked.diagnostics);
    let initramfs = Stage::named("initramfs");
    let hosts =
        found.checked.plan.stage(&initramfs).filter_map(|operation| match &operation.action {
            Action::Hostname(name) => Some(name.written().to_owned()),
            _ => None,
        });
    assert_eq!(hosts.collect::<Vec<_>>(), ["n1", "own"]);

    // What a config of another dialect says of the host name is not contradicted.
    let config =
        r#"{"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "/etc/hostname"}]}}"#;
    machine.network.answers.insert(data, config);
    let found = machine.gather();
    assert_eq!(names(&found), ["user data of OpenStack"]);
    assert!(!found.checked.diagnostics.has_errors(), "{:?}", found.checked.diagnostics);

    machine.network.answers.insert(data, "#!/bin/sh\n");
    let found = machine.gather();
    assert_eq!(names(&found), ["metadata"]);
    assert!(found.trace.to_string().contains("it is a script"), "{}", found.trace);

    // A drive says the same, without the network.
    machine.volumes.add(
        "/dev/sr0",
        "config-2",
        &[("openstack/latest/user_data", "#cloud-config\n")],
    );
    machine.connections = 0;
    assert_eq!(names(&machine.gather()), ["config-2:/openstack/latest/user_data"]);
    assert_eq!(machine.connections, 0);
}

#[test]
fn a_cloud_that_does_not_answer_is_a_failure() {
    let mut machine = Machine::new().with("sys/class/dmi/id/sys_vendor", "Hetzner\n");
    machine.is_connected = false;
    let found = machine.gather();
    assert_eq!(found.failures.len(), 1);
    assert!(found.failures[0].contains("no network"), "{:?}", found.failures);
    machine.policy.provisioned = true;
    assert!(machine.gather().failures.is_empty());
    let mut named = Machine::new();
    named.line = "ignition.platform.id=packet".into();
    assert!(named.gather().failures.is_empty(), "all is 404 there");
    assert_eq!(named.network.asked[0], "https://metadata.platformequinix.com/userdata");
}

#[test]
fn a_hundred_thousand_files_or_a_damaged_one_do_not_stop_the_others() {
    let mut machine = Machine::new().with("oem/z.yaml", stage("last"));
    for number in 0..=super::super::MAXIMUM_DOCUMENTS {
        machine = machine.with(&format!("system/oem/{number}.yaml"), "");
    }
    let found = machine.gather();
    assert_eq!(names(&found), ["/oem/z.yaml"]);
    assert!(found.trace.to_string().contains("more documents than"), "{}", found.trace);
}
