//! Kernel arguments that somebody adds to a system: which may be, and how a line is made of them.
//!
//! The command line names the root that is trusted, so whatever is added must be one plain word that
//! no reader takes for two, and must never be one of Kiln's own arguments or of those that bring a
//! failing machine back. Quoted values were dropped: kernel, stub and first process would have to
//! agree about every quote, and what they disagree about is a second `kiln.root`.

/// Longest command line in bytes: `COMMAND_LINE_SIZE` of x86 and arm64 with its final NUL. The kernel
/// cuts a longer one without a word, and its end would be missing.
pub const COMMAND_LINE_LIMIT: usize = 2047;

/// Longest argument in bytes. Values are paths and addresses; nothing longer is legible in a list.
pub const ARGUMENT_LIMIT: usize = 512;

/// Most bytes of an addon's name.
pub const ADDON_NAME_LIMIT: usize = 32;

/// Ending of files that hold an addon (systemd-stub(7)).
pub const ADDON_SUFFIX: &str = ".addon.efi";

/// Folder of a root in which the addons of its release are, without the leading slash.
pub const ADDON_FOLDER: &str = "usr/lib/kiln/addons";

/// The word behind which everything belongs to the next first process (kernel-parameters.txt).
const END: &str = "--";

/// What a machine comes back by, see `kiln_build::assemble`: nobody but a release may change them.
const KEPT: [&str; 3] = ["panic", "systemd.crash_reboot", "systemd.gpt_auto"];

/// Why an argument cannot be added, or `None` if it can.
#[must_use]
pub fn defect(argument: &str) -> Option<&'static str> {
    if argument.is_empty() {
        return Some("it is empty");
    }
    if argument.len() > ARGUMENT_LIMIT {
        return Some("it has more than 512 bytes");
    }
    if !argument.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("an argument is one word of visible ASCII characters");
    }
    if argument.contains(['"', '\'', '\\']) {
        return Some("quotes and backslashes are not allowed");
    }
    if argument == END {
        return Some("`--` would hide what follows from the kernel");
    }
    if argument.starts_with(['=', '-']) {
        return Some("it has no name");
    }
    if is_protected(argument) {
        return Some("only a release may set it");
    }
    None
}

/// Whether an argument is Kiln's own, or one that brings a failing machine back. The kernel takes
/// `-` and `_` in names for the same (`parameqn` in kernel/params.c).
#[must_use]
pub fn is_protected(argument: &str) -> bool {
    let name = name(argument).replace('-', "_");
    // systemd reads its own names under `rd.` as well.
    let name = name.strip_prefix("rd.").unwrap_or(&name);
    name == "kiln" || name.starts_with("kiln.") || KEPT.contains(&name)
}

/// The words of a command line, quotes kept, as the kernel's `next_arg` cuts them (lib/cmdline.c).
#[must_use]
pub fn words(line: &str) -> Vec<&str> {
    let mut quoted = false;
    let is_end = |letter: char| {
        quoted ^= letter == '"';
        letter.is_ascii_whitespace() && !quoted
    };
    line.split(is_end).filter(|word| !word.is_empty()).collect()
}

/// A line without what `delete` names, and with `append` behind it. A name without `=` deletes every
/// value of it. What a release protects stays, and what stands behind `--` stays behind it.
#[must_use]
pub fn edited(line: &str, delete: &[String], append: &[String]) -> String {
    let all = words(line);
    let end = all.iter().position(|word| *word == END).unwrap_or(all.len());
    let (own, rest) = all.split_at_checked(end).unwrap_or((&all, &[]));
    let is_kept =
        |word: &&str| is_protected(word) || !delete.iter().any(|pattern| matches(pattern, word));
    let mut words: Vec<&str> = own.iter().copied().filter(is_kept).collect();
    for argument in append {
        if !words.contains(&argument.as_str()) {
            words.push(argument);
        }
    }
    words.extend(rest);
    words.join(" ")
}

/// Whether a word is what a deletion names.
#[must_use]
pub fn matches(pattern: &str, word: &str) -> bool {
    word == pattern || (!pattern.contains('=') && name(word) == pattern)
}

/// Why a text cannot be the name of an addon, or `None` if it can: it becomes a file name on FAT.
#[must_use]
pub fn addon_name_defect(name: &str) -> Option<&'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > ADDON_NAME_LIMIT {
        return Some("it must have 1 to 32 characters");
    }
    if !name.bytes().all(is_allowed) || name.starts_with('-') {
        return Some("only small letters, digits and, inside, `-` are allowed");
    }
    None
}

fn name(argument: &str) -> &str {
    argument.split_once('=').map_or(argument, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::{addon_name_defect, defect, edited, is_protected, words};

    #[test]
    fn what_could_be_taken_for_something_else_is_refused() {
        for good in ["quiet", "console=ttyS1,115200", "init=/nonexistent", "a.b-c=d:e=f", "kilnx=1"]
        {
            assert_eq!(defect(good), None, "{good}");
        }
        let long = format!("a={}", "b".repeat(600));
        for bad in [
            "",
            "a b",
            "a\tb",
            "a\nkiln.root=1",
            "a\0",
            "a=\"b",
            "a='b'",
            "a\\",
            "ä=1",
            "--",
            "=1",
            "-x",
            "kiln.root=1",
            "kiln.mode=recovery",
            "kiln.state=none",
            "panic=0",
            "panic",
            "systemd.gpt_auto=yes",
            "systemd.gpt-auto",
            "rd.systemd.gpt_auto=1",
            "systemd.crash-reboot=no",
            &long,
        ] {
            assert!(defect(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn lines_are_edited_word_by_word() {
        let release = "kiln.root=a:1:b kiln.mode=system panic=10 console=tty0 console=ttyS0 quiet";
        let strings =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let head = "kiln.root=a:1:b kiln.mode=system panic=10";
        let cases: [(&[&str], &[&str], String); 6] = [
            (&[], &[], release.to_owned()),
            (&[], &["debug"], format!("{release} debug")),
            (&["console"], &["console=ttyS1"], format!("{head} quiet console=ttyS1")),
            (&["console=tty0"], &[], format!("{head} console=ttyS0 quiet")),
            (&["kiln.root", "panic", "kiln.mode=system"], &[], release.to_owned()),
            (&[], &["quiet"], release.to_owned()),
        ];
        for (delete, append, expected) in cases {
            assert_eq!(edited(release, &strings(delete), &strings(append)), expected);
        }
        assert_eq!(edited("a -- single", &[], &strings(&["b"])), "a b -- single");
        assert_eq!(edited("x=\"a b\" c", &strings(&["c"]), &[]), "x=\"a b\"");
    }

    #[test]
    fn words_and_names() {
        assert_eq!(words(" a  b=\"c d\"\ne "), ["a", "b=\"c d\"", "e"]);
        assert!(is_protected("kiln.deadline=5") && !is_protected("console=tty0"));
        for (name, is_good) in [
            ("debug-1", true),
            ("", false),
            ("-a", false),
            ("A", false),
            ("a/b", false),
            ("a.b", false),
        ] {
            assert_eq!(addon_name_defect(name).is_none(), is_good, "{name}");
        }
    }

    proptest::proptest! {
        /// Whatever is added, there is one root, and it is the release's.
        #[test]
        fn no_argument_brings_a_second_root(argument in "\\PC{0,40}", mangled in "[kiln.root=\"a \\t-]{0,20}") {
            for argument in [argument, mangled] {
                if defect(&argument).is_none() {
                    let line = edited("kiln.root=x quiet", std::slice::from_ref(&argument), std::slice::from_ref(&argument));
                    let roots: Vec<&str> = line.split_ascii_whitespace().filter(|word| word.starts_with("kiln.root")).collect();
                    proptest::prop_assert_eq!(roots, ["kiln.root=x"]);
                }
            }
        }
    }
}
