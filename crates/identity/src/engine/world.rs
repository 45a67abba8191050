//! The graph as one step sees it: records at hand, changes that are not written yet, what follows from flags.

use super::limits::Kind;
use crate::graph::{Cluster, ForestEdge, Graph, NO_CLUSTER, Node, Operation, OrderKey, Stamp, Verb};
use crate::rules::{Limit, Rules};
use onefold_types::workspace::Scope;
use onefold_types::{Identifier, NodeId, ProfileHandle, SetId, Timestamp};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A set with its record.
#[derive(Clone, Debug)]
pub(crate) struct SetRow {
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) set: SetId,
    pub(crate) first: Stamp,
    pub(crate) last_seen: Timestamp,
}

/// See the module.
pub(crate) struct World<'a, G: Graph> {
    pub(crate) rules: &'a Rules,
    pub(crate) graph: &'a mut G,
    nodes: BTreeMap<NodeId, Arc<Node>>,
    dirty: BTreeSet<NodeId>,
    clusters: BTreeMap<ProfileHandle, Arc<Cluster>>,
    /// Of clusters as they are stored: which member stands for each member's person cluster.
    personal: BTreeMap<ProfileHandle, Arc<BTreeMap<NodeId, NodeId>>>,
    sets: BTreeMap<NodeId, Arc<Vec<SetRow>>>,
    operations: BTreeMap<u64, Arc<Operation>>,
    dirty_operations: BTreeSet<u64>,
    kinds: Vec<(String, Kind)>,
}

impl<'a, G: Graph> World<'a, G> {
    pub(crate) const fn new(rules: &'a Rules, graph: &'a mut G) -> Self {
        Self {
            rules,
            graph,
            nodes: BTreeMap::new(),
            dirty: BTreeSet::new(),
            clusters: BTreeMap::new(),
            personal: BTreeMap::new(),
            sets: BTreeMap::new(),
            operations: BTreeMap::new(),
            dirty_operations: BTreeSet::new(),
            kinds: Vec::new(),
        }
    }

    /// The record of a node; one that is not there is one that nothing is known of.
    pub(crate) fn node(&mut self, node: NodeId) -> Result<Arc<Node>, G::Error> {
        if let Some(record) = self.nodes.get(&node) {
            return Ok(record.clone());
        }
        let record = self.graph.node(node)?;
        let record = record.unwrap_or_else(|| Arc::new(Node::unseen(Identifier::new("", ""))));
        self.nodes.insert(node, record.clone());
        Ok(record)
    }

    /// Changes a node's record; written at the end of the step.
    pub(crate) fn change(&mut self, node: NodeId, change: impl FnOnce(&mut Node)) -> Result<(), G::Error> {
        let mut record = self.node(node)?;
        change(Arc::make_mut(&mut record));
        self.nodes.insert(node, record);
        self.dirty.insert(node);
        Ok(())
    }

    /// Whether a node's record was changed in this step.
    pub(crate) fn is_changed(&self, node: NodeId) -> bool {
        self.dirty.contains(&node)
    }

    /// The node of an identifier, made if need be.
    pub(crate) fn node_for(&mut self, id: &Identifier) -> Result<NodeId, G::Error> {
        if let Some(node) = self.graph.node_of(id)? {
            return Ok(node);
        }
        let node = self.graph.next_node();
        let record = Arc::new(Node::unseen(id.clone()));
        // Written at once, so that the identifier is found; its content follows at the end of the step.
        self.graph.put_node(node, record.clone())?;
        self.nodes.insert(node, record);
        Ok(node)
    }

    /// A cluster as it is stored.
    pub(crate) fn cluster(&mut self, handle: ProfileHandle) -> Result<Option<Arc<Cluster>>, G::Error> {
        if handle == NO_CLUSTER {
            return Ok(None);
        }
        if let Some(cluster) = self.clusters.get(&handle) {
            return Ok(Some(cluster.clone()));
        }
        let cluster = self.graph.cluster(handle)?;
        if let Some(cluster) = &cluster {
            self.clusters.insert(handle, cluster.clone());
        }
        Ok(cluster)
    }

    /// Which node stands for the person cluster of each member of a stored cluster.
    pub(crate) fn personal(
        &mut self,
        handle: ProfileHandle,
    ) -> Result<Arc<BTreeMap<NodeId, NodeId>>, G::Error> {
        if let Some(labels) = self.personal.get(&handle) {
            return Ok(labels.clone());
        }
        let labels = match self.cluster(handle)? {
            Some(cluster) => {
                let members = cluster.members.iter().map(|member| member.node);
                personal_labels(members, &cluster.forest)
            }
            None => BTreeMap::new(),
        };
        let labels = Arc::new(labels);
        self.personal.insert(handle, labels.clone());
        Ok(labels)
    }

    /// The sets that hold `node`.
    pub(crate) fn sets(&mut self, node: NodeId) -> Result<Arc<Vec<SetRow>>, G::Error> {
        if let Some(sets) = self.sets.get(&node) {
            return Ok(sets.clone());
        }
        let mut found: Vec<Vec<NodeId>> = Vec::new();
        self.graph.sets_of(node, &mut |nodes| {
            found.push(nodes.to_vec());
            true
        })?;
        let mut sets = Vec::with_capacity(found.len());
        for nodes in found {
            if let Some(evidence) = self.graph.evidence(&nodes)? {
                let first = Stamp { ts: evidence.first_seen, message_id: evidence.first_message.clone() };
                sets.push(SetRow { nodes, set: evidence.set, first, last_seen: evidence.last_seen });
            }
        }
        let sets = Arc::new(sets);
        self.sets.insert(node, sets.clone());
        Ok(sets)
    }

    /// The evidence of these nodes changed: forget what was read of it.
    pub(crate) fn evidence_changed(&mut self, nodes: &[NodeId]) {
        for node in nodes {
            self.sets.remove(node);
        }
    }

    /// The index of a type's rule.
    pub(crate) fn kind_index(&mut self, id_type: &str) -> u16 {
        if let Some(index) = self.kinds.iter().position(|(known, _)| known == id_type) {
            return index as u16;
        }
        let rule = self.rules.rule(id_type);
        let (limit, within) = match rule.limit {
            Limit::Ever(n) => (n as usize, None),
            Limit::Within(n, ms) => (n as usize, Some(ms)),
        };
        let kind = Kind {
            rank: rule.rank,
            person: rule.scope == Scope::Person,
            limit,
            within,
            unique: rule.unique,
            person_key: rule.person_key,
            last_wins: rule.last_wins,
        };
        self.kinds.push((id_type.to_owned(), kind));
        (self.kinds.len() - 1) as u16
    }

    /// The rule at an index that [`Self::kind_index`] gave.
    pub(crate) fn kind_at(&self, index: u16) -> Kind {
        self.kinds[index as usize].1
    }

    /// The type at an index that [`Self::kind_index`] gave.
    pub(crate) fn kind_name(&self, index: u16) -> &str {
        &self.kinds[index as usize].0
    }

    /// The rule of a node's type.
    pub(crate) fn kind(&mut self, node: NodeId) -> Result<Kind, G::Error> {
        let record = self.node(node)?;
        Ok(self.kind_of(&record))
    }

    /// The rule of a record's type.
    pub(crate) fn kind_of(&mut self, record: &Node) -> Kind {
        let index = self.kind_index(&record.id.id_type);
        self.kind_at(index)
    }

    /// The identifiers of a set that count for edges and owners: neither blocked nor hubs.
    pub(crate) fn effective(&mut self, set: &[NodeId]) -> Result<Vec<NodeId>, G::Error> {
        let mut effective = Vec::with_capacity(set.len());
        for node in set {
            let record = self.node(*node)?;
            if !record.hub && !record.blocked {
                effective.push(*node);
            }
        }
        Ok(effective)
    }

    /// The edge that a set gives between its anchor and another of its nodes.
    pub(crate) fn edge(&mut self, u: NodeId, v: NodeId, row: &SetRow) -> Result<ForestEdge, G::Error> {
        let (a, b) = (self.kind(u)?, self.kind(v)?);
        let time = if a.last_wins || b.last_wins { row.last_seen.0.saturating_neg() } else { row.first.ts.0 };
        let key = OrderKey {
            operation: u64::MAX,
            max_rank: a.rank.max(b.rank),
            min_rank: a.rank.min(b.rank),
            time,
        };
        Ok(ForestEdge { u, v, key, personal: a.person && b.person })
    }

    /// The canonical order of edges.
    pub(crate) fn edge_order(&mut self, a: &ForestEdge, b: &ForestEdge) -> Result<Ordering, G::Error> {
        let by_key = a.key.cmp(&b.key);
        if by_key.is_ne() {
            return Ok(by_key);
        }
        for (x, y) in [(a.u, b.u), (a.v, b.v)] {
            if x != y {
                let (x, y) = (self.node(x)?, self.node(y)?);
                let order = self.rules.order(&x.id, &y.id);
                if order.is_ne() {
                    return Ok(order);
                }
            }
        }
        Ok(Ordering::Equal)
    }

    /// "Older wins": the order of first-seen identifiers.
    pub(crate) fn older(&mut self, a: NodeId, b: NodeId) -> Result<bool, G::Error> {
        let (x, y) = (self.node(a)?, self.node(b)?);
        let order = x.first_seen.cmp(&y.first_seen);
        let order = order.then_with(|| x.first_message.as_bytes().cmp(y.first_message.as_bytes()));
        Ok(order.then_with(|| self.rules.order(&x.id, &y.id)).is_lt())
    }

    /// An operator decision.
    pub(crate) fn operation(&mut self, number: u64) -> Result<Option<Arc<Operation>>, G::Error> {
        if let Some(operation) = self.operations.get(&number) {
            return Ok(Some(operation.clone()));
        }
        let operation = self.graph.operation(number)?;
        if let Some(operation) = &operation {
            self.operations.insert(number, operation.clone());
        }
        Ok(operation)
    }

    /// Sets an operator decision; written at the end of the step.
    pub(crate) fn set_operation(&mut self, operation: Operation) {
        self.dirty_operations.insert(operation.number);
        self.operations.insert(operation.number, Arc::new(operation));
    }

    /// Decisions in force that name `node`.
    pub(crate) fn operations_of(&mut self, node: NodeId) -> Result<Vec<Arc<Operation>>, G::Error> {
        let record = self.node(node)?;
        let mut live = Vec::new();
        for number in &record.operations {
            live.extend(self.operation(*number)?.filter(|operation| !operation.undone));
        }
        Ok(live)
    }

    /// The nodes that `node` is linked with, or cut from, in force, with the decision's number: of the links and cuts of
    /// one pair the latest counts.
    pub(crate) fn pairs(&mut self, node: NodeId, verb: Verb) -> Result<Vec<(NodeId, u64)>, G::Error> {
        let mut latest: BTreeMap<NodeId, (u64, Verb)> = BTreeMap::new();
        for operation in self.operations_of(node)? {
            if matches!(operation.verb, Verb::Link | Verb::Cut) {
                let other = if operation.a == node { operation.b } else { operation.a };
                let newest = latest.entry(other).or_insert((operation.number, operation.verb));
                if operation.number > newest.0 {
                    *newest = (operation.number, operation.verb);
                }
            }
        }
        Ok(latest
            .into_iter()
            .filter(|(_, (_, of))| *of == verb)
            .map(|(other, (number, _))| (other, number))
            .collect())
    }

    /// The values that count as one with `node`, itself included: it does not depend on who is in which cluster.
    pub(crate) fn class_of(&mut self, node: NodeId) -> Result<BTreeSet<NodeId>, G::Error> {
        let mut class = BTreeSet::from([node]);
        let mut open = vec![node];
        while let Some(next) = open.pop() {
            for operation in self.operations_of(next)? {
                if operation.verb == Verb::Force {
                    for end in [operation.a, operation.b] {
                        if class.insert(end) {
                            open.push(end);
                        }
                    }
                }
            }
        }
        Ok(class)
    }

    /// The operator's links of `node` that hold two identifiers that count.
    pub(crate) fn links(&mut self, node: NodeId) -> Result<Vec<ForestEdge>, G::Error> {
        let record = self.node(node)?;
        let mut edges = Vec::new();
        if record.operations.is_empty() || !is_live(&record) {
            return Ok(edges);
        }
        for (other, number) in self.pairs(node, Verb::Link)? {
            let far = self.node(other)?;
            if !is_live(&far) {
                continue;
            }
            let (a, b) = (self.kind_of(&record), self.kind_of(&far));
            let stronger = self.rules.order(&record.id, &far.id).is_lt();
            let (u, v) = if stronger { (node, other) } else { (other, node) };
            let key = OrderKey {
                operation: number,
                max_rank: a.rank.max(b.rank),
                min_rank: a.rank.min(b.rank),
                time: 0,
            };
            edges.push(ForestEdge { u, v, key, personal: true });
        }
        Ok(edges)
    }

    /// Members of `cluster` that are joined with `node` by edges before `edge`.
    pub(crate) fn reach(
        &mut self,
        forest: &[ForestEdge],
        node: NodeId,
        edge: &ForestEdge,
    ) -> Result<BTreeSet<NodeId>, G::Error> {
        let mut before = Vec::with_capacity(forest.len());
        for candidate in forest {
            if self.edge_order(candidate, edge)?.is_lt() {
                before.push((candidate.u, candidate.v));
            }
        }
        let near = neighbours(before.into_iter());
        let mut reached = BTreeSet::from([node]);
        let mut open = vec![node];
        while let Some(next) = open.pop() {
            for other in near.get(&next).into_iter().flatten() {
                if reached.insert(*other) {
                    open.push(*other);
                }
            }
        }
        Ok(reached)
    }

    /// Writes changed nodes and decisions.
    pub(crate) fn flush(&mut self) -> Result<(), G::Error> {
        for node in std::mem::take(&mut self.dirty) {
            if let Some(record) = self.nodes.get(&node) {
                self.graph.put_node(node, record.clone())?;
            }
        }
        for number in std::mem::take(&mut self.dirty_operations) {
            if let Some(operation) = self.operations.get(&number) {
                self.graph.put_operation(Operation::clone(operation))?;
            }
        }
        Ok(())
    }

    /// Stored clusters are about to change: what was read of them no longer holds.
    pub(crate) fn clusters_changed(&mut self) {
        self.clusters.clear();
        self.personal.clear();
    }
}

/// Whether an identifier can be in a cluster.
pub(crate) fn is_live(record: &Node) -> bool {
    record.is_seen() && !record.blocked
}

/// Who is next to whom.
pub(crate) fn neighbours(edges: impl Iterator<Item = (NodeId, NodeId)>) -> BTreeMap<NodeId, Vec<NodeId>> {
    let mut near: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for (u, v) in edges {
        near.entry(u).or_default().push(v);
        near.entry(v).or_default().push(u);
    }
    near
}

/// Which member stands for each member's person cluster: the components under personal edges only.
pub(crate) fn personal_labels(
    members: impl Iterator<Item = NodeId>,
    forest: &[ForestEdge],
) -> BTreeMap<NodeId, NodeId> {
    let near = neighbours(forest.iter().filter(|edge| edge.personal).map(|edge| (edge.u, edge.v)));
    let mut labels = BTreeMap::new();
    for member in members {
        if labels.contains_key(&member) {
            continue;
        }
        labels.insert(member, member);
        let mut open = vec![member];
        while let Some(next) = open.pop() {
            for other in near.get(&next).into_iter().flatten() {
                if !labels.contains_key(other) {
                    labels.insert(*other, member);
                    open.push(*other);
                }
            }
        }
    }
    labels
}
