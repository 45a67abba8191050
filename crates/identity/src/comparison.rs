//! What another version of the rules makes of the same people: who becomes one, who becomes several (identity.md I16).
//!
//! Pure: two partitions of identifiers in, the difference out. A profile goes by the node that anchors it, which is what
//! its profile id is made of; so a profile that keeps its anchor is the same profile with more or fewer identifiers.

use onefold_types::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// Whose each identifier is: node → the anchor of its profile. A node that is nobody's is not in it.
pub type Partition = BTreeMap<NodeId, NodeId>;

/// The difference between two partitions. Exchanging the two exchanges `merged` with `split` and the two counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Profiles before.
    pub before: usize,
    /// Profiles after.
    pub after: usize,
    /// Profiles after that have identifiers of several before, by anchor.
    pub merged: BTreeMap<NodeId, BTreeSet<NodeId>>,
    /// Profiles before whose identifiers several have after, by anchor.
    pub split: BTreeMap<NodeId, BTreeSet<NodeId>>,
    /// Identifiers that were somebody's and are nobody's.
    pub dropped: usize,
    /// Identifiers that were nobody's and are somebody's.
    pub gained: usize,
}

/// Compares two partitions.
#[must_use]
pub fn compare(before: &Partition, after: &Partition) -> Comparison {
    let count = |partition: &Partition| partition.values().collect::<BTreeSet<_>>().len();
    let mut found = Comparison { before: count(before), after: count(after), ..Comparison::default() };
    for (node, old) in before {
        match after.get(node) {
            Some(new) => {
                found.merged.entry(*new).or_default().insert(*old);
                found.split.entry(*old).or_default().insert(*new);
            }
            None => found.dropped += 1,
        }
    }
    found.gained = after.keys().filter(|node| !before.contains_key(node)).count();
    found.merged.retain(|_, from| from.len() > 1);
    found.split.retain(|_, into| into.len() > 1);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn partition(groups: &[&[u64]]) -> Partition {
        groups.iter().flat_map(|group| group.iter().map(|node| (NodeId(*node), NodeId(group[0])))).collect()
    }

    fn set(nodes: &[u64]) -> BTreeSet<NodeId> {
        nodes.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn who_becomes_one_and_who_becomes_several() {
        let before = partition(&[&[1, 2], &[3], &[4, 5, 6], &[7]]);
        let after = partition(&[&[1, 2, 3], &[4, 5], &[6], &[8]]);
        let found = compare(&before, &after);
        assert_eq!(found.merged, BTreeMap::from([(NodeId(1), set(&[1, 3]))]));
        assert_eq!(found.split, BTreeMap::from([(NodeId(4), set(&[4, 6]))]));
        assert_eq!((found.before, found.after, found.dropped, found.gained), (4, 4, 1, 1));
    }

    fn any_partition() -> impl Strategy<Value = Partition> {
        prop::collection::btree_map(0u64..12, 0u64..6, 0..12).prop_map(|groups| {
            let anchor = |group| groups.iter().find(|(_, of)| **of == group).map_or(0, |(node, _)| *node);
            groups.iter().map(|(node, group)| (NodeId(*node), NodeId(anchor(*group)))).collect()
        })
    }

    proptest! {
        #[test]
        fn back_is_the_opposite_of_there(before in any_partition(), after in any_partition()) {
            let (there, back) = (compare(&before, &after), compare(&after, &before));
            prop_assert_eq!(&there.merged, &back.split);
            prop_assert_eq!(&there.split, &back.merged);
            prop_assert_eq!((there.before, there.dropped), (back.after, back.gained));
        }

        #[test]
        fn nothing_differs_from_itself(people in any_partition()) {
            let found = compare(&people, &people);
            prop_assert!(found.merged.is_empty() && found.split.is_empty());
            prop_assert_eq!((found.dropped, found.gained), (0, 0));
        }
    }
}
