//! A machine in a folder asks drives and clouds, and what comes of it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use kiln_config::action::Remote;

use super::*;
use crate::sources::volumes::tests::Folders;
use crate::{Fetch, Finished, Invocation, NoStorage, Programs, Root};

#[derive(Default)]
struct Network {
    answers: BTreeMap<&'static str, &'static str>,
    asked: usize,
}

impl Fetch for Network {
    fn get(&mut self, remote: &Remote, _: u64) -> Result<Vec<u8>, Error> {
        self.asked += 1;
        let url = remote.url.clone();
        let missing = || kiln_registry::Error::Status { url, status: 404, message: String::new() };
        let found = self.answers.get(remote.url.as_str()).ok_or_else(missing)?;
        Ok(found.as_bytes().to_vec())
    }
}

#[derive(Default)]
struct Remembered(Vec<String>);

impl Programs for Remembered {
    fn run(&mut self, invocation: &Invocation<'_>) -> Result<Finished, Error> {
        self.0.push(invocation.program.to_owned());
        Ok(Finished::default())
    }
}

struct Machine {
    folder: tempfile::TempDir,
    network: Network,
    programs: Remembered,
    volumes: Folders,
    here: Option<&'static str>,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("etc")).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join("etc").join(name), text).unwrap();
        };
        write("passwd", "root:x:0:0:root:/root:/bin/bash\n");
        for name in ["shadow", "group", "gshadow", "subuid", "subgid"] {
            write(name, "");
        }
        let (network, programs) = (Network::default(), Remembered::default());
        Self { folder, network, programs, volumes: Folders::default(), here: None }
    }

    fn ask(&mut self, wanted: &Datasource) -> Result<(), String> {
        let here = CLOUDS.iter().find(|cloud| Some(cloud.provider) == self.here);
        let mut surroundings = Surroundings {
            root: Root::open(self.folder.path()).unwrap(),
            is_running: false,
            kernel: self.folder.path().join("proc"),
            today: 20_000,
            programs: &mut self.programs,
            fetch: &mut self.network,
            storage: &mut NoStorage,
            values: kiln_config::template::Values::default(),
            random: &mut || Ok([9; 16]),
            images: kiln_registry::Options::default(),
            ledger: None,
            say: &mut |_| {},
            environment: Vec::new(),
        };
        surroundings
            .datasource_of(wanted, &mut self.volumes, here)
            .map_err(|error| error.sentence())
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.path().join(path)).ok()
    }

    fn mode(&self, path: &str) -> u32 {
        std::fs::metadata(self.folder.path().join(path)).unwrap().permissions().mode() & 0o777
    }
}

fn wanted(providers: &[&str]) -> Datasource {
    let providers = providers.iter().map(|provider| (*provider).to_owned()).collect();
    Datasource { providers, path: None, userdata_name: None }
}

const CONFIG: &str = "#cloud-config\nhostname: b\n";

#[test]
fn a_drive_comes_before_clouds_and_its_data_are_written_where_yip_writes_them() {
    let mut machine = Machine::new();
    machine.here = Some("openstack");
    let metadata = "local-hostname: n1\npublic-keys: [ssh-rsa A, 'https://evil.example/keys']\n";
    machine.volumes.add("/dev/sr0", "cidata", &[("user-data", CONFIG), ("meta-data", metadata)]);
    machine.ask(&wanted(&["openstack", "cdrom"])).unwrap();
    assert_eq!(machine.network.asked, 0);
    assert_eq!(machine.read("run/config/provider").as_deref(), Some("cdrom"));
    assert_eq!(machine.read("run/config/userdata").as_deref(), Some(CONFIG));
    assert_eq!(machine.read("run/config/userdata.yaml").as_deref(), Some(CONFIG));
    assert_eq!(machine.mode("run/config/userdata"), 0o600);
    assert_eq!(machine.read("run/config/hostname").as_deref(), Some("n1"));
    assert_eq!(machine.read("etc/hostname").as_deref(), Some("n1\n"));
    assert_eq!(machine.read("root/.ssh/authorized_keys").as_deref(), Some("ssh-rsa A\n"));
}

#[test]
fn only_the_cloud_that_the_firmware_names_is_asked() {
    let all = wanted(&["cdrom", "aws", "gcp", "hetzner", "metaldata"]);
    let mut machine = Machine::new();
    let data = "http://169.254.169.254/hetzner/v1/userdata";
    machine.network.answers = BTreeMap::from([(data, "plain words")]);
    let error = machine.ask(&all).unwrap_err();
    assert!(error.contains("cdrom, aws, gcp, hetzner, metaldata"), "{error}");
    assert_eq!(machine.network.asked, 0);

    machine.here = Some("hetzner");
    let folder = Datasource { path: Some("/oem/data/".into()), ..all.clone() };
    machine.ask(&folder).unwrap();
    assert_eq!(machine.read("oem/data/userdata").as_deref(), Some("plain words"));
    assert_eq!(machine.read("oem/data/userdata.yaml"), None);
    assert_eq!(machine.read("run/config/provider").as_deref(), Some("hetzner"));

    machine.here = None;
    let alone = "http://169.254.169.254/latest/user-data";
    machine.network.answers.insert(alone, CONFIG);
    let named = Datasource { userdata_name: Some("x.yaml".into()), ..wanted(&["metaldata"]) };
    machine.ask(&named).unwrap();
    assert_eq!(machine.read("run/config/x.yaml").as_deref(), Some(CONFIG));
}

#[test]
fn scripts_run_files_are_read_and_what_cannot_be_asked_says_why() {
    let mut machine = Machine::new();
    std::fs::write(machine.folder.path().join("data"), "#!/bin/sh\necho a\n").unwrap();
    machine.ask(&Datasource { path: Some("/data".into()), ..wanted(&["file"]) }).unwrap();
    assert_eq!(machine.programs.0, ["/run/config/userdata"]);
    assert_eq!(machine.mode("run/config/userdata"), 0o700);
    let error = machine.ask(&wanted(&["vmware"])).unwrap_err();
    assert!(error.contains("CIDATA"), "{error}");
    for node in ["/dev/sr0", "/dev/sr1"] {
        machine.volumes.add(node, "config-2", &[]);
    }
    let error = machine.ask(&wanted(&["config-drive"])).unwrap_err();
    assert!(error.contains("/dev/sr0, /dev/sr1"), "{error}");
}
