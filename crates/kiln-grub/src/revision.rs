//! How GRUB starts one boot file: a small script beside it, `kiln/grub/<generation>.cfg`.
//!
//! GRUB reads kernel and initramfs out of the unified kernel image by lists of blocks,
//! `OFFSET+LENGTH` in sectors of 512 bytes (GRUB manual, "How to specify block lists"): sections of
//! a PE file begin at multiples of its file alignment, which is 512 at least ("PE Format", optional
//! header), and the zeros behind a section harm neither kernel nor initramfs. The places are
//! written down when the boot file is brought, because GRUB cannot read section tables.
//!
//! Copies of kernel and initramfs beside the boot file were dropped: they need twice the room, and
//! two things that must appear and vanish together. A script for all revisions was dropped, too: it
//! would have to be changed at every upgrade, and could name what is not there.
//!
//! The script must be on the disk before the boot file's name is, and stay until after.
//!
//! The command line comes from the boot file, word by word as the kernel splits it. GRUB puts a
//! backslash in front of quotes and backslashes, and quotes around words with spaces; so `a="b c"`
//! becomes `"a=b c"`, which the kernel reads the same, and what cannot be said that way is refused.

use std::fmt::Write as _;

use kiln_boot::os_release::OsRelease;
use kiln_boot::uki::{self, Section, Uki};

use crate::{DISK_ARGUMENT, ENTRY_ARGUMENT, Error, quote};

/// Bytes of a sector in GRUB's block lists, whatever the disk has (GRUB manual, as above).
const SECTOR: u64 = 512;

/// Most bytes of the command line's own words. The kernel takes 2047 (x86 `COMMAND_LINE_SIZE`
/// without its end), GRUB cuts off what is more without a word, and it adds `BOOT_IMAGE=`, 40, and
/// what the menu knows, 100, to it.
pub const COMMAND_LINE_MAXIMUM: usize = 2047 - 160;

/// Most characters of a title: what fits on a line of a screen beside the file's name.
const TITLE_MAXIMUM: usize = 48;

/// A part of the boot file, in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// First sector.
    pub first: u64,
    /// Number of sectors.
    pub count: u64,
}

impl Blocks {
    fn of(section: &Section<'_>) -> Result<Self, Error> {
        let offset = u64::from(section.file_offset);
        let length = section.data.len() as u64;
        if !offset.is_multiple_of(SECTOR) || length == 0 {
            let reason = "its kernel or initramfs is empty or does not begin at a sector";
            return Err(Error::BootFile { reason });
        }
        Ok(Self { first: offset / SECTOR, count: length.div_ceil(SECTOR) })
    }
}

/// What GRUB has to know of a boot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// For the menu.
    pub title: String,
    /// Words of the kernel command line, in a form that GRUB passes unchanged.
    pub command_line: Vec<String>,
    /// The kernel in the boot file.
    pub kernel: Blocks,
    /// The initramfs in the boot file.
    pub initramfs: Blocks,
}

impl Revision {
    /// What a boot file is started by. `addons` are the command lines of its addons, in the order
    /// in which systemd's stub appends them.
    ///
    /// # Errors
    /// [`Error::Pe`] and [`Error::BootFile`] for what is no boot file, [`Error::Text`] for a
    /// command line that GRUB cannot pass.
    pub fn read(boot_file: &[u8], addons: &[&str]) -> Result<Self, Error> {
        let parsed = uki::parse(boot_file)?;
        let missing = |reason| Error::BootFile { reason };
        let [kernel, initramfs] = [
            (".linux", "it has no kernel, or several"),
            (".initrd", "it has no initramfs, or several"),
        ]
        .map(|(name, reason)| only(&parsed, name).ok_or(missing(reason)));
        let text = |name| parsed.section(name).map(String::from_utf8_lossy).unwrap_or_default();
        let title = OsRelease::parse(&text(".osrel"));
        let title = quote::readable(title.title().unwrap_or("Kiln"), TITLE_MAXIMUM);
        let line = parsed.section(".cmdline").unwrap_or_default();
        let line = std::str::from_utf8(line)
            .map_err(|_| refused("the kernel command line", "it is not UTF-8"))?;
        let mut command_line = words(line.trim_end_matches(['\0', '\n']))?;
        for addon in addons {
            command_line.extend(words(addon.trim_end_matches(['\0', '\n']))?);
        }
        // The menu's own words must be the only ones of their kind.
        let is_own =
            |word: &String| [ENTRY_ARGUMENT, DISK_ARGUMENT].iter().any(|own| word.starts_with(own));
        if command_line.iter().any(is_own) {
            return Err(refused(
                "the kernel command line",
                "it has a word that only the menu may add",
            ));
        }
        // A word, quotes around it and a space.
        let length: usize = command_line.iter().map(|word| word.len() + 3).sum();
        if length > COMMAND_LINE_MAXIMUM {
            return Err(refused("the kernel command line", "it is longer than GRUB can pass"));
        }
        Ok(Self {
            title,
            command_line,
            kernel: Blocks::of(kernel?)?,
            initramfs: Blocks::of(initramfs?)?,
        })
    }

    /// The script. The menu reads it twice: for the title, and to start the boot file, which it has
    /// opened as the disk `uki`.
    ///
    /// # Errors
    /// [`Error::Text`] for a word that no quoting keeps.
    pub fn script(&self) -> Result<String, Error> {
        let quoted = |what: &str, text: &str| {
            quote::word(text).ok_or_else(|| refused(what, "it has a quote or a control character"))
        };
        let mut script = format!("set title={}\n", quoted("the title", &self.title)?);
        // The variables are the menu's: the name of the boot file, and a word with the disk's name.
        script.push_str("if [ \"$starting\" = yes ]; then\n");
        let Blocks { first, count } = self.kernel;
        let _ = write!(script, "if linux (uki){first}+{count}");
        for word in &self.command_line {
            let _ = write!(script, " {}", quoted("the kernel command line", word)?);
        }
        let _ = writeln!(script, " \"{ENTRY_ARGUMENT}$entry\" $place; then");
        let Blocks { first, count } = self.initramfs;
        let _ = writeln!(script, "initrd (uki){first}+{count}\nfi\nfi");
        Ok(script)
    }
}

/// The configuration of a boot file, whose addons have these command lines.
///
/// # Errors
/// As [`Revision::read`].
pub fn revision_config(boot_file: &[u8], addons: &[&str]) -> Result<String, Error> {
    Revision::read(boot_file, addons)?.script()
}

/// The section of this name if there is exactly one.
fn only<'u, 'a>(file: &'u Uki<'a>, name: &str) -> Option<&'u Section<'a>> {
    let mut sections = file.sections.iter().filter(|section| section.name == name);
    sections.next().filter(|_| sections.next().is_none())
}

fn refused(what: &str, reason: &'static str) -> Error {
    Error::Text { what: what.to_owned(), reason }
}

/// Words of a command line as the kernel splits it (kernel, `lib/cmdline.c`, `next_arg`): at blanks
/// outside of double quotes. Each comes back in the form in which GRUB passes it on.
fn words(line: &str) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    let (mut word, mut in_quotes) = (String::new(), false);
    for character in line.chars().chain([' ']) {
        match character {
            ' ' | '\t' | '\n' if !in_quotes => {
                if !word.is_empty() {
                    words.push(passable(&word)?);
                    word.clear();
                }
            }
            character => {
                in_quotes ^= character == '"';
                word.push(character);
            }
        }
    }
    if in_quotes {
        return Err(refused("the kernel command line", "it has a quote without its end"));
    }
    Ok(words)
}

/// One word in the form in which GRUB passes it on: quotes around all of it, or around its value,
/// are taken off, because GRUB puts them around a word with spaces itself.
fn passable(word: &str) -> Result<String, Error> {
    let what = || format!("`{word}` of the kernel command line");
    if word.contains(['\'', '\\']) || word.chars().any(char::is_control) {
        let reason = "it has a single quote, a backslash or a control character";
        return Err(Error::Text { what: what(), reason });
    }
    let plain = match word.split_once('"') {
        None => word.to_owned(),
        Some((name, rest)) => match rest.split_once('"') {
            Some((value, "")) if name.is_empty() || name.ends_with('=') => format!("{name}{value}"),
            _ => return Err(Error::Text { what: what(), reason: "it has quotes in its middle" }),
        },
    };
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PE file with these sections; nothing but what a reader of boot files looks at.
    fn boot_file(sections: &[(&str, &[u8])], shift: u32) -> Vec<u8> {
        let mut file = vec![0; 1024];
        file[..2].copy_from_slice(b"MZ");
        file[0x3c] = 0x40;
        file[0x40..0x46].copy_from_slice(b"PE\0\0\x64\x86");
        file[0x46] = u8::try_from(sections.len()).unwrap();
        file[0x54] = 240;
        file[0x58..0x5a].copy_from_slice(&0x20b_u16.to_le_bytes());
        for (index, (name, data)) in sections.iter().enumerate() {
            let at = 0x58 + 240 + index * 40;
            let length = u32::try_from(data.len()).unwrap().to_le_bytes();
            let offset = u32::try_from(file.len()).unwrap() + shift;
            file[at..at + name.len()].copy_from_slice(name.as_bytes());
            file[at + 8..at + 12].copy_from_slice(&length);
            file[at + 16..at + 20].copy_from_slice(&length);
            file[at + 20..at + 24].copy_from_slice(&offset.to_le_bytes());
            file.extend(*data);
            file.resize(file.len().next_multiple_of(512), 0);
        }
        file.resize(file.len() + 512, 0);
        file
    }

    fn with_line(line: &[u8]) -> Vec<u8> {
        let sections: [(&str, &[u8]); 4] = [
            (".osrel", b"ID=kiln\nPRETTY_NAME=\"Edge's 13\"\n"),
            (".cmdline", line),
            (".initrd", &[1; 513]),
            (".linux", &[2; 512]),
        ];
        boot_file(&sections, 0)
    }

    #[test]
    fn a_boot_file_becomes_a_script() {
        let script = revision_config(&with_line(b"kiln.mode=system  a=\"b c\" $x\0"), &["d\n"]);
        assert_eq!(
            script.unwrap(),
            "set title='Edges 13'\n\
             if [ \"$starting\" = yes ]; then\n\
             if linux (uki)6+1 'kiln.mode=system' 'a=b c' '$x' 'd' \"kiln.entry=$entry\" $place; then\n\
             initrd (uki)4+2\n\
             fi\n\
             fi\n"
        );
    }

    #[test]
    fn words_survive_or_are_refused() {
        let cases: [(&str, Option<&[&str]>); 16] = [
            ("", Some(&[])),
            ("  a \t b  ", Some(&["a", "b"])),
            ("a=\"b  c\" \"d=e f\" g=\"\"", Some(&["a=b  c", "d=e f", "g="])),
            ("a=\"b\"", Some(&["a=b"])),
            ("\u{e9}=*?[x]{y}$(z)`w`;&|<>#!~%", Some(&["\u{e9}=*?[x]{y}$(z)`w`;&|<>#!~%"])),
            ("dm=\"a,b\" -- init", Some(&["dm=a,b", "--", "init"])),
            ("a'b", None),
            ("a\\b", None),
            ("a\u{1}b", None),
            ("a\"b", None),
            ("a\"b\"", None),
            ("a=\"b\"c", None),
            ("a=b\"c d\"", None),
            ("a=\"b\"\"c\"", None),
            ("a=\"b\nc\"", None),
            ("a\u{7f}", None),
        ];
        for (line, expected) in cases {
            let found = words(line).ok();
            let found: Option<Vec<&str>> =
                found.as_ref().map(|words| words.iter().map(String::as_str).collect());
            assert_eq!(found.as_deref(), expected, "{line:?}");
        }
    }

    #[test]
    fn what_grub_cannot_start_is_refused() {
        let long = "a".repeat(COMMAND_LINE_MAXIMUM);
        let filled: &[u8] = &[1; 600];
        for file in [
            b"MZ".to_vec(),
            with_line(long.as_bytes()),
            with_line(b"a=\xff"),
            with_line(b"a kiln.entry=kiln-00000001.efi"),
            with_line(b"\"kiln.disk=x y\""),
            boot_file(&[(".linux", filled)], 0),
            boot_file(&[(".initrd", filled)], 0),
            boot_file(&[(".linux", filled), (".initrd", filled), (".linux", filled)], 0),
            boot_file(&[(".linux", filled), (".initrd", filled), (".initrd", filled)], 0),
            boot_file(&[(".linux", b""), (".initrd", filled)], 0),
            boot_file(&[(".linux", filled), (".initrd", filled)], 8),
        ] {
            assert!(revision_config(&file, &[]).is_err());
        }
        assert!(revision_config(&with_line(b""), &[&long]).is_err());
        assert!(
            revision_config(&boot_file(&[(".linux", filled), (".initrd", filled)], 0), &[]).is_ok()
        );
    }

    proptest::proptest! {
        #[test]
        fn no_command_line_leaves_its_line(line in "[ a-c=\"'\\\\$;\n{}]{0,40}") {
            if let Ok(script) = revision_config(&with_line(line.as_bytes()), &[]) {
                proptest::prop_assert_eq!(script.lines().count(), 6, "{}", script);
            }
        }
    }
}
