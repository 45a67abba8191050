//! The end of an instant: each profile it touched is looked at once, and only the net change goes out (B10).

use crate::batch::Batch;
use crate::effects::{Transition, Who};
use crate::error::Error;
use crate::message::visible;
use crate::profile::Profile;
use crate::rename::Renames;
use crate::report::Happening;
use crate::rows;
use crate::touch::Touch;
use crate::view::PlainTraits;
use onefold_audience::{Flip, FlipKind};
use onefold_store::Table;
use onefold_types::effect::{Cause, Change};
use onefold_types::{AudienceId, DestinationId, EventRef, ProfileHandle, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Batch<'_> {
    pub(crate) fn settle_touched(&mut self) -> Result<(), Error> {
        // Whoever is gone, or has another name, is told of first: whoever took over an address must not be thrown out under
        // it a moment later.
        let renamed = self.end_old_names()?;
        // A rebuild can touch no other profile, so one pass is enough.
        let mut touched = std::mem::take(&mut self.touched);
        for (handle, cause) in renamed {
            touched.entry(handle).or_default().because(cause);
        }
        let mut gone: Vec<ProfileHandle> = self.removed.keys().copied().collect();
        gone.sort_unstable();
        for handle in gone {
            if let Some(touch) = touched.remove(&handle) {
                self.settle(handle, touch)?;
            }
        }
        for (handle, touch) in touched {
            self.settle(handle, touch)?;
        }
        self.follow_all()?;
        self.removed.clear();
        self.renames = Renames::default();
        Ok(())
    }

    fn settle(&mut self, handle: ProfileHandle, mut touch: Touch) -> Result<(), Error> {
        let mut profile = self.memory.profiles.take(self.txn.as_ref(), &handle)?.unwrap_or_default();
        if touch.rebuild {
            let (before, accounts) = (profile.traits.clone(), profile.accounts.clone());
            profile = self.rebuild(handle, &profile, &mut touch)?;
            self.index_accounts(handle, &accounts, &profile.accounts);
            for key in before.keys().chain(profile.traits.keys()) {
                let old = visible(&before, key);
                if old != visible(&profile.traits, key) {
                    touch.traits_before.entry(key.clone()).or_insert(old);
                }
            }
        }
        let cause = touch.cause.take().or_else(|| self.renames.cause()).unwrap_or(Cause::Time);
        self.named = None;
        self.follow(handle, &mut profile);
        // A message's owner is there; only what this step removed, or a rebuild was asked for, may not be.
        let gone = (touch.rebuild || self.removed.contains_key(&handle))
            && self.memory.clusters.get(self.txn.as_ref(), &handle)?.is_none();
        if gone || !profile.is_person() {
            let last = match self.removed.get(&handle).cloned() {
                Some(cluster) if gone => Some(Arc::new(self.who_was(&cluster)?)),
                _ => None,
            };
            // What it owned when it came goes out all the same.
            self.forward_all(handle, &mut profile, touch.forwards, last.as_ref())?;
            // Its memberships were told before the step, under what it was then.
            let who = self.who_before(handle)?.map(Arc::new).or(last);
            return self.forget(handle, profile, &cause, who.as_ref());
        }
        let compiled = self.compiled.clone();
        let flips = compiled.plan.settle(
            &mut profile.state,
            &mut touch.primitives,
            &PlainTraits(&profile.traits),
            self.now,
        );
        self.send_flips(handle, &mut profile, flips, &cause)?;
        self.enter_anew(handle, &mut profile, &cause)?;
        for (key, before) in std::mem::take(&mut touch.traits_before) {
            let after = visible(&profile.traits, &key);
            if after != before {
                let value = after.unwrap_or_else(|| "null".to_owned());
                let change = Change::TraitChanged { key, value };
                let transition =
                    Transition { profile: handle, effective: self.now, change, cause: cause.clone() };
                self.emit(&mut profile, None, &transition)?;
            }
        }
        self.forward_all(handle, &mut profile, touch.forwards, None)?;
        self.rearm(handle, &mut profile)?;
        self.memory.profiles.put(handle, profile);
        Ok(())
    }

    /// Hands messages to the destinations that want them.
    fn forward_all(
        &mut self,
        handle: ProfileHandle,
        profile: &mut Profile,
        forwards: Vec<(DestinationId, EventRef, String)>,
        who: Option<&Arc<Who>>,
    ) -> Result<(), Error> {
        for (destination, at, message_id) in forwards {
            let cause = Cause::Event { message_id, late: false };
            let transition =
                Transition { profile: handle, effective: self.now, change: Change::Event { at }, cause };
            self.forward(profile, who, destination, at, &transition)?;
        }
        Ok(())
    }

    /// Writes what the audience plan found: membership index, sizes, effects.
    pub(crate) fn send_flips(
        &mut self,
        handle: ProfileHandle,
        profile: &mut Profile,
        flips: Vec<Flip>,
        cause: &Cause,
    ) -> Result<(), Error> {
        for flip in flips {
            let effective = flip.effective;
            let change = match flip.kind {
                FlipKind::Entered(audience) => {
                    self.enter(audience, handle, effective);
                    self.report.note(Happening::Entered { audience, profile: handle, effective });
                    Change::Entered { audience, initial: matches!(cause, Cause::Definition) }
                }
                FlipKind::Exited(audience) => {
                    self.leave(audience, handle);
                    self.report.note(Happening::Exited { audience, profile: handle, effective });
                    Change::Exited { audience }
                }
                FlipKind::Computed(computed_trait, value) => {
                    profile.computed_changed(computed_trait, effective);
                    Change::TraitComputed { computed_trait, value: value.to_string() }
                }
            };
            let cause = if effective < self.now && !matches!(cause, Cause::Definition) {
                Cause::Time
            } else {
                cause.clone()
            };
            if matches!(change, Change::Exited { audience } if self.renames.has_ended(handle, audience)) {
                continue;
            }
            let transition = Transition { profile: handle, effective, change, cause };
            self.emit(profile, None, &transition)?;
        }
        Ok(())
    }

    /// A profile is in an audience from `effective` on.
    fn enter(&mut self, audience: AudienceId, profile: ProfileHandle, effective: Timestamp) {
        let key = onefold_types::outbox::member_key(audience.0, profile);
        self.txn.put(Table::AudienceMember, key, effective.to_key().to_vec());
        self.count_member(audience, 1);
    }

    /// A profile is in an audience no more.
    pub(crate) fn leave(&mut self, audience: AudienceId, profile: ProfileHandle) {
        self.txn.delete(Table::AudienceMember, onefold_types::outbox::member_key(audience.0, profile));
        self.count_member(audience, -1);
    }

    fn count_member(&mut self, audience: AudienceId, by: i64) {
        *self.memory.sizes.entry(audience.0).or_default() += by;
        self.memory.resized.insert(audience.0);
    }

    /// A cluster that owns nothing is no person: it leaves every audience, and its row goes. `who` it was, if the step made
    /// it another or ended it: whoever was told of an entry is told of the exit (B9), under the name that they know.
    pub(crate) fn forget(
        &mut self,
        handle: ProfileHandle,
        mut profile: Profile,
        cause: &Cause,
        who: Option<&Arc<Who>>,
    ) -> Result<(), Error> {
        let members: Vec<AudienceId> = profile.state.members().to_vec();
        if let Some(due) = profile.armed.take() {
            self.disarm(due, handle);
        }
        self.index_accounts(handle, &profile.accounts, &BTreeMap::new());
        for audience in members {
            self.leave(audience, handle);
            if self.renames.has_ended(handle, audience) {
                continue;
            }
            let change = Change::Exited { audience };
            let transition =
                Transition { profile: handle, effective: self.now, change, cause: cause.clone() };
            self.emit(&mut profile, who, &transition)?;
        }
        self.memory.profiles.delete(handle);
        Ok(())
    }

    /// Plants the profile's one timer: only if the next instant lies before the one that is planted already, for an
    /// instant that moved later is found when the old timer fires.
    pub(crate) fn rearm(&mut self, handle: ProfileHandle, profile: &mut Profile) -> Result<(), Error> {
        let due = self.compiled.plan.next_due(&profile.state);
        match (due, profile.armed) {
            (None, _) => {}
            (Some(due), Some(armed)) if armed <= due => {}
            (Some(due), armed) => {
                if let Some(armed) = armed {
                    self.disarm(armed, handle);
                }
                self.arm(due, handle);
                profile.armed = Some(due);
            }
        }
        Ok(())
    }

    fn arm(&mut self, due: Timestamp, handle: ProfileHandle) {
        self.txn.put(Table::Timer, rows::timer_key(due, handle), Vec::new());
        if due < self.memory.horizon {
            self.memory.timers.insert((due, handle));
        }
    }

    pub(crate) fn disarm(&mut self, due: Timestamp, handle: ProfileHandle) {
        self.txn.delete(Table::Timer, rows::timer_key(due, handle));
        self.memory.timers.remove(&(due, handle));
    }
}
