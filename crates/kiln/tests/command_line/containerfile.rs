//! `kiln build --containerfile`, with programs that pass for builders.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::fixture::{Bench, answer, names};

/// Notes its arguments, and does what the real one does with them.
const BUILDER: &str = r#"#!/bin/sh
printf '%s\n' "${0##*/}" "$@" >> "$BENCH/log"
echo "STEP 1: told on standard output"
echo "told on standard error" >&2
for word; do case $word in
  --tag=oci-archive:*) /bin/cp "$BENCH/image.tar" "${word#--tag=oci-archive:}" ;;
  --iidfile=*) printf 'sha256:abc' > "${word#--iidfile=}" ;;
  --output=*) /bin/cp "$BENCH/image.tar" "${word#--output=}" ;;
esac; done
"#;

const FAILING: &str = "#!/bin/sh\nn=0; while [ $n -lt 40 ]; do n=$((n + 1)); echo line $n; done\n\
                       echo 'COPY failed: no such file' >&2\nexit 7\n";

fn bench() -> Bench {
    let bench = Bench::new();
    bench.archive("image.tar", &[]);
    for folder in ["bin", "source", "other"] {
        std::fs::create_dir(bench.path(folder)).unwrap();
    }
    std::fs::write(bench.path("source/Containerfile"), "FROM scratch\n").unwrap();
    bench
}

fn install(bench: &Bench, name: &str, script: &str) {
    let path = bench.path("bin").join(name);
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn build(bench: &Bench, arguments: &[&str]) -> Command {
    let file = bench.text("source/Containerfile");
    let mut command = bench.build(&["--containerfile", &file]);
    // Nothing else is in it, so that no builder of this machine is found.
    command.args(arguments).env("PATH", bench.path("bin"));
    command.env("BENCH", bench.folder.path());
    command
}

/// The noted arguments, with the names of folders that differ from run to run replaced.
fn log(bench: &Bench) -> String {
    let text = std::fs::read_to_string(bench.path("log")).unwrap_or_default();
    let _ = std::fs::remove_file(bench.path("log"));
    let mut lines = Vec::new();
    for line in text.replace(bench.folder.path().to_str().unwrap(), "BENCH").lines() {
        match line.split_once("/.kiln-unfinished-") {
            Some((head, tail)) => {
                let name = tail.split_once('/').map(|(_, name)| name).unwrap_or_default();
                lines.push(format!("{head}/PRIVATE/{name}"));
            }
            None => lines.push(line.to_owned()),
        }
    }
    lines.join(" ")
}

#[test]
fn each_builder_gets_exactly_these_arguments_and_its_image_is_built() {
    let bench = bench();
    let common = "--file=BENCH/source/Containerfile --platform=linux/amd64";
    for (name, calls) in [
        (
            "buildah",
            "buildah build COMMON --tag=oci-archive:BENCH/out/PRIVATE/image.tar BENCH/source",
        ),
        (
            "podman",
            "podman build COMMON --iidfile=BENCH/out/PRIVATE/image-id BENCH/source \
             podman save --format=oci-archive --output=BENCH/out/PRIVATE/image.tar sha256:abc",
        ),
    ] {
        install(&bench, name, BUILDER);
        let (code, stdout, stderr) = answer(&mut build(&bench, &["--builder", name]));
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(stdout.lines().count(), 5);
        assert_eq!(log(&bench), calls.replace("COMMON", common), "{name}");
        assert!(!stderr.contains("told on"), "only with -v: {stderr}");
        let files = ["edge.efi", "edge.raw", "edge.recovery.efi", "edge.root", "release.json"];
        assert_eq!(names(&bench.path("out")), files, "the archive is gone");
    }
}

#[test]
fn docker_is_asked_for_its_own_format() {
    let bench = bench();
    install(&bench, "docker", BUILDER);
    // The script copies an OCI archive, which is refused as what `docker save` writes.
    let (code, _, stderr) = answer(&mut build(&bench, &["--builder", "docker"]));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("manifest.json"), "{stderr}");
    let expected = "docker build --file=BENCH/source/Containerfile --platform=linux/amd64 \
                    --iidfile=BENCH/out/PRIVATE/image-id BENCH/source \
                    docker save --output=BENCH/out/PRIVATE/image.tar sha256:abc";
    assert_eq!(log(&bench), expected);
    assert!(!bench.path("out").exists());
}

#[test]
fn context_arguments_and_stage_are_passed_on_and_verbose_shows_the_builder() {
    let bench = bench();
    install(&bench, "buildah", BUILDER);
    let context = bench.text("other");
    let options = ["--build-arg", "A=1 2", "--build-arg=B=", "--target", "last", "-v"];
    let mut command = build(&bench, &options);
    let (code, _, stderr) = answer(command.args(["--context", &context]));
    assert_eq!(code, 0, "{stderr}");
    let expected = "buildah build --file=BENCH/source/Containerfile --platform=linux/amd64 \
                    --build-arg=A=1 2 --build-arg=B= --target=last \
                    --tag=oci-archive:BENCH/out/PRIVATE/image.tar BENCH/other";
    assert_eq!(log(&bench), expected);
    for line in ["told on standard output", "told on standard error"] {
        assert!(stderr.contains(line), "{stderr}");
    }
}

#[test]
fn the_first_installed_builder_is_used() {
    let bench = bench();
    for (installed, used) in [("podman", "podman"), ("buildah", "buildah")] {
        install(&bench, installed, BUILDER);
        assert_eq!(answer(&mut build(&bench, &[])).0, 0);
        assert!(log(&bench).starts_with(used), "{installed}");
    }
}

#[test]
fn without_a_builder_all_three_are_named() {
    let bench = bench();
    for (arguments, parts) in [
        (&[][..], &["buildah, podman or docker", "install one of them"][..]),
        (&["--builder", "podman"], &["podman cannot be started", "install podman"]),
    ] {
        let (code, _, stderr) = answer(&mut build(&bench, arguments));
        assert_eq!(code, 1);
        for part in parts {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
        assert!(!bench.path("out").exists());
    }
}

#[test]
fn a_failing_builder_is_quoted_with_its_last_lines() {
    let bench = bench();
    install(&bench, "buildah", FAILING);
    let (code, _, stderr) = answer(&mut build(&bench, &[]));
    assert_eq!(code, 1);
    for part in ["buildah cannot build", "exit status: 7", "line 40", "COPY failed", "hint: "] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert!(!stderr.contains("line 20\n"), "only the last lines: {stderr}");
    assert!(!bench.path("out").exists());
}

#[test]
fn a_missing_containerfile_or_context_is_named_before_anything_runs() {
    let bench = bench();
    install(&bench, "buildah", BUILDER);
    std::fs::remove_file(bench.path("source/Containerfile")).unwrap();
    let (code, _, stderr) = answer(&mut build(&bench, &[]));
    assert!(code == 1 && stderr.contains("source/Containerfile"), "{stderr}");
    std::fs::write(bench.path("source/Containerfile"), "").unwrap();
    let (code, _, stderr) = answer(&mut build(&bench, &["--context", "/none"]));
    assert!(code == 1 && stderr.contains("/none"), "{stderr}");
    assert_eq!(log(&bench), "");
    assert!(!bench.path("out").exists());
}
