//! Operator decisions: link, cut, force, block, undo, the deletion of messages and profiles, a customer key on request.
//!
//! A decision is a log record; whether it is taken or refused is decided here, at its position, and kept under its
//! request id, where whoever asked finds it.

use crate::batch::{Batch, record_error};
use crate::error::Error;
use crate::message::TOMBSTONE;
use crate::profile::Profile;
use crate::rows;
use onefold_identity::engine::{decide, forget_message, forget_profile};
use onefold_identity::graph::{Graph, NO_CLUSTER, Overlay};
use onefold_log::Entry;
use onefold_log::record::message_at;
use onefold_store::Table;
use onefold_types::decision::{Decision, DecisionRecord};
use onefold_types::effect::Cause;
use onefold_types::{EventRef, Identifier, ProfileHandle, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What became of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Taken, under this number.
    Taken {
        /// Its number.
        number: u64,
    },
    /// Taken, under this number: the profile has this customer key, issued now or before.
    Issued {
        /// Its number.
        number: u64,
        /// The customer key.
        customer_key: String,
    },
    /// Refused, and not recorded.
    Refused {
        /// The rule that forbids it.
        rule: String,
        /// The two identifiers that show it, if two do.
        witnesses: Vec<Identifier>,
    },
}

impl Outcome {
    /// The number under which the decision was taken, if it was.
    #[must_use]
    pub const fn number(&self) -> Option<u64> {
        match self {
            Self::Taken { number } | Self::Issued { number, .. } => Some(*number),
            Self::Refused { .. } => None,
        }
    }
}

/// A decision as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// When it was folded.
    pub at: Timestamp,
    /// Who, why and what.
    pub record: DecisionRecord,
    /// What became of it.
    pub outcome: Outcome,
}

fn refused(rule: &str, id: &Identifier) -> Outcome {
    Outcome::Refused { rule: rule.to_owned(), witnesses: vec![id.clone()] }
}

/// The key under which a decision's outcome is kept.
#[must_use]
pub fn request_key(request_id: &str) -> Vec<u8> {
    let mut key = vec![b'r'];
    key.extend(request_id.as_bytes());
    key
}

/// The key of decision `number` in the operation log.
#[must_use]
pub fn number_key(number: u64) -> Vec<u8> {
    let mut key = vec![b'n'];
    key.extend(number.to_be_bytes());
    key
}

impl Batch<'_> {
    pub(crate) fn fold_decision(&mut self, entry: &Entry, json: &[u8]) -> Result<(), Error> {
        // A deletion puts tombstones where ids were looked up ahead.
        self.seen.clear();
        let record: DecisionRecord = match serde_json::from_slice(json) {
            Ok(record) => record,
            Err(error) => {
                return Err(Error::Record {
                    position: entry.position,
                    detail: format!("not a decision: {error}"),
                });
            }
        };
        let key = request_key(&record.request_id);
        if self.txn.get(Table::Decision, &key)?.is_some() {
            return Ok(());
        }
        let number = self.memory.counters.next_decision;
        let outcome = match &record.decision {
            Decision::DeleteMessage { message_id } => self.delete_message(message_id, number)?,
            Decision::DeleteProfile { id } => self.delete_profile(id, number)?,
            Decision::IssueCustomerKey { id } => self.issue_on_request(id, number)?,
            Decision::Release { number: item } => self.release(*item, number)?,
            decision => self.decide(decision, number)?,
        };
        let decided = Decided { at: self.now, record, outcome };
        // As JSON, as in the log: a decision names its kind in a member, which only a self-describing form can hold.
        let row = serde_json::to_vec(&decided)
            .map_err(|error| Error::Record { position: entry.position, detail: error.to_string() })?;
        if decided.outcome.number().is_some() {
            self.memory.counters.next_decision += 1;
            self.txn.put(Table::Decision, number_key(number), row.clone());
        }
        self.txn.put(Table::Decision, key, row);
        Ok(())
    }

    fn decide(&mut self, decision: &Decision, number: u64) -> Result<Outcome, Error> {
        let compiled = self.compiled.clone();
        if self.memory.backfill.is_some()
            && let Ok(foreseen) = decide(&compiled.rules, &mut Overlay::new(self), number, decision)?
        {
            self.catch_up_with(&foreseen)?;
        }
        match decide(&compiled.rules, self, number, decision)? {
            Ok(changes) => {
                self.apply_changes(changes, &Cause::Decision { number })?;
                Ok(Outcome::Taken { number })
            }
            Err(refusal) => {
                Ok(Outcome::Refused { rule: refusal.rule.to_string(), witnesses: refusal.witnesses })
            }
        }
    }

    fn delete_message(&mut self, message_id: &str, number: u64) -> Result<Outcome, Error> {
        let key = rows::seen_key(self.message_hash(message_id));
        let unknown = || Outcome::Refused {
            rule: "no message with this id is known".to_owned(),
            witnesses: Vec::new(),
        };
        let Some(bytes) = self.txn.get(Table::Seen, &key)? else { return Ok(unknown()) };
        let at = rows::seen_from(&bytes)?;
        if at.index == TOMBSTONE {
            return Ok(unknown());
        }
        let Some(record) = self.read_kept(at)? else {
            return Ok(Outcome::Refused {
                rule: "the message is older than the log's retention, so what it said is not known any more; delete \
                       its profile instead"
                    .to_owned(),
                witnesses: Vec::new(),
            });
        };
        self.txn.put(Table::Seen, key, rows::seen_value(EventRef { index: TOMBSTONE, ..at }));
        let Some(view) = message_at(&record.payload, at.index).map_err(|e| record_error(&record, &e))? else {
            return Ok(Outcome::Taken { number });
        };
        let ts = view.ts.min(record.rt);
        let raw: Vec<(String, String)> = view.ids().map(|(t, v)| (t.to_owned(), v.to_owned())).collect();
        let compiled = self.compiled.clone();
        let ids = compiled.rules.usable(&raw).ids;
        if self.memory.backfill.is_some() {
            // While the message is there: what the definitions made of its owner at the cut counts it.
            let foreseen =
                forget_message(&compiled.rules, &mut Overlay::new(self), &ids, ts, view.message_id)?;
            self.catch_up_with(&foreseen)?;
        }
        self.forget_account_call(at, &view, ts)?;
        if let Some(first) = ids.first() {
            let ident = (first.id_type.clone(), first.value.clone());
            if let Some(node) = self.memory.idents.get(self.txn.as_ref(), &ident)? {
                self.txn.delete(Table::Stream, rows::stream_key(node.0, ts, at));
            }
        }
        if self.memory.backfill.is_some() {
            // Without it others may change hands too.
            let foreseen =
                forget_message(&compiled.rules, &mut Overlay::new(self), &ids, ts, view.message_id)?;
            self.catch_up_with(&foreseen)?;
        }
        let changes = forget_message(&compiled.rules, self, &ids, ts, view.message_id)?;
        self.apply_changes(changes, &Cause::Deletion)?;
        // Whoever is gone by this is told of under the key that goes next.
        self.settle_touched()?;
        self.forget_keys_of_unseen(&ids)?;
        Ok(Outcome::Taken { number })
    }

    /// The profile that has an identifier, given as typed; else why there is none.
    fn whose(&mut self, id: &Identifier) -> Result<Result<ProfileHandle, Outcome>, Error> {
        let Ok(known) = self.compiled.rules.normalise(&id.id_type, &id.value) else {
            return Ok(Err(refused("the identifier is blocked", id)));
        };
        let node = match self.node_of(&known)? {
            Some(node) => self.node(node)?,
            None => None,
        };
        Ok(match node.map(|node| node.cluster) {
            None => Err(refused("the identifier was never seen", id)),
            Some(NO_CLUSTER) => Err(refused("the identifier is nobody's", id)),
            Some(handle) => Ok(handle),
        })
    }

    /// Issues a profile's customer key before any effect needs it; a key that is there already stays.
    fn issue_on_request(&mut self, id: &Identifier, number: u64) -> Result<Outcome, Error> {
        let handle = match self.whose(id)? {
            Ok(handle) => handle,
            Err(refused) => return Ok(refused),
        };
        self.catch_up(handle)?;
        let mut profile = match self.memory.profiles.get(self.txn.as_ref(), &handle)? {
            Some(profile) if profile.is_person() => Profile::clone(&profile),
            _ => return Ok(refused("the identifier's profile owns no event, so it is no person's", id)),
        };
        self.customer_key(&mut profile, handle, self.now)?;
        let Some((_, customer_key)) = profile.customer_key.clone() else {
            let rule = "an anonymous profile has no customer key: it is issued for a user id, an e-mail or another \
                        identifier of a person";
            return Ok(refused(rule, id));
        };
        self.memory.profiles.put(handle, profile);
        Ok(Outcome::Issued { number, customer_key })
    }

    fn delete_profile(&mut self, id: &Identifier, number: u64) -> Result<Outcome, Error> {
        let handle = match self.whose(id)? {
            Ok(handle) => handle,
            Err(refused) => return Ok(refused),
        };
        self.catch_up(handle)?;
        let compiled = self.compiled.clone();
        // Every message the profile owns goes first, so that no retry brings one back; then its identifiers.
        let ranges = onefold_identity::engine::owned_ranges(&compiled.rules, self, handle)?;
        let mut raw = BTreeSet::new();
        for range in &ranges {
            for row in self.rows_of(range)? {
                self.txn.delete(Table::Stream, rows::stream_key(range.stream, row.ts, row.at));
                // The id of a trimmed message stays known as folded: a copy of it stays a duplicate.
                let Some(record) = self.read_kept(row.at)? else { continue };
                if let Some(view) =
                    message_at(&record.payload, row.at.index).map_err(|e| record_error(&record, &e))?
                {
                    let key = rows::seen_key(self.message_hash(view.message_id));
                    self.txn.put(Table::Seen, key, rows::seen_value(EventRef { index: TOMBSTONE, ..row.at }));
                    self.forget_account_call(row.at, &view, row.ts)?;
                    raw.extend(view.ids().map(|(t, v)| (t.to_owned(), v.to_owned())));
                }
            }
        }
        if self.memory.backfill.is_some() {
            let foreseen = forget_profile(&compiled.rules, &mut Overlay::new(self), handle)?;
            self.catch_up_with(&foreseen)?;
        }
        let who = self.last_seen_as(handle)?;
        self.forget_keys_of(handle)?;
        let changes = forget_profile(&compiled.rules, self, handle)?;
        self.apply_changes(changes, &Cause::Deletion)?;
        if let Some(profile) = self.memory.profiles.take(self.txn.as_ref(), &handle)? {
            if profile.is_person() {
                self.memory.counters.persons -= 1;
            }
            self.touched.remove(&handle);
            self.forget(handle, profile, &Cause::Deletion, who.as_ref())?;
        }
        // Identifiers of others that nothing but these messages had.
        self.settle_touched()?;
        let ids = raw.iter().filter_map(|(id_type, value)| compiled.rules.normalise(id_type, value).ok());
        self.forget_keys_of_unseen(&ids.collect::<Vec<_>>())?;
        Ok(Outcome::Taken { number })
    }
}
