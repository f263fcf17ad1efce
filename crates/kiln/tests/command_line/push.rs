//! From an image to a pushed release by one call, and what is said before anything is sent.

use kiln_lab::Registry;
use serde_json::Value;

use crate::fixture::{Bench, answer, kiln, names};
use crate::machine::Machine;

/// A call that pushes to `edge:2` of `registry`.
fn push(bench: &Bench, registry: &Registry, what: &str, more: &[&str]) -> (i32, String, String) {
    let (host, scratch) = (registry.host(), bench.text("scratch"));
    std::fs::create_dir_all(&scratch).unwrap();
    let reference = format!("{host}/edge:2");
    let mut command = kiln(&["push", what, &reference, "--plain-http", &host, "--json"]);
    answer(command.args(["--scratch", &scratch]).args(more))
}

fn json(call: (i32, String, String)) -> Value {
    assert_eq!(call.0, 0, "{}", call.2);
    serde_json::from_str(&call.1).expect(&call.2)
}

#[test]
fn an_image_becomes_a_pushed_release_by_one_call() {
    let bench = Bench::new();
    let registry = Registry::plain().unwrap();
    let second = bench.archive("second.tar", &[("etc/version", b"2")]);
    std::fs::write(bench.path("password"), "secret\n").unwrap();
    let options = ["--karg", "quiet", "--user", "admin", "--password-file"];
    let (password, runtime) = (bench.text("password"), bench.runtime());
    let own = ["--runtime", &runtime, "--platform", "linux/amd64", "--threads", "1"];
    let options = [&options[..], &[password.as_str()], &own].concat();

    let told = json(push(&bench, &registry, &second, &[&options[..], &["--dry-run"]].concat()));
    assert_eq!((&told["format"], &told["dry_run"]), (&"kiln.push.v1".into(), &true.into()));
    assert!(registry.tags("edge").is_empty(), "a dry run: {:?}", registry.tags("edge"));
    assert!(registry.requests().iter().all(|request| request.method != "PUT"));
    assert_eq!(told["sent_bytes"], told["bytes"], "the registry has nothing");

    let (code, stdout, stderr) = push(&bench, &registry, &second, &options);
    let pushed = json((code, stdout, stderr.clone()));
    for key in ["manifest_digest", "root_hash", "tags", "bytes", "sent_bytes", "blobs"] {
        assert_eq!(pushed[key], told[key], "{key}");
    }
    assert_eq!(registry.tags("edge"), ["2"]);
    for line in ["making the initramfs", "compressing the contents", "sending"] {
        assert!(stderr.contains(line), "no progress of `{line}`: {stderr}");
    }
    assert!(names(&bench.path("scratch")).is_empty(), "{:?}", names(&bench.path("scratch")));

    // The same release as by two calls, of which nothing has to be sent again.
    let build = [&options[..5], &[password.as_str()], &["-q"]].concat();
    let (code, _, stderr) = answer(bench.build(&[&second]).args(&build));
    assert_eq!(code, 0, "{stderr}");
    let again = json(push(&bench, &registry, &bench.text("out"), &[]));
    assert_eq!(again["manifest_digest"], pushed["manifest_digest"]);
    assert_eq!((&again["sent_bytes"], &again["sent_blobs"]), (&0.into(), &0.into()));
    let second_hash = pushed["root_hash"].as_str().unwrap().to_owned();

    // A machine takes it.
    std::fs::remove_dir_all(bench.path("out")).unwrap();
    let first = bench.archive("first.tar", &[("etc/version", b"1")]);
    let (code, built, stderr) = answer(&mut bench.build(&[&first, "-q", "--json"]));
    assert_eq!(code, 0, "{stderr}");
    let built: Value = serde_json::from_str(&built).unwrap();
    let mut machine = Machine::of_built(&bench, built["root_hash"].as_str().unwrap());
    machine.expect_root(&second_hash);
    assert_eq!(answer(&mut machine.kiln(&["bless"])).0, 0);
    let (host, reference) = (registry.host(), format!("{}/edge:2", registry.host()));
    let upgrade = ["upgrade", &reference, "--plain-http", &host, "-q"];
    let (code, _, stderr) = answer(&mut machine.kiln(&upgrade));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(machine.entries(), ["kiln-00000001.efi", "kiln-00000002+3-0.efi"]);
    machine.start(2, 'b');
    let (_, status, _) = answer(&mut machine.kiln(&["status", "--json"]));
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["booted"]["root_hash"], second_hash.as_str());
    assert_eq!((&status["sealed"], &status["damaged_slot"]), (&false.into(), &Value::Null));
}

#[test]
fn what_cannot_be_pushed_is_refused_before_anything_is_built_or_sent() {
    let bench = Bench::new();
    let registry = Registry::plain().unwrap();
    let image = bench.archive("a.tar", &[]);
    let foreign = format!("{}/other:1", registry.host());
    let absent = format!("{}/edge:none", registry.host());
    let none = bench.text("none");
    for (what, more, expected) in [
        (image.as_str(), &["--subject", foreign.as_str()][..], "must be in the repository"),
        (&image, &["--subject", &absent], "404"),
        (&image, &["--sign-key", &none], "cannot read"),
        (&none, &["--name", "edge"], "`--name` means nothing for"),
        (&none, &[], "it has no release.json"),
        ("oci-archive:none.tar", &[], "none.tar"),
    ] {
        let (code, stdout, stderr) = push(&bench, &registry, what, more);
        assert_eq!((code, stdout.as_str()), (1, ""), "{what} {more:?}: {stderr}");
        assert!(stderr.contains(expected), "{expected}: {stderr}");
        assert!(!stderr.contains("making the initramfs"), "built in vain: {stderr}");
        assert!(names(&bench.path("scratch")).is_empty());
    }
    assert!(registry.tags("edge").is_empty());
    let folder = format!("{none}/scratch");
    let (code, _, stderr) = push(&bench, &registry, &image, &["--scratch", &folder]);
    assert_eq!(code, 2, "given twice: {stderr}");
}
