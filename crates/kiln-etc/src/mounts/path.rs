//! A path that may be mounted over, and the name under which the state keeps what is written there.
//!
//! Paths come from documents that anybody may have written, and end up as mount points of the first
//! process and in options of overlayfs, where commas and colons separate. So a path is checked once, here,
//! and whatever holds a [`MountPath`] need not think of it again. Quoting in options was dropped: kernels
//! differ in which of their parsers take a backslash.

use std::fmt;

/// Longest path in bytes. The name in the state has at most three bytes for each of these but the first,
/// and a name of a file at most 255 (`NAME_MAX`), which [`MountPath::new`] checks as well.
const LONGEST: usize = 240;
/// Longest name of a folder in bytes, `NAME_MAX` of Linux.
const NAME_MAXIMUM: usize = 255;
/// What the system itself mounts, and why nothing else goes there or below.
const TAKEN: [(&str, &str); 7] = [
    ("/proc", "it belongs to the kernel"),
    ("/sys", "it belongs to the kernel"),
    ("/dev", "it belongs to the kernel"),
    ("/run", "it is always in memory"),
    ("/state", "it is the state partition itself"),
    ("/boot", "boot files are changed by upgrades only"),
    ("/oem", "it is always a folder of the state partition"),
];
/// Folders that belong to the release, apart from [`LOCAL`].
const RELEASE: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// What is below `/usr` and belongs to the machine all the same (hier(7)).
const LOCAL: &str = "/usr/local";

/// An absolute path of the running system in its shortest form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MountPath(String);

impl MountPath {
    /// Checks a path; doubled and trailing slashes and `.` are taken out.
    ///
    /// # Errors
    /// Why nothing may be mounted there, as the end of a sentence.
    pub fn new(path: &str) -> Result<Self, &'static str> {
        if !path.starts_with('/') {
            return Err("it does not begin with /");
        }
        if path.len() > LONGEST {
            return Err("it is too long");
        }
        if path.chars().any(|letter| letter.is_control() || ",:\\\"".contains(letter)) {
            return Err("it holds a character that mount options cannot");
        }
        let names = || path.split('/').filter(|name| !matches!(*name, "" | "."));
        if names().any(|name| name == "..") {
            return Err("it leads upwards");
        }
        let path: String = names().flat_map(|name| ["/", name]).collect();
        if path.is_empty() || path == "/usr" {
            return Err("the root itself is proved by its hash and never written");
        }
        let path = Self(path);
        if let Some((_, reason)) = TAKEN.iter().find(|(folder, _)| path.is_in(folder)) {
            return Err(reason);
        }
        if path.name().len() > NAME_MAXIMUM {
            return Err("it is too long");
        }
        Ok(path)
    }

    /// The path, beginning with a slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path from the root, without a slash at its beginning.
    #[must_use]
    pub fn relative(&self) -> &str {
        self.0.trim_start_matches('/')
    }

    /// Whether it is this folder or lies below it.
    #[must_use]
    pub fn is_in(&self, folder: &str) -> bool {
        self.0.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether the release brings what is there, so that the next one brings something else.
    #[must_use]
    pub fn is_of_release(&self) -> bool {
        !self.is_in(LOCAL) && RELEASE.iter().any(|folder| self.is_in(folder))
    }

    /// One name for the whole path, another one for each: slashes become `-`, and what is neither letter,
    /// digit, `.` nor `_` becomes `%` with two hexadecimal digits.
    #[must_use]
    pub fn name(&self) -> String {
        let mut name = String::new();
        for byte in self.relative().bytes() {
            match byte {
                b'/' => name.push('-'),
                byte if byte.is_ascii_alphanumeric() || b"._".contains(&byte) => {
                    name.push(char::from(byte));
                }
                byte => name.push_str(&format!("%{byte:02x}")),
            }
        }
        name
    }
}

impl fmt::Display for MountPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::MountPath;

    #[test]
    fn paths_are_brought_into_one_form_or_refused() {
        let long = format!("/{}", "x".repeat(240));
        let wide = format!("/{}", "ä".repeat(60));
        let cases = [
            ("/etc", Ok("/etc")),
            ("//var/./lib//", Ok("/var/lib")),
            ("/usr/libexec", Ok("/usr/libexec")),
            ("/running", Ok("/running")),
            ("/my data", Ok("/my data")),
            ("etc", Err("begin")),
            ("", Err("begin")),
            ("/", Err("hash")),
            ("/./", Err("hash")),
            ("/usr/", Err("hash")),
            ("/var/../etc", Err("upwards")),
            ("/proc/sys", Err("kernel")),
            ("/run/lock", Err("memory")),
            ("/state", Err("state")),
            ("/boot/efi", Err("upgrades")),
            ("/oem", Err("state")),
            ("/a,upperdir=/b", Err("character")),
            ("/a:b", Err("character")),
            ("/a\\054b", Err("character")),
            ("/a\nb", Err("character")),
            (&long, Err("too long")),
            (&wide, Err("too long")),
        ];
        for (given, expected) in cases {
            match (MountPath::new(given), expected) {
                (Ok(path), Ok(expected)) => assert_eq!(path.as_str(), expected, "{given:?}"),
                (Err(reason), Err(word)) => assert!(reason.contains(word), "{given:?}: {reason}"),
                (found, _) => panic!("{given:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn names_in_the_state_are_those_of_before_and_never_meet() {
        let name = |path: &str| MountPath::new(path).unwrap().name();
        for (path, expected) in [
            ("/home", "home"),
            ("/usr/local", "usr-local"),
            ("/a-b/c", "a%2db-c"),
            ("/a/b-c", "a-b%2dc"),
            ("/a-/b", "a%2d-b"),
            ("/a/-b", "a-%2db"),
            ("/a%2db", "a%252db"),
            ("/my data", "my%20data"),
        ] {
            assert_eq!(name(path), expected);
        }
    }

    #[test]
    fn what_the_release_brings_is_told_from_what_the_machine_has() {
        for (path, expected) in [
            ("/usr/libexec", true),
            ("/lib/firmware", true),
            ("/usr/local", false),
            ("/usr/local/bin", false),
            ("/usr/localised", true),
            ("/etc", false),
            ("/library", false),
        ] {
            assert_eq!(MountPath::new(path).unwrap().is_of_release(), expected, "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn two_paths_have_two_names(one in "(/[ab./-]{1,3}){1,4}", two in "(/[ab./-]{1,3}){1,4}") {
            if let (Ok(one), Ok(two)) = (MountPath::new(&one), MountPath::new(&two)) {
                proptest::prop_assert_eq!(one == two, one.name() == two.name());
            }
        }

        #[test]
        fn an_accepted_path_stays_as_it_is(path in "\\PC{0,40}") {
            if let Ok(once) = MountPath::new(&path) {
                proptest::prop_assert_eq!(MountPath::new(once.as_str()), Ok(once.clone()));
                proptest::prop_assert!(!once.name().contains('/'));
            }
        }
    }
}
