//! Whether an operation is to run on this machine.
//!
//! A condition that cannot be answered is a fault of its operation and never a yes. Patterns match
//! anywhere in the value, as Go's `regexp.MatchString` does.

use kiln_config::operation::{Condition, Exists, Fact};
use regex_lite::Regex;

use crate::{Error, Surroundings};

/// Where os-release(5) lies, in order.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
/// Largest file of settings that is read, in bytes.
pub(crate) const SETTINGS_BYTES: u64 = 1 << 20;
/// Programs of the two service managers that conditions tell apart.
const MANAGERS: [(&str, &[&str]); 2] = [
    ("systemd", &["/usr/lib/systemd/systemd", "/lib/systemd/systemd"]),
    ("openrc", &["/sbin/openrc", "/usr/sbin/openrc"]),
];

impl Surroundings<'_> {
    /// Why an operation does not run; nothing where it does.
    pub(crate) fn obstacle(&mut self, conditions: &[Condition]) -> Result<Option<String>, Error> {
        for condition in conditions {
            if let Some(obstacle) = self.one(condition)? {
                return Ok(Some(obstacle));
            }
        }
        Ok(None)
    }

    fn one(&mut self, condition: &Condition) -> Result<Option<String>, Error> {
        Ok(match condition {
            Condition::Command(text) => {
                let script = self.text(text)?;
                let finished = self.try_program("sh", &["-c", &script])?;
                finished.fault.map(|fault| format!("its condition ended with {fault}"))
            }
            Condition::Node(pattern) => {
                let name = self.host_name();
                (!matches(pattern, &[&name])?)
                    .then(|| format!("the host name `{name}` does not match `{pattern}`"))
            }
            Condition::Fact(fact, pattern) => {
                let values = self.fact(*fact)?;
                let all: Vec<&str> = values.iter().map(String::as_str).collect();
                (!matches(pattern, &all)?)
                    .then(|| format!("`{}` does not match `{pattern}`", all.join("` or `")))
            }
            Condition::Files(wanted, paths) => {
                let mut there = 0;
                for path in paths {
                    let path = self.text(path)?;
                    there += usize::from(self.root.target(&path)?.is_some());
                }
                let holds = match wanted {
                    Exists::All => there == paths.len(),
                    Exists::Any => there > 0,
                    Exists::None => there == 0,
                };
                (!holds).then(|| format!("{there} of {} files exist", paths.len()))
            }
        })
    }

    /// The host name that the kernel has.
    pub(crate) fn host_name(&self) -> String {
        let text = std::fs::read_to_string(self.kernel.join("sys/kernel/hostname"));
        text.unwrap_or_default().trim().to_owned()
    }

    fn fact(&self, fact: Fact) -> Result<Vec<String>, Error> {
        let release = |wanted: &[&str]| -> Result<Vec<String>, Error> {
            let text = os_release(&self.root)?;
            Ok(wanted.iter().filter_map(|name| variable(&text, name)).collect())
        };
        match fact {
            Fact::Os => release(&["ID", "NAME"]),
            Fact::OsVersion => release(&["VERSION_ID"]),
            Fact::Architecture => Ok(vec![architecture().to_owned()]),
            Fact::ServiceManager => {
                let mut found = Vec::new();
                for (name, programs) in MANAGERS {
                    for program in programs {
                        if self.root.target(program)?.is_some() && !found.contains(&name.to_owned())
                        {
                            found.push(name.to_owned());
                        }
                    }
                }
                Ok(found)
            }
        }
    }
}

/// The text of the root's os-release.
pub(crate) fn os_release(root: &crate::Root) -> Result<String, Error> {
    for path in OS_RELEASE {
        if let Some(text) = root.text(path, SETTINGS_BYTES)? {
            return Ok(text);
        }
    }
    Ok(String::new())
}

/// The value of a variable in os-release(5), quotes taken off.
pub(crate) fn variable(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?;
    let line = line.trim();
    let inner =
        ['"', '\''].into_iter().find_map(|quote| line.strip_prefix(quote)?.strip_suffix(quote));
    Some(inner.unwrap_or(line).to_owned())
}

/// This machine's processor in Go's notation.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

fn matches(pattern: &str, values: &[&str]) -> Result<bool, Error> {
    let regex = Regex::new(pattern).map_err(|error| Error::Pattern {
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(values.iter().any(|value| regex.is_match(value)))
}

#[cfg(test)]
mod tests {
    use super::{matches, variable};

    #[test]
    fn patterns_match_anywhere_and_bad_ones_are_named() {
        for (pattern, values, expected) in [
            ("node-[0-9]+", &["node-7.example"][..], true),
            ("^node$", &["node-7"], false),
            ("(?i)UBUNTU|debian", &["opensuse", "Ubuntu"], true),
            (".*", &[], false),
        ] {
            assert_eq!(matches(pattern, values).unwrap(), expected, "{pattern}");
        }
        assert!(matches("(", &["x"]).unwrap_err().to_string().contains("`(`"));
    }

    #[test]
    fn variables_of_os_release_lose_their_quotes() {
        let text = "NAME=\"Some OS\"\nID=some\nVERSION_ID='4'\nIDX=no\n";
        for (name, expected) in [
            ("NAME", Some("Some OS")),
            ("ID", Some("some")),
            ("VERSION_ID", Some("4")),
            ("X", None),
        ] {
            assert_eq!(variable(text, name).as_deref(), expected, "{name}");
        }
    }
}
