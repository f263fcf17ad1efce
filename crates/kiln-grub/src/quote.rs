//! Text in GRUB's script language (GRUB manual, "Shell-like scripting", section "Quoting").
//!
//! Everything goes between single quotes, where no character means anything but the quote that ends
//! them. A text with a single quote is refused rather than cut in pieces: nothing that has one may
//! come here.

/// The text as one word of a script, none if it has a character that no quoting keeps: a single
/// quote, or a control character.
pub(crate) fn word(text: &str) -> Option<String> {
    let is_plain = |character: char| character != '\'' && !character.is_control();
    text.chars().all(is_plain).then(|| format!("'{text}'"))
}

/// The text without what [`word`] refuses, for what only people read; cut to so many characters.
pub(crate) fn readable(text: &str, most: usize) -> String {
    let kept = text.chars().filter(|character| *character != '\'' && !character.is_control());
    kept.take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_the_quotes() {
        let cases = [
            ("a b", Some("'a b'")),
            ("$x ${y} `z` \"q\" ; \\ * # {", Some("'$x ${y} `z` \"q\" ; \\ * # {'")),
            ("", Some("''")),
            ("é", Some("'é'")),
            ("it's", None),
            ("a\nb", None),
            ("a\0", None),
            ("a\u{7f}", None),
        ];
        for (text, expected) in cases {
            assert_eq!(word(text).as_deref(), expected, "{text:?}");
            assert!(word(&readable(text, 100)).is_some(), "{text:?}");
        }
        assert_eq!(readable("it's\nlong", 5), "itslo");
    }
}
