//! Names of identifiers that other rules write in another form: whoever has the form has them (I14).
//!
//! A customer key stays where it was issued, and so does a profile id. Beside it the node of the form in force has a row
//! that says which key came to it: those rows are made anew with each change of rules.

use crate::batch::Batch;
use crate::changes::{Issued, node_customer_key};
use crate::error::Error;
use crate::rows;
use onefold_identity::graph::{Graph, NO_CLUSTER, Node};
use onefold_store::{Bytes, Direction, KeyRange, Table};
use onefold_types::NodeId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The row of a customer key that came to `node` from the identifier `from`, for which it was issued.
pub(crate) fn carried_customer_key(node: NodeId, from: NodeId) -> Vec<u8> {
    [b"c", &node.0.to_be_bytes()[..], &from.0.to_be_bytes()].concat()
}

/// The nodes of such a row: where the key came to, and from where.
pub(crate) fn carried_from(key: &[u8]) -> Result<(NodeId, NodeId), Error> {
    let (to, from) = key.split_at_checked(9).ok_or(Error::Decode { what: "ckey", source: None })?;
    Ok((NodeId(rows::number_from("ckey", &to[1..])?), NodeId(rows::number_from("ckey", from)?)))
}

impl Batch<'_> {
    /// The node of the form that the rules in force give an identifier, if it is another. Not if that was ever somebody's who
    /// was deleted: nothing of before leads to whoever has it now.
    pub(crate) fn form_in_force(&mut self, record: &Node) -> Result<Option<(NodeId, Arc<Node>)>, Error> {
        let rules = self.compiled.clone();
        let Ok(id) = rules.rules.normalise(&record.id.id_type, &record.id.value) else { return Ok(None) };
        if id == record.id {
            return Ok(None);
        }
        let Some(node) = self.node_of(&id)? else { return Ok(None) };
        Ok(self.node(node)?.filter(|record| record.generation == 0).map(|record| (node, record)))
    }

    /// The customer keys that came to a node, each with the one for which it was issued.
    pub(crate) fn carried_keys(&self, node: NodeId) -> Result<Vec<(NodeId, Issued)>, Error> {
        let prefix = [b"c", &node.0.to_be_bytes()[..]].concat();
        let mut found = Vec::new();
        self.txn.scan(
            Table::CustomerKey,
            &KeyRange::prefix(&prefix),
            Direction::Forward,
            &mut |key, value| {
                found.push(carried_from(key).and_then(|(_, from)| Ok((from, rows::decode("ckey", value)?))));
                true
            },
        )?;
        found.into_iter().collect()
    }

    /// The oldest customer key that was issued for an identifier, or came to it.
    pub(crate) fn oldest_key_of(&self, node: NodeId) -> Result<Option<Issued>, Error> {
        let own = self.txn.get(Table::CustomerKey, &node_customer_key(node))?;
        let own = own.map(|bytes| rows::decode::<Issued>("ckey", &bytes)).transpose()?;
        let carried = self.carried_keys(node)?.into_iter().map(|(_, issued)| issued);
        Ok(own.into_iter().chain(carried).min())
    }

    /// The nodes that a customer key came to, or may come to under the rules in force.
    pub(crate) fn carriers(&mut self) -> Result<BTreeSet<NodeId>, Error> {
        let mut found = BTreeSet::new();
        for (key, _) in self.key_rows(b"c")? {
            found.insert(carried_from(&key)?.0);
        }
        for (key, _) in self.key_rows(b"n")? {
            let Some(record) = self.node(NodeId(rows::number_from("ckey", &key[1..])?))? else { continue };
            found.extend(self.form_in_force(&record)?.map(|(node, _)| node));
            self.memory.relax();
        }
        Ok(found)
    }

    fn key_rows(&self, kind: &[u8]) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let mut found: Vec<(Bytes, Bytes)> = Vec::new();
        self.txn.scan(
            Table::CustomerKey,
            &KeyRange::prefix(kind),
            Direction::Forward,
            &mut |key, value| {
                found.push((key.into(), value.into()));
                true
            },
        )?;
        Ok(found)
    }

    /// Has the customer keys of identifiers that are in no cluster come to those that the rules in force make of them.
    pub(crate) fn carry_keys(&mut self) -> Result<(), Error> {
        for (key, _) in self.key_rows(b"c")? {
            self.txn.delete(Table::CustomerKey, key);
        }
        for (key, value) in self.key_rows(b"n")? {
            let from = NodeId(rows::number_from("ckey", &key[1..])?);
            let Some(record) = self.node(from)?.filter(|record| record.cluster == NO_CLUSTER) else {
                continue;
            };
            if let Some((to, _)) = self.form_in_force(&record)? {
                self.txn.put(Table::CustomerKey, carried_customer_key(to, from), value.to_vec());
            }
            self.memory.relax();
        }
        Ok(())
    }
}
