//! The exchange of the graph in force for a shadow, in the transaction of the record that changes the rules.
//!
//! The tables are compared row by row with what they shall hold, and only what differs is written. Whoever owns other
//! messages than before is rebuilt, and settling finds what that changes; whoever is gone leaves their audiences.

use super::Shadow;
use super::compare::Numbers;
use super::shadow::named_here;
use crate::batch::Batch;
use crate::error::Error;
use crate::graph::operation_key;
use crate::memory::Ident;
use crate::rows;
use onefold_identity::engine::Transition;
use onefold_identity::graph::{
    Cluster, Evidence, ForestEdge, Graph, Link, Member, NO_CLUSTER, Node, Operation, SeenWith,
};
use onefold_identity::rules::{Rules, profile_id};
use onefold_store::{Bytes, Direction, KeyRange, Table};
use onefold_types::effect::Cause;
use onefold_types::workspace::IdentityConfig;
use onefold_types::{NodeId, Position, ProfileHandle, SetId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What a table shall hold, in order of key.
type Rows = BTreeMap<Bytes, Bytes>;

impl Batch<'_> {
    /// Makes the graph that `identity` gives the one in force; `old` are the rules it was made by, `until` where the
    /// record stands that says so.
    pub(crate) fn change_rules(
        &mut self,
        old: &Rules,
        identity: &IdentityConfig,
        until: Position,
    ) -> Result<(), Error> {
        self.memory.flush_graph(self.txn.as_mut())?;
        let compiled = self.compiled.clone();
        let known = self.memory.prepared.take(identity);
        let mut shadow = self.shadow(identity, &compiled.rules, known, until)?;
        let clusters = self.all_clusters()?;
        let counters = &self.memory.counters;
        let numbers = self.numbers(&shadow, &clusters, counters.next_node, counters.next_profile)?;
        let difference = self.difference(&mut shadow, &numbers, &clusters, old)?;
        let gone: Vec<ProfileHandle> = {
            let kept: HashSet<&ProfileHandle> = numbers.profiles.values().collect();
            clusters.keys().filter(|handle| !kept.contains(handle)).copied().collect()
        };
        let mut others = others(&shadow, &numbers, &clusters);
        for node in self.carriers()? {
            others.extend(self.node(node)?.map(|record| record.cluster).filter(|it| *it != NO_CLUSTER));
        }
        // Before they are others, everyone is told what the definitions in force made of them at the cut.
        for handle in difference.changed.iter().chain(&others) {
            self.catch_up(*handle)?;
        }
        self.memory.flush_graph(self.txn.as_mut())?;
        let cause = Cause::Rules { version: compiled.catalogue.version.0 };
        for handle in others {
            if let Some(cluster) = clusters.get(&handle) {
                self.becomes_other(handle, cluster.clone())?;
            }
        }
        self.renames.because(&cause);
        self.exchange(&shadow, &numbers)?;
        let handles: HashMap<NodeId, ProfileHandle> = shadow
            .graph
            .clusters()
            .map(|(handle, cluster)| (numbers.node(cluster.anchor), numbers.profile(handle)))
            .collect();
        let before: HashMap<NodeId, ProfileHandle> =
            clusters.iter().map(|(handle, cluster)| (cluster.anchor, *handle)).collect();
        for (into, from) in &difference.people.merged {
            let Some(&into) = handles.get(into) else { continue };
            for from in from.iter().filter_map(|anchor| before.get(anchor)).filter(|from| **from != into) {
                self.keep_transition(&Transition::Merged { from: *from, into }, &cause)?;
                self.absorb_lane(into, *from)?;
            }
        }
        for (from, into) in &difference.people.split {
            let Some(&from) = before.get(from) else { continue };
            let into: Vec<ProfileHandle> =
                into.iter().filter_map(|anchor| handles.get(anchor)).copied().collect();
            self.came_of(from, &into)?;
            self.keep_transition(&Transition::Split { from, into }, &cause)?;
        }
        let mut changed = difference.changed;
        let mut clusters = clusters;
        for handle in gone {
            changed.insert(handle);
            if let Some(cluster) = clusters.remove(&handle) {
                self.removed.insert(handle, cluster.into());
            }
        }
        for handle in changed.into_iter().filter(|handle| *handle != NO_CLUSTER) {
            let touch = self.touched.entry(handle).or_default();
            touch.rebuild = true;
            touch.because(cause.clone());
        }
        Ok(())
    }

    fn keep_transition(&mut self, transition: &Transition, cause: &Cause) -> Result<(), Error> {
        self.note_transition(transition);
        self.keep(transition, cause)
    }

    /// What waits to be sent of a profile that another takes over goes before what is sent of the other.
    fn absorb_lane(&mut self, into: ProfileHandle, from: ProfileHandle) -> Result<(), Error> {
        let Some(gone) = self.memory.profiles.get(self.txn.as_ref(), &from)? else { return Ok(()) };
        for lane in gone.absorbed.iter().chain([&from]) {
            self.renames.goes_before(*lane, into);
        }
        Ok(())
    }

    fn exchange(&mut self, shadow: &Shadow, numbers: &Numbers) -> Result<(), Error> {
        self.memory.counters.next_node += numbers.new_nodes.len() as u64;
        let next = numbers.profiles.values().map(|handle| handle.0 + 1).max();
        self.memory.counters.next_profile = self.memory.counters.next_profile.max(next.unwrap_or_default());
        for (node, id) in &numbers.new_nodes {
            self.compare_spelling(id)?;
            let key = rows::ident_key(&id.id_type, &id.value);
            self.txn.put(Table::Ident, key, rows::encode(&Ident(*node))?);
        }
        let nodes = self.node_rows(shadow, numbers)?;
        self.replace(Table::Node, nodes)?;
        let mut clusters = Rows::new();
        for (handle, cluster) in shadow.graph.clusters() {
            let key = rows::number_key(numbers.profile(handle).0);
            clusters.insert(key, rows::encode(&cluster_in(cluster, numbers))?);
        }
        self.replace(Table::Cluster, clusters)?;
        let sets = self.exchange_sets(shadow, numbers)?;
        let mut links = Rows::new();
        for (device, at, anchor) in shadow.graph.links() {
            let key = rows::devlink_key(numbers.node(device), at.ts, &at.message_id);
            links.insert(key, rows::number_key(numbers.node(anchor).0));
        }
        self.replace(Table::Devlink, links)?;
        let names = self.names_of(shadow)?;
        let mut streams = Rows::new();
        for (stream, row, _) in shadow.graph.rows() {
            let set = sets.get(&row.set).copied().unwrap_or_default();
            let name = named_here(row.name).map_or(Some(row.name), |place| names.get(place).copied());
            let name = name.unwrap_or_default();
            let key = rows::stream_key(numbers.node(stream), row.ts, row.at);
            streams.insert(key, rows::stream_value(name, set));
        }
        self.replace(Table::Stream, streams)?;
        for operation in shadow.graph.operations() {
            let operation =
                Operation { a: numbers.node(operation.a), b: numbers.node(operation.b), ..operation.clone() };
            self.txn.put(Table::Decision, operation_key(operation.number), rows::encode(&operation)?);
        }
        for (id, generation) in shadow.graph.remembered() {
            let ident = self.txn.get(Table::Ident, &rows::ident_key(&id.id_type, &id.value))?;
            if let Some(ident) = ident {
                let node = rows::decode::<Ident>("ident", &ident)?.0;
                let id = profile_id(self.setting.secret, id, *generation);
                self.txn.put(Table::ProfileId, id.into_bytes(), rows::number_key(node.0));
            }
        }
        self.memory.clear_graph();
        self.carry_keys()
    }

    /// The shadow's nodes; and of those that the new rules do not know, that they were there and how often they began.
    fn node_rows(&mut self, shadow: &Shadow, numbers: &Numbers) -> Result<Rows, Error> {
        let mut nodes = Rows::new();
        for (number, record) in shadow.graph.nodes() {
            let key = rows::number_key(numbers.node(number).0);
            nodes.insert(key, rows::encode(&node_in(record, numbers))?);
        }
        let mut unknown = Vec::new();
        self.txn.scan(Table::Node, &KeyRange::prefix(&[]), Direction::Forward, &mut |key, value| {
            if !nodes.contains_key(key) {
                unknown.push((Bytes::from(key), rows::decode::<Node>("node", value)));
            }
            true
        })?;
        for (key, record) in unknown {
            let record = record?;
            let blank = Node { generation: record.generation, ..Node::unseen(record.id) };
            nodes.insert(key, rows::encode(&blank)?);
        }
        Ok(nodes)
    }

    /// Exchanges the sets; answers with the numbers that the shadow's have. A set that is known keeps its own.
    fn exchange_sets(&mut self, shadow: &Shadow, numbers: &Numbers) -> Result<HashMap<SetId, SetId>, Error> {
        let mut sets: BTreeMap<Vec<NodeId>, &Evidence> = BTreeMap::new();
        for (nodes, evidence) in shadow.graph.sets() {
            sets.insert(nodes.iter().map(|node| numbers.node(*node)).collect(), evidence);
        }
        let (mut evidence_rows, mut members) = (Rows::new(), Rows::new());
        let mut mapped = HashMap::from([(SetId(0), SetId(0))]);
        for (nodes, evidence) in sets {
            let key = rows::set_key(&nodes);
            let set = match self.txn.get(Table::Evidence, &key)? {
                Some(bytes) => rows::decode::<rows::SetRow>("evidence", &bytes)?.evidence.set,
                None => {
                    self.memory.counters.next_set += 1;
                    SetId(self.memory.counters.next_set - 1)
                }
            };
            mapped.insert(evidence.set, set);
            members.extend(nodes.iter().map(|node| (rows::member_key(*node, &key), Bytes::default())));
            let row = rows::SetRow { nodes, evidence: Evidence { set, ..evidence.clone() } };
            evidence_rows.insert(key.into(), rows::encode(&row)?);
        }
        self.replace(Table::Evidence, evidence_rows)?;
        self.replace(Table::Member, members)?;
        Ok(mapped)
    }

    /// Makes `table` hold exactly `wanted`.
    fn replace(&mut self, table: Table, mut wanted: Rows) -> Result<(), Error> {
        let mut gone = Vec::new();
        self.txn.scan(table, &KeyRange::prefix(&[]), Direction::Forward, &mut |key, value| {
            match wanted.get(key) {
                Some(row) if **row == *value => drop(wanted.remove(key)),
                Some(_) => {}
                None => gone.push(key.to_vec()),
            }
            true
        })?;
        for key in gone {
            self.txn.delete(table, key);
        }
        for (key, value) in wanted {
            self.txn.put(table, key, value);
        }
        Ok(())
    }
}

/// The profiles that have other identifiers under a shadow, or are gone. Whoever a customer key comes to may have another
/// name too.
fn others(
    shadow: &Shadow,
    numbers: &Numbers,
    clusters: &BTreeMap<ProfileHandle, Cluster>,
) -> BTreeSet<ProfileHandle> {
    let mut after: HashMap<ProfileHandle, HashSet<NodeId>> = HashMap::new();
    for (handle, cluster) in shadow.graph.clusters() {
        let members = cluster.members.iter().map(|member| numbers.node(member.node)).collect();
        after.insert(numbers.profile(handle), members);
    }
    let is_other = |(handle, cluster): &(&ProfileHandle, &Cluster)| {
        let same = |after: &HashSet<NodeId>| {
            after.len() == cluster.members.len()
                && cluster.members.iter().all(|member| after.contains(&member.node))
        };
        !after.get(handle).is_some_and(same)
    };
    clusters.iter().filter(is_other).map(|(handle, _)| *handle).collect()
}

fn node_in(record: &Node, numbers: &Numbers) -> Node {
    let seen = record.seen.iter().map(|(id_type, with)| {
        let mut values: Vec<NodeId> = with.values.iter().map(|node| numbers.node(*node)).collect();
        values.sort_unstable();
        (id_type.clone(), SeenWith { values, more: with.more })
    });
    Node {
        cluster: numbers.profile(record.cluster),
        seen: seen.collect(),
        last_link: record
            .last_link
            .as_ref()
            .map(|link| Link { at: link.at.clone(), anchor: numbers.node(link.anchor) }),
        ..record.clone()
    }
}

fn cluster_in(cluster: &Cluster, numbers: &Numbers) -> Cluster {
    let mut members: Vec<Member> = cluster
        .members
        .iter()
        .map(|member| Member { node: numbers.node(member.node), ..member.clone() })
        .collect();
    members.sort_by_key(|member| member.node);
    let forest = cluster.forest.iter().map(|edge| ForestEdge {
        u: numbers.node(edge.u),
        v: numbers.node(edge.v),
        ..*edge
    });
    Cluster {
        anchor: numbers.node(cluster.anchor),
        has_person: cluster.has_person,
        members,
        forest: forest.collect(),
    }
}
