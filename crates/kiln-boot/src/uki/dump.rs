//! A PE file as text, for `kiln inspect` and for people who compare two boot files.

use std::fmt::Write;

use super::reader::Uki;

/// Sections whose text is short enough to be shown whole.
const TEXT_SECTIONS: [&str; 4] = [".osrel", ".cmdline", ".uname", ".sbat"];

/// One line per section, followed by the text of those that hold text.
#[must_use]
pub fn dump(uki: &Uki<'_>) -> String {
    let architecture = uki.architecture.map_or("unknown", |architecture| architecture.name());
    let signed = if uki.signed { "signed" } else { "unsigned" };
    let mut out = format!("PE32+ {architecture}, {signed}, {} sections\n", uki.sections.len());
    for section in &uki.sections {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{:<8} address {:#010x} offset {:#010x} bytes {}",
            printable(&section.name),
            section.virtual_address,
            section.file_offset,
            section.data.len()
        );
        if TEXT_SECTIONS.contains(&section.name.as_str()) {
            for line in String::from_utf8_lossy(section.data).lines() {
                let _ = writeln!(out, "  {}", printable(line));
            }
        }
    }
    out
}

/// Without control characters: the file may come from anywhere and ends up on a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '.' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::stub_file;
    use crate::uki::parse;

    #[test]
    fn sections_and_texts_are_shown() {
        let file = stub_file(0x8664);
        assert_eq!(
            dump(&parse(&file).unwrap()),
            "PE32+ amd64, unsigned, 2 sections\n\
             .text    address 0x00001000 offset 0x00000400 bytes 4\n\
             .sbat    address 0x00002000 offset 0x00000600 bytes 11\n  sbat,1,test\n"
        );
    }
}
