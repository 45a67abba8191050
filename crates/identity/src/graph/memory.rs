//! A graph in memory, streams included: for tests, the simulator and previews.

use super::{Cluster, Evidence, Graph, Link, Node, Operation, Stamp, StreamRow};
use onefold_types::{EventRef, Identifier, NameId, NodeId, Position, ProfileHandle, SetId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

type StreamKey = (NodeId, Timestamp, EventRef);

/// See the module. A clone is a snapshot.
#[derive(Clone, Debug, Default)]
pub struct MemoryGraph {
    idents: BTreeMap<Identifier, NodeId>,
    nodes: BTreeMap<NodeId, Arc<Node>>,
    evidence: BTreeMap<Arc<[NodeId]>, Arc<Evidence>>,
    members: BTreeSet<(NodeId, Arc<[NodeId]>)>,
    clusters: BTreeMap<ProfileHandle, Arc<Cluster>>,
    links: BTreeMap<NodeId, BTreeMap<Stamp, NodeId>>,
    streams: BTreeMap<StreamKey, (NameId, SetId)>,
    messages: BTreeMap<EventRef, String>,
    operations: BTreeMap<u64, Arc<Operation>>,
    remembered: BTreeSet<(Identifier, u32)>,
    next_node: u64,
    next_set: u64,
    next_profile: u64,
}

/// An identifier as [`Export`] shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExportedNode {
    /// Its first event, if any.
    pub first: Option<Stamp>,
    /// Contributes no edges.
    pub hub: bool,
    /// Contributes no edges; goes by timeline.
    pub shared: bool,
    /// By an operator.
    pub blocked: bool,
    /// Raised by deletions of its profile.
    pub generation: u32,
    /// Link rows: from when on whose device it is.
    pub links: Vec<(Stamp, Identifier)>,
}

/// A graph by identifier: equal for equal graphs, whatever the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// What is known of each identifier.
    pub nodes: BTreeMap<Identifier, ExportedNode>,
    /// The clusters: their identifiers, by the identifier that names the profile.
    pub clusters: BTreeMap<Identifier, BTreeSet<Identifier>>,
    /// The accepted edges.
    pub forest: BTreeSet<(Identifier, Identifier)>,
    /// The sets, with the first event of each.
    pub sets: BTreeMap<Vec<Identifier>, Stamp>,
}

impl MemoryGraph {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self { next_set: 1, ..Self::default() }
    }

    /// Adds a stream row, as the fold does after an event was observed; `order` tells arrivals apart.
    pub fn add_row(&mut self, stream: NodeId, at: &Stamp, set: SetId, order: u64) {
        let event = EventRef { position: Position(order), index: 0 };
        self.streams.insert((stream, at.ts, event), (NameId(0), set));
        self.messages.insert(event, at.message_id.clone());
    }

    /// The same for a message of the log, by where it stands there.
    pub fn add_message(&mut self, stream: NodeId, row: StreamRow, message_id: &str) {
        self.streams.insert((stream, row.ts, row.at), (row.name, row.set));
        self.messages.insert(row.at, message_id.to_owned());
    }

    /// Removes the stream row that [`Self::add_row`] added.
    pub fn remove_row(&mut self, stream: NodeId, at: &Stamp, order: u64) {
        self.streams.remove(&(stream, at.ts, EventRef { position: Position(order), index: 0 }));
    }

    /// Every stream row, with the message's id.
    pub fn rows(&self) -> impl Iterator<Item = (NodeId, StreamRow, &str)> {
        self.streams.iter().map(|((node, ts, at), (name, set))| {
            let row = StreamRow { ts: *ts, at: *at, name: *name, set: *set };
            (*node, row, self.messages.get(at).map_or("", String::as_str))
        })
    }

    /// All clusters, by handle.
    pub fn clusters(&self) -> impl Iterator<Item = (ProfileHandle, &Cluster)> {
        self.clusters.iter().map(|(handle, cluster)| (*handle, cluster.as_ref()))
    }

    /// All nodes, in order of number.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().map(|(node, record)| (*node, record.as_ref()))
    }

    /// All sets.
    pub fn sets(&self) -> impl Iterator<Item = (&[NodeId], &Evidence)> {
        self.evidence.iter().map(|(nodes, record)| (nodes.as_ref(), record.as_ref()))
    }

    /// All link rows, by device and in order.
    pub fn links(&self) -> impl Iterator<Item = (NodeId, &Stamp, NodeId)> {
        self.links.iter().flat_map(|(device, rows)| rows.iter().map(|(at, anchor)| (*device, at, *anchor)))
    }

    /// All accepted decisions.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values().map(AsRef::as_ref)
    }

    /// The identifier of a node.
    #[must_use]
    pub fn identifier(&self, node: NodeId) -> Option<&Identifier> {
        self.nodes.get(&node).map(|record| &record.id)
    }

    /// Every identifier that ever named a profile, with its generation.
    #[must_use]
    pub const fn remembered(&self) -> &BTreeSet<(Identifier, u32)> {
        &self.remembered
    }

    /// The graph by identifier. Identifiers that no event has are left out.
    #[must_use]
    pub fn export(&self) -> Export {
        let mut export = Export::default();
        let name = |node: &NodeId| self.identifier(*node).cloned().unwrap_or_else(|| Identifier::new("", ""));
        for (node, record) in self.nodes.iter().filter(|(_, record)| record.is_seen()) {
            let links =
                self.links.get(node).into_iter().flatten().map(|(at, anchor)| (at.clone(), name(anchor)));
            let exported = ExportedNode {
                first: Some(record.first()),
                hub: record.hub,
                shared: record.shared,
                blocked: record.blocked,
                generation: record.generation,
                links: links.collect(),
            };
            export.nodes.insert(record.id.clone(), exported);
        }
        for cluster in self.clusters.values() {
            let members = cluster.members.iter().map(|member| name(&member.node)).collect();
            export.clusters.insert(name(&cluster.anchor), members);
            export.forest.extend(cluster.forest.iter().map(|edge| (name(&edge.u), name(&edge.v))));
        }
        for (nodes, evidence) in &self.evidence {
            let first = Stamp::new(evidence.first_seen, &evidence.first_message);
            export.sets.insert(nodes.iter().map(name).collect(), first);
        }
        export
    }
}

impl Graph for MemoryGraph {
    type Error = Infallible;

    fn node_of(&mut self, id: &Identifier) -> Result<Option<NodeId>, Infallible> {
        Ok(self.idents.get(id).copied())
    }

    fn node(&mut self, node: NodeId) -> Result<Option<Arc<Node>>, Infallible> {
        Ok(self.nodes.get(&node).cloned())
    }

    fn put_node(&mut self, node: NodeId, record: Arc<Node>) -> Result<(), Infallible> {
        if !self.nodes.contains_key(&node) {
            self.idents.insert(record.id.clone(), node);
        }
        self.nodes.insert(node, record);
        Ok(())
    }

    fn evidence(&mut self, nodes: &[NodeId]) -> Result<Option<Arc<Evidence>>, Infallible> {
        Ok(self.evidence.get(nodes).cloned())
    }

    fn put_evidence(&mut self, nodes: &[NodeId], record: Evidence) -> Result<(), Infallible> {
        let set: Arc<[NodeId]> = nodes.into();
        if self.evidence.insert(set.clone(), Arc::new(record)).is_none() {
            self.members.extend(nodes.iter().map(|node| (*node, set.clone())));
        }
        Ok(())
    }

    fn remove_evidence(&mut self, nodes: &[NodeId]) -> Result<(), Infallible> {
        if let Some((set, _)) = self.evidence.remove_entry(nodes) {
            for node in nodes {
                self.members.remove(&(*node, set.clone()));
            }
        }
        Ok(())
    }

    fn sets_of(&mut self, node: NodeId, visit: &mut dyn FnMut(&[NodeId]) -> bool) -> Result<(), Infallible> {
        for (_, nodes) in self.members.range((node, Arc::default())..(NodeId(node.0 + 1), Arc::default())) {
            if !visit(nodes) {
                break;
            }
        }
        Ok(())
    }

    fn cluster(&mut self, profile: ProfileHandle) -> Result<Option<Arc<Cluster>>, Infallible> {
        Ok(self.clusters.get(&profile).cloned())
    }

    fn put_cluster(&mut self, profile: ProfileHandle, cluster: Cluster) -> Result<(), Infallible> {
        self.clusters.insert(profile, Arc::new(cluster));
        Ok(())
    }

    fn remove_cluster(&mut self, profile: ProfileHandle) -> Result<(), Infallible> {
        self.clusters.remove(&profile);
        Ok(())
    }

    fn link_at_or_before(&mut self, device: NodeId, at: &Stamp) -> Result<Option<Link>, Infallible> {
        let found = self.links.get(&device).and_then(|links| links.range(..=at).next_back());
        Ok(found.map(|(at, anchor)| Link { at: at.clone(), anchor: *anchor }))
    }

    fn link_after(&mut self, device: NodeId, at: &Stamp) -> Result<Option<Link>, Infallible> {
        use std::ops::Bound::{Excluded, Unbounded};
        let found = self.links.get(&device).and_then(|links| links.range((Excluded(at), Unbounded)).next());
        Ok(found.map(|(at, anchor)| Link { at: at.clone(), anchor: *anchor }))
    }

    fn put_link(&mut self, device: NodeId, link: &Link) -> Result<(), Infallible> {
        self.links.entry(device).or_default().insert(link.at.clone(), link.anchor);
        Ok(())
    }

    fn remove_link(&mut self, device: NodeId, at: &Stamp) -> Result<(), Infallible> {
        if let Some(links) = self.links.get_mut(&device) {
            links.remove(at);
        }
        Ok(())
    }

    fn stream(
        &mut self,
        node: NodeId,
        from: Timestamp,
        to: Timestamp,
        visit: &mut dyn FnMut(StreamRow) -> bool,
    ) -> Result<(), Infallible> {
        let last = EventRef { position: Position(u64::MAX), index: u16::MAX };
        for ((_, ts, at), (name, set)) in
            self.streams.range((node, from, EventRef::default())..=(node, to, last))
        {
            if !visit(StreamRow { ts: *ts, at: *at, name: *name, set: *set }) {
                break;
            }
        }
        Ok(())
    }

    fn message_id(&mut self, at: EventRef) -> Result<String, Infallible> {
        Ok(self.messages.get(&at).cloned().unwrap_or_default())
    }

    fn operation(&mut self, number: u64) -> Result<Option<Arc<Operation>>, Infallible> {
        Ok(self.operations.get(&number).cloned())
    }

    fn put_operation(&mut self, operation: Operation) -> Result<(), Infallible> {
        self.operations.insert(operation.number, Arc::new(operation));
        Ok(())
    }

    fn next_node(&mut self) -> NodeId {
        self.next_node += 1;
        NodeId(self.next_node)
    }

    fn next_set(&mut self) -> SetId {
        let set = SetId(self.next_set.max(1));
        self.next_set = set.0 + 1;
        set
    }

    fn next_profile(&mut self) -> ProfileHandle {
        self.next_profile += 1;
        ProfileHandle(self.next_profile)
    }

    fn remember(&mut self, _anchor: NodeId, record: &Node) -> Result<(), Infallible> {
        self.remembered.insert((record.id.clone(), record.generation));
        Ok(())
    }
}
