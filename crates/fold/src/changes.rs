//! What an identity transition does to profiles: merges combine, splits and moves rebuild (B5, B6, B19).
//!
//! Streams never move: a merge is a pointer change in the graph, and here one blob taking over another.

use crate::batch::Batch;
use crate::carried::carried_customer_key;
use crate::effects::{Transition, Who};
use crate::error::Error;
use crate::profile::Profile;
use crate::report::Happening;
use crate::rows;
use onefold_identity::engine::{Changes, Transition as IdentityTransition};
use onefold_identity::graph::{Cluster, Graph};
use onefold_identity::rules::profile_id;
use onefold_store::Table;
use onefold_types::effect::{Cause, Change};
use onefold_types::{Identifier, NodeId, ProfileHandle, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An identity transition as it is kept for `GET …/transitions` and `tail`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The engine time.
    pub at: Timestamp,
    /// What.
    pub transition: IdentityTransition,
    /// Why.
    pub cause: Cause,
}

/// A customer key, and when it was issued.
pub(crate) type Issued = (Timestamp, String);

/// An identifier for which a customer key can be issued: its node and generation.
type Nameable = (Identifier, NodeId, u32);

impl Batch<'_> {
    /// Carries out what identity decided.
    pub(crate) fn apply_changes(&mut self, changes: Changes, cause: &Cause) -> Result<(), Error> {
        for transition in changes.transitions {
            match &transition {
                IdentityTransition::Merged { from, into } => self.merge(*from, *into)?,
                IdentityTransition::Split { from, into } => {
                    self.note_transition(&transition);
                    self.came_of(*from, into)?;
                }
                IdentityTransition::Moved { .. } | IdentityTransition::IdChanged { .. } => {}
            }
            self.keep(&transition, cause)?;
        }
        self.renames.because(cause);
        for handle in changes.rebuild {
            let touch = self.touched.entry(handle).or_default();
            touch.rebuild = true;
            touch.because(cause.clone());
        }
        Ok(())
    }

    /// What is told of profiles that came of a split has it as the cause, as what a merge ends has the merge.
    pub(crate) fn came_of(&mut self, from: ProfileHandle, into: &[ProfileHandle]) -> Result<(), Error> {
        let Some(before) = self.renames.before(from) else { return Ok(()) };
        let from_id = self.who_was(&before)?.profile_id;
        for handle in into.iter().filter(|handle| **handle != from) {
            self.touched.entry(*handle).or_default().because(Cause::Split { from: from_id.clone() });
        }
        Ok(())
    }

    /// Tells whoever watches.
    pub(crate) fn note_transition(&mut self, transition: &IdentityTransition) {
        match transition {
            IdentityTransition::Merged { from, into } => {
                self.report.note(Happening::Merged { from: *from, into: *into });
            }
            IdentityTransition::Split { from, into } => {
                self.report.note(Happening::Split { from: *from, into: into.clone() });
            }
            IdentityTransition::Moved { .. } | IdentityTransition::IdChanged { .. } => {}
        }
    }

    pub(crate) fn keep(&mut self, transition: &IdentityTransition, cause: &Cause) -> Result<(), Error> {
        let number = self.memory.counters.next_transition;
        self.memory.counters.next_transition += 1;
        let kept = Kept { at: self.now, transition: transition.clone(), cause: cause.clone() };
        self.txn.put(Table::Transition, rows::number_key(number), rows::encode(&kept)?);
        Ok(())
    }

    /// `into` takes over what `from` was.
    fn merge(&mut self, from: ProfileHandle, into: ProfileHandle) -> Result<(), Error> {
        self.report.note(Happening::Merged { from, into });
        let absorbed_touch = self.touched.remove(&from);
        let touch = self.touched.entry(into).or_default();
        if let Some(absorbed) = absorbed_touch {
            touch.absorb(absorbed);
        }
        let Some(mut absorbed) = self.memory.profiles.take(self.txn.as_ref(), &from)? else { return Ok(()) };
        let mut survivor = self.memory.profiles.take(self.txn.as_ref(), &into)?.unwrap_or_default();
        let compiled = self.compiled.clone();
        let current = compiled.catalogue.version.0;
        let mut touch = self.touched.remove(&into).unwrap_or_default();
        if survivor.is_person() && absorbed.is_person() {
            self.memory.counters.persons -= 1;
        }
        if absorbed.is_person() && !survivor.is_person() {
            survivor.catalogue = absorbed.catalogue;
            compiled.plan.begin(&mut survivor.state, &mut touch.primitives);
        }
        self.end_absorbed(from, into, &mut absorbed)?;
        if touch.rebuild || absorbed.catalogue != current || survivor.catalogue != current {
            touch.rebuild = true;
        } else {
            survivor.state = compiled.plan.merge(&survivor.state, &absorbed.state);
            compiled.plan.touch_all(&survivor.state, &mut touch.primitives);
        }
        for key in absorbed.traits.keys().chain(survivor.traits.keys()) {
            let before = crate::message::visible(&survivor.traits, key);
            touch.traits_before.entry(key.clone()).or_insert(before);
            compiled.plan.trait_changed(key, &mut touch.primitives);
        }
        let (absorbed_accounts, accounts) = (absorbed.accounts.clone(), survivor.accounts.clone());
        let over = survivor.absorb(from, &mut absorbed);
        self.memory.counters.note_over(&over);
        self.index_accounts(from, &absorbed_accounts, &absorbed.accounts);
        self.index_accounts(into, &accounts, &survivor.accounts);
        survivor.customer_key = None;
        self.memory.profiles.delete(from);
        self.memory.profiles.put(into, survivor);
        self.touched.insert(into, touch);
        Ok(())
    }

    /// The absorbed profile's memberships end in its own lane, with the merge as the cause.
    fn end_absorbed(
        &mut self,
        from: ProfileHandle,
        into: ProfileHandle,
        absorbed: &mut Profile,
    ) -> Result<(), Error> {
        if let Some(due) = absorbed.armed.take() {
            self.disarm(due, from);
        }
        let members = absorbed.state.members().to_vec();
        if members.is_empty() {
            return Ok(());
        }
        let into_id = self.who(into)?.map(|who| who.profile_id).unwrap_or_default();
        // What was told of it was told before the step, under what it was then.
        let who = match self.who_before(from)? {
            Some(who) => Some(Arc::new(who)),
            None => self.last_seen_as(from)?,
        };
        for audience in members {
            self.leave(audience, from);
            if who.is_some() {
                let transition = Transition {
                    profile: from,
                    effective: self.now,
                    change: Change::Exited { audience },
                    cause: Cause::Merge { into: into_id.clone() },
                };
                self.emit(absorbed, who.as_ref(), &transition)?;
            }
        }
        Ok(())
    }

    /// Who a profile is now; `None` if its cluster is gone.
    pub(crate) fn who(&mut self, handle: ProfileHandle) -> Result<Option<Who>, Error> {
        match self.memory.clusters.get(self.txn.as_ref(), &handle)? {
            Some(cluster) => self.names(&cluster).map(Some),
            None => Ok(None),
        }
    }

    /// Who a profile is that is about to go, with its customer key.
    pub(crate) fn last_seen_as(&mut self, handle: ProfileHandle) -> Result<Option<Arc<Who>>, Error> {
        match self.memory.clusters.get(self.txn.as_ref(), &handle)? {
            Some(cluster) => Ok(Some(Arc::new(self.who_was(&cluster)?))),
            None => Ok(None),
        }
    }

    /// Who a profile was whose cluster is gone, with its customer key: whoever joins on it is told of the end under it.
    pub(crate) fn who_was(&mut self, cluster: &Cluster) -> Result<Who, Error> {
        let customer_key = self.key_it_had(cluster)?;
        Ok(Who { customer_key, ..self.names(cluster)? })
    }

    fn names(&mut self, cluster: &Cluster) -> Result<Who, Error> {
        let mut ids: Vec<Identifier> = Vec::with_capacity(cluster.members.len());
        for member in &cluster.members {
            if let Some(node) = self.memory.nodes.get(self.txn.as_ref(), &member.node)? {
                ids.push(node.id.clone());
            }
        }
        let rules = &self.compiled.rules;
        ids.sort_by(|a, b| rules.order(a, b));
        let profile_id = match self.memory.nodes.get(self.txn.as_ref(), &cluster.anchor)? {
            Some(anchor) => profile_id(self.setting.secret, &anchor.id, anchor.generation),
            None => String::new(),
        };
        Ok(Who { ids, profile_id, customer_key: None })
    }

    /// Issues the customer key of a profile that has a person-scope identifier, or finds the oldest issued one.
    pub(crate) fn customer_key(
        &mut self,
        profile: &mut Profile,
        handle: ProfileHandle,
        at: Timestamp,
    ) -> Result<(), Error> {
        if profile.customer_key.is_some() {
            return Ok(());
        }
        profile.customer_key = match self.issued_customer_key(handle)? {
            (Some(issued), _) => Some(issued),
            (None, Some((id, node, generation))) => Some(self.issue_customer_key(&id, node, generation, at)?),
            (None, None) => None,
        };
        Ok(())
    }

    /// The oldest customer key that was issued for an identifier of a profile, and the strongest identifier for which one
    /// could be.
    pub(crate) fn issued_customer_key(
        &mut self,
        handle: ProfileHandle,
    ) -> Result<(Option<Issued>, Option<Nameable>), Error> {
        let Some(cluster) = self.memory.clusters.get(self.txn.as_ref(), &handle)? else {
            return Ok((None, None));
        };
        let mut oldest: Option<Issued> = None;
        let mut strongest: Option<Nameable> = None;
        for member in &cluster.members {
            let Some(node) = self.memory.nodes.get(self.txn.as_ref(), &member.node)? else { continue };
            if !self.is_persons(&node.id.id_type) {
                continue;
            }
            if let Some(issued) = self.oldest_key_of(member.node)?
                && oldest.as_ref().is_none_or(|known| issued < *known)
            {
                oldest = Some(issued);
            }
            let rules = &self.compiled.rules;
            if strongest.as_ref().is_none_or(|(known, ..)| rules.order(&node.id, known).is_lt()) {
                strongest = Some((node.id.clone(), member.node, node.generation));
            }
        }
        Ok((oldest, strongest))
    }

    /// The oldest customer key that was issued for an identifier of a cluster that is gone. Other rules may have ended it, by
    /// which a type is no person's any more: keys of such types come last.
    pub(crate) fn key_it_had(&mut self, cluster: &Cluster) -> Result<Option<String>, Error> {
        let mut oldest: Option<(bool, Issued)> = None;
        for member in &cluster.members {
            let Some(issued) = self.oldest_key_of(member.node)? else { continue };
            let issued = (!self.is_persons(&member.id_type), issued);
            if oldest.as_ref().is_none_or(|known| issued < *known) {
                oldest = Some(issued);
            }
        }
        Ok(oldest.map(|(_, (_, key))| key))
    }

    pub(crate) fn is_persons(&self, id_type: &str) -> bool {
        self.compiled.rules.rule(id_type).scope == onefold_types::workspace::Scope::Person
    }

    /// The customer keys and profile ids of a deleted profile's identifiers go, before their generation is raised: whoever
    /// comes back with one is somebody new, and nothing old leads to them.
    pub(crate) fn forget_keys_of(&mut self, handle: ProfileHandle) -> Result<(), Error> {
        let Some(cluster) = self.memory.clusters.get(self.txn.as_ref(), &handle)? else { return Ok(()) };
        for member in &cluster.members {
            self.forget_customer_key(member.node)?;
            if let Some(node) = self.memory.nodes.get(self.txn.as_ref(), &member.node)? {
                let id = profile_id(self.setting.secret, &node.id, node.generation);
                self.txn.delete(Table::ProfileId, id.into_bytes());
            }
        }
        Ok(())
    }

    /// The customer keys of those of `ids` that no event has any more, as if none ever had: one that comes again, into
    /// somebody's profile, must not bring along an older key than theirs.
    pub(crate) fn forget_keys_of_unseen(&mut self, ids: &[Identifier]) -> Result<(), Error> {
        for id in ids {
            let Some(node) = self.node_of(id)? else { continue };
            if self.node(node)?.is_some_and(|record| !record.is_seen()) {
                self.forget_customer_key(node)?;
            }
        }
        Ok(())
    }

    fn forget_customer_key(&mut self, node: NodeId) -> Result<(), Error> {
        for (from, _) in self.carried_keys(node)? {
            self.txn.delete(Table::CustomerKey, carried_customer_key(node, from));
            self.forget_issued_key(from)?;
        }
        self.forget_issued_key(node)
    }

    fn forget_issued_key(&mut self, node: NodeId) -> Result<(), Error> {
        let key = node_customer_key(node);
        let Some(bytes) = self.txn.get(Table::CustomerKey, &key)? else { return Ok(()) };
        let (_, issued): Issued = rows::decode("ckey", &bytes)?;
        self.txn.delete(Table::CustomerKey, key);
        self.txn.delete(Table::CustomerKey, text_customer_key(&issued));
        Ok(())
    }

    fn issue_customer_key(
        &mut self,
        id: &Identifier,
        node: NodeId,
        generation: u32,
        at: Timestamp,
    ) -> Result<Issued, Error> {
        let issued = (at, key_text(self.setting.secret, id, generation));
        self.txn.put(Table::CustomerKey, node_customer_key(node), rows::encode(&issued)?);
        self.txn.put(Table::CustomerKey, text_customer_key(&issued.1), rows::number_key(node.0));
        Ok(issued)
    }
}

/// The customer key that is issued for an identifier: the same whenever it is, and another for each generation.
pub(crate) fn key_text(secret: &[u8], id: &Identifier, generation: u32) -> String {
    format!("cus_{}", profile_id(secret, id, generation).replace('-', ""))
}

/// The row that finds the identifier of a customer key.
pub(crate) fn text_customer_key(text: &str) -> Vec<u8> {
    let mut key = vec![b'k'];
    key.extend(text.as_bytes());
    key
}

/// The row of the customer key that was issued for an identifier.
pub(crate) fn node_customer_key(node: NodeId) -> Vec<u8> {
    let mut key = vec![b'n'];
    key.extend(node.0.to_be_bytes());
    key
}
