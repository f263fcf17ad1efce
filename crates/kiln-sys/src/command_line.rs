//! The words of the kernel command line, as the kernel itself splits it.
//!
//! Everybody who reads the line before the system runs has to see the same words, or an argument that one
//! of them refuses is taken by another. The reader of kiln-boot is another one: it keeps quotes, because
//! it writes the line back.

/// Splits at white space; double quotes hold a word together and vanish, as in the kernel's
/// `next_arg` (lib/cmdline.c).
#[must_use]
pub fn words(text: &str) -> Vec<String> {
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
