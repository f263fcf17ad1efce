//! Variables merged into an environment file.

use std::collections::BTreeMap;

use kiln_config::action::Environment;

use crate::conditions::SETTINGS_BYTES;
use crate::{Error, Surroundings};

impl Surroundings<'_> {
    pub(crate) fn merge_environment(&mut self, wanted: &Environment) -> Result<(), Error> {
        let path = self.text(&wanted.file)?;
        let mut variables = BTreeMap::new();
        for (name, value) in &wanted.variables {
            if !is_name(name) {
                return Err(Error::Setting {
                    what: "the variable",
                    value: name.clone(),
                    reason: "names hold letters, digits and `_`, and begin with no digit",
                });
            }
            variables.insert(name.as_str(), self.text(value)?);
        }
        let old = self.root.text(&path, SETTINGS_BYTES)?.unwrap_or_default();
        self.settings(&path, &merged(&old, &variables))
    }
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// The old text with new values in the places of the old ones, and what is new behind it.
fn merged(old: &str, variables: &BTreeMap<&str, String>) -> String {
    let mut left = variables.clone();
    let mut lines: Vec<String> = Vec::new();
    for line in old.lines() {
        let assigned = line.trim_start();
        let assigned = assigned.strip_prefix("export ").unwrap_or(assigned);
        let name = assigned.split_once('=').map(|(name, _)| name.trim());
        match name.filter(|name| variables.contains_key(name)) {
            // A second line of the same name would win.
            Some(name) => lines.extend(left.remove(name).map(|value| assignment(name, &value))),
            None => lines.push(line.to_owned()),
        }
    }
    lines.extend(left.iter().map(|(name, value)| assignment(name, value)));
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// A line that systemd (systemd.exec(5), EnvironmentFile=) and shells read alike.
fn assignment(name: &str, value: &str) -> String {
    let mut text = format!("{name}=\"");
    for letter in value.chars() {
        if matches!(letter, '"' | '\\' | '$' | '`') {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::{is_name, merged};
    use std::collections::BTreeMap;

    #[test]
    fn variables_are_merged() {
        let wanted = |list: &[(&'static str, &str)]| -> BTreeMap<&'static str, String> {
            list.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
        };
        for (old, variables, expected) in [
            ("", vec![("B", "2"), ("A", "1")], "A=\"1\"\nB=\"2\"\n"),
            ("# x\nA=0\nC=3", vec![("A", "1")], "# x\nA=\"1\"\nC=3\n"),
            ("A=0\nB=1\nexport A=2\n", vec![("A", "3")], "A=\"3\"\nB=1\n"),
            ("", vec![("A", "a\"b\\c $d")], "A=\"a\\\"b\\\\c \\$d\"\n"),
            ("AB=1\n", vec![("A", "2")], "AB=1\nA=\"2\"\n"),
        ] {
            let text = merged(old, &wanted(&variables));
            assert_eq!(text, expected);
            assert_eq!(merged(&text, &wanted(&variables)), expected, "again");
        }
    }

    #[test]
    fn what_a_shell_writes_is_what_was_meant() {
        let value = "a\"b\\c $HOME `id`";
        let text = merged("", &[("A", value.to_owned())].into_iter().collect());
        let script = format!("{text}printf %s \"$A\"");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
    }

    #[test]
    fn names_are_names() {
        for (name, expected) in [("A_1", true), ("1A", false), ("A B", false), ("", false)] {
            assert_eq!(is_name(name), expected, "{name}");
        }
    }
}
