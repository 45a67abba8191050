//! The identity graph over the store: what the engine's [`Graph`] asks for, from the batch's transaction and caches.

use crate::batch::{Batch, record_error};
use crate::error::Error;
use crate::memory::Ident;
use crate::rename::named_alike;
use crate::rows::{self, SetRow};
use onefold_identity::graph::{Cluster, Evidence, Graph, Link, Node, Operation, Stamp, StreamRow};
use onefold_identity::rules::profile_id;
use onefold_log::record::message_at;
use onefold_store::{Direction, KeyRange, Read, Table};
use onefold_types::{EventRef, Identifier, NodeId, ProfileHandle, SetId, Timestamp};
use std::sync::Arc;

/// The key of an operation in the Decision table.
pub(crate) fn operation_key(number: u64) -> Vec<u8> {
    let mut key = vec![b'o'];
    key.extend(number.to_be_bytes());
    key
}

/// The stream rows of `node` with `from <= ts <= to`.
pub(crate) fn stream_rows(
    store: &dyn Read,
    node: NodeId,
    (from, to): (Timestamp, Timestamp),
    direction: Direction,
    visit: &mut dyn FnMut(StreamRow) -> bool,
) -> Result<(), Error> {
    if from > to {
        return Ok(());
    }
    let first = rows::stream_key(node, from, EventRef::default());
    let last = match to.0.checked_add(1) {
        Some(after) => rows::stream_key(node, Timestamp(after), EventRef::default()),
        None => rows::number_key(node.0 + 1),
    };
    let mut failed = None;
    store.scan(Table::Stream, &KeyRange::between(first, last), direction, &mut |key, value| {
        match rows::stream_from(key, value) {
            Ok(row) => visit(row),
            Err(error) => {
                failed = Some(error);
                false
            }
        }
    })?;
    failed.map_or(Ok(()), Err)
}

/// The first link row of `device` in `range`, from its `direction` end.
pub(crate) fn link_row(
    store: &dyn Read,
    range: &KeyRange,
    direction: Direction,
) -> Result<Option<Link>, Error> {
    let mut found = None;
    store.scan(Table::Devlink, range, direction, &mut |key, value| {
        found = Some(rows::devlink_from(key, value));
        false
    })?;
    found.transpose()
}

/// Link rows of `device` at or before `at`.
pub(crate) fn links_until(device: NodeId, at: &Stamp) -> KeyRange {
    KeyRange::between(rows::number_key(device.0), just_after(device, at))
}

/// Link rows of `device` after `at`.
pub(crate) fn links_after(device: NodeId, at: &Stamp) -> KeyRange {
    KeyRange::between(just_after(device, at), rows::number_key(device.0 + 1))
}

/// The least key after the link row of `device` at `at`.
fn just_after(device: NodeId, at: &Stamp) -> Vec<u8> {
    [&*rows::devlink_key(device, at.ts, &at.message_id), &[0]].concat()
}

/// Whether identity says the same of a known set with either record of a node in it: it reads when the node was first
/// seen, which cluster holds it, whether it counts, and its newest login. How many sets and values it was seen with
/// decides only when a new set comes; the set's own record only for earlier events; link rows are read only when the
/// newest login does not decide, and such an answer is not kept.
fn answers_alike(a: &Node, b: &Node) -> bool {
    a.first_seen == b.first_seen
        && a.first_message == b.first_message
        && a.cluster == b.cluster
        && (a.hub, a.shared, a.blocked) == (b.hub, b.shared, b.blocked)
        && a.last_link == b.last_link
}

impl Graph for Batch<'_> {
    type Error = Error;

    fn node_of(&mut self, id: &Identifier) -> Result<Option<NodeId>, Error> {
        let key = (id.id_type.clone(), id.value.clone());
        Ok(self.memory.idents.get(self.txn.as_ref(), &key)?.map(|ident| ident.0))
    }

    fn node(&mut self, node: NodeId) -> Result<Option<Arc<Node>>, Error> {
        self.trace.read_node(node);
        let found = self.memory.nodes.get(self.txn.as_ref(), &node)?;
        if found.is_none() {
            self.trace.beyond();
        }
        Ok(found)
    }

    fn put_node(&mut self, node: NodeId, record: Arc<Node>) -> Result<(), Error> {
        self.trace.beyond();
        let known = self.memory.nodes.get(self.txn.as_ref(), &node)?;
        if known.is_some_and(|known| !answers_alike(&known, &record)) {
            self.memory.memo.node_written(node);
        }
        let key = (record.id.id_type.clone(), record.id.value.clone());
        if self.memory.idents.get(self.txn.as_ref(), &key)?.is_none_or(|known| known.0 != node) {
            self.compare_spelling(&record.id)?;
            self.memory.idents.put(key, Ident(node));
        }
        self.memory.nodes.put_shared(node, record);
        Ok(())
    }

    fn evidence(&mut self, nodes: &[NodeId]) -> Result<Option<Arc<Evidence>>, Error> {
        nodes.iter().for_each(|node| self.trace.read_node(*node));
        let row = self.memory.evidence.get(self.txn.as_ref(), &rows::set_key(nodes))?;
        Ok(row.map(|row| Arc::new(row.evidence.clone())))
    }

    fn put_evidence(&mut self, nodes: &[NodeId], record: Evidence) -> Result<(), Error> {
        self.trace.beyond();
        let set = rows::set_key(nodes);
        if self.memory.evidence.get(self.txn.as_ref(), &set)?.is_none() {
            for node in nodes {
                self.txn.put(Table::Member, rows::member_key(*node, &set), Vec::new());
            }
        }
        self.memory.evidence.put(set, SetRow { nodes: nodes.to_vec(), evidence: record });
        Ok(())
    }

    fn remove_evidence(&mut self, nodes: &[NodeId]) -> Result<(), Error> {
        self.trace.beyond();
        let set = rows::set_key(nodes);
        for node in nodes {
            self.memory.memo.node_written(*node);
            self.txn.delete(Table::Member, rows::member_key(*node, &set));
        }
        self.memory.evidence.delete(set);
        Ok(())
    }

    fn sets_of(&mut self, node: NodeId, visit: &mut dyn FnMut(&[NodeId]) -> bool) -> Result<(), Error> {
        self.trace.beyond();
        let range = KeyRange::prefix(&rows::number_key(node.0));
        let mut keys = Vec::new();
        self.txn.scan(Table::Member, &range, Direction::Forward, &mut |key, _| {
            keys.push(rows::member_from(key));
            true
        })?;
        let mut sets = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(row) = self.memory.evidence.get(self.txn.as_ref(), &key?)? else {
                let detail = format!("node {} is in a set that has no row", node.0);
                return Err(Error::Invariant { name: "ATOM", detail });
            };
            sets.push(row);
        }
        sets.sort_unstable_by(|a, b| a.nodes.cmp(&b.nodes));
        let _ = sets.iter().all(|row| visit(&row.nodes));
        Ok(())
    }

    fn cluster(&mut self, profile: ProfileHandle) -> Result<Option<Arc<Cluster>>, Error> {
        self.trace.read_cluster(profile);
        let found = self.memory.clusters.get(self.txn.as_ref(), &profile)?;
        if found.is_none() {
            self.trace.beyond();
        }
        Ok(found)
    }

    fn put_cluster(&mut self, profile: ProfileHandle, cluster: Cluster) -> Result<(), Error> {
        self.trace.beyond();
        let known = self.memory.clusters.get(self.txn.as_ref(), &profile)?;
        if let Some(known) = known {
            if known.has_person != cluster.has_person {
                self.memory.memo.cluster_written(profile);
            }
            if !named_alike(&known, &cluster) {
                self.renames.was(profile, known);
            }
        }
        self.memory.clusters.put(profile, cluster);
        Ok(())
    }

    fn remove_cluster(&mut self, profile: ProfileHandle) -> Result<(), Error> {
        self.trace.beyond();
        self.memory.memo.cluster_written(profile);
        if let Some(cluster) = self.memory.clusters.get(self.txn.as_ref(), &profile)? {
            self.renames.was(profile, cluster.clone());
            self.removed.insert(profile, cluster);
        }
        self.memory.clusters.delete(profile);
        Ok(())
    }

    fn link_at_or_before(&mut self, device: NodeId, at: &Stamp) -> Result<Option<Link>, Error> {
        self.trace.beyond();
        link_row(self.txn.as_ref(), &links_until(device, at), Direction::Reverse)
    }

    fn link_after(&mut self, device: NodeId, at: &Stamp) -> Result<Option<Link>, Error> {
        self.trace.beyond();
        link_row(self.txn.as_ref(), &links_after(device, at), Direction::Forward)
    }

    fn put_link(&mut self, device: NodeId, link: &Link) -> Result<(), Error> {
        self.trace.beyond();
        let key = rows::devlink_key(device, link.at.ts, &link.at.message_id);
        self.txn.put(Table::Devlink, key, rows::number_key(link.anchor.0));
        Ok(())
    }

    fn remove_link(&mut self, device: NodeId, at: &Stamp) -> Result<(), Error> {
        self.trace.beyond();
        self.txn.delete(Table::Devlink, rows::devlink_key(device, at.ts, &at.message_id));
        Ok(())
    }

    fn stream(
        &mut self,
        node: NodeId,
        from: Timestamp,
        to: Timestamp,
        visit: &mut dyn FnMut(StreamRow) -> bool,
    ) -> Result<(), Error> {
        self.trace.beyond();
        stream_rows(self.txn.as_ref(), node, (from, to), Direction::Forward, visit)
    }

    fn message_id(&mut self, at: EventRef) -> Result<String, Error> {
        self.trace.beyond();
        // A trimmed message comes first among those of its instant.
        let Some(entry) = self.read_kept(at)? else { return Ok(String::new()) };
        let view = message_at(&entry.payload, at.index).map_err(|e| record_error(&entry, &e))?;
        Ok(view.map(|view| view.message_id.to_owned()).unwrap_or_default())
    }

    fn operation(&mut self, number: u64) -> Result<Option<Arc<Operation>>, Error> {
        self.trace.beyond();
        let bytes = self.txn.get(Table::Decision, &operation_key(number))?;
        bytes.map(|bytes| rows::decode::<Operation>("op", &bytes).map(Arc::new)).transpose()
    }

    fn put_operation(&mut self, operation: Operation) -> Result<(), Error> {
        self.trace.beyond();
        self.txn.put(Table::Decision, operation_key(operation.number), rows::encode(&operation)?);
        Ok(())
    }

    fn next_node(&mut self) -> NodeId {
        self.trace.beyond();
        let node = NodeId(self.memory.counters.next_node);
        self.memory.counters.next_node += 1;
        node
    }

    fn next_set(&mut self) -> SetId {
        self.trace.beyond();
        let set = SetId(self.memory.counters.next_set);
        self.memory.counters.next_set += 1;
        set
    }

    fn next_profile(&mut self) -> ProfileHandle {
        self.trace.beyond();
        let profile = ProfileHandle(self.memory.counters.next_profile);
        self.memory.counters.next_profile += 1;
        profile
    }

    fn remember(&mut self, anchor: NodeId, record: &Node) -> Result<(), Error> {
        self.trace.beyond();
        let id = profile_id(self.setting.secret, &record.id, record.generation);
        self.txn.put(Table::ProfileId, id.into_bytes(), rows::number_key(anchor.0));
        Ok(())
    }
}
