//! The configuration that a kernel was built with (`/boot/config-*`).
//!
//! Only asked for single options; absent means "not set", as in the file itself. A kernel without
//! the file is judged by its module index instead, so nothing here decides alone.

use std::collections::BTreeMap;

/// Value of a tristate option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `=y`
    BuiltIn,
    /// `=m`
    Module,
    /// not set, or not mentioned
    Off,
}

/// Options of a kernel, without the prefix `CONFIG_`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelConfig {
    options: BTreeMap<String, String>,
}

impl KernelConfig {
    /// Reads lines of the form `CONFIG_NAME=value`; all other lines are comments.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let options = text
            .lines()
            .filter_map(|line| line.trim_end().strip_prefix("CONFIG_")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { options }
    }

    /// The setting of an option named without `CONFIG_`.
    #[must_use]
    pub fn setting(&self, option: &str) -> Setting {
        match self.options.get(option).map(String::as_str) {
            Some("y") => Setting::BuiltIn,
            Some("m") => Setting::Module,
            _ => Setting::Off,
        }
    }

    /// Whether an option is `=y`.
    #[must_use]
    pub fn is_built_in(&self, option: &str) -> bool {
        self.setting(option) == Setting::BuiltIn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_comments_are_not() {
        let config = KernelConfig::parse(
            "# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=m\r\nCONFIG_D=\"text\"\nCONFIG_E=n\n#CONFIG_F=y\n",
        );
        let cases = [
            ("A", Setting::Off),
            ("B", Setting::BuiltIn),
            ("C", Setting::Module),
            ("D", Setting::Off),
            ("E", Setting::Off),
            ("F", Setting::Off),
        ];
        for (option, expected) in cases {
            assert_eq!(config.setting(option), expected, "{option}");
        }
    }
}
