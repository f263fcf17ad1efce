//! The host name: of the running kernel, in `/etc/hostname`, and in `/etc/hosts`.

use kiln_config::operation::Text;

use crate::conditions::SETTINGS_BYTES;
use crate::{Error, Surroundings};

const HOSTNAME: &str = "/etc/hostname";
const HOSTS: &str = "/etc/hosts";
/// Longest name, in bytes (hostname(7)).
const NAME_BYTES: usize = 64;
/// The address whose line names the host.
const LOOPBACK: &str = "127.0.0.1";

impl Surroundings<'_> {
    pub(crate) fn set_host_name(&mut self, name: &Text) -> Result<(), Error> {
        let name = self.text(name)?;
        let name = name.trim();
        check(name)?;
        let old = self.root.text(HOSTNAME, SETTINGS_BYTES)?.unwrap_or_default();
        let hosts = self.root.text(HOSTS, SETTINGS_BYTES)?.unwrap_or_default();
        self.settings(HOSTNAME, &format!("{name}\n"))?;
        self.settings(HOSTS, &with_host(&hosts, old.trim(), name))?;
        if self.is_running {
            rustix::system::sethostname(name.as_bytes())
                .map_err(crate::error::file("set the host name of", "the kernel"))?;
        }
        Ok(())
    }
}

fn check(name: &str) -> Result<(), Error> {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.len() <= NAME_BYTES && name.split('.').all(is_label) {
        return Ok(());
    }
    Err(Error::Setting {
        what: "the host name",
        value: name.chars().filter(|letter| !letter.is_control()).take(80).collect(),
        reason: "it has at most 64 letters, digits and `-`, in parts joined by dots",
    })
}

/// The text of hosts(5) in which the loopback address has the new name and no longer the old one.
fn with_host(text: &str, old: &str, new: &str) -> String {
    let mut is_done = false;
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let (fields, comment) = line.split_once('#').map_or((line, None), |(a, b)| (a, Some(b)));
        let mut words = fields.split_whitespace();
        if words.next() != Some(LOOPBACK) {
            lines.push(line.to_owned());
            continue;
        }
        let kept = words.filter(|word| *word != new && (*word != old || *word == "localhost"));
        let mut names: Vec<&str> = kept.collect();
        if !is_done {
            names.push(new);
            is_done = true;
        }
        if !names.is_empty() {
            let comment = comment.map(|text| format!(" #{text}")).unwrap_or_default();
            lines.push(format!("{LOOPBACK} {}{comment}", names.join(" ")));
        }
    }
    if !is_done {
        lines.insert(0, format!("{LOOPBACK} localhost {new}"));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::{check, with_host};

    #[test]
    fn names_are_those_of_hostname_7() {
        let long = "a".repeat(65);
        for (name, expected) in [
            ("node-1", true),
            ("node.example.com", true),
            ("", false),
            ("-a", false),
            ("a..b", false),
            ("a b", false),
            ("a\nb", false),
            (long.as_str(), false),
        ] {
            assert_eq!(check(name).is_ok(), expected, "{name}");
        }
    }

    #[test]
    fn the_loopback_line_names_the_host_once() {
        for (text, old, expected) in [
            ("", "", "127.0.0.1 localhost new\n"),
            (
                "127.0.0.1\tlocalhost\n::1 localhost\n",
                "",
                "127.0.0.1 localhost new\n::1 localhost\n",
            ),
            ("127.0.0.1 localhost old # x\n", "old", "127.0.0.1 localhost new # x\n"),
            ("127.0.0.1 localhost new\n", "new", "127.0.0.1 localhost new\n"),
            (
                "# 127.0.0.1 x\n10.0.0.1 a\n",
                "",
                "127.0.0.1 localhost new\n# 127.0.0.1 x\n10.0.0.1 a\n",
            ),
            ("127.0.0.1 localhost\n", "localhost", "127.0.0.1 localhost new\n"),
        ] {
            assert_eq!(with_host(text, old, "new"), expected);
            assert_eq!(with_host(expected, "new", "new"), expected, "again");
        }
    }
}
