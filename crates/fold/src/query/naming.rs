//! By which names someone is found, and whether a name is still theirs: a deletion makes whoever comes back somebody else,
//! and nothing that was said of the one before leads to them.

use super::{Person, Query};
use crate::batch::record_error;
use crate::changes::{key_text, text_customer_key};
use crate::error::Error;
use crate::message::TOMBSTONE;
use crate::rows;
use onefold_identity::graph::{Graph, NO_CLUSTER, Node};
use onefold_identity::rules::profile_id;
use onefold_log::record::message_at;
use onefold_store::Table;
use onefold_types::effect::Effect;
use onefold_types::{EventRef, Identifier, NodeId, ProfileHandle};
use std::sync::Arc;

impl Query<'_, '_> {
    /// The cluster that holds an identifier, given as typed; `profile_id` and `customer_key` are types too. Those of somebody
    /// who was deleted find nobody, whoever has the identifiers now.
    ///
    /// # Errors
    /// The store failed.
    pub fn find(&mut self, id_type: &str, value: &str) -> Result<Option<ProfileHandle>, Error> {
        let record = match id_type {
            "profile_id" => {
                let record = self.pointed_at(Table::ProfileId, value.as_bytes())?;
                record.filter(|node| self.profile_id_of(node) == value)
            }
            "customer_key" => self.pointed_at(Table::CustomerKey, &text_customer_key(value))?,
            _ => match self.compiled.rules.normalise(id_type, value) {
                Ok(id) => self.record_of(&id)?,
                Err(_) => None,
            },
        };
        let Some(record) = record else { return Ok(None) };
        // Other rules may write the identifier that the name was made of in another form: then that is theirs (I14).
        let cluster = match record.cluster {
            NO_CLUSTER => self.batch.form_in_force(&record)?.map(|(_, record)| record.cluster),
            cluster => Some(cluster),
        };
        Ok(cluster.filter(|cluster| *cluster != NO_CLUSTER))
    }

    /// Whoever has the strongest identifier now of those under which `effect` knew somebody, leaving out identifiers that a
    /// deletion may have made another's since; `None` if that leaves nobody who owns an event.
    ///
    /// # Errors
    /// The store failed.
    pub fn heir(&mut self, effect: &Effect) -> Result<Option<Person>, Error> {
        for id in &effect.ids {
            let Some(record) = self.record_of(id)? else { continue };
            let record = match record.cluster {
                NO_CLUSTER => self.batch.form_in_force(&record)?.map_or(record, |(_, form)| form),
                _ => record,
            };
            if record.cluster == NO_CLUSTER || !self.is_same(&record, effect) {
                continue;
            }
            let person = self.person(record.cluster)?;
            if let Some(person) = person.filter(|person| person.profile.is_person()) {
                return Ok(Some(person));
            }
        }
        Ok(None)
    }

    /// Whether the message at `at`, which `effect` forwards, was deleted, alone or with whoever owned it. Of one that
    /// retention has trimmed it is enough that one of the owner's identifiers may have been somebody's who was deleted.
    ///
    /// # Errors
    /// The store or the log failed.
    pub fn is_deleted(&mut self, effect: &Effect, at: EventRef) -> Result<bool, Error> {
        if let Some(entry) = self.batch.read_kept(at)? {
            let view = message_at(&entry.payload, at.index).map_err(|e| record_error(&entry, &e))?;
            let Some(view) = view else { return Ok(true) };
            let key = rows::seen_key(self.batch.message_hash(view.message_id));
            let seen =
                self.batch.txn.get(Table::Seen, &key)?.map(|bytes| rows::seen_from(&bytes)).transpose()?;
            return Ok(seen.is_some_and(|first| first.index == TOMBSTONE));
        }
        for id in &effect.ids {
            if !self.record_of(id)?.is_some_and(|record| self.is_same(&record, effect)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an identifier is certainly the one that `effect` had: it was never deleted, or not since its profile id or
    /// customer key was made of it.
    fn is_same(&self, record: &Node, effect: &Effect) -> bool {
        record.generation == 0
            || self.profile_id_of(record) == effect.profile_id
            || effect
                .customer_key
                .as_ref()
                .is_some_and(|key| *key == key_text(self.batch.setting.secret, &record.id, record.generation))
    }

    fn profile_id_of(&self, record: &Node) -> String {
        profile_id(self.batch.setting.secret, &record.id, record.generation)
    }

    fn record_of(&mut self, id: &Identifier) -> Result<Option<Arc<Node>>, Error> {
        match self.batch.node_of(id)? {
            Some(node) => self.batch.node(node),
            None => Ok(None),
        }
    }

    fn pointed_at(&mut self, table: Table, key: &[u8]) -> Result<Option<Arc<Node>>, Error> {
        match self.batch.txn.get(table, key)? {
            Some(bytes) => self.batch.node(NodeId(rows::number_from(table.as_str(), &bytes)?)),
            None => Ok(None),
        }
    }
}
