//! A machine's life from outside: upgrade, blessing, failure, the way back, and what it tells.

use serde_json::Value;

use crate::fixture::{Bench, answer, kiln};
use crate::machine::Machine;
use kiln_lab::Registry;

/// Builds `NAME` with a login and gives the root hash.
pub fn build(bench: &Bench, source: &str) -> String {
    std::fs::write(bench.path("password"), "secret\n").unwrap();
    let login = ["--user", "admin", "--password-file", &bench.text("password")];
    let mut arguments = vec![source, "-q", "--json", "--karg", "quiet", "--compress", "lz4hc:5"];
    arguments.extend(login);
    let (code, built, stderr) = answer(&mut bench.build(&arguments));
    assert_eq!(code, 0, "{stderr}");
    let built: Value = serde_json::from_str(&built).unwrap();
    built["root_hash"].as_str().unwrap().to_owned()
}

fn json(call: (i32, String, String)) -> Value {
    assert!(call.0 == 0 || call.0 == 10, "{}", call.2);
    serde_json::from_str(&call.1).expect(&call.2)
}

/// The root of the second image as a builder makes it, then the machine with the first.
fn two_releases(bench: &Bench) -> (Machine<'_>, String, Vec<u8>) {
    let first =
        bench.archive("first.tar", &[("etc/version", b"1"), ("usr/lib/kiln/recipe.json", b"{}")]);
    let second = bench.archive("second.tar", &[("etc/version", b"2")]);
    let second_hash = build(bench, &second);
    let second_root = std::fs::read(bench.path("out/edge.root")).unwrap();
    std::fs::remove_dir_all(bench.path("out")).unwrap();
    let first_hash = build(bench, &first);
    let mut machine = Machine::of_built(bench, &first_hash);
    machine.expect_root(&second_hash);
    (machine, second, second_root)
}

#[test]
fn an_upgrade_makes_the_very_root_that_a_builder_makes() {
    let bench = Bench::new();
    let (machine, second, second_root) = two_releases(&bench);
    assert_eq!(answer(&mut machine.kiln(&["bless"])).0, 0);
    assert_eq!(machine.entries(), ["kiln-00000001.efi"]);

    let (code, stdout, stderr) = answer(&mut machine.kiln(&["upgrade"]));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("follows no reference") && stderr.contains("--follow"), "{stderr}");
    let (code, _, stderr) = answer(&mut machine.kiln(&["upgrade", &second, "--check"]));
    assert_eq!(code, 10, "{stderr}");
    let check = json(answer(&mut machine.kiln(&["upgrade", &second, "--check", "--json"])));
    assert_eq!(check["outcome"], "available");
    assert_eq!(machine.slot(4, 4096), vec![0xff; 4096], "nothing was touched");

    // Staged is not armed.
    let staged = json(answer(&mut machine.kiln(&["upgrade", &second, "--stage", "--json"])));
    assert_eq!((&staged["outcome"], &staged["generation"]), (&"staged".into(), &2.into()));
    assert_eq!(machine.entries(), ["kiln-00000001.efi"]);
    assert_eq!(machine.files("EFI/kiln"), ["kiln-00000002.staged", "release.json"]);
    assert!(machine.slot(4, second_root.len()) == second_root, "the slots differ");
    let status = json(answer(&mut machine.kiln(&["status", "--json"])));
    assert_eq!(status["staged"]["generation"], 2);
    assert_eq!(status["pending_reboot"], false);

    std::fs::create_dir_all(bench.path("machine/state/kiln/cache/sha256")).unwrap();
    let follow = ["upgrade", "--follow", &second, "-q"];
    let (code, _, stderr) = answer(&mut machine.kiln(&follow));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(machine.entries(), ["kiln-00000001.efi", "kiln-00000002+3-0.efi"]);
    assert_eq!(machine.files("EFI/kiln"), ["release.json"]);
    assert!(!bench.path("machine/state/kiln/cache").exists(), "state fills up");
    let again = json(answer(&mut machine.kiln(&["upgrade", "--json", "--reboot"])));
    assert_eq!((&again["outcome"], &again["reason"]), (&"nothing".into(), &"activated".into()));
    let status = json(answer(&mut machine.kiln(&["status", "--json"])));
    assert_eq!(status["pending_reboot"], true);
    assert_eq!(status["next"]["generation"], 2);
    assert_eq!(status["booted"]["verification"], "delivered");

    machine.start(2, 'b');
    assert_eq!(answer(&mut machine.kiln(&["bless"])).0, 0);
    let again = json(answer(&mut machine.kiln(&["upgrade", "--json"])));
    assert_eq!((&again["outcome"], &again["reason"]), (&"nothing".into(), &"running".into()));
    assert_eq!(answer(&mut machine.kiln(&["upgrade", "--check"])).0, 0);

    // What cannot be built costs no way back.
    let broken = bench.archive("broken.tar", &[("boot/vmlinuz-6.12", b"no kernel")]);
    let (code, _, stderr) = answer(&mut machine.kiln(&["upgrade", &broken]));
    assert!(code == 1 && stderr.contains("kernel"), "{stderr}");
    assert_eq!(machine.entries(), ["kiln-00000001.efi", "kiln-00000002.efi"]);
    let (code, _, stderr) = answer(&mut machine.kiln(&["rollback", "--dry-run"]));
    assert_eq!(
        (code, stderr.as_str()),
        (0, "the next boot would start generation 1 (version 13)\n")
    );
    assert_eq!(answer(&mut machine.kiln(&["rollback", "--reboot"])).0, 0);
    assert_eq!(machine.entries(), ["kiln-00000001.efi", "kiln-00000002+0-3.efi"]);
}

#[test]
fn a_pushed_release_is_rebuilt_from_what_is_here_and_what_is_fetched() {
    let bench = Bench::new();
    // What no codec makes smaller and both releases have.
    let mut random = 1_u64;
    let shared: Vec<u8> = std::iter::repeat_with(|| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 56) as u8
    })
    .take(400_000)
    .collect();
    let second = bench.archive("second.tar", &[("etc/version", b"2"), ("usr/lib/shared", &shared)]);
    let second_hash = build(&bench, &second);
    let second_root = std::fs::read(bench.path("out/edge.root")).unwrap();
    let registry = Registry::plain().unwrap();
    let reference = format!("{}/edge:2", registry.host());
    let plain = ["--plain-http", &registry.host()];
    let folder = bench.text("out");
    let (code, _, stderr) = answer(kiln(&["push", "-q", &folder, &reference]).args(plain));
    assert_eq!(code, 0, "{stderr}");
    std::fs::remove_dir_all(bench.path("out")).unwrap();
    let first = bench.archive("first.tar", &[("etc/version", b"1"), ("usr/lib/shared", &shared)]);
    let first_hash = build(&bench, &first);
    let mut machine = Machine::of_built(&bench, &first_hash);
    machine.expect_root(&second_hash);
    assert_eq!(answer(&mut machine.kiln(&["bless"])).0, 0);

    registry.forget_requests();
    let reference = format!("docker://{reference}");
    let (code, _, stderr) = answer(&mut machine.kiln(&["upgrade", &reference, "--limit-rate=0"]));
    assert!(code == 2 && stderr.contains("--limit-rate"), "{stderr}");
    let rate = "--limit-rate=64MiB";
    let upgrade = ["upgrade", "--json", rate, "--follow", &reference, plain[0], plain[1]];
    let done = json(answer(&mut machine.kiln(&upgrade)));
    assert_eq!((&done["outcome"], &done["generation"]), (&"activated".into(), &2.into()));
    assert!(machine.slot(4, second_root.len()) == second_root, "the slots differ");
    assert_eq!(machine.entries(), ["kiln-00000001.efi", "kiln-00000002+3-0.efi"]);
    let sent = registry.bytes_sent();
    assert!(sent < second_root.len() as u64 / 10, "{sent} bytes of {}", second_root.len());

    // Asking again is one request.
    machine.start(2, 'b');
    assert_eq!(answer(&mut machine.kiln(&["bless"])).0, 0);
    registry.forget_requests();
    let again = json(answer(&mut machine.kiln(&["upgrade", "--json", plain[0], plain[1]])));
    assert_eq!((&again["outcome"], &again["reason"]), (&"nothing".into(), &"running".into()));
    let requests = registry.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
}

#[test]
fn what_failed_is_told_and_not_tried_again_by_itself() {
    let bench = Bench::new();
    let (machine, second, _) = two_releases(&bench);
    answer(&mut machine.kiln(&["bless"]));
    assert_eq!(answer(&mut machine.kiln(&["upgrade", &second, "-q"])).0, 0);
    machine.start(2, 'b');

    machine.health_check("10-network", "#!/bin/sh\necho no carrier\nexit 7\n");
    let (code, stdout, stderr) = answer(&mut machine.kiln(&["health", "run"]));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert_eq!(stderr, "10-network: exit status: 7\n  no carrier\n");
    let (code, _, stderr) = answer(&mut machine.kiln(&["boot-failed", "--stage", "health"]));
    assert_eq!(code, 0);
    assert!(stderr.contains("health check: 10-network: exit status: 7"), "{stderr}");
    assert!(stderr.contains("restarting") && stderr.contains("cannot be restarted"), "{stderr}");
    let (_, history, _) = answer(&mut machine.kiln(&["history"]));
    assert!(history.contains("  failed\n") && history.contains("no carrier"), "{history}");

    // Two more tries later the loader starts the old one.
    machine.use_up(2);
    machine.start(1, 'a');
    assert_eq!(answer(&mut machine.kiln(&["bless"])).0, 0);
    let motd = machine.text("run/motd.d/50-kiln");
    assert!(motd.contains("Generation 2 (version 13) failed: health check: 10-network"), "{motd}");
    let (_, status, _) = answer(&mut machine.kiln(&["status"]));
    assert!(status.contains("failed    generation 2") && status.contains("no carrier"), "{status}");

    let (code, _, stderr) = answer(&mut machine.kiln(&["upgrade", &second]));
    assert_eq!(code, 1);
    assert!(
        stderr.contains("failed here as generation 2") && stderr.contains("--force"),
        "{stderr}"
    );
    assert_eq!(machine.entries(), ["kiln-00000001.efi", "kiln-00000002+0-3.efi"]);
    let (code, _, stderr) = answer(&mut machine.kiln(&["upgrade", &second, "--force"]));
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(machine.entries(), ["kiln-00000001.efi", "kiln-00000003+3-0.efi"]);
}

#[test]
fn a_proved_system_stays_whatever_fails_later() {
    let bench = Bench::new();
    let (machine, ..) = two_releases(&bench);
    answer(&mut machine.kiln(&["bless"]));
    machine.start(1, 'a');
    let call = ["boot-failed", "--stage", "emergency", "--reason", "a person asked"];
    let (code, _, stderr) = answer(&mut machine.kiln(&call));
    assert_eq!(code, 0);
    assert!(stderr.contains("it stays") && !stderr.contains("restart"), "{stderr}");

    // A ledger that cannot be read is no reason to stay on an unproved system.
    let ledger = bench.path("machine/state/kiln/ledger.json");
    std::fs::write(&ledger, "{").unwrap();
    let facts = machine.text("run/kiln/boot");
    for (word, expected) in [("counted=yes", "cannot be restarted"), ("counted=no", "this stays")] {
        let facts = facts.replace("counted=no", word);
        std::fs::write(bench.path("machine/run/kiln/boot"), facts).unwrap();
        let (code, _, stderr) = answer(&mut machine.kiln(&call));
        assert_eq!(code, 0, "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn without_the_disk_it_still_tells_what_runs() {
    let bench = Bench::new();
    let (machine, ..) = two_releases(&bench);
    answer(&mut machine.kiln(&["bless"]));
    std::fs::remove_file(bench.path("machine/dev/vda")).unwrap();
    let (code, stdout, stderr) = answer(&mut machine.kiln(&["status", "--json"]));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("warning: this is not all"), "{stderr}");
    let status: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&status["complete"], &status["blessed"]), (&false.into(), &true.into()));
    assert_eq!(status["booted"]["state"], "blessed");
    let history = json(answer(&mut machine.kiln(&["history", "--json"])));
    assert_eq!(history["revisions"][0]["generation"], 1);
}

#[test]
fn other_systems_are_refused_with_a_hint() {
    let bench = Bench::new();
    let folder = bench.text("elsewhere");
    let recipe = bench.path("elsewhere/usr/lib/kiln");
    std::fs::create_dir_all(&recipe).unwrap();
    for arguments in [
        &["status"][..],
        &["history"],
        &["rollback"],
        &["bless"],
        &["upgrade", "oci:/none"],
        &["upgrade", "registry.example/edge", "--no-cache"],
    ] {
        let (code, stdout, stderr) = answer(kiln(arguments).args(["--machine", &folder]));
        assert_eq!((code, stdout.as_str()), (1, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains("error: ") && stderr.contains("\nhint: "), "{stderr}");
    }
    let (code, stdout, _) =
        answer(kiln(&["health", "list", "--json"]).args(["--machine", &folder]));
    assert_eq!(code, 0);
    assert!(stdout.contains("kiln.health-list.v1"), "{stdout}");
}
