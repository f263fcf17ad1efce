//! Texts of others in messages of our own: names that a signature, a certificate or a log gives.
//!
//! They reach terminals and journals, so they have no control characters and an end. A signed text is
//! still somebody else's.

/// Most characters that are shown: more than a name has, less than a screen.
const MAXIMUM_SHOWN: usize = 200;

/// What of a text is shown.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAXIMUM_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn nothing_moves_the_cursor_or_fills_the_screen() {
        assert_eq!(printable("a\u{1b}[2J\nb\u{9b}"), "a[2Jb");
        assert_eq!(printable(&"x".repeat(5000)).len(), 200);
    }
}
