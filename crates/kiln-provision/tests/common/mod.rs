//! A machine in a temporary folder: a root with accounts, a state, and programs that only remember.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use kiln_config::action::Remote;
use kiln_config::operation::Failure;
use kiln_config::{Action, Operation, Plan, SourceId, Sources, Span, Stage};
use kiln_provision::{
    Error, Fetch, Finished, Invocation, Ledger, NoStorage, Programs, Report, Root, Storage,
    Surroundings, run,
};

/// What a machine has before anything is carried out.
const FILES: [(&str, &str); 10] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:Ann:/home/ann:/bin/sh\n"),
    ("etc/shadow", "root:*:1::::::\nann:$6$old:100:0:99999:7:::\n"),
    ("etc/group", "root:x:0:\nwheel:x:10:\nann:x:1000:\n"),
    ("etc/gshadow", "root:*::\nwheel:!::\nann:!::\n"),
    ("etc/subuid", "ann:100000:65536\n"),
    ("etc/subgid", "ann:100000:65536\n"),
    ("etc/skel/.profile", "# profile\n"),
    ("etc/os-release", "ID=some\nVERSION_ID=7\n"),
    ("usr/lib/systemd/system/sshd.service", "[Service]\n[Install]\nWantedBy=multi-user.target\n"),
    (
        "usr/lib/systemd/system/getty@.service",
        "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
    ),
];

/// Programs that do nothing but be remembered; those whose words are in `bad` fail.
#[derive(Default)]
pub(crate) struct Remembered {
    pub(crate) calls: Vec<String>,
    pub(crate) bad: Vec<String>,
}

impl Programs for Remembered {
    fn run(&mut self, invocation: &Invocation<'_>) -> Result<Finished, Error> {
        let call = format!("{} {}", invocation.program, invocation.arguments.join(" "));
        let fault = self.bad.iter().any(|bad| call.contains(bad.as_str()));
        self.calls.push(call);
        let fault = fault.then(|| "exit status 1".to_owned());
        Ok(Finished { fault, output: "some output\n".into() })
    }
}

/// A network of a few addresses.
#[derive(Default)]
pub(crate) struct Network(pub(crate) BTreeMap<String, Vec<u8>>);

impl Fetch for Network {
    fn get(&mut self, remote: &Remote, _: u64) -> Result<Vec<u8>, Error> {
        let missing = || Error::Contents { origin: remote.url.clone(), reason: "nothing".into() };
        self.0.get(&remote.url).cloned().ok_or_else(missing)
    }
}

pub(crate) struct Machine {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) programs: Remembered,
    pub(crate) network: Network,
    pub(crate) said: Vec<String>,
    pub(crate) is_running: bool,
    pub(crate) has_state: bool,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in FILES {
            let path = folder.path().join("root").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir_all(folder.path().join("proc/sys/kernel")).unwrap();
        fs::write(folder.path().join("proc/sys/kernel/hostname"), "node-1\n").unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        Self {
            folder,
            programs: Remembered::default(),
            network: Network::default(),
            said: Vec::new(),
            is_running: false,
            has_state: true,
        }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path.trim_start_matches('/'))
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn carry_out(&mut self, plan: &Plan, stage: &str) -> Report {
        let mut sources = Sources::default();
        sources.add("a.yaml", "one\ntwo\n");
        let mut programs = std::mem::take(&mut self.programs);
        let mut network = std::mem::take(&mut self.network);
        let report = self.with(&mut programs, &mut network, &mut NoStorage, |surroundings| {
            run(plan, &Stage::named(stage), &sources, surroundings)
        });
        (self.programs, self.network) = (programs, network);
        report
    }

    /// Work on this machine with these programs, this network and these disks.
    pub(crate) fn with<T>(
        &mut self,
        programs: &mut dyn Programs,
        fetch: &mut dyn Fetch,
        storage: &mut dyn Storage,
        work: impl FnOnce(&mut Surroundings<'_>) -> T,
    ) -> T {
        let root = Root::open(&self.folder.path().join("root")).unwrap();
        let ledger = self.has_state.then(|| Ledger::open(&self.state(), 3).unwrap());
        let said = &mut self.said;
        let mut values = kiln_config::template::Values::default();
        values.insert("MachineID", "0123");
        work(&mut Surroundings {
            root,
            is_running: self.is_running,
            kernel: self.folder.path().join("proc"),
            today: 20_000,
            programs,
            fetch,
            storage,
            values,
            random: &mut || Ok([9; 16]),
            images: kiln_registry::Options::default(),
            ledger,
            say: &mut |line| said.push(line.to_owned()),
            environment: Vec::new(),
        })
    }
}

/// A document of operations at one stage.
pub(crate) fn plan(stage: &str, failure: Failure, actions: Vec<Action>) -> Plan {
    let operation = |(number, action): (usize, Action)| Operation {
        stage: Stage::named(stage),
        document: 0,
        step: 0,
        name: None,
        rank: u32::try_from(number).unwrap(),
        failure,
        conditions: Vec::new(),
        origin: Span::new(SourceId(0), 4, 7),
        action,
    };
    Plan { operations: actions.into_iter().enumerate().map(operation).collect() }
}
