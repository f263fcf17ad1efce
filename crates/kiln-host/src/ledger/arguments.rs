//! What this machine wants of kernel arguments beside those of its release.
//!
//! Wishes are kept apart from the line that they make, so that the next release gets the wishes and
//! not the old line. The release's own line is kept with them: once an argument is deleted, no boot
//! file on the disk says any more what the release had.

use kiln_boot::arguments::edited;
use serde::{Deserialize, Serialize};

/// Kernel arguments of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalArguments {
    /// The command line that the release's own boot file has.
    pub release: String,
    /// Arguments behind those, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub append: Vec<String>,
    /// Arguments of the release that are left out: whole ones, or names for all their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delete: Vec<String>,
    /// Addons of the release that are switched on, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addons: Vec<String>,
    /// The generation of the same release whose arguments were changed; missing if a new release
    /// inherited them. A failure says nothing about the release then, only about the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub varies: Option<u32>,
}

impl LocalArguments {
    /// The arguments of a release as it is.
    #[must_use]
    pub fn of_release(command_line: &str) -> Self {
        Self { release: command_line.to_owned(), ..Self::default() }
    }

    /// Whether nothing is wished for.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.append.is_empty() && self.delete.is_empty() && self.addons.is_empty()
    }

    /// Whether both wish for the same.
    #[must_use]
    pub fn wishes_the_same(&self, other: &Self) -> bool {
        (&self.append, &self.delete, &self.addons) == (&other.append, &other.delete, &other.addons)
    }

    /// The same wishes for another release.
    #[must_use]
    pub fn carried_to(&self, command_line: &str) -> Self {
        Self { release: command_line.to_owned(), varies: None, ..self.clone() }
    }

    /// The command line of the boot file; addons add theirs when it starts.
    #[must_use]
    pub fn command_line(&self) -> String {
        edited(&self.release, &self.delete, &self.append)
    }
}

#[cfg(test)]
mod tests {
    use super::LocalArguments;

    #[test]
    fn wishes_go_to_the_next_release_and_its_own_line_stays() {
        let mut wishes = LocalArguments::of_release("kiln.root=1 quiet splash");
        assert!(wishes.is_plain());
        wishes.append.push("debug".into());
        wishes.delete.push("quiet".into());
        wishes.varies = Some(3);
        assert_eq!(wishes.command_line(), "kiln.root=1 splash debug");
        let next = wishes.carried_to("kiln.root=2 quiet console=tty0");
        assert_eq!(next.command_line(), "kiln.root=2 console=tty0 debug");
        assert_eq!(next.varies, None);
        assert!(next.wishes_the_same(&wishes) && !next.is_plain());
    }
}
