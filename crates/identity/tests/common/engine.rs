//! The engine as a resolver: events one at a time into a graph in memory, then the decisions.

use super::Resolver;
use onefold_identity::engine::{NoOwner, Owner, decide, observe, owner_of};
use onefold_identity::graph::{MemoryGraph, Stamp};
use onefold_identity::oracle::{Cluster, Edge, NoOwnerReason, OracleEvent, OracleOwner, Resolution};
use onefold_identity::rules::Rules;
use onefold_types::NodeId;
use onefold_types::decision::Decision;
use onefold_types::workspace::IdentityConfig;
use std::collections::BTreeSet;

/// See the module.
pub struct EngineResolver;

/// A graph in memory with the events that it took, so that their owners can be asked for.
#[derive(Clone, Default)]
pub struct Folded {
    /// The graph.
    pub graph: MemoryGraph,
    taken: Vec<Taken>,
    order: u64,
}

#[derive(Clone)]
struct Taken {
    at: Stamp,
    set: Vec<NodeId>,
}

impl Folded {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self { graph: MemoryGraph::new(), ..Self::default() }
    }

    /// Folds one event; a message id that was seen changes nothing.
    pub fn event(&mut self, rules: &Rules, event: &OracleEvent) {
        if self.taken.iter().any(|known| known.at.message_id == event.message_id) {
            return;
        }
        let ids = rules.usable(&event.ids).ids;
        let at = Stamp::new(event.ts, &event.message_id);
        let observed = observe(rules, &mut self.graph, &ids, event.ts, &event.message_id).unwrap();
        self.order += 1;
        if let Some(stream) = observed.stream {
            self.graph.add_row(stream, &at, observed.set, self.order);
        }
        let set = ids
            .iter()
            .map(|id| onefold_identity::graph::Graph::node_of(&mut self.graph, id).unwrap().unwrap());
        let set = set.collect();
        self.taken.push(Taken { at, set });
    }

    /// Takes a decision; whether it was accepted.
    pub fn decide(&mut self, rules: &Rules, number: u64, decision: &Decision) -> bool {
        // A refused decision may leave traces of having been tried in the graph that was handed to it.
        let mut tried = self.graph.clone();
        let accepted = decide(rules, &mut tried, number, decision).unwrap().is_ok();
        if accepted {
            self.graph = tried;
        }
        accepted
    }

    /// What the graph says now.
    pub fn resolution(&mut self, rules: &Rules) -> Resolution {
        let export = self.graph.export();
        let mut resolution = Resolution::default();
        for (anchor, members) in export.clusters {
            resolution.profile_anchor.insert(members.clone(), anchor);
            resolution.clusters.insert(members);
        }
        for (id, node) in export.nodes.into_iter().filter(|(_, node)| !node.blocked) {
            if node.hub {
                resolution.hubs.insert(id.clone());
            }
            if node.shared {
                resolution.shared.insert(id);
            }
        }
        resolution.edges.accepted =
            export.forest.into_iter().map(|(u, v)| Edge { u, v, operation: None }).collect();
        for taken in self.taken.clone() {
            let owner = match owner_of(rules, &mut self.graph, &taken.set, &taken.at).unwrap() {
                Owner::Profile(handle) => {
                    let cluster = self.cluster(handle);
                    resolution.persons.insert(cluster.clone());
                    OracleOwner::Cluster(cluster)
                }
                Owner::None(NoOwner::Hub) => OracleOwner::None(NoOwnerReason::Hub),
                Owner::None(NoOwner::NoUsableId) => OracleOwner::None(NoOwnerReason::NoUsableId),
            };
            resolution.owner.insert(taken.at.message_id, owner);
        }
        resolution
    }

    fn cluster(&self, handle: onefold_types::ProfileHandle) -> Cluster {
        let (_, found) =
            self.graph.clusters().find(|(known, _)| *known == handle).expect("a cluster of that handle");
        let name = |node| self.graph.identifier(node).expect("an identifier of that node").clone();
        found.members.iter().map(|member| name(member.node)).collect::<BTreeSet<_>>()
    }
}

impl Resolver for EngineResolver {
    fn name(&self) -> &'static str {
        "engine"
    }

    fn resolve(
        &mut self,
        events: &[OracleEvent],
        operations: &[(u64, Decision)],
        config: &IdentityConfig,
    ) -> Resolution {
        let rules = Rules::compile(config).unwrap();
        let mut folded = Folded::new();
        for event in events {
            folded.event(&rules, event);
        }
        for (number, decision) in operations {
            assert!(
                folded.decide(&rules, *number, decision),
                "the engine refuses decision {number}: {decision:?}"
            );
        }
        folded.resolution(&rules)
    }
}
