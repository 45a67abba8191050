//! A profile that goes on under another name: its memberships end under the old one and begin under the new.
//!
//! **NAME-1:** an exit is told under the name that its entry was told under: the customer key, and the strongest user id. A
//! receiver finds people by them, so one who is told of an exit under another name keeps the member for ever. A merge, a
//! split, a moved identifier or other rules change names; what was told under the old is ended under it, before anything
//! else of the step is told, and what is still so is told anew.
//!
//! Identifiers that come or go beside them say nothing of this kind, nor does the first customer key of someone who had
//! none: whoever knew them without one has the identifiers of before.

use crate::batch::Batch;
use crate::changes::key_text;
use crate::effects::{Transition, Who};
use crate::error::Error;
use crate::profile::Profile;
use onefold_identity::graph::{Cluster, Graph, NO_CLUSTER};
use onefold_types::effect::{Cause, Change};
use onefold_types::{AudienceId, Identifier, NodeId, ProfileHandle};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What a step does to names.
#[derive(Default)]
pub(crate) struct Renames {
    /// Clusters as they were before the step, of those that it changed or removed.
    were: BTreeMap<ProfileHandle, Arc<Cluster>>,
    /// The customer keys that they were told under, if any was.
    keys: HashMap<ProfileHandle, String>,
    /// Why it changed the first of them.
    cause: Option<Cause>,
    /// What was ended under the old name.
    ended: HashMap<ProfileHandle, Vec<AudienceId>>,
    /// Lanes in which something ends under a name that this one has now: they go first.
    follows: BTreeMap<ProfileHandle, BTreeSet<ProfileHandle>>,
}

impl Renames {
    /// A cluster is about to be another, or none: it was this.
    pub(crate) fn was(&mut self, handle: ProfileHandle, cluster: Arc<Cluster>) {
        self.were.entry(handle).or_insert(cluster);
    }

    /// The clusters of the step became others for this.
    pub(crate) fn because(&mut self, cause: &Cause) {
        if self.cause.is_none() && !self.were.is_empty() {
            self.cause = Some(cause.clone());
        }
    }

    /// What waits to be sent in `lane` goes before what is sent of `profile`.
    pub(crate) fn goes_before(&mut self, lane: ProfileHandle, profile: ProfileHandle) {
        self.follows.entry(profile).or_default().insert(lane);
    }

    /// Why the step changed anybody.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause.clone()
    }

    /// The cluster of a profile before the step; `None` if that did not change it.
    pub(crate) fn before(&self, handle: ProfileHandle) -> Option<Arc<Cluster>> {
        self.were.get(&handle).cloned()
    }

    /// Whether the end of a membership is told already, under the name of before.
    pub(crate) fn has_ended(&self, handle: ProfileHandle, audience: AudienceId) -> bool {
        self.ended.get(&handle).is_some_and(|ended| ended.contains(&audience))
    }
}

/// Whether two clusters are told of alike: they have the same identifiers, and the profile id of the same one.
pub(crate) fn named_alike(a: &Cluster, b: &Cluster) -> bool {
    let nodes = |cluster: &Cluster| cluster.members.iter().map(|member| member.node).collect::<BTreeSet<_>>();
    a.anchor == b.anchor && a.members.len() == b.members.len() && nodes(a) == nodes(b)
}

fn strongest_user(ids: &[Identifier]) -> Option<&str> {
    ids.iter().find(|id| id.id_type == "user_id").map(|id| id.value.as_str())
}

impl Batch<'_> {
    /// Other rules make `cluster` another, or none. They may also take keys away that came to it: what it was told under is
    /// asked before.
    pub(crate) fn becomes_other(&mut self, handle: ProfileHandle, cluster: Cluster) -> Result<(), Error> {
        if let Some(key) = self.key_it_had(&cluster)? {
            self.renames.keys.insert(handle, key);
        }
        self.renames.was(handle, cluster.into());
        Ok(())
    }

    /// Ends what was told under a name that the step took from its profile. Answers with those that have another one.
    pub(crate) fn end_old_names(&mut self) -> Result<Vec<(ProfileHandle, Cause)>, Error> {
        let mut renamed = Vec::new();
        let were: Vec<(ProfileHandle, Arc<Cluster>)> =
            self.renames.were.iter().map(|(handle, cluster)| (*handle, cluster.clone())).collect();
        for (handle, before) in were {
            let Some(mut profile) = self.memory.profiles.take(self.txn.as_ref(), &handle)? else { continue };
            let members = profile.state.members().to_vec();
            if !members.is_empty() {
                self.note_followers(handle, &before)?;
                if let Some(was) = self.other_name(handle, &profile)? {
                    let cause = self.touched_cause(handle);
                    for audience in &members {
                        let transition = Transition {
                            profile: handle,
                            effective: self.now,
                            change: Change::Exited { audience: *audience },
                            cause: cause.clone(),
                        };
                        self.emit(&mut profile, Some(&was), &transition)?;
                    }
                    self.renames.ended.insert(handle, members);
                    renamed.push((handle, cause));
                }
            }
            // Which of its identifiers' keys is the oldest is asked anew.
            if let Some((_, told)) = profile.customer_key.take() {
                self.renames.keys.insert(handle, told);
            }
            self.memory.profiles.put(handle, profile);
        }
        Ok(renamed)
    }

    /// Who a profile was before the step, as it was told; `None` if the step did not change it.
    pub(crate) fn who_before(&mut self, handle: ProfileHandle) -> Result<Option<Who>, Error> {
        let Some(cluster) = self.renames.before(handle) else { return Ok(None) };
        let mut who = self.who_was(&cluster)?;
        if let Some(told) = self.renames.keys.get(&handle) {
            who.customer_key = Some(told.clone());
        }
        Ok(Some(who))
    }

    fn touched_cause(&self, handle: ProfileHandle) -> Cause {
        let touched = self.touched.get(&handle).and_then(|touch| touch.cause.clone());
        touched.or_else(|| self.renames.cause()).unwrap_or(Cause::Time)
    }

    /// Who a profile was, if it is there still and has another name now.
    fn other_name(&mut self, handle: ProfileHandle, profile: &Profile) -> Result<Option<Arc<Who>>, Error> {
        let (Some(now), Some(mut was)) = (self.who(handle)?, self.who_before(handle)?) else {
            return Ok(None);
        };
        if let Some((_, told)) = &profile.customer_key {
            was.customer_key = Some(told.clone());
        }
        let key = match self.issued_customer_key(handle)? {
            (Some((_, issued)), _) => Some(issued),
            (None, Some((id, _, generation))) => Some(key_text(self.setting.secret, &id, generation)),
            (None, None) => None,
        };
        let other_key = was.customer_key.is_some() && was.customer_key != key;
        let user = strongest_user(&was.ids);
        let other_user = user.is_some() && user != strongest_user(&now.ids);
        Ok((other_key || other_user).then(|| Arc::new(was)))
    }

    /// Whoever has an identifier of `before` now is told of after what ends in the lane of before.
    fn note_followers(&mut self, handle: ProfileHandle, before: &Cluster) -> Result<(), Error> {
        for member in &before.members {
            let Some(cluster) = self.cluster_that_has(member.node)? else { continue };
            if cluster != handle {
                self.renames.goes_before(handle, cluster);
            }
        }
        Ok(())
    }

    /// The cluster of an identifier; if it is in none, that of the form which the rules in force give it.
    fn cluster_that_has(&mut self, node: NodeId) -> Result<Option<ProfileHandle>, Error> {
        let Some(record) = self.node(node)? else { return Ok(None) };
        if record.cluster != NO_CLUSTER {
            return Ok(Some(record.cluster));
        }
        Ok(self.form_in_force(&record)?.map(|(_, record)| record.cluster).filter(|it| *it != NO_CLUSTER))
    }

    /// Takes note of the lanes that go before those of profiles that the step did not settle.
    pub(crate) fn follow_all(&mut self) -> Result<(), Error> {
        for handle in self.renames.follows.keys().copied().collect::<Vec<_>>() {
            if let Some(mut profile) = self.memory.profiles.take(self.txn.as_ref(), &handle)? {
                self.follow(handle, &mut profile);
                self.memory.profiles.put(handle, profile);
            }
        }
        Ok(())
    }

    /// Takes note of the lanes that go before this one.
    pub(crate) fn follow(&mut self, handle: ProfileHandle, profile: &mut Profile) {
        for lane in self.renames.follows.remove(&handle).unwrap_or_default() {
            if !profile.absorbed.contains(&lane) {
                profile.absorbed.push(lane);
            }
        }
    }

    /// Tells anew of the memberships that were ended under the old name and are so still.
    pub(crate) fn enter_anew(
        &mut self,
        handle: ProfileHandle,
        profile: &mut Profile,
        cause: &Cause,
    ) -> Result<(), Error> {
        for audience in self.renames.ended.remove(&handle).unwrap_or_default() {
            if !profile.state.members().contains(&audience) {
                continue;
            }
            let change = Change::Entered { audience, initial: false };
            let transition =
                Transition { profile: handle, effective: self.now, change, cause: cause.clone() };
            self.emit_again(profile, &transition)?;
        }
        Ok(())
    }
}
