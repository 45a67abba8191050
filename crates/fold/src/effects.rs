//! From a transition to rows of the outbox: who wants it, in which lane, under which stable id.
//!
//! **OUT-ID:** an effect's id is a hash of (destination, what changed, its definition's version, profile, effective
//! instant, number of the profile's transition): equal after any crash, replay or rebuild of the same log.

use crate::batch::Batch;
use crate::error::Error;
use crate::profile::Profile;
use crate::routes::is_new;
use onefold_store::Table;
use onefold_types::effect::{Cause, Change, Effect};
use onefold_types::{DestinationId, EventRef, Identifier, ProfileHandle, Timestamp, outbox};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use std::sync::Arc;

/// One change of one profile, before it is known who wants it.
pub(crate) struct Transition {
    pub(crate) profile: ProfileHandle,
    pub(crate) effective: Timestamp,
    pub(crate) change: Change,
    pub(crate) cause: Cause,
}

/// Who a profile is, as effects name it.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) ids: Vec<Identifier>,
    pub(crate) profile_id: String,
    /// The customer key of one who is told of as they were; that of the living is found with each effect.
    pub(crate) customer_key: Option<String>,
}

/// What a destination knows of a profile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Knows {
    /// Everything that was so before.
    All,
    /// Nothing yet of what the change is about: its route is newer than what the profile is complete for.
    Nothing,
}

impl Batch<'_> {
    /// Writes one outbox row for each destination that wants `transition`; `who` the profile was, if it is no more. An
    /// exit goes only where its entry went (ROUTE-1).
    pub(crate) fn emit(
        &mut self,
        profile: &mut Profile,
        who: Option<&Arc<Who>>,
        transition: &Transition,
    ) -> Result<(), Error> {
        let is_exit = matches!(transition.change, Change::Exited { .. });
        self.emit_to(profile, who, transition, |knows| !is_exit || knows == Knows::All)
    }

    /// Writes one outbox row for each destination that does not know yet what is so already.
    pub(crate) fn emit_present(
        &mut self,
        profile: &mut Profile,
        transition: &Transition,
    ) -> Result<(), Error> {
        self.emit_to(profile, None, transition, |knows| knows == Knows::Nothing)
    }

    /// Writes one outbox row for each destination that knew what is so still, under another name.
    pub(crate) fn emit_again(&mut self, profile: &mut Profile, transition: &Transition) -> Result<(), Error> {
        self.emit_to(profile, None, transition, |knows| knows == Knows::All)
    }

    fn emit_to(
        &mut self,
        profile: &mut Profile,
        who: Option<&Arc<Who>>,
        transition: &Transition,
        is_told: impl Fn(Knows) -> bool,
    ) -> Result<(), Error> {
        let number = profile.transitions;
        profile.transitions += 1;
        let compiled = self.compiled.clone();
        let routes = &compiled.routes;
        let no_one = Vec::new();
        let (destinations, version, any) = match &transition.change {
            Change::Entered { audience, .. } | Change::Exited { audience } => (
                // One that this catalogue ended has exits only, and they go where it was told of before (ROUTE-2).
                compiled
                    .catalogue
                    .ended_audiences
                    .get(audience)
                    .or_else(|| routes.audiences.get(audience))
                    .unwrap_or(&no_one),
                compiled.catalogue.audience_versions.get(audience).copied().unwrap_or(0),
                &no_one,
            ),
            Change::TraitComputed { computed_trait, .. } => (
                routes.computed.get(computed_trait).unwrap_or(&no_one),
                compiled.catalogue.trait_versions.get(computed_trait).copied().unwrap_or(0),
                &no_one,
            ),
            Change::TraitChanged { key, .. } => {
                (routes.traits.get(key).unwrap_or(&no_one), 0, &routes.any_trait)
            }
            Change::Event { .. } => (&no_one, 0, &no_one),
        };
        for destination in destinations.iter().chain(any) {
            let (catalogue, complete_for) = (&compiled.catalogue, profile.catalogue);
            let is_new = is_new(catalogue, &transition.change, *destination, complete_for);
            if !is_told(if is_new { Knows::Nothing } else { Knows::All }) {
                continue;
            }
            let id = effect_id(
                *destination,
                &transition.change,
                version,
                transition.profile,
                transition.effective,
                number,
            );
            self.enqueue(profile, who, *destination, id, transition)?;
        }
        Ok(())
    }

    /// Writes the outbox row that hands message `at` to `destination`; `who` as in `emit`.
    pub(crate) fn forward(
        &mut self,
        profile: &mut Profile,
        who: Option<&Arc<Who>>,
        destination: DestinationId,
        at: EventRef,
        transition: &Transition,
    ) -> Result<(), Error> {
        let mut hasher = SipHasher13::new();
        hasher.write_u8(b'e');
        hasher.write_u32(destination.0);
        hasher.write_u64(at.position.0);
        hasher.write_u16(at.index);
        self.enqueue(profile, who, destination, hasher.finish128().as_u128(), transition)
    }

    /// Who the profile is that is being settled: asked for only if an effect goes out, which is rare.
    fn named(&mut self, handle: ProfileHandle) -> Result<Arc<Who>, Error> {
        if let Some((_, who)) = self.named.as_ref().filter(|(known, _)| *known == handle) {
            return Ok(who.clone());
        }
        let missing = || Error::Invariant { name: "OUT-ID", detail: format!("{handle:?} is no profile") };
        let who = Arc::new(self.who(handle)?.ok_or_else(missing)?);
        self.named = Some((handle, who.clone()));
        Ok(who)
    }

    fn enqueue(
        &mut self,
        profile: &mut Profile,
        who: Option<&Arc<Who>>,
        destination: DestinationId,
        id: u128,
        transition: &Transition,
    ) -> Result<(), Error> {
        let who = match who {
            Some(who) => who.clone(),
            None => {
                self.customer_key(profile, transition.profile, transition.effective)?;
                self.named(transition.profile)?
            }
        };
        let customer_key = profile.customer_key.as_ref().map(|(_, key)| key.clone());
        let effect = Effect {
            id,
            destination,
            profile: transition.profile,
            after: profile.absorbed.clone(),
            effective: transition.effective,
            observed: self.observed.max(self.now),
            change: transition.change.clone(),
            cause: transition.cause.clone(),
            ids: who.ids.clone(),
            profile_id: who.profile_id.clone(),
            customer_key: customer_key.or_else(|| who.customer_key.clone()),
        };
        let sequence = self.memory.counters.next_outbox;
        self.memory.counters.next_outbox += 1;
        self.txn.put(Table::Outbox, outbox::key(destination, sequence), outbox::encode(&effect));
        self.report.effects += 1;
        Ok(())
    }
}

fn effect_id(
    destination: DestinationId,
    change: &Change,
    version: u32,
    profile: ProfileHandle,
    effective: Timestamp,
    number: u64,
) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write_u32(destination.0);
    match change {
        Change::Entered { audience, .. } => {
            hasher.write_u8(b'+');
            hasher.write_u32(audience.0);
        }
        Change::Exited { audience } => {
            hasher.write_u8(b'-');
            hasher.write_u32(audience.0);
        }
        Change::TraitComputed { computed_trait, .. } => {
            hasher.write_u8(b'c');
            hasher.write_u32(computed_trait.0);
        }
        Change::TraitChanged { key, .. } => {
            hasher.write_u8(b't');
            hasher.write(key.as_bytes());
        }
        Change::Event { at } => {
            hasher.write_u8(b'e');
            hasher.write_u64(at.position.0);
            hasher.write_u16(at.index);
        }
    }
    hasher.write_u32(version);
    hasher.write_u64(profile.0);
    hasher.write_i64(effective.0);
    hasher.write_u64(number);
    hasher.finish128().as_u128()
}
