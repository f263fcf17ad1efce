//! Kiln's own binaries for another architecture, in the folder that `kiln build --runtime` wants.
//!
//! Nothing is emulated: Rust and its linker build for every target, and only the few C libraries
//! (zstd, lz4, ring) need a cross compiler. Debian's is for glibc, which is enough: the objects call
//! nothing but what musl has as well, and Rust brings musl itself for the link. A musl cross
//! toolchain was dropped because no distribution packages one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, file_error};
use crate::{packages, run};

/// What is needed to build for one architecture.
#[derive(Debug)]
struct Target {
    /// In OCI's and Debian's words.
    name: &'static str,
    /// In Rust's words.
    triple: &'static str,
    /// What Rust calls the processor.
    processor: &'static str,
    /// Beginning of the names of the C cross compiler and its tools.
    tools: &'static str,
    /// Debian's packages that bring them.
    packages: &'static str,
}

const TARGETS: [Target; 2] = [
    Target {
        name: "amd64",
        triple: packages::TARGET,
        processor: "x86_64",
        tools: "x86_64-linux-gnu",
        packages: "gcc-x86-64-linux-gnu libc6-dev-amd64-cross",
    },
    Target {
        name: "arm64",
        triple: "aarch64-unknown-linux-musl",
        processor: "aarch64",
        tools: "aarch64-linux-gnu",
        packages: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    },
];

/// Builds `kiln` and `kiln-init` for an architecture and puts both into `folder`.
pub(crate) fn build(architecture: &str, folder: &Path) -> Result<(), Error> {
    let target = TARGETS
        .iter()
        .find(|target| target.name == architecture)
        .ok_or_else(|| Error::Architecture { name: architecture.to_owned() })?;
    packages::install_target(target.triple)?;
    let tools = cross_tools(target)?;
    let triple = ["--target", target.triple];

    let mut init = run::cargo();
    init.args(["build", "--profile", "init", "-p", "kiln-init"]).args(triple);
    run::run(init.envs(tools.clone()))?;
    let built = target_folder().join(target.triple);
    let init = built.join("init/kiln-init");

    let mut kiln = run::cargo();
    kiln.args(["build", "--release", "-p", "kiln"]).args(triple);
    // The init inside it is the very same, and is not built a second time.
    run::run(kiln.envs(tools).env("KILN_INIT_BINARY", &init))?;

    // Cargo runs in the checkout; the folder is the caller's.
    fs::create_dir_all(folder).map_err(file_error("create", folder))?;
    for (from, name) in [(built.join("release/kiln"), "kiln"), (init, "kiln-init")] {
        let to = folder.join(name);
        fs::copy(&from, &to).map_err(file_error("write", &to))?;
        println!("{}", to.display());
    }
    Ok(())
}

/// The environment that makes cargo and the build scripts of C libraries use cross tools; empty for
/// this computer's own architecture.
fn cross_tools(target: &Target) -> Result<Vec<(String, String)>, Error> {
    if target.processor == std::env::consts::ARCH {
        return Ok(Vec::new());
    }
    let compiler = format!("{}-gcc", target.tools);
    if kiln_qemu::find_program(&compiler).is_none() {
        return Err(Error::Compiler { program: compiler, packages: target.packages });
    }
    let small = target.triple.replace('-', "_");
    let linker = format!("CARGO_TARGET_{}_LINKER", small.to_uppercase());
    Ok(vec![
        (format!("CC_{small}"), compiler),
        (format!("AR_{small}"), format!("{}-ar", target.tools)),
        // The linker that comes with Rust knows every target.
        (linker, "rust-lld".to_owned()),
    ])
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| run::root().join("target"), |folder| run::root().join(folder))
}

/// Runs the binaries' architecture on this computer where QEMU's user mode is installed, as
/// evidence that they start; says so where it is not.
pub(crate) fn check(architecture: &str, folder: &Path) -> Result<(), Error> {
    let Some(target) = TARGETS.iter().find(|target| target.name == architecture) else {
        return Ok(());
    };
    let emulator = format!("qemu-{}-static", target.processor);
    if kiln_qemu::find_program(&emulator).is_none() {
        println!("{emulator} is not installed: the binaries were not started");
        return Ok(());
    }
    run::run(Command::new(emulator).arg(folder.join("kiln")).arg("--version"))
}
