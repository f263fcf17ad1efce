//! A unit of systemd as a value, and the one place that writes it as text (systemd.syntax(7)).
//!
//! All of Kiln's units have the same few parts, so a unit says only in what it differs. It is no general
//! writer of units: a key that none of ours has needs none. Texts in constants were dropped, because
//! every one of them repeated all the others.

use super::Editor;
use crate::Error;

/// The folder of vendor units.
pub(super) const UNITS: &str = "usr/lib/systemd/system";

/// A setting and its value.
pub(super) type Key = (&'static str, &'static str);

/// For services that count as running once their program is done, so that nothing starts them twice.
pub(super) const STAYS: &[Key] = &[("RemainAfterExit", "yes")];

/// A unit of Kiln's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    /// Its file name.
    pub(super) name: &'static str,
    /// What it is for, as logs say it.
    pub(super) description: &'static str,
    /// The manual page that tells more.
    pub(super) manual: &'static str,
    /// Whether it starts before the system is set up, or when that went wrong.
    pub(super) is_early: bool,
    /// What has to hold, or it is passed over.
    pub(super) conditions: &'static [Key],
    /// What it waits for, and other settings of its `[Unit]`.
    pub(super) order: &'static [Key],
    /// What it does.
    pub(super) does: Does,
    /// The folder of the target that pulls it in; none for units that others name.
    pub(super) enabled_in: Option<&'static str>,
}

/// What a unit does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Does {
    /// It runs a program to its end.
    Run(&'static str, &'static [Key]),
    /// It starts the service of its name when something changes.
    Watch(&'static [Key]),
    /// It starts the service of its name from time to time.
    Wait(&'static [Key]),
}

impl Unit {
    /// Nothing, for units to differ from.
    pub(super) const EMPTY: Self = Self {
        name: "",
        description: "",
        manual: "",
        is_early: false,
        conditions: &[],
        order: &[],
        does: Does::Wait(&[]),
        enabled_in: None,
    };

    /// The text of its file.
    pub(super) fn text(&self) -> String {
        let mut text = section("Unit", &[("Description", self.description)]);
        text.push_str(&format!("Documentation=man:{}\n", self.manual));
        if self.is_early {
            text.push_str("DefaultDependencies=no\n");
        }
        text.push_str(&lines(self.conditions));
        text.push_str(&lines(self.order));
        text.push('\n');
        text.push_str(&match self.does {
            Does::Run(program, keys) => {
                section("Service", &[("Type", "oneshot"), ("ExecStart", program)]) + &lines(keys)
            }
            Does::Watch(keys) => section("Path", keys),
            Does::Wait(keys) => section("Timer", keys),
        });
        text
    }

    /// Puts it into the image, with the link that enables it.
    pub(super) fn add(&self, editor: &mut Editor<'_>) -> Result<(), Error> {
        let name = self.name;
        editor.file(format!("{UNITS}/{name}").as_bytes(), 0o644, self.text().as_bytes())?;
        if let Some(folder) = self.enabled_in {
            let link = format!("{UNITS}/{folder}/{name}");
            editor.symlink(link.as_bytes(), format!("../{name}").as_bytes())?;
        }
        Ok(())
    }
}

fn section(name: &str, keys: &[(&str, &str)]) -> String {
    format!("[{name}]\n{}", lines(keys))
}

fn lines(keys: &[(&str, &str)]) -> String {
    keys.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Does, STAYS, Unit};

    #[test]
    fn a_unit_has_its_parts_in_their_order() {
        let unit = Unit {
            name: "a.service",
            description: "Do it",
            manual: "a(1)",
            is_early: true,
            conditions: &[("ConditionPathExists", "/a"), ("ConditionPathExists", "|/b")],
            order: &[("After", "b.service")],
            does: Does::Run("/usr/bin/a", STAYS),
            enabled_in: None,
        };
        let expected = "[Unit]\nDescription=Do it\nDocumentation=man:a(1)\nDefaultDependencies=no\n\
                        ConditionPathExists=/a\nConditionPathExists=|/b\nAfter=b.service\n\n\
                        [Service]\nType=oneshot\nExecStart=/usr/bin/a\nRemainAfterExit=yes\n";
        assert_eq!(unit.text(), expected);
        let timer = Unit { does: Does::Wait(&[("OnBootSec", "5min")]), is_early: false, ..unit };
        assert!(timer.text().ends_with("After=b.service\n\n[Timer]\nOnBootSec=5min\n"));
        let path = Unit { does: Does::Watch(&[("PathChanged", "/a")]), ..timer };
        assert!(path.text().ends_with("\n\n[Path]\nPathChanged=/a\n"));
    }
}
