//! Which known name somebody meant.
//!
//! One threshold for every dialect, so that a misspelt key gets the same help everywhere: at most a
//! third of the name may differ, and never so much that two short words look alike.

/// The known name nearest to `word`, where one is near enough to be worth showing.
#[must_use]
pub fn nearest<'known>(
    word: &str,
    known: impl IntoIterator<Item = &'known str>,
) -> Option<&'known str> {
    // Longer than any key: comparing costs length times length, and the word is hostile.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.chars().count().max(3) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_misspelt_key_finds_the_one_that_was_meant() {
        let known = [
            "path",
            "permissions",
            "owner",
            "group",
            "content",
            "encoding",
            "if",
            "authorizedKeys",
        ];
        for (word, expected) in [
            ("permsisions", Some("permissions")),
            ("Path", Some("path")),
            ("pth", Some("path")),
            ("contents", Some("content")),
            ("authorizedkeys", Some("authorizedKeys")),
            ("is", Some("if")),
            ("xy", None),
            ("elephant", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(nearest(&"p".repeat(10_000), known), None);
    }
}
