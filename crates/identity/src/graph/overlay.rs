//! A graph over another that keeps what is written to itself: what a step would do, without doing it.

use super::{Cluster, Evidence, Graph, Link, Node, Operation, Stamp, StreamRow};
use onefold_types::{EventRef, Identifier, NodeId, ProfileHandle, SetId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Numbers that the overlay gives begin here, after all that the graph below has given.
const FIRST: u64 = 1 << 62;

/// See the module. Streams and message ids are those of the graph below.
pub struct Overlay<'a, G> {
    below: &'a mut G,
    idents: BTreeMap<Identifier, NodeId>,
    nodes: BTreeMap<NodeId, Arc<Node>>,
    /// `None`: removed.
    evidence: BTreeMap<Vec<NodeId>, Option<Arc<Evidence>>>,
    /// `None`: removed.
    clusters: BTreeMap<ProfileHandle, Option<Arc<Cluster>>>,
    links: BTreeMap<NodeId, Links>,
    operations: BTreeMap<u64, Arc<Operation>>,
    next: u64,
}

/// A device's link rows.
#[derive(Default)]
struct Links {
    rows: BTreeMap<Stamp, NodeId>,
    /// Those of the graph below were copied, for one of them was removed.
    whole: bool,
}

impl<'a, G: Graph> Overlay<'a, G> {
    /// Nothing written yet.
    pub const fn new(below: &'a mut G) -> Self {
        Self {
            below,
            idents: BTreeMap::new(),
            nodes: BTreeMap::new(),
            evidence: BTreeMap::new(),
            clusters: BTreeMap::new(),
            links: BTreeMap::new(),
            operations: BTreeMap::new(),
            next: FIRST,
        }
    }

    const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl<G: Graph> Graph for Overlay<'_, G> {
    type Error = G::Error;

    fn node_of(&mut self, id: &Identifier) -> Result<Option<NodeId>, G::Error> {
        match self.idents.get(id) {
            Some(node) => Ok(Some(*node)),
            None => self.below.node_of(id),
        }
    }

    fn node(&mut self, node: NodeId) -> Result<Option<Arc<Node>>, G::Error> {
        match self.nodes.get(&node) {
            Some(record) => Ok(Some(record.clone())),
            None => self.below.node(node),
        }
    }

    fn put_node(&mut self, node: NodeId, record: Arc<Node>) -> Result<(), G::Error> {
        self.idents.insert(record.id.clone(), node);
        self.nodes.insert(node, record);
        Ok(())
    }

    fn evidence(&mut self, nodes: &[NodeId]) -> Result<Option<Arc<Evidence>>, G::Error> {
        match self.evidence.get(nodes) {
            Some(record) => Ok(record.clone()),
            None => self.below.evidence(nodes),
        }
    }

    fn put_evidence(&mut self, nodes: &[NodeId], record: Evidence) -> Result<(), G::Error> {
        self.evidence.insert(nodes.to_vec(), Some(Arc::new(record)));
        Ok(())
    }

    fn remove_evidence(&mut self, nodes: &[NodeId]) -> Result<(), G::Error> {
        self.evidence.insert(nodes.to_vec(), None);
        Ok(())
    }

    fn sets_of(&mut self, node: NodeId, visit: &mut dyn FnMut(&[NodeId]) -> bool) -> Result<(), G::Error> {
        let mut written: BTreeSet<&Vec<NodeId>> = self
            .evidence
            .iter()
            .filter(|(set, row)| row.is_some() && set.contains(&node))
            .map(|(set, _)| set)
            .collect();
        let mut stopped = false;
        let evidence = &self.evidence;
        self.below.sets_of(node, &mut |set| {
            while let Some(first) = written.first().filter(|first| first.as_slice() < set) {
                stopped = !visit(first);
                written.pop_first();
                if stopped {
                    return false;
                }
            }
            match evidence.get(set) {
                Some(None) => return true,
                Some(Some(_)) => drop(written.remove(&set.to_vec())),
                None => {}
            }
            stopped = !visit(set);
            !stopped
        })?;
        if !stopped {
            let _ = written.into_iter().all(|set| visit(set));
        }
        Ok(())
    }

    fn cluster(&mut self, profile: ProfileHandle) -> Result<Option<Arc<Cluster>>, G::Error> {
        match self.clusters.get(&profile) {
            Some(cluster) => Ok(cluster.clone()),
            None => self.below.cluster(profile),
        }
    }

    fn put_cluster(&mut self, profile: ProfileHandle, cluster: Cluster) -> Result<(), G::Error> {
        self.clusters.insert(profile, Some(Arc::new(cluster)));
        Ok(())
    }

    fn remove_cluster(&mut self, profile: ProfileHandle) -> Result<(), G::Error> {
        self.clusters.insert(profile, None);
        Ok(())
    }

    fn link_at_or_before(&mut self, device: NodeId, at: &Stamp) -> Result<Option<Link>, G::Error> {
        let links = self.links.get(&device);
        let here = links.and_then(|links| links.rows.range(..=at).next_back());
        let here = here.map(|(at, anchor)| Link { at: at.clone(), anchor: *anchor });
        if links.is_some_and(|links| links.whole) {
            return Ok(here);
        }
        let below = self.below.link_at_or_before(device, at)?;
        // At the same stamp what was written here counts.
        Ok(match (here, below) {
            (Some(here), Some(below)) => Some(if below.at > here.at { below } else { here }),
            (here, below) => here.or(below),
        })
    }

    fn link_after(&mut self, device: NodeId, at: &Stamp) -> Result<Option<Link>, G::Error> {
        use std::ops::Bound::{Excluded, Unbounded};
        let links = self.links.get(&device);
        let here = links.and_then(|links| links.rows.range((Excluded(at), Unbounded)).next());
        let here = here.map(|(at, anchor)| Link { at: at.clone(), anchor: *anchor });
        if links.is_some_and(|links| links.whole) {
            return Ok(here);
        }
        let below = self.below.link_after(device, at)?;
        Ok(match (here, below) {
            (Some(here), Some(below)) => Some(if below.at < here.at { below } else { here }),
            (here, below) => here.or(below),
        })
    }

    fn put_link(&mut self, device: NodeId, link: &Link) -> Result<(), G::Error> {
        self.links.entry(device).or_default().rows.insert(link.at.clone(), link.anchor);
        Ok(())
    }

    fn remove_link(&mut self, device: NodeId, at: &Stamp) -> Result<(), G::Error> {
        let links = self.links.entry(device).or_default();
        if !links.whole {
            // A row below can only be hidden by leaving them all behind: there is no asking for the row before it.
            let mut last = Stamp::least();
            let mut next = self.below.link_at_or_before(device, &last)?;
            if next.is_none() {
                next = self.below.link_after(device, &last)?;
            }
            while let Some(link) = next {
                last = link.at.clone();
                links.rows.entry(link.at).or_insert(link.anchor);
                next = self.below.link_after(device, &last)?;
            }
            links.whole = true;
        }
        links.rows.remove(at);
        Ok(())
    }

    fn stream(
        &mut self,
        node: NodeId,
        from: Timestamp,
        to: Timestamp,
        visit: &mut dyn FnMut(StreamRow) -> bool,
    ) -> Result<(), G::Error> {
        self.below.stream(node, from, to, visit)
    }

    fn message_id(&mut self, at: EventRef) -> Result<String, G::Error> {
        self.below.message_id(at)
    }

    fn operation(&mut self, number: u64) -> Result<Option<Arc<Operation>>, G::Error> {
        match self.operations.get(&number) {
            Some(operation) => Ok(Some(operation.clone())),
            None => self.below.operation(number),
        }
    }

    fn put_operation(&mut self, operation: Operation) -> Result<(), G::Error> {
        self.operations.insert(operation.number, Arc::new(operation));
        Ok(())
    }

    fn next_node(&mut self) -> NodeId {
        NodeId(self.number())
    }

    fn next_set(&mut self) -> SetId {
        SetId(self.number())
    }

    fn next_profile(&mut self) -> ProfileHandle {
        ProfileHandle(self.number())
    }

    fn remember(&mut self, _anchor: NodeId, _record: &Node) -> Result<(), G::Error> {
        Ok(())
    }
}
