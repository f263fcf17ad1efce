//! The words of a kernel command line.
//!
//! The reader of kiln-boot was not taken: it keeps quotes, because it writes the line back, and
//! pulls in all that makes boot files.

/// Splits at white space; double quotes hold a word together and vanish, as in the kernel's
/// `next_arg` (lib/cmdline.c).
pub(super) fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        match letter {
            '"' => is_quoted = !is_quoted,
            letter if letter.is_ascii_whitespace() && !is_quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            letter => word.push(letter),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        for (text, expected) in [
            ("", &[][..]),
            (" a  b\n", &["a", "b"]),
            ("x=\"a b\" c", &["x=a b", "c"]),
            ("\"ip=dhcp x\"", &["ip=dhcp x"]),
            ("x=\"open", &["x=open"]),
        ] {
            assert_eq!(words(text), expected, "{text:?}");
        }
    }
}
