//! The engine over a [`MemoryGraph`], driven as the fold drives it, and read back in the oracle's words.
#![allow(dead_code, reason = "each test file uses a part of it")]

use onefold_identity::engine::{
    Changes, NoOwner, Observed, Owner, Refusal, decide, forget_message, forget_profile, observe,
    owned_ranges, owner_of, take,
};
use onefold_identity::graph::{Graph, MemoryGraph, Stamp};
use onefold_identity::oracle::{Cluster, Edge, NoOwnerReason, OracleEvent, OracleOwner, Resolution};
use onefold_identity::rules::Rules;
use onefold_types::decision::Decision;
use onefold_types::{Identifier, NodeId, ProfileHandle, SetId};
use std::collections::{BTreeMap, BTreeSet};

/// An event that was folded.
#[derive(Clone, Debug)]
pub struct Folded {
    pub event: OracleEvent,
    pub ids: Vec<Identifier>,
    /// Stream, set, arrival.
    row: Option<(NodeId, SetId, u64)>,
}

impl Folded {
    fn at(&self) -> Stamp {
        Stamp::new(self.event.ts, &self.event.message_id)
    }
}

/// See the module.
#[derive(Clone)]
pub struct Engine {
    pub rules: Rules,
    pub graph: MemoryGraph,
    pub folded: Vec<Folded>,
    /// Ids of messages that were ever seen; deleted ones stay (tombstones).
    seen: BTreeSet<String>,
    arrivals: u64,
}

/// Which messages each profile owns.
pub type Owned = BTreeMap<ProfileHandle, BTreeSet<String>>;

impl Engine {
    pub fn new(rules: &Rules) -> Self {
        Self {
            rules: rules.clone(),
            graph: MemoryGraph::new(),
            folded: Vec::new(),
            seen: BTreeSet::new(),
            arrivals: 0,
        }
    }

    /// Folds an event; `None` if its message id was seen before.
    pub fn observe(&mut self, event: &OracleEvent) -> Option<Observed> {
        if !self.seen.insert(event.message_id.clone()) {
            return None;
        }
        let ids = self.rules.usable(&event.ids).ids;
        let Ok(observed) = observe(&self.rules, &mut self.graph, &ids, event.ts, &event.message_id);
        self.arrivals += 1;
        let row = observed.stream.map(|stream| (stream, observed.set, self.arrivals));
        let folded = Folded { event: event.clone(), ids, row };
        if let Some((stream, set, order)) = row {
            self.graph.add_row(stream, &folded.at(), set, order);
        }
        self.folded.push(folded);
        Some(observed)
    }

    /// Takes a decision as the fold does, deletions included.
    pub fn decide(&mut self, number: u64, decision: &Decision) -> Result<Changes, Refusal> {
        match decision {
            Decision::DeleteMessage { message_id } => Ok(self.delete_message(message_id)),
            Decision::DeleteProfile { id } => {
                let known = self.handle_of(id);
                Ok(known.map_or_else(Changes::default, |profile| self.delete_profile(profile)))
            }
            decision => {
                let Ok(answer) = decide(&self.rules, &mut self.graph, number, decision);
                answer
            }
        }
    }

    /// Takes a decision that was accepted before, as a replay does; deletions are made of the evidence.
    pub fn take(&mut self, number: u64, decision: &Decision) -> Changes {
        let Ok(changes) = take(&self.rules, &mut self.graph, number, decision);
        changes
    }

    pub fn delete_message(&mut self, message_id: &str) -> Changes {
        let Some(index) = self.folded.iter().position(|folded| folded.event.message_id == message_id) else {
            return Changes::default();
        };
        let gone = self.folded.remove(index);
        self.remove_row(&gone);
        let Ok(changes) = forget_message(&self.rules, &mut self.graph, &gone.ids, gone.event.ts, message_id);
        changes
    }

    pub fn delete_profile(&mut self, profile: ProfileHandle) -> Changes {
        let mine = self.owned().remove(&profile).unwrap_or_default();
        let (gone, kept) = std::mem::take(&mut self.folded)
            .into_iter()
            .partition(|folded| mine.contains(&folded.event.message_id));
        self.folded = kept;
        let gone: Vec<Folded> = gone;
        for folded in &gone {
            self.remove_row(folded);
        }
        let Ok(changes) = forget_profile(&self.rules, &mut self.graph, profile);
        changes
    }

    fn remove_row(&mut self, folded: &Folded) {
        if let Some((stream, _, order)) = folded.row {
            self.graph.remove_row(stream, &folded.at(), order);
        }
    }

    pub fn handle_of(&mut self, id: &Identifier) -> Option<ProfileHandle> {
        let Ok(node) = self.graph.node_of(id);
        let Ok(record) = self.graph.node(node?);
        let handle = record?.cluster;
        let Ok(cluster) = self.graph.cluster(handle);
        cluster.map(|_| handle)
    }

    pub fn members(&mut self, profile: ProfileHandle) -> Cluster {
        let Ok(cluster) = self.graph.cluster(profile);
        let members = cluster.iter().flat_map(|cluster| &cluster.members);
        members.filter_map(|member| self.graph.identifier(member.node)).cloned().collect()
    }

    pub fn handles(&self) -> Vec<ProfileHandle> {
        self.graph.clusters().map(|(handle, _)| handle).collect()
    }

    /// Which messages each profile owns, by ranges of stream rows; fails if two ranges hold one row.
    pub fn owned(&mut self) -> Owned {
        let mut owned = Owned::new();
        let mut once = BTreeSet::new();
        for profile in self.handles() {
            let Ok(ranges) = owned_ranges(&self.rules, &mut self.graph, profile);
            let mut messages = BTreeSet::new();
            for range in &ranges {
                for (stream, row, message_id) in self.graph.rows() {
                    if stream == range.stream && range.takes(row.set) && range.contains(row.ts, message_id) {
                        assert!(once.insert(message_id.to_owned()), "I13: {message_id} is owned twice");
                        messages.insert(message_id.to_owned());
                    }
                }
            }
            owned.insert(profile, messages);
        }
        owned
    }

    /// The owner of each folded event, asked one by one.
    pub fn owners(&mut self) -> BTreeMap<String, OracleOwner> {
        let mut owners = BTreeMap::new();
        for folded in self.folded.clone() {
            let nodes = folded.ids.iter().filter_map(|id| {
                let Ok(node) = self.graph.node_of(id);
                node
            });
            let nodes: Vec<NodeId> = nodes.collect();
            let Ok(owner) = owner_of(&self.rules, &mut self.graph, &nodes, &folded.at());
            let owner = match owner {
                Owner::Profile(profile) => OracleOwner::Cluster(self.members(profile)),
                Owner::None(NoOwner::Hub) => OracleOwner::None(NoOwnerReason::Hub),
                Owner::None(NoOwner::NoUsableId) => OracleOwner::None(NoOwnerReason::NoUsableId),
            };
            owners.insert(folded.event.message_id, owner);
        }
        owners
    }

    /// The state as the oracle says it. Rejected edges are not kept by the engine; accepted ones come in no order.
    pub fn resolution(&mut self) -> Resolution {
        let mut resolution = Resolution::default();
        let export = self.graph.export();
        for (id, node) in &export.nodes {
            if node.hub && !node.blocked {
                resolution.hubs.insert(id.clone());
            }
            if node.shared && !node.blocked {
                resolution.shared.insert(id.clone());
            }
        }
        for (anchor, cluster) in export.clusters {
            resolution.clusters.insert(cluster.clone());
            resolution.profile_anchor.insert(cluster, anchor);
        }
        for (_, cluster) in self.graph.clusters() {
            for edge in &cluster.forest {
                if let (Some(u), Some(v)) = (self.graph.identifier(edge.u), self.graph.identifier(edge.v)) {
                    let operation = (edge.key.operation != u64::MAX).then_some(edge.key.operation);
                    resolution.edges.accepted.push(Edge { u: u.clone(), v: v.clone(), operation });
                }
            }
        }
        resolution.owner = self.owners();
        for owner in resolution.owner.values() {
            if let OracleOwner::Cluster(cluster) = owner {
                resolution.persons.insert(cluster.clone());
            }
        }
        resolution
    }
}
