//! Rules of this repository that rustfmt and clippy do not know.
//!
//! They are checked on text, line by line, because a rule that needs a parser is seldom worth it.
//! Each broken rule is one line with file and place.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bans;
use crate::error::{Error, file_error};
use crate::run;

/// Longest source file in lines: a file is one concept, and one concept is shorter.
const LONGEST_FILE: usize = 800;

/// The only crate that may hold unsafe code.
const UNSAFE_CRATE: &str = "crates/kiln-sys/";

/// Notes to oneself, split so that this file does not break its own rule.
const NOTES: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// The word that opens unsafe code, split for the same reason.
const UNSAFE: &str = concat!("un", "safe");

/// Checks every Rust file of the checkout.
pub(crate) fn check() -> Result<(), Error> {
    let root = run::root();
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "fuzz"] {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut count = 0;
    for path in &files {
        let text = fs::read_to_string(path).map_err(file_error("read", path))?;
        let name = path.strip_prefix(&root).unwrap_or(path).to_string_lossy();
        for (line, problem) in problems(&name, &text) {
            println!("{name}:{line}: {problem}");
            count += 1;
        }
    }
    count += bans::check()?;
    if count > 0 {
        return Err(Error::Style { count });
    }
    println!("style: {} files keep the rules", files.len());
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(file_error("read", folder))? {
        let path = entry.map_err(file_error("read", folder))?.path();
        if path.is_dir() && path.file_name() != Some("target".as_ref()) {
            collect(&path, files)?;
        } else if path.extension() == Some("rs".as_ref()) {
            files.push(path);
        }
    }
    Ok(())
}

/// The broken rules of one file, each with its line.
fn problems(name: &str, text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let length = text.lines().count();
    if length > LONGEST_FILE {
        found.push((length, format!("{length} lines, at most {LONGEST_FILE}")));
    }
    if !text.starts_with("//! ") {
        found.push((1, "does not open with `//!`: what is it for?".to_owned()));
    }
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if !name.starts_with(UNSAFE_CRATE) && has_unsafe(code) {
            found.push((number + 1, format!("unsafe code belongs into {UNSAFE_CRATE}")));
        }
        if let Some(note) = NOTES.iter().find(|note| line.contains(**note)) {
            found.push((number + 1, format!("{note}: do it or write an issue")));
        }
        if code.trim_start().starts_with("#[allow(") || code.trim_start().starts_with("#![allow(") {
            found.push((number + 1, "use #[expect(…, reason = \"…\")]".to_owned()));
        }
    }
    found
}

/// Whether a line of code opens an unsafe block, function, implementation or attribute.
fn has_unsafe(code: &str) -> bool {
    let follows = ["{", " {", " fn ", " impl ", " extern ", "(", " trait "];
    code.match_indices(UNSAFE).any(|(place, word)| {
        let part_of_a_name = code[..place].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &code[place + word.len()..];
        !part_of_a_name && follows.iter().any(|next| rest.starts_with(next))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_line() {
        let long = format!("//! x\n{}", "\n".repeat(LONGEST_FILE));
        let note = format!("//! x\n// {}: later", NOTES[0]);
        let block = format!("//! x\n\nlet a = {UNSAFE} {{ b() }};\n");
        let remark = format!("//! x\n// {UNSAFE} {{ }} is not code\n");
        let function = format!("//! x\n{UNSAFE} fn a() {{}}\n");
        for (name, text, expected) in [
            ("crates/a/b.rs", "//! x\nfn a() {}\n", None),
            ("crates/a/b.rs", "fn a() {}\n", Some(1)),
            ("crates/a/b.rs", &long, Some(LONGEST_FILE + 1)),
            ("crates/a/b.rs", &note, Some(2)),
            ("crates/a/b.rs", block.as_str(), Some(3)),
            ("crates/a/b.rs", remark.as_str(), None),
            ("crates/a/b.rs", &function, Some(2)),
            ("crates/kiln-sys/src/b.rs", &function, None),
            ("crates/a/b.rs", "//! x\n#[allow(dead_code)]\n", Some(2)),
        ] {
            let lines: Vec<usize> = problems(name, text).iter().map(|(line, _)| *line).collect();
            assert_eq!(lines, Vec::from_iter(expected), "{text:.40}");
        }
    }
}
