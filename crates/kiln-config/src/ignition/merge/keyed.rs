//! Lists whose members have keys.
//!
//! A member of the parent that the child names stands where the parent put it; a list that is read in
//! order thus keeps the order of the config that began it.

use std::collections::{HashMap, VecDeque};

use crate::fields::Spanned;

/// Merges two lists: the parent's members, each merged with the child's of the same key, then what only
/// the child has. A member without a key, or with an empty one, equals no other.
pub(super) fn keyed<T>(
    parent: Vec<T>,
    child: Vec<T>,
    key: impl Fn(&T) -> Option<String>,
    mut merge: impl FnMut(T, T) -> T,
) -> Vec<T> {
    if parent.is_empty() {
        return child;
    }
    let key = |member: &T| key(member).filter(|key| !key.is_empty());
    // A key may stand twice in a list that was never checked: each member is then used once, in order.
    let mut places: HashMap<String, VecDeque<usize>> = HashMap::new();
    for (place, member) in child.iter().enumerate() {
        if let Some(key) = key(member) {
            places.entry(key).or_default().push_back(place);
        }
    }
    let mut rest: Vec<Option<T>> = child.into_iter().map(Some).collect();
    let mut merged = Vec::with_capacity(parent.len() + rest.len());
    for member in parent {
        let place = key(&member).and_then(|key| places.get_mut(&key)?.pop_front());
        match place.and_then(|place| rest.get_mut(place)?.take()) {
            Some(other) => merged.push(merge(member, other)),
            None => merged.push(member),
        }
    }
    merged.extend(rest.into_iter().flatten());
    merged
}

/// Merges two lists of texts, whose keys are the texts themselves; the place is the child's.
pub(super) fn texts(
    parent: Vec<Spanned<String>>,
    child: Vec<Spanned<String>>,
) -> Vec<Spanned<String>> {
    keyed(parent, child, |text| Some(text.value.clone()), |_, child| child)
}

/// Members of two lists one after the other, for lists where the same member twice has a meaning.
pub(super) fn appended<T>(mut parent: Vec<T>, child: Vec<T>) -> Vec<T> {
    parent.extend(child);
    parent
}

#[cfg(test)]
mod tests {
    use super::keyed;

    #[test]
    fn members_of_the_parent_come_first_and_keep_their_places() {
        for (parent, child, expected) in [
            ("a1 b1", "", "a1 b1"),
            ("", "b2 a2 a3", "b2 a2 a3"),
            ("a1 b1 c1", "d2 b2 a2", "a2 b2 c1 d2"),
            ("a1 a2", "a3", "a3 a2"),
            ("a1", "a2 a3", "a2 a3"),
            (" ", " ", " "),
        ] {
            let list = |text: &str| {
                text.split(' ').filter(|one| !one.is_empty()).map(str::to_owned).collect()
            };
            let merged: Vec<String> = keyed(
                list(parent),
                list(child),
                |member: &String| member.get(..1).map(str::to_owned),
                |_, child| child,
            );
            assert_eq!(merged, list(expected) as Vec<String>, "{parent} + {child}");
        }
    }
}
