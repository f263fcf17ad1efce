//! Names of releases in the state, and which release a new one follows.

/// Hexadecimal digits of the root hash that name a release: 64 bits, and short enough to read.
const RELEASE_DIGITS: usize = 16;

/// The short name of the release with this root hash (hexadecimal).
#[must_use]
pub fn release_name(root_hash: &str) -> String {
    root_hash.chars().take(RELEASE_DIGITS).collect()
}

/// Whether a name in a folder of the state is that of a release.
#[must_use]
pub fn is_release_name(name: &str) -> bool {
    name.len() == RELEASE_DIGITS
        && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Which release's `/etc` a new release starts from: the one that ran last, else the greatest of
/// `present` by time of change. `None` on a new machine.
#[must_use]
pub fn predecessor<Time: Ord>(
    release: &str,
    last: Option<&str>,
    present: &[(String, Time)],
) -> Option<String> {
    let mut candidates: Vec<&(String, Time)> =
        present.iter().filter(|(name, _)| name != release && is_release_name(name)).collect();
    candidates.sort_by(|a, b| a.1.cmp(&b.1));
    let named = candidates.iter().find(|(name, _)| Some(name.as_str()) == last);
    named.or(candidates.last()).map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_release_follows_the_one_that_ran_last() {
        let (a, b) = ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb");
        let present = |names: &[(&str, u32)]| -> Vec<(String, u32)> {
            names.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect()
        };
        let both = present(&[(a, 5), (b, 3), ("cccccccccccccccc.new", 9), ("lost+found", 8)]);
        let cases = [
            (Some(b), &both, Some(b)),
            (None, &both, Some(a)),
            (Some("dddddddddddddddd"), &both, Some(a)),
            (Some("ephemeral"), &both, Some(a)),
            (Some("lost+found"), &both, Some(a)),
        ];
        for (last, present, expected) in cases {
            let found = predecessor("0123456789abcdef", last, present);
            assert_eq!(found.as_deref(), expected, "{last:?}");
        }
        assert_eq!(predecessor(a, Some(a), &both).as_deref(), Some(b));
        assert_eq!(predecessor::<u32>(a, None, &[]), None);
    }

    #[test]
    fn a_release_is_named_by_its_first_digits() {
        assert_eq!(release_name(&"ab".repeat(32)), "ab".repeat(8));
        for (name, expected) in [
            ("0123456789abcdef", true),
            ("0123456789abcdeF", false),
            ("0123456789abcde", false),
            ("0123456789abcdef.new", false),
            ("../../../../../et", false),
        ] {
            assert_eq!(is_release_name(name), expected, "{name}");
        }
    }
}
