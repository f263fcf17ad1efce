//! What an image says about itself (os-release(5)), and what its boot files say about it.
//!
//! The `.osrel` of a boot file is *not* the image's: systemd-boot sorts by the fields of it, and a
//! distribution that changes its ID or counts versions in its own way would put an older revision
//! before a newer one. So ID is constant, there is no version, and the file's name with its
//! growing generation decides.

use std::collections::BTreeMap;

/// `ID` of a system's boot files.
pub const SYSTEM_ID: &str = "kiln";

/// `ID` of a recovery boot file; sorts behind [`SYSTEM_ID`].
pub const RECOVERY_ID: &str = "kiln-recovery";

/// Most characters of a title: systemd-boot draws one line.
const TITLE_CHARACTERS: usize = 100;

/// The fields of an os-release file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    fields: BTreeMap<String, String>,
}

impl OsRelease {
    /// Where an image keeps it, first match wins (os-release(5)).
    pub const PATHS: [&'static str; 2] = ["etc/os-release", "usr/lib/os-release"];

    /// Reads `NAME=value` lines with the quoting of os-release(5). A line of another form is
    /// skipped, as every reader of these files does; the last of two equal names wins.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut fields = BTreeMap::new();
        for line in text.lines() {
            let line = line.trim();
            if line.starts_with('#') {
                continue;
            }
            let Some((name, value)) = line.split_once('=') else { continue };
            let valid = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if let (true, Some(value)) = (valid, unquote(value)) {
                fields.insert(name.to_owned(), value);
            }
        }
        Self { fields }
    }

    /// A field, none if it is absent or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// The title of the system: PRETTY_NAME, GRUB_ENTRY_NAME, NAME, IMAGE_ID, ID; none if the image
    /// tells nothing.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        self.first(&["PRETTY_NAME", "GRUB_ENTRY_NAME", "NAME", "IMAGE_ID", "ID"])
    }

    /// The name that files of a build get: IMAGE_ID, ID; the caller falls back to its reference.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.first(&["IMAGE_ID", "ID"])
    }

    /// The version of a build: IMAGE_VERSION, VERSION, VERSION_ID.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.first(&["IMAGE_VERSION", "VERSION", "VERSION_ID"])
    }
}

/// The value of a shell assignment without expansions; none if a quote is not closed or something
/// follows it.
fn unquote(value: &str) -> Option<String> {
    let mut out = String::new();
    let mut characters = value.chars();
    let mut quote = None;
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '\'' | '"') => quote = Some(character),
            (None, '\\') => out.push(characters.next()?),
            // Unquoted blanks end an assignment in a shell; only a comment may follow.
            (None, blank) if blank.is_whitespace() => {
                let rest = characters.as_str().trim_start();
                return (rest.is_empty() || rest.starts_with('#')).then_some(out);
            }
            (Some(open), close) if open == close => quote = None,
            (Some('"'), '\\') => match characters.next()? {
                escaped @ ('"' | '\\' | '$' | '`') => out.push(escaped),
                // Any other backslash inside double quotes stands for itself.
                other => out.extend(['\\', other]),
            },
            (_, other) => out.push(other),
        }
    }
    quote.is_none().then_some(out)
}

/// What a boot file starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The system itself.
    System,
    /// The recovery system.
    Recovery,
}

impl Mode {
    /// Its name in `kiln.mode=` and in the facts of a release.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Recovery => "recovery",
        }
    }

    /// What the menu shows behind the title.
    pub(crate) fn title_suffix(self) -> &'static str {
        match self {
            Self::System => "",
            Self::Recovery => " (recovery)",
        }
    }
}

/// The text of a boot file's `.osrel`.
///
/// `title` is the image's; it is cut and stripped of what systemd-boot's line parser, which knows
/// no escapes, would misread.
#[must_use]
pub fn boot_file_text(title: &str, mode: Mode) -> String {
    let clean: String = title
        .chars()
        .filter(|character| !character.is_control() && !"\"\\$`".contains(*character))
        .take(TITLE_CHARACTERS)
        .collect();
    let clean = match clean.trim() {
        "" => "Kiln",
        trimmed => trimmed,
    };
    let suffix = mode.title_suffix();
    let id = match mode {
        Mode::System => SYSTEM_ID,
        Mode::Recovery => RECOVERY_ID,
    };
    format!("ID={id}\nNAME=\"{clean}{suffix}\"\nPRETTY_NAME=\"{clean}{suffix}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unquoted_as_a_shell_does() {
        let cases = [
            ("A=plain", Some("plain")),
            ("A=\"two words\"", Some("two words")),
            ("A='it''s'", Some("its")),
            ("A='a\\b'", Some("a\\b")),
            (r#"A="a\"b\$c\d""#, Some(r#"a"b$c\d"#)),
            (r"A=a\ b", Some("a b")),
            ("A=a # comment", Some("a")),
            ("  A=a  ", Some("a")),
            ("A=a b", None),
            ("A=\"open", None),
            ("A=", None),
            ("# A=b", None),
            ("1A=b", None),
        ];
        for (line, expected) in cases {
            assert_eq!(OsRelease::parse(line).get("A"), expected, "{line}");
        }
    }

    #[test]
    fn titles_names_and_versions_fall_back() {
        let derivative = OsRelease::parse("VERSION=999\nGRUB_ENTRY_NAME=derivative\n");
        assert_eq!(derivative.title(), Some("derivative"));
        assert_eq!(derivative.name(), None);
        assert_eq!(derivative.version(), Some("999"));
        let debian = OsRelease::parse(
            "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_ID=\"13\"\nID=debian\n",
        );
        assert_eq!(debian.title(), Some("Debian GNU/Linux 13 (trixie)"));
        assert_eq!(debian.name(), Some("debian"));
        assert_eq!(debian.version(), Some("13"));
        assert_eq!(OsRelease::parse("").title(), None);
    }

    #[test]
    fn boot_files_carry_a_constant_id_and_no_version() {
        assert_eq!(
            boot_file_text("Debian \"13\"", Mode::System),
            "ID=kiln\nNAME=\"Debian 13\"\nPRETTY_NAME=\"Debian 13\"\n"
        );
        let recovery = boot_file_text("\n", Mode::Recovery);
        let fields = OsRelease::parse(&recovery);
        assert_eq!(fields.get("ID"), Some("kiln-recovery"));
        assert_eq!(fields.title(), Some("Kiln (recovery)"));
        assert_eq!(fields.version(), None);
    }

    proptest::proptest! {
        #[test]
        fn any_title_survives_its_boot_file(title in "\\PC{0,40}", text in ".{0,60}") {
            let _ = OsRelease::parse(&text);
            let fields = OsRelease::parse(&boot_file_text(&title, Mode::System));
            proptest::prop_assert_eq!(fields.get("ID"), Some("kiln"));
            proptest::prop_assert!(fields.title().is_some());
        }
    }
}
