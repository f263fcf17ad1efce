//! Time servers, and the settings that `systemd-firstboot` makes.

use std::collections::BTreeMap;

use kiln_config::operation::Text;

use super::is_line;
use crate::{Error, Surroundings};

/// A drop-in (timesyncd.conf(5)): the image's own file stays as its distribution wrote it.
const TIMESYNCD: &str = "/etc/systemd/timesyncd.conf.d/10-kiln.conf";

impl Surroundings<'_> {
    pub(crate) fn timesyncd(&mut self, settings: &BTreeMap<String, Text>) -> Result<(), Error> {
        let mut text = String::from("[Time]\n");
        for (name, value) in settings {
            let value = self.text(value)?;
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if !is_line(&value) || !is_name {
                return Err(Error::Setting {
                    what: "a setting of systemd-timesyncd",
                    value: name.chars().filter(|letter| !letter.is_control()).collect(),
                    reason: "name and value have to fit on one line",
                });
            }
            text.push_str(&format!("{name}={value}\n"));
        }
        self.settings(TIMESYNCD, &text)
    }

    pub(crate) fn systemd_firstboot(
        &mut self,
        options: &BTreeMap<String, Text>,
    ) -> Result<(), Error> {
        let mut arguments = Vec::new();
        for (name, value) in options {
            let value = self.text(value)?;
            arguments.push(option(name, &value)?);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.program("systemd-firstboot", "systemd-firstboot", &arguments)
    }
}

/// `--name=value`; a value of `true` is that of an option without one.
fn option(name: &str, value: &str) -> Result<String, Error> {
    let name = name.trim_start_matches("--");
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Error::Setting {
            what: "an option of systemd-firstboot",
            value: name.chars().filter(|letter| !letter.is_control()).collect(),
            reason: "it is no name of one",
        });
    }
    Ok(if value == "true" { format!("--{name}") } else { format!("--{name}={value}") })
}

#[cfg(test)]
mod tests {
    use super::option;

    #[test]
    fn options_are_those_of_the_program() {
        for (name, value, expected) in [
            ("keymap", "us", Some("--keymap=us")),
            ("setup-machine-id", "true", Some("--setup-machine-id")),
            ("locale", "de_DE.UTF-8", Some("--locale=de_DE.UTF-8")),
            ("a b", "c", None),
            ("", "c", None),
        ] {
            assert_eq!(option(name, value).ok().as_deref(), expected, "{name}");
        }
    }
}
