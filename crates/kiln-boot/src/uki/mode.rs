//! The other boot file of a release: the same program, started in another mode.
//!
//! A release has two boot files that differ in title and mode alone. A disk carries only the one
//! that it starts from, because two would double what has to be copied onto it; the other is made
//! from it, byte for byte as the builder would have made it. So nothing here may depend on the
//! machine or the time.
//!
//! A signed boot file is refused: nobody would have signed what comes out.

use super::reader::parse;
use super::rewrite::with_sections;
use crate::Error;
use crate::os_release::{Mode, OsRelease, boot_file_text};

/// The word of the command line that says what is started.
const MODE: &str = "kiln.mode=";

/// The boot file of another mode, made from that of one.
///
/// # Errors
/// A file that Kiln's builder did not make, or one that is signed.
pub fn for_mode(boot_file: &[u8], mode: Mode) -> Result<Vec<u8>, Error> {
    let parsed = parse(boot_file)?;
    let text = |name: &str| {
        let section = parsed.section(name).ok_or(Error::Pe { reason: "it starts no system" })?;
        Ok::<_, Error>(String::from_utf8_lossy(section).into_owned())
    };
    let fields = OsRelease::parse(&text(".osrel")?);
    let title = fields.title().unwrap_or_default();
    let title = title.strip_suffix(Mode::Recovery.title_suffix()).unwrap_or(title);
    let os_release = boot_file_text(title, mode);
    let command_line = command_line_for(&text(".cmdline")?, mode);
    let changed = [(".osrel", os_release.as_bytes()), (".cmdline", command_line.as_bytes())];
    with_sections(boot_file, &changed)
}

/// The command line with the mode's word in the place of the other's; in front if it has none.
#[must_use]
pub fn command_line_for(command_line: &str, mode: Mode) -> String {
    let wanted = format!("{MODE}{}", mode.name());
    let mut words: Vec<&str> = command_line.split(' ').collect();
    match words.iter_mut().find(|word| word.starts_with(MODE)) {
        Some(word) => *word = &wanted,
        None => words.insert(0, &wanted),
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{kernel_file, stub_file};
    use crate::uki::{UkiSections, assemble};

    fn boot_file(mode: Mode, command_line: &str, initrd: &[u8]) -> Vec<u8> {
        let os_release = boot_file_text("Edge 13", mode);
        let sections = UkiSections {
            os_release: os_release.as_bytes(),
            command_line: command_line.as_bytes(),
            kernel_release: b"6.12.1-test",
            initrd,
            linux: &kernel_file("6.12.1-test"),
        };
        assemble(&stub_file(0x8664), &sections).unwrap()
    }

    #[test]
    fn the_other_mode_is_what_the_builder_would_have_made() {
        // Lengths around the padding of sections, where the two files differ in layout.
        for filler in [0, 470, 480, 481, 482, 483, 484, 4080, 5000] {
            let line = format!("kiln.root=x kiln.mode=system {}", "q".repeat(filler));
            let initrd = vec![7; filler];
            let system = boot_file(Mode::System, &line, &initrd);
            let other = line.replace("=system", "=recovery");
            let recovery = boot_file(Mode::Recovery, &other, &initrd);
            assert!(for_mode(&system, Mode::Recovery).unwrap() == recovery, "{filler}");
            assert!(for_mode(&recovery, Mode::System).unwrap() == system, "{filler}");
            assert!(for_mode(&system, Mode::System).unwrap() == system, "{filler}");
        }
    }

    #[test]
    fn the_mode_keeps_its_place_on_the_command_line() {
        let cases = [
            ("a kiln.mode=system b", Mode::Recovery, "a kiln.mode=recovery b"),
            ("a kiln.mode=recovery", Mode::System, "a kiln.mode=system"),
            ("a b", Mode::Recovery, "kiln.mode=recovery a b"),
        ];
        for (line, mode, expected) in cases {
            assert_eq!(command_line_for(line, mode), expected);
        }
    }

    #[test]
    fn files_of_others_are_refused() {
        for file in [stub_file(0x8664), kernel_file("6.12"), b"MZ".to_vec()] {
            assert!(for_mode(&file, Mode::Recovery).is_err());
        }
        let whole = boot_file(Mode::System, "kiln.mode=system", b"initrd");
        for length in (0..0x600).step_by(7) {
            assert!(for_mode(&whole[..length], Mode::Recovery).is_err(), "{length}");
        }
    }
}
