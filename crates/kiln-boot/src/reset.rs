//! A wish that the first process fulfils before anything uses the state: forget what is in it.
//!
//! The running system cannot empty the folders that it runs on, so `kiln reset` only leaves this
//! file, and the rename that gives it its name is the commit point. What is kept is written down as
//! paths inside the state, worked out when the wish is made: the first process compares words and
//! knows nothing of overlays' meanings.
//!
//! The text is one line `kiln.reset.v1`, then one line `keep PATH` each. In a path `*` stands for one
//! whole name. Keeping by patterns of more power was dropped: what cannot be read at a glance before
//! data is deleted is a danger.

use std::fmt;

/// Where the wish is, from the root of the state.
pub const PATH: &str = "kiln/reset";
/// Where things go that are forgotten, until somebody has the time to delete them.
pub const ASIDE: &str = ".kiln-reset";
/// The first line.
pub const FORMAT: &str = "kiln.reset.v1";
/// Longest text in bytes: some hundred paths.
pub const MAXIMUM_LENGTH: usize = 64 << 10;
/// What every reset keeps: who this machine is, what its owner wants it to be, and what lies on its
/// disk. A machine that is reset becomes what its configuration says, and not one without any.
const ALWAYS: [&str; 3] = ["identity", "lost+found", "oem"];
/// Where the state remembers accounts of releases, for `/etc`.
const ACCOUNTS: [&str; 2] = ["kiln", "accounts"];
/// What hooks wrote for the system that starts next: it has seen nothing of it yet.
const HOOKS: [&str; 2] = ["kiln", "hooks"];
/// Folders of the system with a plain overlay in state, by their paths there.
const OVERLAYS: [(&str, &str); 5] = [
    ("/home", "overlay/home/upper"),
    ("/root", "overlay/root/upper"),
    ("/srv", "overlay/srv/upper"),
    ("/opt", "overlay/opt/upper"),
    ("/usr/local", "overlay/usr-local/upper"),
];

/// What becomes of something in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays as it is, with all that is in it.
    Keep,
    /// Something in it may stay: what is in it is judged one by one.
    Descend,
    /// It goes.
    Take,
}

/// A wish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Paths inside the state that stay, in order and without doubles.
    keep: Vec<Vec<String>>,
}

/// A path that cannot be kept, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotKept {
    /// The path as it was given.
    pub path: String,
    /// Why not.
    pub reason: &'static str,
}

impl fmt::Display for NotKept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` cannot be kept: {}", self.path, self.reason)
    }
}

impl std::error::Error for NotKept {}

impl Reset {
    /// A wish that keeps these paths of the running system, such as `/etc` and `/home/admin`.
    ///
    /// # Errors
    /// [`NotKept`] for a path that is not absolute or not in the state.
    pub fn keeping<Path: AsRef<str>>(paths: &[Path]) -> Result<Self, NotKept> {
        Self::keeping_in(paths, &[])
    }

    /// The same on a machine with a layout of its own: folders of the running system, and where the state
    /// has what is in each, beside the usual places. `*` there stands for one whole name, and nothing
    /// for the whole state.
    ///
    /// # Errors
    /// As [`Reset::keeping`].
    pub fn keeping_in<Path: AsRef<str>>(
        paths: &[Path],
        layout: &[(String, String)],
    ) -> Result<Self, NotKept> {
        let mut keep = Vec::new();
        for path in paths {
            let path = path.as_ref();
            let refuse = |reason| NotKept { path: path.to_owned(), reason };
            for place in places(path, layout).map_err(refuse)? {
                keep.push(names(&place).ok_or(refuse("it is no plain path"))?);
            }
        }
        keep.sort();
        keep.dedup();
        Ok(Self { keep })
    }

    /// Paths inside the state that stay.
    pub fn kept(&self) -> impl Iterator<Item = String> + '_ {
        self.keep.iter().map(|names| names.join("/"))
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let lines: String = self.kept().map(|path| format!("keep {path}\n")).collect();
        format!("{FORMAT}\n{lines}")
    }

    /// Reads the text of the file; `None` for anything that [`Reset::to_text`] does not write.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAXIMUM_LENGTH {
            return None;
        }
        let rest = text.strip_prefix(FORMAT)?.strip_prefix('\n')?;
        if !rest.is_empty() && !rest.ends_with('\n') {
            return None;
        }
        let mut keep = Vec::new();
        // Not `lines()`, which takes a carriage return off the end of a path.
        for line in rest.split_terminator('\n') {
            keep.push(names(line.strip_prefix("keep ")?)?);
        }
        Some(Self { keep })
    }

    /// Judges something in the state by the names that lead to it.
    ///
    /// Files directly in `kiln` stay, because they say what lies on the disk (the ledger, and the wish
    /// itself); its folders only hold downloads, but for what hooks wrote for the next start.
    #[must_use]
    pub fn judge(&self, path: &[&str], is_folder: bool) -> Verdict {
        let first = path.first().copied().unwrap_or_default();
        if first == ASIDE || ALWAYS.contains(&first) || path.starts_with(&HOOKS) {
            return Verdict::Keep;
        }
        // What the releases' own accounts were, without which a kept `/etc` could not be brought on.
        let keeps_etc =
            || self.keep.iter().any(|kept| kept.first().is_some_and(|name| name == "etc"));
        if path.starts_with(&ACCOUNTS) && keeps_etc() {
            return Verdict::Keep;
        }
        if first == "kiln" && (path.len() == 1 || path.len() == 2 && !is_folder) {
            return if is_folder { Verdict::Descend } else { Verdict::Keep };
        }
        let fits =
            |kept: &[String]| kept.iter().zip(path).all(|(kept, name)| kept == "*" || kept == name);
        let mut verdict = Verdict::Take;
        for kept in self.keep.iter().filter(|kept| fits(kept)) {
            if kept.len() <= path.len() {
                return Verdict::Keep;
            }
            if is_folder {
                verdict = Verdict::Descend;
            }
        }
        verdict
    }
}

/// The places in state of a path of the running system: where it is now, and where it would be without
/// a layout, since data of before may lie there.
fn places(path: &str, layout: &[(String, String)]) -> Result<Vec<String>, &'static str> {
    let below = |path: &str, folder: &str| -> Option<String> {
        let rest = path.strip_prefix(folder)?;
        (!folder.is_empty() && (rest.is_empty() || rest.starts_with('/'))).then(|| rest.to_owned())
    };
    let short = path.trim_end_matches('/');
    let mut places = Vec::new();
    for (folder, place) in layout {
        let found = match (below(short, folder), below(folder, short)) {
            (Some(rest), _) => format!("{place}{rest}").trim_start_matches('/').to_owned(),
            (None, Some(_)) => place.clone(),
            (None, None) => continue,
        };
        if found.is_empty() {
            return Err("all of the state would be kept");
        }
        places.push(found);
    }
    match place(path) {
        Ok(usual) => places.push(usual),
        Err(reason) if places.is_empty() => return Err(reason),
        Err(_) => {}
    }
    Ok(places)
}

/// The usual place in state of a path of the running system.
fn place(path: &str) -> Result<String, &'static str> {
    if !path.starts_with('/') {
        return Err("it does not begin with /");
    }
    let path = path.trim_end_matches('/');
    let below = |folder: &str| {
        let rest = path.strip_prefix(folder)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    };
    match (below("/etc"), below("/var"), below("/state")) {
        (Some(""), ..) => return Ok("etc".to_owned()),
        // One upper half per release.
        (Some(rest), ..) => return Ok(format!("etc/*{rest}")),
        (_, Some(rest), _) => return Ok(format!("var{rest}")),
        (.., Some("")) => return Err("all of the state would be kept"),
        (.., Some(rest)) => return Ok(rest.trim_start_matches('/').to_owned()),
        _ => {}
    }
    let overlay = OVERLAYS.iter().find_map(|(folder, place)| {
        let rest = below(folder)?;
        Some(format!("{place}{rest}"))
    });
    overlay.ok_or("it is part of the release or of memory, not of the state")
}

/// The names of a path inside the state, if they are plain.
fn names(path: &str) -> Option<Vec<String>> {
    let is_plain = |name: &str| {
        !name.is_empty() && name != "." && name != ".." && !name.chars().any(char::is_control)
    };
    let names: Vec<String> = path.split('/').map(str::to_owned).collect();
    names.iter().all(|name| is_plain(name)).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_system_become_places_in_state() {
        let cases = [
            ("/etc", Ok("etc")),
            ("/etc/", Ok("etc")),
            ("/etc/ssh/sshd_config", Ok("etc/*/ssh/sshd_config")),
            ("/var/lib/data", Ok("var/lib/data")),
            ("/home", Ok("overlay/home/upper")),
            ("/home/admin", Ok("overlay/home/upper/admin")),
            ("/usr/local/bin", Ok("overlay/usr-local/upper/bin")),
            ("/state/config", Ok("config")),
            ("/state", Err("all of the state would be kept")),
            ("etc", Err("it does not begin with /")),
            ("/usr/bin", Err("it is part of the release or of memory, not of the state")),
            ("/etcetera", Err("it is part of the release or of memory, not of the state")),
            ("/", Err("it is part of the release or of memory, not of the state")),
            ("/var/../etc", Err("it is no plain path")),
            ("/var//x", Err("it is no plain path")),
            ("/var/a\nkeep etc", Err("it is no plain path")),
        ];
        for (path, expected) in cases {
            let found = Reset::keeping(&[path]);
            let found = found.map(|reset| reset.kept().collect::<Vec<_>>().join(" "));
            assert_eq!(
                found.map_err(|error| error.reason),
                expected.map(str::to_owned),
                "{path:?}"
            );
        }
    }

    #[test]
    fn a_layout_of_its_own_says_where_paths_are() {
        let layout: Vec<(String, String)> = [
            ("/etc/ssh", "overlay/etc-ssh/upper"),
            ("/etc/ssh", "overlay/etc-ssh/bind"),
            ("/home", "overlay/home/upper"),
            ("/home", "overlay/home/bind"),
            ("/usr/libexec", "usr/*/usr-libexec"),
            ("/srv/data", "overlay/srv-data/upper"),
            ("/media", ""),
        ]
        .map(|(folder, place)| (folder.to_owned(), place.to_owned()))
        .into();
        let cases = [
            (
                "/etc/ssh/key",
                Ok("etc/*/ssh/key overlay/etc-ssh/bind/key overlay/etc-ssh/upper/key"),
            ),
            ("/etc", Ok("etc overlay/etc-ssh/bind overlay/etc-ssh/upper")),
            ("/etc/sshd", Ok("etc/*/sshd")),
            ("/home/", Ok("overlay/home/bind overlay/home/upper")),
            ("/usr/libexec/tool", Ok("usr/*/usr-libexec/tool")),
            ("/srv", Ok("overlay/srv/upper overlay/srv-data/upper")),
            ("/var/log", Ok("var/log")),
            ("/media/lib/rancher", Ok("lib/rancher")),
            ("/media", Err("all of the state would be kept")),
            ("/state", Err("all of the state would be kept")),
            ("/usr/bin", Err("it is part of the release or of memory, not of the state")),
            ("/", Err("it is part of the release or of memory, not of the state")),
            ("/home/../x", Err("it is no plain path")),
        ];
        for (path, expected) in cases {
            let found = Reset::keeping_in(&[path], &layout);
            let found = found.map(|reset| reset.kept().collect::<Vec<_>>().join(" "));
            assert_eq!(
                found.map_err(|error| error.reason),
                expected.map(str::to_owned),
                "{path:?}"
            );
        }
        let kept = Reset::keeping_in(&["/usr/libexec"], &layout).unwrap();
        for (path, expected) in [
            ("usr", Verdict::Descend),
            ("usr/0123456789abcdef/usr-libexec", Verdict::Keep),
            ("usr/0123456789abcdef/usr-lib", Verdict::Take),
            ("lib", Verdict::Take),
        ] {
            let names: Vec<&str> = path.split('/').collect();
            assert_eq!(kept.judge(&names, true), expected, "{path}");
        }
        assert_eq!(Reset::default().judge(&["usr"], true), Verdict::Take);
    }

    #[test]
    fn everything_is_judged() {
        let reset = Reset::keeping(&["/etc/ssh", "/home/admin", "/var/lib/data"]).unwrap();
        let cases = [
            ("identity", true, Verdict::Keep),
            ("lost+found", true, Verdict::Keep),
            (".kiln-reset", true, Verdict::Keep),
            ("kiln", true, Verdict::Descend),
            ("kiln/hooks", true, Verdict::Keep),
            ("kiln/hooks/var/lib", true, Verdict::Keep),
            ("kiln/ledger.json", false, Verdict::Keep),
            ("kiln/reset", false, Verdict::Keep),
            ("kiln/cache", true, Verdict::Take),
            ("kiln/accounts", true, Verdict::Keep),
            ("kiln/accounts/0123456789abcdef", true, Verdict::Keep),
            ("etc", true, Verdict::Descend),
            ("etc/0123456789abcdef", true, Verdict::Descend),
            ("etc/0123456789abcdef/ssh", true, Verdict::Keep),
            ("etc/0123456789abcdef/ssh/key", false, Verdict::Keep),
            ("etc/0123456789abcdef/passwd", false, Verdict::Take),
            ("etc/file", false, Verdict::Take),
            ("overlay", true, Verdict::Descend),
            ("overlay/home/upper/admin", true, Verdict::Keep),
            ("overlay/home/upper/other", true, Verdict::Take),
            ("overlay/home/work", true, Verdict::Take),
            ("overlay/root", true, Verdict::Take),
            ("var", true, Verdict::Descend),
            ("var/lib", true, Verdict::Descend),
            ("var/lib", false, Verdict::Take),
            ("var/log", true, Verdict::Take),
            ("new-thing", false, Verdict::Take),
        ];
        for (path, is_folder, expected) in cases {
            let names: Vec<&str> = path.split('/').collect();
            assert_eq!(reset.judge(&names, is_folder), expected, "{path}");
        }
        for path in [&["etc"][..], &ACCOUNTS] {
            assert_eq!(Reset::default().judge(path, true), Verdict::Take);
        }
    }

    #[test]
    fn the_text_reads_back_and_nothing_else_does() {
        let reset = Reset::keeping(&["/home", "/etc/ssh", "/home"]).unwrap();
        let text = "kiln.reset.v1\nkeep etc/*/ssh\nkeep overlay/home/upper\n";
        assert_eq!(reset.to_text(), text);
        assert_eq!(Reset::parse(text), Some(reset));
        assert_eq!(Reset::parse("kiln.reset.v1\n"), Some(Reset::default()));
        let long = format!("kiln.reset.v1\nkeep {}\n", "x".repeat(MAXIMUM_LENGTH));
        for bad in [
            "",
            "kiln.reset.v1",
            "kiln.reset.v2\n",
            "kiln.reset.v1\nkeep etc",
            "kiln.reset.v1\nkeep ../x\n",
            "kiln.reset.v1\nkeep /etc\n",
            "kiln.reset.v1\nkeep etc\r\n",
            "kiln.reset.v1\nkeep etc\n\n",
            "kiln.reset.v1\ndrop etc\n",
            &long,
        ] {
            assert_eq!(Reset::parse(bad), None, "{bad:.40}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,80}", path in "\\PC{0,30}") {
            let _ = Reset::parse(&text);
            if let Ok(reset) = Reset::keeping(&[&path]) {
                proptest::prop_assert_eq!(Reset::parse(&reset.to_text()), Some(reset));
            }
        }
    }
}
