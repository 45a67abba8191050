//! Kruskal again, on as few whole clusters as it takes.
//!
//! The region begins with the clusters of everything that changed. Inside it the constrained forest is built from
//! nothing. At an edge that leaves the region, old or new, the new inside cluster at its place and the outside cluster at
//! its place are asked: if they may join, the outside cluster comes into the region. When nothing more comes in, the
//! result is the global one: outside, every decision rests on the same clusters as before; at the border, every edge is
//! rejected.
//!
//! Two phases, as in the definition: operator links and edges between person identifiers; then who is a shared device;
//! then edges of devices that are not.

use super::limits::{Breach, Summary};
use super::world::{World, is_live};
use crate::graph::{ForestEdge, Graph, NO_CLUSTER};
use onefold_types::{NodeId, ProfileHandle};
use std::collections::{BTreeMap, BTreeSet};

/// What a repair found.
#[derive(Debug, Default)]
pub(crate) struct Repaired {
    /// The clusters that were taken in, as they are stored.
    pub(crate) handles: BTreeSet<ProfileHandle>,
    /// The new clusters: members, and the forest that holds them together.
    pub(crate) clusters: Vec<(Vec<NodeId>, Vec<ForestEdge>)>,
    /// Devices whose being shared changed.
    pub(crate) labels: BTreeMap<NodeId, bool>,
    /// Operator links that were rejected, with what forbids them.
    pub(crate) refused_links: Vec<(ForestEdge, Breach)>,
}

#[derive(Default)]
struct Region {
    handles: BTreeSet<ProfileHandle>,
    /// Members of those clusters as they are stored, and nodes that were in none.
    nodes: BTreeSet<NodeId>,
}

impl Region {
    fn holds(&self, node: NodeId) -> bool {
        self.nodes.contains(&node)
    }

    /// Takes the whole cluster of `node` in; whether it was not in yet.
    fn add<G: Graph>(&mut self, world: &mut World<'_, G>, node: NodeId) -> Result<bool, G::Error> {
        if !self.nodes.insert(node) {
            return Ok(false);
        }
        let handle = world.node(node)?.cluster;
        if let Some(cluster) = world.cluster(handle)? {
            self.handles.insert(handle);
            self.nodes.extend(cluster.members.iter().map(|member| member.node));
        }
        Ok(true)
    }
}

/// Union-find over the region with what legality asks of each component.
struct Components {
    index: BTreeMap<NodeId, usize>,
    parent: Vec<usize>,
    summaries: Vec<Option<Summary>>,
    accepted: Vec<ForestEdge>,
    refused_links: Vec<(ForestEdge, Breach)>,
}

impl Components {
    fn new<G: Graph>(world: &mut World<'_, G>, region: &Region) -> Result<Self, G::Error> {
        let mut index = BTreeMap::new();
        let mut summaries = Vec::new();
        for node in &region.nodes {
            let record = world.node(*node)?;
            if is_live(&record) {
                index.insert(*node, summaries.len());
                summaries.push(Some(world.summary_of(*node)?));
            }
        }
        let parent = (0..summaries.len()).collect();
        Ok(Self { index, parent, summaries, accepted: Vec::new(), refused_links: Vec::new() })
    }

    fn root(&mut self, node: NodeId) -> Option<usize> {
        let mut at = *self.index.get(&node)?;
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        Some(at)
    }

    /// Places an edge with both ends inside.
    fn place<G: Graph>(&mut self, world: &World<'_, G>, edge: ForestEdge) {
        let (Some(a), Some(b)) = (self.root(edge.u), self.root(edge.v)) else { return };
        if a == b {
            return;
        }
        let (Some(x), Some(y)) = (&self.summaries[a], &self.summaries[b]) else { return };
        if let Some(breach) = world.breach(x, y) {
            if edge.key.operation != u64::MAX {
                self.refused_links.push((edge, breach));
            }
            return;
        }
        let (small, large) = if x.size() < y.size() { (a, b) } else { (b, a) };
        self.parent[small] = large;
        if let Some(absorbed) = self.summaries[small].take()
            && let Some(summary) = &mut self.summaries[large]
        {
            summary.absorb(absorbed);
        }
        self.accepted.push(edge);
    }
}

/// Which component a node is in after the first phase, for nodes inside the region and outside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Label {
    Inside(usize),
    Outside(ProfileHandle, NodeId),
}

struct Run<'r> {
    region: &'r Region,
    components: Components,
    /// Nodes outside whose clusters are to be taken in.
    wanted: BTreeSet<NodeId>,
    /// Edges of sets that touch the region, by their ends.
    edges: BTreeMap<(NodeId, NodeId), ForestEdge>,
    labels: BTreeMap<NodeId, bool>,
}

/// Finds the clusters after a change: `seeds` are all nodes whose edges, limits or flags changed; `evaluate` are devices
/// whose being shared may have changed for another reason than a person's cluster.
pub(crate) fn repair<G: Graph>(
    world: &mut World<'_, G>,
    seeds: &BTreeSet<NodeId>,
    evaluate: &BTreeSet<NodeId>,
) -> Result<Repaired, G::Error> {
    let mut region = Region::default();
    for node in seeds {
        region.add(world, *node)?;
    }
    loop {
        let mut run = Run {
            region: &region,
            components: Components::new(world, &region)?,
            wanted: BTreeSet::new(),
            edges: BTreeMap::new(),
            labels: BTreeMap::new(),
        };
        run.place_personal(world)?;
        if run.wanted.is_empty() {
            run.label_devices(world, evaluate)?;
        }
        if run.wanted.is_empty() {
            run.place_devices(world)?;
        }
        let wanted = std::mem::take(&mut run.wanted);
        if wanted.is_empty() {
            let Run { components, labels, .. } = run;
            return collect(components, labels, region);
        }
        for node in wanted {
            region.add(world, node)?;
        }
    }
}

fn collect<E>(
    mut components: Components,
    labels: BTreeMap<NodeId, bool>,
    region: Region,
) -> Result<Repaired, E> {
    let mut clusters: BTreeMap<usize, (Vec<NodeId>, Vec<ForestEdge>)> = BTreeMap::new();
    for node in &region.nodes {
        if let Some(root) = components.root(*node) {
            clusters.entry(root).or_default().0.push(*node);
        }
    }
    for edge in std::mem::take(&mut components.accepted) {
        if let Some(root) = components.root(edge.u) {
            clusters.entry(root).or_default().1.push(edge);
        }
    }
    let mut clusters: Vec<_> = clusters.into_values().collect();
    clusters.sort();
    Ok(Repaired { handles: region.handles, clusters, labels, refused_links: components.refused_links })
}

impl Run<'_> {
    /// Phase one.
    fn place_personal<G: Graph>(&mut self, world: &mut World<'_, G>) -> Result<(), G::Error> {
        let mut edges: BTreeSet<ForestEdge> = BTreeSet::new();
        for node in &self.region.nodes {
            let record = world.node(*node)?;
            if !is_live(&record) {
                continue;
            }
            edges.extend(world.links(*node)?);
            if world.kind_of(&record).person {
                self.derive(world, *node)?;
            }
        }
        edges.extend(self.edges.values().filter(|edge| edge.personal));
        self.place_all(world, edges.into_iter().collect())
    }

    /// Phase two; labels are known.
    fn place_devices<G: Graph>(&mut self, world: &mut World<'_, G>) -> Result<(), G::Error> {
        for node in &self.region.nodes {
            let record = world.node(*node)?;
            if is_live(&record) && !world.kind_of(&record).person && !self.is_shared(world, *node)? {
                self.derive(world, *node)?;
            }
        }
        let mut edges = Vec::new();
        for edge in self.edges.values().filter(|edge| !edge.personal).copied().collect::<Vec<_>>() {
            if !self.is_shared(world, edge.u)? && !self.is_shared(world, edge.v)? {
                edges.push(edge);
            }
        }
        self.place_all(world, edges)
    }

    /// Whether a device is shared, as far as this run knows.
    fn is_shared<G: Graph>(&self, world: &mut World<'_, G>, node: NodeId) -> Result<bool, G::Error> {
        match self.labels.get(&node) {
            Some(shared) => Ok(*shared),
            None => Ok(world.node(node)?.shared),
        }
    }

    /// The edges of a node's sets.
    fn derive<G: Graph>(&mut self, world: &mut World<'_, G>, node: NodeId) -> Result<(), G::Error> {
        if world.node(node)?.hub {
            return Ok(());
        }
        for row in world.sets(node)?.iter() {
            let effective = world.effective(&row.nodes)?;
            let Some((anchor, others)) = effective.split_first() else { continue };
            for other in others.iter().filter(|other| *anchor == node || **other == node) {
                let edge = world.edge(*anchor, *other, row)?;
                let known = self.edges.entry((*anchor, *other)).or_insert(edge);
                if edge.key < known.key {
                    *known = edge;
                }
            }
        }
        Ok(())
    }

    /// Places edges in canonical order; those that leave the region only ask whether it must grow.
    fn place_all<G: Graph>(
        &mut self,
        world: &mut World<'_, G>,
        mut edges: Vec<ForestEdge>,
    ) -> Result<(), G::Error> {
        let mut ids = BTreeMap::new();
        for edge in &edges {
            for end in [edge.u, edge.v] {
                if let std::collections::btree_map::Entry::Vacant(slot) = ids.entry(end) {
                    slot.insert(world.node(end)?);
                }
            }
        }
        let rules = world.rules;
        let order = |x: NodeId, y: NodeId| match (ids.get(&x), ids.get(&y)) {
            _ if x == y => std::cmp::Ordering::Equal,
            (Some(x), Some(y)) => rules.order(&x.id, &y.id),
            _ => std::cmp::Ordering::Equal,
        };
        edges.sort_by(|a, b| a.key.cmp(&b.key).then_with(|| order(a.u, b.u)).then_with(|| order(a.v, b.v)));
        for edge in edges {
            match (self.region.holds(edge.u), self.region.holds(edge.v)) {
                (true, true) => self.components.place(world, edge),
                (true, false) => self.knock(world, edge, edge.u, edge.v)?,
                (false, true) => self.knock(world, edge, edge.v, edge.u)?,
                (false, false) => {}
            }
        }
        Ok(())
    }

    /// Whether an edge from `inside` to `outside`, rejected so far, is still rejected; if not, the region must grow.
    fn knock<G: Graph>(
        &mut self,
        world: &mut World<'_, G>,
        edge: ForestEdge,
        inside: NodeId,
        outside: NodeId,
    ) -> Result<(), G::Error> {
        let Some(root) = self.components.root(inside) else { return Ok(()) };
        let Some(near) = self.components.summaries[root].clone() else { return Ok(()) };
        // Heredity: what the outside node alone forbids, its cluster forbids.
        let alone = world.summary_of(outside)?;
        if world.breach(&near, &alone).is_some() {
            return Ok(());
        }
        let handle = world.node(outside)?.cluster;
        let far = match world.cluster(handle)? {
            Some(cluster) if cluster.members.len() > 1 => {
                let reached = world.reach(&cluster.forest, outside, &edge)?;
                world.summary_of_all(reached)?.unwrap_or(alone)
            }
            _ => alone,
        };
        if world.breach(&near, &far).is_none() {
            self.wanted.insert(outside);
        }
        Ok(())
    }

    fn label<G: Graph>(&mut self, world: &mut World<'_, G>, node: NodeId) -> Result<Option<Label>, G::Error> {
        if self.region.holds(node) {
            return Ok(self.components.root(node).map(Label::Inside));
        }
        let record = world.node(node)?;
        if !is_live(&record) || record.cluster == NO_CLUSTER {
            return Ok(None);
        }
        let labels = world.personal(record.cluster)?;
        Ok(labels.get(&node).map(|label| Label::Outside(record.cluster, *label)))
    }

    /// Looks again at which devices are shared.
    fn label_devices<G: Graph>(
        &mut self,
        world: &mut World<'_, G>,
        evaluate: &BTreeSet<NodeId>,
    ) -> Result<(), G::Error> {
        let mut devices = evaluate.clone();
        devices.extend(self.region.nodes.iter().copied());
        for person in self.moved_persons(world)? {
            for row in world.sets(person)?.iter() {
                devices.extend(row.nodes.iter().copied());
            }
        }
        for device in devices {
            let record = world.node(device)?;
            if world.kind_of(&record).person {
                continue;
            }
            let shared = is_live(&record) && self.sees_two(world, device)?;
            if shared == record.shared {
                continue;
            }
            self.labels.insert(device, shared);
            if !self.region.holds(device) && is_live(&record) {
                self.wanted.insert(device);
            }
        }
        Ok(())
    }

    /// Person keys of the region whose person cluster is not what it was.
    fn moved_persons<G: Graph>(&mut self, world: &mut World<'_, G>) -> Result<Vec<NodeId>, G::Error> {
        let mut before: BTreeMap<(ProfileHandle, NodeId), usize> = BTreeMap::new();
        let mut after: BTreeMap<usize, usize> = BTreeMap::new();
        let mut both: BTreeMap<((ProfileHandle, NodeId), usize), usize> = BTreeMap::new();
        let mut places = Vec::new();
        for node in &self.region.nodes {
            let handle = world.node(*node)?.cluster;
            let old = world.personal(handle)?.get(node).map(|label| (handle, *label));
            let new = self.components.root(*node);
            if let Some(old) = old {
                *before.entry(old).or_default() += 1;
            }
            if let Some(new) = new {
                *after.entry(new).or_default() += 1;
            }
            if let (Some(old), Some(new)) = (old, new) {
                *both.entry((old, new)).or_default() += 1;
            }
            places.push((*node, old, new));
        }
        let mut moved = Vec::new();
        for (node, old, new) in places {
            let same = match (old, new) {
                (Some(old), Some(new)) => {
                    let common = both.get(&(old, new));
                    common == before.get(&old) && common == after.get(&new)
                }
                _ => false,
            };
            if !same && world.kind(node)?.person_key {
                moved.push(node);
            }
        }
        Ok(moved)
    }

    /// Whether a device was seen with two values of one person key in different person clusters.
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
        if !more {
            return Ok(false);
        }
        // More values than are listed: all sets have to be asked.
        let mut first: BTreeMap<String, Label> = BTreeMap::new();
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
        Ok(false)
    }
}
