//! Who of a cluster in the making is one person by edges between persons alone: its sides.
//!
//! They are found once, when somebody asks, and kept up edge by edge: of two that join, the smaller one takes the
//! label of the larger one. So an event with many identifiers does not look at its whole cluster for each of them.

use super::world::personal_labels;
use crate::graph::ForestEdge;
use onefold_types::NodeId;
use std::collections::BTreeMap;

/// Members of a side that are in a set with a device of several persons, and in how many sets they are together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Near {
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) sets: u64,
}

/// One side.
#[derive(Debug, Default)]
struct Side {
    members: Vec<NodeId>,
    /// Known once it was asked for.
    near: Option<Near>,
}

/// The sides of a part; each goes by one of its members.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    labels: BTreeMap<NodeId, NodeId>,
    by_label: BTreeMap<NodeId, Side>,
}

impl Sides {
    /// The sides that the personal edges of `forest` leave.
    pub(crate) fn of(members: &[NodeId], forest: &[ForestEdge]) -> Self {
        let labels = personal_labels(members.iter().copied(), forest);
        let mut by_label: BTreeMap<NodeId, Side> = BTreeMap::new();
        for (member, label) in &labels {
            by_label.entry(*label).or_default().members.push(*member);
        }
        Self { labels, by_label }
    }

    /// The label of a member's side.
    pub(crate) fn label(&self, member: NodeId) -> NodeId {
        self.labels.get(&member).copied().unwrap_or(member)
    }

    /// The members of the side with this label.
    pub(crate) fn members(&self, label: NodeId) -> &[NodeId] {
        self.by_label.get(&label).map_or(&[], |side| &side.members)
    }

    /// Who of the side with this label is near a device of several persons, if that is known.
    pub(crate) fn near(&self, label: NodeId) -> Option<&Near> {
        self.by_label.get(&label)?.near.as_ref()
    }

    pub(crate) fn note_near(&mut self, label: NodeId, near: Near) {
        if let Some(side) = self.by_label.get_mut(&label) {
            side.near = Some(near);
        }
    }

    /// Takes the sides of another part in.
    pub(crate) fn extend(&mut self, other: Self) {
        self.labels.extend(other.labels);
        self.by_label.extend(other.by_label);
    }

    /// A personal edge joins two members.
    pub(crate) fn join(&mut self, a: NodeId, b: NodeId) {
        let (a, b) = (self.label(a), self.label(b));
        if a == b {
            return;
        }
        let (into, from) = if self.members(a).len() >= self.members(b).len() { (a, b) } else { (b, a) };
        let Some(gone) = self.by_label.remove(&from) else { return };
        for member in &gone.members {
            self.labels.insert(*member, into);
        }
        if let Some(side) = self.by_label.get_mut(&into) {
            side.members.extend(gone.members);
            side.near = match (side.near.take(), gone.near) {
                (Some(mut near), Some(more)) => {
                    near.nodes.extend(more.nodes);
                    near.sets += more.sets;
                    Some(near)
                }
                _ => None,
            };
        }
    }
}
