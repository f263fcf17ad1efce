//! Builds the init that goes into every initramfs, so that one binary carries everything.
//!
//! `KILN_INIT_BINARY` names a ready one (release builds, other toolchains). Otherwise cargo is run
//! once more for `kiln-init` in a target folder of its own: sharing one would wait for ever on the
//! lock that the outer build holds.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed=KILN_INIT_BINARY");
    let output = PathBuf::from(variable("OUT_DIR")?);
    let binary = match std::env::var_os("KILN_INIT_BINARY") {
        Some(path) => {
            println!("cargo::rerun-if-changed={}", path.display());
            PathBuf::from(path)
        }
        None => build(&output)?,
    };
    let embedded = output.join("kiln-init");
    std::fs::copy(&binary, &embedded)
        .map_err(|error| format!("cannot copy {}: {error}", binary.display()))?;
    println!("cargo::rustc-env=KILN_INIT_EMBEDDED={}", embedded.display());
    Ok(())
}

/// Runs cargo for `kiln-init`; static, because an initramfs has no loader and no libraries.
fn build(output: &Path) -> Result<PathBuf, String> {
    let crates = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("..");
    for name in ["kiln-init", "kiln-sys", "kiln-boot", "kiln-disk", "kiln-verity"] {
        println!("cargo::rerun-if-changed={}", crates.join(name).display());
    }
    let target = format!("{}-unknown-linux-musl", variable("CARGO_CFG_TARGET_ARCH")?);
    let target_folder = output.join("init");
    let status = Command::new(variable("CARGO")?)
        .args(["build", "--quiet", "--package", "kiln-init", "--profile", "init"])
        .args(["--target", &target, "--target-dir"])
        .arg(&target_folder)
        .arg("--manifest-path")
        .arg(crates.join("kiln-init/Cargo.toml"))
        // What the outer build was given for its own target must not reach this one.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    if status.success() {
        return Ok(target_folder.join(&target).join("init/kiln-init"));
    }
    Err(format!("kiln-init was not built; is the Rust target {target} installed?"))
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| format!("cargo sets no {name}: {error}"))
}
