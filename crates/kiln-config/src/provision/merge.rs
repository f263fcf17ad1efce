//! Several documents become one: maps are merged key by key, of all else the later one stays.
//!
//! One rule without exceptions, which a reader can keep in mind: lists are replaced like any other value,
//! and a later key without a value brings back the default. Since all that has a name stands in a
//! map by that name, adding a user never repeats the others. Appending lists was dropped: then nothing
//! that an earlier document says could ever be taken back.

use std::collections::{BTreeMap, BTreeSet};

use crate::node::{Key, Node, Value};

/// `later` on top of `earlier`. A key that stands twice in one of them stays there twice, so that
/// its reader can say so.
pub(super) fn merge(earlier: Node, later: Node) -> Node {
    let span = later.span;
    let (first, second) = match (earlier.value, later.value) {
        (Value::Map(first), Value::Map(second)) => (first, second),
        (_, value) => return Node { span, value },
    };
    let mut entries: Vec<Option<(Key, Node)>> = first.into_iter().map(Some).collect();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (place, entry) in entries.iter().enumerate() {
        if let Some((key, _)) = entry {
            places.entry(key.text.clone()).or_insert(place);
        }
    }
    let mut seen = BTreeSet::new();
    for (key, node) in second {
        let is_first = seen.insert(key.text.clone());
        let place = places.get(&key.text).copied().filter(|_| is_first);
        match place.and_then(|place| entries.get_mut(place)) {
            Some(slot) => {
                let merged = match slot.take() {
                    Some((_, old)) => merge(old, node),
                    None => node,
                };
                *slot = Some((key, merged));
            }
            None => entries.push(Some((key, node))),
        }
    }
    Node { span, value: Value::Map(entries.into_iter().flatten().collect()) }
}

#[cfg(test)]
mod tests {
    use super::merge;
    use crate::provision::tree::Tree;
    use crate::source::SourceId;
    use crate::yaml::document;

    #[test]
    fn the_later_document_wins_key_by_key() {
        for (earlier, later, expected) in [
            ("a: {x: 1, y: 2}\nb: 1\n", "a: {y: 3, z: 4}\n", "a: {x: 1, y: 3, z: 4}\nb: 1\n"),
            ("a: [1, 2]\n", "a: [3]\n", "a: [3]\n"),
            ("a: {x: 1}\n", "a: 5\n", "a: 5\n"),
            ("a: {x: 1}\n", "a:\n", "a:\n"),
            ("a: 1\n", "b: 2\nb: 3\n", "a: 1\nb: 2\nb: 3\n"),
            ("a: 1\na: 2\n", "a: 3\n", "a: 3\na: 2\n"),
            ("a: 1\n", "a: 2\na: 3\n", "a: 2\na: 3\n"),
        ] {
            let read = |text| document(SourceId(0), text).unwrap();
            let merged = Tree::from(&merge(read(earlier), read(later)));
            assert_eq!(merged, Tree::from(&read(expected)), "{earlier} + {later}");
        }
    }
}
