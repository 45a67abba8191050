//! What a cluster may hold: limits by type, the size cap, cuts.
//!
//! A [`Summary`] is all that legality asks of a set of nodes. **Heredity** (L1): whatever is illegal for a set is
//! illegal for every larger one: counts only grow, a window only fills, a cut pair stays inside. Values that an operator
//! forced together are told apart by their class, which does not depend on who is present, or heredity would fail.

use super::world::World;
use crate::graph::{Graph, Member, Verb};
use onefold_types::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// The rule of a type, as the engine asks for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) rank: u8,
    pub(crate) person: bool,
    pub(crate) limit: usize,
    /// The window of the limit in ms; `None` means ever.
    pub(crate) within: Option<i64>,
    pub(crate) unique: bool,
    pub(crate) person_key: bool,
    pub(crate) last_wins: bool,
}

/// What forbids a union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) rule: BreachRule,
    pub(crate) witnesses: (NodeId, NodeId),
}

/// Which rule forbids a union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreachRule {
    /// The limit of the type with this index.
    Limit(u16),
    /// The size cap.
    Size,
    /// An operator's cut.
    Cut,
}

/// A value as a limit sees it: when it was first seen, its class, itself.
type Value = (i64, NodeId, NodeId);

/// A set of nodes as legality sees it.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    size: usize,
    /// Any node of it, for the size cap's witness.
    first: NodeId,
    kinds: BTreeMap<u16, Vec<Value>>,
    /// Nodes that a cut names, with the nodes they are cut from.
    cuts: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

impl Summary {
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// Takes all of `other` in.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.size += other.size;
        for (kind, values) in other.kinds {
            self.kinds.entry(kind).or_default().extend(values);
        }
        self.cuts.extend(other.cuts);
    }
}

impl<G: Graph> World<'_, G> {
    /// One node as legality sees it.
    pub(crate) fn summary_of(&mut self, node: NodeId) -> Result<Summary, G::Error> {
        let record = self.node(node)?;
        let kind = self.kind_index(&record.id.id_type);
        let mut class = node;
        let mut cuts = BTreeMap::new();
        if !record.operations.is_empty() {
            class = self.class_of(node)?.into_iter().next().unwrap_or(node);
            let from = self.pairs(node, Verb::Cut)?;
            if !from.is_empty() {
                cuts.insert(node, from.into_iter().map(|(other, _)| other).collect());
            }
        }
        let kinds = BTreeMap::from([(kind, vec![(record.first_seen.0, class, node)])]);
        Ok(Summary { size: 1, first: node, kinds, cuts })
    }

    /// A cluster as legality sees it; the members' own records are asked only where a decision names one.
    pub(crate) fn summary_of_members(&mut self, members: &[Member]) -> Result<Option<Summary>, G::Error> {
        let mut all: Option<Summary> = None;
        for member in members {
            let one = if member.decided {
                self.summary_of(member.node)?
            } else {
                let kind = self.kind_index(&member.id_type);
                let kinds = BTreeMap::from([(kind, vec![(member.first_seen.0, member.node, member.node)])]);
                Summary { size: 1, first: member.node, kinds, cuts: BTreeMap::new() }
            };
            match &mut all {
                Some(all) => all.absorb(one),
                None => all = Some(one),
            }
        }
        Ok(all)
    }

    /// Several nodes as legality sees them; none gives `None`.
    pub(crate) fn summary_of_all(
        &mut self,
        nodes: impl IntoIterator<Item = NodeId>,
    ) -> Result<Option<Summary>, G::Error> {
        let mut all: Option<Summary> = None;
        for node in nodes {
            let one = self.summary_of(node)?;
            match &mut all {
                Some(all) => all.absorb(one),
                None => all = Some(one),
            }
        }
        Ok(all)
    }

    /// What forbids the union of two legal sets, if anything.
    pub(crate) fn breach(&self, a: &Summary, b: &Summary) -> Option<Breach> {
        for (node, from) in &a.cuts {
            if let Some(other) = b.cuts.keys().find(|other| from.contains(other)) {
                return Some(Breach { rule: BreachRule::Cut, witnesses: (*node, *other) });
            }
        }
        if let Some((kind, witnesses)) = self.broken_limit(a, b) {
            return Some(Breach { rule: BreachRule::Limit(kind), witnesses });
        }
        if a.size + b.size > self.rules.size_cap() {
            return Some(Breach { rule: BreachRule::Size, witnesses: (a.first, b.first) });
        }
        None
    }

    /// The type whose limit a union breaks, by (rank, type) if there are several, and a value of each side that shows it.
    fn broken_limit(&self, a: &Summary, b: &Summary) -> Option<(u16, (NodeId, NodeId))> {
        let place = |kind: u16| (self.kind_at(kind).rank, self.kind_name(kind));
        let mut first: Option<(u16, (NodeId, NodeId))> = None;
        for (kind, values) in &a.kinds {
            let Some(others) = b.kinds.get(kind) else { continue };
            let rule = self.kind_at(*kind);
            if values.len() + others.len() <= rule.limit
                || first.is_some_and(|(known, _)| place(known) < place(*kind))
            {
                continue;
            }
            if let Some(times) = too_full(values, others, &rule)
                && let Some(witnesses) = witnesses(values, others, times)
            {
                first = Some((*kind, witnesses));
            }
        }
        first
    }
}

/// The times, both included, between which there are values of more classes than the limit; `None` if there are none.
fn too_full(a: &[Value], b: &[Value], rule: &Kind) -> Option<(i64, i64)> {
    let Some(width) = rule.within else {
        let classes: BTreeSet<NodeId> = a.iter().chain(b).map(|value| value.1).collect();
        return (classes.len() > rule.limit).then_some((i64::MIN, i64::MAX));
    };
    let mut times: Vec<(i64, NodeId)> = a.iter().chain(b).map(|value| (value.0, value.1)).collect();
    times.sort_unstable();
    let mut inside: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut start = 0;
    for (time, class) in &times {
        while let Some((first, leaving)) = times.get(start)
            && time.saturating_sub(*first) >= width
        {
            if let Some(count) = inside.get_mut(leaving) {
                *count -= 1;
                if *count == 0 {
                    inside.remove(leaving);
                }
            }
            start += 1;
        }
        *inside.entry(*class).or_default() += 1;
        if inside.len() > rule.limit {
            return Some((times.get(start).map_or(*time, |(first, _)| *first), *time));
        }
    }
    None
}

/// A value of each side: of two classes and between these times, which two legal sides always have that together are not.
fn witnesses(a: &[Value], b: &[Value], (from, to): (i64, i64)) -> Option<(NodeId, NodeId)> {
    let inside = |value: &&Value| (from..=to).contains(&value.0);
    let (x, y) = (a.iter().find(inside).or(a.first())?, b.iter().find(inside).or(b.first())?);
    let other = |values: &[Value]| values.iter().find(|value| inside(value) && value.1 != x.1).copied();
    if x.1 != y.1 {
        return Some((x.2, y.2));
    }
    match (other(b), other(a)) {
        (Some(far), _) => Some((x.2, far.2)),
        (None, Some(near)) => Some((near.2, y.2)),
        (None, None) => Some((x.2, y.2)),
    }
}
