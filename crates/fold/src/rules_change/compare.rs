//! What differs between the graph in force and a shadow: who is one, who is several, whose each message is.

use super::Shadow;
use crate::batch::Batch;
use crate::error::Error;
use crate::rows;
use onefold_identity::comparison::{Comparison, Partition, compare};
use onefold_identity::engine::{Owner, owner_of, owner_varies};
use onefold_identity::graph::{Cluster, Graph, NO_CLUSTER, Stamp, StreamRow};
use onefold_identity::rules::Rules;
use onefold_store::{Direction, KeyRange, Table};
use onefold_types::{EventRef, Identifier, NodeId, ProfileHandle, SetId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Examples that a preview names of each kind.
const EXAMPLES: usize = 20;

/// Profiles that become one, or one that becomes several; each named by the identifier that its profile id is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Before.
    pub from: Vec<Identifier>,
    /// After.
    pub into: Vec<Identifier>,
}

/// What a change of rules would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// Profiles now, those that own no event included.
    pub profiles_before: usize,
    /// Profiles afterwards.
    pub profiles_after: usize,
    /// Profiles that would come of several.
    pub merges: usize,
    /// Some of them.
    pub merge_examples: Vec<Example>,
    /// Profiles that would become several.
    pub splits: usize,
    /// Some of them.
    pub split_examples: Vec<Example>,
    /// Messages that would be another profile's, or no one's, or no longer no one's.
    pub moved_messages: usize,
    /// Identifiers that would count no more.
    pub dropped_identifiers: usize,
    /// Identifiers that would begin to count.
    pub gained_identifiers: usize,
}

/// The numbers that nodes and profiles of a shadow have in the state.
pub(super) struct Numbers {
    pub(super) nodes: HashMap<NodeId, NodeId>,
    pub(super) profiles: HashMap<ProfileHandle, ProfileHandle>,
    /// Nodes that the state did not know.
    pub(super) new_nodes: Vec<(NodeId, Identifier)>,
}

impl Numbers {
    pub(super) fn node(&self, node: NodeId) -> NodeId {
        self.nodes.get(&node).copied().unwrap_or(node)
    }

    pub(super) fn profile(&self, profile: ProfileHandle) -> ProfileHandle {
        self.profiles.get(&profile).copied().unwrap_or(NO_CLUSTER)
    }
}

/// What differs.
pub(super) struct Difference {
    pub(super) people: Comparison,
    /// Profiles, by the numbers of the state, of which a message went or to which one came.
    pub(super) changed: BTreeSet<ProfileHandle>,
    pub(super) moved: usize,
}

/// Whose a set's messages are.
#[derive(Clone, Copy)]
enum Whose {
    /// The same whenever.
    Always(Option<ProfileHandle>),
    /// A device that goes by timeline is in it.
    ByTime,
}

impl Batch<'_> {
    /// What would become of everybody.
    pub(crate) fn preview(&mut self, shadow: &mut Shadow) -> Result<Preview, Error> {
        let clusters = self.all_clusters()?;
        let numbers = self.numbers(shadow, &clusters, 1 << 62, 1 << 62)?;
        let rules = self.compiled.clone();
        let difference = self.difference(shadow, &numbers, &clusters, &rules.rules)?;
        let people = &difference.people;
        let new: HashMap<NodeId, &Identifier> =
            numbers.new_nodes.iter().map(|(node, id)| (*node, id)).collect();
        let mut named = |nodes: &mut dyn Iterator<Item = NodeId>| -> Result<Vec<Identifier>, Error> {
            let mut names = Vec::new();
            for node in nodes {
                let known = match new.get(&node) {
                    Some(id) => Some((*id).clone()),
                    None => self.node(node)?.map(|record| record.id.clone()),
                };
                names.extend(known);
            }
            Ok(names)
        };
        let mut preview = Preview {
            profiles_before: people.before,
            profiles_after: people.after,
            merges: people.merged.len(),
            splits: people.split.len(),
            moved_messages: difference.moved,
            dropped_identifiers: people.dropped,
            gained_identifiers: people.gained,
            ..Preview::default()
        };
        for (into, from) in people.merged.iter().take(EXAMPLES) {
            let from = named(&mut from.iter().copied())?;
            preview.merge_examples.push(Example { from, into: named(&mut [*into].into_iter())? });
        }
        for (from, into) in people.split.iter().take(EXAMPLES) {
            let into = named(&mut into.iter().copied())?;
            preview.split_examples.push(Example { from: named(&mut [*from].into_iter())?, into });
        }
        Ok(preview)
    }

    pub(super) fn all_clusters(&self) -> Result<BTreeMap<ProfileHandle, Cluster>, Error> {
        let mut found = BTreeMap::new();
        let mut failed = None;
        self.txn.scan(Table::Cluster, &KeyRange::prefix(&[]), Direction::Forward, &mut |key, value| {
            match (rows::number_from("cluster", key), rows::decode::<Cluster>("cluster", value)) {
                (Ok(handle), Ok(cluster)) => drop(found.insert(ProfileHandle(handle), cluster)),
                (Err(error), _) | (_, Err(error)) => failed = Some(error),
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(found), Err)
    }

    /// The numbers that the shadow's nodes and profiles have or get: a node keeps that of its identifier, a profile that
    /// of the one with the same profile id. New ones are numbered in order of identifier, whoever made the shadow and
    /// when.
    pub(super) fn numbers(
        &self,
        shadow: &Shadow,
        clusters: &BTreeMap<ProfileHandle, Cluster>,
        mut next_node: u64,
        mut next_profile: u64,
    ) -> Result<Numbers, Error> {
        let mut nodes = HashMap::new();
        let mut unknown = BTreeMap::new();
        for (number, record) in shadow.graph.nodes() {
            match self.txn.get(Table::Ident, &rows::ident_key(&record.id.id_type, &record.id.value))? {
                Some(bytes) => {
                    let ident: crate::memory::Ident = rows::decode("ident", &bytes)?;
                    nodes.insert(number, ident.0);
                }
                None => drop(unknown.insert(&record.id, number)),
            }
        }
        let mut new_nodes = Vec::with_capacity(unknown.len());
        for (id, number) in unknown {
            nodes.insert(number, NodeId(next_node));
            new_nodes.push((NodeId(next_node), id.clone()));
            next_node += 1;
        }
        let by_anchor: HashMap<NodeId, ProfileHandle> =
            clusters.iter().map(|(handle, cluster)| (cluster.anchor, *handle)).collect();
        let anchors =
            shadow.graph.clusters().map(|(handle, cluster)| (nodes.get(&cluster.anchor).copied(), handle));
        let anchors: BTreeMap<Option<NodeId>, ProfileHandle> = anchors.collect();
        let mut profiles = HashMap::new();
        for (anchor, handle) in anchors {
            let known = anchor.and_then(|anchor| by_anchor.get(&anchor)).copied();
            profiles.insert(
                handle,
                known.unwrap_or_else(|| {
                    next_profile += 1;
                    ProfileHandle(next_profile - 1)
                }),
            );
        }
        Ok(Numbers { nodes, profiles, new_nodes })
    }

    /// Who is whose before and after, and the profiles whose messages are others.
    pub(super) fn difference(
        &mut self,
        shadow: &mut Shadow,
        numbers: &Numbers,
        clusters: &BTreeMap<ProfileHandle, Cluster>,
        rules: &Rules,
    ) -> Result<Difference, Error> {
        let before: Partition = clusters
            .values()
            .flat_map(|cluster| cluster.members.iter().map(|member| (member.node, cluster.anchor)))
            .collect();
        let after: Partition = shadow
            .graph
            .clusters()
            .flat_map(|(_, cluster)| {
                let anchor = numbers.node(cluster.anchor);
                cluster.members.iter().map(move |member| (numbers.node(member.node), anchor))
            })
            .collect();
        let mut owners_before = self.owners_before(rules)?;
        let mut difference =
            Difference { people: compare(&before, &after), changed: BTreeSet::new(), moved: 0 };
        let mut moves = |old: Option<ProfileHandle>, new: Option<ProfileHandle>| {
            if old != new {
                difference.moved += 1;
                difference.changed.extend(old.into_iter().chain(new));
            }
        };
        let sets: HashMap<SetId, Vec<NodeId>> =
            shadow.graph.sets().map(|(nodes, evidence)| (evidence.set, nodes.to_vec())).collect();
        let rows: Vec<(NodeId, StreamRow)> =
            shadow.graph.rows().map(|(stream, row, _)| (stream, row)).collect();
        let mut known = HashMap::new();
        for (stream, row) in rows {
            let new = if let Some(Whose::Always(owner)) = known.get(&(stream, row.set)) {
                *owner
            } else {
                let alone = [stream];
                let set = sets.get(&row.set).map_or(&alone[..], Vec::as_slice);
                let Ok(message_id) = shadow.graph.message_id(row.at);
                let stamp = Stamp::new(row.ts, &message_id);
                let Ok(owner) = owner_of(&shadow.rules, &mut shadow.graph, set, &stamp);
                let owner = profile(owner);
                let Ok(varies) = owner_varies(&shadow.rules, &mut shadow.graph, set);
                known.insert((stream, row.set), if varies { Whose::ByTime } else { Whose::Always(owner) });
                owner
            };
            let old = owners_before.remove(&row.at).flatten();
            moves(old, new.map(|handle| numbers.profile(handle)));
        }
        // A message that has no identifier left is no one's.
        owners_before.into_values().for_each(|old| moves(old, None));
        Ok(difference)
    }

    /// Whose each message is under the rules in force.
    fn owners_before(&mut self, rules: &Rules) -> Result<BTreeMap<EventRef, Option<ProfileHandle>>, Error> {
        let sets = self.sets()?;
        let mut rows = Vec::new();
        self.all_rows(&mut |stream, row| rows.push((stream, row.ts, row.at, row.set)))?;
        let mut owners = BTreeMap::new();
        let mut known: HashMap<(NodeId, SetId), Whose> = HashMap::new();
        for (stream, ts, at, set) in rows {
            let owner = if let Some(Whose::Always(owner)) = known.get(&(stream, set)) {
                *owner
            } else {
                let alone = [stream];
                let nodes = sets.get(&set).map_or(&alone[..], Vec::as_slice);
                let varies = owner_varies(rules, self, nodes)?;
                let message_id = if varies { self.message_id(at)? } else { String::new() };
                let owner = profile(owner_of(rules, self, nodes, &Stamp::new(ts, &message_id))?);
                known.insert((stream, set), if varies { Whose::ByTime } else { Whose::Always(owner) });
                owner
            };
            owners.insert(at, owner);
            self.memory.relax();
        }
        Ok(owners)
    }
}

fn profile(owner: Owner) -> Option<ProfileHandle> {
    match owner {
        Owner::Profile(handle) => Some(handle),
        Owner::None(_) => None,
    }
}
