//! New edges one at a time, while nothing needs a repair.
//!
//! - **L1:** an edge inside one cluster changes no decision anywhere, at most which edges hold the cluster together.
//! - **L2:** an edge between two clusters whose union is legal merges them and changes nothing else: rejected edges stay
//!   rejected, since clusters only grew.
//! - **L3:** else the clusters at the edge's place in the order decide: if their union is illegal the edge is rejected
//!   and nothing changes; if it is legal, a repair must find what follows.

use super::limits::Summary;
use super::settle::NewCluster;
use super::sides::{Near, Sides};
use super::ways::Ways;
use super::world::{World, is_live};
use crate::graph::{ForestEdge, Graph};
use onefold_types::{NodeId, ProfileHandle};
use std::collections::{BTreeMap, BTreeSet};

struct Part {
    handles: BTreeSet<ProfileHandle>,
    members: Vec<NodeId>,
    forest: Vec<ForestEdge>,
    summary: Summary,
    touched: bool,
    /// Found when they are asked for.
    sides: Option<Sides>,
}

impl Part {
    fn sides(&mut self) -> &mut Sides {
        self.sides.get_or_insert_with(|| Sides::of(&self.members, &self.forest))
    }
}

/// Clusters as they are going to be.
#[derive(Default)]
pub(crate) struct Draft {
    parts: Vec<Option<Part>>,
    of: BTreeMap<NodeId, usize>,
    /// Shared devices that may have stopped being so.
    recheck: BTreeSet<NodeId>,
    /// From the anchor, once an edge lay inside its part.
    ways: Option<Ways>,
}

/// Whether an edge could be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It is; so is what follows.
    Done,
    /// A repair must find what follows.
    NeedsRepair,
}

impl Draft {
    /// The part that holds `node`, loaded if need be.
    pub(crate) fn load<G: Graph>(
        &mut self,
        world: &mut World<'_, G>,
        node: NodeId,
    ) -> Result<usize, G::Error> {
        if let Some(index) = self.of.get(&node) {
            return Ok(*index);
        }
        let handle = world.node(node)?.cluster;
        let part = match world.cluster(handle)? {
            Some(cluster) => {
                let summary = world.summary_of_members(&cluster.members)?;
                Part {
                    handles: BTreeSet::from([handle]),
                    members: cluster.members.iter().map(|member| member.node).collect(),
                    forest: cluster.forest.clone(),
                    summary: match summary {
                        Some(summary) => summary,
                        None => world.summary_of(node)?,
                    },
                    touched: false,
                    sides: None,
                }
            }
            None => Part {
                handles: BTreeSet::new(),
                members: vec![node],
                forest: Vec::new(),
                summary: world.summary_of(node)?,
                touched: true,
                sides: None,
            },
        };
        let index = self.parts.len();
        self.of.extend(part.members.iter().map(|member| (*member, index)));
        self.parts.push(Some(part));
        Ok(index)
    }

    /// The part that holds `node` must be written.
    pub(crate) fn touch<G: Graph>(&mut self, world: &mut World<'_, G>, node: NodeId) -> Result<(), G::Error> {
        let index = self.load(world, node)?;
        if let Some(part) = &mut self.parts[index] {
            part.touched = true;
        }
        Ok(())
    }

    /// Places an edge that is new, or earlier than it was.
    pub(crate) fn place<G: Graph>(
        &mut self,
        world: &mut World<'_, G>,
        edge: ForestEdge,
    ) -> Result<Placed, G::Error> {
        let (a, b) = (self.load(world, edge.u)?, self.load(world, edge.v)?);
        if edge.personal {
            self.note_joining(world, &edge)?;
        }
        if a == b {
            self.swap(world, a, edge)?;
            // A device's edge comes after every personal one, so what is left on the path between the ends is personal.
            if edge.personal
                && let Some(sides) = self.parts[a].as_mut().and_then(|part| part.sides.as_mut())
            {
                sides.join(edge.u, edge.v);
            }
            return Ok(Placed::Done);
        }
        let (Some(x), Some(y)) = (&self.parts[a], &self.parts[b]) else { return Ok(Placed::NeedsRepair) };
        if world.breach(&x.summary, &y.summary).is_some() {
            let near = world.reach(&x.forest, edge.u, &edge)?;
            let far = world.reach(&y.forest, edge.v, &edge)?;
            let (Some(near), Some(far)) = (world.summary_of_all(near)?, world.summary_of_all(far)?) else {
                return Ok(Placed::NeedsRepair);
            };
            let rejected = world.breach(&near, &far).is_some();
            return Ok(if rejected { Placed::Done } else { Placed::NeedsRepair });
        }
        self.ways = match self.ways.take() {
            Some(mut ways) if ways.root() == edge.u => {
                ways.join(world, &y.forest, edge)?;
                Some(ways)
            }
            _ => None,
        };
        let (into, from) = if x.members.len() >= y.members.len() { (a, b) } else { (b, a) };
        if let Some(absorbed) = self.parts[from].take()
            && let Some(part) = &mut self.parts[into]
        {
            for member in &absorbed.members {
                self.of.insert(*member, into);
            }
            part.handles.extend(absorbed.handles);
            part.members.extend(absorbed.members);
            part.forest.extend(absorbed.forest);
            part.forest.push(edge);
            part.summary.absorb(absorbed.summary);
            part.touched = true;
            part.sides = match (part.sides.take(), absorbed.sides) {
                (Some(mut sides), Some(more)) => {
                    sides.extend(more);
                    if edge.personal {
                        sides.join(edge.u, edge.v);
                    }
                    Some(sides)
                }
                _ => None,
            };
        }
        Ok(Placed::Done)
    }

    /// An edge inside a part: it takes the place of the last edge on the path between its ends, if it is before that.
    fn swap<G: Graph>(
        &mut self,
        world: &mut World<'_, G>,
        index: usize,
        edge: ForestEdge,
    ) -> Result<(), G::Error> {
        let Some(part) = &mut self.parts[index] else { return Ok(()) };
        let mut ways = match self.ways.take() {
            Some(ways) if ways.root() == edge.u => ways,
            _ => Ways::of(world, edge.u, &part.forest)?,
        };
        if let Some(last) = ways.last(edge.v)
            && world.edge_order(&edge, &last)?.is_lt()
            && let Some(slot) = part.forest.iter_mut().find(|known| **known == last)
        {
            *slot = edge;
            part.touched = true;
            ways.exchange(world, last, edge)?;
        }
        self.ways = Some(ways);
        Ok(())
    }

    /// Two person clusters are about to join: a device seen with both may stop being shared.
    fn note_joining<G: Graph>(
        &mut self,
        world: &mut World<'_, G>,
        edge: &ForestEdge,
    ) -> Result<(), G::Error> {
        let (a, b) = (self.load(world, edge.u)?, self.load(world, edge.v)?);
        let mut ends = [(a, edge.u), (b, edge.v)];
        for (index, end) in &mut ends {
            let Some(part) = &mut self.parts[*index] else { return Ok(()) };
            *end = part.sides().label(*end);
        }
        if ends[0] == ends[1] {
            return Ok(());
        }
        let mut fewest: Option<Near> = None;
        for (index, label) in ends {
            let near = self.near(world, index, label)?;
            if near.nodes.is_empty() {
                return Ok(());
            }
            if fewest.as_ref().is_none_or(|known| near.sets < known.sets) {
                fewest = Some(near);
            }
        }
        for node in fewest.unwrap_or_default().nodes {
            for row in world.sets(node)?.iter() {
                for member in &row.nodes {
                    if world.node(*member)?.shared {
                        self.recheck.insert(*member);
                    }
                }
            }
        }
        Ok(())
    }

    /// Who of a side is in a set with a device of several persons.
    fn near<G: Graph>(
        &mut self,
        world: &mut World<'_, G>,
        index: usize,
        label: NodeId,
    ) -> Result<Near, G::Error> {
        let Some(part) = &mut self.parts[index] else { return Ok(Near::default()) };
        let sides = part.sides();
        if let Some(near) = sides.near(label) {
            return Ok(near.clone());
        }
        let mut near = Near::default();
        for member in sides.members(label) {
            let record = world.node(*member)?;
            if record.near_shared {
                near.nodes.push(*member);
                near.sets += u64::from(record.sets);
            }
        }
        sides.note_near(label, near.clone());
        Ok(near)
    }

    /// Whether `devices` and all devices that placed edges cast doubt on are labelled right.
    pub(crate) fn labels_hold<G: Graph>(
        &mut self,
        world: &mut World<'_, G>,
        devices: &[NodeId],
    ) -> Result<bool, G::Error> {
        let devices: BTreeSet<NodeId> =
            devices.iter().copied().chain(std::mem::take(&mut self.recheck)).collect();
        for device in devices {
            let record = world.node(device)?;
            if world.kind_of(&record).person {
                continue;
            }
            if (is_live(&record) && self.sees_two(world, device)?) != record.shared {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn sees_two<G: Graph>(&mut self, world: &mut World<'_, G>, device: NodeId) -> Result<bool, G::Error> {
        let record = world.node(device)?;
        let mut more = false;
        for seen in record.seen.values() {
            let mut first = None;
            for value in &seen.values {
                let Some(label) = self.label(world, *value)? else { continue };
                if *first.get_or_insert(label) != label {
                    return Ok(true);
                }
            }
            more |= seen.more;
        }
        // More values than are listed, and all that are listed together: all sets have to be asked.
        if more {
            let mut first: BTreeMap<String, (usize, NodeId, ProfileHandle)> = BTreeMap::new();
            for row in world.sets(device)?.iter() {
                for node in &row.nodes {
                    let value = world.node(*node)?;
                    if world.kind_of(&value).person_key
                        && let Some(label) = self.label(world, *node)?
                        && *first.entry(value.id.id_type.clone()).or_insert(label) != label
                    {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// The person cluster of a node: by part inside the draft, by handle outside.
    fn label<G: Graph>(
        &mut self,
        world: &mut World<'_, G>,
        node: NodeId,
    ) -> Result<Option<(usize, NodeId, ProfileHandle)>, G::Error> {
        if let Some(index) = self.of.get(&node) {
            let Some(part) = &mut self.parts[*index] else { return Ok(None) };
            return Ok(Some((*index, part.sides().label(node), ProfileHandle(0))));
        }
        let record = world.node(node)?;
        if !is_live(&record) {
            return Ok(None);
        }
        let labels = world.personal(record.cluster)?;
        Ok(labels.get(&node).map(|label| (usize::MAX, *label, record.cluster)))
    }

    /// What is to be written: the stored clusters that go, and those that come.
    pub(crate) fn finish(self) -> (BTreeSet<ProfileHandle>, Vec<NewCluster>) {
        let mut old = BTreeSet::new();
        let mut new = Vec::new();
        for part in self.parts.into_iter().flatten().filter(|part| part.touched) {
            old.extend(part.handles);
            new.push(NewCluster { members: part.members, forest: part.forest });
        }
        (old, new)
    }
}

/// The edges on the path between two nodes of a forest; none if there is no path.
pub(crate) fn path(forest: &[ForestEdge], from: NodeId, to: NodeId) -> Vec<ForestEdge> {
    let mut near: BTreeMap<NodeId, Vec<&ForestEdge>> = BTreeMap::new();
    for edge in forest {
        near.entry(edge.u).or_default().push(edge);
        near.entry(edge.v).or_default().push(edge);
    }
    let mut came: BTreeMap<NodeId, &ForestEdge> = BTreeMap::new();
    let mut open = vec![from];
    while let Some(next) = open.pop() {
        if next == to {
            break;
        }
        for edge in near.get(&next).into_iter().flatten() {
            let other = if edge.u == next { edge.v } else { edge.u };
            if other != from && !came.contains_key(&other) {
                came.insert(other, edge);
                open.push(other);
            }
        }
    }
    let mut edges = Vec::new();
    let mut at = to;
    while let Some(edge) = came.get(&at) {
        edges.push(**edge);
        at = if edge.u == at { edge.v } else { edge.u };
    }
    edges.reverse();
    edges
}
