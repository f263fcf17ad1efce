//! Dependencies that must not come in unnoticed: banned crates, licences, and codecs that change.
//!
//! Three promises hang on the list of dependencies: one static binary without a C toolchain for
//! cryptography, a licence that a product can carry, and the same bytes from every build. A
//! ready-made checker was dropped: it is a program to install for what are three short lists.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::error::{Error, file_error};
use crate::run;

/// Crates that may not be in the lock file at all, with the reason.
const BANNED: &[(&str, &str)] = &[
    ("openssl", "TLS is rustls with ring; OpenSSL is neither static nor ours to update"),
    ("openssl-sys", "TLS is rustls with ring; OpenSSL is neither static nor ours to update"),
    ("native-tls", "TLS is rustls with ring on every system"),
    ("aws-lc-rs", "a second crypto provider, and it needs CMake"),
    ("aws-lc-sys", "a second crypto provider, and it needs CMake"),
    ("bindgen", "needs libclang on every developer's computer"),
    ("clang-sys", "needs libclang on every developer's computer"),
    ("serde_yaml", "unmaintained; configuration is TOML and facts are JSON"),
];

/// Crypto providers of rustls, of which there is to be one, in one version.
const PROVIDERS: &[&str] = &[
    "aws-lc-rs",
    "boring-rustls-provider",
    "ring",
    "rustls-graviola",
    "rustls-openssl",
    "rustls-rustcrypto",
    "rustls-symcrypt",
];

/// Licences that a dependency may have (SPDX identifiers, exceptions included).
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that write bytes of frozen profiles: pinned with `=` in the root manifest.
const PINNED: &[&str] = &["lz4-sys", "zstd"];

/// The codecs themselves, as the lock file has them. Another version may write other bytes for the
/// same tree: then profiles, their golden digests and this list change together.
const CODECS: &[(&str, &str)] =
    &[("lz4-sys", "1.11.1+lz4-1.10.0"), ("zstd-sys", "2.1.2+zstd.1.5.7")];

/// Prints each broken rule and returns their number.
pub(crate) fn check() -> Result<usize, Error> {
    let root = run::root();
    let read = |name: &str| {
        let path = root.join(name);
        fs::read_to_string(&path).map_err(file_error("read", &path))
    };
    let mut problems = in_lock_file(&read("Cargo.lock")?);
    problems.extend(in_manifest(&read("Cargo.toml")?));
    let mut command = run::cargo();
    command.args(["metadata", "--format-version", "1", "--locked"]).current_dir(&root);
    problems.extend(in_metadata(&output(&mut command)?));
    for problem in &problems {
        println!("{problem}");
    }
    Ok(problems.len())
}

/// Standard output alone: what cargo tells on standard error is no JSON.
fn output(command: &mut Command) -> Result<String, Error> {
    let line = run::told(command);
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| Error::Start { program, source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Err(Error::Failed { command: line, status: output.status.to_string() })
}

/// Names and versions of all packages of a lock file.
fn packages(text: &str) -> Vec<(&str, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.windows(2).filter_map(|pair| match pair {
        [name, version] => Some((quoted(name, "name")?, quoted(version, "version")?)),
        _ => None,
    });
    pairs.collect()
}

/// The text of `key = "text"`.
fn quoted<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')
}

fn in_lock_file(text: &str) -> Vec<String> {
    let packages = packages(text);
    let has = |wanted: &str| packages.iter().any(|(name, _)| *name == wanted);
    let mut problems: Vec<String> = BANNED
        .iter()
        .filter(|(name, _)| has(name))
        .map(|(name, reason)| format!("Cargo.lock: {name} is banned: {reason}"))
        .collect();
    let providers: Vec<String> = packages
        .iter()
        .filter(|(name, _)| PROVIDERS.contains(name))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    if providers.len() > 1 {
        problems.push(format!("Cargo.lock: several TLS providers: {}", providers.join(", ")));
    }
    for (codec, version) in CODECS {
        let mut versions = packages.iter().filter(|(name, _)| name == codec).map(|(_, v)| *v);
        let (first, second) = (versions.next(), versions.next());
        if first != Some(*version) || second.is_some() {
            let found = first.unwrap_or("missing");
            problems.push(format!(
                "Cargo.lock: {codec} is {found} and profiles are frozen with {version}"
            ));
        }
    }
    problems
}

fn in_manifest(text: &str) -> Vec<String> {
    let is_pinned = |name: &str| {
        text.lines().any(|line| {
            let rest = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(" = "));
            rest.is_some_and(|rest| rest.starts_with("\"=") || rest.contains("version = \"="))
        })
    };
    PINNED
        .iter()
        .filter(|name| !is_pinned(name))
        .map(|name| format!("Cargo.toml: {name} writes frozen bytes and is not pinned with `=`"))
        .collect()
}

fn in_metadata(text: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let packages = document["packages"].as_array().map_or(&[][..], Vec::as_slice);
    if packages.is_empty() {
        return vec!["cargo metadata lists no packages".to_owned()];
    }
    let licence = |package: &Value| package["license"].as_str().unwrap_or_default().to_owned();
    packages
        .iter()
        .filter(|package| !is_allowed(&licence(package)))
        .map(|package| {
            let name = package["name"].as_str().unwrap_or_default();
            let version = package["version"].as_str().unwrap_or_default();
            format!("{name} {version}: its licence {:?} is not on the list", licence(package))
        })
        .collect()
}

/// Whether an SPDX expression can be kept with the list; `/` is an old way to write `OR`.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    alternatives(&mut rest) == Some(true) && rest.is_empty()
}

fn alternatives(words: &mut &[&str]) -> Option<bool> {
    let mut allowed = conjunction(words)?;
    while let ["OR", after @ ..] = *words {
        *words = after;
        allowed |= conjunction(words)?;
    }
    Some(allowed)
}

fn conjunction(words: &mut &[&str]) -> Option<bool> {
    let mut allowed = operand(words)?;
    while let ["AND", after @ ..] = *words {
        *words = after;
        allowed &= operand(words)?;
    }
    Some(allowed)
}

fn operand(words: &mut &[&str]) -> Option<bool> {
    match *words {
        ["(", after @ ..] => {
            *words = after;
            let inner = alternatives(words)?;
            let [")", after @ ..] = *words else { return None };
            *words = after;
            Some(inner)
        }
        [licence, "WITH", exception, after @ ..] => {
            *words = after;
            Some(LICENCES.contains(&format!("{licence} WITH {exception}").as_str()))
        }
        [licence, after @ ..] => {
            *words = after;
            Some(LICENCES.contains(licence))
        }
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock_file(packages: &[(&str, &str)]) -> String {
        let package = |(name, version): &(&str, &str)| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n\n")
        };
        packages.iter().map(package).collect()
    }

    #[test]
    fn banned_crates_are_found() {
        let good = [CODECS, &[("ring", "0.17.14"), ("openssl-probe", "0.1.0")]].concat();
        assert!(in_lock_file(&lock_file(&good)).is_empty());
        for (more, expected) in [
            (("openssl-sys", "0.9"), "openssl-sys is banned"),
            (("aws-lc-rs", "1.0"), "several TLS providers: ring 0.17.14, aws-lc-rs 1.0"),
            (("ring", "0.16.20"), "several TLS providers: ring 0.17.14, ring 0.16.20"),
            (("zstd-sys", "2.0.0+zstd.1.5.5"), "profiles are frozen with"),
        ] {
            let problems =
                in_lock_file(&lock_file(&[good.as_slice(), &[more]].concat())).join("\n");
            assert!(problems.contains(expected), "{problems}");
        }
        assert_eq!(in_lock_file("").len(), CODECS.len(), "missing codecs are no clean lock file");
    }

    #[test]
    fn writers_of_frozen_bytes_are_pinned() {
        let pinned =
            "lz4-sys = \"=1.2.3\"\nzstd = { default-features = false, version = \"=1\" }\n";
        assert!(in_manifest(pinned).is_empty());
        for loose in [
            "lz4-sys = \"1.2.3\"\nzstd = \"=1\"\n",
            "lz4-sys = \"=1.2.3\"\n# zstd = \"=1\"\nzstd = \"1\"\n",
            "lz4-sys = \"=1.2.3\"\nzstd-safe = \"=1\"\n",
        ] {
            assert_eq!(in_manifest(loose).len(), 1, "{loose}");
        }
    }

    #[test]
    fn licences_are_read_as_expressions() {
        for (expression, expected) in [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("(MIT OR GPL-2.0) AND Unicode-3.0", true),
            ("MIT OR GPL-2.0 AND AGPL-3.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("GPL-2.0 WITH Classpath-exception-2.0", false),
            ("", false),
            ("MIT OR", false),
            ("(MIT", false),
            ("MIT MIT", false),
        ] {
            assert_eq!(is_allowed(expression), expected, "{expression}");
        }
        let packages = r#"{"packages":[{"name":"a","version":"1","license":"MIT"},
            {"name":"b","version":"2","license":null}]}"#;
        assert_eq!(in_metadata(packages), ["b 2: its licence \"\" is not on the list"]);
        assert_eq!(in_metadata("").len(), 1);
    }
}
